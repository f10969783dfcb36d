r"""One protocol for flow models: ``velocity(x, t, condition)`` in noise time.

The state has shape (B, C, H, W), t is a noise time in [0, 1], a Python float with the data at 0, and the
velocity is :math:`dx/dt`, which on the linear path is :math:`E[z - x_0 \mid x_t]`.  What an architecture
wants beside that stays inside of its adapter:

==================================  ==========================  ============================  ==========
class of diffusers                  adapter                     its own time                  its output
==================================  ==========================  ============================  ==========
``SD3Transformer2DModel``           ``SD3Velocity``             1000 t                        dx/dt
``Flux2Transformer2DModel``         ``Flux2Velocity``           t, on packed latents          dx/dt
``DiTTransformer2DModel`` as SiT    ``SiTVelocity``             1 - t: the data are at 1      -dx/dt
==================================  ==========================  ============================  ==========
"""

from __future__ import annotations

from typing import Any, Protocol, cast, final

import torch
from torch import Tensor, nn

from ..guidance import Condition, guided
from ..reward_gap.denoisers import SD3Denoiser

__all__ = ["Flux2Velocity", "SD3Velocity", "SiTVelocity", "Velocity"]


class Velocity(Protocol):
    """What adjoint matching needs of a flow model."""

    network: nn.Module

    def __call__(self, x: Tensor, t: float, condition: Condition) -> Tensor: ...


@final
class SD3Velocity:
    """An ``SD3Transformer2DModel``.

    Conditions: ``prompt`` (B, L, d), ``pooled`` (B, p), and their negatives where guidance is not 1.
    """

    def __init__(self, network: nn.Module, guidance: float = 1.0) -> None:
        self.network = network
        self._denoiser = SD3Denoiser(network, guidance)

    def __call__(self, x: Tensor, t: float, condition: Condition) -> Tensor:
        return cast("Tensor", self._denoiser(x, _rows(x, 1000.0 * t), condition))


@final
class Flux2Velocity:
    """A ``Flux2Transformer2DModel`` (FLUX.2 Klein), on latents (B, C, H, W) of which each pixel is a token.

    Arguments:
        network: The transformer.
        guidance: The weight of classifier-free guidance.  A model that is told its guidance
            (``guidance_embeds``) is told this number instead.

    Conditions: ``prompt`` (B, L, d), and ``negative`` for classifier-free guidance.
    """

    def __init__(self, network: nn.Module, guidance: float = 1.0) -> None:
        self.network = network
        told = bool(cast("Any", network).config.guidance_embeds)
        self.told: float | None = guidance if told else None
        self.guidance = 1.0 if told else guidance

    def __call__(self, x: Tensor, t: float, condition: Condition) -> Tensor:
        def predict(x: Tensor, times: Tensor, rows: Condition) -> Tensor:
            prompt = rows["prompt"]
            height, width = x.shape[-2:]
            told = None if self.told is None else torch.full_like(times, self.told)
            tokens = self.network(
                hidden_states=x.flatten(2).transpose(1, 2).to(prompt.dtype),
                timestep=times.to(prompt.dtype),
                guidance=told,
                encoder_hidden_states=prompt,
                txt_ids=_ids(x, 1, 1, 1, prompt.shape[1]).expand(len(x), -1, -1),
                img_ids=_ids(x, 1, height, width, 1).expand(len(x), -1, -1),
                return_dict=False,
            )[0]
            return cast("Tensor", tokens.transpose(1, 2).reshape(x.shape))

        return guided(predict, x, _rows(x, t), condition, self.guidance, {"prompt": "negative"})


@final
class SiTVelocity:
    """A SiT on ``DiTTransformer2DModel``: classes in place of prompts, and time that runs to the data.

    Arguments:
        network: The transformer with the weights of :func:`.sit.converted`; twice as many channels out as
            in, where the second half is the variance that a DiT learns and a SiT ignores.
        guidance: The weight of classifier-free guidance; the class "none" is the number of classes.

    Conditions: ``label`` (B,), integers.
    """

    def __init__(self, network: nn.Module, guidance: float = 1.0) -> None:
        self.network, self.guidance = network.eval(), guidance  # in training mode, DiT drops labels
        for block in cast("Any", network).transformer_blocks:
            # SiT's frequencies; those of diffusers are shifted by one, which its float times would feel.
            block.norm1.emb.time_proj.downscale_freq_shift = 0

    def __call__(self, x: Tensor, t: float, condition: Condition) -> Tensor:
        none = int(cast("Any", self.network).config.num_embeds_ada_norm)
        labels = condition["label"]
        rows = {"label": labels, "none": torch.full_like(labels, none)}

        def predict(x: Tensor, times: Tensor, rows: Condition) -> Tensor:
            output = self.network(x.to(self._dtype), times, class_labels=rows["label"], return_dict=False)[0]
            return -cast("Tensor", output)[:, : x.shape[1]]

        return guided(predict, x, _rows(x, 1.0 - t), rows, self.guidance, {"label": "none"})

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype


def _rows(x: Tensor, t: float) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.float32, device=x.device)


def _ids(x: Tensor, *sizes: int) -> Tensor:
    """Positions (time, row, column, word) as FLUX.2 numbers its tokens: (1, n, 4)."""
    axes = [torch.arange(size, device=x.device) for size in sizes]
    return torch.cartesian_prod(*axes)[None]
