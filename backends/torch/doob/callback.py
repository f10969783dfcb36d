r"""A learned guidance in a pipeline of diffusers, which stays as it is:

.. code-block:: python

    guide = GuidanceCallback(load_guidance("runs/mnist-sd/guidance/cross-entropy-seed-0.safetensors"), latents, 1.0, "mean")
    images = pipe(prompt, latents=latents, eta=1.0, num_inference_steps=25, guidance_scale=1.0,
                  callback_on_step_end=guide).images

The prompt, the weight of guidance and the steps are those that h was learned with.

A step of a DDIM scheduler is affine in the predicted noise, :math:`x_s = A x_t + B\epsilon + \varsigma Z`, so that
noise which is guided *before* the step, :math:`\epsilon - \sigma_t g`, gives the same as a state that is moved by
:math:`-B\sigma_t\,g(x_t)` *after* it.  That is where pipelines call back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.report import write_whole

from .method import gradient_guide
from .models import FLOOR, Guide, Place
from .networks import LatentLogH

__all__ = ["GuidanceCallback", "load_guidance", "save_log_h"]


@final
class GuidanceCallback:
    """A ``callback_on_step_end`` of a pipeline.

    Arguments:
        guide: The gradient of log h at latents and timesteps of the scheduler.
        latents: The latents that the pipeline is called with; its callbacks get only the end of each step.
        eta: What the pipeline is called with.
        place: ``mean``, for an h of trajectories with this eta > 0, or ``noise``; see :mod:`.models`.

    Raises:
        UnmetHypothesis: Guidance on the mean of steps that are not random.
    """

    def __init__(self, guide: Guide, latents: Tensor, eta: float = 0.0, place: Place = "noise") -> None:
        if place == "mean" and not eta > 0.0:
            raise UnmetHypothesis("GuidanceCallback", "eta > 0, for guidance on the mean", f"eta = {eta!r}")
        self.guide, self.latents, self.eta, self.place = guide, latents, eta, place
        self._before = latents

    @torch.no_grad()
    def __call__(self, pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        """The latents of a step that was guided.

        Raises:
            UnmetHypothesis: A scheduler whose steps are not affine in the predicted noise, or not known to be.
        """
        x, after = (self.latents if step == 0 else self._before), values["latents"]
        if x.shape != after.shape:
            got = f"{tuple(self.latents.shape)} for a pipeline of {tuple(after.shape)}"
            raise UnmetHypothesis("GuidanceCallback", "latents are those of the call", got)
        t = int(timestep)
        bar = float(pipe.scheduler.alphas_cumprod[t])
        alpha, sigma = bar**0.5, (1.0 - bar) ** 0.5
        of_noise, std = _coefficients(pipe.scheduler, t, self.eta)
        strength = std**2 if self.place == "mean" else -sigma * of_noise
        if self.place == "mean" or alpha > FLOOR * sigma:
            rows = torch.full((len(x),), t, device=x.device)
            after = after + (strength * self.guide(x.float(), rows)).to(after)
        self._before = after
        return {"latents": after}


def _coefficients(scheduler: Any, t: int, eta: float) -> tuple[float, float]:
    """The factor of the predicted noise in a step, and the deviation of the step's own noise."""
    from diffusers import DDIMScheduler

    config, one = scheduler.config, torch.ones(1, 1, dtype=torch.float64)
    affine = not config.clip_sample and not config.get("thresholding", False)
    if not (isinstance(scheduler, DDIMScheduler) and affine and config.prediction_type == "epsilon"):
        hypothesis = "the scheduler is a DDIMScheduler of predicted noise that clips nothing"
        raise UnmetHypothesis("GuidanceCallback", hypothesis, type(scheduler).__name__)

    def stepped(noise: Tensor, own: Tensor) -> float:
        return float(scheduler.step(noise, t, 0.0 * one, eta=eta, variance_noise=own, return_dict=False)[0])

    return stepped(one, 0.0 * one), stepped(0.0 * one, one) if eta > 0.0 else 0.0


def save_log_h(path: Path, network: LatentLogH, metadata: Mapping[str, object]) -> None:
    """A trained h with its sizes, for :func:`load_guidance`."""
    from safetensors.torch import save

    sizes = {"channels": network.first.in_channels, "width": network.first.out_channels}
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_whole(path, save(state, {"log_h": json.dumps(sizes), "metadata": json.dumps(metadata)}))


def load_guidance(path: Path | str, device: torch.device | str = "cpu") -> Guide:
    """The guidance of a file that a run has left.

    Raises:
        UnmetHypothesis: The file holds something else.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if "log_h" not in metadata:
            raise UnmetHypothesis("load_guidance", "the file holds a log h of latents", str(path))
        sizes = json.loads(metadata["log_h"])
        network = LatentLogH(sizes["channels"], sizes["width"], 0.5)
        network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return gradient_guide(network.to(device).eval().requires_grad_(False))
