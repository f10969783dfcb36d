r"""The isotropic normal law inside and outside of a ball, in logarithms.

The distance r of :math:`N(m, I_d)` from 0, with :math:`\mu = |m|` and :math:`\nu = d/2 - 1`, has the density

.. math:: p(r) = r\Big(\frac r\mu\Big)^\nu e^{-(r^2+\mu^2)/2}\, I_\nu(r\mu), \qquad
    \frac{d}{d\mu} P(r \le R) = -p(R)\,\frac{I_{\nu+1}(R\mu)}{I_\nu(R\mu)},

since the direction of a point at the distance r is of von Mises and Fisher's law.
"""

from __future__ import annotations

import numpy as np

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.theory.laws.matrices import constant
from driftproof.theory.special.bessel import bessel_ratio, log_ive_parts
from driftproof.theory.special.elementary import log_sum_exp

__all__ = ["log_ball"]

_NODES, _WEIGHTS = (part.tolist() for part in np.polynomial.legendre.leggauss(48))
_DEPTH = 50.0  # the density counts as far as it is above e^-50 of its largest value


def _is_a_dimension(xp: Namespace, *, d: int, **_: Array) -> None:
    if d < 1:
        raise UnmetHypothesis("log_ball", "d >= 1", f"d = {d!r}")


@public(wide=True, check=_is_a_dimension, radius="in (0, inf)", distance="in [0, inf)")
def log_ball(xp: Namespace, radius: Array, distance: Array, d: int, outside: bool = False) -> Array:
    r"""Logarithm of the probability that a normal vector lies in a ball, or outside of it.

    .. math:: \log P(|\mu e + Z| \le R), \qquad Z \sim N(0, I_d), \quad |e| = 1

    The square of the length is noncentral chi-squared with d degrees of freedom.

    Arguments:
        radius: R, any shape, > 0.
        distance: :math:`\mu` of the mean from the centre, >= 0, broadcastable with ``radius``.
        d: Dimension, >= 1.
        outside: Whether the complement is meant.

    Returns:
        Array of the broadcast shape, <= 0.

    Raises:
        UnmetHypothesis: d < 1, or a radius that is not positive.

    References:
        | NIST Digital Library of Mathematical Functions, §10.25, https://dlmf.nist.gov/10.25

    Claims: DOOB-BALL-1

    Example:
        >>> from math import exp, isclose
        >>> isclose(log_ball(2.0, 0.0, 2, outside=True), -2.0, rel_tol=1e-13)
        True
    """
    nothing = 0.0 * (radius + distance)
    radius, distance = radius + nothing, distance + nothing
    # Where panels lie changes no value.  The mode is known to a part of the width of the peak, which is 1 at most.
    edge, mode = constant(radius), constant(xp.sqrt(distance * distance + (d - 1.0)))
    middle = xp.maximum(mode, edge) if outside else xp.minimum(mode, edge)
    away = xp.abs(mode - middle)
    reach = 2.0 * _DEPTH / (away + xp.sqrt(away * away + 2.0 * _DEPTH))  # away s + s^2 / 2 = depth
    low = xp.maximum(middle - reach, xp.zeros_like(middle))
    high = middle + reach
    if outside:
        low = xp.where(low > edge, low, radius)
        middle = xp.where(middle > edge, middle, radius)
    else:
        high = xp.where(high < edge, high, radius)
        middle = xp.where(middle < edge, middle, radius)
    nodes, weights = (
        xp.asarray(v, dtype=radius.dtype, device=getattr(radius, "device", None)) for v in (_NODES, _WEIGHTS)
    )
    parts = []
    for first, last in ((low, middle), (middle, high)):
        length = (last - first)[..., None]
        r = first[..., None] + 0.5 * length * (1.0 + nodes)
        some = length > 0  # a piece of no length may stand at 0
        r = xp.where(some, r, xp.ones_like(r))
        scale = xp.where(some, xp.log(xp.where(some, length, xp.ones_like(length))), -xp.inf)
        density = log_distance_density(xp, r, distance[..., None] + 0.0 * r, d)
        parts.append(density + xp.log(0.5 * weights) + scale)
    total = log_sum_exp(xp, xp.concat(parts, axis=-1))
    return xp.where(total < 0, total, xp.zeros_like(total))


def log_distance_density(xp: Namespace, r: Array, distance: Array, d: int) -> Array:
    """Kernel: log p(r) for r > 0; regular at distance 0."""
    nu = 0.5 * d - 1.0
    scale, remainder = log_ive_parts.kernel(xp, nu, r * distance)
    away = r - distance
    return -0.5 * away * away + (d - 1.0) * xp.log(r) - nu * xp.log(scale) + remainder


def log_ball_slope(xp: Namespace, radius: Array, distance: Array, d: int, outside: bool) -> Array:
    """Kernel: the derivative of :func:`log_ball` in the distance of the mean."""
    log_p = log_ball.kernel(xp, radius, distance, d, outside)
    flux = xp.exp(log_distance_density(xp, radius, distance, d) - log_p)
    ratio = bessel_ratio.kernel(xp, 0.5 * d - 1.0, radius * distance)
    return flux * ratio if outside else -flux * ratio
