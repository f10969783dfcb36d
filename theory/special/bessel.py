r"""The modified Bessel function of the first kind, in logarithms, and its ratio of neighbours.

One expansion serves every argument.  With :math:`s = \sqrt{\mu^2 + z^2}` and :math:`t = \mu/s`,

.. math:: I_\mu(z) = \frac{1}{\sqrt{2\pi s}}\Big(\frac{z}{\mu+s}\Big)^{\mu} e^{s}\,U,
          \qquad U = \sum_k \frac{U_k(t)}{\mu^k},

holds uniformly in :math:`z \ge 0` (Debye; DLMF 10.41.3).  Differentiating its logarithm gives the ratio of
neighbours without cancellation,

.. math:: \frac{\mu+s}{z}\,\frac{I_{\mu+1}(z)}{I_\mu(z)}
          = 1 - \frac{\mu+s}{s^2}\Big(\frac12 + \frac{t\,U'(t)}{U}\Big).

The expansion needs a large order, so it is used at :math:`\mu = \nu + m \ge 24`, and
:math:`f_j = \big(\frac{z}{\mu+s}\big)^{m-j} I_{\nu+j}(z) / I_\mu(z)` walks down from
:math:`f_{m+1}, f_m` to :math:`f_0`:

.. math:: f_j = \frac{2(\nu+j+1)}{\mu+s}\,f_{j+1} + \Big(\frac{z}{\mu+s}\Big)^2 f_{j+2}.

Every term is positive, and nothing is singular at :math:`z = 0` or large.

Derived here from the expansion and the recurrence of DLMF 10.41 and 10.29.

Symbols:
    nu: order, nu > -1; a Python float (fastest) or an array that broadcasts with ``z``.
    z: any shape, z >= 0.

Outside of these domains, and for NaN, every function raises :class:`UnmetHypothesis`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from driftproof._blocks import elementwise
from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

from .debye import DEBYE, enough_terms

__all__ = ["bessel_quotient", "bessel_ratio", "log_iv", "log_ive", "log_ive_parts"]

_LIFT = 2.0**60  # of numbers whose quotient might be 0


@public(nu="in (-1, inf)", z="in [0, 1e18]")
@elementwise
def log_iv(xp: Namespace, nu: float | Array, z: Array) -> Array:
    r"""Logarithm of the modified Bessel function of the first kind.

    .. math:: \log I_\nu(z),\qquad I_\nu(z) = \sum_n \frac{(z/2)^{2n+\nu}}{n!\,\Gamma(n+\nu+1)}

    At z = 0 the value is the limit: 0 for nu = 0, -inf for nu > 0, +inf for nu < 0.  The derivative is
    :math:`R_\nu(z) + \nu/z`; at z = 0 automatic differentiation returns its regular part, 0.

    Arguments:
        nu, z: Symbols of the module.

    Returns:
        Array of the broadcast shape.

    References:
        | NIST Digital Library of Mathematical Functions, §10.25, §10.41, https://dlmf.nist.gov/10.41

    Claims: SPECIAL-BESSEL-1

    Example:
        >>> from math import isclose, log, pi, sinh, sqrt
        >>> isclose(log_iv(0.5, 2.0), log(sqrt(1 / pi) * sinh(2.0)), rel_tol=1e-14)
        True
    """
    ladder = ladder_of_square(xp, nu, z * z)
    # s - m = nu + z^2 / scale, without the rounding error of s.
    return _power(xp, nu, z, ladder) + (nu + z * (z / ladder.scale) + ladder.rest)


@public(nu="in (-1, inf)", z="in [0, 1e18]")
@elementwise
def log_ive(xp: Namespace, nu: float | Array, z: Array) -> Array:
    r"""Logarithm of the exponentially scaled modified Bessel function.

    .. math:: \log\big(e^{-z} I_\nu(z)\big)

    Arguments:
        nu, z: Symbols of the module.

    Returns:
        Array of the broadcast shape, with the limits of :func:`log_iv` at z = 0.

    References:
        | NIST Digital Library of Mathematical Functions, §10.41, https://dlmf.nist.gov/10.41

    Claims: SPECIAL-BESSEL-1

    Example:
        >>> from math import isclose, log, pi
        >>> isclose(log_ive(0.5, 1e10), -0.5 * log(2 * pi * 1e10), rel_tol=1e-14)
        True
    """
    ladder = ladder_of_square(xp, nu, z * z)
    return _power(xp, nu, z, ladder) + scaled_remainder(nu, z, ladder)


@public(nu="in (-1, inf)", z="in [0, 1e18]")
def log_ive_parts(xp: Namespace, nu: float | Array, z: Array) -> tuple[Array, Array]:
    r"""The parts of :func:`log_ive` that are smooth at z = 0.

    .. math:: \log\big(e^{-z} I_\nu(z)\big) = \nu\log\frac{z}{\text{scale}} + \text{remainder}

    A density that multiplies :math:`I_\nu(z)` by a power of its argument joins the two powers inside one
    logarithm, so that nothing cancels and z = 0 is no special case.

    Arguments:
        nu, z: Symbols of the module.

    Returns:
        scale: positive, :math:`\mu + \sqrt{\mu^2 + z^2}`.
        remainder: finite for every z.

    References:
        | NIST Digital Library of Mathematical Functions, §10.41, https://dlmf.nist.gov/10.41

    Claims: SPECIAL-BESSEL-1

    Example:
        >>> from math import isclose, log, pi
        >>> scale, remainder = log_ive_parts(1.0, 0.0)  # I_1(z) ~ z/2
        >>> isclose(remainder - log(scale), -log(2.0), rel_tol=1e-14)
        True
    """
    ladder = ladder_of_square(xp, nu, z * z)
    return ladder.scale, scaled_remainder(nu, z, ladder)


@public(nu="in (-1, inf)", z="in [0, 1e18]")
@elementwise
def bessel_ratio(xp: Namespace, nu: float | Array, z: Array) -> Array:
    r"""Ratio of neighbouring modified Bessel functions.

    .. math:: R_\nu(z) = \frac{I_{\nu+1}(z)}{I_\nu(z)},\qquad
              R_\nu' = 1 - R_\nu^2 - \frac{2\nu+1}{z} R_\nu

    Arguments:
        nu, z: Symbols of the module.

    Returns:
        Array of the broadcast shape; 0 at z = 0.  It exceeds 1 for some z if nu < -1/2.

    References:
        | NIST Digital Library of Mathematical Functions, §10.33, https://dlmf.nist.gov/10.33

    Claims: SPECIAL-BESSEL-2

    Example:
        >>> from math import cosh, isclose, sinh
        >>> isclose(bessel_ratio(-0.5, 2.0), sinh(2.0) / cosh(2.0), rel_tol=1e-14)
        True
    """
    return z * ladder_of_square(xp, nu, z * z).r


@public(nu="in (-1, inf)", z="in [0, 1e18]")
@elementwise
def bessel_quotient(xp: Namespace, nu: float | Array, z: Array) -> Array:
    r"""Ratio of neighbouring modified Bessel functions over the argument: smooth and positive at 0.

    .. math:: r_\nu(z) = \frac{I_{\nu+1}(z)}{z\,I_\nu(z)},\qquad r_\nu(0) = \frac{1}{2(\nu+1)}

    Arguments:
        nu, z: Symbols of the module.

    Returns:
        Array of the broadcast shape, > 0.

    Claims: SPECIAL-BESSEL-2

    Example:
        >>> float(bessel_quotient(1.0, 0.0))
        0.25
    """
    return ladder_of_square(xp, nu, z * z).r


class Ladder(NamedTuple):
    """The result of one walk down from the order mu to the order nu."""

    m: int
    mu: float | Array  # nu + m
    s: Array  # sqrt(mu^2 + w)
    scale: Array  # mu + s
    rest: Array  # log I_nu = nu log(sqrt(w) / scale) + (s - m) + rest: of order 1 for small nu and w
    r: Array  # I_{nu+1} / (sqrt(w) I_nu)


def ladder_of_square(xp: Namespace, nu: float | Array, w: Array) -> Ladder:
    """The walk for the argument sqrt(w): smooth in w >= 0, also at 0, which a function of the root is not."""
    eps = float(xp.finfo(w.dtype).eps)
    lowest = 24 if eps < 1e-10 else 8  # of the orders that the expansion sees
    if isinstance(nu, int | float):
        if not nu > -1:
            raise UnmetHypothesis("modified Bessel function", "nu > -1", f"nu = {nu!r}")
        m = max(0, math.ceil(lowest - nu))
        terms = enough_terms(nu + m, eps)
    else:
        m = lowest + 1
        terms = enough_terms(lowest, eps)
    mu = nu + m
    s = xp.sqrt(mu * mu + w)
    scale = mu + s
    u, tdu = _debye(mu, s, terms)
    half, q = 0.5 * scale, w / (scale * scale)
    above, f = 1 - scale * (0.5 + tdu / u) / (s * s), xp.ones_like(s)
    for j in range(m - 1, -1, -1):
        above, f = f, (nu + (j + 1)) * (f / half) + q * above
    rest = xp.log(u * f * (math.exp(m) / xp.sqrt(2 * math.pi * s)))
    return Ladder(m, mu, s, scale, rest, above / (f * scale))


def _debye(mu: float | Array, s: Array, terms: int) -> tuple[Array, Array]:
    """The sum U and t dU/dt of the expansion of order mu, cut after ``terms`` terms."""
    t = mu / s
    if isinstance(mu, int | float):  # one polynomial in t
        degree = 3 * (terms - 1)
        coefficients = [0.0] * (degree + 1)
        for k in range(terms):
            for j in range(k + 1):
                coefficients[k + 2 * j] += DEBYE[k][j] * mu**-k
        u, du = coefficients[degree] + 0 * t, 0 * t
        for d in range(degree - 1, -1, -1):
            du = du * t + u
            u = u * t + coefficients[d]
        return u, t * du
    y, w = t * t, 1 / s  # U_k(t) / mu^k = w^k p_k(y)
    u, tdu = 0 * y, 0 * y
    for k in range(terms - 1, -1, -1):
        p, dp = DEBYE[k][k] + 0 * y, (3.0 * k) * DEBYE[k][k] + 0 * y
        for j in range(k - 1, -1, -1):
            p = p * y + DEBYE[k][j]
            dp = dp * y + (k + 2.0 * j) * DEBYE[k][j]
        u, tdu = u * w + p, tdu * w + dp
    return u, tdu


def scaled_remainder(nu: float | Array, z: Array, ladder: Ladder) -> Array:
    """(s - z) - m + rest.  With h = mu / (s + z), s - z = mu h; small for small z and for large."""
    h = ladder.mu / (ladder.s + z)
    complement = z / (ladder.s + z) * (1 + z / ladder.scale)  # 1 - h
    return nu * h - ladder.m * complement + ladder.rest


def _power(xp: Namespace, nu: float | Array, z: Array, ladder: Ladder) -> Array:
    """nu log(z / scale) with its limits at z = 0, and no NaN in gradients there."""
    if isinstance(nu, int | float) and nu == 0:
        return xp.zeros_like(z)
    mu, s, zero = ladder.mu, ladder.s, xp.zeros_like(ladder.s)
    z, order = z + zero, nu + zero
    small, positive = z < mu, z > 0
    # Where z / scale is close to 1, the logarithm is taken of the difference; where z is subnormal, z is lifted first.
    least = z < _LIFT * float(xp.finfo(z.dtype).smallest_normal)
    lifted = xp.where(positive, xp.where(least, z * _LIFT, z), zero + 1)
    near_zero = xp.log(lifted / ladder.scale) - xp.where(positive & least, zero + math.log(_LIFT), zero)
    near_one = -xp.log1p((mu + mu * (mu / (s + z))) / xp.where(small, zero + mu, z))
    infinite = xp.where(order > 0, zero - math.inf, xp.where(order < 0, zero + math.inf, zero))
    return nu * xp.where(small, near_zero, near_one) + xp.where(positive, zero, infinite)
