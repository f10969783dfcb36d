"""The other side of the evidence: solvers run step by step at fifty digits, and grids as their makers write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import mpmath as mp
import numpy as np

__all__ = ["SETTING", "ancestral", "edm", "euler", "euler_flow", "exact", "geometric", "heun", "local_orders"]

SETTING = (0.5, 0.002, 80.0)  # s, sigma_min, sigma_max of EDM

mp.mp.dps = 50


def exact(grid: Sequence[float], s: float) -> Any:
    """What the probability flow multiplies a state by, from the first level to the last."""
    s, a, b = (mp.mpf(float(v)) for v in (s, grid[0], grid[-1]))
    return mp.sqrt((s * s + b * b) / (s * s + a * a))


def euler(grid: Sequence[float], s: float) -> Any:
    """The ratio of standard deviations, by steps x += (b - a) F(x, a) of Euler's method."""
    x, s = mp.mpf(1), mp.mpf(s)
    for a, b in pairwise(mp.mpf(float(level)) for level in grid):
        x += (b - a) * a * x / (s * s + a * a)
    return x / exact(grid, s)


def heun(grid: Sequence[float], s: float) -> Any:
    """The same for EDM's algorithm 1: Heun, with an Euler step to the level 0."""
    x, s = mp.mpf(1), mp.mpf(s)
    for a, b in pairwise(mp.mpf(float(level)) for level in grid):
        slope = a * x / (s * s + a * a)
        ahead = x + (b - a) * slope
        x = ahead if b == 0 else x + (b - a) * (slope + b * ahead / (s * s + b * b)) / 2
    return x / exact(grid, s)


def euler_flow(times: Sequence[float], s: float) -> Any:
    """Euler on the velocity z - x_0 of the linear flow, over the exact deviation of its end."""
    x, s = mp.mpf(1), mp.mpf(s)
    for t, u in pairwise(mp.mpf(float(time)) for time in times):
        x += (u - t) * x * (t - (1 - t) * s * s) / ((1 - t) ** 2 * s * s + t * t)
    first, last = mp.mpf(float(times[0])), mp.mpf(float(times[-1]))
    start, end = (mp.sqrt(((1 - t) * s) ** 2 + t * t) for t in (first, last))
    return x * start / end


def ancestral(grid: Sequence[float], s: float) -> Any:
    """The share of the variance that is lost by k-diffusion's `sample_euler_ancestral`, from the exact start."""
    s = mp.mpf(s)
    variance = s * s + mp.mpf(float(grid[0])) ** 2
    for a, b in pairwise(mp.mpf(float(level)) for level in grid):
        up = mp.sqrt(b * b * (a * a - b * b) / (a * a))
        down = mp.sqrt(b * b - up * up)
        factor = 1 + (down - a) * a / (s * s + a * a)  # d = (x - denoised) / sigma
        variance = factor * factor * variance + up * up
    return 1 - variance / (s * s + mp.mpf(float(grid[-1])) ** 2)


def geometric(n: int, low: float, high: float) -> Any:
    """Equal steps of the logarithm."""
    return np.geomspace(high, low, n + 1)


def edm(n: int, low: float, high: float, rho: float = 7.0) -> Any:
    """Karras et al., eq. (5), from the first level to the last."""
    up = np.arange(n + 1) / n
    return (high ** (1 / rho) + up * (low ** (1 / rho) - high ** (1 / rho))) ** rho


def local_orders(error: Callable[[int], float], sizes: Sequence[int]) -> tuple[list[float], float]:
    """Orders between sizes of ratio two, and the last error."""
    errors = [abs(error(n)) for n in sizes]
    return [float(np.log2(a / b)) for a, b in pairwise(errors)], errors[-1]
