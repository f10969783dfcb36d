r"""Independent forms: schedules as printed, and the moment equations solved step by step.

.. math:: \dot m = -f m - \tfrac{1+\eta^2}2 g^2 \kappa\,\frac{m - \alpha\theta}\Sigma, \qquad
    \dot V = -2\Big[f + \tfrac{1+\eta^2}2 \frac{\kappa g^2}\Sigma\Big] V + \eta^2 g^2

in reverse time, by an eighth-order Runge-Kutta method.  Nothing here comes from ``theory``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, final

import numpy as np
from scipy.integrate import quad, solve_ivp

from driftproof.theory.processes import VE, VP, Flow

__all__ = ["CASES", "Floats", "Schedule", "arrival", "integral", "schedule"]

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

# Processes with the latest time at which their equations are regular.
CASES: tuple[tuple[Any, float], ...] = (
    (VP(0.1, 8.0, 1.0), 1.0),
    (VE(0.3, 9.0, 1.0), 1.0),
    (Flow(), 0.96),
)


@final
@dataclass(frozen=True)
class Schedule:
    """Signal level, noise variance, drift rate and squared diffusion as functions of noise time."""

    alpha: Callable[[float], float]
    noise: Callable[[float], float]
    f: Callable[[float], float]
    g2: Callable[[float], float]

    def total(self, variance: float, t: float) -> float:
        return self.alpha(t) ** 2 * variance + self.noise(t)

    def fraction(self, variance: float, t: float) -> float:
        return self.alpha(t) ** 2 * variance / self.total(variance, t)

    def loss_rate(self, variance: float) -> Callable[[float], float]:
        """The rate at which the logarithm of the signal fraction falls."""
        return lambda t: self.g2(t) / self.total(variance, t)

    def shift_cost(self, variance: float, shift: float) -> Callable[[float], float]:
        """Half the squared diffusion times the squared change of the score, for a shift of the data mean."""
        return lambda t: 0.5 * self.g2(t) * (self.alpha(t) * shift / self.total(variance, t)) ** 2


@cache
def schedule(process: Any) -> Schedule:
    """The schedule of a process, from its parameters."""
    match process:
        case VP(beta_min=low, beta_max=high, T=T):
            rise = (high - low) / T

            def clock(t: float) -> float:
                return low * t + rise * t * t / 2

            return Schedule(
                lambda t: math.exp(-clock(t) / 2),
                lambda t: -math.expm1(-clock(t)),
                lambda t: -(low + rise * t) / 2,
                lambda t: low + rise * t,
            )
        case VE(sigma_min=low, sigma_max=high, T=T):
            rate = 2 * math.log(high / low) / T
            return Schedule(
                lambda t: 1.0,
                lambda t: low**2 * (math.exp(rate * t) - 1),
                lambda t: 0.0,
                lambda t: low**2 * rate * math.exp(rate * t),
            )
        case _:
            return Schedule(
                lambda t: 1 - t, lambda t: t * t, lambda t: -1 / (1 - t), lambda t: 2 * t / (1 - t)
            )


@cache
def arrival(
    process: Any,
    mean: float,
    variance: float,
    eta: float,
    t: float,
    s: float,
    start: tuple[float, float],
    kappa: float = 1.0,
    shift: float = 0.0,
    error: Callable[[float], float] | None = None,
) -> tuple[float, float]:
    """Mean and variance at s of the reverse process that has the moments ``start`` at t."""
    of, theta, half = schedule(process), mean + shift, (1 + eta * eta) / 2

    def equations(tau: float, y: Floats) -> list[float]:
        u = t - tau
        pull = half * of.g2(u) * kappa / of.total(variance, u)
        push = half * of.g2(u) * error(u) if error is not None else 0.0
        return [
            -of.f(u) * y[0] - pull * (y[0] - of.alpha(u) * theta) + push,
            -2 * (of.f(u) + pull) * y[1] + eta * eta * of.g2(u),
        ]

    found = solve_ivp(equations, (0.0, t - s), start, method="DOP853", rtol=1e-11, atol=1e-13)
    return float(found.y[0, -1]), float(found.y[1, -1])


def integral(function: Callable[[float], float], low: float, high: float) -> float:
    """Adaptive quadrature to 1e-12."""
    return float(quad(function, low, high, epsabs=1e-13, epsrel=1e-12, limit=400)[0])
