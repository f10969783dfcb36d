r"""Tests of distributions, stages of a sequential test, and sequences of intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import mpmath
import numpy as np

from driftproof.numerics.montecarlo import (
    ConfidenceSequence,
    Verdict,
    best_rho,
    confidence_sequence,
    distribution_test,
    sequential_test,
    two_sample_distribution_test,
)
from driftproof.validation import bound, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import kolmogorov, scaled

__all__ = ["Distances", "Peeking", "Stages"]


@claim(
    "STATISTICS-DISTRIBUTION-1",
    "Distances of distribution functions have one law at each size",
    r"""P(D_n \ge d) \;\text{of Kolmogorov and Smirnov}, \qquad
        P(D_{n,n} \ge k/n) = 2\sum_{j \ge 1} (-1)^{j-1} \binom{2n}{n - jk} \Big/ \binom{2n}{n}""",
    covers=[distribution_test, two_sample_distribution_test],
)
class Distances:
    @exact(
        1e-12,
        over=rows(
            "draws",
            (
                (Fraction(1, 8),),
                (Fraction(1, 4), Fraction(3, 8)),
                (Fraction(1, 16), Fraction(5, 16), Fraction(1, 2), Fraction(9, 16), Fraction(5, 8)),
                tuple(Fraction(k * k, 400) for k in range(1, 20)),
            ),
        ),
    )
    def one_sample_in_rational_numbers(distribution_test, draws):
        n = len(draws)
        distance = max(max(Fraction(i + 1, n) - u, u - Fraction(i, n)) for i, u in enumerate(sorted(draws)))
        found = distribution_test(np.asarray([float(u) for u in draws]), lambda u: u, 1e-3)
        yield "distance", found.effect, float(distance)
        yield "p", found.p_value, float(1 - kolmogorov(n, distance))

    @exact(1e-12, over=grid(n=(1, 2, 5)))
    def two_samples_by_every_order(two_sample_distribution_test, n):
        """All orders of the merged sample are equally likely."""
        orders = list(itertools.combinations(range(2 * n), n))
        distances = [max(abs(a - b) for a, b in _steps(order, n)) for order in orders]
        for order in orders[:: max(1, len(orders) // 8)]:
            rest = [place for place in range(2 * n) if place not in order]
            found = two_sample_distribution_test(
                *(np.asarray(part, dtype=float) for part in (order, rest)), 1e-3
            )
            k = max(abs(a - b) for a, b in _steps(order, n))
            yield f"{order}", found.p_value, sum(d >= k for d in distances) / len(orders)
            yield f"{order}, distance", found.effect, k / n

    @exact(0.0)
    def ties_and_jumps(distribution_test):
        """Draws at an atom of the law: the left limits are needed, and the p-value is then a bound."""
        tosses = np.asarray([0.0, 1.0, 0.0, 1.0])
        found = distribution_test(tosses, lambda u: 0.5 + 0.5 * u, 1e-3, cdf_left=lambda u: 0.5 * u)
        yield "p", found.p_value, 1.0
        yield "said", float("bound" in found.validity), 1.0

    refuses = [
        (distribution_test, np.asarray([0.5]), lambda u: 2.0 + 0.0 * u, 1e-3),
        (two_sample_distribution_test, np.zeros(2), np.zeros(3), 1e-3),
    ]

    mutants = {
        "half of the p-value": wrong(distribution_test, scaled(0.5)),
        "a distance of nine tenths": wrong(
            distribution_test, lambda value: replace(value, effect=0.9 * value.effect)
        ),
        "the first term of the sum": wrong(
            two_sample_distribution_test, lambda value, x: _first_term(value, len(x))
        ),
        "half of the sum": wrong(two_sample_distribution_test, scaled(0.5)),
    }


def _steps(order: tuple[int, ...], n: int) -> list[tuple[int, int]]:
    """Draws of each sample among the first places of an order."""
    first = [sum(place <= last for place in order) for last in range(2 * n)]
    return [(a, last + 1 - a) for last, a in enumerate(first)]


def _first_term(value: Verdict, n: int) -> Verdict:
    k = round(value.effect * n)
    return replace(value, p_value=min(1.0, 2.0 * math.comb(2 * n, n - k) / math.comb(2 * n, n)))


@claim(
    "STATISTICS-SEQUENTIAL-1",
    "A test in stages spends its level once",
    r"""P(\text{refutes}) = \sum_{i<k} t_i \prod_{j<i}(\gamma - t_j) \le \alpha, \qquad
        \gamma = (\alpha/k)^{1/k}, \quad t_i = \frac\alpha{k\,\gamma^i}""",
    covers=[sequential_test],
)
class Stages:
    """p-values of the stages are uniform and independent: the probability of each end is an area."""

    @exact(1e-12, scale=0.0, over=rows("alpha, stages", ((0.05, 1), (0.05, 2), (1e-6, 3))))
    def level_by_areas(sequential_test, alpha, stages):
        """At each stage three p-values stand for the three ways to go on."""
        gamma = mpmath.mpf(alpha / stages) ** (mpmath.mpf(1) / stages)
        refuted, reached, spent = mpmath.mpf(0), mpmath.mpf(1), []
        for i in range(stages):
            threshold = mpmath.mpf(alpha) / stages / gamma**i
            refuted += reached * threshold
            spent.append((float(threshold), float(gamma)))
            reached *= gamma - threshold
        yield "level", float(_level(sequential_test, alpha, stages, spent)), refuted

    @bound(tight=0.5, over=rows("alpha, stages", ((0.05, 1), (0.05, 2), (1e-6, 3), (1e-8, 7))))
    def no_more_than_alpha(sequential_test, alpha, stages):
        gamma = (alpha / stages) ** (1.0 / stages)
        ends = [(alpha / stages / gamma**i, gamma) for i in range(stages)]
        return float(_level(sequential_test, alpha, stages, ends)), alpha

    @exact(0.0)
    def batches_are_fresh_and_grow(sequential_test):
        sizes: list[int] = []
        sequential_test(_counted(sizes), _uncertain, 1e-4, n=10, stages=4, growth=3)
        return sizes, [10, 30, 90, 270]

    refuses = [(sequential_test, len, len, 1.5), (sequential_test, len, len, 0.0)]

    mutants = {
        "alpha at every stage": wrong(
            sequential_test, lambda value, stages: replace(value, p_value=value.p_value / stages)
        ),
        "batches of one size": wrong(sequential_test, growth=lambda growth: 1),
        "twice the level": wrong(sequential_test, alpha=lambda alpha: min(0.9, 2.0 * alpha)),
    }


def _counted(sizes: list[int]) -> Callable[[int], int]:
    def draw(n: int) -> int:
        sizes.append(n)
        return n

    return draw


def _verdict(p: float, alpha: float) -> Verdict:
    return Verdict("stage", p, 0.0, 0.0, "", 1, alpha, 0.999, "exact")


def _uncertain(draws: int, gamma: float) -> Verdict:
    """A p-value between the threshold and gamma, at every stage."""
    return _verdict(0.999 * gamma, gamma)


def _level(test: Any, alpha: float, stages: int, ends: list[tuple[float, float]]) -> mpmath.mpf:
    """The area on which a test refutes: p-values below the threshold, between it and gamma, or above."""
    total = mpmath.mpf(0)
    for choice in itertools.product(range(3), repeat=stages):
        at, area = [], mpmath.mpf(1)
        for kind, (low, high) in zip(choice, ends, strict=True):
            at.append((0.5 * low, low * (1.0 + 1e-9), high * (1.0 + 1e-9))[kind])
            area *= (low, max(high - low, 0.0), 1.0 - max(high, low))[kind]
        found = test(lambda n: n, partial(_next, iter(at)), alpha, n=1, stages=stages)
        total += area if found.rejects else 0
    return total


def _next(at: Iterator[float], draws: int, gamma: float) -> Verdict:
    return _verdict(next(at), gamma)


@claim(
    "STATISTICS-SEQUENCE-1",
    "Intervals that hold at all sizes at once",
    r"""P\big(\exists n: |\bar x_n - \mu| \ge r_n\big) \le \alpha, \qquad
        r_n = \sigma\sqrt{\frac{2(n\rho^2 + 1)}{n^2\rho^2}\log\frac{\sqrt{n\rho^2 + 1}}\alpha}""",
    covers=[confidence_sequence, best_rho],
)
class Peeking:
    @bound(tight=0.05, over=grid(alpha=(0.3, 0.05), q=(0.5, 0.25)))
    def missed_by_any_path(confidence_sequence, alpha, q):
        """Every path of eleven tosses: how often some interval misses the mean."""
        n = 11
        for name, known in (
            ("bounded", {"support": (0.0, 1.0)}),
            ("sub-Gaussian", {"sigma": 0.5, "rho": 0.7}),
        ):
            missed = 0.0
            for path in itertools.product((0.0, 1.0), repeat=n):
                found = confidence_sequence(np.asarray(path), alpha, **known)
                if ((found.lower > q) | (found.upper < q)).any():
                    missed += q ** sum(path) * (1.0 - q) ** (n - sum(path))
            yield name, missed, alpha

    @exact(1e-12, scale=0.0, over=grid(alpha=(0.05, 1e-8), rho=(0.1, 2.0)))
    def the_radius_as_printed(confidence_sequence, alpha, rho):
        x = np.asarray([0.5, -1.0, 2.0, 0.25])
        found = confidence_sequence(x, alpha, 1.5, rho)
        for n in range(1, 5):
            u = n * mpmath.mpf(rho) ** 2
            radius = 1.5 * mpmath.sqrt(2 * (u + 1) / (n * u) * mpmath.log(mpmath.sqrt(u + 1) / alpha))
            yield f"n = {n}", (found.upper[n - 1] - found.lower[n - 1]) / 2.0, radius
            yield (
                f"n = {n}, centre",
                2.0 + (found.upper[n - 1] + found.lower[n - 1]) / 2.0,
                2.0 + np.mean(x[:n]),
            )

    @exact(1e-12, scale=0.0, over=grid(n=(1, 500), alpha=(0.3, 1e-8, 1e-200)))
    def narrowest_by_lambert(best_rho, n, alpha):
        """n rho^2 = -W_{-1}(-alpha^2 / e) - 1, the lower branch, at fifty digits."""
        with mpmath.workdps(450):
            w = mpmath.lambertw(-(mpmath.mpf(alpha) ** 2) / mpmath.e, -1)
            return best_rho(n, alpha) ** 2 * n, -w.real - 1

    refuses = [
        (confidence_sequence, np.zeros(3), 0.05, -1.0),
        (confidence_sequence, np.asarray([0.5, 2.0]), 0.05, None, None, (0.0, 1.0)),
        (best_rho, 0, 0.05),
    ]

    mutants = {
        "the interval of one size": wrong(confidence_sequence, lambda value: _narrower(value, 0.5)),
        "one-sided": wrong(confidence_sequence, alpha=lambda alpha: min(0.9, 2.0 * alpha)),
        "a tenth too wide": wrong(best_rho, lambda value: 1.1 * value),
        "the root left out": wrong(best_rho, lambda value: value**2),
    }


def _narrower(value: ConfidenceSequence, factor: float) -> ConfidenceSequence:
    centre, radius = 0.5 * (value.lower + value.upper), 0.5 * (value.upper - value.lower)
    return replace(value, lower=centre - factor * radius, upper=centre + factor * radius)
