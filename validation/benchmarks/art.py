"""Grids beside the optimum: what each leaves of the Wasserstein distance, and what it costs to make.

Ours are closed forms, and for several scales a fixed point; the peer is a numerical optimum of the very distance: a
descent in the logarithms of the levels from four grids, of which the least counts.  The note has the distance that
every grid leaves, over the least one that is known; ART is that of the data's deviation.  For a mixture no closed form is known: ours is the grid of equal
angles for its deviation, and the distance is that of quantiles, which Euler's steps keep in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import ndtr

from driftproof.numerics.art import rho_grid
from driftproof.theory.art import (
    ancestral_deficit,
    ancestral_grid,
    equidistribute,
    grid_w2,
    level_density,
    optimal_grid,
    std_error,
    tangent_grid,
)

from . import Row
from ._timing import one_thread, row, seconds

__all__ = ["run"]

LOW, HIGH, S = 0.002, 80.0, 0.5
SCALES = (0.05, 0.3, 1.0, 2.0)
MEANS, WIDTH = np.asarray([-2.0, -0.5, 1.0, 2.5]), 0.25
STEPS = (4, 10, 20)
DEVIATION = float(np.sqrt(np.var(MEANS) + WIDTH**2))  # of the mixture
MEAN_SCALE = float(np.sqrt(np.mean(np.square(SCALES))))

Loss = Callable[[Any], float]
Make = Callable[[int], Any]


def run() -> list[Row]:
    """Euler, Heun and ancestral on a Gaussian, Euler on four scales and on a mixture of four."""
    cases: list[tuple[str, float, Loss, str, Make]] = [
        (
            "Gaussian, Euler",
            S,
            lambda g: abs(float(std_error(g, S))),
            "tangent_grid",
            lambda n: tangent_grid(n, S, LOW, HIGH),
        ),
        (
            "Gaussian, Heun",
            S,
            lambda g: abs(float(std_error(g, S, "heun"))),
            "the density of Heun",
            lambda n: equidistribute(lambda x: level_density(x, S, "heun"), n, LOW, HIGH),
        ),
        (
            "Gaussian, ancestral",
            S,
            lambda g: 1.0 - math.sqrt(1.0 - float(ancestral_deficit(g, S))),
            "ancestral_grid",
            lambda n: ancestral_grid(n, S, LOW, HIGH),
        ),
        (
            "four scales, Euler",
            MEAN_SCALE,
            lambda g: float(grid_w2(g, np.asarray(SCALES))),
            "optimal_grid",
            lambda n: optimal_grid(SCALES, n, LOW, HIGH),
        ),
        (
            "mixture, Euler",
            DEVIATION,
            _Mixture().distance,
            "tangent_grid of its deviation",
            lambda n: tangent_grid(n, DEVIATION, LOW, HIGH),
        ),
    ]
    with one_thread():
        return [_row(*case, n) for case in cases for n in STEPS]


def _row(name: str, s: float, loss: Loss, ours: str, make: Make, n: int) -> Row:
    others: Mapping[str, Make] = {
        "ART": lambda n: equidistribute(lambda x: level_density(x, s, "art"), n, LOW, HIGH),
        "log-SNR": lambda n: rho_grid(n, LOW, HIGH, math.inf),
        "EDM": lambda n: rho_grid(n, LOW, HIGH, 7.0),
        "uniform": lambda n: rho_grid(n, LOW, HIGH, 1.0),
    }
    grids = {"ours": make(n), **{other: grid(n) for other, grid in others.items()}}
    starts = [grids[key] for key in ("ours", "ART", "log-SNR", "EDM")]
    left = {key: loss(grid) for key, grid in grids.items()}
    found: list[float] = []
    spent = seconds(
        {"ours": lambda: make(n), "theirs": lambda: found.append(_descent(loss, starts))}, repeats=1
    )
    least = min(found[0], *left.values())
    shares = ", ".join(f"{key} {value / least:.3f}" for key, value in left.items())
    note = f"{ours}; distance over the least one: {shares}"
    return row(f"{name}, {n} steps", spent["ours"], "scipy: BFGS from 4 grids", spent["theirs"], note)


def _descent(loss: Loss, starts: list[Any]) -> float:
    """The least distance that a descent finds, from any of the grids; levels are kept in order."""

    def of(logs: Any) -> float:
        return loss(np.concatenate([[HIGH], np.sort(np.clip(np.exp(logs), LOW, HIGH))[::-1], [LOW]]))

    return min(float(minimize(of, np.log(start[1:-1]), method="BFGS").fun) for start in starts)


class _Mixture:
    """Quantiles of an even mixture at the first level, run down by Euler, and at the last."""

    def __init__(self) -> None:
        share = (np.arange(400) + 0.5) / 400
        self.first, self.last = (self._quantiles(share, math.hypot(WIDTH, level)) for level in (HIGH, LOW))

    @staticmethod
    def _quantiles(share: Any, width: float) -> Any:
        reach = float(np.abs(MEANS).max()) + 9.0 * width
        return np.asarray(
            [
                brentq(lambda x, u=u: float(np.mean(ndtr((x - MEANS) / width))) - u, -reach, reach)
                for u in share
            ]
        )

    def distance(self, grid: Any) -> float:
        """The root mean square of the differences of quantiles."""
        x = self.first
        for a, b in pairwise(grid):
            variance = WIDTH**2 + a * a
            log = -0.5 * (x[:, None] - MEANS) ** 2 / variance
            weight = np.exp(log - log.max(axis=1, keepdims=True))
            mean = weight @ MEANS / weight.sum(axis=1)
            x = x + (b - a) * a * (x - mean) / variance  # -a times the score
        return float(np.sqrt(np.mean((np.sort(x) - self.last) ** 2)))
