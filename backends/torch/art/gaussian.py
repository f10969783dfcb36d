r"""Gaussian data as a network: what is learned from it is known in closed form."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.schedulers.levels import Floats, betas_of
from driftproof.numerics.samplers.parametrization import Parametrization

from .frozen import FrozenFlow

__all__ = ["GaussianDenoiser", "gaussian_flow", "stable_diffusion_table"]


@final
class GaussianDenoiser:
    r"""The exact prediction for data :math:`N(0, s^2)`: the noise at a label of a table, or the velocity of a flow."""

    def __init__(self, scale: float, table: Floats | None = None) -> None:
        if not scale > 0.0:
            raise UnmetHypothesis("GaussianDenoiser", "scale > 0", f"scale = {scale!r}")
        self.scale = scale
        self.log = None if table is None else torch.as_tensor(0.5 * (np.log1p(-table) - np.log(table)))
        self.prediction: Parametrization = "flow_prediction" if table is None else "epsilon"

    def __repr__(self) -> str:
        return f"GaussianDenoiser({self.scale!r})"

    def __call__(self, x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        t = t.reshape(-1, *(1,) * (x.ndim - 1)).to(x.dtype)
        data = self.scale**2
        if self.log is None:
            t = t / 1000.0
            return x * (t - (1.0 - t) * data) / ((1.0 - t) ** 2 * data + t * t)
        low = t.detach().floor().clamp(0, len(self.log) - 2).long()
        log = self.log.to(x.dtype)
        ratio = torch.exp(log[low] + (t - low) * (log[low + 1] - log[low]))
        alpha = torch.rsqrt(1.0 + ratio * ratio)
        return x * ratio / (alpha * (data + ratio * ratio))


def stable_diffusion_table() -> Floats:
    """The cumulative products of Stable Diffusion."""
    betas = betas_of("scaled_linear", 0.00085, 0.012, 1000).double()
    found: Floats = torch.cumprod(1.0 - betas, dim=0).numpy()
    return found


def gaussian_flow(scale: float, kind: str, width: int = 64) -> FrozenFlow:
    """A Gaussian of ``width`` coordinates, as a flow or by the table of Stable Diffusion, from standard normal states as a pipeline is."""
    table = None if kind == "flow" else stable_diffusion_table()
    return FrozenFlow(GaussianDenoiser(scale, table), table, {}, (width,))
