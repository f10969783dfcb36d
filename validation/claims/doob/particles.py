r"""Particles and splitting: enumerations where there are any, tests elsewhere."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.special import gammaln, ndtr

from driftproof._random import Source
from driftproof.numerics.doob import (
    effective_size,
    multilevel_splitting,
    systematic_ancestors,
    twisted_particles,
)
from driftproof.numerics.montecarlo import mean_test
from driftproof.validation import Rate, Statistic, claim, exact, rate, statistical
from driftproof.validation.mutants import wrong

from .textbook import Given, interval_of

__all__ = ["LawOfParticles", "Splitting", "UnbiasedEvidence"]

# Two states; the first is fair, the second is kept with probability .8; rewards a x_1 and b x_2.
STAY, A, B = 0.8, 1.2, 2.0


def _paths() -> list[tuple[int, int, float]]:
    return [(x, y, 0.5 * (STAY if x == y else 1.0 - STAY)) for x, y in itertools.product((0, 1), (0, 1))]


EVIDENCE = sum(p * math.exp(B * y) for _, y, p in _paths())
ONES = sum(p * math.exp(B * y) * y for _, y, p in _paths())  # E[e^(b x_2) x_2]


def _move(k: int, x: Any, noise: Source) -> tuple[Any, float]:
    drawn = noise.uniform(x)
    return np.where(drawn < (0.5 if k == 0 else STAY), x, 1.0 - x), 0.0


def _twist(k: int, x: Any) -> Any:
    return (0.0, A, B)[k] * x


def _start(systems: int, n: int) -> Any:
    return np.zeros((systems, n))


@claim(
    "DOOB-SMC-1",
    "The evidence of particles has no bias, for any number of them and any twist",
    r"""E \hat Z = E\,\psi_N(X_N), \qquad E\Big[\hat Z \sum_i W_i f(X^i)\Big] = E\,(\psi_N f)(X_N)""",
    covers=[twisted_particles, systematic_ancestors, effective_size],
    hypotheses=[r"\psi_N \;\mathrm{exact},\; \psi_k > 0 \;\mathrm{before}"],
)
class UnbiasedEvidence:
    @statistical(n=200_000, miss=1e-12)  # the p-values of its mutants are 0 in double precision
    def thresholds_and_numbers(twisted_particles, rng, n, alpha):
        """Two, three and eight particles, never, sometimes and always resampled; a twist that is wrong on purpose."""
        cases = [(2, 0.0), (2, 1.0), (3, 0.5), (8, 0.5), (8, 1.0)]
        for count, threshold in cases:
            systems = n // count
            run = twisted_particles(_start(systems, count), _move, _twist, 2, rng, threshold=threshold)
            z = np.exp(run.log_evidence)
            # e^0 <= Z <= e^(a + b), by the largest weight of a segment.
            top = math.exp(A + B)
            for name, values, want in (("Z", z, EVIDENCE), ("Z f", z * run.mean(run.states), ONES)):
                test = mean_test(values / top, want / top, alpha / (2.0 * len(cases)), assume="asymptotic")
                label = f"{name}, N = {count}, threshold {threshold}"
                yield Statistic(test.p_value, test.detectable, test.effect, systems, label)

    @exact(1e-12)
    def a_perfect_twist_has_no_noise(twisted_particles):
        """The exact h as twist and the tilted chain as proposal: every system gives P(A), and every particle is in it."""
        h = {1: lambda x: np.where(x > 0, STAY, 1.0 - STAY), 0: lambda x: 0.5 + 0.0 * x, 2: lambda x: x}

        def log_h(k: int, x: Any) -> Any:
            with np.errstate(divide="ignore"):
                return np.log(h[k](x))

        def tilted(k: int, x: Any, noise: Source) -> tuple[Any, Any]:
            drawn = noise.uniform(x)
            after = (drawn < STAY).astype(float) if k == 0 else np.ones_like(x)
            base = 0.5 if k == 0 else np.where(after == x, STAY, 1.0 - STAY)
            proposed = np.where(after > 0, STAY, 1.0 - STAY) if k == 0 else 1.0
            return after, np.log(base / proposed)

        run = twisted_particles(_start(5, 4), tilted, log_h, 2, 0)
        yield "evidence", np.exp(run.log_evidence), np.full(5, 0.5)
        yield "particles", run.states, np.ones((5, 4))
        yield "sizes", run.sizes, np.full((3, 5), 4.0)

    @exact(1e-12)
    def systematic_draws(systematic_ancestors, effective_size):
        """Every particle has its share of descendants, rounded down or up; in expectation exactly its share."""
        w = np.asarray([0.1, 0.45, 0.3, 0.15])
        lattice = (np.arange(2000) + 0.5) / 2000
        found = systematic_ancestors(np.log(np.broadcast_to(w, (2000, 4))), Given(lattice[:, None]))
        counts = np.stack([np.sum(found == i, axis=-1) for i in range(4)], axis=-1)
        yield "in expectation", counts.mean(axis=0), 4.0 * w
        yield "rounded", np.clip(counts, np.floor(4.0 * w), np.ceil(4.0 * w)), counts
        yield "effective size", effective_size(np.log(w)), 1.0 / np.sum(w**2)
        lost = np.asarray([[-math.inf] * 4, [-math.inf, 0.0, -math.inf, -math.inf]])
        yield "one left", systematic_ancestors(lost, 0)[1], [1, 1, 1, 1]
        yield "none left", systematic_ancestors(lost, 0)[0], [0, 1, 2, 3]
        yield "their sizes", effective_size(lost), [0.0, 1.0]

    @exact(1e-12)
    def all_are_lost(twisted_particles):
        run = twisted_particles(_start(3, 4), _move, lambda k, x: -math.inf + 0.0 * x if k else 0.0 * x, 2, 0)
        yield "evidence", run.log_evidence, np.full(3, -math.inf)
        yield "mean", run.mean(run.states), np.zeros(3)

    refuses = [
        (twisted_particles, _start(1, 2), _move, _twist, 0, 0),
        (partial(twisted_particles, threshold=1.5), _start(1, 2), _move, _twist, 2, 0),
        (twisted_particles, _start(1, 2), _move, lambda k, x: np.zeros(3), 2, 0),
        (twisted_particles, _start(1, 2), _move, lambda k, x: x + math.inf, 2, 0),
    ]

    mutants = {
        "weights of the last step alone": {twisted_particles: lambda *a, **k: _forgetful(*a, **k)},
        "not divided by the twist before": wrong(
            twisted_particles,
            lambda value, start, steps: replace(
                value, segments=value.segments + A / (steps + 1) / start.shape[-1]
            ),
        ),
        "mean of logarithms": wrong(
            twisted_particles,
            lambda value: replace(
                value,
                segments=np.concatenate([value.segments[:-1], np.mean(value.log_weights, axis=-1)[None]]),
            ),
        ),
        "in the order of their weights": wrong(
            systematic_ancestors, lambda value, log_weights: np.argsort(-np.asarray(log_weights), axis=-1)
        ),
        "squares of the sum": wrong(effective_size, lambda value: value**2),
    }


def _forgetful(start: Any, move: Any, log_twist: Any, steps: int, rng: Any, *, threshold: float = 0.5) -> Any:
    """Without resampling the weight is the last ratio, and not the product of all."""
    run = twisted_particles(start, move, log_twist, steps, rng, threshold=threshold)
    if threshold > 0.0:
        return run
    shorter = run.log_weights - A * np.abs(run.states)
    return replace(run, segments=run.segments - A * 0.5, log_weights=shorter)


def _expected_mean(run_of: Any, n: int) -> float:
    """E of the weighted mean of x_2 over n particles without resampling: all counts of the four paths."""
    paths = _paths()
    counts = np.asarray([c for c in itertools.product(range(n + 1), repeat=3) if sum(c) <= n])
    counts = np.concatenate([counts, n - counts.sum(axis=1, keepdims=True)], axis=1)
    log_p = gammaln(n + 1) - gammaln(counts + 1).sum(axis=1) + counts @ np.log([p for _, _, p in paths])
    which = np.stack([np.repeat(np.arange(4), row) for row in counts])
    first, second = (np.asarray([path[i] for path in paths], dtype=float)[which] for i in (0, 1))
    run = run_of(
        np.zeros(first.shape), lambda k, x, noise: ((first, second)[k], 0.0), _twist, 2, 0, threshold=0.0
    )
    return float(np.sum(np.exp(log_p) * run.mean(run.states)))


@claim(
    "DOOB-SMC-2",
    "The law of particles is biased by 1/N, and their weights belong to it",
    r"""E\sum_i W_i f(X^i) = E_A f - \frac{\mathrm{Cov}_w}{N} + O(N^{-2}), \qquad
        \mathrm{Cov}_w = E\Big[\frac{w^2}{Z^2}(f - E_A f)\Big]""",
    covers=[twisted_particles],
)
class LawOfParticles:
    @rate()
    def the_bias_and_its_constant(twisted_particles):
        sizes = (12, 24, 48)
        truth = ONES / EVIDENCE
        biases = [_expected_mean(twisted_particles, n) - truth for n in sizes]
        orders = [math.log2(a / b) for a, b in itertools.pairwise(biases)]
        weights = [(p, math.exp(B * y) / EVIDENCE, y) for _, y, p in _paths()]
        constant = -sum(p * w**2 * (y - truth) for p, w, y in weights)
        # The next term is a share of 2.7 / N of the first.
        return Rate(orders, 1.0, 0.15, sizes[-1] * biases[-1], constant, 0.06)

    @exact(1e-12)
    def two_particles_by_hand(twisted_particles):
        total = 0.0
        for (_, y, p), (_, v, q) in itertools.product(_paths(), repeat=2):
            a, b = math.exp(B * y), math.exp(B * v)
            total += p * q * (a * y + b * v) / (a + b)
        return _expected_mean(twisted_particles, 2), total

    mutants = {
        "weights dropped at the end": wrong(
            twisted_particles, lambda value: replace(value, log_weights=0.0 * value.log_weights)
        ),
        "last ratio for the product": wrong(
            twisted_particles, lambda value: replace(value, log_weights=0.4 * value.log_weights)
        ),
        "the twist as weight": wrong(
            twisted_particles, lambda value: replace(value, log_weights=2.0 * value.log_weights)
        ),
    }


def _autoregression(x: Any, noise: Source) -> Any:
    """A kernel that keeps the standard normal law: noised and denoised."""
    return 0.8 * x + 0.6 * noise.normal(x)


def _unrestricted(start: Any, score: Any, levels: Any, move: Any, rng: Any, *, moves: int = 1) -> Any:
    """Particles that may fall below the level that they have passed."""
    if len(levels) < 2 or moves < 1:
        return multilevel_splitting(start, score, levels, move, rng, moves=moves)

    def passed(k: int, x: Any) -> Any:
        return np.where(score(x) >= levels[k], 0.0, -math.inf)

    return twisted_particles(
        start, lambda k, x, noise: (move(x, noise), 0.0), passed, len(levels) - 1, rng, threshold=1.0
    )


@claim(
    "DOOB-SPLIT-1",
    "Multilevel splitting reaches rare events, without bias",
    r"""E \prod_l \hat p_l = P(S(X) \geq b_L), \qquad X \mid S(X) \geq b_L""",
    covers=[multilevel_splitting],
    hypotheses=[r"\mathrm{levels\;fixed}", r"\mathrm{moves\;keep\;the\;data\;law}"],
)
class Splitting:
    @statistical(n=300_000, miss=1e-7)  # the nearest mutant is 10.7 deviations off, and 5.5 are enough
    def the_tail_of_a_normal_law(multilevel_splitting, rng, n, alpha):
        """Systems of 32 particles; the probability and, weighted by it, the mean of a test function."""
        levels = [1.0, 2.0, 2.6]
        systems = n // 10
        start = rng.standard_normal((systems, 32))
        run = multilevel_splitting(start, lambda x: x, levels, _autoregression, rng, moves=2)
        p = np.exp(run.log_evidence)
        tail = float(ndtr(-2.6))
        _, mean = interval_of(2.6, math.inf)
        for name, values, want in (
            ("P", p / tail, 1.0),
            ("P f", p / tail * run.mean(run.states) / mean, 1.0),
        ):
            test = mean_test(values, want, alpha / 2.0, assume="asymptotic")
            yield Statistic(test.p_value, test.detectable, test.effect, systems, name)

    @exact(1e-12)
    def points_that_pass(multilevel_splitting):
        x = np.arange(16.0)
        run = multilevel_splitting(x, lambda x: x, [7.5, 11.5, 13.5], lambda x, noise: x, 0)
        yield "probability", np.exp(run.log_evidence), 2.0 / 16.0
        yield "points of weight", np.sort(np.unique(run.states[run.log_weights > -math.inf])), [14.0, 15.0]
        one = multilevel_splitting(x, lambda x: x, [11.5], lambda x, noise: x, 0)
        yield "one level", np.exp(one.log_evidence), 4.0 / 16.0

    refuses = [
        (multilevel_splitting, np.zeros(4), lambda x: x, [1.0, 1.0], lambda x, noise: x, 0),
        (multilevel_splitting, np.zeros(4), lambda x: x, [], lambda x, noise: x, 0),
        (partial(multilevel_splitting, moves=0), np.zeros(4), lambda x: x, [1.0, 2.0], lambda x, noise: x, 0),
    ]

    mutants = {
        "moves beyond the level": {multilevel_splitting: lambda *a, **k: _unrestricted(*a, **k)},
        "a kernel of another law": wrong(
            multilevel_splitting, move=lambda: lambda x, noise: 0.9 * x + 0.6 * noise.normal(x)
        ),
        "last level forgotten": wrong(
            multilevel_splitting, levels=lambda levels: list(levels)[: max(len(levels) - 1, 1)]
        ),
        "first level not counted": wrong(
            multilevel_splitting,
            lambda value, start, score, levels: replace(
                value, segments=value.segments - np.log(np.mean(score(start) >= levels[0]))
            ),
        ),
    }
