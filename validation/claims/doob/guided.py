r"""The guided process: by the Fokker-Planck equation, and by the flow of quantiles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import ndtr

from driftproof.theory.doob import guidance, guided_drift
from driftproof.theory.processes import VP
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from .textbook import Floats, legendre
from .transform import EVENTS, ONE, PROCESSES, levels

__all__ = ["GuidedFlow", "GuidedProcess"]

EVENT, LEVEL = EVENTS[0][0], 1.5
M, S = 0.4, 0.9


def _parts(process: Any, t: float) -> tuple[float, float, float, float]:
    """alpha, v, K, C of the data N(M, S^2) by the textbook."""
    alpha, sigma = levels(process, t)
    v = alpha**2 * S**2 + sigma**2
    return alpha, v, alpha * S**2 / v, S**2 * sigma**2 / v


def _guided_density(process: Any, x: Any, t: float) -> Any:
    """p_t h / P(A), from the normal distribution function of another library."""
    alpha, v, gain, left = _parts(process, t)
    margin = (M + gain * (x - alpha * M) - LEVEL) / math.sqrt(left)
    base = np.exp(-0.5 * (x - alpha * M) ** 2 / v) / math.sqrt(2.0 * math.pi * v)
    return base * ndtr(margin) / ndtr((M - LEVEL) / S)


@claim(
    "DOOB-SDE-1",
    "The guided process has the law of the data given the event, at every time and every stochasticity",
    r"""q = \frac{p_t h}{P(A)}: \qquad \partial_t q = \partial_x\Big(\big[-b + \tfrac{1+\eta^2}2 a (s + \nabla\log h)\big] q\Big)
        - \tfrac12\eta^2 a\,\partial_x^2 q""",
    covers=[guided_drift],
    hypotheses=[r"\mathrm{started\;from}\; p_T h / P(A)"],
)
class GuidedProcess:
    @exact(
        1e-7,
        over=grid(process=PROCESSES, eta=(0.0, 0.3, 1.0, 1.4), point=((-0.7, 0.25), (0.8, 0.5), (1.6, 0.8))),
    )
    def fokker_planck(guided_drift, process, eta, point):
        """Differences of the sixth order in time and space; the density is the textbook's."""
        x, t = point
        step = 4e-3
        offsets = np.arange(-3, 4)
        first = np.asarray([-1.0, 9.0, -45.0, 0.0, 45.0, -9.0, 1.0]) / (60.0 * step)
        second = np.asarray([2.0, -27.0, 270.0, -490.0, 270.0, -27.0, 2.0]) / (180.0 * step**2)
        xs = x + step * offsets
        q = _guided_density(process, xs, t)
        by_time = sum(
            c * _guided_density(process, x, t + step * k) for c, k in zip(first, offsets, strict=True)
        )
        score = process.marginal(ONE, t).score(xs[:, None])[:, 0]
        pull = guidance(process, ONE, EVENT, xs[:, None], t)[:, 0]
        flux = guided_drift(process, xs, t, score, pull, eta) * q
        a = float(process.diffusion(0.0, t))
        size = max(1.0, a * float(np.max(q)))
        return by_time / size, (float(first @ flux) - 0.5 * eta**2 * a * float(second @ q)) / size

    refuses = [(guided_drift, VP(), 0.0, 0.5, 0.0, 0.0, -1.0)]

    mutants = {
        "guidance as for the SDE": wrong(
            guided_drift,
            lambda value, xp, process, x, t, guidance, eta: (
                value + 0.5 * (1.0 - eta**2) * process.coefficients(xp, x, t)[1] * guidance
            ),
        ),
        "1 + eta": wrong(
            guided_drift,
            lambda value, xp, process, x, t, guidance, eta: (
                value + (0.5 * (1.0 + eta) - 0.5 * eta**2) * process.coefficients(xp, x, t)[1] * guidance
            ),
        ),
        "stochasticity forgotten": wrong(guided_drift, eta=lambda: 1.0),
        "diffusion for its square": wrong(
            guided_drift,
            lambda value, xp, process, x, t, guidance: (
                value
                + (xp.sqrt(process.coefficients(xp, x, t)[1]) - process.coefficients(xp, x, t)[1]) * guidance
            ),
        ),
    }


@claim(
    "DOOB-ODE-1",
    "The guided flow carries quantiles of the tilted start to quantiles of the data given the event",
    r"""\dot x = -b + \tfrac12 a\,(s + \nabla\log h): \qquad P(X_t \leq x_t \mid A) = \mathrm{const}""",
    covers=[guided_drift],
    hypotheses=[r"\eta = 0", r"\mathrm{started\;from}\; p_T h / P(A)"],
)
class GuidedFlow:
    @exact(1e-6, over=grid(process=PROCESSES[:2]))
    def quantiles_stay(guided_drift, process):
        """The solver is asked for 1e-8, over some hundred steps."""
        shares = np.asarray([0.02, 0.5, 0.9])
        return [_below(process, x, 0.05) for x in _flow(guided_drift, process, shares, 1.0)], shares

    @boundary(0.5, scale=0.0)
    def the_coefficient_of_the_sde_overshoots(guided_drift):
        """With a in place of a/2 the median exceeds the level by more than twice as much."""
        right, twice = (_flow(guided_drift, PROCESSES[0], np.asarray([0.5]), k)[0] for k in (1.0, 2.0))
        return twice - LEVEL, right - LEVEL

    mutants = {
        "guidance as for the SDE": wrong(guided_drift, guidance=lambda guidance: 2.0 * guidance),
        "score as for the SDE": wrong(guided_drift, score=lambda score: 2.0 * score),
        "unguided": wrong(guided_drift, guidance=lambda guidance: 0.0 * guidance),
        "noise's drift": wrong(guided_drift, eta=lambda eta: eta + 1.0),
    }


def _flow(guided_drift: Any, process: Any, shares: Floats, strength: float) -> Floats:
    """The ends, at t = 0.05, of the flow from these quantiles at t = 1."""

    def speed(tau: float, x: Any) -> Any:
        t = 1.0 - tau
        alpha, v, _, _ = _parts(process, t)
        pull = strength * guidance(process, ONE, EVENT, x[:, None], t)[:, 0]
        return guided_drift(process, x, t, -(x - alpha * M) / v, pull, 0.0)

    starts = []
    for share in shares:
        low, high = -60.0, 60.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if _below(process, middle, 1.0) < share else (low, middle)
        starts.append(0.5 * (low + high))
    solved = solve_ivp(speed, (0.0, 0.95), starts, rtol=1e-8, atol=1e-8, method="DOP853")
    found: Floats = solved.y[:, -1]
    return found


def _below(process: Any, x: float, t: float) -> float:
    """P(X_t <= x | A), by quadrature of the guided density."""
    alpha, v, _, _ = _parts(process, t)
    points, weights = legendre(alpha * M - 12.0 * math.sqrt(v), x, 40)
    return float(np.sum(weights * _guided_density(process, points, t)))
