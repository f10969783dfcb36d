"""Pipelines of diffusers with tiny random weights: right ones, and ones whose own loop has one fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers: Any = pytest.importorskip("diffusers")

from tests.tiny_pipelines import flux, stable_diffusion, stable_diffusion_3

TABLE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


class Twice(diffusers.StableDiffusionPipeline):  # type: ignore[misc]
    """The first noise is scaled once by the pipeline and once more."""

    def prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
        return super().prepare_latents(*args, **kwargs) * self.scheduler.init_noise_sigma


class Louder(diffusers.StableDiffusionPipeline):  # type: ignore[misc]
    """The first noise has another size than the scheduler asks for."""

    def prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
        return 1.1 * super().prepare_latents(*args, **kwargs)


class Unscaled(diffusers.StableDiffusionPipeline):  # type: ignore[misc]
    """The latents that it returns are divided by the factor of the decoder, though none decodes them."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        (latents, *rest) = super().__call__(*args, **kwargs)
        return (latents / 0.18215, *rest)


def ddim() -> Any:
    return diffusers.DDIMScheduler(**TABLE, clip_sample=False, set_alpha_to_one=True)


def euler() -> Any:
    return diffusers.EulerDiscreteScheduler(**TABLE)


def karras() -> Any:
    return diffusers.DPMSolverMultistepScheduler(**TABLE, use_karras_sigmas=True)


def flow(**options: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**options)


_RIGHT = {"converges"}
_WRONG = {"diverges", "mismatch"}
PIPELINES: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "ddim": (lambda: stable_diffusion(ddim()), _RIGHT),
    "euler": (lambda: stable_diffusion(euler()), _RIGHT),
    "ancestral": (lambda: stable_diffusion(diffusers.EulerAncestralDiscreteScheduler(**TABLE)), _RIGHT),
    "karras": (lambda: stable_diffusion(karras()), _RIGHT),
    "flux": (lambda: flux(flow(use_dynamic_shifting=True)), _RIGHT),
    "sd3": (lambda: stable_diffusion_3(flow(shift=3.0)), _RIGHT),
    "twice": (lambda: stable_diffusion(euler(), Twice), _WRONG),
    "louder": (lambda: stable_diffusion(ddim(), Louder), _WRONG),
    "unscaled": (lambda: stable_diffusion(ddim(), Unscaled), _WRONG),
}
