"""The UNets of diffusers as denoisers, see :mod:`.denoisers`: with prompts, with prompts and sizes, and with neither."""

from __future__ import annotations

from typing import Any, cast, final

from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.numerics.samplers.parametrization import Parametrization

from .guidance import Condition, guided

__all__ = ["PixelDenoiser", "UNetDenoiser"]

# What SDXL takes, and the names of the negatives: sizes and crops are the same in both halves.
SIZED = {"prompt": "negative", "pooled": "negative_pooled", "time_ids": "time_ids"}


@final
class UNetDenoiser(nn.Module):
    """A ``UNet2DConditionModel``: Stable Diffusion 1.x and 2.x, and XL, which also takes the size of the image.

    Arguments:
        unet: The network; its adapters, if any, are what is trained.
        prediction: The parametrization that it was trained for.
        guidance: The weight w of classifier-free guidance; 1 runs the conditional model alone.
        sized: Whether it takes sizes.

    Conditions: ``prompt`` (B, L, d) and, where guidance is not 1, ``negative``.  With sizes also ``pooled`` (B, p) and
    ``negative_pooled`` of the second text encoder, and ``time_ids`` (B, 6): the original height and width, top and left
    of the crop, the height and width wanted.
    """

    def __init__(
        self,
        unet: nn.Module,
        prediction: Parametrization = "epsilon",
        guidance: float = 1.0,
        *,
        sized: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.prediction, self.guidance = unet, prediction, guidance
        self.negatives = SIZED if sized else {"prompt": "negative"}

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        def conditional(x: Tensor, t: Tensor, rows: Condition) -> Tensor:
            hidden = rows["prompt"]
            options: dict[str, Any] = {"encoder_hidden_states": hidden, "return_dict": False}
            if "time_ids" in rows:
                options["added_cond_kwargs"] = {"text_embeds": rows["pooled"], "time_ids": rows["time_ids"]}
            return cast("Tensor", self.network(x.to(hidden.dtype), t, **options)[0])

        return guided(conditional, x, t, condition, self.guidance, self.negatives)


@final
class PixelDenoiser(nn.Module):
    """A ``UNet2DModel`` (of ``DDPMPipeline``): pixels in [-1, 1], and no condition.

    Arguments:
        unet: The network; it predicts one number for each pixel, no variance beside.
        prediction: As for :class:`UNetDenoiser`.

    Raises:
        UnmetHypothesis: The numbers of channels in and out differ.
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
