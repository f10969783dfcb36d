"""What several claims of transfer compare with: norms, spheres, moments, and sizes that are wrong by a factor."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import mpmath as mp
import numpy as np

from driftproof.theory.transfer import TruncationRisk

__all__ = ["SMOOTHNESS", "chi_moment", "norm", "scaled", "sphere"]

SMOOTHNESS = (0.0, 0.5, 1.0, 2.5)


def norm(values: Any, weights: Any) -> float:
    """In the space of square-integrable functions of a discrete law."""
    return float(np.sqrt(np.sum(weights * np.asarray(values) ** 2)))


def sphere(d: int) -> float:
    """Area of the unit sphere of R^d."""
    return 2.0 * math.pi ** (d / 2.0) / math.gamma(d / 2.0)


def scaled(risk: TruncationRisk, by: float) -> TruncationRisk:
    """A wrong constant in both parts."""
    return TruncationRisk(by * risk.variance, by * risk.bias, risk.cutoff)


@cache
def chi_moment(k: int, power: int) -> Any:
    """E (chi^2_k / k)^(power / 2), by quadrature in the logarithm."""
    k = mp.mpf(k)
    log_norm = k / 2 * mp.log(2) + mp.loggamma(k / 2)
    exponent = (k + power) / 2
    cuts = [mp.log(k) + c for c in (-120, -60, -20, -5, -2, -1, -0.3, 0, 0.3, 1, 2, 5)]
    with mp.workdps(20):
        return mp.quad(
            lambda s: mp.exp(exponent * s - mp.exp(s) / 2 - power * mp.log(k) / 2 - log_norm), cuts
        )
