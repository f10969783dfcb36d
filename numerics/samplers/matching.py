r"""Inverting the Bessel mean: the data point that a count speaks for.

The bridge with a point :math:`x_0` in place of the unknown data has, at its later end, the drift of a
count :math:`\tfrac z2 R_\nu(z)`, :math:`z = \sqrt{x x_0 q}/\rho`.  Choosing :math:`x_0` so that this count
is the predicted one makes the drift right; choosing the posterior mean does not, because the count is
not linear in :math:`x_0`.

With :math:`w = z^2` the mean :math:`n(w) = \tfrac w2 r_\nu(\sqrt w)` has the logarithmic slope
:math:`d\log n / d\log w = \mathrm{Var}\,N / n \in (0, 1)`.  Two of Amos's bounds on :math:`R_\nu`, valid for
all :math:`\nu > -1`, bracket the root,

.. math:: 4 (\nu + 1)\, n \;\le\; w \;\le\; 2n (\nu + \tfrac12 + y), \qquad
    y = n + \sqrt{n^2 + (\nu + \tfrac32)^2 + 2n (\nu + \tfrac12)},

and the upper one is exact to first order both at 0 and at infinity: it starts the iteration.

References:
    | Computation of modified Bessel functions and their ratios (Amos, 1974), eq. (9) and (16)
    | https://doi.org/10.1090/S0025-5718-1974-0333287-7
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public, repeat, still
from driftproof.theory.processes import AbstractSquaredBessel
from driftproof.theory.special.bessel_square import quotient_of_square

__all__ = ["bessel_mean_inverse", "matched_start"]

_STEPS = 6  # quadratic from the bound: 3 reach 1e-15 for nu >= -1/2, 6 for nu = -0.99


@public(n="in [0, 1e15]")
def bessel_mean_inverse(xp: Namespace, nu: float, n: Array) -> Array:
    r"""The argument of the Bessel law with mean n.

    .. math:: z \ge 0: \qquad \tfrac z2 R_\nu(z) = n

    Newton's method in :math:`(\log w, \log n)`, :math:`w = z^2`, a fixed number of steps inside the
    bracket above.  The last two carry the first derivative in n, that of the inverse.

    Arguments:
        nu: Order :math:`\nu > -1`, a float.
        n: Mean, any shape, >= 0.

    Returns:
        :math:`z`, with the shape of ``n``; 0 at n = 0.

    Raises:
        UnmetHypothesis: nu <= -1 or n < 0.

    Claims: TWEEDIE-SAMPLER-3

    Example:
        >>> from math import isclose, tanh
        >>> isclose(bessel_mean_inverse(-0.5, 1.5 * tanh(3.0)), 3.0, rel_tol=1e-14)
        True
    """
    if not nu > -1.0:
        raise UnmetHypothesis("bessel_mean_inverse", "nu > -1", f"nu = {nu!r}")
    positive, given = n > 0, n
    # Below, w is 4 (nu + 1) n to the last digit, and the mean of a step on the way would underflow.
    least = float(xp.finfo(n.dtype).smallest_normal) / float(xp.finfo(n.dtype).eps)
    n = xp.where(n > least, n, xp.where(positive, least * xp.ones_like(n), xp.ones_like(n)))
    share = xp.where(positive & (given < least), given / least, xp.ones_like(n))
    y = n + xp.sqrt(n * n + (nu + 1.5) ** 2 + 2.0 * n * (nu + 0.5))
    low, high = 4.0 * (nu + 1.0) * n, 2.0 * n * (nu + 0.5 + y)
    fixed = still(n), still(low), still(high)
    (w,) = repeat(lambda w: (_newton(xp, nu, *fixed, w),), _STEPS - 2, fixed[2])
    for _ in range(2):  # of which the second makes good what the first slope has lost
        w = _newton(xp, nu, n, low, high, w)
    return xp.where(positive, xp.sqrt(w) * xp.sqrt(share), xp.zeros_like(n))


def _newton(xp: Namespace, nu: float, n: Array, low: Array, high: Array, w: Array) -> Array:
    quotient = quotient_of_square(xp, nu, w)
    mean = 0.5 * w * quotient
    slope = 0.5 / quotient - mean - nu  # Var N / n; it cancels for large z, where it is 1/2
    slope = xp.where(slope > 0.01, slope, 0.5 * xp.ones_like(n))
    w = w * xp.exp(-xp.log(mean / n) / slope)
    return xp.where(w < low, low, xp.where(w > high, high, w))


@public(x=">= 0", t="> 0", n=">= 0")
def matched_start(xp: Namespace, process: AbstractSquaredBessel, x: Array, t: Array, n: Array) -> Array:
    r"""The data point whose conditional count is n.

    .. math:: x_0^*: \qquad \tfrac z2 R_\nu(z) = n, \quad z = \frac{\sqrt{x x_0^* q}}{\rho}

    Arguments:
        process: A BESQ or CIR process.
        x: The noised state, with shape :math:`(B, *)`, >= 0.
        t: The noise time, broadcastable with ``x``, > 0.
        n: The count :math:`E[N|x]`, with the shape of ``x``, >= 0.

    Returns:
        :math:`x_0^*`, with the shape of ``x``; 0 where x = 0 (or q x underflows), whose count says nothing.

    Claims: TWEEDIE-SAMPLER-3

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(matched_start(BESQ(3.0), 2.0, 1.0, 0.0))
        0.0
    """
    decay, rho = process.decay_rho(xp, t)
    z = bessel_mean_inverse.kernel(xp, process.nu, n)
    seen = decay * x
    inside = seen > 0  # the product may underflow where x does not
    start = (z * rho) ** 2 / xp.where(inside, seen, xp.ones_like(seen))
    return xp.where(inside, start, xp.zeros_like(start))
