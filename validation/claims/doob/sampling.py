r"""The last step, grids and trajectories: by inversion at a hundred digits, and by loops of their own."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

from driftproof._random import NumpySource
from driftproof.numerics.doob import collect, finish, truncated_normal, variance_clock_grid
from driftproof.theory.doob import Box, Slab, half_space
from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation import bound, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import Given, interval_of, share_below

__all__ = ["LastStep", "Store", "VarianceClock"]

INTERVALS = (
    (-1.0, 0.5),
    (37.0, math.inf),
    (40.0, 41.0),
    (-math.inf, math.inf),
    (-9.0, 8.0),
    (-2.0, 30.0),
)


@claim(
    "DOOB-FINISH-1",
    "The last step lies in the event by construction, and has the posterior given it",
    r"""\Phi(Z) = \Phi(l) + V(\Phi(h) - \Phi(l)), \qquad X = X' + \frac{Cn}{n^\top C n}(U - n\cdot X')""",
    covers=[truncated_normal, finish],
    hypotheses=[r"\mathrm{the\;posterior\;is\;normal}"],
)
class LastStep:
    @exact(1e-11, over=rows("low, high", INTERVALS))
    def inversion_of_the_distribution(truncated_normal, low, high):
        """The share below what is drawn is the uniform number that it was drawn from."""
        shares = np.asarray([1e-6, 0.1, 0.5, 0.9, 1.0 - 1e-6])
        drawn = truncated_normal(np.full(5, low), np.full(5, high), Given(shares))
        for v, z in zip(shares, drawn, strict=True):
            yield f"{v}", share_below(low, float(z), high), v

    @exact(1e-6)
    def between_ends_that_are_nearly_one(truncated_normal):
        """The law is flat there to the width, and quantiles have as many digits as the width leaves."""
        for low, width in ((0.3, 1e-6), (0.3, 1e-9), (-20.0, 1e-8)):
            z = truncated_normal(low, low + width, Given(0.25))
            yield f"{width}", share_below(low, float(z), low + width), 0.25

    @exact(0.0)
    def a_uniform_number_of_zero(truncated_normal):
        for low, high in ((-math.inf, math.inf), (-math.inf, 0.5), (0.5, math.inf)):
            yield f"{low}", float(abs(truncated_normal(low, high, Given(0.0))) < 9.0), 1.0

    @exact(1e-12)
    def a_conditional_draw(finish):
        """With given normal numbers: the functional is drawn, the rest follows along C n."""
        cov = np.asarray([[2.0, 0.7], [0.7, 0.5]])
        mean, normal = np.asarray([[0.3, -1.0]]), np.asarray([1.0, 2.0])
        event = Slab(normal, 0.5, 2.0)
        z = np.asarray([[0.4, -1.2]])
        values, vectors = np.linalg.eigh(cov)
        free = mean + z @ (vectors * np.sqrt(values)) @ vectors.T
        spread = math.sqrt(normal @ cov @ normal)
        low, high = ((v - float((mean @ normal)[0])) / spread for v in (0.5, 2.0))
        goal = float(ndtr(low)) + 0.25 * float(ndtr(high) - ndtr(low))
        value = float((mean @ normal)[0]) + spread * float(ndtri(goal))
        want = free + np.outer(value - free @ normal, cov @ normal / spread**2)
        yield "slab", finish(event, mean, cov, Given(0.25, z)), want
        box = Box([0.5, -math.inf], [math.inf, 0.0])
        got = finish(box, mean, np.diag([1.0, 4.0]), Given(0.25))
        parts = [math.exp(interval_of(v, math.inf)[0]) for v in (0.2, float(got[0, 0]) - 0.3)]
        yield "box", parts[1] / parts[0], 0.75

    @exact(0.0)
    def no_violation(finish):
        """Draws from far outside, where a rounding of the functional is as large as the margin."""
        rng = np.random.default_rng(0)
        mean = 1e3 * rng.standard_normal((4000, 3))
        cov = np.diag([1.0, 0.3, 2.0])
        for event in (
            half_space([1.0, -1.0, 0.3], 5.0),
            Slab([1e-3, 1.0, 0.0], -0.1, -0.09),
            Box([0.0] * 3, [1e-3, 1.0, math.inf]),
        ):
            inside = event.contains(finish(event, mean, cov, 1))
            yield type(event).__name__, float(np.mean(inside)), 1.0

    refuses = [
        (truncated_normal, 1.0, 1.0, 0),
        (finish, half_space([1.0, 0.0], 0.0), [0.0], [[1.0]], 0),
        (finish, half_space([1.0], 0.0).complement(), [0.0], [[1.0]], 0),
        (finish, half_space([1.0], 0.0), [0.0], [[-1.0]], 0),
    ]

    mutants = {
        "uniform on the interval": wrong(
            truncated_normal,
            lambda low, high, rng: (
                np.maximum(low, -10.0) + rng.uniform(low) * (np.minimum(high, 60.0) - np.maximum(low, -10.0))
            ),
        ),
        "pushed to the end": wrong(truncated_normal, lambda low, high: np.where(np.isfinite(low), low, high)),
        "mirrored": wrong(truncated_normal, lambda value, low, high: np.clip(-value, low, high)),
        "projected": wrong(
            finish,
            lambda value, event, mean: (
                np.asarray(mean)
                if type(event) is Box
                else mean
                + np.outer(np.clip(event.low - mean @ event.normal, 0.0, None), event.normal)
                / (event.normal @ event.normal)
            ),
        ),
        "along the normal": wrong(
            finish, cov=lambda cov: np.diag(np.diagonal(cov)) if np.asarray(cov).shape[0] > 1 else cov
        ),
    }


@claim(
    "DOOB-GRID-1",
    "Steps that are equal in the logarithm of the posterior variance, and what they spare",
    r"""C(t_k) = C(t_0)\,q^k""",
    covers=[variance_clock_grid],
)
class VarianceClock:
    @exact(1e-9, over=grid(process=(VP(0.1, 20.0, 1.0), VE(0.01, 50.0, 1.0), Flow()), scale=(0.5, 2.0)))
    def the_posterior_variance_is_geometric(variance_clock_grid, process, scale):
        times = np.asarray(variance_clock_grid(process, scale, 20, 1e-6))
        alpha, sigma = process.alpha(times), process.sigma(times)
        left = sigma**2 / (alpha**2 * scale**2 + sigma**2)
        yield "ratios", np.diff(np.log(left)), np.full(20, math.log(1e-6 / left[0]) / 20)
        yield "end", left[-1], 1e-6
        yield "start", times[0], process.T

    @bound(tight=0.05)
    def fewer_violations_than_equal_steps(variance_clock_grid):
        """Guided Euler steps of one number, with a fixed seed: violations against those of steps equal in t."""
        process, n = VP(0.1, 20.0, 1.0), 60
        fine = _violations(process, variance_clock_grid(process, 0.9, n, 1e-5))
        even = _violations(process, np.linspace(1.0, 1e-4, n + 1))
        return fine, 0.25 * even

    refuses = [
        (variance_clock_grid, VP(), 1.0, 0, 0.1),
        (variance_clock_grid, VP(), 0.0, 5, 0.1),
        (variance_clock_grid, VP(), 1.0, 5, 1.0),
        (partial(variance_clock_grid, start=2.0), VP(), 1.0, 5, 0.1),
    ]

    mutants = {
        "deviation for variance": wrong(variance_clock_grid, last=lambda last: last**0.5),
        "data of deviation one": wrong(variance_clock_grid, scale=lambda: 1.0),
        "equal in t": wrong(
            variance_clock_grid, lambda value: tuple(np.linspace(value[0], value[-1], len(value)))
        ),
    }


def _violations(process: Any, times: Any) -> float:
    """How often guided Euler-Maruyama steps end outside of the half-space, by 20,000 paths."""
    m, s, level = 0.4, 0.9, 2.0
    rng = np.random.default_rng(4)
    x = rng.standard_normal(20_000)
    for t, then in itertools.pairwise(times):
        alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
        v = alpha**2 * s**2 + sigma**2
        gain, left = alpha * s**2 / v, s * sigma / math.sqrt(v)
        zeta = (m + gain * (x - alpha * m) - level) / left
        pull = gain / left * np.exp(-0.5 * zeta**2 - 0.5 * math.log(2.0 * math.pi) - log_ndtr(zeta))
        a = float(process.diffusion(0.0, t))
        drift = 0.5 * a * x + a * (-(x - alpha * m) / v + pull)
        x = x + (t - then) * drift + math.sqrt(a * (t - then)) * rng.standard_normal(x.shape)
    alpha, sigma = float(process.alpha(times[-1])), float(process.sigma(times[-1]))
    v = alpha**2 * s**2 + sigma**2
    return float(np.mean(m + alpha * s**2 / v * (x - alpha * m) < level))


@claim(
    "DOOB-STORE-1",
    "Trajectories and their labels are what they say",
    r"""x_{k+1} = x_k + (t_k - t_{k+1})\big(\tfrac12\beta x_k + \beta s\big) + \sqrt{\beta(t_k - t_{k+1})}\,Z_k, \qquad
        1_A(x_N)""",
    covers=[collect],
)
class Store:
    @exact(1e-12)
    def a_loop_of_its_own(collect):
        """The same normal numbers, by the formula; and pairs are states at their times."""
        process, event = VP(0.1, 8.0, 1.0), half_space([1.0, 1.0], 0.3)
        grid = (1.0, 0.7, 0.35, 0.05)
        x = np.random.default_rng(1).standard_normal((50, 2))
        store = collect(process, lambda x, t: -0.9 * x, event, grid, x, 7)
        noise = NumpySource(np.random.default_rng(7))
        states = [x]
        for t, then in itertools.pairwise(grid):
            beta = 0.1 + 7.9 * t
            x = (
                x
                + (t - then) * (0.5 * beta * x - 0.9 * beta * x)
                + math.sqrt(beta * (t - then)) * noise.normal(x)
            )
            states.append(x)
        yield "states", store.states, np.stack(states)
        yield "labels", store.hits, (x.sum(axis=1) >= 0.3).astype(float)
        other = store.relabelled(half_space([1.0, 0.0], 0.0, below=True))
        yield "labels of another event", other.hits, (x[:, 0] <= 0.0).astype(float)
        points, times, hits = store.pairs(3)
        where = [grid.index(float(t)) for t in times]
        yield "pairs", points, np.stack(states)[where, np.arange(50)]
        yield "before the end", float(max(where)), 2.0
        yield "their labels", hits, store.hits

    refuses = [
        (
            partial(collect, eta=0.0),
            VP(),
            lambda x, t: -x,
            half_space([1.0], 0.0),
            [1.0, 0.5],
            np.ones((2, 1)),
            0,
        ),
        (collect, VP(), lambda x, t: -x, half_space([1.0], 0.0), [1.0, 0.5], np.ones((2, 2)), 0),
    ]

    mutants = {
        "labels of the start": wrong(
            collect, lambda value, event: replace(value, hits=event.contains(value.states[0]).astype(float))
        ),
        "labels of the complement": wrong(collect, lambda value: replace(value, hits=1.0 - value.hits)),
        "half of the noise": wrong(collect, eta=lambda eta: 0.5 * eta),
        "states backwards": wrong(collect, lambda value: replace(value, states=value.states[::-1])),
    }
