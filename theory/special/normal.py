r"""The lower tail of the normal law, right as far out as numbers go.

With Mills' ratio :math:`R(x) = (1-\Phi(x))/\varphi(x)` every tail quantity is a product without
cancellation.  :math:`R` is a smooth function of :math:`t = 4/(4+x)` on :math:`[0, 1]` with
:math:`R \sim t/4` at infinity; a Chebyshev series of :math:`R/t` gives it, and its derivatives, for every
:math:`x \ge 0`.  The coefficients are computed at 40 digits by ``tests/reference/special.py``; the first
one left out is 3e-19.
"""

from __future__ import annotations

import math

from ..._namespace import Array, Namespace, public

__all__ = ["log_ndtr", "mills"]

_CHEBYSHEV = (
    0.6081401071287601,
    0.47106364364487086,
    0.1392391622740954,
    0.030403993036051142,
    0.004340177035931943,
    0.00020090530018249141,
    -6.300873370135883e-05,
    -1.1845929817645294e-05,
    6.331472841497064e-07,
    3.85101745997825e-07,
    -2.1187401575154253e-09,
    -1.2963346502736679e-08,
    -7.070323319150879e-11,
    4.871641594722791e-10,
    -6.229863742070076e-12,
    -1.9893121798622254e-11,
    1.1546035447901972e-12,
    8.227140310538324e-13,
    -1.0913460109272634e-13,
    -3.0751779600166894e-14,
    8.103543396609754e-15,
    7.633098898835179e-16,
    -5.045935083212317e-16,
    1.7925491015967012e-17,
    2.5423878518453892e-17,
    -4.390608554472448e-18,
    -8.3951806913851e-19,
)


@public(z="finite")
def log_ndtr(xp: Namespace, z: Array) -> Array:
    r"""Logarithm of the standard normal distribution function.

    .. math:: \log\Phi(z),\qquad \frac{d}{dz}\log\Phi(z) = \frac{\varphi(z)}{\Phi(z)}

    Arguments:
        z: any shape, finite.

    Returns:
        Array of the shape of ``z``.

    References:
        | NIST Digital Library of Mathematical Functions, §7.8 (Mills' ratio), https://dlmf.nist.gov/7.8

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
def mills(xp: Namespace, z: Array) -> Array:
    r"""Inverse Mills ratio: the derivative of :func:`log_ndtr`.

    .. math:: m(z) = \frac{\varphi(z)}{\Phi(z)},\qquad m' = -m\,(z + m)

    It is the mean of a standard normal variable minus its mean shift when truncated to ``(-z, inf)``, and
    :math:`m(z) \sim -z` as :math:`z \to -\infty`.

    Arguments:
        z: any shape, finite.

    Returns:
        Array of the shape of ``z``, positive (0 where the density underflows).

    References:
        | NIST Digital Library of Mathematical Functions, §7.8 (Mills' ratio), https://dlmf.nist.gov/7.8

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
    """(1 - Phi(x)) / phi(x) for x >= 0, by Clenshaw's recurrence."""
    t = 4 / (4 + x)
    v = 2 * (2 * t - 1)
    above, b = 0 * t, 0 * t
    for c in reversed(_CHEBYSHEV[1:]):
        above, b = b, v * b - above + c
    return t * (0.5 * v * b - above + _CHEBYSHEV[0])


def _density(xp: Namespace, x: Array) -> Array:
    """phi(x).  The square is split so that its rounding error, x^2 eps, does not reach the exponential."""
    head = xp.floor(16 * x) / 16  # constant almost everywhere: derivatives see (x - head)(x + head) only
    return xp.exp(-0.5 * head * head) * xp.exp(-0.5 * (x - head) * (x + head)) / math.sqrt(2 * math.pi)
