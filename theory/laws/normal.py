r"""Normal and lognormal laws.

.. math::
    N(\mu, \sigma^2): \quad \log p(x) = -\tfrac12 \Big(\frac{x-\mu}{\sigma}\Big)^2 - \log \sigma
        - \tfrac12 \log 2\pi, \qquad
    \log X \sim N(\mu, \sigma^2): \quad \log p(x) = \log p_N(\log x) - \log x
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from driftproof._namespace import Array, Namespace, checked
from driftproof._random import Source

from .elementwise import ElementwiseLaw
from .tails import normal_quantile, normal_tails

__all__ = ["LogNormal", "Normal"]

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


@final
@dataclass(frozen=True, eq=False)
@checked
class Normal(ElementwiseLaw):
    r"""The normal law :math:`N(\mu, \sigma^2)`.

    Arguments:
        loc: Mean :math:`\mu`, any shape.
        scale: Standard deviation :math:`\sigma > 0`, broadcastable with ``loc``.

    Raises:
        UnmetHypothesis: ``scale`` is not positive.

    Claims: CONVENTION-LAWS-1, TWEEDIE-DRAW-1, SPECIAL-TAILS-2, SPECIAL-TAILS-3, SPECIAL-TAILS-4, SPECIAL-LAWS-1

    Example:
        >>> float(Normal(0.0, 1.0).score(2.0))
        -2.0
    """

    loc: Array
    scale: Array
    pathwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._require(scale="> 0")

    @staticmethod
    def log_density(xp: Namespace, x: Array, loc: Array, scale: Array) -> Array:
        z = (x - loc) / scale
        return -0.5 * z * z - xp.log(scale) - _HALF_LOG_TWO_PI

    @staticmethod
    def score_function(xp: Namespace, x: Array, loc: Array, scale: Array) -> Array:
        return -((x - loc) / scale) / scale

    @staticmethod
    def moments(xp: Namespace, loc: Array, scale: Array) -> tuple[Array, Array]:
        return loc + xp.zeros_like(scale), scale * scale + xp.zeros_like(loc)

    @staticmethod
    def draw(xp: Namespace, noise: Source, like: Array, loc: Array, scale: Array) -> Array:
        return loc + scale * noise.normal(like)

    @staticmethod
    def log_tails(xp: Namespace, x: Array, loc: Array, scale: Array) -> tuple[Array, Array]:
        return normal_tails(xp, (x - loc) / scale)

    @staticmethod
    def quantile(xp: Namespace, log_p: Array, log_q: Array, loc: Array, scale: Array) -> Array:
        return loc + scale * normal_quantile(xp, log_p, log_q)

    @staticmethod
    def entropy_function(xp: Namespace, loc: Array, scale: Array) -> Array:
        return xp.log(scale) + (_HALF_LOG_TWO_PI + 0.5) + xp.zeros_like(loc)


@final
@dataclass(frozen=True, eq=False)
@checked
class LogNormal(ElementwiseLaw):
    r"""The law of :math:`e^{\mu + \sigma Z}`.

    Arguments:
        loc: Mean :math:`\mu` of the logarithm, any shape.
        scale: Standard deviation :math:`\sigma > 0` of the logarithm, broadcastable with ``loc``.

    Raises:
        UnmetHypothesis: ``scale`` is not positive, or a point at which the score is evaluated is not.

    Claims: CONVENTION-LAWS-1, TWEEDIE-DRAW-1, SPECIAL-TAILS-2, SPECIAL-TAILS-3, SPECIAL-TAILS-4, SPECIAL-LAWS-1

    Example:
        >>> float(LogNormal(0.0, 1.0).score(1.0))
        -1.0
    """

    loc: Array
    scale: Array
    support: ClassVar[str] = "> 0"
    pathwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._require(scale="> 0")

    @staticmethod
    def log_density(xp: Namespace, x: Array, loc: Array, scale: Array) -> Array:
        log_x = xp.log(x)
        return Normal.log_density(xp, log_x, loc, scale) - log_x

    @staticmethod
    def score_function(xp: Namespace, x: Array, loc: Array, scale: Array) -> Array:
        return (Normal.score_function(xp, xp.log(x), loc, scale) - 1.0) / x

    @staticmethod
    def moments(xp: Namespace, loc: Array, scale: Array) -> tuple[Array, Array]:
        v = scale * scale
        mean = xp.exp(loc + 0.5 * v)
        # The deviation is the mean times sqrt(e^v - 1): scale where v underflows, and one exponential where
        # the mean or the root alone might be 0 or infinite.
        wide, moderate = v > 40.0, xp.where(v > 40.0, xp.ones_like(v), v)
        root = xp.where(moderate > 1e-30, xp.sqrt(xp.expm1(moderate)), scale)
        deviation = xp.where(wide, xp.exp(loc + v), xp.where(wide, xp.ones_like(v), mean) * root)
        return mean, deviation * deviation

    @staticmethod
    def draw(xp: Namespace, noise: Source, like: Array, loc: Array, scale: Array) -> Array:
        return xp.exp(Normal.draw(xp, noise, like, loc, scale))

    @staticmethod
    def log_tails(xp: Namespace, x: Array, loc: Array, scale: Array) -> tuple[Array, Array]:
        inside = x > 0
        log_x = xp.where(inside, xp.log(xp.where(inside, x, xp.ones_like(x))), -xp.inf)
        return Normal.log_tails(xp, log_x, loc, scale)

    @staticmethod
    def quantile(xp: Namespace, log_p: Array, log_q: Array, loc: Array, scale: Array) -> Array:
        return xp.exp(Normal.quantile(xp, log_p, log_q, loc, scale))

    @staticmethod
    def entropy_function(xp: Namespace, loc: Array, scale: Array) -> Array:
        return Normal.entropy_function(xp, loc, scale) + loc
