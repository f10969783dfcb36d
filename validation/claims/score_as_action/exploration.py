r"""Gaussian exploration of the action: its optimal variance, and what holding an action over a step adds."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from driftproof.theory.score_as_action import exploration_inflation, optimal_exploration, q_function
from driftproof.validation import Rate, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import PROCESS, Scalar, noise_times

LAW = Scalar(0.5, 0.8)


@claim(
    "SCORE-ACTION-EXPLORE-1",
    "Optimal exploration is Gaussian around the improved action",
    r"""
    \pi^*(a | x, t) \propto e^{q(x, t, a)/\lambda} = N\Big(s_{pre} + \tfrac{\nabla V}\beta,\;
    \tfrac{\lambda}{\beta g^2}\Big)
    """,
    covers=[optimal_exploration],
    hypotheses=[r"\lambda > 0", r"\beta > 0"],
)
class Exploration:
    @exact(1e-11, over=grid(rows("beta, heat", ((0.5, 0.1), (2.0, 1.5))), t=(0.2, 0.9)))
    def gibbs_law_by_quadrature(optimal_exploration, beta, heat, t):
        pre, slope, now = 0.3, -1.2, 0.8
        # A grid for the law itself, wherever the formula puts it: the trapezium rule is exact to rounding.
        width = 12.0 * math.sqrt(heat / (beta * float(LAW.rate(t))))
        a = pre + slope / beta + np.linspace(-width, width, 4001)[:, None]
        one = np.ones_like(a)
        q = q_function(PROCESS, np.full(4001, t), beta, a, now * one, pre * one, slope * one)
        law = np.exp((q - q.max()) / heat)
        law = law / law.sum()
        mean = float(law @ a[:, 0])
        yield "mean", mean, pre + slope / beta
        spread = float(optimal_exploration(PROCESS, t, beta, heat))
        yield "variance", spread, float(law @ (a[:, 0] - mean) ** 2)

    @exact(1e-6, over=grid(t=(0.1, 0.7)))
    def entropy_against_penalty(optimal_exploration, t):
        """The best variance of a Gaussian, by golden section on entropy less penalty."""
        g2 = float(LAW.rate(t))
        lost = lambda u: 0.35 * g2 * math.exp(u) - 0.1 * u
        best = minimize_scalar(lost, bracket=(-8.0, 2.0), tol=1e-13)
        return math.log(optimal_exploration(PROCESS, t, 0.7, 0.2)), best.x

    refuses = [
        (optimal_exploration, PROCESS, 0.5, beta, heat)
        for beta, heat in ((0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (1.0, -1.0))
    ]

    mutants = {
        "g for g^2": wrong(optimal_exploration, lambda value, t: value * LAW.rate(t) ** 0.5),
        "without beta": wrong(optimal_exploration, beta=lambda: 1.0),
        "half": wrong(optimal_exploration, lambda value: 0.5 * value),
    }


@claim(
    "SCORE-ACTION-EXPLORE-2",
    "Held actions inflate the variance of the samples, in proportion to the step",
    r"""
    \delta \mathrm{Var}\,X_0 \sim \sum_k g_k^4 K_k^2\,\Sigma_k\,\Delta_k^2 = O(\Delta)
    """,
    covers=[exploration_inflation],
    hypotheses=[r"\mathrm{actions\;held\;over\;a\;step}", r"\Delta \to 0"],
)
class Inflation:
    @rate(over=grid(power=(1.0, 1.7)))
    def exact_variances_of_euler_steps(exploration_inflation, power):
        gaps = []
        for n in (100, 200, 400):
            times = np.asarray(noise_times(n, power))
            noise = 0.5 + times[:-1]  # the variance of the action may depend on time
            claimed = float(exploration_inflation(PROCESS, LAW.s, noise, times))
            gaps.append(abs(_held(times, noise) / claimed - 1.0))
        return Rate([math.log2(gaps[i] / gaps[i + 1]) for i in range(2)], 1.0, 0.1)

    @rate()
    def first_order_in_the_step(exploration_inflation):
        found = [_held(np.asarray(noise_times(n)), np.full(n, 0.5)) for n in (100, 200, 400)]
        fine = np.asarray(noise_times(400))
        lead = float(exploration_inflation(PROCESS, LAW.s, np.full(400, 0.5), fine)) * 400
        return Rate(
            [math.log2(found[i] / found[i + 1]) for i in range(2)], 1.0, 0.05, found[2] * 400, lead, 0.05
        )

    mutants = {
        "first power of the step": wrong(
            exploration_inflation, exploration=lambda exploration, grid: exploration / (grid[:-1] - grid[1:])
        ),
        "g^2 for g^4": wrong(
            exploration_inflation, exploration=lambda exploration, grid: exploration / LAW.rate(grid[:-1])
        ),
        "half": wrong(exploration_inflation, lambda value: 0.5 * value),
    }


def _held(times: Any, exploration: Any) -> float:
    """What the exploration adds to the variance after Euler steps, exactly: the recursion of the variance."""
    added = 0.0
    for k, (t, s) in enumerate(pairwise(times)):
        b, h = float(LAW.rate(t)), float(t - s)
        slope = 1.0 + h * (0.5 * b - b / float(LAW.total(t)))
        added = slope**2 * added + (b * h) ** 2 * float(exploration[k])
    return added
