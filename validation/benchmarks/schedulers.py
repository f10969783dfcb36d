"""What GDDIMScheduler takes of a run of 50 steps beside the schedulers of diffusers.

End to end: set_timesteps, and for each step scale_model_input and step, as the pipelines call them.  The network
is left out: any network costs more than all of this.  Seconds are those of one run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import Row
from ._timing import one_thread, row, seconds

__all__ = ["run"]

SHAPES = ((1, 4, 64, 64), (1, 16, 128, 128), (8, 16, 128, 128))
STEPS = 50
SD: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
OPTIONS: dict[str, Any] = {"set_alpha_to_one": False, "steps_offset": 1}


def run() -> list[Row]:
    """Runs without noise beside DDIM and Euler, runs with noise beside DDIM's, on latents of three sizes."""
    with one_thread():
        return [made for shape in SHAPES for made in _rows(shape)]


def _rows(shape: tuple[int, ...]) -> list[Row]:
    import torch
    from diffusers import DDIMScheduler, EulerDiscreteScheduler

    from driftproof.backends.torch.schedulers import GDDIMScheduler

    x, output = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    ours, ddim = GDDIMScheduler(**SD, **OPTIONS), DDIMScheduler(**SD, **OPTIONS, clip_sample=False)
    noisy = {"eta": 1.0, "generator": torch.Generator().manual_seed(0)}
    spent = seconds(
        {
            "ours": _run(ours, x, output),
            "DDIM": _run(ddim, x, output),
            "Euler": _run(EulerDiscreteScheduler(**SD), x, output),
            "ours, noisy": _run(ours, x, output, **noisy),
            "DDIM, noisy": _run(ddim, x, output, **noisy),
        }
    )
    name, note = f"GDDIMScheduler, {STEPS} steps, {'x'.join(map(str, shape))}", "float32, CPU, one thread"
    return [
        row(f"{name}, eta = 0", spent["ours"], "diffusers DDIM", spent["DDIM"], note),
        row(f"{name}, eta = 0", spent["ours"], "diffusers EulerDiscrete", spent["Euler"], note),
        row(f"{name}, eta = 1", spent["ours, noisy"], "diffusers DDIM", spent["DDIM, noisy"], note),
    ]


def _run(scheduler: Any, x: Any, output: Any, **options: Any) -> Callable[[], Any]:
    import torch

    def run() -> Any:
        scheduler.set_timesteps(STEPS)
        with torch.no_grad():
            for t in scheduler.timesteps:
                scheduler.scale_model_input(x, t)
                scheduler.step(output, t, x, return_dict=False, **options)

    return run
