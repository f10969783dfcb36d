r"""Tests of counts, outcome by outcome.

Levels and powers are sums over every outcome in rational numbers: no draw is made, and nothing is left to chance.
"""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
from scipy.stats import binom, ncx2, poisson

from driftproof.numerics.montecarlo import binomial_test, goodness_of_fit_test, poisson_test
from driftproof.validation import bound, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import binomial, further, level, multinomials, scaled

__all__ = ["CountsOfCells", "CountsOfSuccesses"]

ALPHAS = (0.3, 0.05, 1e-3, 1e-6)


@claim(
    "STATISTICS-COUNTS-1",
    "Tests of counts are exact",
    r"""p = \min\big(1,\, 2\min(P(N \ge k), P(N \le k))\big), \qquad P(p \le \alpha) \le \alpha, \qquad
        P_{\theta + \mathrm{detectable}}(p \le \alpha) = \mathrm{power}""",
    covers=[binomial_test, poisson_test],
)
class CountsOfSuccesses:
    @exact(1e-13, over=grid(n=(1, 7, 30), q=(0.5, 0.3, 0.03125)))
    def p_values_by_enumeration(binomial_test, n, q):
        masses = binomial(n, q)
        for k in range(n + 1):
            tails = sum(masses[k:]), sum(masses[: k + 1])
            yield f"k = {k}", binomial_test(k, n, q, 1e-3).p_value, float(min(Fraction(1), 2 * min(tails)))

    @exact(1e-13, over=grid(rate=(0.2, 3.0, 12.5)))
    def of_the_total_of_poisson_counts(poisson_test, rate):
        for counts in ([0, 0], [1, 0], [9, 4], [40, 1]):
            mean, k = 2 * mpmath.mpf(rate), sum(counts)
            above = mpmath.gammainc(k, 0, mean, regularized=True) if k else mpmath.mpf(1)
            below = mpmath.gammainc(k + 1, mean, regularized=True)
            yield f"{counts}", poisson_test(counts, rate, 1e-3).p_value, min(1, 2 * min(above, below))

    @bound(tight=0.5, over=grid(alpha=ALPHAS, q=(0.5, 0.3)))
    def the_level_is_held(binomial_test, alpha, q):
        masses = binomial(60, q)
        outcomes = [(binomial_test(k, 60, q, alpha), mass) for k, mass in enumerate(masses)]
        return level(outcomes, alpha), alpha

    @exact(1e-9, over=grid(alpha=(0.05, 1e-4), power=(0.5, 0.999)))
    def the_detectable_effect_is_detected(binomial_test, poisson_test, alpha, power):
        """The probability to reject upwards, of the outcomes that the test itself rejects."""
        n, q = 200, 0.3
        one = binomial_test(60, n, q, alpha, power=power)
        first = next(k for k in range(60, n + 1) if binomial_test(k, n, q, alpha).p_value <= alpha)
        mirrored = binomial_test(140, n, 1.0 - q, alpha, power=power)
        # Upwards from 0.3 the variance grows, so that this is the worse of the two sides.
        yield "binomial", float(binom.sf(first - 1, n, q + one.detectable)), power
        yield "alike from both sides", one.detectable, mirrored.detectable
        count = poisson_test(20, 20.0, alpha, power=power)
        first = next(k for k in range(20, 200) if poisson_test(k, 20.0, alpha).p_value <= alpha)
        yield "Poisson", float(poisson.sf(first - 1, 20.0 * (1.0 + count.detectable))), power

    refuses = [
        (binomial_test, 3, 2, 0.5, 1e-3),
        (binomial_test, 1, 2, 1.0, 1e-3),
        (binomial_test, 1, 2, 0.5, 0.0),
        (poisson_test, [-1], 1.0, 1e-3),
        (poisson_test, [1], 0.0, 1e-3),
        (poisson_test, np.zeros(0, int), 1.0, 1e-3),
    ]

    mutants = {
        "one-sided": wrong(binomial_test, scaled(0.5)),
        "one more trial, which succeeds": wrong(
            binomial_test, successes=lambda successes: successes + 1, n=lambda n: n + 1
        ),
        "one-sided, of Poisson counts": wrong(poisson_test, scaled(0.5)),
        "the rate of all counts together": wrong(poisson_test, counts=lambda counts: [int(np.sum(counts))]),
        "twice the detectable effect": wrong(poisson_test, further(2.0)),
        "half of the detectable effect": wrong(binomial_test, further(0.5)),
    }


@claim(
    "STATISTICS-COUNTS-2",
    "Cells of any probability",
    r"""G = n\,\mathrm{KL}(\hat p \| p): \quad p = P(G \ge g) \;\text{ by enumeration, or }\; \le e^{-g}\Big(\frac{e g}{k - 1}\Big)^{k-1}""",
    covers=[goodness_of_fit_test],
)
class CountsOfCells:
    @exact(
        1e-12,
        over=rows(
            "n, p", ((6, (0.5, 0.25, 0.25)), (9, (0.75, 0.125, 0.125)), (5, (0.5, 0.25, 0.125, 0.125)))
        ),
    )
    def p_values_by_enumeration(goodness_of_fit_test, n, p):
        """The statistic as a product of powers in rational numbers: outcomes are ranked without rounding."""
        ranked = [(_likelihood(counts, p), mass, counts) for counts, mass in multinomials(n, p)]
        for likelihood, _, counts in ranked[:: max(1, len(ranked) // 12)]:
            tail = sum(mass for other, mass, _ in ranked if other >= likelihood)
            yield f"{counts}", goodness_of_fit_test(counts, p, 1e-3).p_value, float(min(Fraction(1), tail))

    @bound(tight=1e-3)
    def the_bound_is_above_the_tail(goodness_of_fit_test):
        """More outcomes than are enumerated: three cells and 300 draws, of which two cells are rare."""
        n, p = 300, (0.97, 0.02, 0.01)
        logs = {}
        for b in range(60):
            for c in range(60):
                counts = (n - b - c, b, c)
                terms = sum(math.lgamma(k + 1) for k in counts)
                mass = (
                    math.lgamma(n + 1) - terms + sum(k * math.log(q) for k, q in zip(counts, p, strict=True))
                )
                logs[counts] = (
                    sum(k * math.log(k / (n * q)) for k, q in zip(counts, p, strict=True) if k),
                    mass,
                )
        assert math.comb(n + 2, 2) > 20_000
        for counts in ((270, 20, 10), (260, 30, 10), (297, 1, 2), (285, 3, 12)):
            g = logs[counts][0]
            yield (
                f"{counts}",
                sum(math.exp(m) for other, m in logs.values() if other >= g),
                goodness_of_fit_test(counts, p, 1e-3).p_value,
            )

    @exact(0.0)
    def what_cannot_be_has_no_chance(goodness_of_fit_test):
        yield "seen", goodness_of_fit_test([5, 4, 1], [0.5, 0.5, 0.0], 1e-3).p_value, 0.0
        yield "not seen", goodness_of_fit_test([5, 5, 0], [0.5, 0.5, 0.0], 1e-3).p_value, 1.0

    @exact(1e-6, over=grid(alpha=(1e-2, 1e-8), power=(0.5, 0.999)))
    def the_detectable_divergence(goodness_of_fit_test, alpha, power):
        """2 G is a noncentral chi-square with noncentrality 2 n KL; the bound rejects from the g where it is alpha."""
        found = goodness_of_fit_test([400, 350, 250], [0.4, 0.35, 0.25], alpha, power=power)
        critical = mpmath.findroot(
            lambda g: g - 2 - 2 * mpmath.log(g / 2) + mpmath.log(alpha), 4 - 1.5 * math.log(alpha)
        )
        yield "power", float(ncx2.sf(2 * float(critical), 2, 2 * 1000 * found.detectable)), power

    refuses = [
        (goodness_of_fit_test, [1, 2], [0.5, 0.6], 1e-3),
        (goodness_of_fit_test, [0, 0], [0.5, 0.5], 1e-3),
        (goodness_of_fit_test, [1, 2, 3], [0.5, 0.5], 1e-3),
        (goodness_of_fit_test, [1, -2], [0.5, 0.5], 1e-3),
    ]

    mutants = {
        "half of the p-value": wrong(goodness_of_fit_test, scaled(0.5)),
        "the cells of another law": wrong(
            goodness_of_fit_test, probabilities=lambda probabilities: list(reversed(probabilities))
        ),
        "twice the detectable divergence": wrong(goodness_of_fit_test, further(2.0)),
    }


def _likelihood(counts: tuple[int, ...], p: tuple[float, ...]) -> Fraction:
    """exp(G) n^n: the product of (k / p)^k."""
    powers = ((Fraction(k) / Fraction(q)) ** k for k, q in zip(counts, p, strict=True) if k)
    return math.prod(powers, start=Fraction(1))
