r"""Second derivations: Bayes' formula integrated over the data, and the normal law at sixty digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, final

import mpmath as mp
import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from driftproof._random import Source
from driftproof.theory.processes import VE, VP

__all__ = [
    "Floats",
    "Given",
    "behind",
    "interval_of",
    "legendre",
    "moments_by_bayes",
    "normal_cdf",
    "normal_pdf",
    "runge_kutta",
    "scalar_levels",
    "share_below",
    "slices",
]

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Given(Source):
    """A source whose uniform and normal draws are given."""

    uniforms: Any
    normals: Any = 0.0

    def normal(self, like: Any) -> Any:
        return np.broadcast_to(self.normals, like.shape) + 0.0

    def uniform(self, like: Any) -> Any:
        return np.broadcast_to(self.uniforms, like.shape) + 0.0

    def gamma(self, shape: Any) -> Any:
        raise NotImplementedError

    def poisson(self, rate: Any) -> Any:
        raise NotImplementedError

    def adopt(self, xp: Any, values: Any) -> Any:
        return xp, values


def normal_cdf(x: Any) -> Any:
    """Phi in the working precision."""
    return mp.erfc(-mp.mpf(x) / mp.sqrt(2)) / 2


def normal_pdf(x: Any) -> Any:
    return mp.exp(-(mp.mpf(x) ** 2) / 2) / mp.sqrt(2 * mp.pi)


def interval_of(low: float, high: float) -> tuple[float, float]:
    """log P(low < Z < high) and E[Z | low < Z < high], at a hundred digits."""
    with mp.workdps(100):
        mirrored = low >= 0
        a, b = (-high, -low) if mirrored else (low, high)
        p = (normal_cdf(b) if b < mp.inf else 1) - (normal_cdf(a) if a > -mp.inf else 0)
        edge = [normal_pdf(v) if abs(v) < math.inf else mp.mpf(0) for v in (low, high)]
        return float(mp.log(p)), float((edge[0] - edge[1]) / p)


def share_below(low: float, z: float, high: float) -> float:
    """P(Z < z | low < Z < high), at a hundred digits."""
    with mp.workdps(100):

        def tail(a: float, b: float) -> Any:
            a, b = (-b, -a) if a >= 0 else (a, b)
            return (normal_cdf(b) if b < mp.inf else 1) - (normal_cdf(a) if a > -mp.inf else 0)

        return float(tail(low, z) / tail(low, high))


def legendre(low: float, high: float, panels: int, order: int = 20) -> tuple[Floats, Floats]:
    """Gauss's rule on equal panels."""
    x, w = _rule(order)
    edges = np.linspace(low, high, panels + 1)
    half = 0.5 * np.diff(edges)[:, None]
    return (edges[:-1, None] + half * (1.0 + x)).ravel(), (half * w).ravel()


@cache
def _rule(order: int) -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(order)


def behind(
    levels: tuple[float, float],
    weights: Any,
    means: Any,
    scales: Any,
    x: float,
    pieces: list[tuple[float, float]],
    power: int = 0,
) -> tuple[float, float]:
    r"""The logarithm of the integral of p_0(x_0) N(x; alpha x_0, sigma^2) over pieces of the line, and a moment.

    The data law is a mixture of normal laws on the line; pieces may have infinite ends.  Every integrand is divided by
    its largest value, so that nothing underflows.
    """
    alpha, sigma = levels
    total, first, top = 0.0, 0.0, -math.inf
    parts = []
    for low, high in pieces:
        for w, m, s in zip(weights, means, scales, strict=True):
            # The product of both normal laws is one in x_0, with this mode and width.
            precision = 1.0 / s**2 + (alpha / sigma) ** 2
            mode, width = (m / s**2 + alpha * x / sigma**2) / precision, precision**-0.5
            near = min(max(mode, low), high)
            # Where the mode is outside, the integrand falls by e^-u over a length width^2 / |near - mode|.
            reach = width * min(12.0, 45.0 * width / max(abs(near - mode), 1e-300))
            a, b = max(low, near - reach), min(high, near + reach)
            if near == mode:
                a, b = max(low, mode - 10.0 * width), min(high, mode + 10.0 * width)
            if a >= b:
                continue
            x0, dx = legendre(a, b, 12)
            logs = (
                math.log(w) - 0.5 * ((x0 - m) / s) ** 2 - math.log(s) - 0.5 * ((x - alpha * x0) / sigma) ** 2
            )
            parts.append((logs, x0, dx))
            top = max(top, float(np.max(logs)))
    for logs, x0, dx in parts:
        mass = np.exp(logs - top) * dx
        total += float(np.sum(mass))
        first += float(np.sum(mass * x0**power))
    return math.log(total) + top, first / total


def moments_by_bayes(
    levels: tuple[float, float], law: tuple[Any, Any, Any], x: float, pieces: list[tuple[float, float]]
) -> tuple[float, float]:
    """log h and E[X_0 | x, A] from two integrals over the data."""
    inside, mean = behind(levels, *law, x, pieces, power=1)
    whole, _ = behind(levels, *law, x, [(-math.inf, math.inf)])
    return inside - whole, mean


def scalar_levels(process: VP | VE, t: float) -> tuple[float, float, float, float]:
    """f = d log alpha/dt, the squared diffusion a, alpha and sigma^2, from the schedules' definitions."""
    if isinstance(process, VP):
        beta = process.beta_min + (process.beta_max - process.beta_min) * t / process.T
        whole = 0.5 * (process.beta_min + beta) * t
        return -0.5 * beta, beta, math.exp(-0.5 * whole), -math.expm1(-whole)
    growth = 2.0 * math.log(process.sigma_max / process.sigma_min) / process.T
    least = process.sigma_min**2
    return 0.0, least * growth * math.exp(growth * t), 1.0, least * math.expm1(growth * t)


def runge_kutta(speed: Callable[[float, float], float], value: float, steps: int = 1500) -> float:
    """Runge and Kutta's rule from noise time 1 down to 0, by steps that shrink towards the data like squares."""
    for k in range(steps):
        t, end = (1.0 - k / steps) ** 2, (1.0 - (k + 1) / steps) ** 2
        h = t - end
        one = speed(t, value)
        two = speed(t - 0.5 * h, value + 0.5 * h * one)
        three = speed(t - 0.5 * h, value + 0.5 * h * two)
        value += h / 6.0 * (one + 2.0 * two + 2.0 * three + speed(end, value + h * three))
    return value


def slices(
    mean: Any, cov: Any, ends: Callable[[float], list[tuple[float, float]]], breaks: tuple[float, ...] = ()
) -> float:
    """The probability of a set in the plane under N(mean, cov), from its slices {x_2 : (x_1, x_2) in A}."""
    m, c = np.asarray(mean, dtype=float), np.asarray(cov, dtype=float)
    s1, slope = math.sqrt(c[0, 0]), c[0, 1] / c[0, 0]
    s2 = math.sqrt(c[1, 1] - slope * c[0, 1])
    edges = sorted({m[0] - 9.0 * s1, *(b for b in breaks if abs(b - m[0]) < 9.0 * s1), m[0] + 9.0 * s1})
    total = 0.0
    for low, high in pairwise(edges):
        x, w = legendre(low, high, 24)
        centre = m[1] + slope * (x - m[0])
        for point, weight, c1 in zip(x, w, centre, strict=True):
            inside = sum(_between((a - c1) / s2, (b - c1) / s2) for a, b in ends(float(point)))
            total += (
                weight
                * inside
                * math.exp(-0.5 * ((point - m[0]) / s1) ** 2)
                / (s1 * math.sqrt(2.0 * math.pi))
            )
    return total


def _between(a: float, b: float) -> float:
    if a >= b:
        return 0.0
    return float(ndtr(b) - ndtr(a)) if a < 0 else float(np.exp(log_ndtr(-a)) - np.exp(log_ndtr(-b)))
