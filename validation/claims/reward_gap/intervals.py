"""A claim on the interval of a measured reward gap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from scipy.special import betainc, ndtri, stdtrit

from driftproof.numerics.reward_gap import PairedGap, paired_gap
from driftproof.validation import Thing, boundary, claim, exact, raises
from driftproof.validation.evidence.base import Labelled


def covered(interval: Callable[..., PairedGap], n: int, level: float) -> float:
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


def resized(factor: Callable[[int, float], float]) -> Callable[..., PairedGap]:
    def interval(ode: Any, sde: Any, level: float, *rest: Any) -> PairedGap:
        found = paired_gap(ode, sde, level, *rest)
        half = 0.5 * (found.high - found.low) * factor(found.pairs, level)
        return replace(found, low=found.gap - half, high=found.gap + half)

    return interval


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
    paper="reward_gap",
    title="The interval of a paired gap covers as often as it says",
    statement=r"""
    P\big(E\,D \in [\bar D \pm t_{n-1}\,s/\sqrt n\,]\big) = \text{level}, \qquad D = r(x^{ODE}) - r(x^{SDE})
    """,
    hypotheses=[r"D_1, \dots, D_n \text{ independent, normal}", r"n \ge 2"],
    vouches=[paired_gap],
)
class Interval:
    """Exactly: the coverage is an area on a sphere, an incomplete Beta function. What both samplers share
    cancels.  The bootstrap is the percentile one, and is not said to cover exactly."""

    thing = staticmethod(paired_gap)

    @exact(tolerance=1e-10)
    def coverage(thing: Thing) -> Iterator[Labelled]:
        for n in (2, 3, 10, 50):
            for level in (0.5, 0.95, 0.999):
                yield f"n = {n}, level {level}", covered(thing, n, level), level

    @exact(tolerance=1e-12)
    def what_is_shared_cancels(thing: Thing) -> Iterator[Labelled]:
        ode, sde, shared = (
            np.asarray([1.0, 3.0, 4.5]),
            np.asarray([0.5, 1.0, 2.0]),
            np.asarray([64.0, -32.0, 8.0]),
        )
        one, two = thing(ode, sde, 0.9), thing(ode + shared, sde + shared, 0.9)
        yield "gap", one.gap, 5.0 / 3.0
        yield "interval", [two.low, two.high], [one.low, one.high]

    @exact(tolerance=1e-13)
    def rewards_and_their_mean_difference(thing: Thing) -> Iterator[Labelled]:
        for method in ("t", "bootstrap"):
            found = thing([1.0, 3.0, 4.5], [0.5, 1.0, 2.0], 0.9, method)
            yield f"{method}: means", [found.ode, found.sde, found.gap], [8.5 / 3.0, 3.5 / 3.0, 5.0 / 3.0]
            yield f"{method}: what was asked", [found.level, found.pairs], [0.9, 3]

    @exact(tolerance=1e-13)
    def bootstrap_by_hand(thing: Thing) -> Iterator[Labelled]:
        """2000 means of pairs picked by the same uniforms, sorted; between two of them a quantile is linear."""
        ode, sde = [1.0, 3.0, 4.5, -2.0, 0.25], [0.5, 1.0, 2.0, 0.0, 0.5]
        for n in (2, 5):
            means = resampled(tuple(a - b for a, b in zip(ode[:n], sde[:n], strict=True)), 7)
            for level in (0.5, 0.9, 0.99):
                found = thing(ode[:n], sde[:n], level, "bootstrap", 7)
                want = []
                for tail in (0.5 - 0.5 * level, 0.5 + 0.5 * level):
                    place = tail * 1999
                    below = min(math.floor(place), 1998)
                    want.append(means[below] + (place - below) * (means[below + 1] - means[below]))
                yield f"n = {n}, level {level}", [found.low, found.high], want

    @boundary()
    def one_pair_has_no_spread(thing: Thing) -> Any:
        return raises(ValueError, paired_gap, np.ones(1), np.ones(1))

    mutants = {
        "normal quantile": resized(_normal),
        "population deviation": resized(lambda n, level: math.sqrt((n - 1) / n)),
        "one-sided level": lambda ode, sde, level, *rest: paired_gap(
            ode, sde, 2.0 * level - 1.0 if level > 0.5 else 0.1, *rest
        ),
        "SDE less ODE": lambda ode, sde, level, *rest: paired_gap(sde, ode, level, *rest),
        "the other method": lambda ode, sde, level, method="t", *rest: paired_gap(
            ode, sde, level, "t" if method == "bootstrap" else method, *rest
        ),
        "a wider bootstrap": lambda ode, sde, level, method="t", *rest: paired_gap(
            ode, sde, level + (1e-3 * (1.0 - level) if method == "bootstrap" else 0.0), method, *rest
        ),
    }
