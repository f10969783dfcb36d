"""Where what is taken ends: every row is taken at the last value inside, and refused at the first one outside.

A refusal that is tried at an extreme only does not notice a bound that has moved by one, ``>`` for ``>=``, or an
``or`` that has become an ``and``: each bound has a row of its own, with all else as it should be. Grids and events.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from driftproof.numerics import art, doob
from driftproof.theory import art as clocks
from driftproof.theory import doob as events
from driftproof.theory.laws import Gaussian
from driftproof.theory.processes import VE, VP, Flow
from tests.refusals import ABOVE_1, BELOW_1, INF, NAN, TINY, Row, faults, ones, zeros


def of_art() -> Iterator[Row]:
    quiet = zeros(2, 3)
    yield (
        "noise",
        lambda e: art.clock_rollout(ones, ones, e, 1.0, 0.1),
        [zeros(1, 1)],
        [zeros(0, 3), zeros(3, 0), zeros(3)],
    )
    yield "horizon", lambda T: art.clock_rollout(ones, ones, quiet, T, 0.1), [1e-3], [0.0, INF]
    yield "exploration", lambda e: art.clock_rollout(ones, ones, quiet, 1.0, e), [0.0, 1e3], [-TINY, INF]
    yield (
        "Q",
        lambda q: art.clock_rollout(lambda x: q * ones(x), ones, quiet, 1.0, 0.0),
        [1e-200],
        [0.0, INF, NAN],
    )
    td = art.clock_td_errors
    yield (
        "values",
        lambda v: td(v, quiet, ones(quiet), 0.5),
        [zeros(2, 4)],
        [zeros(2, 3), zeros(2, 5), zeros(3, 4), zeros(4)],
    )
    yield "speed", lambda v: td(zeros(2, 4), v, ones(quiet), 0.5), [zeros(2, 3)], [zeros(2, 4), zeros(1, 3)]
    yield "n of rho_grid", lambda n: art.rho_grid(n, 0.1, 1.0), [1], [0]
    yield "levels of rho_grid", lambda low: art.rho_grid(2, low, 1.0), [0.0, BELOW_1], [1.0, ABOVE_1]
    yield "levels of the power inf", lambda low: art.rho_grid(2, low, 1.0, INF), [1e-300], [0.0]
    yield "n of shifted_grid", lambda n: art.shifted_grid(n, 2.0), [1], [0]
    yield (
        "levels",
        lambda x: art.resample_levels(x, 2),
        [[2.0, 1.0], [2.0, 1.0, 0.0]],
        [[], [1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, -1.0, 0.0]],
    )
    yield "n with a zero", lambda n: art.resample_levels([2.0, 1.0, 0.0], n), [2], [1]
    yield "n without a zero", lambda n: art.resample_levels([2.0, 1.0], n), [1], [0]
    yield "levels to churn", lambda x: art.churn_rates(x, 1.0), [[1.0, 0.5]], [[1.0], 1.0]
    yield (
        "churn",
        lambda g: art.churned_ratio([2.0, 1.0, 0.5], 1.0, g),
        [[0.1, 0.2]],
        [[0.1], [0.1, 0.2, 0.3]],
    )

    def learned(**other: Any) -> Any:
        return art.learn_clock(ones, 1.0, **{"steps": 2, "rng": 0, "rounds": 4, "paths": 6, **other})

    yield "steps", lambda k: learned(steps=k), [2], [1]
    yield "rounds", lambda k: learned(rounds=k), [4], [3]
    yield "paths", lambda k: learned(paths=k), [6, 8], [4, 5, 7]
    yield "rate", lambda k: learned(rate=k), [1.0], [0.0, ABOVE_1]
    yield "n of positions", lambda n: learned().positions(n), [1], [0]
    table = np.triu(np.ones((3, 3)), 1)
    yield "n of best_subgrid", lambda n: art.best_subgrid(table, n), [1, 2], [0, 3]
    yield "growth", lambda g: art.best_subgrid(table, 2, g), [1e-3], [0.0, INF]
    yield (
        "costs",
        lambda c: art.best_subgrid(c, 1),
        [table, np.where(table > 0.0, table, NAN)],
        [table[:2], table[0], np.where(table > 0.0, NAN, table), np.where(table > 0.0, INF, table)],
    )
    yield (
        "step",
        lambda h: art.path_acceleration(lambda x, t: x * t, np.ones(2), np.asarray(0.5), None, h),
        [0.0, 1e-3],
        [-TINY, INF],
    )
    yield "acceleration", art.mean_stiffness, [np.ones((1, 1))], [zeros(0, 1), zeros(1, 0), zeros(3)]
    levels, q = [2.0, 1.0, 0.5], [1.0, 2.0, 4.0]
    yield "n of order_grid", lambda n: art.order_grid(levels, q, n), [1], [0]
    yield "order", lambda k: art.order_grid(levels, q, 2, k), [1], [0]
    yield "last level", lambda x: art.order_grid([2.0, 1.0, x], q, 2), [0.0, 0.9], [-TINY, 1.0, NAN]
    yield "first level", lambda x: art.order_grid([x, 1.0, 0.5], q, 2), [1.1], [1.0, INF]
    yield "Q of order_grid", lambda v: art.order_grid(levels, [1.0, 2.0, v], 2), [1e-300], [0.0, INF, NAN]
    yield "numbers of order_grid", lambda k: art.order_grid(levels[:k], q[:k], 2), [2, 3], [0, 1]


def of_clocks() -> Iterator[Row]:
    yield (
        "grid",
        lambda g: clocks.ancestral_deficit(g, 1.0),
        [[1.0, 0.0], [1.0, 1.0]],
        [1.0, [1.0], [1.0, ABOVE_1], [0.0, 0.0], [1.0, 0.0, 0.0]],
    )
    yield (
        "b",
        lambda b: clocks.ancestral_deficits(1.0, b, 1.0, 0.5),
        [1.0, 0.5],
        [ABOVE_1, math.nextafter(0.5, 0.0)],
    )
    yield "horizon", lambda T: clocks.ClockProblem(ones, T), [1e-3], [0.0, -1.0, INF]
    problem = clocks.ClockProblem(ones, 1.0)
    yield "position", problem.length, [0.0, 1.5, [0.0, 1.0]], [-TINY, [1.0, -TINY]]
    yield "time", problem.clock, [0.0, 1.0], [-TINY, ABOVE_1, [0.5, ABOVE_1], [0.5, -TINY]]
    yield "time left", lambda t: problem.rate(t, 0.5), [0.0, BELOW_1], [1.0, [0.0, 1.0]]
    yield "exploration", lambda e: problem.policy(0.5, 0.5, e), [TINY], [0.0, NAN]
    yield "levels", lambda g: clocks.euler_ratio(g, 1.0), [[1.0, 0.5]], [1.0, [1.0]]
    yield "alpha beside zero", lambda a: clocks.euler_ratio([1.0, 0.0], 1.0, a), [TINY], [0.0]
    for name in ("tangent_grid", "ancestral_grid"):
        make = getattr(clocks, name)
        yield f"n of {name}", lambda n, make=make: make(n, 1.0, 0.1, 1.0), [1], [0]  # type: ignore[misc]
        yield f"levels of {name}", lambda low, make=make: make(2, 1.0, low, 1.0), [0.0, BELOW_1], [1.0]  # type: ignore[misc]
    yield "n of flow_grid", lambda n: clocks.flow_grid(n, 1.0), [1], [0]
    yield "n of equidistribute", lambda n: clocks.equidistribute(ones, n, 0.1, 1.0), [1], [0]
    yield (
        "least level",
        lambda low: clocks.equidistribute(ones, 2, low, 1.0),
        [0.0, 0.99],
        [-TINY, 1.0, ABOVE_1],
    )
    yield "greatest level", lambda high: clocks.equidistribute(ones, 2, 0.1, high), [0.2], [0.1, INF]
    yield (
        "density",
        lambda v: clocks.equidistribute(lambda x: v * ones(x), 2, 0.1, 1.0),
        [1e-200],
        [0.0, INF, NAN],
    )
    yield "scale of error_constant", lambda s: clocks.error_constant(ones, s, 0.1, 1.0), [1e-3], [0.0, INF]
    yield "scales", lambda s: clocks.scale_weights(s, 0.1, 1.0), [[1.0]], [[]]


def of_doob() -> Iterator[Row]:
    yield "interval", lambda low: doob.truncated_normal(low, 1.0, 0), [BELOW_1, -INF], [1.0, ABOVE_1]
    slab = events.Slab(np.asarray([1.0, 0.5]), 0.5, 2.0)
    yield (
        "mean",
        lambda m: doob.finish(slab, m, np.eye(2), 0),
        [zeros(2), zeros(3, 2)],
        [zeros(3), zeros(1), np.asarray(0.0)],
    )
    yield (
        "covariance",
        lambda c: doob.finish(slab, zeros(2), c, 0),
        [np.eye(2)],
        [np.eye(3), np.ones(2), np.ones((1, 2, 2))],
    )
    clock = doob.variance_clock_grid
    yield "scale", lambda s: clock(VP(), s, 2, 1e-3), [0.5], [0.0, INF]
    yield "steps", lambda n: clock(VP(), 1.0, n, 1e-3), [1], [0, 1.5, True]
    yield "start", lambda t: clock(VP(0.1, 1.0, 1.0), 1.0, 2, 1e-3, start=t), [1.0], [ABOVE_1, 0.0]
    first = 1.0 / 2.0  # sigma^2 / (alpha^2 s^2 + sigma^2) of a flow in the middle of its way
    yield "last", lambda c: clock(Flow(), 1.0, 2, c, start=0.5), [1e-6, first - 1e-9], [0.0, first + 1e-9]

    def particles(steps: int = 1, threshold: float = 0.5, twist: Any = 0.0) -> Any:
        return doob.twisted_particles(
            zeros(2), lambda k, x, noise: (x, 0.0), lambda k, x: x + twist, steps, 0, threshold=threshold
        )

    yield "steps of particles", lambda n: particles(steps=n), [1], [0]
    yield "threshold", lambda c: particles(threshold=c), [0.0, 1.0], [-TINY, ABOVE_1]
    yield (
        "twist",
        lambda v: particles(twist=np.asarray(v)),
        [[0.0, -INF]],
        [[0.0, INF], [NAN, 0.0], [[0.0, 0.0]] * 2],
    )

    def split(levels: list[float], moves: int = 1) -> Any:
        return doob.multilevel_splitting(
            np.asarray([0.3, 1.5, 2.2]), lambda x: x, levels, lambda x, noise: x, 0, moves=moves
        )

    yield (
        "levels",
        split,
        [[0.5], [0.5, math.nextafter(0.5, 1.0)]],
        [[], [0.5, 0.5], [1.0, 0.5], [0.5, INF], [-INF, 0.5]],
    )
    yield "moves", lambda n: split([0.5], n), [1], [0]
    yield "d", doob.covariation_noise, [1], [0]
    yield "repeats", lambda n: doob.covariation_noise(2, n), [1], [0]

    def collected(eta: float = 1.0, start: Any = None) -> Any:
        start = zeros(1, 2) if start is None else start
        return doob.collect(VP(), lambda x, t: -x, slab, [1.0, 0.5], start, 0, eta=eta)

    yield "eta", lambda e: collected(e), [0.5], [0.0, -1.0]
    yield "starts", lambda x: collected(start=x), [zeros(3, 2)], [zeros(2), zeros(3, 1), zeros(1, 3, 2)]
    yield (
        "to the data",
        lambda s: doob.guided_state(zeros(1), zeros(1), 1.0, 0.5, 1.0, s),
        [0.5, 0.0],
        [math.nextafter(0.5, 1.0)],
    )


def of_events() -> Iterator[Row]:
    normal = np.asarray([1.0, 0.5])
    yield "d", lambda d: events.log_ball(1.0, 0.5, d), [1], [0]
    yield "slab", lambda low: events.Slab(normal, low, 1.0), [BELOW_1, -INF], [1.0, ABOVE_1]
    yield "normal", lambda n: events.Slab(np.asarray(n)), [[0.0, 1e-3]], [[0.0, 0.0], [], 1.0, [[1.0, 0.0]]]
    yield (
        "normals",
        lambda n: events.Orthant(np.asarray(n), zeros(len(n))),
        [np.eye(2)],
        [np.eye(3), [[1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]],
    )
    yield "levels", lambda v: events.Orthant(np.eye(2), v), [zeros(2)], [zeros(1), zeros(3), np.asarray(0.0)]
    yield (
        "box",
        lambda low: events.Box(np.asarray(low), np.ones(2)),
        [[BELOW_1, 0.0]],
        [[1.0, 0.0], [0.0, 1.0], [0.0], [[0.0, 0.0]]],
    )
    yield "centre", lambda c: events.Ball(c, 1.0), [zeros(1)], [zeros(0), np.asarray(0.0), zeros(1, 1)]
    above, below = events.half_space(normal, 2.0), events.half_space(normal, -2.0, below=True)
    yield "parts", events.Union, [[above, below]], [[], [above], [above, events.half_space(np.ones(3), 0.0)]]
    yield "divergence", events.total_variation_bound, [0.0], [-TINY, NAN]
    bound = events.wasserstein_bound
    yield "scale", lambda s: bound(VP(), s, lambda t: 0.1), [1e-3], [0.0, INF]
    yield "error", lambda e: bound(VP(), 1.0, lambda t: e), [0.0], [-TINY, NAN]
    yield "start", lambda s: bound(VP(), 1.0, lambda t: 0.1, s), [0.0], [-TINY, NAN]
    for process, inside, outside in (
        (VP(0.1, 1.0, 1.0), [1e-3, 1.0], [0.0, ABOVE_1]),
        (VE(0.1, 2.0, 1.0), [1.0], [0.0, ABOVE_1]),
        (Flow(), [BELOW_1], [0.0, 1.0]),
    ):
        yield "stop", lambda t, process=process: bound(process, 1.0, lambda u: 0.1, stop=t), inside, outside  # type: ignore[misc]
    data = Gaussian(np.zeros(1), np.eye(1))
    found = events.require_start(VP(0.1, 3.0, 1.0), Gaussian(np.ones(1), np.eye(1)), 1.0)
    yield (
        "nats",
        lambda m: events.require_start(VP(0.1, 3.0, 1.0), Gaussian(np.ones(1), np.eye(1)), m),
        [found],
        [math.nextafter(found, 0.0)],
    )

    def measured(operator: Any = ((1.0,),), noise: float = 0.1, y: Any = (0.5,)) -> Any:
        return events.measurement_guidance(
            VP(), data, np.asarray(operator), noise, np.asarray(y), np.zeros(1), 0.5
        )

    yield "noise", lambda v: measured(noise=v), [1e-6], [0.0, INF]
    yield "operator", lambda a: measured(operator=a), [[[1.0]]], [[1.0], [[1.0, 1.0]], [[1.0], [2.0]]]
    yield "y", lambda y: measured(y=y), [[0.5]], [0.5, [0.5, 0.5]]
    yield (
        "chain",
        lambda s: events.chain_twists(np.log(np.full(s, 0.5)), zeros(2)),
        [(1, 2, 2)],
        [(2, 2), (0, 2, 2), (1, 2, 3)],
    )


@pytest.mark.parametrize("rows", [of_art, of_clocks, of_doob, of_events], ids=lambda rows: rows.__name__)
def test_bounds_are_where_they_are_said_to_be(rows: Any) -> None:
    found = faults(rows())
    assert not found, "\n".join(found)
