r"""Shifted scores: their value, how far they reach under the SDE and the ODE, divergences, advantage rates."""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from driftproof.numerics.score_as_action import path_kl, running_cost
from driftproof.theory.laws import Gaussian, kl
from driftproof.theory.processes import VP
from driftproof.theory.rewards import Quadratic
from driftproof.theory.score_as_action import ShiftedScore, optimal_action, q_function, response
from driftproof.validation import (
    Rate,
    bound,
    claim,
    exact,
    figure,
    grid,
    property,
    rate,
    rows,
)
from driftproof.validation.mutants import wrong

from .optimum import BETA, DATA, POINTS, REWARD
from .textbook import PROCESS, Scalar, derivative, directional

SHIFT, OTHER = np.asarray([0.3, -0.2]), np.asarray([-0.1, 0.25])


def policy(shift: Any = SHIFT, **changes: Any) -> ShiftedScore:
    """The example, with changes."""
    given = {"process": PROCESS, "data": DATA, "reward": REWARD, "beta": BETA, "shift": shift}
    return ShiftedScore(**{**given, **changes})


@cache
def reach(law: Scalar, t: float, eta: float) -> float:
    """The response by adaptive quadrature of its definition, with the inner integral as an ODE."""
    c = 0.5 * (1.0 + eta * eta)

    def field(r: float, y: Any) -> list[float]:
        b = float(law.rate(r))
        return [0.5 * b - c * b / float(law.total(r)), c * b * math.exp(y[0])]

    return float(solve_ivp(field, (0.0, t), [0.0, 0.0], "DOP853", rtol=1e-12, atol=1e-13).y[1, -1])


def _objective(policy: Any, start: Gaussian | None, shift: Any) -> float:
    return float(policy(PROCESS, DATA, REWARD, BETA, shift, start).objective())


@claim(
    "SCORE-ACTION-SHIFT-1",
    "Value, objective and gradient of a score plus a constant",
    r"""
    V^\theta = E\,r(N(M + R_t\theta, C)) - \tfrac\beta2 B_t |\theta|^2, \qquad
    \nabla J = R_T (c - Q\,E X_0) - \beta B_T\,\theta
    """,
    covers=[ShiftedScore],
    hypotheses=[r"\mathrm{VP}", r"S \succ 0", r"\beta > 0"],
)
class Shifted:
    @exact(1e-9)
    def backward_equation(ShiftedScore):
        made = ShiftedScore(PROCESS, DATA, REWARD, BETA, SHIFT)
        for t in (0.3, 0.8):
            f, g2 = PROCESS.rates(np, np.asarray(t))
            action = PROCESS.marginal(DATA, t).score(POINTS) + SHIFT
            v = partial(made.value, t=t)
            slope = np.stack(directional(v, POINTS, 1e-2), axis=-1)
            bend = sum(directional(v, POINTS, 2e-2, order=2))
            moved = np.sum((g2 * action - f * POINTS) * slope, axis=-1)
            right = moved + 0.5 * g2 * bend - 0.5 * BETA * g2 * float(SHIFT @ SHIFT)
            yield f"t = {t}", derivative(lambda s: made.value(POINTS, s), t), right
            yield f"gradient, t = {t}", made.value_gradient(POINTS, t), slope
        yield "at the data", made.value(POINTS, 0.0), REWARD.value(POINTS)

    @exact(1e-12)
    def objective_and_its_gradient(ShiftedScore):
        for start in (None, Gaussian([0.4, -1.0], [[0.5, 0.2], [0.2, 2.0]])):
            made = ShiftedScore(PROCESS, DATA, REWARD, BETA, SHIFT, start)
            z, w = np.polynomial.hermite_e.hermegauss(5)
            from_law = Gaussian([0.0, 0.0], np.eye(2)) if start is None else start
            nodes = np.stack(np.meshgrid(z, z, indexing="ij"), axis=-1)
            x = from_law.mean + nodes @ np.linalg.cholesky(from_law.cov).T
            mean = np.sum(np.outer(w, w) / (2 * math.pi) * made.value(x, 1.0))
            yield "objective", made.objective(), mean
            slope = directional(partial(_objective, ShiftedScore, start), SHIFT, 0.1)
            yield "gradient", made.policy_gradient(), slope
        best = ShiftedScore(
            PROCESS, DATA, REWARD, BETA, ShiftedScore(PROCESS, DATA, REWARD, BETA, SHIFT).best()
        )
        yield "best", best.policy_gradient(), np.zeros(2)

    mutants = {
        "penalty without the half": wrong(ShiftedScore, beta=lambda beta: 2 * beta),
        "sign of the shift": wrong(ShiftedScore, shift=lambda shift: -shift),
        "curvature forgotten": wrong(ShiftedScore, reward=lambda reward: Quadratic(reward.c, 0.0 * reward.Q)),
    }


@claim(
    "SCORE-ACTION-ODE-1",
    "A score tuned on the SDE moves the samples of the ODE otherwise",
    r"""
    R_\eta = \tfrac{1+\eta^2}2 \int_0^T g^2 e^{\int \frac12 g^2 - \frac{1+\eta^2}2 g^2/\Sigma}\,dt; \qquad
    v = 1: \; R_0 = \log\tfrac1{\alpha_T}, \; R_1 = 2(1 - \alpha_T), \quad
    R_0 > R_1 \iff \log\tfrac1{\alpha_T} > 1.594
    """,
    covers=[response],
    hypotheses=[r"\mathrm{VP}", r"v > 0", r"\eta \geq 0"],
)
class Deployed:
    """On long schedules the ODE over-shoots the tuned mean; on short ones it falls short."""

    @exact(1e-10, over=grid(v=(1e-2, 0.3, 0.97, 1.0, 1.04, 5.0), t=(0.2, 1.0), eta=(0.0, 0.5, 1.0, 2.0)))
    def definition_by_quadrature(response, v, t, eta):
        got = response(PROCESS, v, t, eta)
        return got, reach(Scalar(0.0, v), t, eta)

    @property(1e-11, examples=40, false_alarm=0.0, over=grid(eta=(0.0, 1.0)))
    def closed_and_quadrature_forms_meet(response, eta, v=st.floats(0.05, 20.0), t=st.floats(0.01, 1.0)):
        # Even in eta at 0, so that the mean of both sides has an error of second order at each.
        sides = [float(response(PROCESS, v, t, abs(eta + h))) for h in (1e-6, -1e-6)]
        return response(PROCESS, v, t, eta), 0.5 * sum(sides)

    @exact(1e-12, over=grid(eta=(0.0, 0.5, 1.0)))
    def deployed_means(response, eta):
        moved = policy().terminal_law(eta).mean - policy(0.0 * SHIFT).terminal_law(eta).mean
        values, vectors = np.linalg.eigh(DATA.cov)
        map_ = (vectors * np.asarray([float(response(PROCESS, v, 1.0, eta)) for v in values])) @ vectors.T
        return moved, map_ @ SHIFT

    @exact(1e-13)
    def border_of_over_shooting(response):
        def gap(half):
            p = VP(2 * half, 2 * half, 1.0)
            return float(response(p, 1.0, 1.0, 0.0)) - float(response(p, 1.0, 1.0, 1.0))

        # x = 2 (1 - exp(-x)), by iteration of the map.
        x = 1.6
        for _ in range(200):
            x = 2.0 * (1.0 - math.exp(-x))
        return brentq(gap, 1.0, 2.0, xtol=1e-13) if gap(1.0) * gap(2.0) < 0 else 0.0, x

    refuses = [(response, PROCESS, 1.0, 0.5, -0.5), (response, PROCESS, 0.0, 0.5)]

    @figure
    def over_and_under_shooting(response):
        """The ratio of what a shift of the score does to the ODE and to the SDE, by the length of the schedule:
        a policy tuned on the SDE (1) over-shoots or falls short when the ODE samples it."""
        from matplotlib.figure import Figure

        drawing = Figure()
        axes, clocks = drawing.subplots(), np.linspace(0.2, 12.0, 120)
        for v in (0.1, 0.5, 1.0, 4.0):
            ratio = [
                float(response(VP(b, b, 1.0), v, 1.0, 0.0) / response(VP(b, b, 1.0), v, 1.0, 1.0))
                for b in clocks
            ]
            axes.plot(np.exp(-0.5 * clocks), ratio, label=f"data variance {v:g}")
        axes.axhline(1.0, color="0.6", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xlabel("alpha at the start of sampling")
        axes.set_ylabel("ODE / SDE")
        axes.legend(frameon=False)
        return drawing

    mutants = {
        "same drift for both": wrong(response, lambda value, eta: value * 2 / (1 + eta**2)),
        "SDE for all": wrong(response, eta=lambda: 1.0),
        "eta not squared": wrong(response, eta=lambda eta: math.sqrt(eta)),
    }


@claim(
    "SCORE-ACTION-KL-1",
    "The KL penalty is a running reward, and bounds that of the samples",
    r"""
    \mathrm{KL}(P^\theta \Vert P^{pre}) = \tfrac12 E \int g^2 |s_\theta - s_{pre}|^2 dt = \tfrac12 B_T |\theta|^2
    \;\geq\; \mathrm{KL}(p_0^\theta \Vert p_0^{pre}) = \tfrac12 (R\theta)^\top \mathrm{Cov}^{-1} R\theta
    """,
    covers={
        "path_kl": path_kl,
        "running_cost": running_cost,
        "of_the_policy": ShiftedScore.path_kl,
        "terminal_kl": ShiftedScore.terminal_kl,
    },
    hypotheses=[r"\mathrm{same\;start}", r"\eta = 1"],
)
class Penalty:
    @exact(1e-12, over=rows("shift", (SHIFT, OTHER)))
    def samples_by_the_divergence_of_their_laws(terminal_kl, shift):
        """The terminal laws with and without the shift, and the general formula for two Gaussian laws."""
        moved, base = (policy(s).terminal_law() for s in (shift, 0.0 * shift))
        return terminal_kl(policy(shift)), kl(moved, base)

    @rate()
    def sums_of_steps(path_kl, running_cost, of_the_policy):
        exact_kl, errors = of_the_policy(policy()), []
        for n in (40, 80, 160):
            change, times = np.broadcast_to(SHIFT, (1, n, 2)).copy(), np.linspace(1.0, 0.0, n + 1)
            g2dt = PROCESS.rates(np, times[:-1])[1] / n
            total, costs = path_kl(change, g2dt), running_cost(change, g2dt, 1.0)
            errors.append((float(total[0]) - exact_kl, float(np.sum(costs)) - exact_kl))
        # The left-point rule: error h (g^2(T) - g^2(0)) |theta|^2 / 4.
        lead = 0.25 * float(SHIFT @ SHIFT) * (PROCESS.beta_max - PROCESS.beta_min)
        for k in (0, 1):
            orders = [math.log2(abs(errors[i][k] / errors[i + 1][k])) for i in range(2)]
            yield Rate(orders, 1.0, 0.01, errors[-1][k] * 160, lead, 1e-3)

    @exact(1e-13)
    def chain_rule_of_gaussian_steps(path_kl):
        """The divergences of normal laws of one variance, step by step."""
        change = np.asarray([[[0.3, -1.0], [0.2, 0.4]]])
        g2dt = np.asarray([0.5, 0.25])
        want = sum(float(np.sum((g * c) ** 2)) / (2 * g) for c, g in zip(change[0], g2dt, strict=True))
        return path_kl(change, g2dt), np.asarray([want])

    @bound(tight=0.7)
    def samples_diverge_less_than_paths(of_the_policy, terminal_kl):
        short, reward = VP(1.0, 1.0, 1.0), Quadratic([1.0], [[0.0]])
        policies = [policy(shift) for shift in (SHIFT, OTHER, np.asarray([1.0, 0.0]))]
        policies += [ShiftedScore(short, Gaussian([0.0], [[v]]), reward, 1.0, [1.0]) for v in (0.5, 1.0, 3.0)]
        for made in policies:
            yield f"shift {made.shift}", terminal_kl(made), of_the_policy(made)

    mutants = {
        "without the half": {f: wrong(f, lambda value: 2 * value) for f in (path_kl, running_cost)},
        "g for g^2": {f: wrong(f, g2dt=lambda g2dt: g2dt**0.5) for f in (path_kl, running_cost)},
        "mean over coordinates": {
            path_kl: wrong(path_kl, lambda value, change: value / change.shape[-1]),
            running_cost: wrong(running_cost, lambda value, excess: value / excess.shape[-1]),
        },
        "half of the divergence of the samples": wrong(ShiftedScore.terminal_kl, lambda value: 0.5 * value),
        "half of the divergence of the policy": wrong(ShiftedScore.path_kl, lambda value: 0.5 * value),
    }


@claim(
    "SCORE-ACTION-Q-1",
    "The advantage rate: performance difference and policy improvement",
    r"""
    J(\theta') - J(\theta) = E^{\theta'}\!\int q^\theta(X_t, t, s_{\theta'})\,dt, \qquad
    \arg\max_a q^\theta = s_{pre} + \nabla V^\theta/\beta, \qquad q^\theta(x, t, s_\theta) = 0
    """,
    covers=[q_function],
    hypotheses=[r"\beta > 0", r"\mathrm{drift\;linear\;in\;the\;action}"],
)
class AdvantageRate:
    @exact(1e-11)
    def performance_difference(q_function):
        z, w = np.polynomial.hermite_e.hermegauss(4)
        nodes = np.stack(np.meshgrid(z, z, indexing="ij"), axis=-1).reshape(-1, 2)
        weights = np.outer(w, w).ravel() / (2 * math.pi)
        old = policy(SHIFT)

        def rise(t):
            # The law of X_t under the new policy: the pre-trained one, moved.
            law = on_the_way(t)
            x = law.mean + nodes @ np.linalg.cholesky(law.cov).T
            score = PROCESS.marginal(DATA, t).score(x)
            q = q_function(
                PROCESS, np.asarray(t), BETA, score + OTHER, score + SHIFT, score, old.value_gradient(x, t)
            )
            return float(np.sum(weights * q))

        # The integrand is smooth: a Gauss rule in noise time.
        nodes_t, weights_t = np.polynomial.legendre.leggauss(24)
        total = sum(0.5 * v * rise(0.5 * (1 + u)) for u, v in zip(nodes_t, weights_t, strict=True))
        yield "difference", total, policy(OTHER).objective() - old.objective()

    @exact(1e-10)
    def zero_and_maximum(q_function):
        t = 0.6
        score = PROCESS.marginal(DATA, t).score(POINTS)
        gradient = policy().value_gradient(POINTS, t)

        def q(a):
            return q_function(PROCESS, np.asarray(t), BETA, a, score + SHIFT, score, gradient)

        yield "at the policy", q(score + SHIFT), np.zeros(3)
        top = score + gradient / BETA
        for slope in directional(q, top, 0.1):
            yield "slope at the top", slope, np.zeros(3)

    @exact(1e-11)
    def nothing_improves_the_optimum(q_function):
        t = 0.6
        score = PROCESS.marginal(DATA, t).score(POINTS)
        best = optimal_action(PROCESS, DATA, REWARD, BETA, POINTS, t)
        slope = BETA * (best - score)
        q = q_function(PROCESS, np.asarray(t), BETA, best + SHIFT, best, score, slope)
        loss = -0.5 * BETA * float(PROCESS.rates(np, np.asarray(t))[1]) * float(SHIFT @ SHIFT)
        yield "quadratic loss", q, np.full(3, loss)

    mutants = {
        "without the penalty": wrong(
            q_function,
            lambda xp, process, t, action, policy, gradient: (
                process.rates(xp, t)[1] * xp.sum((action - policy) * gradient, axis=-1)
            ),
        ),
        "penalty of the change": wrong(q_function, pretrained=lambda policy: policy),
        "g for g^2": wrong(
            q_function, lambda value, xp, process, t: value / xp.sqrt(process.rates(xp, t)[1])
        ),
        "sign of the gradient": wrong(q_function, gradient=lambda gradient: -gradient),
        "half": wrong(q_function, lambda value: 0.5 * value),
    }


@cache
def on_the_way(t: float) -> Gaussian:
    """The law at noise time t under the shift OTHER, from N(0, I) at T: mean and covariance by their ODE."""
    values, vectors = np.linalg.eigh(DATA.cov)
    push, m = vectors.T @ OTHER, vectors.T @ DATA.mean

    def field(s: float, y: Any) -> Any:
        mean, var = y[:2], y[2:]
        line = Scalar(0.0, 1.0)
        b, alpha = line.rate(s), line.alpha(s)
        total = alpha**2 * values + 1 - alpha**2
        slope = 0.5 * b - b / total
        # Noise time falls: the signs are those of the reversed clock.
        return -np.concatenate([slope * mean + b * alpha * m / total + b * push, 2 * slope * var + b])

    y = solve_ivp(field, (1.0, t), [0.0, 0.0, 1.0, 1.0], "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    return Gaussian(vectors @ y[:2], (vectors * y[2:]) @ vectors.T)
