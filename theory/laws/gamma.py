r"""Gamma and noncentral chi-square laws: the transitions of squared Bessel and CIR processes.

.. math::
    \Gamma(k, \theta): \quad & \log p(x) = (k-1) \log x - x/\theta - k \log\theta - \log\Gamma(k) \\
    c\,\chi'^2_\delta(\lambda): \quad & \log p(x) = -\log 2c - \tfrac12 (u + \lambda)
        + \tfrac\nu2 \log\frac u\lambda + \log I_\nu\big(\sqrt{u \lambda}\big), \quad
        u = x/c, \quad \nu = \delta/2 - 1

Taken term by term the noncentral density cancels: at small volatility every term is of the size of
:math:`\delta`.  With :math:`\log I_\nu(\sqrt w) = \nu \log\frac{\sqrt w}{\mu+s} + s - m + R`,
:math:`s = \sqrt{\mu^2 + w}`, :math:`\mu = \nu + m`, and :math:`\rho = u / (\mu + s)` (so that
:math:`s = \mu + \lambda \rho` and :math:`u = \rho\,(2\mu + \lambda \rho)`) it is a sum of squares and deviances,

.. math:: \log p(x) = -\log 2c - \nu\,(\rho - 1 - \log \rho) - m \rho - \tfrac\lambda2 (\rho - 1)^2 + R,

in which nothing cancels, and nothing is singular where :math:`\lambda` or u is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from driftproof._namespace import Array, Namespace, checked
from driftproof._random import Source
from driftproof.theory.special import digamma, gammaln
from driftproof.theory.special.bessel import ladder_of_square
from driftproof.theory.special.bessel_square import quotient_of_square
from driftproof.theory.special.elementary import deviance, divide, xlogy

from .elementwise import ElementwiseLaw
from .tails import half_line_quantile, half_line_tails

__all__ = ["Gamma", "NoncentralChi2"]


@final
@dataclass(frozen=True, eq=False)
@checked
class Gamma(ElementwiseLaw):
    r"""The gamma law with shape :math:`k` and scale :math:`\theta` (mean :math:`k\theta`).

    Arguments:
        shape: Shape :math:`k > 0`, any shape.
        scale: Scale :math:`\theta > 0`, broadcastable with ``shape``.

    Raises:
        UnmetHypothesis: A parameter is not positive, or a point is negative.

    Claims: CONVENTION-LAWS-1, TWEEDIE-DRAW-1, SPECIAL-TAILS-1, SPECIAL-TAILS-2, SPECIAL-TAILS-3, SPECIAL-TAILS-4, SPECIAL-LAWS-1

    Example:
        >>> float(Gamma(2.0, 0.5).mean), float(Gamma(1.0, 1.0).log_prob(3.0))
        (1.0, -3.0)
    """

    shape: Array
    scale: Array
    support: ClassVar[str] = ">= 0"
    static: ClassVar[frozenset[str]] = frozenset({"shape"})

    def __post_init__(self) -> None:
        self._require(shape="> 0", scale="> 0")

    @staticmethod
    def log_density(xp: Namespace, x: Array, shape: Array, scale: Array) -> Array:
        y = x / scale
        far = xp.isinf(y)  # -y outweighs the rest, which is no number there
        y = xp.where(far, xp.ones_like(y), y)
        inside = xlogy(xp, shape - 1.0, y) - y - log_gamma(xp, shape) - xp.log(scale)
        return xp.where(far, -xp.inf, inside)

    @staticmethod
    def score_function(xp: Namespace, x: Array, shape: Array, scale: Array) -> Array:
        pull, push = divide(xp, shape - 1.0, x), 1.0 / scale
        # Both overflow where x and the scale are subnormal: at 0 the power wins, beside it the larger one.
        both = xp.isinf(pull) & xp.isinf(push) & (pull > 0)
        ahead = (x == 0) | (shape - 1.0 > x / scale)
        return xp.where(both, xp.where(ahead, pull, -pull), pull - xp.where(both, xp.zeros_like(push), push))

    @staticmethod
    def moments(xp: Namespace, shape: Array, scale: Array) -> tuple[Array, Array]:
        mean = shape * scale
        return mean, mean * scale

    @staticmethod
    def draw(xp: Namespace, noise: Source, like: Array, shape: Array, scale: Array) -> Array:
        return scale * noise.gamma(shape + xp.zeros_like(like))

    @staticmethod
    def log_tails(xp: Namespace, x: Array, shape: Array, scale: Array) -> tuple[Array, Array]:
        return half_line_tails(xp, x, shape, 0.0, scale)

    @staticmethod
    def quantile(xp: Namespace, log_p: Array, log_q: Array, shape: Array, scale: Array) -> Array:
        def log_density(x: Array) -> Array:
            return Gamma.log_density(xp, x, shape, scale)

        return half_line_quantile(xp, log_density, log_p, log_q, shape, 0.0, scale)

    @staticmethod
    def entropy_function(xp: Namespace, shape: Array, scale: Array) -> Array:
        return gamma_entropy(xp, shape + xp.zeros_like(scale)) + xp.log(scale)


@final
@dataclass(frozen=True, eq=False)
@checked
class NoncentralChi2(ElementwiseLaw):
    r"""The law of :math:`c\,\chi'^2_\delta(\lambda)`, a scaled noncentral chi-square.

    It is the law of :math:`2c\,\Gamma(\delta/2 + N)` with :math:`N \sim \mathrm{Poisson}(\lambda/2)`.

    Arguments:
        df: Degrees of freedom :math:`\delta > 0`, a float (fast) or an array.
        nc: Noncentrality :math:`\lambda \ge 0`, any shape; 0 is the central law.
        scale: Scale :math:`c > 0`, broadcastable with ``nc``.

    Raises:
        UnmetHypothesis: df <= 0, nc < 0, scale <= 0, a negative point; a density or score whose x / scale or
            nc is beyond 1e150, where their product is no number.

    References:
        | Continuous Univariate Distributions, vol. 2 (Johnson, Kotz & Balakrishnan, 1995), ch. 29

    Claims: TWEEDIE-LAW-1, TWEEDIE-DRAW-1, SPECIAL-TAILS-1, SPECIAL-TAILS-2, SPECIAL-TAILS-3, SPECIAL-LAWS-1

    Example:
        >>> float(NoncentralChi2(2.0, 0.0, 1.0).log_prob(4.0)) == -2.0 - math.log(2.0)
        True
        >>> float(NoncentralChi2(3.0, 5.0, 0.5).mean)
        4.0
    """

    df: Array
    nc: Array
    scale: Array
    support: ClassVar[str] = ">= 0"
    static: ClassVar[frozenset[str]] = frozenset({"df"})

    def __post_init__(self) -> None:
        self._require(df="> 0", nc=">= 0", scale="> 0")

    @staticmethod
    def log_density(xp: Namespace, x: Array, df: Array, nc: Array, scale: Array) -> Array:
        nu, u = 0.5 * df - 1.0, x / scale
        bessel = ladder_of_square(xp, nu, u * nc)
        ratio, excess = u / bessel.scale, (u - bessel.s - bessel.mu) / bessel.scale  # rho and rho - 1
        middle = excess > -0.25
        near = deviance(xp, xp.where(middle, excess, xp.zeros_like(excess)))
        spread = xp.where(middle, nu * near, nu * excess - xlogy(xp, nu, ratio))
        return bessel.rest - spread - bessel.m * ratio - 0.5 * nc * excess * excess - xp.log(2.0 * scale)

    @staticmethod
    def score_function(xp: Namespace, x: Array, df: Array, nc: Array, scale: Array) -> Array:
        nu, u = 0.5 * df - 1.0, x / scale
        return (divide(xp, nu, u) - 0.5 + 0.5 * nc * quotient_of_square(xp, nu, u * nc)) / scale

    @staticmethod
    def moments(xp: Namespace, df: Array, nc: Array, scale: Array) -> tuple[Array, Array]:
        return scale * (df + nc), 2.0 * scale * scale * (df + 2.0 * nc)

    @staticmethod
    def draw(xp: Namespace, noise: Source, like: Array, df: Array, nc: Array, scale: Array) -> Array:
        blank = xp.zeros_like(like)
        if isinstance(df, int | float) and df >= 1.0:
            shifted = noise.normal(like) + xp.sqrt(nc)
            return scale * (shifted * shifted + 2.0 * noise.gamma(0.5 * (df - 1.0) + blank))
        return scale * (2.0 * noise.gamma(0.5 * df + noise.poisson(0.5 * nc + blank)))

    @staticmethod
    def log_tails(xp: Namespace, x: Array, df: Array, nc: Array, scale: Array) -> tuple[Array, Array]:
        return half_line_tails(xp, x, 0.5 * df, 0.5 * nc, 2.0 * scale)

    @staticmethod
    def quantile(xp: Namespace, log_p: Array, log_q: Array, df: Array, nc: Array, scale: Array) -> Array:
        def log_density(x: Array) -> Array:
            return NoncentralChi2.log_density(xp, x, df, nc, scale)

        return half_line_quantile(xp, log_density, log_p, log_q, 0.5 * df, 0.5 * nc, 2.0 * scale)


def log_gamma(xp: Namespace, shape: Array) -> Array:
    """log Gamma(shape), of a Python float as well; infinite where it overflows."""
    if not isinstance(shape, int | float):
        return gammaln.kernel(xp, shape)
    return math.lgamma(shape) if shape < 1e305 else math.inf


def gamma_entropy(xp: Namespace, shape: Array) -> Array:
    r"""Entropy at scale 1: :math:`k + \log\Gamma(k) + (1-k)\,\psi(k)`, without cancellation at large k."""
    large = shape > 16.0
    k = xp.where(large, xp.ones_like(shape), shape)
    direct = k + gammaln.kernel(xp, k) + (1.0 - k) * digamma.kernel(xp, k)
    k = xp.where(large, shape, xp.full_like(shape, 16.0))
    w = 1.0 / (k * k)
    # What Stirling's formula leaves out of log Gamma, and of its derivative.
    rest = (1.0 / 12.0 - w * (1.0 / 360.0 - w * (1.0 / 1260.0 - w * (1.0 / 1680.0 - w / 1188.0)))) / k
    slope = w * (1.0 / 12.0 - w * (1.0 / 120.0 - w * (1.0 / 252.0 - w * (1.0 / 240.0 - w / 132.0))))
    asymptotic = 0.5 * xp.log(k) + 0.5 * math.log(2.0 * math.pi) + rest + (k - 1.0) * (0.5 / k + slope)
    return xp.where(large, asymptotic, direct)
