r"""One protocol for what samplers call: ``denoiser(x, t, condition) -> model output``.

The state is always the latents, with shape (B, C, H, W) (any shape for the Gaussian model), t a timestep of
the scheduler for each row, and the condition named tensors with a row for each row of x.  What an
architecture wants beside that stays inside of its adapter: packing, position ids, the unit of time, and
classifier-free guidance (:func:`driftproof.backends.torch.guidance.guided`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol, cast, final

import torch
from torch import Tensor, nn

from ...._namespace import UnmetHypothesis
from ..adapters import without_adapters
from ..guidance import Condition, Predict, guided

__all__ = [
    "Denoiser",
    "FluxDenoiser",
    "SD3Denoiser",
    "UNetDenoiser",
    "reference_of",
    "require_prediction",
]

# What transformers take, and the names of the negatives.
POOLED = {"prompt": "negative", "pooled": "negative_pooled"}


class Denoiser(Protocol):
    """What a trainer needs of a model; implementations are modules.

    Arguments of a call:
        x: The states, with shape (B, *).
        t: Timesteps of the scheduler, with shape (B,).
        condition: Named tensors with B rows.
    """

    prediction: str  # what it returns: epsilon, v_prediction, sample, flow_prediction; "" if unknown

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor: ...


@final
class UNetDenoiser(nn.Module):
    """A ``UNet2DConditionModel`` (Stable Diffusion 1.x, 2.x).

    Arguments:
        unet: The network; its adapters, if any, are what is trained.
        prediction: What it was trained to predict.
        guidance: The weight w of classifier-free guidance; 1 runs the conditional model alone.

    Conditions: ``prompt`` and, where guidance is not 1, ``negative``, with shape (B, L, d).
    """

    def __init__(self, unet: nn.Module, prediction: str = "epsilon", guidance: float = 1.0) -> None:
        super().__init__()
        self.network, self.prediction, self.guidance = unet, prediction, guidance

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        def conditional(x: Tensor, t: Tensor, rows: Condition) -> Tensor:
            hidden = rows["prompt"]
            return _first(
                self.network(x.to(hidden.dtype), t, encoder_hidden_states=hidden, return_dict=False)
            )

        return guided(conditional, x, t, condition, self.guidance, {"prompt": "negative"})


@final
class SD3Denoiser(nn.Module):
    """An ``SD3Transformer2DModel``: a velocity.

    Conditions: ``prompt`` (B, L, d), ``pooled`` (B, p), and their negatives where guidance is not 1.
    """

    def __init__(self, transformer: nn.Module, guidance: float = 1.0) -> None:
        super().__init__()
        self.network, self.prediction, self.guidance = transformer, "flow_prediction", guidance

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        def conditional(x: Tensor, t: Tensor, rows: Condition) -> Tensor:
            hidden = rows["prompt"]
            return _first(
                self.network(
                    hidden_states=x.to(hidden.dtype),
                    timestep=t,
                    encoder_hidden_states=hidden,
                    pooled_projections=rows["pooled"],
                    return_dict=False,
                )
            )

        return guided(conditional, x, t, condition, self.guidance, POOLED)


@final
class FluxDenoiser(nn.Module):
    """A ``FluxTransformer2DModel``: a velocity, of latents packed in 2 x 2 patches.

    Arguments:
        transformer: The network.
        guidance: The guidance that the distilled model is told, where its configuration has
            ``guidance_embeds``; else the weight of classifier-free guidance.

    Conditions: ``prompt`` (B, L, d), ``pooled`` (B, p), and their negatives for classifier-free guidance.
    """

    def __init__(self, transformer: nn.Module, guidance: float = 1.0) -> None:
        super().__init__()
        self.network, self.prediction = transformer, "flow_prediction"
        self.told = guidance if cast("Any", transformer).config.guidance_embeds else None
        self.guidance = 1.0 if self.told is not None else guidance

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        if x.shape[-1] % 2 or x.shape[-2] % 2:
            raise UnmetHypothesis("FluxDenoiser", "height and width of latents are even", f"{tuple(x.shape)}")

        def conditional(x: Tensor, t: Tensor, rows: Condition) -> Tensor:
            hidden = rows["prompt"]
            height, width = x.shape[-2] // 2, x.shape[-1] // 2
            told = None if self.told is None else torch.full_like(t, self.told, dtype=torch.float32)
            packed = _first(
                self.network(
                    hidden_states=_packed(x.to(hidden.dtype)),
                    timestep=(t / 1000.0).to(hidden.dtype),
                    guidance=told,
                    pooled_projections=rows["pooled"],
                    encoder_hidden_states=hidden,
                    txt_ids=torch.zeros(hidden.shape[1], 3, dtype=hidden.dtype, device=x.device),
                    img_ids=_positions(height, width, hidden),
                    return_dict=False,
                )
            )
            return _unpacked(packed, height, width)

        return guided(conditional, x, t, condition, self.guidance, POOLED)


def require_prediction(subject: str, denoiser: Denoiser, prediction: str) -> None:
    """Raise unless the model predicts what the scheduler takes."""
    if denoiser.prediction != prediction:
        got = f"the model predicts {denoiser.prediction!r}, the scheduler takes {prediction!r}"
        raise UnmetHypothesis(subject, "model and scheduler have the same prediction type", got)


def reference_of(
    denoiser: nn.Module, prepare: Callable[[nn.Module], nn.Module] = lambda frozen: frozen
) -> Predict:
    """The model as it is now, for the KL divergence: adapters switched off, or a frozen copy.

    Arguments:
        denoiser: The model.
        prepare: What is done to the copy to make it run as the model does: device and precision.

    A network of which LoRA adapters alone are trained, and which are still zero, is shared: that costs no
    memory.  Adapters that already do something, or other weights that are trained beside them, need the copy.
    """
    network: Any = getattr(denoiser, "network", None)
    if getattr(network, "peft_config", None) and _is_base(network):

        def without(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            with torch.no_grad(), without_adapters(network):
                return cast("Predict", denoiser)(x, t, condition)

        return without
    frozen = prepare(copy.deepcopy(denoiser).eval().requires_grad_(False))

    def as_it_was(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        with torch.no_grad():
            return cast("Predict", frozen)(x, t, condition)

    return as_it_was


def _is_base(network: nn.Module) -> bool:
    """Whether the network without its adapters is the network as it is, and stays what it is."""
    named = list(network.named_parameters())
    alone = all("lora_" in name for name, weight in named if weight.requires_grad)
    return alone and not any(bool(weight.any()) for name, weight in named if "lora_B" in name)


def _first(output: Any) -> Tensor:
    return cast("Tensor", output[0])


def _packed(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    patches = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(b, (h // 2) * (w // 2), 4 * c)


def _unpacked(packed: Tensor, height: int, width: int) -> Tensor:
    b, _, c = packed.shape
    patches = packed.reshape(b, height, width, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(b, c // 4, 2 * height, 2 * width)


def _positions(height: int, width: int, like: Tensor) -> Tensor:
    """Rows (0, row, column), as Flux numbers its patches."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ids = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)
    return ids.to(device=like.device, dtype=like.dtype)
