"""From latents to images in [0, 1] and back, in the ways of the published autoencoders; decoding is differentiable."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["decoder", "encoder", "images_of", "images_or_gradients"]

DECODED_AT_ONCE = 8


def decoder(kind: str, vae: Any) -> Callable[[Tensor], Tensor]:
    """``decode(latents)`` gives images, with shape (B, 3, H, W), that may leave [0, 1] a little; grey has three equal channels.

    Arguments:
        kind: The family of the pipeline.
        vae: Its autoencoder; None for pixels in [-1, 1].
    """
    if vae is None:
        return lambda x: 0.5 * x.to(torch.float32) + 0.5

    def decode(x: Tensor) -> Tensor:
        if kind == "flux2":
            scale = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps).reshape(1, -1, 1, 1)
            x = x * scale + vae.bn.running_mean.reshape(1, -1, 1, 1)
            b, c, h, w = x.shape
            x = x.reshape(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // 4, 2 * h, 2 * w)
        else:
            mean, std = (getattr(vae.config, f"latents_{name}", None) for name in ("mean", "std"))
            if kind == "stable_diffusion_xl" and mean is not None and std is not None:
                x = x * x.new_tensor(std).reshape(1, -1, 1, 1)
                x = x + float(vae.config.scaling_factor) * x.new_tensor(mean).reshape(1, -1, 1, 1)
            x = x / float(vae.config.scaling_factor) + float(getattr(vae.config, "shift_factor", None) or 0.0)
        images = vae.decode(x.to(vae.dtype), return_dict=False)[0]
        in_colour = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        return 0.5 * in_colour.to(torch.float32) + 0.5

    return decode


def encoder(kind: str, vae: Any) -> Callable[[Tensor], Tensor]:
    """``encode(images)`` gives the mean latents of images in [0, 1] with shape (B, 3, H, W): the inverse of :func:`decoder`.

    Arguments:
        kind: The family of the pipeline.
        vae: Its autoencoder, in single precision where half overflows (SDXL's does); None for pixels in [-1, 1].
    """
    if vae is None:
        return lambda images: 2.0 * images.to(torch.float32) - 1.0

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        if vae.config.in_channels == 1:
            images = images.mean(dim=1, keepdim=True)
        parts = torch.split(2.0 * images.to(vae.dtype) - 1.0, DECODED_AT_ONCE)
        x = torch.cat([vae.encode(part).latent_dist.mean for part in parts]).to(torch.float32)
        if kind == "flux2":
            b, c, h, w = x.shape
            x = (
                x.reshape(b, c, h // 2, 2, w // 2, 2)
                .permute(0, 1, 3, 5, 2, 4)
                .reshape(b, 4 * c, h // 2, w // 2)
            )
            scale = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps).reshape(1, -1, 1, 1)
            return (x - vae.bn.running_mean.reshape(1, -1, 1, 1)) / scale
        x = (x - float(getattr(vae.config, "shift_factor", None) or 0.0)) * float(vae.config.scaling_factor)
        mean, std = (getattr(vae.config, f"latents_{name}", None) for name in ("mean", "std"))
        if kind == "stable_diffusion_xl" and mean is not None and std is not None:
            x = x - float(vae.config.scaling_factor) * x.new_tensor(mean).reshape(1, -1, 1, 1)
            x = x / x.new_tensor(std).reshape(1, -1, 1, 1)
        return x

    return encode


def images_of(decode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same without gradients, a few latents at a time, cut to [0, 1]."""

    @torch.no_grad()
    def images(latents: Tensor) -> Tensor:
        return torch.cat([decode(part) for part in torch.split(latents, DECODED_AT_ONCE)]).clamp(0.0, 1.0)

    return images


def images_or_gradients(kind: str, vae: Any) -> Callable[[Tensor], Tensor]:
    """:func:`images_of` where no gradient is recorded, else :func:`decoder`, in single precision.

    The gradients of a decoder in half precision are noise: one of half precision is copied when they are needed.
    """

    @cache
    def exact() -> Callable[[Tensor], Tensor]:
        single = vae is None or vae.dtype in (torch.float32, torch.float64)
        return decoder(kind, vae if single else copy.deepcopy(vae).float())

    # The autoencoder of SDXL overflows in float16; its pipeline, too, decodes in float32.
    overflows = kind == "stable_diffusion_xl" and vae.dtype == torch.float16 and vae.config.force_upcast
    images = images_of(exact() if overflows else decoder(kind, vae))
    return lambda latents: exact()(latents) if torch.is_grad_enabled() else images(latents)
