r"""Noise levels of a scheduler: the trained table of a VP model, or the straight line of a flow.

A timestep tau of a VP model indexes the table of cumulative products; between two integers the log of the
noise ratio is linear,

.. math:: \log\frac{\sigma}{\alpha}(\tau) = (1 - w)\log\frac{\sigma}{\alpha}(\lfloor\tau\rfloor)
    + w \log\frac{\sigma}{\alpha}(\lceil\tau\rceil),

so that timesteps and noise ratios determine each other.  A timestep of a flow is its noise level times the
number of training steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis

__all__ = ["FlowLevels", "Levels", "VPLevels", "betas_of", "rescaled_to_zero_snr"]

Floats: TypeAlias = npt.NDArray[np.float64]


def betas_of(schedule: str, start: float, end: float, steps: int, trained: Any = None) -> Tensor:
    """The betas of diffusers' schedules, in float32: the numbers that its models were trained with.

    Raises:
        UnmetHypothesis: An unknown schedule, betas outside of (0, 1], or another number of them than steps.
    """
    if trained is None and not 0.0 < start <= end <= 1.0:
        got = f"beta_start = {start!r}, beta_end = {end!r}"
        raise UnmetHypothesis("GDDIMScheduler", "0 < beta_start <= beta_end <= 1", got)
    betas = (
        torch.as_tensor(trained, dtype=torch.float32)
        if trained is not None
        else _named(schedule, start, end, steps)
    )
    if betas.shape != (steps,):
        got = f"shape {tuple(betas.shape)}"
        raise UnmetHypothesis(
            "GDDIMScheduler", f"trained_betas has num_train_timesteps = {steps} values", got
        )
    if not bool(((betas > 0.0) & (betas <= 1.0)).all()):
        got = f"from {float(betas.min())!r} to {float(betas.max())!r}"
        raise UnmetHypothesis("GDDIMScheduler", "0 < beta <= 1", got)
    return betas


def _named(schedule: str, start: float, end: float, steps: int) -> Tensor:
    match schedule:
        case "linear":
            return torch.linspace(start, end, steps, dtype=torch.float32)
        case "scaled_linear":
            return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2
        case "squaredcos_cap_v2":
            bars = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
            return torch.tensor([min(1 - bars[i + 1] / bars[i], 0.999) for i in range(steps)])
    known = "linear, scaled_linear or squaredcos_cap_v2"
    raise UnmetHypothesis("GDDIMScheduler", f"beta_schedule is {known}", f"beta_schedule = {schedule!r}")


def rescaled_to_zero_snr(betas: Tensor) -> Tensor:
    """Betas whose last level is pure noise.

    References:
        | Common diffusion noise schedules and sample steps are flawed (Lin et al., 2024), algorithm 1
        | https://arxiv.org/abs/2305.08891
    """
    root = torch.cumprod(1.0 - betas, dim=0).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    bars = ((root - last) * (first / (first - last))) ** 2
    return 1 - torch.cat([bars[:1], bars[1:] / bars[:-1]])


@final
@dataclass(frozen=True)
class VPLevels:
    """Levels of a trained table of cumulative products, and of the data point that a run ends at."""

    alphas_cumprod: Floats  # shape (steps,), decreasing
    final: float  # cumulative product at the end of a run

    @property
    def log_ratio(self) -> Floats:
        """log(sigma / alpha) of the table; infinite at zero terminal SNR."""
        with np.errstate(divide="ignore"):
            return 0.5 * (np.log1p(-self.alphas_cumprod) - np.log(self.alphas_cumprod))

    @property
    def end(self) -> tuple[float, float]:
        return math.sqrt(self.final), math.sqrt(1.0 - self.final)

    def at(self, timesteps: Floats) -> tuple[Floats, Floats]:
        """alpha and sigma at timesteps in [0, steps - 1]."""
        low = np.floor(timesteps).astype(np.int64)
        bars = self.alphas_cumprod[low]
        alpha, sigma = np.sqrt(bars), np.sqrt(1.0 - bars)
        between = timesteps != low
        if between.any():
            log_ratio = np.interp(timesteps[between], np.arange(self.log_ratio.size), self.log_ratio)
            alpha[between], sigma[between] = self.of_ratio(np.exp(log_ratio))
        return alpha, sigma

    def of_ratio(self, ratio: Floats) -> tuple[Floats, Floats]:
        """alpha and sigma of noise ratios sigma / alpha."""
        with np.errstate(divide="ignore"):  # either may be infinite
            return 1.0 / np.hypot(1.0, ratio), 1.0 / np.hypot(1.0, 1.0 / ratio)

    def timesteps(self, ratio: Floats) -> Floats:
        """The timesteps of noise ratios, those out of the table at its ends."""
        with np.errstate(divide="ignore"):
            return np.interp(np.log(ratio), self.log_ratio, np.arange(self.log_ratio.size, dtype=np.float64))


@final
@dataclass(frozen=True)
class FlowLevels:
    """Levels of the straight line between data and noise."""

    steps: int

    end = (1.0, 0.0)

    def at(self, timesteps: Floats) -> tuple[Floats, Floats]:
        return self.of_ratio(timesteps / self.steps)

    def of_ratio(self, ratio: Floats) -> tuple[Floats, Floats]:
        """alpha and sigma of diffusers' sigma, which for a flow is the noise level itself."""
        return 1.0 - ratio, ratio

    def timesteps(self, ratio: Floats) -> Floats:
        return ratio * self.steps


Levels: TypeAlias = VPLevels | FlowLevels
