r"""Second derivations: scalar formulas on numpy alone, and paths whose expectations are finite sums.

Under Euler steps with affine actions every state is linear in the normal draws, so that estimators are
polynomials in them.  A cubature rule that is exact for polynomials of that degree turns an expectation into
a sum over a few hundred rows: no Monte Carlo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad

from driftproof._random import Source
from driftproof.numerics.score_as_action import Rollout, rollout
from driftproof.theory.processes import VP

__all__ = [
    "NODES",
    "PROCESS",
    "WEIGHTS",
    "Floats",
    "Given",
    "Scalar",
    "derivative",
    "directional",
    "extrapolate",
    "fifth_degree",
    "integral",
    "noise_times",
    "paths",
    "third_degree",
    "third_degree_paths",
]

Floats = NDArray[np.float64]

PROCESS = VP(0.1, 8.0, 1.0)  # alpha_T = 0.132: the prior is not yet the law of the noised data
NODES, _W = np.polynomial.hermite_e.hermegauss(60)
WEIGHTS = _W / math.sqrt(2.0 * math.pi)


@final
@dataclass(frozen=True)
class Scalar:
    """One-dimensional Gaussian data N(m, s) under a VP, by the textbook."""

    m: float
    s: float
    process: VP = PROCESS

    def clock(self, t: Any) -> Any:
        p = self.process
        return p.beta_min * t + 0.5 * (p.beta_max - p.beta_min) * t * t / p.T

    def rate(self, t: Any) -> Any:
        return self.process.beta_min + (self.process.beta_max - self.process.beta_min) * t / self.process.T

    def alpha(self, t: Any) -> Any:
        return np.exp(-0.5 * self.clock(t))

    def total(self, t: Any) -> Any:
        """Variance of the noised data."""
        return self.alpha(t) ** 2 * self.s + 1.0 - self.alpha(t) ** 2

    def score(self, x: Any, t: Any) -> Any:
        return -(x - self.alpha(t) * self.m) / self.total(t)

    def gain(self, t: Any) -> Any:
        return self.alpha(t) * self.s / self.total(t)

    def mean(self, x: Any, t: Any) -> Any:
        """Mean of the data behind x."""
        return self.m + self.gain(t) * (x - self.alpha(t) * self.m)

    def spread(self, t: Any) -> Any:
        """Their variance."""
        return (1.0 - self.alpha(t) ** 2) * self.s / self.total(t)

    def reach(self, t: Any) -> Any:
        """What a unit shift of the score adds to the mean of the samples, by artanh or arctan."""
        kappa, a = math.sqrt(abs(1.0 - self.s)), self.alpha(t)
        inverse = np.arctanh if self.s < 1.0 else np.arctan
        return 2.0 * self.s * (inverse(kappa) - inverse(kappa * a)) / kappa

    def value(self, c: float, q: float, beta: float, shift: float, x: Any, t: Any) -> tuple[Any, Any]:
        """Value of the shifted policy with the reward c x - q x^2 / 2, and its slope."""
        mean = self.mean(x, t) + self.reach(t) * shift
        spent = 0.5 * beta * shift**2 * self.clock(t)
        return c * mean - 0.5 * q * (self.spread(t) + mean**2) - spent, self.gain(t) * (c - q * mean)


@final
@dataclass
class Given(Source):
    """Normal draws that were written down before: one column for each call."""

    columns: Floats
    used: int = field(default=0)

    def normal(self, like: Any) -> Any:
        self.used += 1
        return self.columns[:, self.used - 1].reshape(like.shape)

    def uniform(self, like: Any) -> Any:
        raise NotImplementedError

    def gamma(self, shape: Any) -> Any:
        raise NotImplementedError

    def poisson(self, rate: Any) -> Any:
        raise NotImplementedError

    def adopt(self, xp: Any, values: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        return xp, values


def third_degree(n: int) -> Floats:
    """Rows of equal weight whose mean is E f(Z) for every polynomial f of degree 3 in n normal variables."""
    eye = math.sqrt(n) * np.eye(n)
    return np.concatenate([eye, -eye])


def fifth_degree(n: int) -> tuple[Floats, Floats]:
    """Rows and weights that are exact to degree 5 (McNamee and Stenger, 1967)."""
    eye = math.sqrt(3.0) * np.eye(n)
    i, j = np.triu_indices(n, 1)
    pairs = [a * eye[i] + b * eye[j] for a in (1, -1) for b in (1, -1)]
    rows = np.concatenate([np.zeros((1, n)), eye, -eye, *pairs])
    weights = np.full(len(rows), 1.0 / 36.0)
    weights[1 : 2 * n + 1] = (4.0 - n) / 18.0
    weights[0] = 1.0 + (n * n - 7.0 * n) / 18.0
    return rows, weights


def noise_times(n: int, power: float = 1.0) -> list[float]:
    """n steps from 1 to 0, uniform or denser near the data."""
    return [float(((n - k) / n) ** power) for k in range(n + 1)]


@cache
def third_degree_paths(law: Scalar, shift: float, n: int, power: float = 1.0) -> Rollout:
    """Paths whose plain mean is an expectation, for estimators of degree 3 in the noise."""
    return paths(law, shift, noise_times(n, power), third_degree(n + 1))


def paths(law: Scalar, shift: float, times: Sequence[float], rows: Floats) -> Rollout:
    """Euler paths of the score plus a shift from N(0, 1), one for each row of draws."""
    return rollout(
        law.process,
        lambda x, t: law.score(x, t) + shift,
        lambda x, t: law.score(x, t),
        times,
        Given(rows[:, 1:]),
        rows[:, :1],
    )


def extrapolate(of: Callable[[int], Any], n: int = 48) -> Any:
    """The limit of an estimate with errors in powers of 1 / n, from n, 2 n and 4 n steps."""
    first, second, third = (np.asarray(of(k * n)) for k in (1, 2, 4))
    return (8.0 * third - 6.0 * second + first) / 3.0


def integral(f: Callable[[float], float], low: float, high: float) -> float:
    """Adaptive quadrature."""
    return float(quad(f, low, high, epsabs=1e-13, epsrel=1e-13, limit=200)[0])


def directional(f: Callable[[Any], Any], x: Any, h: float, order: int = 1) -> list[Any]:
    """Derivatives of f at the points x (..., d) along each coordinate."""

    def along(e: Any, step: float) -> Any:
        return f(x + step * e)

    return [derivative(partial(along, e), h=h, order=order) for e in np.eye(np.shape(x)[-1])]


def derivative(f: Callable[[float], Any], at: float = 0.0, h: float = 1e-3, order: int = 1) -> Any:
    """Differences of sixth order for the first and the second derivative."""
    weights = {1: (45.0, -9.0, 1.0), 2: (270.0, -27.0, 2.0)}[order]
    sign = -1.0 if order == 1 else 1.0
    total = sum(
        w * (np.asarray(f(at + k * h)) + sign * np.asarray(f(at - k * h)))
        for k, w in enumerate(weights, start=1)
    )
    if order == 2:
        total = total - 490.0 * np.asarray(f(at))
    return total / (60.0 * h if order == 1 else 180.0 * h * h)
