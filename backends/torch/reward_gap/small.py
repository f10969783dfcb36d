"""Small configurations of the real classes, with random weights: the same code paths without a download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from .config import PipelineModel

__all__ = ["Parts", "small_parts"]

LATENTS, SIDE, LENGTH, WIDTH, POOLED = 4, 8, 4, 8, 6


@final
@dataclass(frozen=True, slots=True)
class Parts:
    """What of a pipeline is needed to train it.

    Arguments:
        network: The denoising network.
        vae: The decoder.
        scheduler_config: Of the pipeline's own scheduler.
        conditions: Named tensors with a row for each prompt.
        side: Height and width of the latents by default.
        downsampling: Pixels for one latent.
    """

    network: nn.Module
    vae: Any
    scheduler_config: Mapping[str, Any]
    conditions: Mapping[str, Tensor]
    side: int
    downsampling: int


def small_parts(model: PipelineModel, prompts: tuple[str, ...], device: torch.device) -> Parts:
    """A pipeline of this kind that runs on one core in milliseconds; prompts are random embeddings."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=LATENTS,
        norm_num_groups=4,
        sample_size=2 * SIDE,
    )
    names: dict[str, tuple[int, ...]] = {"prompt": (LENGTH, WIDTH)}
    if model.kind != "stable_diffusion":
        names["pooled"] = (POOLED,)
    conditions = {name: torch.randn(len(prompts), *shape, device=device) for name, shape in names.items()}
    if model.guidance != 1.0:
        empty = {"prompt": "negative", "pooled": "negative_pooled"}
        conditions |= {empty[name]: torch.zeros_like(value) for name, value in conditions.items()}
    vae.requires_grad_(False).eval()
    network = _network(model.kind).eval()
    return Parts(network, vae, _scheduler_config(model.kind), conditions, SIDE, 2)


def _network(kind: str) -> nn.Module:
    from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel

    network: nn.Module
    if kind == "stable_diffusion":
        network = UNet2DConditionModel(
            sample_size=SIDE,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=4,
        )
    elif kind == "stable_diffusion_3":
        network = SD3Transformer2DModel(
            sample_size=SIDE,
            in_channels=LATENTS,
            out_channels=LATENTS,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            caption_projection_dim=16,
            pooled_projection_dim=POOLED,
            pos_embed_max_size=SIDE,
        )
    else:
        network = FluxTransformer2DModel(
            in_channels=4 * LATENTS,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=POOLED,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        )
    return network


def _scheduler_config(kind: str) -> Mapping[str, Any]:
    """As the published pipelines of this kind have it."""
    from diffusers import FlowMatchEulerDiscreteScheduler, PNDMScheduler

    scheduler: Any
    if kind == "stable_diffusion":
        scheduler = PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            set_alpha_to_one=False,
            skip_prk_steps=True,
            steps_offset=1,
        )
    elif kind == "stable_diffusion_3":
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    else:
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    config: Mapping[str, Any] = scheduler.config
    return config
