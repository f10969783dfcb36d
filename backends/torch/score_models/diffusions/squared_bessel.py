r"""Cox-Ingersoll-Ross noise on nonnegative data: the positivity head, and its second moment.

With the Poisson latent N of the transition and :math:`n = E[N \mid x]`,

.. math:: s = \frac\nu x - \frac{1}{2\rho} + \frac n x, \qquad g = \frac{2 \rho\,n}{x}, \qquad
    g_\theta = g_0\,\frac{\mathrm{softplus}(b + w f_\theta)}{\mathrm{softplus}(b)}, \qquad
    g_0 = \frac{q c_0}{q c_0 + 2\rho}, \quad w = \sqrt{\frac{2\rho}{x + 2\rho}},

so that :math:`n = x \cdot \mathrm{softplus}` is nonnegative and O(x) at 0, the singular term is exact, and
the reverse process keeps its dimension there.  At f = 0 this is exact for gamma data of shape
:math:`\delta/2` and scale :math:`c_0`; as t -> 0 the ratio tends to 1 with fluctuations of order w, so
f stays O(1).  The noise-to-signal ratio is :math:`r = 2\sqrt{\rho/q}`, the noise on data of size 1.

The optional second head is :math:`h = (2\rho/x)^2\,E[N(N-1) \mid x]`, built alike around :math:`g_0^2`;
with it the posterior mean of the data is known,

.. math:: E[X_0 \mid x] = \frac{4\rho^2}{q x}\,E[N(N+\nu) \mid x]
    = \frac{1}{q}\bigl(x h + 2\rho(\nu + 1)\,g\bigr).

Without it, :math:`h = g^2`: the same formula with the variance of N that conjugate data have.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, TypeAlias, final

import array_api_compat.torch as xp
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from driftproof._namespace import UnmetHypothesis
from driftproof._random import Source
from driftproof.numerics.tweedie import (
    Parametrization,
    noncentral_step,
    poisson_loss,
    sample_with_count,
    square_loss,
)
from driftproof.theory.processes import CIR
from driftproof.theory.special import bessel_quotient
from driftproof.theory.tweedie import posterior_mean_from_counts

from .base import AbstractDiffusion

__all__ = ["Objective", "SquaredBesselDiffusion"]

Rows = NDArray[np.float64]
Objective: TypeAlias = Literal["conditional mean", "sampled count", "deviance"]

_BIAS = math.log(math.e - 1.0)  # softplus(_BIAS) = 1


@final
class SquaredBesselDiffusion(AbstractDiffusion):
    """CIR diffusion of nonnegative data, scaled to mean 1.

    Arguments:
        process: The CIR process.
        rows: Training rows (n, d); they set the scale.
        low: The smallest noise-to-signal ratio.
        high: The largest one.
        objective: What the network regresses: the mean of N given (x, x0) with the square loss (L1), the
            count N that the sampler drew with the square loss (L2), or that count with the Poisson
            deviance (L3).
        heads: 2 with the head of the second moment, 1 without.

    Raises:
        UnmetHypothesis: A value of the data is negative, or all are 0.
    """

    name: ClassVar[str] = "CIR"
    kind: ClassVar[Parametrization] = "ratio"

    def __init__(
        self,
        process: CIR,
        rows: Rows,
        low: float,
        high: float,
        objective: Objective = "conditional mean",
        heads: int = 1,
    ) -> None:
        super().__init__(low, high)
        self.process: CIR = process
        self.objective, self.heads = objective, heads
        self.unit = 1.0
        self.unit = float(self.encode(rows).mean())
        if not self.unit > 0.0:
            raise UnmetHypothesis("CIR", "some data > 0", f"mean = {self.unit!r}")
        self.scale = 2.0 / process.delta  # gamma data of shape delta/2 and mean 1
        self.variance = float((rows / self.unit).var())

    def encode(self, rows: Rows) -> Rows:
        if not (rows >= 0.0).all():
            raise UnmetHypothesis(
                "CIR", "data >= 0", f"{int((rows < 0.0).sum())} negative values among {rows.size}"
            )
        return rows / self.unit

    def decode(self, x: Rows) -> Rows:
        return x * self.unit

    def time(self, r: Tensor) -> Tensor:
        return torch.log1p(self.process.kappa * (r / self.process.sigma) ** 2) / self.process.kappa

    def ratio(self, t: Tensor) -> Tensor:
        q, rho = self.process.decay_rho(xp, t)
        return 2.0 * torch.sqrt(rho / q)

    def rate(self, t: Tensor) -> Tensor:
        _, rho = self.process.decay_rho(xp, t)
        return 4.0 * rho / self.process.sigma**2

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        # sqrt x, in which the noise is additive, less the root of its mean, over its deviation.
        q, rho = self.process.decay_rho(xp, t)
        mean = q + self.process.delta * rho
        variance = q * q * self.variance + 4.0 * q * rho + 2.0 * self.process.delta * rho * rho
        return 2.0 * torch.sqrt(mean / variance) * (torch.sqrt(x) - torch.sqrt(mean))

    def head(self, raw: Tensor, x: Tensor, t: Tensor) -> Tensor:
        q, rho = (part[:, None] for part in self.process.decay_rho(xp, t))
        conjugate = q * self.scale / (q * self.scale + 2.0 * rho)
        softness = torch.sqrt(2.0 * rho / (x[:, None] + 2.0 * rho))
        powers = torch.arange(1, raw.shape[1] + 1, dtype=x.dtype, device=x.device)[:, None]
        return conjugate**powers * functional.softplus(_BIAS + softness * raw)

    def forward(self, x0: Tensor, t: Tensor, source: Source) -> tuple[Tensor, ...]:
        """The target of the base class, with the sampled count N and the target of a second head behind it."""
        x, count = sample_with_count.kernel(xp, self.process, x0, t, source)
        # Draws of a small dimension can underflow to 0, where 2 rho N / x is not defined; every target is
        # smooth there, so that this far from 0 is as good.
        _, rho = self.process.decay_rho(xp, t)
        x = torch.maximum(x, 1e-12 * rho)
        return x, self.target(x0, x, t), count, *(self.pair_target(x0, x, t) for _ in range(self.heads - 1))

    def pair_target(self, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The conditional mean given x and x0 of what the second head regresses."""
        # (2 rho / x)^2 E[N(N-1)], written without the division by x.
        q, rho = self.process.decay_rho(xp, t)
        z, nu = torch.sqrt(x * x0 * q) / rho, self.process.nu
        low, high = (bessel_quotient.kernel(xp, order, z) for order in (nu, nu + 1.0))
        return (x0 * q / rho) ** 2 * low * high

    def loss(self, output: Tensor, x: Tensor, t: Tensor, *targets: Tensor) -> Tensor:
        mean, count, *pair = targets
        weight = self.weight(x, t)
        _, rho = self.process.decay_rho(xp, t)
        if self.objective == "deviance":
            # 4 times the deviance is the weighted square to second order; less its minimum, it is >= 0.
            n = 0.5 * x / rho * output[:, 0]
            saturated = poisson_loss.kernel(xp, count, count)
            first = 4.0 * (poisson_loss.kernel(xp, n, count) - saturated)
        else:
            wanted = mean if self.objective == "conditional mean" else 2.0 * rho / x * count
            first = square_loss.kernel(xp, output[:, 0], wanted, weight)
        if not pair:
            return first
        # The second head fluctuates twice as much as the first.
        return first + 0.25 * square_loss.kernel(xp, output[:, 1], pair[0], weight)

    def prior(self, like: Tensor, source: Source) -> Tensor:
        q, rho = self.process.decay_rho(xp, self.time(torch.full_like(like, self.high)))
        return (q * self.scale + 2.0 * rho) * source.gamma(torch.full_like(like, 0.5 * self.process.delta))

    def step(self, x: Tensor, t: Tensor, s: Tensor, output: Tensor, source: Source) -> Tensor:
        # A noncentral chi-square step: positive, O(1/steps), and as cheap as a draw.
        _, rho = self.process.decay_rho(xp, t)
        return noncentral_step.kernel(xp, self.process, x, t, s, 0.5 * x / rho * output, source)

    def denoise(self, x: Tensor, t: Tensor, output: Tensor) -> Tensor:
        return self.posterior_mean(x, t, torch.stack([output, output * output], dim=1))

    def posterior_mean(self, x: Tensor, t: Tensor, outputs: Tensor) -> Tensor:
        """E[X0 | x], exact when both heads are, from outputs (B, 2, d)."""
        _, rho = self.process.decay_rho(xp, t)
        size = 0.5 * x / rho
        n, pairs = size * outputs[:, 0], size * size * outputs[:, 1]
        return posterior_mean_from_counts.kernel(xp, self.process, x, t, n, pairs)
