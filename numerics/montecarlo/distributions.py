r"""Kolmogorov-Smirnov tests with exact finite-n p-values.

The supremum distance between an empirical and a continuous distribution function has one law at each
n, whatever the distribution; it is tabulated to full relative accuracy far into the tail.  By the
Dvoretzky-Kiefer-Wolfowitz inequality an alternative at distance
:math:`d_\alpha(n) + d_{1-\mathrm{power}}(n)` is found with the stated probability, where
:math:`P(D_n > d_q(n)) = q`, about :math:`\sqrt{\log(2/q)/(2n)}`.

Symbols:
    alpha: False-alarm rate.
    power: Detection probability behind ``detectable``.

References:
    | The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality (Massart, 1990)
    | Computing the two-sided Kolmogorov-Smirnov distribution (Simard, L'Ecuyer, 2011)
    | On the maximal discrepancy between two empirical distributions (Gnedenko, Korolyuk, 1951)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import gammaln, logsumexp
from scipy.stats import kstwo

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis

from .verdict import POWER, Floats, Verdict, as_level, as_samples

__all__ = ["distribution_test", "two_sample_distribution_test"]

Cdf = Callable[[Floats], Any]


@arrays()
def distribution_test(
    x: Array, cdf: Cdf, alpha: float, *, cdf_left: Cdf | None = None, power: float = POWER
) -> Verdict:
    r"""Test that draws have a given distribution function.

    .. math:: D_n = \sup_x |F_n(x) - F(x)|

    Arguments:
        x: Draws, shape (n,), any namespace.
        cdf: Maps a float64 numpy array to F of it.
        alpha, power: Symbols of the module.
        cdf_left: Left limits :math:`F(x-)`, needed where F jumps; the test is then conservative.

    Returns:
        The verdict; effects are distances of distribution functions.

    Raises:
        UnmetHypothesis: ``cdf`` leaves [0, 1] or returns another shape; tied draws at a jump that
            ``cdf_left`` does not tell of.

    Claims: STATISTICS-DISTRIBUTION-1

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).random(10_000)
        >>> distribution_test(x, lambda u: u, alpha=1e-8).rejects
        False
        >>> distribution_test(x, lambda u: u**1.2, alpha=1e-8).rejects
        True
    """
    (draws,) = as_samples("distribution_test", least=1, x=x)
    as_level("distribution_test", "alpha", alpha)
    as_level("distribution_test", "power", power)
    draws = np.sort(draws)
    n = draws.size
    right = _probabilities("cdf", cdf, draws)
    left = right if cdf_left is None else _probabilities("cdf_left", cdf_left, draws)
    if (left > right).any():
        raise UnmetHypothesis("distribution_test", "cdf_left <= cdf", f"{int((left > right).sum())} draws")
    # F_n and its left limit at each draw, ties included.
    below = np.searchsorted(draws, draws, side="left") / n
    upto = np.searchsorted(draws, draws, side="right") / n
    distance = max(float(np.max(upto - right)), float(np.max(left - below)), 0.0)
    p = float(kstwo.sf(distance, n))
    detectable = _at_most_one(_quantile(alpha, n) + _quantile(1 - power, n))
    validity = "exact" if cdf_left is None else "bound: the distribution has jumps"
    return Verdict("distribution", p, distance, detectable, "in cdf", n, alpha, power, validity)


@arrays()
def two_sample_distribution_test(x: Array, y: Array, alpha: float, *, power: float = POWER) -> Verdict:
    r"""Test that two independent samples of equal size n have the same law.

    With :math:`k = n D`, by reflection of the random walk of the merged sample,

    .. math:: P(D\ge k/n) = 2\sum_{j\ge1}(-1)^{j-1}\binom{2n}{n-jk}\Big/\binom{2n}{n},

    exact for continuous laws and conservative where draws are tied.

    Arguments:
        x: Draws, shape (n,).
        y: Draws, shape (n,).
        alpha, power: Symbols of the module.

    Returns:
        The verdict; effects are distances of distribution functions.

    Raises:
        UnmetHypothesis: Samples of different sizes.

    Claims: STATISTICS-DISTRIBUTION-1

    Example:
        >>> import numpy as np
        >>> x, y = np.random.default_rng(0).normal(size=(2, 10_000))
        >>> two_sample_distribution_test(x, y, alpha=1e-8).rejects
        False
        >>> two_sample_distribution_test(x, y + 0.2, alpha=1e-8).rejects
        True
    """
    first, second = as_samples("two_sample_distribution_test", least=1, x=x, y=y)
    as_level("two_sample_distribution_test", "alpha", alpha)
    as_level("two_sample_distribution_test", "power", power)
    if first.shape != second.shape:
        sizes = f"{first.shape} and {second.shape}"
        raise UnmetHypothesis("two_sample_distribution_test", "both samples have the same size", sizes)
    n = first.size
    merged = np.concatenate([first, second])
    ranks = [np.searchsorted(np.sort(part), merged, side="right") for part in (first, second)]
    k = int(np.max(np.abs(ranks[0] - ranks[1])))
    # DKW for each sample, at half of the miss rate.
    detectable = _at_most_one(_critical(n, alpha) / n + 2 * _quantile((1 - power) / 2, n))
    return Verdict("two distributions", _tail(k, n), k / n, detectable, "in cdf", n, alpha, power, "exact")


def _probabilities(name: str, cdf: Cdf, x: Floats) -> Floats:
    values = np.asarray(cdf(x), dtype=np.float64)
    if values.shape != x.shape:
        raise UnmetHypothesis(
            "distribution_test", f"{name} keeps the shape {x.shape}", f"shape {values.shape}"
        )
    if not ((values >= 0) & (values <= 1)).all():
        worst = values[~((values >= 0) & (values <= 1))][0]
        raise UnmetHypothesis("distribution_test", f"{name} lies in [0, 1]", f"{name} = {worst}")
    return values


@lru_cache
def _quantile(level: float, n: int) -> float:
    """The distance that a sample of n exceeds with probability ``level``."""
    return float(kstwo.isf(level, n))


def _at_most_one(distance: float) -> float:
    return distance if distance <= 1 else math.inf  # no two distribution functions are further apart


def _tail(k: int, n: int) -> float:
    """P(n D >= k) for two samples of n."""
    if k <= 0:
        return 1.0
    j = np.arange(1, n // k + 1)[:200]  # terms fall like exp(-j^2 k^2 / n)
    log_terms = 2 * gammaln(n + 1) - gammaln(n - j * k + 1) - gammaln(n + j * k + 1)
    log_sum, sign = logsumexp(log_terms, b=np.where(j % 2 == 1, 1.0, -1.0), return_sign=True)
    return min(1.0, 2 * math.exp(log_sum)) if sign > 0 else 1.0


@lru_cache
def _critical(n: int, alpha: float) -> int:
    """The smallest k with P(n D >= k) <= alpha; n + 1 where there is none."""
    low, high = 0, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _tail(middle, n) <= alpha else (middle, high)
    return high
