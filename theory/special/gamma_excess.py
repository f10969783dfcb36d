r"""How far log-gamma lies above its tangent: what divergences of gamma laws are made of.

.. math:: \log\Gamma(m) - \log\Gamma(k) - (m - k)\,\psi(k) \ge 0

Computed term by term it cancels where m is close to k.  Each term of the recurrence and of Stirling's series
has an excess of its own that is a sum of positive terms.  With :math:`e = (m-k)/k`,

.. math:: -\log: \; e - \log(1+e), \qquad x \log x: \; k\,\big((1+e)\log(1+e) - e\big), \qquad
    x^{-p}: \; k^{-p}\, e^2 \sum_{j=1}^{p} (p - j + 1)\,(1+e)^{-j}.
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace

from .elementary import deviance

__all__ = ["gammaln_excess"]

_SHIFT = 9  # of the arguments of Stirling's series: its first term left out is 1e-17 there
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)


def gammaln_excess(xp: Namespace, k: Array, m: Array) -> Array:
    """The excess of log-gamma at m over its tangent at k; k and m > 0.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> from math import isclose
        >>> isclose(gammaln_excess(xp, xp.asarray(1.0), xp.asarray(2.0)), 0.5772156649015329)  # Euler's constant
        True
    """
    h = m - k
    total = xp.zeros_like(h)
    for j in range(_SHIFT):
        total = total + deviance(xp, h / (k + float(j)), (m + float(j)) / (k + float(j)))
    k, m = k + float(_SHIFT), m + float(_SHIFT)
    e, q = h / k, k / m
    near = deviance(xp, e, m / k)
    log_ratio = xp.where(xp.abs(e) < 0.25, e - near, xp.log(m / k))
    total = total + k * (e * log_ratio - near) + 0.5 * near
    for i, coefficient in enumerate(_STIRLING):
        p = 2 * i + 1
        total = total + coefficient * _power_excess(xp, p, q) * (e * e) * k ** (-p)
    return total


def _power_excess(xp: Namespace, p: int, q: Array) -> Array:
    """The sum over j of (p - j + 1) q^j."""
    total = xp.zeros_like(q)
    for j in range(p, 0, -1):
        total = (total + float(p - j + 1)) * q
    return total
