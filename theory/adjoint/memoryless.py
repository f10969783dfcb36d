r"""The stochastic twin: memoryless adjoint matching on the same flow, and the loss it cannot get rid of.

Adjoint matching as first published steers a diffusion instead of the flow.  On the linear path, in noise
time, its noise :math:`\sigma_t^2 = 2t/(1-t)` makes the data independent of the noise that it started from,
so that the optimum samples the tilt :math:`p\,e^{r/\lambda}`.  With

.. math:: K_t = (1-t)\,\Sigma S_t^{-1}, \quad C_t = t^2\,\Sigma S_t^{-1}, \quad
    S_t = (1-t)^2\Sigma + t^2 I, \quad M_t(x) = m + K_t(x - (1-t)m),

the posterior slope, covariance and mean of the data given :math:`x_t`, and :math:`r = c\cdot x - \frac12 x^\top Qx`,

.. math:: V/\lambda &= -\log E\big[e^{r(X_0)/\lambda} \mid x_t\big] \\
    v^*(x, t) - v(x, t) &= -t\,\Sigma S_t^{-1}\,(\lambda I + Q C_t)^{-1}\,(c - Q M_t)

At the optimum the matching loss does not vanish: the adjoint of a noisy path is not a function of its state,
and :math:`\frac12[\mathrm{tr}(\Sigma Q/\lambda) - \log\det(I + \Sigma Q/\lambda)]` remains.  The deterministic
pipeline has no such floor.  Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked
from driftproof.theory.laws import Gaussian
from driftproof.theory.rewards import Linear, Quadratic, tilted

from .flow import GaussianFlow
from .weights import over_weight

__all__ = ["MemorylessFlow"]


@final
@dataclass(frozen=True, eq=False)
@checked
class MemorylessFlow:
    """The diffusion with the marginals of a Gaussian flow that forgets its noise, and its optimal control.

    Arguments:
        flow: A flow on the linear path.

    Raises:
        UnmetHypothesis: Another path; in the methods: a weight that is not positive, or a reward that
            grows faster than the density of the data falls.

    References:
        | Adjoint matching: fine-tuning flow and diffusion generative models with memoryless stochastic
          optimal control (Domingo-Enrich, Drozdzal, Karrer & Chen, 2025), https://arxiv.org/abs/2409.08861

    Claims: ADJOINT-MEMORYLESS-1, ADJOINT-MEMORYLESS-2

    Example:
        >>> twin = MemorylessFlow(GaussianFlow([0.0], [[4.0]]))
        >>> float(twin.terminal_law(Linear([3.0]), lam=2.0).mean[0])  # the tilt: m + Sigma c / lam
        6.0
        >>> float(twin.irreducible_loss(Linear([3.0]), lam=2.0))
        0.0
    """

    flow: GaussianFlow

    def __post_init__(self) -> None:
        if self.flow.path != "linear":
            raise UnmetHypothesis("MemorylessFlow", "the path is linear", f"path = {self.flow.path!r}")

    def terminal_law(self, reward: Linear | Quadratic, lam: float) -> Gaussian:
        """The law of the data under the optimal control: the tilt."""
        self.flow.coefficients(self.flow.checked("terminal_law", 1.0, lam), reward)  # of a kind that is known
        return tilted(self.flow.law, reward, lam)

    def value(self, x: Array, t: float, reward: Linear | Quadratic, lam: float) -> Array:
        """The least expected cost to go at states x (..., d), noise time t: shape (...)."""
        xp, down, x = self._states("value", x, t, lam)
        c, q, inverse, cov = self._solved(xp, t, reward, lam)
        centre = self._posterior_mean(xp, x, t)
        residual = c - centre @ q
        root = xp.linalg.eigvalsh(self._symmetric(xp, cov, q))
        spread = 0.5 * xp.sum((residual @ cov) * (residual @ xp.matrix_transpose(inverse)), axis=-1)
        quadratic = over_weight(xp, "MemorylessFlow.value", spread, lam)
        return down.wide(-reward.value(centre) - quadratic + 0.5 * lam * xp.sum(xp.log(1.0 + root / lam)))

    def control(self, x: Array, t: float, reward: Linear | Quadratic, lam: float) -> Array:
        """The optimal change of the *velocity* at states x (..., d), noise time t: shape (..., d)."""
        xp, down, x = self._states("control", x, t, lam)
        c, q, inverse, _ = self._solved(xp, t, reward, lam)
        residual = c - self._posterior_mean(xp, x, t) @ q
        weight = t * self.flow.sigma**2 / self._spread(t)
        pull = self.flow.scaled(xp, weight, residual @ xp.matrix_transpose(inverse))
        return down(over_weight(xp, "MemorylessFlow.control", -pull, lam))

    def irreducible_loss(self, reward: Linear | Quadratic, lam: float) -> Array:
        """The matching loss at the optimum, in nats: a 0-D array, 0 for linear rewards only."""
        xp = self.flow.checked("irreducible_loss", 1.0, lam)
        self.terminal_law(reward, lam)  # exists
        _, q = self.flow.coefficients(xp, reward)
        values = xp.linalg.eigvalsh(self._symmetric(xp, self.flow.cov, q)) / lam
        # Where a value is small, the difference is the tail of the logarithm's series.
        near = xp.abs(values) < 0.05
        small = xp.where(near, values, xp.zeros_like(values))
        tail = sum((-small) ** k / k for k in range(2, 16))
        return 0.5 * xp.sum(xp.where(near, tail, values - xp.log1p(values)))

    def _states(self, method: str, x: Array, t: float, lam: float) -> tuple[Namespace, Any, Array]:
        return self.flow.checked_states(method, x, t, lam)

    def _spread(self, t: float) -> Array:
        return (1.0 - t) ** 2 * self.flow.sigma**2 + t**2

    def _posterior_mean(self, xp: Namespace, x: Array, t: float) -> Array:
        mean = self.flow.mean
        slope = (1.0 - t) * self.flow.sigma**2 / self._spread(t)
        return mean + self.flow.scaled(xp, slope, x - (1.0 - t) * mean)

    def _solved(
        self, xp: Namespace, t: float, reward: Linear | Quadratic, lam: float
    ) -> tuple[Array, Array, Array, Array]:
        """c, Q, (I + Q C / lam)^-1 and the posterior covariance C."""
        self.terminal_law(reward, lam)  # exists
        c, q = self.flow.coefficients(xp, reward)
        cov = self.flow.along_axes(xp, t**2 * self.flow.sigma**2 / self._spread(t))
        identity = xp.eye(c.shape[0], dtype=c.dtype, device=getattr(c, "device", None))
        return c, q, xp.linalg.inv(identity + q @ cov / lam), cov

    def _symmetric(self, xp: Namespace, cov: Array, q: Array) -> Array:
        """A symmetric matrix with the eigenvalues of C Q."""
        values, axes = xp.linalg.eigh(cov)
        root = axes * xp.sqrt(xp.where(values > 0, values, xp.zeros_like(values)))
        return xp.matrix_transpose(root) @ q @ root
