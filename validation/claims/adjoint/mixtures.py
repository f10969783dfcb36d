r"""Mixtures on the line: quantile maps, tilted weights, and what control does to modes."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import ndtr, ndtri

from driftproof.theory.adjoint import MixtureFlow
from driftproof.theory.laws import Mixture, Normal
from driftproof.theory.rewards import Linear, Quadratic
from driftproof.validation import boundary, claim, exact, rows
from driftproof.validation.mutants import wrong

from .textbook import closed_loop, derivative

__all__ = ["Modes", "QuantileMaps"]

LAW = Mixture([0.3, 0.7], Normal([-1.5, 1.0], [0.4, 0.8]))
FLOW = MixtureFlow(LAW)
SYMMETRIC = MixtureFlow(Mixture([0.5, 0.5], Normal([-2.0, 2.0], [0.5, 0.5])))
POINTS = np.asarray([-2.5, -0.7, 0.1, 1.9])
TILTS = ((Linear([0.8]), 0.9), (Quadratic([0.8], [[1.3]]), 0.6), (Quadratic([0.1], [[-0.5]]), 0.9))


@claim(
    "ADJOINT-MIXTURE-1",
    "On the line the flow is the quantile map, and tilts stay mixtures",
    r"""\varphi_{t \to s} = F_s^{-1} \circ F_t, \quad \varphi' = \frac{p_t(x)}{p_s(\varphi(x))}, \qquad
        \mathrm{tilt} = \sum_i w_i' N(m_i', \sigma_i'^2)""",
    covers=[MixtureFlow.flow_map, MixtureFlow.slope, MixtureFlow.velocity, MixtureFlow.tilted],
    hypotheses=[r"d = 1", r"1 + q\sigma_i^2/\lambda > 0"],
)
class QuantileMaps:
    @exact(3e-9)
    def the_velocity_integrated(flow_map, velocity):
        end, _ = closed_loop(lambda x, t: velocity(FLOW, x, t)[0], POINTS, 0.9, 300)
        return flow_map(FLOW, POINTS, 0.9, 0.0), end

    @exact(1e-10)
    def its_slope(flow_map, slope):
        return slope(FLOW, POINTS, 1.0, 0.2), derivative(lambda h: flow_map(FLOW, POINTS + h, 1.0, 0.2), 0.0)

    @exact(1e-12, over=rows("reward, lam", TILTS))
    def tilt_by_quadrature(tilted, reward, lam):
        x, weights = _gauss()
        density = FLOW.density(x, 0.0) * np.exp(reward.value(x[:, None]) / lam)
        return np.exp(tilted(FLOW, reward, lam).log_prob(x)), density / np.sum(weights * density)

    refuses = [
        (MixtureFlow.tilted, FLOW, Quadratic([0.0], [[-2.0]]), 1.0),
        (MixtureFlow.tilted, FLOW, Linear([1.0]), 0.0),
    ]

    mutants = {
        "reversed": wrong(MixtureFlow.flow_map, t=lambda s: s, s=lambda t: t),
        "inverse slope": wrong(MixtureFlow.slope, lambda value: 1.0 / value),
        "levels for quantiles": wrong(
            MixtureFlow.flow_map, lambda x, t, s: x * (1.0 - s) / max(1.0 - t, 0.1)
        ),
        "velocity in flow time": wrong(MixtureFlow.velocity, t=lambda t: 1.0 - t),
        "tilt at another weight": wrong(MixtureFlow.tilted, lam=lambda lam: 2.0 * lam),
    }


def _gauss() -> Any:
    nodes, weights = np.polynomial.legendre.leggauss(12)
    edges = np.linspace(-12.0, 12.0, 101)
    half = 0.5 * np.diff(edges)
    return (edges[:-1, None] + half[:, None] * (1.0 + nodes)).ravel(), (half[:, None] * weights).ravel()


SLOPES = rows("c", (0.5, 1.0))


@cache
def _mass(upper_mass: Any, c: float, local: bool = False) -> float:
    """Mass of the right mode under the optimum, or under the nearest stationary policy."""
    return float(upper_mass(SYMMETRIC, 0.0, Linear([c]), 1.0, local=local))


@cache
def _dynamic_programming(c: float) -> float:
    """Mass of the right mode under the optimum, by the value function on a grid of quantiles.

    In the coordinate y = image at the data, a push u moves y by slope * u: V(y, t) solves
    V_t = -slope^2 V_y^2 / 2, by monotone steps (minimum over moves).
    """
    y = np.linspace(-5.0, 6.5, 384)
    value = -c * y
    times = np.linspace(0.0, 1.0, 33)
    for low, high in pairwise(times):
        middle = 0.5 * (low + high)
        x = SYMMETRIC.flow_map(y, 0.0, middle)
        slope = SYMMETRIC.slope(x, middle, 0.0)
        # Moves over the places between: the metric is dy^2 / slope^2, integrated along the line.
        length = np.concatenate([[0.0], np.cumsum(0.5 * (1.0 / slope[1:] + 1.0 / slope[:-1]) * np.diff(y))])
        cost = 0.5 * (length[:, None] - length[None, :]) ** 2 / (high - low)
        value = np.min(cost + value[None, :], axis=1)
    noise = np.linspace(-3.0, 3.0, 301)
    there = np.interp(noise, SYMMETRIC.flow_map(y, 0.0, 1.0), value)
    kink = noise[int(np.argmin(np.gradient(np.gradient(there))))]  # where two trajectories cost the same
    return float(ndtr(-kink))


@cache
def _fold() -> float:
    """The largest noise of the lower branch, by bisection on the slope of noise against endpoint."""
    low, high = -1.6, -1.0
    for _ in range(20):
        middle = 0.5 * (low + high)
        ends = SYMMETRIC.extremals([middle - 1e-4, middle + 1e-4], Linear([0.5]), 1.0)[0]
        low, high = (middle, high) if ends[1] > ends[0] else (low, middle)
    return float(SYMMETRIC.extremals(np.asarray(low), Linear([0.5]), 1.0)[0])


@cache
def _matched(c: float, steps: int = 32, count: int = 400, rounds: int = 20) -> float:
    """Mass of the right mode in the later rounds of matching: policies interpolate targets between states."""
    masses = []
    start, h = ndtri((np.arange(count) + 0.5) / count), 1.0 / steps
    policy = [(start, np.zeros(count))] * steps
    for _ in range(rounds):
        states = [start]
        for k in range(steps):
            x = states[-1]
            states.append(x - h * (SYMMETRIC.velocity(x, 1.0 - k * h)[0] + np.interp(x, *policy[k])))
        a = np.full(count, -c)
        for k in reversed(range(steps)):
            x = states[k]
            order = np.argsort(x)
            policy[k] = (x[order], a[order])
            a = a - h * SYMMETRIC.velocity(x, 1.0 - k * h)[1] * a
        masses.append(np.mean(states[-1] > 0.0))
    return float(np.mean(masses[rounds // 2 :]))


@claim(
    "ADJOINT-MODES-1",
    "Mode weights: the optimum tears the data apart; matching stops short of it",
    r"""\mathrm{modes} \pm 2, \; sd = 0.5, \; r = c\,x: \quad
        P(X_0 > 0) = 0.881,\; 0.884,\; 0.711 \;(c = \tfrac12; \;\mathrm{tilt,\;optimum,\;local\;optimum})""",
    covers=[MixtureFlow.tilted, MixtureFlow.upper_mass, MixtureFlow.jump, MixtureFlow.extremals],
    hypotheses=[r"\lambda = 1", r"\mathrm{linear\;path}"],
)
class Modes:
    """Two trajectories from one noise can both satisfy Pontryagin's conditions.  The optimum takes the cheaper
    and jumps between the modes; rounds of matching that start from the flow keep to their mode for as
    long as it is stationary.  That modes are preserved is a property of the second, not of the problem."""

    @exact(1e-12, over=SLOPES)
    def tilt_by_quadrature(tilted, c):
        x, weights = _gauss()
        parts = [np.exp(Normal(m, 0.5).log_prob(x) + c * x) * weights for m in (-2.0, 2.0)]
        return tilted(SYMMETRIC, Linear([c]), 1.0).weights[1], np.sum(parts[1]) / np.sum(parts)

    @exact(2e-2, over=SLOPES)
    def the_optimum_by_dynamic_programming(upper_mass, c):
        return _mass(upper_mass, c), _dynamic_programming(c)

    @exact(1e-11, over=SLOPES)
    def both_trajectories_cost_the_same_at_the_jump(upper_mass, jump, extremals, c):
        _, *ends = jump(SYMMETRIC, Linear([c]), 1.0)
        noise, cost, _ = extremals(SYMMETRIC, ends, Linear([c]), 1.0)
        yield "noise", noise, np.full(2, -ndtri(_mass(upper_mass, c)))
        yield "cost", cost[0], cost[1]

    @exact(1e-7)
    def trajectories_by_implicit_steps(extremals):
        """State, adjoint and cost from three endpoints, by an implicit method."""
        reward, ends = Linear([0.5]), np.asarray([-2.2, 0.3, 1.9])

        def rates(t, state):
            v, slope = SYMMETRIC.velocity(state[:3], t)
            adjoint = state[3:6]
            return np.concatenate([v + adjoint, -slope * adjoint, 0.5 * adjoint**2])

        begin = np.concatenate([ends, np.full(3, -0.5), np.zeros(3)])
        last = solve_ivp(rates, (0.0, 1.0), begin, "Radau", rtol=1e-9, atol=1e-10).y[:, -1]
        noise, cost, adjoint = extremals(SYMMETRIC, ends, reward, 1.0)
        yield "noise", noise, last[:3]
        yield "adjoint", adjoint, last[3:6]
        yield "cost", cost, last[6:] - 0.5 * ends

    @boundary(0.1, over=SLOPES)
    def the_stationary_policy_is_not_the_optimum(upper_mass, c):
        return _mass(upper_mass, c, local=True), _mass(upper_mass, c)

    @exact(3e-2, over=SLOPES)
    def rounds_of_matching_stay_there(upper_mass, c):
        """Lean rounds from the flow itself, regressed on the states of 400 noises.  At the edge of a branch they
        chatter, by some hundredths a round; the optimum is 0.16 away."""
        return _mass(upper_mass, c, local=True), _matched(c)

    @exact(1e-10)
    def the_fold_by_the_costs_of_the_lower_branch(upper_mass):
        """The lower branch ends where its noise is largest: found here by bisection on the derivative."""
        return _mass(upper_mass, 0.5, local=True), ndtr(-_fold())

    mutants = {
        "the tilt for all": wrong(
            MixtureFlow.upper_mass, lambda self, reward, lam: float(self.tilted(reward, lam).weights[1])
        ),
        "the local optimum for the optimum": wrong(MixtureFlow.upper_mass, local=lambda: True),
        "weights of the tilt swapped": wrong(
            MixtureFlow.tilted, lambda value: Mixture(value.weights[::-1], value.components)
        ),
        "a jump a little too far": wrong(
            MixtureFlow.jump, lambda value: (value[0], value[1], value[2] + 1e-3)
        ),
        "trajectories of half the weight": wrong(MixtureFlow.extremals, lam=lambda lam: 0.5 * lam),
    }
