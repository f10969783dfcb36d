r"""The exact law of a run of ``sample``: no Monte Carlo.

On Gaussian data a run is affine in its start and in the noises that it draws.  One run on a batch of
columns, the start at 0 and at 1 and each draw at 1 in turn, gives all coefficients,

.. math:: Y_N = o + a\,Y_0 + \sum_k c_k Z_k, \qquad E Y_N = o + a\,E Y_0, \quad
    Var\,Y_N = a^2\,Var\,Y_0 + \sum_k c_k^2,

so that loop, conversion, history and step are under test together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from driftproof._namespace import Array, Namespace
from driftproof._random import Source
from driftproof.numerics.samplers import Method, time_of_ratio
from driftproof.theory.laws import Normal

__all__ = ["DATA", "OneHot", "clock_grid", "instead", "run", "terminal_errors"]

DATA = Normal(0.8, 0.5)
FIRST, LAST = 2.0, 0.1  # sigma / alpha at the ends of a run
LENGTH = float(np.log(FIRST / LAST))  # of the run, in the clock lambda


class OneHot(Source):
    """Draws that are 1 in one column and 0 in the others."""

    def __init__(self) -> None:
        self.drawn = 0

    def normal(self, like: Array) -> Array:
        z = np.zeros(like.shape)
        z[2 + self.drawn] = 1.0
        self.drawn += 1
        return z

    def uniform(self, like: Array) -> Array:
        raise NotImplementedError

    def gamma(self, shape: Array) -> Array:
        raise NotImplementedError

    def poisson(self, rate: Array) -> Array:
        raise NotImplementedError

    def adopt(self, xp: Namespace, values: tuple[Array, ...]) -> tuple[Namespace, tuple[Array, ...]]:
        return xp, values


def clock_grid(process: Any, steps: int, first: float = FIRST, last: float = LAST) -> list[float]:
    """Noise times at equal steps of lambda."""
    return [float(t) for t in time_of_ratio(process, np.geomspace(first, last, steps + 1))]


def instead(**rows: Method) -> Callable[[Any], Any]:
    """The ``method`` of a wrong ``sample``: others for those of these names."""
    return lambda method: rows.get(method, method) if isinstance(method, str) else method


def run(
    sample: Any, method: Any, process: Any, times: Sequence[float], eta: Any, data: Normal = DATA
) -> tuple[float, float]:
    """Mean and variance of a run of ``sample`` that starts at the exact law."""

    def score(x: Array, t: Array) -> Array:
        alpha, sigma = process.alpha_sigma(xp, t)
        return -(x - alpha * data.loc) / ((alpha * data.scale) ** 2 + sigma**2)

    start = np.zeros(len(times) + 1)  # N steps draw at most N times
    start[1] = 1.0
    end = sample(process, score, times, eta, OneHot(), method, start=start, disable=True)
    offset, slope, noises = end[0], end[1] - end[0], end[2:] - end[0]
    law = process.marginal(data, times[0])
    mean = offset + slope * float(law.mean)
    return float(mean), float(slope**2 * float(law.variance) + np.sum(noises**2))


def terminal_errors(
    sample: Any, method: Any, process: Any, eta: Any, counts: Sequence[int]
) -> np.ndarray[Any, Any]:
    """Errors of mean and variance at the end, one row a number of steps."""
    rows = []
    for steps in counts:
        times = clock_grid(process, steps)
        truth = process.marginal(DATA, times[-1])
        mean, variance = run(sample, method, process, times, eta)
        rows.append([mean - float(truth.mean), variance - float(truth.variance)])
    return np.asarray(rows)
