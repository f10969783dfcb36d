r"""One protocol for what samplers call: ``denoiser(x, t, condition) -> model output``.

The state is always the latents, with shape (B, C, H, W) (any shape for the Gaussian model), t a timestep of
the scheduler for each row (of flows, 1000 times the noise time), and the condition named tensors with a row for
each row of x.  What an architecture wants beside that stays inside of its adapter: packing, position ids, the
unit and direction of time, and classifier-free guidance (:func:`.guidance.guided`):

==================================  ==================  ============================  ==========
class of diffusers                  adapter             its own time                  its output
==================================  ==================  ============================  ==========
``UNet2DConditionModel``            ``UNetDenoiser``    the timestep                  any
``UNet2DModel``                     ``PixelDenoiser``   the timestep                  any
``SD3Transformer2DModel``           ``SD3Denoiser``     the timestep                  dx/dt
``FluxTransformer2DModel``          ``FluxDenoiser``    t / 1000, on packed patches   dx/dt
``Flux2Transformer2DModel``         ``Flux2Denoiser``   t / 1000, a pixel a token     dx/dt
``DiTTransformer2DModel`` as SiT    ``SiTDenoiser``     1 - t / 1000                  -dx/dt
==================================  ==================  ============================  ==========

UNets are in :mod:`.unets`.  A flow in continuous noise time is the same model behind :class:`Velocity`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol, cast, final

import torch
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.numerics.samplers.parametrization import Parametrization

from .guidance import Condition, Predict, guided
from .lora import adapters_alone, without_adapters

__all__ = [
    "Denoiser",
    "Flux2Denoiser",
    "FluxDenoiser",
    "SD3Denoiser",
    "SiTDenoiser",
    "Velocity",
    "reference_of",
    "require_prediction",
]

# What transformers take, and the names of the negatives.
POOLED = {"prompt": "negative", "pooled": "negative_pooled"}


class Denoiser(Protocol):
    """The interface of a model to a trainer; implementations are modules.

    Arguments of a call:
        x: The states, with shape (B, *).
        t: Timesteps of the scheduler, with shape (B,).
        condition: Named tensors with B rows.
    """

    prediction: Parametrization  # what it returns

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor: ...


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
        guidance: The guidance that the distilled model takes as an input, where its configuration has
            ``guidance_embeds``; else the weight of classifier-free guidance.

    Conditions: ``prompt`` (B, L, d), ``pooled`` (B, p), and their negatives for classifier-free guidance.
    """

    def __init__(self, transformer: nn.Module, guidance: float = 1.0) -> None:
        super().__init__()
        self.network, self.prediction = transformer, "flow_prediction"
        self.embedded, self.guidance = _guidances(transformer, guidance)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        if x.shape[-1] % 2 or x.shape[-2] % 2:
            raise UnmetHypothesis("FluxDenoiser", "height and width of latents are even", f"{tuple(x.shape)}")

        def conditional(x: Tensor, t: Tensor, rows: Condition) -> Tensor:
            hidden = rows["prompt"]
            height, width = x.shape[-2] // 2, x.shape[-1] // 2
            packed = _first(
                self.network(
                    hidden_states=_packed(x.to(hidden.dtype)),
                    timestep=(t / 1000.0).to(hidden.dtype),
                    guidance=_number(self.embedded, t),
                    pooled_projections=rows["pooled"],
                    encoder_hidden_states=hidden,
                    txt_ids=torch.zeros(hidden.shape[1], 3, dtype=hidden.dtype, device=x.device),
                    img_ids=_positions(height, width, hidden),
                    return_dict=False,
                )
            )
            return _unpacked(packed, height, width)

        return guided(conditional, x, t, condition, self.guidance, POOLED)


@final
class Flux2Denoiser(nn.Module):
    """A ``Flux2Transformer2DModel`` (FLUX.2 Klein): a velocity, of latents of which each pixel is a token.

    Arguments:
        transformer: The network.
        guidance: As for :class:`FluxDenoiser`.

    Conditions: ``prompt`` (B, L, d), and ``negative`` for classifier-free guidance.
    """

    def __init__(self, transformer: nn.Module, guidance: float = 1.0) -> None:
        super().__init__()
        self.network, self.prediction = transformer, "flow_prediction"
        self.embedded, self.guidance = _guidances(transformer, guidance)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        def conditional(x: Tensor, t: Tensor, rows: Condition) -> Tensor:
            hidden = rows["prompt"]
            height, width = x.shape[-2:]
            tokens = _first(
                self.network(
                    hidden_states=x.flatten(2).transpose(1, 2).to(hidden.dtype),
                    timestep=(t / 1000.0).to(hidden.dtype),
                    guidance=_number(self.embedded, t),
                    encoder_hidden_states=hidden,
                    txt_ids=_ids(x, 1, 1, 1, hidden.shape[1]).expand(len(x), -1, -1),
                    img_ids=_ids(x, 1, height, width, 1).expand(len(x), -1, -1),
                    return_dict=False,
                )
            )
            return tokens.transpose(1, 2).reshape(x.shape)

        return guided(conditional, x, t, condition, self.guidance, {"prompt": "negative"})


@final
class SiTDenoiser(nn.Module):
    """A SiT on ``DiTTransformer2DModel``: classes in place of prompts, and time that runs to the data.

    Arguments:
        transformer: The network with the weights of :func:`.sit.converted`; twice as many channels out as in,
            where the second half is the variance that a DiT learns and a SiT ignores.
        guidance: The weight of classifier-free guidance; the class "none" is the number of classes.

    Conditions: ``label`` (B,), integers.
    """

    def __init__(self, transformer: nn.Module, guidance: float = 1.0) -> None:
        super().__init__()
        self.network = transformer.eval()  # in training mode, DiT drops labels
        self.prediction, self.guidance = "flow_prediction", guidance
        for block in cast("Any", transformer).transformer_blocks:
            # SiT's frequencies; those of diffusers are shifted by one, which its float times would feel.
            block.norm1.emb.time_proj.downscale_freq_shift = 0

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        none = int(cast("Any", self.network).config.num_embeds_ada_norm)
        dtype = next(self.network.parameters()).dtype
        labels = condition["label"]
        rows = {"label": labels, "none": torch.full_like(labels, none)}

        def conditional(x: Tensor, t: Tensor, rows: Condition) -> Tensor:
            times = 1.0 - t / 1000.0
            output = self.network(x.to(dtype), times, class_labels=rows["label"], return_dict=False)
            return -_first(output)[:, : x.shape[1]]

        return guided(conditional, x, t, rows, self.guidance, {"label": "none"})


@final
class Velocity:
    r"""A flow in noise time: ``velocity(x, t, condition)`` with t a float in [0, 1], the data at 0.

    Arguments:
        denoiser: A model that predicts :math:`dx/dt`, which on the linear path is :math:`E[z - x_0 \mid x_t]`.
    """

    def __init__(self, denoiser: nn.Module) -> None:
        require_prediction("Velocity", denoiser, "flow_prediction")  # type: ignore[arg-type]  # a module has any attribute
        self.denoiser = denoiser

    @property
    def network(self) -> nn.Module:
        """The network of diffusers."""
        return cast("nn.Module", self.denoiser.network)

    def __call__(self, x: Tensor, t: float, condition: Condition) -> Tensor:
        times = torch.full((len(x),), 1000.0 * t, dtype=torch.float32, device=x.device)
        return cast("Tensor", self.denoiser(x, times, condition))


def require_prediction(subject: str, denoiser: Denoiser, prediction: Parametrization) -> None:
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
    if network is not None and adapters_alone(network) and _adapters_are_zero(network):

        def without(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            with torch.no_grad(), without_adapters(network):
                return cast("Predict", denoiser)(x, t, condition)

        return without
    frozen = prepare(copy.deepcopy(denoiser).eval().requires_grad_(False))

    def as_it_was(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        with torch.no_grad():
            return cast("Predict", frozen)(x, t, condition)

    return as_it_was


def _adapters_are_zero(network: nn.Module) -> bool:
    return not any(bool(weight.any()) for name, weight in network.named_parameters() if "lora_B" in name)


def _guidances(transformer: nn.Module, guidance: float) -> tuple[float | None, float]:
    """The guidance that a distilled model takes as an input, and the weight of classifier-free guidance."""
    distilled = cast("Any", transformer).config.guidance_embeds
    return (guidance, 1.0) if distilled else (None, guidance)


def _number(value: float | None, like: Tensor) -> Tensor | None:
    return None if value is None else torch.full_like(like, value, dtype=torch.float32)


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


def _ids(x: Tensor, *sizes: int) -> Tensor:
    """Positions (time, row, column, word) as FLUX.2 numbers its tokens: (1, n, 4)."""
    axes = [torch.arange(size, device=x.device) for size in sizes]
    return torch.cartesian_prod(*axes)[None]
