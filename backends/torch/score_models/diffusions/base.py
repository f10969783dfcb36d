r"""What a generative diffusion is made of, whatever its process.

All diffusions are set up by one rule, so that a comparison compares processes and nothing else:

* **One noise axis.**  A time is named by its noise-to-signal ratio r, the standard deviation that the
  noise has added over that of the data, in the coordinate where the noise is additive to first order.
  Training draws log r uniformly on one interval and sampling walks one geometric grid of r.
* **One weight.**  The loss is the integrand of Girsanov's bound in this clock,

  .. math:: \mathrm{KL}(p_0 \| \hat p_0) \le \mathrm{KL}(p_T \| \pi)
      + \tfrac12 \int E[w\,(\text{output} - \text{target})^2]\;d\log r^2,
      \qquad w = a B^2\,\frac{dt}{d \log r^2},

  which is 1 for the noise (VP, GBM) and :math:`x/\rho` for the ratio :math:`g = 2\rho n/x` (CIR).
* **One starting point.**  A network that puts out zeros is the exact score of the *conjugate* law
  (normal, lognormal, gamma) with the mean of the data (and the variance, where the law has one to
  choose).  The network learns the rest, scaled to be O(1) at every r.

References:
    | Tweedie's Formulae and Diffusion Generative Models Beyond Gaussian (Tang, Touzi, Zhang, Zhou, 2026)
    | https://arxiv.org/abs/2605.19391 (its networks and schedules were not available: these are ours)
    | Maximum Likelihood Training of Score-Based Diffusion Models (Song, Durkan, Murray, Ermon, 2021), theorem 1
    | https://arxiv.org/abs/2101.09258
    | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022), section 5
    | https://arxiv.org/abs/2206.00364
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import array_api_compat.torch as xp
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof._random import Source
from driftproof.numerics.tweedie import Parametrization, kl_weight, square_loss, target
from driftproof.theory.processes import AbstractProcess

__all__ = ["AbstractDiffusion"]


class AbstractDiffusion(ABC):
    """A forward process with its scaling of the data, clock, head and reverse step.

    Arguments:
        process: The forward process.
        low: The smallest noise-to-signal ratio, > 0: where sampling stops.
        high: The largest one: where sampling starts.

    Raises:
        UnmetHypothesis: Not 0 < low < high.
    """

    name: ClassVar[str]
    kind: ClassVar[Parametrization]
    process: AbstractProcess
    heads: int = 1

    def __init__(self, low: float, high: float) -> None:
        if not 0.0 < low < high < float("inf"):
            raise UnmetHypothesis(self.name, "0 < low < high", f"low = {low!r}, high = {high!r}")
        self.low, self.high = low, high

    @abstractmethod
    def encode(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows of data in the coordinates of the process."""

    @abstractmethod
    def decode(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of :meth:`encode`."""

    @abstractmethod
    def time(self, r: Tensor) -> Tensor:
        """The noise time at which the noise-to-signal ratio is r."""

    @abstractmethod
    def ratio(self, t: Tensor) -> Tensor:
        """The inverse of :meth:`time`."""

    @abstractmethod
    def rate(self, t: Tensor) -> Tensor:
        """Noise time per unit of the clock, dt / d log r^2."""

    @abstractmethod
    def features(self, x: Tensor, t: Tensor) -> Tensor:
        """The input of the backbone, O(1) at every time; shape (B, d)."""

    @abstractmethod
    def head(self, raw: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """From raw outputs (B, heads, d) to outputs: [:, 0] in the parametrisation ``kind``."""

    @abstractmethod
    def prior(self, like: Tensor, source: Source) -> Tensor:
        """Draws from the conjugate law at the time of ``high``."""

    @abstractmethod
    def step(self, x: Tensor, t: Tensor, s: Tensor, output: Tensor, source: Source) -> Tensor:
        """One step of the reverse process from t to s < t."""

    @abstractmethod
    def denoise(self, x: Tensor, t: Tensor, output: Tensor) -> Tensor:
        """The estimate of the data at the end of sampling."""

    def position(self, t: Tensor) -> Tensor:
        """The place of t on the clock, -1 at ``low`` and 1 at ``high``."""
        low, high = np.log(self.low), np.log(self.high)
        return (2.0 * torch.log(self.ratio(t)) - (low + high)) / (high - low)

    def draw_time(self, like: Tensor, source: Source) -> Tensor:
        """Times for the rows of ``like``, shape (B, 1): stratified, so that each is log-uniform in r."""
        count = like.shape[0]
        strata = torch.arange(count, dtype=like.dtype, device=like.device)[:, None]
        u = (strata + source.uniform(strata)) / count
        return self.time(self.low * (self.high / self.low) ** u)

    def forward(self, x0: Tensor, t: Tensor, source: Source) -> tuple[Tensor, ...]:
        """Noise rows x0 (B, d): the state at t and the regression target, each (B, d)."""
        x = self.process.transition(x0, t + torch.zeros_like(x0)).sample((), source)
        return x, self.target(x0, x, t)

    def target(self, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The conditional mean given x and x0 of what the network regresses."""
        return target.kernel(xp, self.process, x0, x, t, self.kind)

    def weight(self, x: Tensor, t: Tensor) -> Tensor:
        """The weight w of Girsanov's bound in the clock log r^2."""
        return kl_weight.kernel(xp, self.process, x, t, self.kind) * self.rate(t)

    def loss(self, output: Tensor, x: Tensor, t: Tensor, *targets: Tensor) -> Tensor:
        """The loss of every element, from outputs (B, heads, d) and what :meth:`forward` gave."""
        return square_loss.kernel(xp, output[:, 0], targets[0], self.weight(x, t))
