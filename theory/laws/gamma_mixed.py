r"""The noncentral chi-square law whose noncentrality is gamma distributed.

It is what squared Bessel noise makes of gamma data of any shape.  With :math:`\lambda/2` of scale
:math:`m`, the latent count is negative binomial and Kummer's function sums the mixture:

.. math::
    X = 2c\,\Gamma(\tfrac\delta2 + N), \quad N \mid \lambda \sim \mathrm{Poisson}(\tfrac\lambda2), \quad
    \tfrac\lambda2 \sim \Gamma(\alpha, m), \qquad
    p(x) = \frac{y^{\nu} e^{-y}}{2c\,\Gamma(\nu+1)}\,(1+m)^{-\alpha}\,
        {}_1F_1\!\Big(\alpha;\,\nu+1;\,\frac{m}{1+m}\,y\Big), \quad y = \frac{x}{2c}, \quad \nu = \frac\delta2 - 1
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from driftproof._namespace import Array, Namespace, checked
from driftproof._random import Source
from driftproof.theory.special import hyp1f1_ratio, log_hyp1f1
from driftproof.theory.special.elementary import divide, xlogy
from driftproof.theory.special.mixed_gamma import log_mixed_gamma

from .elementwise import ElementwiseLaw
from .tails import log_p_of_power, positive_quantile, positive_tails

__all__ = ["GammaMixedChi2"]


@final
@dataclass(frozen=True, eq=False)
@checked
class GammaMixedChi2(ElementwiseLaw):
    r"""The law of :math:`c\,\chi'^2_\delta(\lambda)` with :math:`\lambda/2 \sim \Gamma(\alpha, m)`.

    Arguments:
        df: Degrees of freedom :math:`\delta > 0`, a float.
        shape: Shape :math:`\alpha > 0` of the half-noncentrality, a float.
        mixing: Scale :math:`m > 0` of the half-noncentrality, any shape.
        scale: Scale :math:`c > 0`, broadcastable with ``mixing``.

    Raises:
        UnmetHypothesis: A parameter is not positive, or a point at which the score is asked is negative; tails where
            a parameter or x / scale is beyond 1e123 (in float32 2e15), unless x is beyond all else.

    Claims: TWEEDIE-LAW-2, TWEEDIE-ORACLE-1, TWEEDIE-DRAW-1, SPECIAL-TAILS-5, SPECIAL-TAILS-6

    Example:
        >>> float(GammaMixedChi2(3.0, 2.0, 0.5, 1.0).mean)
        5.0
    """

    df: float
    shape: float
    mixing: Array
    scale: Array
    support: ClassVar[str] = ">= 0"
    static: ClassVar[frozenset[str]] = frozenset({"df", "shape"})

    def __post_init__(self) -> None:
        for name in ("df", "shape"):
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), int | float):
                kind = type(getattr(self, name)).__name__
                raise TypeError(f"GammaMixedChi2: expected a Python float for {name}, got {kind}")
        self._require(df="> 0", shape="> 0", mixing="> 0", scale="> 0")

    @staticmethod
    def log_density(xp: Namespace, x: Array, df: float, shape: float, mixing: Array, scale: Array) -> Array:
        nu, y = 0.5 * df - 1.0, 0.5 * x / scale
        kummer = log_hyp1f1.kernel(xp, shape, nu + 1.0, mixing / (1.0 + mixing) * y)
        central = xlogy(xp, nu, y) - y - math.lgamma(nu + 1.0) - xp.log(2.0 * scale)
        return central - shape * xp.log1p(mixing) + kummer

    @staticmethod
    def score_function(
        xp: Namespace, x: Array, df: float, shape: float, mixing: Array, scale: Array
    ) -> Array:
        nu, y = 0.5 * df - 1.0, 0.5 * x / scale
        weight = mixing / (1.0 + mixing)
        ratio = hyp1f1_ratio.kernel(xp, shape, nu + 1.0, weight * y)
        return (divide(xp, nu, y) - 1.0 + weight * shape / (nu + 1.0) * ratio) * 0.5 / scale

    @staticmethod
    def moments(xp: Namespace, df: float, shape: float, mixing: Array, scale: Array) -> tuple[Array, Array]:
        count = shape * mixing
        spread = count * (1.0 + mixing)
        return scale * (df + 2.0 * count), 4.0 * scale**2 * (0.5 * df + count + spread)

    @staticmethod
    def draw(
        xp: Namespace, noise: Source, like: Array, df: float, shape: float, mixing: Array, scale: Array
    ) -> Array:
        blank = xp.zeros_like(like)
        count = noise.poisson(mixing * noise.gamma(shape + blank))
        return scale * (2.0 * noise.gamma(0.5 * df + count))

    @staticmethod
    def log_tails(
        xp: Namespace, x: Array, df: float, shape: float, mixing: Array, scale: Array
    ) -> tuple[Array, Array]:
        blank = xp.zeros_like(x + mixing + scale)
        a, alpha, m, unit = (v + blank for v in (0.5 * df, shape, mixing, 2.0 * scale))
        return positive_tails(
            xp, x + blank, unit, lambda y, log_y: log_mixed_gamma(xp, a, alpha, m, y, log_y)
        )

    @staticmethod
    def quantile(
        xp: Namespace, log_p: Array, log_q: Array, df: float, shape: float, mixing: Array, scale: Array
    ) -> Array:
        blank = xp.zeros_like(log_p + mixing + scale)
        a, alpha, m, unit = (v + blank for v in (0.5 * df, shape, mixing, 2.0 * scale))
        mean, variance = a + alpha * m, a + alpha * m * (2.0 + m)
        return positive_quantile(
            xp,
            lambda x, mixing, scale: GammaMixedChi2.log_tails(xp, x, df, shape, mixing, scale),
            (m, 0.5 * unit),
            lambda x: GammaMixedChi2.log_density(xp, x, df, shape, m, 0.5 * unit),
            log_p + blank,
            log_q + blank,
            first=(log_p_of_power(xp, a, alpha * xp.log1p(m)), a),
            moments=(mean, mean * (mean / variance)),
            unit=unit,
        )
