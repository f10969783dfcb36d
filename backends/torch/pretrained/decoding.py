"""From latents to images in [0, 1], differentiable, in the ways of the published autoencoders."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["decoder", "images_of", "images_or_gradients"]

DECODED_AT_ONCE = 8


def decoder(kind: str, vae: Any) -> Callable[[Tensor], Tensor]:
    """``decode(latents)`` gives images, with shape (B, 3, H, W), that may leave [0, 1] a little.

    Arguments:
        kind: The family of the pipeline.
        vae: Its autoencoder.
    """

    def decode(x: Tensor) -> Tensor:
        if kind == "flux2":
            scale = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps).reshape(1, -1, 1, 1)
            x = x * scale + vae.bn.running_mean.reshape(1, -1, 1, 1)
            b, c, h, w = x.shape
            x = x.reshape(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // 4, 2 * h, 2 * w)
        else:
            x = x / float(vae.config.scaling_factor) + float(getattr(vae.config, "shift_factor", None) or 0.0)
        images = vae.decode(x.to(vae.dtype), return_dict=False)[0]
        return 0.5 * images.to(torch.float32) + 0.5

    return decode


def images_of(decode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same without gradients, a few latents at a time, cut to [0, 1]."""

    @torch.no_grad()
    def images(latents: Tensor) -> Tensor:
        return torch.cat([decode(part) for part in torch.split(latents, DECODED_AT_ONCE)]).clamp(0.0, 1.0)

    return images


def images_or_gradients(kind: str, vae: Any) -> Callable[[Tensor], Tensor]:
    """:func:`images_of` where no gradient is recorded, else :func:`decoder`, in single precision.

    The gradients of a decoder in half precision are noise: one of half precision is copied when they are asked for.
    """

    @cache
    def exact() -> Callable[[Tensor], Tensor]:
        single = vae if vae.dtype in (torch.float32, torch.float64) else copy.deepcopy(vae).float()
        return decoder(kind, single)

    images = images_of(decoder(kind, vae))
    return lambda latents: exact()(latents) if torch.is_grad_enabled() else images(latents)
