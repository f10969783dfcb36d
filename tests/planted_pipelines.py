"""Pipelines of diffusers with tiny random weights: right ones, and ones whose own loop has one fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers: Any = pytest.importorskip("diffusers")

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


def vae() -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(4,),
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        norm_num_groups=2,
        latent_channels=4,
    )


def stable_diffusion(scheduler: Any, cls: type[Any] = diffusers.StableDiffusionPipeline) -> Any:
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        norm_num_groups=4,
        attention_head_dim=4,
    )
    return cls(vae(), None, None, unet, scheduler, None, None, requires_safety_checker=False)


def flux() -> Any:
    network = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return diffusers.FluxPipeline(scheduler, vae(), None, None, None, None, network)


def stable_diffusion_3() -> Any:
    network = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=16,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    return diffusers.StableDiffusion3Pipeline(network, scheduler, vae(), None, None, None, None, None, None)


def ddim() -> Any:
    return diffusers.DDIMScheduler(**TABLE, clip_sample=False, set_alpha_to_one=True)


def euler() -> Any:
    return diffusers.EulerDiscreteScheduler(**TABLE)


def karras() -> Any:
    return diffusers.DPMSolverMultistepScheduler(**TABLE, use_karras_sigmas=True)


_RIGHT = {"converges"}
_WRONG = {"diverges", "mismatch"}
PIPELINES: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "ddim": (lambda: stable_diffusion(ddim()), _RIGHT),
    "euler": (lambda: stable_diffusion(euler()), _RIGHT),
    "ancestral": (lambda: stable_diffusion(diffusers.EulerAncestralDiscreteScheduler(**TABLE)), _RIGHT),
    "karras": (lambda: stable_diffusion(karras()), _RIGHT),
    "flux": (flux, _RIGHT),
    "sd3": (stable_diffusion_3, _RIGHT),
    "twice": (lambda: stable_diffusion(euler(), Twice), _WRONG),
    "louder": (lambda: stable_diffusion(ddim(), Louder), _WRONG),
    "unscaled": (lambda: stable_diffusion(ddim(), Unscaled), _WRONG),
}
