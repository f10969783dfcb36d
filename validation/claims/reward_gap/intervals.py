"""A claim on the interval of a measured reward gap."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from scipy.special import betainc, ndtri, stdtrit

from driftproof.numerics.reward_gap import PairedGap, paired_gap
from driftproof.validation import Thing, claim, exact, grid
from driftproof.validation.mutants import wrong


def covered(interval: Thing, n: int, level: float) -> float:
    """The probability that 0 is in the interval of n standard normal differences.

    Their direction is uniform on the sphere and alone decides; it is covered while its angle to (1, ..., 1)
    has a cosine of at most some z, which bisection finds, and z^2 has a Beta law.
    """
    along = np.ones(n) / math.sqrt(n)
    across = np.zeros(n)
    across[:2] = math.sqrt(0.5), -math.sqrt(0.5)
    low, high = 0.0, 1.0
    for _ in range(60):
        z = 0.5 * (low + high)
        found = interval(z * along + math.sqrt(1.0 - z * z) * across + 5.0, np.full(n, 5.0), level)
        low, high = (z, high) if found.low <= 0.0 <= found.high else (low, z)
    return float(betainc(0.5, 0.5 * (n - 1), low * low))


def resized(factor: Callable[[int, float], float]) -> Any:
    def interval(value: PairedGap, level: float) -> PairedGap:
        half = 0.5 * (value.high - value.low) * factor(value.pairs, level)
        return replace(value, low=value.gap - half, high=value.gap + half)

    return wrong(paired_gap, interval)


@cache
def resampled(difference: tuple[float, ...], seed: int) -> list[float]:
    """The means of 2000 samples with replacement, from the smallest to the largest."""
    n = len(difference)
    uniforms = np.random.default_rng(seed).random((2000, n)).tolist()
    return sorted(math.fsum(difference[math.floor(u * n)] for u in row) / n for row in uniforms)


def _normal(n: int, level: float) -> float:
    """The quantile of a normal law over that of Student's."""
    return float(ndtri(0.5 + 0.5 * level) / stdtrit(n - 1, 0.5 + 0.5 * level))


@claim(
    "REWARD-GAP-INTERVAL-1",
    "The interval of a paired gap covers as often as it says",
    r"""
    P\big(E\,D \in [\bar D \pm t_{n-1}\,s/\sqrt n\,]\big) = \text{level}, \qquad D = r(x^{ODE}) - r(x^{SDE})
    """,
    covers=[paired_gap],
    hypotheses=[r"D_1, \dots, D_n \text{ independent, normal}", r"n \ge 2"],
)
class Interval:
    """Exactly: the coverage is an area on a sphere, an incomplete Beta function. What both samplers share
    cancels.  The bootstrap is the percentile one, and is not said to cover exactly."""

    @exact(1e-10, over=grid(n=(2, 3, 10, 50), level=(0.5, 0.95, 0.999)))
    def coverage(paired_gap, n, level):
        return covered(paired_gap, n, level), level

    @exact(1e-12)
    def what_is_shared_cancels(paired_gap):
        ode, sde, shared = np.asarray([[1.0, 3.0, 4.5], [0.5, 1.0, 2.0], [64.0, -32.0, 8.0]])
        one, two = paired_gap(ode, sde, 0.9), paired_gap(ode + shared, sde + shared, 0.9)
        yield "gap", one.gap, 5.0 / 3.0
        yield "interval", [two.low, two.high], [one.low, one.high]

    @exact(1e-13, over=grid(method=("t", "bootstrap")))
    def rewards_and_their_mean_difference(paired_gap, method):
        found = paired_gap([1.0, 3.0, 4.5], [0.5, 1.0, 2.0], 0.9, method)
        yield "means", [found.ode, found.sde, found.gap], [8.5 / 3.0, 3.5 / 3.0, 5.0 / 3.0]
        yield "what was asked", [found.level, found.pairs], [0.9, 3]

    @exact(1e-13, over=grid(n=(2, 5), level=(0.5, 0.9, 0.99)))
    def bootstrap_by_hand(paired_gap, n, level):
        """2000 means of pairs picked by the same uniforms, sorted; between two of them a quantile is linear."""
        ode, sde = [1.0, 3.0, 4.5, -2.0, 0.25], [0.5, 1.0, 2.0, 0.0, 0.5]
        means = resampled(tuple(a - b for a, b in zip(ode[:n], sde[:n], strict=True)), 7)
        found = paired_gap(ode[:n], sde[:n], level, "bootstrap", 7)
        want = []
        for tail in (0.5 - 0.5 * level, 0.5 + 0.5 * level):
            place = tail * 1999
            below = min(math.floor(place), 1998)
            want.append(means[below] + (place - below) * (means[below + 1] - means[below]))
        return [found.low, found.high], want

    refuses = [(paired_gap, np.ones(1), np.ones(1))]

    mutants = {
        "normal quantile": resized(_normal),
        "population deviation": resized(lambda n, level: math.sqrt((n - 1) / n)),
        "one-sided level": wrong(paired_gap, level=lambda level: 2.0 * level - 1.0 if level > 0.5 else 0.1),
        "SDE less ODE": wrong(paired_gap, ode=lambda sde: sde, sde=lambda ode: ode),
        "the other method": wrong(paired_gap, method=lambda: "t"),
        "a wider bootstrap": wrong(
            paired_gap,
            level=lambda level, method: level + (1e-3 * (1.0 - level) if method == "bootstrap" else 0.0),
        ),
    }
