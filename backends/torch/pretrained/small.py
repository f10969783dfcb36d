"""Small configurations of the real classes, with random weights: the same code paths without a download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from .config import PipelineModel
from .sit import SIT_XL_2

__all__ = ["Parts", "small_network", "small_parts"]

LATENTS, LENGTH, POOLED, CLASSES = 4, 4, 6, 5
SIDES = {"flux2": 4, "sit": 4}
WIDTHS = {"flux2": 12}
SIDE, WIDTH = 8, 8  # of the other kinds
NEGATIVES = {"prompt": "negative", "pooled": "negative_pooled"}


@final
@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a pipeline that are needed to train it.

    Arguments:
        network: The denoising network.
        vae: The decoder.
        scheduler_config: The configuration of the pipeline's own scheduler; None where there is none.
        conditions: Named tensors with a row for each prompt.
        prompts: The prompts.
        shape: The shape of a state: channels, height, width.
    """

    network: nn.Module
    vae: Any
    scheduler_config: Mapping[str, Any] | None
    conditions: Mapping[str, Tensor]
    prompts: tuple[str, ...]
    shape: tuple[int, int, int]


def small_parts(model: PipelineModel, prompts: tuple[str, ...], device: torch.device) -> Parts:
    """A pipeline of this kind that runs on one core in milliseconds; prompts are random embeddings."""
    kind, side = model.kind, SIDES.get(model.kind, SIDE)
    # The order of the draws decides the weights that recorded runs began with.
    network = small_network(kind) if kind in SIDES else None
    vae = None if kind == "unconditional" else _vae(kind)
    conditions = _conditions(model, len(prompts), device)
    shape = (4 * LATENTS if kind == "flux2" else LATENTS, side, side)
    if kind == "unconditional":
        shape = (3, 2 * SIDE, 2 * SIDE)
    return Parts(network or small_network(kind), vae, _scheduler_config(kind), conditions, prompts, shape)


def _conditions(model: PipelineModel, count: int, device: torch.device) -> dict[str, Tensor]:
    if model.kind == "sit":
        return {"label": torch.tensor(model.labels)}
    names: dict[str, tuple[int, ...]] = {"prompt": (LENGTH, WIDTHS.get(model.kind, WIDTH))}
    if model.kind == "unconditional":
        return {}
    if model.kind in ("stable_diffusion_xl", "stable_diffusion_3", "flux"):
        names["pooled"] = (POOLED,)
    conditions = {name: torch.randn(count, *shape, device=device) for name, shape in names.items()}
    if model.guidance != 1.0:
        conditions |= {NEGATIVES[name]: torch.zeros_like(value) for name, value in conditions.items()}
    if model.kind == "stable_diffusion_xl":
        pixels = 2.0 * SIDE
        sizes = torch.tensor([pixels, pixels, 0.0, 0.0, pixels, pixels], device=device)
        conditions["time_ids"] = sizes.expand(count, -1)
    return conditions


def _vae(kind: str) -> nn.Module:
    from diffusers import AutoencoderKL, AutoencoderKLFlux2

    blocks: dict[str, Any] = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": LATENTS,
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "sample_size": 2 * SIDE,
    }
    vae: nn.Module = AutoencoderKLFlux2(**blocks) if kind == "flux2" else AutoencoderKL(**blocks)
    return vae


def small_network(kind: str, layers: int = 1) -> nn.Module:
    """A network of this kind with random weights; transformers begin with outputs that are not zero."""
    import diffusers

    network: nn.Module
    blocks = {
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    if kind in ("stable_diffusion", "stable_diffusion_xl"):
        sizes = {}
        if kind == "stable_diffusion_xl":
            sizes = {
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": POOLED + 6 * 8,
            }
        network = diffusers.UNet2DConditionModel(
            sample_size=SIDE,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH,
            **blocks,
            **sizes,
        )
    elif kind == "unconditional":
        network = diffusers.UNet2DModel(
            sample_size=2 * SIDE,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            **blocks,
        )
    elif kind == "stable_diffusion_3":
        network = diffusers.SD3Transformer2DModel(
            sample_size=SIDE,
            in_channels=LATENTS,
            out_channels=LATENTS,
            num_layers=layers,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            caption_projection_dim=16,
            pooled_projection_dim=POOLED,
            pos_embed_max_size=SIDE,
        )
    elif kind == "sit":
        sizes = {
            "num_layers": layers,
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "sample_size": SIDES[kind],
        }
        network = diffusers.DiTTransformer2DModel(**{**SIT_XL_2, **sizes, "num_embeds_ada_norm": CLASSES})
    elif kind == "flux2":
        network = diffusers.Flux2Transformer2DModel(
            in_channels=4 * LATENTS,
            num_layers=layers,
            num_single_layers=layers,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=WIDTHS[kind],
            timestep_guidance_channels=16,
            axes_dims_rope=(2, 2, 2, 2),
            guidance_embeds=False,
        )
    else:
        network = diffusers.FluxTransformer2DModel(
            in_channels=4 * LATENTS,
            num_layers=layers,
            num_single_layers=layers,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=POOLED,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        )
    return network


def _scheduler_config(kind: str) -> Mapping[str, Any] | None:
    """The configuration of the scheduler of published pipelines of this kind; None for equal steps."""
    from diffusers import (
        DDPMScheduler,
        EulerDiscreteScheduler,
        FlowMatchEulerDiscreteScheduler,
        PNDMScheduler,
    )

    scheduler: Any
    if kind in SIDES:
        return None
    if kind == "stable_diffusion":
        scheduler = PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            set_alpha_to_one=False,
            skip_prk_steps=True,
            steps_offset=1,
        )
    elif kind == "stable_diffusion_xl":
        scheduler = EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        )
    elif kind == "unconditional":
        scheduler = DDPMScheduler()
    elif kind == "stable_diffusion_3":
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    else:
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    config: Mapping[str, Any] = scheduler.config
    return config
