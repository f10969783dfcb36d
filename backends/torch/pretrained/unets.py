"""The UNets of diffusers as denoisers, see :mod:`.denoisers`: with prompts, with prompts and sizes, and with neither."""

from __future__ import annotations

from typing import Any, cast, final

from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.numerics.samplers.parametrization import Parametrization

from .guidance import Condition, guided

__all__ = ["PixelDenoiser", "SDXLDenoiser", "UNetDenoiser"]

# What SDXL takes, and the names of the negatives: sizes and crops are the same in both halves.
MICRO = {"prompt": "negative", "pooled": "negative_pooled", "time_ids": "time_ids"}


@final
class UNetDenoiser(nn.Module):
    """A ``UNet2DConditionModel`` (Stable Diffusion 1.x, 2.x).

    Arguments:
        unet: The network; its adapters, if any, are what is trained.
        prediction: What it was trained to predict.
        guidance: The weight w of classifier-free guidance; 1 runs the conditional model alone.

    Conditions: ``prompt`` and, where guidance is not 1, ``negative``, with shape (B, L, d).
    """

    def __init__(
        self, unet: nn.Module, prediction: Parametrization = "epsilon", guidance: float = 1.0
    ) -> None:
        super().__init__()
        self.network, self.prediction, self.guidance = unet, prediction, guidance

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        def conditional(x: Tensor, t: Tensor, rows: Condition) -> Tensor:
            hidden = rows["prompt"]
            output = self.network(x.to(hidden.dtype), t, encoder_hidden_states=hidden, return_dict=False)
            return cast("Tensor", output[0])

        return guided(conditional, x, t, condition, self.guidance, {"prompt": "negative"})


@final
class SDXLDenoiser(nn.Module):
    """A ``UNet2DConditionModel`` of Stable Diffusion XL, which is also told the size of the image.

    Arguments:
        unet, prediction, guidance: As for :class:`UNetDenoiser`.

    Conditions: ``prompt`` (B, L, d) of both text encoders side by side, ``pooled`` (B, p) of the second, ``time_ids``
    (B, 6): the original height and width, the top and left of the crop, the height and width wanted; and where
    guidance is not 1, ``negative`` and ``negative_pooled``.
    """

    def __init__(
        self, unet: nn.Module, prediction: Parametrization = "epsilon", guidance: float = 1.0
    ) -> None:
        super().__init__()
        self.network, self.prediction, self.guidance = unet, prediction, guidance

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        def conditional(x: Tensor, t: Tensor, rows: Condition) -> Tensor:
            hidden = rows["prompt"]
            output = self.network(
                x.to(hidden.dtype),
                t,
                encoder_hidden_states=hidden,
                added_cond_kwargs={"text_embeds": rows["pooled"], "time_ids": rows["time_ids"]},
                return_dict=False,
            )
            return cast("Tensor", output[0])

        return guided(conditional, x, t, condition, self.guidance, MICRO)


@final
class PixelDenoiser(nn.Module):
    """A ``UNet2DModel`` (of ``DDPMPipeline``): pixels in [-1, 1], and no condition.

    Arguments:
        unet: The network; it predicts one number for each pixel, no variance beside.
        prediction: As for :class:`UNetDenoiser`.

    Raises:
        UnmetHypothesis: As many channels out as in are wanted.
    """

    def __init__(self, unet: nn.Module, prediction: Parametrization = "epsilon") -> None:
        super().__init__()
        config = cast("Any", unet).config
        if config.out_channels != config.in_channels:
            got = f"{config.in_channels} in, {config.out_channels} out: its variance is learned"
            raise UnmetHypothesis("PixelDenoiser", "the network has as many channels out as in", got)
        self.network, self.prediction = unet, prediction

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        dtype = next(self.network.parameters()).dtype
        return cast("Tensor", self.network(x.to(dtype), t, return_dict=False)[0]).to(x.dtype)
