"""A step of GDDIMScheduler beside those of diffusers, on latents of Stable Diffusion 1.5.

The schedulers step in turn through the same grid, so that a busy machine slows all; a time is that of one
step, the median over whole runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import Row

__all__ = ["run"]

SHAPE = (1, 4, 64, 64)
STEPS, REPEATS = 50, 40
SD: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
OPTIONS: dict[str, Any] = {"set_alpha_to_one": False, "steps_offset": 1}


def run() -> list[Row]:
    """Steps without noise beside DDIM and Euler, steps with noise beside DDIM's, in one thread."""
    import torch
    from diffusers import DDIMScheduler, EulerDiscreteScheduler

    from ...backends.torch.schedulers import GDDIMScheduler

    ours, ddim = GDDIMScheduler(**SD, **OPTIONS), DDIMScheduler(**SD, **OPTIONS, clip_sample=False)
    euler = EulerDiscreteScheduler(**SD)
    euler.is_scale_input_called = True  # as after the pipelines' call; without it every step warns
    noisy = {"eta": 1.0, "generator": torch.Generator().manual_seed(0)}
    with _one_thread(torch):
        seconds = _steps([(ours, {}), (ddim, {}), (euler, {}), (ours, noisy), (ddim, noisy)])
    return [
        _row("step, eta = 0", seconds[0], "diffusers DDIM", seconds[1]),
        _row("step, eta = 0", seconds[0], "diffusers EulerDiscrete", seconds[2]),
        _row("step, eta = 1", seconds[3], "diffusers DDIM", seconds[4]),
    ]


def _steps(schedulers: list[tuple[Any, dict[str, Any]]]) -> list[float]:
    """Median seconds a step of each, over runs taken in turn."""
    import torch

    x, output = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    runs: list[Callable[[], float]] = [_timed(s, options, x, output) for s, options in schedulers]
    for once in runs:
        once()
    table = [[once() for once in runs] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*table, strict=True)]


def _timed(scheduler: Any, options: dict[str, Any], x: Any, output: Any) -> Callable[[], float]:
    import torch

    def once() -> float:
        scheduler.set_timesteps(STEPS)
        times = list(scheduler.timesteps)
        with torch.no_grad():
            start = time.perf_counter()
            for t in times:
                scheduler.step(output, t, x, return_dict=False, **options)
            return (time.perf_counter() - start) / STEPS

    return once


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _row(name: str, ours: float, peer: str, theirs: float) -> Row:
    return Row(
        name=f"GDDIMScheduler {name}, {'x'.join(map(str, SHAPE))}",
        ours_seconds=ours,
        peer=peer,
        peer_seconds=theirs,
        ratio=theirs / ours,
        note="float32, CPU, one thread",
    )
