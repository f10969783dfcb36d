"""Small configurations of the real classes, with random weights: the same code paths without a download."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .config import PublishedModel
from .sit import SIT_XL_2

__all__ = ["small_network", "small_parts"]

LATENTS, LENGTH, WIDTH, POOLED, CLASSES = 4, 4, 12, 6, 5


def small_parts(
    model: PublishedModel,
) -> tuple[nn.Module, Any, dict[str, Tensor], tuple[str, ...], tuple[int, ...], tuple[float, ...]]:
    """Network, decoder, conditions, prompts, shape of the latents and grid: a few milliseconds on one core."""
    side = 4
    times = tuple(np.linspace(1.0, 0.0, model.steps + 1).tolist())
    network, vae = small_network(model.kind), _small_vae(model.kind)
    if model.kind == "sit":
        prompts = tuple(f"class {label}" for label in model.labels)
        return network, vae, {"label": torch.tensor(model.labels)}, prompts, (LATENTS, side, side), times
    names = {"prompt": (LENGTH, WIDTH)} | ({"pooled": (POOLED,)} if model.kind == "sd3" else {})
    conditions = {name: torch.randn(len(model.prompts), *shape) for name, shape in names.items()}
    negatives = {"prompt": "negative", "pooled": "negative_pooled"}
    conditions |= {negatives[name]: torch.zeros_like(value) for name, value in conditions.items()}
    channels = 4 * LATENTS if model.kind == "flux2" else LATENTS
    return network, vae, conditions, model.prompts, (channels, side, side), times


def small_network(kind: str, layers: int = 1) -> nn.Module:
    """A transformer of this kind with random weights; SiT and SD3 begin with outputs that are not zero."""
    from diffusers import DiTTransformer2DModel, Flux2Transformer2DModel, SD3Transformer2DModel

    network: nn.Module
    if kind == "sit":
        sizes = {"num_layers": layers, "num_attention_heads": 2, "attention_head_dim": 8, "sample_size": 4}
        network = DiTTransformer2DModel(**{**SIT_XL_2, **sizes, "num_embeds_ada_norm": CLASSES})
    elif kind == "flux2":
        network = Flux2Transformer2DModel(
            in_channels=4 * LATENTS,
            num_layers=layers,
            num_single_layers=layers,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            timestep_guidance_channels=16,
            axes_dims_rope=(2, 2, 2, 2),
            guidance_embeds=False,
        )
    else:
        network = SD3Transformer2DModel(
            sample_size=4,
            in_channels=LATENTS,
            out_channels=LATENTS,
            num_layers=layers,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            caption_projection_dim=16,
            pooled_projection_dim=POOLED,
            pos_embed_max_size=8,
        )
    return network


def _small_vae(kind: str) -> nn.Module:
    from diffusers import AutoencoderKL, AutoencoderKLFlux2

    blocks: dict[str, Any] = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": LATENTS,
        "norm_num_groups": 4,
        "layers_per_block": 1,
    }
    vae: nn.Module = AutoencoderKLFlux2(**blocks) if kind == "flux2" else AutoencoderKL(**blocks)
    return vae
