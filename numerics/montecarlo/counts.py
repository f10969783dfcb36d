r"""Exact tests of counts: Poisson, binomial, multinomial.

The familiar :math:`\chi^2` tail needs large expected counts, and at :math:`10^{-8}` larger ones than
any rule of thumb says.  Here the multinomial is tested by :math:`G = n\,\mathrm{KL}(\hat p\|p)`:
enumerated exactly while there are few outcomes, else by the bound that holds for every n and every
cell, however small its probability,

.. math:: P(G\ge g)\le e^{-g}\Big(\frac{e\,g}{k-1}\Big)^{k-1},\qquad g\ge k-1.

Symbols:
    alpha: False-alarm rate.
    power: Detection probability behind ``detectable``.

References:
    | Finite-sample concentration of the multinomial in relative entropy (Agrawal, 2020),
    | theorem I.2, https://arxiv.org/abs/1904.02291
    | The use of confidence or fiducial limits illustrated in the case of the binomial (Clopper, Pearson, 1934)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import gammaln, rel_entr, xlogy
from scipy.stats import binom, ncx2, poisson

from driftproof._capabilities import arrays
from driftproof._namespace import UnmetHypothesis

from .verdict import POWER, Floats, Verdict, as_level

__all__ = ["binomial_test", "goodness_of_fit_test", "poisson_test"]

# Up to so many outcomes of a multinomial are enumerated.
_ENUMERATED = 20_000


@arrays("numpy")
def poisson_test(counts: ArrayLike, rate: float, alpha: float, *, power: float = POWER) -> Verdict:
    """Test that independent counts are Poisson with a given mean, by their exact total.

    Arguments:
        counts: Integers >= 0, shape (n,) or one number.
        rate: The mean of one count, > 0.
        alpha, power: Symbols of the module.

    Returns:
        The verdict; effects are relative: estimated rate over ``rate``, minus 1 (``detectable``: upwards).

    Raises:
        TypeError: Counts that are no integers.
        UnmetHypothesis: A negative count, ``rate`` out of its range.

    Claims: STATISTICS-COUNTS-1

    Example:
        >>> poisson_test([3, 5, 2, 4], rate=3.5, alpha=1e-8).p_value
        1.0
        >>> poisson_test(70, rate=20.0, alpha=1e-8).rejects
        True
    """
    values = _counts("poisson_test", counts)
    as_level("poisson_test", "alpha", alpha)
    as_level("poisson_test", "power", power)
    if not (rate > 0 and math.isfinite(rate)):
        raise UnmetHypothesis("poisson_test", "rate > 0", f"rate = {rate}")
    total, mean = int(values.sum()), values.size * rate
    p = _two_sided(poisson, total, mean)
    upper = float(poisson.isf(alpha / 2, mean)) + 1  # reject from here on
    needed = _solve(lambda m: float(poisson.sf(upper - 1, m)) - power, mean)
    return _verdict("Poisson rate", p, total / mean - 1, needed / mean - 1, values.size, alpha, power)


def binomial_test(
    successes: int, n: int, probability: float, alpha: float, *, power: float = POWER
) -> Verdict:
    """Test the probability behind ``successes`` out of ``n`` independent trials, exactly.

    Arguments:
        successes: Integer in [0, n].
        n: Trials, at least 1.
        probability: The hypothesis, in (0, 1).
        alpha, power: Symbols of the module.

    Returns:
        The verdict; effects are differences of probabilities (``detectable``: the worse side, infinite
        where one side cannot be detected at this n).

    Raises:
        TypeError: ``successes`` is no integer.
        UnmetHypothesis: An argument out of its range.

    Claims: STATISTICS-COUNTS-1

    Example:
        >>> round(binomial_test(60, 100, 0.5, alpha=0.01).p_value, 4)
        0.0569
    """
    (count,) = _counts("binomial_test", successes)
    for name, level in (("alpha", alpha), ("power", power), ("probability", probability)):
        as_level("binomial_test", name, level)
    if not count <= n:
        raise UnmetHypothesis("binomial_test", "successes <= n", f"{successes} > {n}")
    p = _two_sided(binom, int(count), n, probability)
    sides = [_binomial_shift(n, q, alpha, power) for q in (probability, 1 - probability)]
    return _verdict("probability", p, count / n - probability, max(sides), n, alpha, power)


@arrays("numpy")
def goodness_of_fit_test(
    counts: ArrayLike, probabilities: ArrayLike, alpha: float, *, power: float = POWER
) -> Verdict:
    """Test that the cells of a multinomial have given probabilities, with cells as small as they come.

    Arguments:
        counts: Integers >= 0, shape (k,), k >= 2.
        probabilities: Shape (k,), >= 0, sum 1.
        alpha, power: Symbols of the module.

    Returns:
        The verdict; effects are relative entropies KL(observed | stated) in nats.  ``detectable`` uses the
        noncentral chi-square law of the statistic, the p-value does not.

    Raises:
        TypeError: Counts that are no integers.
        UnmetHypothesis: Different shapes, no counts at all, probabilities that do not sum to 1.

    Claims: STATISTICS-COUNTS-2

    Example:
        >>> goodness_of_fit_test([8, 9, 3], [0.4, 0.4, 0.2], alpha=1e-8).validity
        'exact'
        >>> goodness_of_fit_test([5000, 4990, 10], [0.5, 0.5, 0.0], alpha=1e-8).p_value
        0.0
    """
    observed = _counts("goodness_of_fit_test", counts)
    stated = np.asarray(probabilities, dtype=np.float64)
    as_level("goodness_of_fit_test", "alpha", alpha)
    as_level("goodness_of_fit_test", "power", power)
    if observed.shape != stated.shape or observed.size < 2:
        shapes = f"{observed.shape} and {stated.shape}"
        raise UnmetHypothesis("goodness_of_fit_test", "as many counts as probabilities, at least 2", shapes)
    if not ((stated >= 0).all() and abs(float(stated.sum()) - 1) <= 1e-12 * stated.size):
        total = f"sum {float(stated.sum())!r}"
        raise UnmetHypothesis("goodness_of_fit_test", "probabilities are >= 0 and sum to 1", total)
    n, k = int(observed.sum()), int((stated > 0).sum())
    if n == 0:
        raise UnmetHypothesis("goodness_of_fit_test", "at least one observation", "all counts are 0")
    statistic = float(np.sum(rel_entr(observed / n, stated))) * n
    cells = max(k - 1, 1)
    few = k > 1 and math.comb(n + k - 1, k - 1) <= _ENUMERATED
    if not math.isfinite(statistic):
        p, validity = 0.0, "exact"  # a cell of probability 0 was seen
    elif k == 1:
        p, validity = 1.0, "exact"
    elif few:
        p, validity = _enumerated_tail(statistic, n, stated[stated > 0]), "exact"
    else:
        p, validity = math.exp(_log_bound(statistic, cells)), "bound"
    detectable = _noncentrality(cells, alpha, power) / (2 * n)
    return Verdict("cell probabilities", p, statistic / n, detectable, "nats", n, alpha, power, validity)


@lru_cache
def _noncentrality(cells: int, alpha: float, power: float) -> float:
    critical = float(brentq(lambda g: _log_bound(g, cells) - math.log(alpha), cells, cells + 1e4))
    return _solve(lambda lam: float(ncx2.sf(2 * critical, cells, lam)) - power, 2 * critical)


def _log_bound(g: float, cells: int) -> float:
    return 0.0 if g <= cells else -g + cells + cells * math.log(g / cells)


def _enumerated_tail(statistic: float, n: int, p: Floats) -> float:
    k = p.size
    # Stars and bars: each outcome is a choice of k - 1 bars among n + k - 1 places.
    bars = np.array(list(combinations(range(n + k - 1), k - 1)))
    edges = np.hstack([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), n + k - 1)])
    outcomes = np.diff(edges, axis=1) - 1
    log_mass = gammaln(n + 1) - gammaln(outcomes + 1).sum(axis=1) + xlogy(outcomes, p).sum(axis=1)
    g = n * rel_entr(outcomes / n, p).sum(axis=1)
    return min(1.0, float(np.exp(log_mass)[g >= statistic - 1e-9 * max(1.0, statistic)].sum()))


def _two_sided(law: Any, count: int, *parameters: float) -> float:
    return min(1.0, 2 * min(float(law.sf(count - 1, *parameters)), float(law.cdf(count, *parameters))))


def _binomial_shift(n: int, q: float, alpha: float, power: float) -> float:
    upper = float(binom.isf(alpha / 2, n, q)) + 1
    if upper > n:
        return math.inf
    return float(brentq(lambda r: float(binom.sf(upper - 1, n, r)) - power, q, 1.0)) - q


def _solve(increasing: Callable[[float], float], start: float) -> float:
    high = max(start, 1.0)
    while increasing(high) < 0:
        high *= 2
    return float(brentq(increasing, min(start, high) if increasing(start) < 0 else 0.0, high))


def _verdict(
    test: str, p: float, effect: float, detectable: float, n: int, alpha: float, power: float
) -> Verdict:
    unit = "in probability" if test == "probability" else "relative"
    return Verdict(test, p, effect, detectable, unit, n, alpha, power, "exact")


def _counts(subject: str, counts: ArrayLike) -> NDArray[np.int64]:
    values = np.atleast_1d(np.asarray(counts))
    if values.dtype.kind not in "iu":
        raise TypeError(f"{subject}: expected integer counts, got {values.dtype}")
    if values.ndim != 1 or values.size == 0:
        raise UnmetHypothesis(subject, "counts have one dimension and are not empty", f"shape {values.shape}")
    if (values < 0).any():
        raise UnmetHypothesis(subject, "counts >= 0", f"count = {int(values.min())}")
    return values.astype(np.int64)
