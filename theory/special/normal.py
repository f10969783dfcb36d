r"""The lower tail of the normal law, right as far out as numbers go.

With Mills' ratio :math:`R(x) = (1-\Phi(x))/\varphi(x)` every tail quantity is a product without
cancellation.  :math:`(1 + x/5)\,R(x)` is a smooth function of :math:`v = (5-x)/(5+x)`, which maps
:math:`[0, \infty]` to :math:`[-1, 1]`; one polynomial in :math:`v` gives it, and its derivatives, for every
:math:`x \ge 0`.  ``tests/reference/special.py`` computes the coefficients at 40 digits from the Chebyshev
series, whose first term left out is 3e-19.

Symbols:
    z: any shape, finite.

References:
    | NIST Digital Library of Mathematical Functions, §7.8 (Mills' ratio), https://dlmf.nist.gov/7.8
"""

from __future__ import annotations

import math

from driftproof._blocks import elementwise
from driftproof._namespace import Array, Namespace, public

__all__ = ["log_ndtr", "mills"]

_UNDERFLOW = 40.0  # from where on the density is 0 in either precision
MILLS_POLYNOMIAL = (
    0.3856162094306315,
    0.33357331903779197,
    0.2483094123147733,
    0.1571822151093118,
    0.08272894314653675,
    0.03465094681734587,
    0.01042510048245576,
    0.0015006565653387838,
    -0.00039999239499687316,
    -0.0002731718418127425,
    -2.9766610464679603e-05,
    2.4947179233759165e-05,
    8.362917173264925e-06,
    -1.9951097898250258e-06,
    -1.3890066276983257e-06,
    1.6754742607369758e-07,
    2.1873267047187882e-07,
    -1.9827895641005365e-08,
    -3.5282479379543805e-08,
    3.9620490640985045e-09,
    5.634402395088606e-09,
    -9.40611442726978e-10,
    -7.688368129929841e-10,
    1.7700540028707264e-10,
    6.251210894320826e-11,
    -1.7642942484577485e-11,
)


@public(z="finite")
@elementwise
def log_ndtr(xp: Namespace, z: Array) -> Array:
    r"""Logarithm of the standard normal distribution function.

    .. math:: \log\Phi(z),\qquad \frac{d}{dz}\log\Phi(z) = \frac{\varphi(z)}{\Phi(z)}

    Arguments:
        z: Symbols of the module.

    Returns:
        Array of the shape of ``z``.

    Claims: SPECIAL-NORMAL-1

    Example:
        >>> from math import isclose, log
        >>> isclose(log_ndtr(0.0), -log(2.0), rel_tol=1e-15)
        True
    """
    x = xp.where(z < 0, -z, z)
    ratio = _mills_ratio(x)
    lower = xp.log(ratio) - 0.5 * x * x - 0.5 * math.log(2 * math.pi)
    upper = xp.log1p(-_density(xp, x) * ratio)
    return xp.where(z < 0, lower, upper)


@public(z="finite")
@elementwise
def mills(xp: Namespace, z: Array) -> Array:
    r"""Inverse Mills ratio: the derivative of :func:`log_ndtr`.

    .. math:: m(z) = \frac{\varphi(z)}{\Phi(z)},\qquad m' = -m\,(z + m)

    It is the mean of a standard normal variable minus its mean shift when truncated to ``(-z, inf)``, and
    :math:`m(z) \sim -z` as :math:`z \to -\infty`.

    Arguments:
        z: Symbols of the module.

    Returns:
        Array of the shape of ``z``, positive (0 where the density underflows).

    Claims: SPECIAL-NORMAL-1

    Example:
        >>> from math import isclose, pi, sqrt
        >>> isclose(mills(0.0), sqrt(2 / pi), rel_tol=1e-15)
        True
    """
    x = xp.where(z < 0, -z, z)
    ratio = _mills_ratio(x)
    density = _density(xp, x)
    return xp.where(z < 0, 1 / ratio, density / (1 - density * ratio))


def _mills_ratio(x: Array) -> Array:
    """(1 - Phi(x)) / phi(x) for x >= 0."""
    v = (5 - x) / (5 + x)
    p = MILLS_POLYNOMIAL[-1] + 0 * v
    for c in reversed(MILLS_POLYNOMIAL[:-1]):
        p = p * v + c
    return 5 * p / (5 + x)


def _density(xp: Namespace, x: Array) -> Array:
    """phi(x).  The square is split so that its rounding error, x^2 eps, does not reach the exponential."""
    x = xp.where(x < _UNDERFLOW, x, _UNDERFLOW)
    head = xp.floor(16 * x) / 16  # constant almost everywhere: derivatives see (x - head)(x + head) only
    return xp.exp(-0.5 * head * head) * xp.exp(-0.5 * (x - head) * (x + head)) / math.sqrt(2 * math.pi)
