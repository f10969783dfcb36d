r"""Debye's polynomials :math:`U_k(t)`, exactly.

.. math:: U_0 = 1,\qquad U_{k+1}(t) = \tfrac12 t^2(1-t^2)\,U_k'(t) + \tfrac18\int_0^t (1-5s^2)\,U_k(s)\,ds

:math:`U_k` has the powers :math:`t^k, t^{k+2}, \dots, t^{3k}`; row ``k`` of :data:`DEBYE` holds their
coefficients, rounded once from exact rationals (DLMF 10.41.9).
"""

from __future__ import annotations

import math
from fractions import Fraction

__all__ = ["DEBYE", "enough_terms"]


def debye_polynomials(count: int) -> list[list[Fraction]]:
    """The coefficients of the first ``count`` polynomials, row k from the power k in steps of two.

    Example:
        >>> [str(c) for c in debye_polynomials(2)[1]]
        ['1/8', '-5/24']
    """
    rows = [[Fraction(1)]]
    for k in range(count - 1):
        row = [Fraction(0)] * (k + 2)
        for j, c in enumerate(rows[-1]):
            d = k + 2 * j
            row[j] += c * (Fraction(d, 2) + Fraction(1, 8 * (d + 1)))
            row[j + 1] -= c * (Fraction(d, 2) + Fraction(5, 8 * (d + 3)))
        rows.append(row)
    return rows


DEBYE = tuple(tuple(float(c) for c in row) for row in debye_polynomials(26))


def enough_terms(mu: float, eps: float) -> int:
    r"""How many terms of :math:`\sum_k U_k(t)/\mu^k` leave a tail below ``eps``/64 for all t in [0, 1].

    Uses :math:`\max_t |U_k(t)| \le (k-1)!/(3\pi^k)`, checked for every row of the table in
    ``tests/test_special.py``.

    Example:
        >>> enough_terms(1e6, 2.2e-16)
        3
    """
    for k in range(1, len(DEBYE)):
        if math.factorial(k - 1) / (3 * (math.pi * mu) ** k) < eps / 64:
            return k
    return len(DEBYE)
