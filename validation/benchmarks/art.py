"""Grids beside the optimum: what each leaves of the Wasserstein distance, and what it costs to make.

Ours are closed forms, and for several scales a fixed point; the peer is a numerical optimum of the very distance: a
descent in the logarithms of the levels from four grids, of which the least counts.  The note has the distance that
every grid leaves, over the least one that is known; ART and AYS (its bound's optimum) are those of the data's
deviation.  DM-NonUniform knows no data.  GITS, GITS with errors carried to the end, and the recursion of optimal stepsizes choose
among 61 of Karras' levels from the exact run of Euler's flow.  For a mixture no closed form is known: ours is the grid of equal
angles for its deviation, and the distance is that of quantiles, which Euler's steps keep in order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import ndtr

from driftproof.numerics.art import (
    best_subgrid,
    departures,
    nearest_subgrid,
    nonuniform_grid,
    rho_grid,
)
from driftproof.theory.art import (
    ancestral_deficit,
    ancestral_grid,
    equidistribute,
    grid_w2,
    level_density,
    optimal_grid,
    path_kl_grid,
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

FINE = rho_grid(60, LOW, HIGH)  # what a teacher goes through


@final
@dataclass(frozen=True)
class _Teacher:
    """States (61, B, d) of the flow at the fine levels, and its velocity."""

    states: Any
    velocity: Callable[[Any, Any], Any]

    def grids(self) -> dict[str, Make]:
        """The grids that are made of a run."""
        slopes = np.stack([self.velocity(x, t) for x, t in zip(self.states, FINE, strict=True)])
        # What the flow multiplies an error by until the end: the ratio of deviations, exact on one scale.
        size = np.sqrt(np.mean(self.states**2, axis=(1, 2)))
        plain, carried = (departures(self.states, slopes, FINE, gain) for gain in (None, size[-1] / size))
        return {
            "GITS": lambda n: FINE[best_subgrid(plain, n, 1.15)[0]],
            "GITS carried": lambda n: FINE[best_subgrid(carried, n)[0]],
            "stepsizes": lambda n: FINE[nearest_subgrid(self.velocity, self.states, FINE, n)[0]],
        }


def _gaussian(scales: Any) -> _Teacher:
    """A sample at the deviation of every axis."""
    scales = np.asarray(scales)
    states = np.hypot(scales, FINE[:, None])[:, None, :]
    return _Teacher(states, lambda x, t: t * x / (scales**2 + t * t))


def run() -> list[Row]:
    """Euler, Heun and ancestral on a Gaussian, Euler on four scales and on a mixture of four."""
    mixture, gaussian = _Mixture(), _gaussian([S])
    cases: list[tuple[str, float, Loss, str, Make, _Teacher]] = [
        (
            "Gaussian, Euler",
            S,
            lambda g: abs(float(std_error(g, S))),
            "tangent_grid",
            lambda n: tangent_grid(n, S, LOW, HIGH),
            gaussian,
        ),
        (
            "Gaussian, Heun",
            S,
            lambda g: abs(float(std_error(g, S, "heun"))),
            "the density of Heun",
            lambda n: equidistribute(lambda x: level_density(x, S, "heun"), n, LOW, HIGH),
            gaussian,
        ),
        (
            "Gaussian, ancestral",
            S,
            lambda g: 1.0 - math.sqrt(1.0 - float(ancestral_deficit(g, S))),
            "ancestral_grid",
            lambda n: ancestral_grid(n, S, LOW, HIGH),
            gaussian,
        ),
        (
            "four scales, Euler",
            MEAN_SCALE,
            lambda g: float(grid_w2(g, np.asarray(SCALES))),
            "optimal_grid",
            lambda n: optimal_grid(SCALES, n, LOW, HIGH),
            _gaussian(SCALES),
        ),
        (
            "mixture, Euler",
            DEVIATION,
            mixture.distance,
            "tangent_grid of its deviation",
            lambda n: tangent_grid(n, DEVIATION, LOW, HIGH),
            mixture.teacher(),
        ),
    ]
    with one_thread():
        return [_row(*case, n) for case in cases for n in STEPS]


def _row(name: str, s: float, loss: Loss, ours: str, make: Make, teacher: _Teacher, n: int) -> Row:
    others: Mapping[str, Make] = {
        **teacher.grids(),
        "AYS": lambda n: path_kl_grid(n, s, LOW, HIGH),
        "DM-NonUniform": _nonuniform,
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


@functools.cache
def _nonuniform(n: int) -> Any:
    """The same for every case."""
    return nonuniform_grid(n, LOW, HIGH)


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

    def teacher(self) -> _Teacher:
        """Quantiles by twenty steps of Euler between fine levels."""
        states = [self.first]
        for a, b in pairwise(FINE):
            states.append(self._run(states[-1], rho_grid(20, b, a)))
        return _Teacher(np.stack(states)[..., None], lambda x, t: self._slope(x[..., 0], t)[..., None])

    @staticmethod
    def _slope(x: Any, a: Any) -> Any:
        """Minus a times the score."""
        variance = WIDTH**2 + a * a
        log = -0.5 * (x[:, None] - MEANS) ** 2 / variance
        weight = np.exp(log - log.max(axis=1, keepdims=True))
        mean = weight @ MEANS / weight.sum(axis=1)
        return a * (x - mean) / variance

    def _run(self, x: Any, grid: Any) -> Any:
        for a, b in pairwise(grid):
            x = x + (b - a) * self._slope(x, a)
        return x

    def distance(self, grid: Any) -> float:
        """The root mean square of the differences of quantiles."""
        x = self._run(self.first, grid)
        return float(np.sqrt(np.mean((np.sort(x) - self.last) ** 2)))
