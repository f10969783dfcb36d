"""Pipelines of diffusers with tiny random weights, that take embeddings of prompts and encode none."""

from __future__ import annotations

from typing import Any

import pytest

diffusers: Any = pytest.importorskip("diffusers")


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


def flux(scheduler: Any, channels: int = 4) -> Any:
    network = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=channels,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
    )
    return diffusers.FluxPipeline(scheduler, vae(), None, None, None, None, network)


def stable_diffusion_3(scheduler: Any) -> Any:
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
    return diffusers.StableDiffusion3Pipeline(network, scheduler, vae(), None, None, None, None, None, None)
