r"""The Gaussian baseline: variance-preserving noise on standardised data.

.. math:: x_t = \alpha x_0 + \sigma z, \qquad r = \sigma / \alpha, \qquad
    \epsilon_\theta = \frac{\sigma\,x}{\alpha^2 + \sigma^2} + \frac{\alpha}{\sqrt{\alpha^2 + \sigma^2}} f_\theta.

At f = 0 this is the noise expected for standard normal data.
"""

from __future__ import annotations

from typing import ClassVar, final

import array_api_compat.torch as xp
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof._random import Source
from driftproof.numerics.tweedie import Parametrization, bridge_step
from driftproof.theory.processes import VP

from .base import AbstractDiffusion

__all__ = ["GaussianDiffusion"]

Rows = NDArray[np.float64]


@final
class GaussianDiffusion(AbstractDiffusion):
    """VP diffusion of data with one mean and one standard deviation over all coordinates.

    Arguments:
        process: The VP process.
        rows: Training rows (n, d); they set the scale.
        low: The smallest noise-to-signal ratio.
        high: The largest one; it must be reached before the horizon of the process.
    """

    name: ClassVar[str] = "VP"
    kind: ClassVar[Parametrization] = "epsilon"

    def __init__(self, process: VP, rows: Rows, low: float, high: float) -> None:
        super().__init__(low, high)
        self.process: VP = process
        self.mean, self.deviation = float(rows.mean()), float(rows.std())
        if not self.deviation > 0.0:
            raise UnmetHypothesis("VP", "the data vary", f"standard deviation = {self.deviation!r}")
        end = float(self.time(torch.tensor(high, dtype=torch.float64)))
        if end > process.T:
            raise UnmetHypothesis(
                "VP", "the ratio high is reached before T", f"t = {end:.4g}, T = {process.T!r}"
            )

    def encode(self, rows: Rows) -> Rows:
        return (rows - self.mean) / self.deviation

    def decode(self, x: Rows) -> Rows:
        return x * self.deviation + self.mean

    def time(self, r: Tensor) -> Tensor:
        # r^2 = e^Lambda - 1 with Lambda = int beta, a quadratic in t.
        integral = torch.log1p(r * r)
        start, slope = self.process.beta_min, (self.process.beta_max - self.process.beta_min) / self.process.T
        return 2.0 * integral / (start + torch.sqrt(start * start + 2.0 * slope * integral))

    def ratio(self, t: Tensor) -> Tensor:
        alpha, sigma = self.process.alpha_sigma(xp, t)
        return sigma / alpha

    def rate(self, t: Tensor) -> Tensor:
        _, sigma = self.process.alpha_sigma(xp, t)
        _, variance = self.process.rates(xp, t)
        return sigma * sigma / variance

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.process.alpha_sigma(xp, t)
        return x / torch.sqrt(alpha * alpha + sigma * sigma)

    def head(self, raw: Tensor, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (level[:, None] for level in self.process.alpha_sigma(xp, t))
        total = alpha * alpha + sigma * sigma
        return sigma / total * x[:, None] + alpha / torch.sqrt(total) * raw

    def prior(self, like: Tensor, source: Source) -> Tensor:
        return source.normal(like)

    def step(self, x: Tensor, t: Tensor, s: Tensor, output: Tensor, source: Source) -> Tensor:
        return bridge_step.kernel(xp, self.process, x, t, s, self.denoise(x, t, output), source)

    def denoise(self, x: Tensor, t: Tensor, output: Tensor) -> Tensor:
        alpha, sigma = self.process.alpha_sigma(xp, t)
        return (x - sigma * output) / alpha
