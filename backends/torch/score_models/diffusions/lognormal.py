r"""Geometric Brownian motion: multiplicative noise on positive data, a Gaussian diffusion of the logarithm.

.. math:: \log x_t = \log x_0 + m + \sqrt v\,z, \qquad r = \sqrt{v / v_0}, \qquad
    1 + x s = -\frac{\epsilon}{\sqrt v}, \qquad
    \epsilon_\theta = \frac{\sqrt v\,(\log x - m - m_0)}{v_0 + v} + \sqrt{\frac{v_0}{v_0 + v}}\,f_\theta,

with :math:`m_0, v_0` the mean and variance of the logarithm of the data.  At f = 0 this is the noise
expected for lognormal data.
"""

from __future__ import annotations

import math
from typing import ClassVar, final

import array_api_compat.torch as xp
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof._random import Source
from driftproof.numerics.tweedie import Parametrization, bridge_step
from driftproof.theory.processes import GBM

from .base import AbstractDiffusion

__all__ = ["LogNormalDiffusion"]

Rows = NDArray[np.float64]


@final
class LogNormalDiffusion(AbstractDiffusion):
    """GBM diffusion of positive data.

    Arguments:
        process: The GBM process.
        rows: Training rows (n, d); they set the scale.
        low: The smallest noise-to-signal ratio.
        high: The largest one.
        shift: Added to the data first, to make nonnegative data positive.

    Raises:
        UnmetHypothesis: A value of the shifted data is not positive.
    """

    name: ClassVar[str] = "GBM"
    kind: ClassVar[Parametrization] = "epsilon"

    def __init__(self, process: GBM, rows: Rows, low: float, high: float, shift: float = 0.0) -> None:
        super().__init__(low, high)
        self.process: GBM = process
        self.shift = shift
        logs = np.log(self.encode(rows))
        self.mean, self.deviation = float(logs.mean()), float(logs.std())
        if not self.deviation > 0.0:
            raise UnmetHypothesis(
                "GBM", "the data vary", f"standard deviation of the log = {self.deviation!r}"
            )
        largest = abs(self.mean) + 6.0 * self.deviation * math.hypot(1.0, high)
        if largest > 85.0:  # the logarithm of the largest float32 is 88.7
            hypothesis = "six deviations of the log at the ratio high fit float32"
            raise UnmetHypothesis("GBM", hypothesis, f"log x up to {largest:.3g}")

    def encode(self, rows: Rows) -> Rows:
        shifted = rows + self.shift
        if not (shifted > 0.0).all():
            zeros, negatives = int((shifted == 0.0).sum()), int((shifted < 0.0).sum())
            got = f"{zeros} zeros and {negatives} negative values among {rows.size}; a shift would make them positive"
            raise UnmetHypothesis("GBM", "data > 0", got)
        return shifted

    def decode(self, x: Rows) -> Rows:
        return x - self.shift

    def time(self, r: Tensor) -> Tensor:
        return (self.deviation / self.process.sigma * r) ** 2

    def ratio(self, t: Tensor) -> Tensor:
        return torch.sqrt(self.process.log_variance(t)) / self.deviation

    def rate(self, t: Tensor) -> Tensor:
        return t

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        v = self.process.log_variance(t)
        return (torch.log(x) - self.process.log_shift(t) - self.mean) / torch.sqrt(self.deviation**2 + v)

    def head(self, raw: Tensor, x: Tensor, t: Tensor) -> Tensor:
        v = self.process.log_variance(t)[:, None]
        total = self.deviation**2 + v
        noise = torch.sqrt(v) * self.features(x, t)[:, None] / torch.sqrt(total)
        return noise + self.deviation / torch.sqrt(total) * raw

    def weight(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.ones_like(x)  # exactly; the general formula would form x^2, which overflows

    def prior(self, like: Tensor, source: Source) -> Tensor:
        t = self.time(torch.full_like(like, self.high))
        v = self.process.log_variance(t)
        return torch.exp(
            self.mean + self.process.log_shift(t) + torch.sqrt(self.deviation**2 + v) * source.normal(like)
        )

    def step(self, x: Tensor, t: Tensor, s: Tensor, output: Tensor, source: Source) -> Tensor:
        return bridge_step.kernel(xp, self.process, x, t, s, self.denoise(x, t, output), source)

    def denoise(self, x: Tensor, t: Tensor, output: Tensor) -> Tensor:
        # The exponential of the posterior mean of the logarithm.
        return x * torch.exp(-self.process.log_shift(t) - torch.sqrt(self.process.log_variance(t)) * output)
