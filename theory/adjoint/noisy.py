r"""Between the flow and its memoryless twin: the diffusion with the marginals of the flow and constant noise.

In reverse time, with the score :math:`s_t` of the marginals and a price :math:`\lambda` on what is added to
the velocity,

.. math:: dX = -\big(v + u - \tfrac{\varepsilon^2}2\,s_t\big)\,d\tau + \varepsilon\,dB, \qquad
    E\int \tfrac\lambda2 |u|^2\,dt = \varepsilon^2\lambda\,\mathrm{KL}(P^u \| P),

so that the optimum tilts paths by :math:`e^{r/\varepsilon^2\lambda}`, *given where they start*.  The data behind
:math:`x_t` are :math:`N(M_t, C_t)` with, for the Gramian :math:`G_t` of the flow,

.. math:: C_t = \Sigma\,\big(I - e^{-\varepsilon^2\lambda\,\Sigma^{-1} G_t}\big), \qquad
    M_t = m + \Phi_t\,e^{-\frac12\varepsilon^2\lambda\,\Sigma^{-1} G_t}\,(x - \alpha_t m)

and everything that the flow does with :math:`G_t`, the diffusion does with
:math:`\Gamma_t = C_t/(\varepsilon^2\lambda)`, which is :math:`G_t` at :math:`\varepsilon = 0`:

.. math:: V &= \tfrac{\varepsilon^2\lambda}2 \log\det(I + \Gamma Q) - r(M) - \tfrac12\,w^\top (I + \Gamma Q)^{-1}\Gamma\,w,
        \qquad w = c - QM \\
    X_0 &\sim N\big(F(m + \Gamma c),\; F\,C_1 + F(\Sigma - C_1)F^\top\big), \qquad F = (I + \Gamma_1 Q)^{-1}

With much noise this is the tilt at the temperature :math:`\varepsilon^2\lambda`, with none the optimum of the
flow.  In between the start is remembered and cannot be tilted: for a linear reward the mean moves by
:math:`\mathrm{Cov}(X_0 \mid X_1)\,c/(\varepsilon^2\lambda)` in the place of :math:`\Sigma c/(\varepsilon^2\lambda)`.  Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked
from driftproof.theory.laws import Gaussian
from driftproof.theory.rewards import Linear, Quadratic

from .flow import GaussianFlow
from .paths import levels, stretch, stretch_square_integral
from .weights import over_weight, require_finite

__all__ = ["NoisyFlow"]


@final
@dataclass(frozen=True, eq=False)
@checked(noise=">= 0")
class NoisyFlow:
    r"""The diffusion with the marginals of a Gaussian flow and noise of a constant size, optimally controlled.

    Arguments:
        flow: The flow, on either path.
        noise: :math:`\varepsilon`, >= 0; at 0 it is the flow itself.

    Raises:
        UnmetHypothesis: Noise that is negative or not finite; in the methods: as for :class:`GaussianFlow`,
            or a reward that outgrows the data behind a state (:math:`I + \Gamma Q` has an eigenvalue <= 0).

    References:
        | Adjoint matching: fine-tuning flow and diffusion generative models with memoryless stochastic
          optimal control (Domingo-Enrich, Drozdzal, Karrer & Chen, 2025), https://arxiv.org/abs/2409.08861
          (the bias of the initial value; its closed form is derived here)

    Claims: ADJOINT-NOISE-1, ADJOINT-NOISE-2

    Example:
        >>> import math
        >>> flow = GaussianFlow([0.0], [[4.0]], path="trigonometric")  # G_1 = 2 / lam
        >>> float(NoisyFlow(flow, 0.0).terminal_law(Linear([3.0]), lam=2.0).mean[0])  # the flow's optimum
        3.0
        >>> float(NoisyFlow(flow, 1.0).spread(1.0)[0, 0]) == 4.0 * -math.expm1(-0.5)
        True
    """

    flow: GaussianFlow
    noise: float

    def __post_init__(self) -> None:
        if not (self.noise >= 0.0 and self.noise * self.noise < float("inf")):
            raise UnmetHypothesis("NoisyFlow", "noise >= 0, with a finite square", f"noise = {self.noise!r}")

    def spread(self, t: float) -> Array:
        r"""Covariance of the data behind a state of noise time t, :math:`\mathrm{Cov}(X_0 \mid X_t)`: (d, d)."""
        xp = self.flow.checked("spread", t)
        return self.flow.along_axes(xp, -(self.flow.sigma**2) * xp.expm1(-self._clock(xp, t)))

    def gramian(self, t: float, lam: float) -> Array:
        r"""How far a unit of gradient moves the data: :math:`\Gamma_t = C_t/(\varepsilon^2\lambda)`, (d, d)."""
        xp = self.flow.checked("gramian", t, lam)
        return over_weight(xp, "NoisyFlow.gramian", self.flow.along_axes(xp, self._reach(xp, t)), lam)

    def value(self, x: Array, t: float, reward: Linear | Quadratic, lam: float) -> Array:
        r"""The least expected cost to go, :math:`-\varepsilon^2\lambda \log E[e^{r/\varepsilon^2\lambda} \mid x_t]`: (...)."""
        xp, down, x = self.flow.checked_states("value", x, t, lam)
        mean, slope, gain, push = self._solved(xp, x, t, reward, lam)
        _, log_det = xp.linalg.slogdet(gain)
        value = 0.5 * self.noise**2 * lam * log_det - reward.value(mean)
        value = value - 0.5 * xp.sum(slope * (slope @ xp.matrix_transpose(push)), axis=-1)
        require_finite(xp, "NoisyFlow", value, lam)
        return down.wide(value)

    def control(self, x: Array, t: float, reward: Linear | Quadratic, lam: float) -> Array:
        """The optimal change u of the velocity at states x (..., d) and noise time t: shape (..., d)."""
        xp, down, x = self.flow.checked_states("control", x, t, lam)
        _, slope, gain, _ = self._solved(xp, x, t, reward, lam)
        pull = self.flow.scaled(xp, self._memory(xp, t), slope @ xp.linalg.inv(gain))
        return down(over_weight(xp, "NoisyFlow.control", -pull, lam))

    def terminal_law(self, reward: Linear | Quadratic, lam: float) -> Gaussian:
        r"""The law of the data under the optimal control, from noise N(0, I)."""
        xp = self.flow.checked("terminal_law", 1.0, lam)
        c, q = self.flow.coefficients(xp, reward)
        reach, spread = self.gramian(1.0, lam), self.spread(1.0)
        shrink = xp.linalg.inv(self.flow.invertible(xp, reach, q))
        mean = shrink @ (self.flow.mean + reach @ c)
        cov = shrink @ spread + shrink @ (self.flow.cov - spread) @ xp.matrix_transpose(shrink)
        return self.flow.law_of(mean, 0.5 * (cov + xp.matrix_transpose(cov)))

    def forgotten(self) -> Array:
        r"""How much of the data the noise at t = 1 does not decide, :math:`\Sigma^{-1}\mathrm{Cov}(X_0 \mid X_1)`: (d, d).

        For a linear reward the optimum moves the mean by this share of the shift of the tilt.

        Claims: ADJOINT-NOISE-1
        """
        xp = self.flow.checked("forgotten", 1.0)
        return self.flow.along_axes(xp, -xp.expm1(-self._clock(xp, 1.0)))

    def _clock(self, xp: Namespace, t: float) -> Array:
        """The integral of (noise / s)^2 over [0, t], along the axes: exp(-this) is remembered."""
        squares = stretch_square_integral(xp, self.flow.sigma, t, self.flow.path)
        return self.noise**2 * squares / self.flow.sigma**2

    def _reach(self, xp: Namespace, t: float) -> Array:
        """C_t / noise^2 along the axes; without noise its limit."""
        if self.noise**2 == 0.0:
            return stretch_square_integral(xp, self.flow.sigma, t, self.flow.path)
        return -(self.flow.sigma**2) * xp.expm1(-self._clock(xp, t)) / self.noise**2

    def _memory(self, xp: Namespace, t: float) -> Array:
        """The slope of M_t in x, along the axes."""
        return stretch(xp, self.flow.sigma, t, self.flow.path) * xp.exp(-0.5 * self._clock(xp, t))

    def _solved(
        self, xp: Namespace, x: Array, t: float, reward: Linear | Quadratic, lam: float
    ) -> tuple[Array, Array, Array, Array]:
        """M, the gradient c - Q M there, I + Gamma Q, and (I + Gamma Q)^-1 Gamma."""
        c, q = self.flow.coefficients(xp, reward)
        away = x - levels(self.flow.path, t)[0] * self.flow.mean
        mean = self.flow.mean + self.flow.scaled(xp, self._memory(xp, t), away)
        reach = self.gramian(t, lam)
        gain = self.flow.invertible(xp, reach, q)
        return mean, c - mean @ q, gain, xp.linalg.inv(gain) @ reach
