"""Noise times of a training: a table of levels, and how one of them is drawn for every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.schedulers.levels import FlowLevels

__all__ = ["Density", "Noising"]

Density: TypeAlias = Literal["uniform", "logit-normal"]


@final
@dataclass(frozen=True, eq=False)
class Noising:
    """The noise times that a model is trained at.

    Arguments:
        alpha, sigma: Levels, from little noise to much, shape (T,); times without noise or without data are left out.
        timesteps: The model's label of each, shape (T,).
        density: ``uniform``, or ``logit-normal``, which flows are trained with: the middle of the table more often.

    Raises:
        UnmetHypothesis: No level, or one that is not positive.

    Example:
        >>> levels = torch.tensor([0.6, 0.8])
        >>> Noising(levels, levels.flip(0), torch.arange(2)).draw(torch.Generator().manual_seed(0), 3).shape
        torch.Size([3])
    """

    alpha: Tensor
    sigma: Tensor
    timesteps: Tensor
    density: Density = "uniform"

    def __post_init__(self) -> None:
        positive = bool((self.alpha > 0).all()) and bool((self.sigma > 0).all())
        shapes = {tuple(v.shape) for v in (self.alpha, self.sigma, self.timesteps)}
        if not positive or len(shapes) > 1 or self.alpha.ndim != 1 or not len(self.alpha):
            got = f"shapes {sorted(shapes)}, positive: {positive}"
            raise UnmetHypothesis("Noising", "alpha > 0, sigma > 0 and timesteps of one shape (T,)", got)

    @classmethod
    def of(cls, scheduler: Any, density: Density = "uniform") -> Noising:
        """The times that a :class:`~driftproof.backends.torch.schedulers.GDDIMScheduler` was trained with."""
        levels, steps = scheduler.levels, int(scheduler.config.num_train_timesteps)
        if isinstance(levels, FlowLevels):
            sigma = (np.arange(steps) + 0.5) / steps
            alpha, timesteps = 1.0 - sigma, torch.tensor(steps * sigma, dtype=torch.float32)
        else:
            kept = levels.alphas_cumprod > 0.0  # none of the data is left at zero terminal SNR
            alpha, sigma = np.sqrt(levels.alphas_cumprod[kept]), np.sqrt(1.0 - levels.alphas_cumprod[kept])
            timesteps = torch.arange(len(alpha))
        kept_alpha, kept_sigma = (torch.tensor(v, dtype=torch.float32) for v in (alpha, sigma))
        return cls(kept_alpha, kept_sigma, timesteps, density)

    @property
    def log_snr_range(self) -> float:
        """The range of log(alpha^2 / sigma^2)."""
        logs = 2.0 * (self.alpha.double().log() - self.sigma.double().log())
        return float(logs.max() - logs.min())

    def draw(self, generator: torch.Generator, rows: int) -> Tensor:
        """Numbers of times, shape (rows,)."""
        where: dict[str, Any] = {"generator": generator, "device": generator.device}
        if self.density == "uniform":
            return torch.randint(len(self.alpha), (rows,), **where)
        share = torch.sigmoid(torch.randn(rows, **where))
        return (share * len(self.alpha)).long().clamp_max(len(self.alpha) - 1)

    def levels(self, times: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma of some times, which broadcast against x."""
        shape = (-1, *(1,) * (x.ndim - 1))
        alpha, sigma = (v.to(device=x.device, dtype=x.dtype)[times] for v in (self.alpha, self.sigma))
        return alpha.reshape(shape), sigma.reshape(shape)
