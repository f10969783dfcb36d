r"""Sums over the integer lattice: exact counts of a shell, and tails to rounding.

.. math:: r_d(n) = \#\{k \in Z^d : |k|^2 = n\}, \qquad T(N, s) = \sum_{|k|^2 > N} |k|^{-2s}, \quad s > d/2

The tail converges like a power; its value comes from Ewald's splitting at :math:`t_0`: what converges like
:math:`e^{-\pi n t_0}` is summed over the lattice, the rest over the dual lattice, whose only visible term is k = 0:

.. math:: T(N, s) = \frac{\pi^s}{\Gamma(s)}\Big(\frac{t_0^{s-d/2}}{s-d/2} - \frac{t_0^s}{s}\Big)
    + \sum_{n>N} \frac{r_d(n)}{n^s} Q(s, \pi n t_0) - \sum_{0<n\le N} \frac{r_d(n)}{n^s} P(s, \pi n t_0)

with the regularised incomplete gamma functions P + Q = 1.  No term is much larger than the result.  In many
dimensions a shell holds more points than an integer does: counts are exact up to :math:`2^{53}`, and rounded beyond.

Symbols:
    d: Dimension, >= 1.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincc

from driftproof._capabilities import arrays
from driftproof._namespace import UnmetHypothesis

__all__ = ["lattice_counts", "lattice_tail"]

_SPLIT = 3.0  # t0 N: the dual lattice begins with exp(-pi N / 3)
_LEAST = 40  # with N at least this, the dual lattice is below 1e-18
_MOST_EXACT = 2.0**53
_MOST = 300_000


@arrays("numpy")
def lattice_counts(size: int, d: int) -> NDArray[np.int64]:
    r"""How many points of :math:`Z^d` have squared length n, for n = 0, ..., size - 1.

    .. math:: r_d(n) = \sum_j r_{d-1}(n - j^2)

    Arguments:
        size: How many shells, >= 1.
        d: Symbols of the module.

    Returns:
        Integers of shape (size,).

    Raises:
        UnmetHypothesis: An argument out of its range, or a count above :math:`2^{53}`.

    Claims: TRANSFER-LATTICE-1

    Example:
        >>> lattice_counts(6, 2).tolist()
        [1, 4, 4, 0, 4, 8]
    """
    if size < 1 or d < 1 or d % 1 != 0:
        raise UnmetHypothesis("lattice_counts", "size >= 1 and an integer d >= 1", f"size = {size}, d = {d}")
    counts = shell_counts(size, d)
    if counts.max() > _MOST_EXACT:
        shell = int(np.argmax(counts > _MOST_EXACT))
        raise UnmetHypothesis(
            "lattice_counts", "no shell has more than 2^53 points", f"|k|^2 = {shell}, d = {d}"
        )
    return counts.astype(np.int64)


def shell_counts(size: int, d: int) -> NDArray[np.float64]:
    """The same as floats, rounded where they exceed 2^53."""
    return _counts(1 << (size - 1).bit_length(), d)[:size]


@lru_cache(maxsize=16)
def _counts(size: int, d: int) -> NDArray[np.float64]:
    squares = np.arange(1, math.isqrt(size - 1) + 1) ** 2
    if d == 1:
        counts = np.zeros(size)
        counts[0], counts[squares] = 1.0, 2.0
        return counts
    lower = _counts(size, d - 1)
    counts = lower.copy()
    for square in squares:
        counts[square:] += 2.0 * lower[: size - square]
    return counts


def lattice_tail(radius_squared: int, s: float, d: int) -> float:
    r"""The sum of a power of the length over all lattice points outside of a ball.

    .. math:: \sum_{|k|^2 > N} |k|^{-2s}

    Arguments:
        radius_squared: N >= 0; with 0, all points but the origin.
        s: Half of the power, d/2 < s <= 12.
        d: Symbols of the module.

    Returns:
        The sum, to about 1e-12 of itself.

    Raises:
        UnmetHypothesis: The sum diverges, or an argument is out of its range.

    References:
        | Zur Theorie allgemeiner Zetafunktionen (Epstein, 1903)

    Claims: TRANSFER-LATTICE-1

    Example:
        >>> abs(lattice_tail(0, 1.0, 1) - math.pi**2 / 3) < 1e-14
        True
    """
    if radius_squared < 0 or radius_squared > _MOST or d < 1 or d % 1 != 0:
        got = f"N = {radius_squared}, d = {d}"
        raise UnmetHypothesis("lattice_tail", f"0 <= N <= {_MOST} and an integer d >= 1", got)
    if not d / 2 < s <= 12.0:
        raise UnmetHypothesis("lattice_tail", "d/2 < s <= 12", f"s = {s!r}, d = {d}")
    last = max(radius_squared, _LEAST)
    reach = 6 if s <= 8.0 else 8  # Q(s, 3 pi reach) is below 2e-16
    n = np.arange(1.0, reach * last + 1.0)
    power = shell_counts(reach * last + 1, d)[1:] * n**-s
    t = _SPLIT / last
    smooth = math.pi**s / math.gamma(s) * (t ** (s - d / 2) / (s - d / 2) - t**s / s)
    far = math.fsum(power[last:] * gammaincc(s, math.pi * t * n[last:]))
    near = math.fsum(power[:last] * gammainc(s, math.pi * t * n[:last]))
    return math.fsum([smooth, far, -near, *power[radius_squared:last]])
