r"""The optimum: Bellman's equation, Riccati's, the posterior by quadrature, the law of the samples."""

from __future__ import annotations

import math
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from driftproof.theory.laws import Gaussian, GaussianMixture
from driftproof.theory.processes import VE, VP, Flow
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.theory.score_as_action import (
    conditional_law,
    jensen_gap,
    optimal_action,
    plug_in_value,
    terminal_law,
    value,
    value_function_bias,
)
from driftproof.validation import Rate, boundary, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import NODES, PROCESS, WEIGHTS, Scalar, derivative, directional

BETA = 0.5
DATA = Gaussian([0.5, -0.3], [[1.2, 0.3], [0.3, 0.5]])
REWARD = Quadratic([1.0, -0.5], [[0.8, 0.2], [0.2, -0.1]])
POINTS = np.asarray([[0.3, -0.8], [1.5, 0.2], [-2.0, 1.0]])
START = Gaussian([0.4, -1.0], [[0.5, 0.2], [0.2, 2.0]])
LINE, SLOPE, BEND = Scalar(0.7, 0.6), 1.1, 0.8
ON_LINE = Gaussian([LINE.m], [[LINE.s]])
PARTS = ((0.3, Scalar(-1.0, 0.5)), (0.7, Scalar(1.2, 0.2)))
ON_LINE_REWARD = Quadratic([SLOPE], [[BEND]])
MIXED = GaussianMixture([w for w, _ in PARTS], [[p.m] for _, p in PARTS], [[[p.s]] for _, p in PARTS])


def reward_on_line(x: Any) -> Any:
    return SLOPE * x - 0.5 * BEND * x * x


@claim(
    "SCORE-ACTION-OPT-1",
    "The optimal value and action on Gaussian data",
    r"""
    V^* = r(M) + \tfrac1{2\beta} w^\top G C w - \tfrac\beta2 \log\det(I + CQ/\beta), \quad w = c - QM, \;
    G = (I + CQ/\beta)^{-1}; \qquad a^* = s_{pre} + \nabla V^*/\beta
    """,
    covers=[value, optimal_action],
    hypotheses=[r"\beta > 0", r"I + CQ/\beta \succ 0", r"S \succ 0"],
)
class Optimum:
    @exact(1e-9, over=rows("process, t", ((PROCESS, 0.5), (VE(0.1, 3.0, 1.0), 0.4), (Flow(), 0.6))))
    def bellman_residual(value, optimal_action, process, t):
        """Noise time: dV/dt = b.V' + g^2 lap V / 2 + g^2 |V'|^2 / (2 beta), b the drift of the sampler."""
        v = partial(_value_of, value, process)
        f, g2 = process.rates(np, np.asarray(t))
        score = process.marginal(DATA, t).score(POINTS)
        slope = np.stack(directional(partial(v, t), POINTS, 1e-2), axis=-1)
        bend = sum(directional(partial(v, t), POINTS, 2e-2, order=2))
        drift = np.sum((g2 * score - f * POINTS) * slope, axis=-1)
        right = drift + 0.5 * g2 * bend + 0.5 * g2 / BETA * np.sum(slope**2, axis=-1)
        yield "value", derivative(partial(v, x=POINTS), t), right
        yield "action", optimal_action(process, DATA, REWARD, BETA, POINTS, t), score + slope / BETA

    @exact(1e-11, over=grid(t=(0.3, 1.0)))
    def riccati_equation(value, optimal_action, t):
        def field(t: float, y: Any) -> list[float]:
            p, g, _ = y
            b = LINE.rate(t)
            a, d = 0.5 * b - b / LINE.total(t), b * LINE.alpha(t) * LINE.m / LINE.total(t)
            return [
                2 * a * p + b * p * p / BETA,
                a * g + d * p + b * p * g / BETA,
                d * g + 0.5 * b * p + 0.5 * b * g * g / BETA,
            ]

        solved = solve_ivp(field, (0.0, t), [-BEND, SLOPE, 0.0], "DOP853", rtol=1e-12, atol=1e-13)
        p, g, k = solved.y[:, -1]
        for x in (-1.0, 2.0):
            at = (PROCESS, ON_LINE, ON_LINE_REWARD, BETA, np.asarray([x]), t)
            yield f"value, x = {x}", value(*at), 0.5 * p * x * x + g * x + k
            yield f"action, x = {x}", optimal_action(*at)[0], LINE.score(x, t) + (p * x + g) / BETA

    @exact(1e-11, over=grid(t=(0.1, 0.5, 1.0)))
    def exponential_moment_of_the_posterior(value, t):
        x0 = LINE.mean(0.4, t) + math.sqrt(LINE.spread(t)) * NODES
        want = BETA * math.log(float(np.sum(WEIGHTS * np.exp(reward_on_line(x0) / BETA))))
        return value(PROCESS, ON_LINE, ON_LINE_REWARD, BETA, np.asarray([0.4]), t), want

    refuses = [
        (value, PROCESS, DATA, REWARD, 0.0, POINTS[0], 0.5),
        (value, PROCESS, DATA, REWARD, -1.0, POINTS[0], 0.5),
        (value, PROCESS, Gaussian([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]]), REWARD, 1.0, POINTS[0], 0.0),
        (value, PROCESS, DATA, Quadratic([0.0, 0.0], -9.0 * np.eye(2)), 1.0, POINTS[0], 1.0),
    ]

    mutants = {
        "without the variance of the posterior": wrong(
            value, lambda process, data, reward, x, t: plug_in_value(process, data, reward, x, t)
        ),
        "beta squared": {f: wrong(f, beta=lambda beta: beta * beta) for f in (value, optimal_action)},
        "action without 1 / beta": wrong(
            optimal_action,
            lambda value, process, data, beta, x, t: (
                (1 - beta) * process.marginal(data, t).score(x) + beta * value
            ),
        ),
        "risk-neutral value": wrong(
            value,
            lambda process, data, reward, x, t: (
                plug_in_value(process, data, reward, x, t) + jensen_gap(process, data, reward, t)
            ),
        ),
    }


def _value_of(value: Any, process: Any, t: float, x: Any) -> Any:
    return value(process, DATA, REWARD, BETA, x, t)


@claim(
    "SCORE-ACTION-MIX-1",
    "The optimum on Gaussian mixtures",
    r"""
    V^* = \beta \log \sum_k \gamma_k e^{V_k/\beta}, \qquad
    P^*(dx_0 | x) = \sum_k \pi_k N(G_k(M_k + C_k c/\beta), G_k C_k), \quad \pi_k \propto \gamma_k e^{V_k/\beta}
    """,
    covers=[conditional_law, value, optimal_action],
    hypotheses=[r"\beta > 0", r"I + C_k Q/\beta \succ 0"],
)
class Mixtures:
    @exact(1e-12, over=grid(t=(0.2, 0.6, 1.0), x=(-0.6, 0.9)))
    def posterior_by_quadrature(conditional_law, value, optimal_action, t, x):
        x0, alpha = np.linspace(-9.0, 9.0, 6001), float(LINE.alpha(t))
        plain = sum(w * _normal(x0, p.m, p.s) for w, p in PARTS) * _normal(x, alpha * x0, 1.0 - alpha * alpha)
        tilt = plain * np.exp(reward_on_line(x0) / BETA)
        density = tilt / np.sum(tilt)
        mean = float(np.sum(density * x0))
        at = (PROCESS, MIXED, ON_LINE_REWARD, BETA, np.asarray([x]), t)
        law = conditional_law(*at)
        yield "value", value(*at), BETA * math.log(float(np.sum(tilt) / np.sum(plain)))
        yield "mean", law.mean[0], mean
        yield "variance", law.cov[0, 0], np.sum(density * (x0 - mean) ** 2)
        # Tweedie's formula for the tilted law: its score is the optimal action.
        yield "action", optimal_action(*at)[0], (alpha * mean - x) / (1.0 - alpha**2)

    mutants = {
        "weights not tilted": {conditional_law: lambda *at: _untilted(*at)},
        "the Gaussian of the same moments": {
            f: wrong(f, data=lambda data: Gaussian(data.mean, data.cov))
            for f in (value, optimal_action, conditional_law)
        },
    }


def _untilted(process: Any, data: Any, reward: Any, beta: float, x: Any, t: float) -> GaussianMixture:
    plain: Any = conditional_law(process, data, Linear([0.0]), beta, x, t)
    tilted_parts: Any = conditional_law(process, data, reward, beta, x, t)
    return GaussianMixture(plain.weights, tilted_parts.means, tilted_parts.covs)


def _normal(x: Any, mean: Any, variance: float) -> Any:
    return np.exp(-0.5 * (x - mean) ** 2 / variance) / math.sqrt(2.0 * math.pi * variance)


@claim(
    "SCORE-ACTION-TERMINAL-1",
    "What the optimum samples from a Gaussian start",
    r"""
    X_0 \sim N\big(G(M_0 + C_0 c/\beta),\; G C_0 + G K_0 V_0 K_0 G^\top\big), \qquad
    M_0 = m + K_0(\mu_0 - \alpha_T m)
    """,
    covers=[terminal_law],
    hypotheses=[r"X_T \sim N(\mu_0, V_0)", r"\beta > 0"],
)
class Terminal:
    @exact(1e-8)
    def moments_of_the_controlled_equation(terminal_law):
        mean, cov = _controlled()
        law = terminal_law(PROCESS, DATA, REWARD, BETA, START)
        yield "mean", law.mean, mean
        yield "covariance", law.cov, cov

    @exact(1e-12)
    def the_tilted_start_gives_the_tilt(terminal_law):
        # Started where the tilted law is noised to, the optimum samples the tilt.
        best = tilted(DATA, REWARD, BETA)
        law = terminal_law(PROCESS, DATA, REWARD, BETA, PROCESS.marginal(best, 1.0))
        yield "mean", law.mean, best.mean
        yield "covariance", law.cov, best.cov

    mutants = {
        "tilt of the data": wrong(terminal_law, lambda data, reward, beta: tilted(data, reward, beta)),
        "start forgotten": wrong(terminal_law, start=lambda: None),
        "beta halved": wrong(terminal_law, beta=lambda beta: 0.5 * beta),
    }


@cache
def _controlled() -> tuple[Any, Any]:
    """Mean and covariance of the sampler from START with the optimal action, by their differential equation."""

    def field(tau: float, y: Any) -> Any:
        t = 1.0 - tau
        corners = np.asarray([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        action = optimal_action(PROCESS, DATA, REWARD, BETA, corners, t)
        f, g2 = PROCESS.rates(np, np.asarray(t))
        slope = g2 * (action[1:] - action[0]).T - f * np.eye(2)
        cov = y[2:].reshape(2, 2)
        move = slope @ y[:2] + g2 * action[0]
        return np.concatenate([move, (slope @ cov + cov @ slope.T + g2 * np.eye(2)).ravel()])

    y0 = np.concatenate([START.mean, np.asarray(START.cov).ravel()])
    y = solve_ivp(field, (0.0, 1.0), y0, "DOP853", rtol=1e-9, atol=1e-10).y[:, -1]
    return y[:2], y[2:].reshape(2, 2)


@claim(
    "SCORE-ACTION-BIAS-1",
    "The start is not tilted: the bias of the value function",
    r"""
    E_{tilt} X - E X_0 = \alpha_T^2\,\mathrm{Cov}_{tilt}\,E_{tilt} X + O(\alpha_T^4), \qquad
    \mathrm{Cov}_{tilt} - \mathrm{Cov}\,X_0 = O(\alpha_T^4) \quad \mathrm{from}\; N(0, I)
    """,
    covers=[value_function_bias],
    hypotheses=[r"X_T \sim N(0, I)", r"\alpha_T \to 0"],
)
class Bias:
    @rate()
    def orders_and_constant(value_function_bias):
        clocks, best = (7.0, 8.0, 9.0), tilted(DATA, REWARD, BETA)
        found = [value_function_bias(VP(b, b, 1.0), DATA, REWARD, BETA) for b in clocks]
        means, covs = ([float(np.linalg.norm(pair[part])) for pair in found] for part in (0, 1))
        lead = float(np.linalg.norm(best.cov @ best.mean))
        # alpha_T^2 falls by e from one clock to the next.
        yield Rate(
            [math.log(a / b) for a, b in pairwise(means)], 1.0, 0.02, means[-1] * math.exp(9.0), lead, 0.01
        )
        yield Rate([math.log(a / b) for a, b in pairwise(covs)], 2.0, 0.02)

    @exact(1e-12)
    def none_where_nothing_of_the_data_is_left(value_function_bias):
        mean, cov = value_function_bias(Flow(), DATA, REWARD, BETA)
        yield "mean", mean, np.zeros(2)
        yield "covariance", cov, np.zeros((2, 2))

    @boundary(1e-3)
    def a_real_schedule_is_biased(value_function_bias):
        """With alpha_T = 0.132 the optimum misses the mean of the tilt by some parts in a thousand."""
        return value_function_bias(PROCESS, ON_LINE, ON_LINE_REWARD, BETA)[0], np.zeros(1)

    mutants = {
        "half": wrong(value_function_bias, lambda value: tuple(0.5 * part for part in value)),
        "from the noised data": wrong(
            value_function_bias,
            start=lambda process, data, start: (
                start if isinstance(process, Flow) else process.marginal(data, process.T)
            ),
        ),
    }
