"""The other side: normal laws as grids of weighted points, and averages at thirty digits."""

from __future__ import annotations

from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
from numpy.typing import NDArray

__all__ = ["COV", "REWARD", "average", "expit", "normal_grid", "softplus"]

Floats = NDArray[np.float64]

COV = np.asarray([[1.3, 0.4], [0.4, 0.5]])
REWARD = np.asarray([0.7, -0.9])


def expit(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def softplus(x: Any) -> Any:
    """At the precision of mpmath."""
    return mp.log1p(mp.exp(mp.mpf(x)))


def normal_grid(cov: Any, step: float = 0.4, reach: float = 8.0) -> tuple[Floats, Floats]:
    """Points (n, d) and weights of the trapezoidal rule on N(0, cov): for logistic functions with slopes of about 1
    it is exact to rounding."""
    cov = np.asarray(cov, dtype=float)
    line = np.arange(-reach, reach + step / 2, step)
    z = np.stack(np.meshgrid(*[line] * len(cov), indexing="ij"), axis=-1).reshape(-1, len(cov))
    weights = np.exp(-0.5 * np.sum(z * z, axis=1))
    return z @ np.linalg.cholesky(cov).T, weights / weights.sum()


@cache
def average(kind: str, sd: float) -> Any:
    """E f(u) for u ~ N(0, sd^2), f = sech^2(u/2) or u^2 sech^2(u/2) / 4, at thirty digits."""
    with mp.workdps(30):
        s = mp.mpf(sd)
        f = {
            "slope": lambda u: mp.sech(u / 2) ** 2,
            "information": lambda u: u * u * mp.sech(u / 2) ** 2 / 4,
        }[kind]
        ends = sorted(
            {mp.mpf(e) for e in (0, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 80)} | {s * k for k in (1, 2, 4, 8, 14)}
        )
        cut = [e for e in ends if e <= min(mp.mpf(80), 14 * s)]
        return 2 * mp.quad(lambda u: f(u) * mp.npdf(u, 0, s), cut)
