r"""Bridges of the squared-Bessel family: the law of :math:`X_s` given :math:`X_0` and :math:`X_t`.

With :math:`X_t \mid x_0 \sim \rho_t\,\chi'^2_\delta(x_0 D_t / \rho_t)` (BESQ: :math:`D = 1, \rho_t = t`;
CIR: :math:`D_t = e^{-\kappa t}`) and :math:`D_h, \rho_h` those of the step from s to t, put

.. math:: c = \frac{2 \rho_s \rho_h}{\rho_t}, \qquad
    \lambda = \frac{x_0 D_s \rho_h}{2 \rho_s \rho_t}, \qquad
    \mu = \frac{x_t D_h \rho_s}{2 \rho_h \rho_t}.

Then :math:`u = X_s / c` has the density

.. math:: f(u) = e^{-u - \lambda - \mu}\,
    \frac{I_\nu(2\sqrt{\lambda u})\, I_\nu(2\sqrt{\mu u})}{I_\nu(2\sqrt{\lambda \mu})},

which is Weber's second exponential integral normalised, and, expanding the Bessel functions,

.. math:: u \overset d= \Gamma\big(\tfrac\delta2 + \mathrm{Poisson}(\lambda + \mu) + 2 N\big), \qquad
    N \sim \mathrm{Bessel}(\nu, 2\sqrt{\lambda\mu}).

References:
    | A decomposition of Bessel bridges (Pitman & Yor, 1982), https://doi.org/10.1007/BF00532802
    | Exact simulation of Bessel diffusions (Makarov & Glew, 2010), https://arxiv.org/abs/0910.4177
    | (the form above, common to BESQ and CIR, is derived here)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, final

from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked
from driftproof._random import Source
from driftproof.theory.special.bessel import ladder_of_square, scaled_remainder
from driftproof.theory.special.bessel_square import (
    exponent_of_product,
    leading_rise,
    quotient_of_square,
)
from driftproof.theory.special.elementary import divide, xlogy

from .bessel_count import BesselCount, moments_of_square
from .bridge_tails import log_tails_of_density
from .elementwise import ElementwiseLaw
from .tails import log_p_of_power, positive_quantile, positive_tails

__all__ = ["SquaredBesselBridge", "bridge_parameters"]


class _SquaredBessel(Protocol):
    # What AbstractSquaredBessel gives; a protocol, because its module imports this one.
    def decay_rho(self, xp: Namespace, t: Array) -> tuple[Array, Array]: ...

    def between(self, xp: Namespace, s: Array, t: Array) -> tuple[Array, Array]: ...


def bridge_parameters(
    xp: Namespace, process: _SquaredBessel, x0: Array, xt: Array, s: Array, t: Array
) -> tuple[Array, Array, Array]:
    r"""The parameters :math:`(\lambda, \mu, c)` of the bridge of a BESQ or CIR process; a kernel.

    Arguments:
        process: A process of the squared-Bessel family.
        x0: State at time 0, >= 0.
        xt: State at time t, >= 0.
        s: Time between, 0 < s < t.
        t: Time of the second end.

    Returns:
        ``left`` :math:`= \lambda`, ``right`` :math:`= \mu` and ``scale`` :math:`= c`.
    """
    decay_s, rho_s = process.decay_rho(xp, s)
    decay_h, rho_h = process.between(xp, s, t)
    _, rho_t = process.decay_rho(xp, t)
    # One quotient at a time: of short times the product of two scales is no number.
    left = 0.5 * (x0 * decay_s) * (rho_h / rho_t) / rho_s
    right = 0.5 * (xt * decay_h) * (rho_s / rho_t) / rho_h
    return left, right, 2.0 * rho_s * (rho_h / rho_t)


@final
@dataclass(frozen=True, eq=False)
@checked
class SquaredBesselBridge(ElementwiseLaw):
    r"""The law of :math:`c\,\Gamma(\delta/2 + \mathrm{Poisson}(\lambda+\mu) + 2N)`.

    .. math:: E\,u = \tfrac\delta2 + \lambda + \mu + 2\bar n, \qquad
        \mathrm{Var}\,u = E\,u + \lambda + \mu + 4\,\mathrm{Var}\,N

    Arguments:
        delta: Dimension :math:`\delta > 0`, a float.
        left: Pull of the earlier end, :math:`\lambda \ge 0`, any shape.
        right: Pull of the later end, :math:`\mu \ge 0`, broadcastable with ``left``.
        scale: Scale :math:`c > 0`, broadcastable with ``left``.

    Raises:
        UnmetHypothesis: A parameter, or a point at which the score is asked, is outside of its domain; tails where
            the dimension and the pulls are 0.1 / eps together, and the density has no digit left.

    Claims: TWEEDIE-BRIDGE-1, TWEEDIE-BRIDGE-2, TWEEDIE-DRAW-1, SPECIAL-TAILS-5, SPECIAL-TAILS-6

    Example:
        >>> float(SquaredBesselBridge(3.0, 0.0, 0.5, 2.0).mean)  # from 0: one noncentral chi-square
        4.0
    """

    delta: float
    left: Array
    right: Array
    scale: Array
    support: ClassVar[str] = ">= 0"
    static: ClassVar[frozenset[str]] = frozenset({"delta"})

    def __post_init__(self) -> None:
        if isinstance(self.delta, bool) or not isinstance(self.delta, int | float):
            raise TypeError(
                f"SquaredBesselBridge: expected a float for delta, got {type(self.delta).__name__}"
            )
        if not 0.0 < self.delta < math.inf:
            raise UnmetHypothesis("SquaredBesselBridge", "delta > 0", f"delta = {self.delta!r}")
        self._require(left=">= 0", right=">= 0", scale="> 0")

    @staticmethod
    def log_density(xp: Namespace, x: Array, delta: float, left: Array, right: Array, scale: Array) -> Array:
        nu, u = 0.5 * delta - 1.0, x / scale
        low, high = xp.minimum(left, right), xp.maximum(left, right)  # the law does not change when they swap
        # As one array: a compiler takes the walk down once, in the derivative too.
        w = 4.0 * xp.stack(xp.broadcast_arrays(low * u, high * u, low * high))
        ladder = ladder_of_square(xp, nu, w)
        scale_low, scale_high, scale_ends = (ladder.scale[k, ...] for k in range(3))
        exponents = nu + w / ladder.scale + ladder.rest
        by_low, by_high, ends = (exponents[k, ...] for k in range(3))
        second = ladder._replace(s=ladder.s[1, ...], scale=scale_high, rest=ladder.rest[1, ...])
        close = exponent_of_product(xp, nu, high, u, second)
        # Each exponent is right where one of the three is nearly 0: the other two may be large and close.
        small_u = by_low + by_high - ends - (u + low + high)
        small_low = close + by_low - ends - low
        exponent = xp.where(u < low, small_u, small_low)
        near_zero = xp.minimum(u, low) * xp.minimum(xp.maximum(u, low), high) <= 1.0
        # Where every product of two is large the squares of the roots are taken together.
        p, q, y = (xp.sqrt(xp.where(near_zero, xp.ones_like(v), v)) for v in (low, high, u))
        rest = scaled_remainder(nu, 2.0 * xp.stack(xp.broadcast_arrays(p * y, q * y, p * q)), ladder)
        far = rest[0, ...] + rest[1, ...] - rest[2, ...] - (y - p - q) ** 2
        # The powers of left and right cancel, so that either end may be 0.
        power = xlogy(xp, nu, 2.0 * u * scale_ends / (scale_low * scale_high))
        return power + xp.where(near_zero, exponent, far) - xp.log(scale)

    @staticmethod
    def score_function(
        xp: Namespace, x: Array, delta: float, left: Array, right: Array, scale: Array
    ) -> Array:
        nu, u = 0.5 * delta - 1.0, x / scale
        pull = 2.0 * left * quotient_of_square(xp, nu, 4.0 * left * u)
        push = 2.0 * right * quotient_of_square(xp, nu, 4.0 * right * u)
        return (divide(xp, nu, u) - 1.0 + pull + push) / scale

    @staticmethod
    def moments(xp: Namespace, delta: float, left: Array, right: Array, scale: Array) -> tuple[Array, Array]:
        count, spread = moments_of_square(xp, 0.5 * delta - 1.0, 4.0 * left * right)
        mean = 0.5 * delta + left + right + 2.0 * count
        return scale * mean, scale * scale * (mean + left + right + 4.0 * spread)

    @staticmethod
    def draw(
        xp: Namespace, noise: Source, like: Array, delta: float, left: Array, right: Array, scale: Array
    ) -> Array:
        z = 2.0 * xp.sqrt(left) * xp.sqrt(right)
        twice = 2.0 * BesselCount.draw(xp, noise, like, 0.5 * delta - 1.0, z)
        once = noise.poisson(left + right + xp.zeros_like(like))
        return scale * noise.gamma(0.5 * delta + once + twice)

    @staticmethod
    def log_tails(
        xp: Namespace, x: Array, delta: float, left: Array, right: Array, scale: Array
    ) -> tuple[Array, Array]:
        blank = xp.zeros_like(x + left + right + scale)
        ends, unit, a = (left + blank, right + blank), scale + blank, 0.5 * delta
        mean, _ = SquaredBesselBridge.moments(xp, delta, *ends, xp.ones_like(blank))
        rate = 1.0 + (ends[0] + ends[1]) / a

        def log_density(u: Array, left: Array, right: Array) -> Array:
            return SquaredBesselBridge.log_density(xp, u, delta, left, right, xp.ones_like(u))

        def tails(y: Array, log_y: Array) -> tuple[Array, Array]:
            eps, (l, r), one = float(xp.finfo(y.dtype).eps), ends, xp.ones_like(y)
            # Where y is beyond all else the logarithm of its powers is nothing beside it.
            far = (y > 3e3 / eps * (1.0 + delta)) & (y / 16.0 > l + r)
            rise = leading_rise(xp, a, l, y) + leading_rise(xp, a, r, y) - leading_rise(xp, a, l, r)
            tail = rise - l - r - y
            lost = (l + r + delta > 0.1 / eps) & ~far  # the density has no digits left
            l_in, r_in, mean_in, rate_in, y = (
                xp.where(far | lost, one, value) for value in (l, r, mean, rate, y)
            )
            log_y = xp.where(far | lost, 0.0 * one, log_y)
            lower, upper = log_tails_of_density(xp, log_density, a, (l_in, r_in), mean_in, rate_in, y, log_y)
            lower, upper = (xp.where(lost, xp.nan, each) for each in (lower, upper))
            return xp.where(far, 0.0 * one, lower), xp.where(far, tail, upper)

        return positive_tails(xp, x + blank, unit, tails)

    @staticmethod
    def quantile(
        xp: Namespace, log_p: Array, log_q: Array, delta: float, left: Array, right: Array, scale: Array
    ) -> Array:
        blank = xp.zeros_like(log_p + left + right + scale)
        left, right, scale = left + blank, right + blank, scale + blank
        mean, variance = SquaredBesselBridge.moments(xp, delta, left, right, xp.ones_like(blank))
        # The density at 0, where the Bessel functions of the product are left.
        a, none = 0.5 * delta, left + right + log_hyp0f1(xp, 0.5 * delta, left * right)
        return positive_quantile(
            xp,
            lambda x, *parameters: SquaredBesselBridge.log_tails(xp, x, delta, *parameters),
            (left, right, scale),
            lambda x: SquaredBesselBridge.log_density(xp, x, delta, left, right, scale),
            log_p + blank,
            log_q + blank,
            first=(log_p_of_power(xp, a + blank, none), a + blank),
            moments=(mean, mean * (mean / variance)),
            unit=scale,
        )


def log_hyp0f1(xp: Namespace, b: float, x: Array) -> Array:
    r"""The logarithm of :math:`{}_0F_1(; b; x) = \Gamma(b)\,x^{(1-b)/2} I_{b-1}(2\sqrt x)` for x >= 0."""
    nu = b - 1.0
    ladder = ladder_of_square(xp, nu, xp.stack([4.0 * x, xp.zeros_like(x)]))
    power = nu * (xp.log(ladder.scale[1, ...]) - xp.log(ladder.scale[0, ...]))
    rise = 4.0 * x / ladder.scale[0, ...]
    return rise + power + ladder.rest[0, ...] - ladder.rest[1, ...]
