"""Grids end exactly where they are said to: what comes next divides by the last level, or branches where it is 0."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from driftproof.numerics import art, doob
from driftproof.theory import art as clocks
from driftproof.theory.processes import VP, Flow

LOW, HIGH = 0.0017, 81.3  # no rounding of a power or of a sine gives them back by chance
TABLE = [HIGH, 7.1, 0.31, LOW]
CLOCK = art.LearnedClock(np.asarray([0.0, 0.31, 1.7]), np.asarray([1.0, 0.2, 3.0]), 0.0, 1)

GRIDS: dict[str, tuple[Callable[[int], Any], float, float]] = {
    "tangent_grid": (lambda n: clocks.tangent_grid(n, 0.7, LOW, HIGH), HIGH, LOW),
    "tangent_grid to 0": (lambda n: clocks.tangent_grid(n, 0.7, 0.0, HIGH), HIGH, 0.0),
    "ancestral_grid": (lambda n: clocks.ancestral_grid(n, 0.7, LOW, HIGH), HIGH, LOW),
    "ancestral_grid to 0": (lambda n: clocks.ancestral_grid(n, 0.7, 0.0, HIGH), HIGH, 0.0),
    "flow_grid": (lambda n: clocks.flow_grid(n, 0.7), 1.0, 0.0),
    "equidistribute": (lambda n: clocks.equidistribute(lambda x: 1.0 / x, n, LOW, HIGH), HIGH, LOW),
    "optimal_grid": (lambda n: clocks.optimal_grid([0.3, 2.0], n, LOW, HIGH), HIGH, LOW),
    "rho_grid": (lambda n: art.rho_grid(n, LOW, HIGH), HIGH, LOW),
    "shifted_grid": (lambda n: art.shifted_grid(n, 3.0), 1.0, 0.0),
    "resample_levels": (lambda n: art.resample_levels(TABLE, n), HIGH, LOW),
    "resample_levels to 0": (lambda n: art.resample_levels([*TABLE, 0.0], n + 1), HIGH, 0.0),
    "order_grid": (lambda n: art.order_grid(TABLE, [1.0, 3.0, 2.0, 1.0], n), HIGH, LOW),
    "order_grid to 0": (lambda n: art.order_grid([*TABLE, 0.0], [1.0, 3.0, 2.0, 1.0, 1.0], n), HIGH, 0.0),
    "a learned clock": (lambda n: CLOCK.positions(n)[::-1], 1.7, 0.0),
}


@pytest.mark.parametrize("name", GRIDS)
def test_ends_are_exact_for_every_number_of_steps(name: str) -> None:
    make, first, last = GRIDS[name]
    for n in (1, 2, 3, 7, 10, 50, 64, 99):
        grid = np.asarray(make(n))
        steps = n + (name == "resample_levels to 0")
        assert grid.shape == (steps + 1,), n
        assert (grid[0], grid[-1]) == (first, last), n
        assert (np.diff(grid) < 0.0).all(), n


@pytest.mark.parametrize("process", [VP(0.1, 20.0, 1.0), Flow()])
def test_a_grid_of_the_clock_begins_where_it_is_told(process: Any) -> None:
    for start in (0.93, 0.31):
        for n in (1, 2, 7, 50):
            times = doob.variance_clock_grid(process, 0.7, n, 1e-4, start=start)
            assert len(times) == n + 1
            assert times[0] == start
            assert all(a > b > 0.0 for a, b in pairwise(times))
