"""Outcomes one by one: laws of small samples in rational numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

from driftproof.numerics.montecarlo import Verdict

__all__ = ["binomial", "further", "kolmogorov", "level", "multinomials", "scaled"]


@lru_cache
def binomial(n: int, p: float) -> list[Fraction]:
    """The masses of 0, ..., n successes, for the p that the float stands for."""
    q = Fraction(p)
    return [math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(n + 1)]


def multinomials(n: int, p: Sequence[float]) -> Iterator[tuple[tuple[int, ...], Fraction]]:
    """All counts of n in the cells of p, and their probabilities."""
    weights = [Fraction(x) for x in p]
    for counts in itertools.product(range(n + 1), repeat=len(p)):
        if sum(counts) == n:
            ways = math.factorial(n) // math.prod(map(math.factorial, counts))
            yield (
                counts,
                ways * math.prod((w**k for w, k in zip(weights, counts, strict=True)), start=Fraction(1)),
            )


def level(outcomes: Sequence[tuple[Verdict, Fraction | float]], alpha: float) -> float:
    """How often a test with these outcomes has a p-value of at most alpha."""
    return float(sum((mass for verdict, mass in outcomes if verdict.p_value <= alpha), Fraction(0)))


def kolmogorov(n: int, d: Fraction) -> Fraction:
    """P(D_n < d) of Kolmogorov and Smirnov, by the matrix of Marsaglia, Tsang and Wang in rational numbers."""
    k = math.ceil(n * d)
    m, h = 2 * k - 1, k - n * d
    matrix = [[Fraction(int(i - j + 1 >= 0)) for j in range(m)] for i in range(m)]
    for i in range(m):
        matrix[i][0] -= h ** (i + 1)
        matrix[m - 1][i] -= h ** (m - i)
    matrix[m - 1][0] += max(2 * h - 1, Fraction(0)) ** m
    for i in range(m):
        for j in range(m):
            if i - j + 1 > 0:
                matrix[i][j] /= math.factorial(i - j + 1)
    power = [[Fraction(int(i == j)) for j in range(m)] for i in range(m)]
    for _ in range(n):
        power = [
            [sum((a * matrix[l][j] for l, a in enumerate(row)), Fraction(0)) for j in range(m)]
            for row in power
        ]
    return power[k - 1][k - 1] * Fraction(math.factorial(n), n**n)


def scaled(factor: float) -> Callable[[Verdict], Any]:
    """A verdict whose p-value is too large or too small."""
    return lambda value: replace(value, p_value=min(1.0, factor * value.p_value))


def further(factor: float) -> Callable[[Verdict], Any]:
    """A verdict whose detectable effect is so many times what it is."""
    return lambda value: replace(value, detectable=factor * value.detectable)
