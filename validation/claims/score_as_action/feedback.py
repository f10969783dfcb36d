r"""Linear feedback: its value by Bellman's and Riccati's equations, its gradient by the theorem."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from driftproof.theory.laws import Gaussian, kl
from driftproof.theory.processes import VE
from driftproof.theory.rewards import Quadratic
from driftproof.theory.score_as_action import LinearFeedback
from driftproof.validation import bound, claim, exact, grid
from driftproof.validation.mutants import wrong

from .optimum import BETA, DATA, POINTS, REWARD, START
from .textbook import PROCESS, derivative, directional

__all__ = ["Feedback"]

GAINS = (-0.4, 0.25)


def _score(x: Any, t: float) -> Any:
    return PROCESS.marginal(DATA, t).score(x)


def _objective(policy: Any, gain: float) -> float:
    return float(policy(PROCESS, DATA, REWARD, BETA, gain, START).objective())


@claim(
    "SCORE-ACTION-FEEDBACK-1",
    "Value, objective and gradient of linear feedback",
    r"""
    s_\theta = s_{pre} + \theta x: \quad X_0 | x \sim N(a_b x + o_b, w_b), \; a_b = K_b e^{\theta b}, \qquad
    V^\theta = E\,r(X_0) - \tfrac\beta2\theta^2 \int_0^b E|X_r|^2 dr, \qquad
    \frac{dJ}{d\theta} = E\!\int g^2\,X_t \cdot (\nabla V^\theta - \beta\,\theta X_t)\,dt
    """,
    covers=[LinearFeedback],
    hypotheses=[r"\mathrm{VP}", r"S \succ 0", r"\beta > 0"],
)
class Feedback:
    @exact(1e-8, over=grid(gain=GAINS))
    def backward_equation(LinearFeedback, gain):
        made = LinearFeedback(PROCESS, DATA, REWARD, BETA, gain)
        for t in (0.3, 0.8):
            f, g2 = PROCESS.rates(np, np.asarray(t))
            v = partial(made.value, t=t)
            slope = np.stack(directional(v, POINTS, 1e-2), axis=-1)
            bend = sum(directional(v, POINTS, 2e-2, order=2))
            moved = np.sum((g2 * (_score(POINTS, t) + gain * POINTS) - f * POINTS) * slope, axis=-1)
            right = moved + 0.5 * g2 * bend - 0.5 * BETA * g2 * gain**2 * np.sum(POINTS**2, axis=-1)
            yield f"t = {t}", derivative(partial(made.value, POINTS), t), right
            yield f"t = {t}, gradient", made.value_gradient(POINTS, t), slope
        yield "at the data", made.value(POINTS, 0.0), REWARD.value(POINTS)

    @exact(1e-9, over=grid(gain=GAINS))
    def riccati_equation(LinearFeedback, gain):
        """V = x.Px/2 + g.x + k, with a matrix P that does not commute with the covariance."""
        p, g, k = _quadratic(gain)
        want = 0.5 * np.sum(POINTS * (POINTS @ p), axis=-1) + POINTS @ g + k
        return LinearFeedback(PROCESS, DATA, REWARD, BETA, gain).value(POINTS, 1.0), want

    @exact(1e-9, over=grid(gain=GAINS))
    def moments_of_the_equation(LinearFeedback, gain):
        made = LinearFeedback(PROCESS, DATA, REWARD, BETA, gain, START)
        mean, cov, energy, _ = _moments(gain)
        law = made.terminal_law()
        yield "mean", law.mean, mean
        yield "covariance", law.cov, cov
        yield "divergence of paths", made.path_kl(), 0.5 * gain**2 * energy

    @exact(1e-8, over=grid(gain=GAINS))
    def policy_gradient_theorem(LinearFeedback, gain):
        """The derivative of the objective by the theorem, along the law of the path, and by differences."""
        got = LinearFeedback(PROCESS, DATA, REWARD, BETA, gain, START).policy_gradient()
        yield "theorem", got, _moments(gain)[3]
        yield "differences", got, derivative(partial(_objective, LinearFeedback), gain, 1e-2)

    @bound(tight=0.3, over=grid(gain=GAINS))
    def samples_diverge_less_than_paths(LinearFeedback, gain):
        made, base = (LinearFeedback(PROCESS, DATA, REWARD, BETA, g, START) for g in (gain, 0.0))
        return float(kl(made.terminal_law(), base.terminal_law())), made.path_kl()

    refuses = [
        (LinearFeedback, VE(0.1, 3.0, 1.0), DATA, REWARD, BETA, 0.1),
        (LinearFeedback, PROCESS, DATA, REWARD, 0.0, 0.1),
        (LinearFeedback, PROCESS, DATA, REWARD, BETA, float("nan")),
        (LinearFeedback, PROCESS, DATA, REWARD, BETA, 1e4),
        (LinearFeedback, PROCESS, DATA, REWARD, BETA, 0.1, Gaussian([0.0], [[1.0]])),
    ]

    mutants = {
        "sign of the gain": wrong(LinearFeedback, gain=lambda gain: -gain),
        "penalty without the half": wrong(LinearFeedback, beta=lambda beta: 2.0 * beta),
        "start forgotten": wrong(LinearFeedback, start=lambda: None),
        "curvature forgotten": wrong(
            LinearFeedback, reward=lambda reward: Quadratic(reward.c, 0.0 * reward.Q)
        ),
    }


def _drift(gain: float, t: float) -> tuple[Any, Any, float]:
    """Slope, offset and squared noise of the sampler at noise time t, from its score at three corners."""
    corners = np.vstack([np.zeros(2), np.eye(2)])
    f, g2 = PROCESS.rates(np, np.asarray(t))
    move = g2 * (_score(corners, max(t, 1e-14)) + gain * corners) - f * corners
    return (move[1:] - move[0]).T, move[0], float(g2)


def _unpacked(y: Any) -> tuple[Any, Any]:
    return y[:2], y[2:6].reshape(2, 2)


@cache
def _solution(gain: float) -> Any:
    """Coefficients of the value in noise time: g, P and k, from the data on."""

    def field(t: float, y: Any) -> Any:
        slope, offset, g2 = _drift(gain, t)
        g, p = _unpacked(y)
        bent = slope.T @ p + p @ slope - BETA * g2 * gain**2 * np.eye(2)
        return np.concatenate([slope.T @ g + p @ offset, bent.ravel(), [offset @ g + 0.5 * g2 * np.trace(p)]])

    y0 = np.concatenate([REWARD.c, -np.ravel(REWARD.Q), [0.0]])
    return solve_ivp(field, (0.0, 1.0), y0, "DOP853", rtol=1e-11, atol=1e-12, dense_output=True)


def _quadratic(gain: float) -> tuple[Any, Any, float]:
    y = _solution(gain).y[:, -1]
    g, p = _unpacked(y)
    return p, g, float(y[6])


@cache
def _moments(gain: float) -> tuple[Any, Any, float, float]:
    """Mean and covariance of the samples, the energy on the way, and the integral of the theorem."""

    def field(tau: float, y: Any) -> Any:
        slope, offset, g2 = _drift(gain, 1.0 - tau)
        mean, cov = _unpacked(y)
        g, p = _unpacked(_solution(gain).sol(1.0 - tau))
        second = cov + np.outer(mean, mean)
        energy = g2 * np.trace(second)
        theorem = g2 * (np.sum(second * p) + mean @ g) - BETA * gain * energy
        spread = slope @ cov + cov @ slope.T + g2 * np.eye(2)
        return np.concatenate([slope @ mean + offset, spread.ravel(), [energy, theorem]])

    y0 = np.concatenate([START.mean, np.ravel(START.cov), [0.0, 0.0]])
    y = solve_ivp(field, (0.0, 1.0), y0, "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    return (*_unpacked(y), float(y[6]), float(y[7]))
