r"""Kummer's function with positive arguments, in logarithms, and the ratio of neighbours.

.. math:: M(a, b, x) = {}_1F_1(a; b; x) = \sum_n \frac{(a)_n}{(b)_n}\frac{x^n}{n!}

Two regions for a and b up to 50, split at a threshold X that depends on a and b only; beyond 50, where X and the
number of terms grow like squares, the series for small x and an integral (:mod:`.kummer_integral`):

* x <= X: the power series.  Every term is positive, so nothing cancels.
* x > X: :math:`\frac{\Gamma(b)}{\Gamma(a)} e^x x^{a-b} S(x)` with
  :math:`S = \sum_n \frac{(b-a)_n (1-a)_n}{n!\,x^n}` (DLMF 13.7.1), cut where its terms are smallest.

X is the first of 24, 27, 30.375, ... at which the second form is good to the precision of the dtype: its last
term, what it loses by cancellation, and the recessive solution that it leaves out are all small.  For a and b
up to 50, X is between 24 and 225.

a or b outside of (0, 1e6], x < 0 and NaN raise :class:`UnmetHypothesis`.

Symbols:
    x: any shape, x >= 0.
    a: 0 < a <= 1e6.
    b: 0 < b <= 1e6.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from driftproof._blocks import elementwise
from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

from .kummer_integral import log_hyp1f1_of_large, ratio_of_large

__all__ = ["hyp1f1_ratio", "log_hyp1f1"]

_MODERATE = 50.0  # of a and b: above, X and the number of terms grow like their square
_LARGEST = 1e6


@public(x="in [0, inf)")
@elementwise
def log_hyp1f1(xp: Namespace, a: float, b: float, x: Array) -> Array:
    r"""Logarithm of Kummer's confluent hypergeometric function.

    .. math:: \log {}_1F_1(a; b; x),\qquad
              \frac{d}{dx}\log {}_1F_1(a; b; x) = \frac{a}{b}\,\frac{{}_1F_1(a+1; b+1; x)}{{}_1F_1(a; b; x)}

    Arguments:
        a, b, x: Symbols of the module.

    Returns:
        Array of the shape of ``x``.

    References:
        | NIST Digital Library of Mathematical Functions, §13.2, §13.7, https://dlmf.nist.gov/13.7

    Claims: SPECIAL-KUMMER-1

    Example:
        >>> float(log_hyp1f1(2.5, 2.5, 7.0))  # M(a, a, x) = exp(x)
        7.0
    """
    a, b = _parameters(a, b)
    eps = _eps(xp, x)
    if max(a, b) > _MODERATE:
        few = 8.0 * min(1.0, b / a)  # up to here forty terms do, and log1p keeps values near M = 1 exact
        low, high = _two_regions(xp, x, few)
        near = xp.log1p((a / b) * low * _series_tail(xp.ones_like(low), low, a, b, few, eps))
        return xp.where(x > few, log_hyp1f1_of_large(xp, a, b, high), near)
    split = _threshold(a, b, eps)
    low, high = _two_regions(xp, x, split)
    c = _damping(xp, a, b, x, split)
    unit = _unit(xp, c, low)
    step = (a / b) * low * _series_tail(unit, low, a, b, split, eps)
    small = step < unit  # log1p keeps values near M = 1 exact
    near = xp.log1p(xp.where(small, step, xp.zeros_like(step)) / unit)
    far = xp.log(unit + step) + c * low
    power = high + (a - b) * xp.log(high) + (math.lgamma(b) - math.lgamma(a))
    large = power + xp.log(_asymptotic_sum(high, a, b, split, eps))
    return xp.where(x > split, large, xp.where(small, near, far))


@public(x="in [0, inf)")
@elementwise
def hyp1f1_ratio(xp: Namespace, a: float, b: float, x: Array) -> Array:
    r"""Ratio of neighbouring Kummer functions.

    .. math:: \frac{{}_1F_1(a+1; b+1; x)}{{}_1F_1(a; b; x)}

    Arguments:
        a, b, x: Symbols of the module.

    Returns:
        Array of the shape of ``x``: between 1 (x = 0) and b/a (x to infinity).

    References:
        | NIST Digital Library of Mathematical Functions, §13.3(ii), https://dlmf.nist.gov/13.3

    Claims: SPECIAL-KUMMER-1

    Example:
        >>> float(hyp1f1_ratio(2.5, 2.5, 7.0))
        1.0
    """
    a, b = _parameters(a, b)
    if max(a, b) > _MODERATE:
        return ratio_of_large(xp, a, b, x)
    eps = _eps(xp, x)
    split = max(_threshold(a, b, eps), _threshold(a + 1, b + 1, eps))
    low, high = _two_regions(xp, x, split)
    unit = _unit(xp, _damping(xp, a, b, x, split), low)
    lower = unit + (a / b) * low * _series_tail(unit, low, a, b, split, eps)
    upper = unit + ((a + 1) / (b + 1)) * low * _series_tail(unit, low, a + 1, b + 1, split, eps)
    above = _asymptotic_sum(high, a + 1, b + 1, split, eps)
    below = _asymptotic_sum(high, a, b, split, eps)
    return xp.where(x > split, (b / a) * (above / below), upper / lower)


def _parameters(a: float, b: float) -> tuple[float, float]:
    """Both as constants inside the domain.

    torch.compile makes a symbol of a Python float that changed between two calls, and the choice of the
    threshold would be traced as a formula of it; the hexadecimal digits of a number are always constants.
    """
    for name, value in (("a", a), ("b", b)):
        if not 0 < value <= _LARGEST:
            raise UnmetHypothesis("1F1(a; b; x)", f"0 < {name} <= {_LARGEST:g}", f"{name} = {value!r}")
    return float.fromhex(float(a).hex()), float.fromhex(float(b).hex())


def _eps(xp: Namespace, x: Array) -> float:
    return float(xp.finfo(x.dtype).eps)


def _damping(xp: Namespace, a: float, b: float, x: Array, split: float) -> float:
    """The smallest c >= 0 with which e^{-cx} M(a, b, x) and its neighbour do not overflow for x <= split."""
    room = math.log(float(xp.finfo(x.dtype).max)) - max(0.0, math.log(b / a)) - 1
    total = _expansion(a, b, split, _eps(xp, x)).total
    growth = split + (a - b) * math.log(split) + math.lgamma(b) - math.lgamma(a) + math.log(total)
    return max(0.0, (growth - room) / split)


def _unit(xp: Namespace, c: float, x: Array) -> Array:
    """e^{-cx}: what stands for 1 in the damped series."""
    return xp.exp(-c * x) if c > 0 else xp.ones_like(x)


def _two_regions(xp: Namespace, x: Array, split: float) -> tuple[Array, Array]:
    """The arguments of the two forms, each inside its own region everywhere (double where)."""
    at_split = xp.full_like(x, split)
    return xp.where(x > split, at_split, x), xp.where(x > split, x, at_split)


def _series_tail(unit: Array, x: Array, a: float, b: float, largest: float, eps: float) -> Array:
    """(M(a, b, x) - 1) b / (a x), times the unit, for 0 <= x <= largest."""
    ratios = []
    term, total, n = 1.0, 1.0, 1
    while term > total * eps / 16 or n < largest:
        ratios.append((a + n) / ((b + n) * (n + 1)))
        term *= ratios[-1] * largest
        total += term
        n += 1
    value = unit
    for ratio in reversed(ratios):
        value = unit + ratio * (x * value)
    return value


def _asymptotic_sum(x: Array, a: float, b: float, smallest: float, eps: float) -> Array:
    """S(x) for x >= smallest."""
    value = 1 + 0 * x
    for n in range(_expansion(a, b, smallest, eps).terms - 1, -1, -1):
        value = 1 + ((b - a + n) * (1 - a + n) / (n + 1)) * (value / x)
    return value


class _Expansion(NamedTuple):
    """The sum S at one x: its value, how many terms to take, the tail, the cancellation and the recessive part."""

    total: float
    terms: int
    tail: float
    cancellation: float
    recessive: float


def _expansion(a: float, b: float, x: float, eps: float) -> _Expansion:
    term, total, size, n = 1.0, 1.0, 1.0, 0
    following = (b - a) * (1 - a) / x
    while abs(following) > eps / 16 * abs(total) and n < 200:
        growing = abs(following) > abs(term) and n > max(a, abs(b - a))
        if growing:
            break
        term, n = following, n + 1
        total, size = total + term, size + abs(term)
        following = term * (b - a + n) * (1 - a + n) / ((n + 1) * x)
    if total == 0.0:  # nothing is left: x is not large yet
        return _Expansion(total, n, math.inf, math.inf, math.inf)
    # The solution left out: |Gamma(a) / Gamma(b - a)| e^{-x} x^{b - 2a} sum (a)_n (1 + a - b)_n / (n! (-x)^n).
    other, other_size = 1.0, 1.0
    for k in range(int(abs(b - a)) + 1):
        other *= (a + k) * abs(1 + a - b + k) / ((k + 1) * x)
        other_size += other
    gap = abs(b - a)
    reflected = math.lgamma(gap) if gap > 0 else math.inf
    recessive = math.exp(math.lgamma(a) - reflected - x + (b - 2 * a) * math.log(x)) * other_size
    return _Expansion(total, n, abs(following / total), size / abs(total), recessive / abs(total))


def _threshold(a: float, b: float, eps: float) -> float:
    """Where the asymptotic form takes over."""
    x = 24.0
    while True:
        at = _expansion(a, b, x, eps)
        if at.tail <= eps / 16 and at.recessive <= eps / 16 and at.cancellation <= 300:
            return x
        x *= 1.125
