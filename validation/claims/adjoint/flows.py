r"""Gaussian flows: how far a control can push, what it is worth, and the law that it leads to."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from driftproof.theory.adjoint import GaussianFlow
from driftproof.theory.laws import Gaussian
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import (
    CASES,
    EACH,
    FLOWS,
    Wavy,
    closed_loop,
    curvature,
    derivative,
    line,
    path_factor,
    path_integral,
    simpson,
    slopes,
)

__all__ = ["Gramians", "OptimalLaw", "Values"]

STATES = np.asarray([[0.3, -1.0], [-1.2, 0.4], [2.0, 1.5]])
WAVY = ("wavy", FLOWS["linear"], Wavy(), 0.8)
SMOOTH = rows("label, flow, reward, lam", [*CASES, WAVY])
BOTH_PATHS = rows("label, path, flow", ((path, path, flow) for path, flow in FLOWS.items()))


@claim(
    "ADJOINT-GRAMIAN-1",
    "How far a control can push: Gramians of both paths",
    r"""G_t = \frac1\lambda\int_0^t \Phi_s^2\,ds, \qquad
        G_1 = \frac{\pi}{2\lambda}\,\Sigma^{1/2} \;(\mathrm{linear}), \quad
        \frac1\lambda\,\Sigma^{1/2} \;(\mathrm{trigonometric})""",
    covers=[GaussianFlow.gramian, GaussianFlow.transition],
    hypotheses=[r"\Sigma \succ 0", r"\lambda > 0"],
)
class Gramians:
    @exact(
        1e-12,
        scale=0.0,
        over=grid(path=("linear", "trigonometric"), sigma=(0.05, 0.7, 1.0, 4.0), t=(0.2, 1.0)),
    )
    def quadrature_of_the_definition(gramian, path, sigma, t):
        want = path_integral(lambda s: path_factor(sigma, s, path) ** 2, 0.0, t, sigma)
        return gramian(line(sigma, path), t, 0.7)[0, 0], want / 0.7

    @exact(1e-12, over=BOTH_PATHS)
    def the_stretch_squared_adds_up(gramian, transition, path, flow):
        """The transition is that of the definition, axis by axis, and its square is what the Gramian sums."""
        variances, axes = np.linalg.eigh(flow.cov)
        nodes, weights = np.polynomial.legendre.leggauss(60)
        total = np.zeros((2, 2))
        for s, w in zip(0.35 * (nodes + 1.0), 0.35 * weights, strict=True):
            phi = transition(flow, float(s))
            total += w * phi @ phi
        yield "sum", gramian(flow, 0.7, 0.4), total / 0.4
        factors = [path_factor(float(np.sqrt(v)), 0.7, path) for v in variances]
        yield "axes", transition(flow, 0.7), (axes * factors) @ axes.T

    @exact(1e-13, over=rows("path, factor", (("linear", 0.5 * np.pi), ("trigonometric", 1.0))))
    def roots_of_the_covariance(gramian, path, factor):
        root = gramian(FLOWS[path], 1.0, 1.0) / factor
        return root @ root, FLOWS[path].cov

    @exact(1e-13)
    def a_nearly_singular_direction(gramian):
        """sigma = 1e-6: neither overflow nor loss of digits."""
        return gramian(line(1e-6), 1.0, 1.0)[0, 0] / 1e-6, 0.5 * np.pi

    refuses = [
        (GaussianFlow, [0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]]),
        (GaussianFlow.gramian, line(1.0), 0.5, 0.0),
    ]

    mutants = {
        "linear path for all": wrong(
            GaussianFlow.gramian, self=lambda self: GaussianFlow(self.mean, self.cov)
        ),
        "times data": wrong(GaussianFlow.gramian, lambda value, lam: lam * value),
        "first power of the stretch": wrong(
            GaussianFlow.gramian, lambda self, t, lam: self.truncated_gain(t, lam, "identity")
        ),
        "covariance, not its root": wrong(
            GaussianFlow.gramian, lambda value, self: self.cov * value[0, 0] / self.cov[0, 0]
        ),
        "stretch in flow time": wrong(GaussianFlow.transition, t=lambda t: 1.0 - t),
    }


@claim(
    "ADJOINT-VALUE-1",
    "The value is a Moreau envelope, for any smooth reward",
    r"""V(x, t) = \min_z \tfrac12 (z - \hat y)^\top G_t^{-1} (z - \hat y) - r(z), \qquad
        \partial_t V + v \cdot \nabla V + \frac{|\nabla V|^2}{2\lambda} = 0, \quad u = \frac{\nabla V}\lambda""",
    covers=[GaussianFlow.value, GaussianFlow.control, GaussianFlow.optimal_endpoint],
    hypotheses=[r"I - G\,\nabla^2 r \succ 0", r"\mathrm{noise\;time}"],
)
class Values:
    @exact(2e-10, over=SMOOTH)
    def hamilton_jacobi_bellman(value, flow, reward, lam):
        """In noise time."""
        t = 0.55
        change = derivative(lambda s: value(flow, STATES, s, reward, lam), t)
        slope = slopes(lambda x: value(flow, x, t, reward, lam), STATES)
        carried = np.sum(slope * flow.velocity(STATES, t) + slope**2 / (2.0 * lam), axis=-1)
        return change + carried, np.zeros(3)

    @exact(1e-10, over=SMOOTH)
    def the_control_is_the_slope(value, control, flow, reward, lam):
        slope = slopes(lambda x: value(flow, x, 0.6, reward, lam), STATES)
        return control(flow, STATES, 0.6, reward, lam), slope / lam

    @exact(5e-7, over=rows("label, flow, reward, lam", [*CASES[:2], WAVY]))
    def the_cost_of_the_trajectory(value, control, optimal_endpoint, flow, reward, lam):
        """The control followed from noise to data pays what the value says."""

        def drift(x, t):
            return flow.velocity(x, t) + control(flow, x, t, reward, lam)

        end, seen = closed_loop(drift, STATES, 1.0, 40)
        spent = [0.5 * lam * np.sum(control(flow, x, t, reward, lam) ** 2, -1) for t, x in seen]
        yield "value", simpson(spent, 1.0) - reward.value(end), value(flow, STATES, 1.0, reward, lam)
        yield "endpoint", optimal_endpoint(flow, STATES, 1.0, reward, lam), end

    refuses = [
        (GaussianFlow.value, line(1.0), [[0.0]], 1.0, Quadratic([0.0], [[-1.0]]), 1.0),
        (GaussianFlow.value, line(1.0), [[0.0]], 1.0, object(), 1.0),
        (GaussianFlow.value, line(1.0), [[0.0]], 1.0, Linear([1.0]), -1.0),
    ]

    mutants = {
        "sign of the control": wrong(GaussianFlow.control, lambda value: -value),
        "flow time": wrong(GaussianFlow.value, t=lambda t: 1.0 - t),
        "weight forgotten": wrong(GaussianFlow.value, lam=lambda: 1.0),
        "gradient at the base endpoint": wrong(
            GaussianFlow.control,
            lambda self, x, t, reward, lam: -reward.gradient(self.endpoint(x, t)) @ self.transition(t) / lam,
        ),
        "endpoint at half the push": wrong(GaussianFlow.optimal_endpoint, lam=lambda lam: 2.0 * lam),
    }


@claim(
    "ADJOINT-OPTIMUM-1",
    "The law of the optimum, its cost and its Riccati equation",
    r"""X_0 \sim N\big((I+GQ)^{-1}(m+Gc),\,(I+GQ)^{-1}\Sigma(I+GQ)^{-\top}\big), \qquad
        P_t = \Phi_t Q(I+G_tQ)^{-1}\Phi_t""",
    covers=[GaussianFlow.terminal_law, GaussianFlow.riccati, GaussianFlow.optimal_cost],
    hypotheses=[r"r = c \cdot x - \tfrac12 x^\top Q x", r"I + GQ \; \mathrm{has\;positive\;eigenvalues}"],
)
class OptimalLaw:
    @exact(3e-8, over=EACH)
    def the_controlled_flow_arrives_there(terminal_law, flow, reward, lam):
        """The closed loop is affine: three trajectories tell mean and covariance."""
        law, end = terminal_law(flow, reward, lam), _arrival(flow, reward, lam)
        factor = (end[1:] - end[0]).T
        yield "mean", law.mean, end[0]
        yield "covariance", law.cov, factor @ factor.T

    @exact(1e-12, over=EACH)
    def expected_cost(terminal_law, optimal_cost, flow, reward, lam):
        """E V(x, 1) from V at points with the moments of the noise; V is quadratic."""
        nodes = np.sqrt(2.0) * np.vstack([np.eye(2), -np.eye(2)])  # mean 0, covariance I
        law, least = terminal_law(flow, reward, lam), optimal_cost(flow, reward, lam)
        # E int |u|^2 = E |grad r(z)|^2 in the metric of the Gramian over lam, with z ~ the terminal law.
        g, q, slope = flow.gramian(1.0, lam) / lam, curvature(reward), reward.gradient(law.mean)
        energy = 0.5 * lam * (slope @ g @ slope + np.trace(q @ g @ q @ law.cov))
        yield "mean of the value", np.mean(flow.value(nodes, 1.0, reward, lam)), least
        yield "energy less reward", energy - reward.expectation(law), least

    @exact(1e-11, over=EACH)
    def riccati_equation(riccati, flow, reward, lam):
        """P' = -A P - P A - P^2 / lam in noise time, and P_0 = Q; A and P need not commute."""
        slope, p = flow.vjp(np.zeros((2, 2)), 0.6, np.eye(2)), riccati(flow, 0.6, reward, lam)
        rate = derivative(lambda t: riccati(flow, t, reward, lam), 0.6)
        yield "rate", rate, -slope @ p - p @ slope - p @ p / lam
        yield "end", riccati(flow, 0.0, reward, lam), curvature(reward)

    mutants = {
        "the tilt": wrong(GaussianFlow.terminal_law, lambda self, reward, lam: tilted(self.law, reward, lam)),
        "covariance contracts once": wrong(
            GaussianFlow.terminal_law,
            lambda value, self, reward, lam: Gaussian(value.mean, _contracted(self, reward, lam)),
        ),
        "half the Gramian": wrong(GaussianFlow.terminal_law, lam=lambda lam: 2.0 * lam),
        "sign of the Riccati matrix": wrong(GaussianFlow.riccati, lambda value: -value),
        "cost at another weight": wrong(GaussianFlow.optimal_cost, lam=lambda lam: 2.0 * lam),
    }


@cache
def _arrival(flow: Any, reward: Any, lam: float) -> Any:
    """Where the controlled flow takes the noises 0 and both unit vectors."""

    def drift(x: Any, t: float) -> Any:
        return flow.velocity(x, t) + flow.control(x, t, reward, lam)

    return closed_loop(drift, np.vstack([np.zeros(2), np.eye(2)]), 1.0, 80)[0]


def _contracted(flow: Any, reward: Any, lam: float) -> Any:
    once = np.linalg.inv(np.eye(2) + flow.gramian(1.0, lam) @ curvature(reward)) @ flow.cov
    return 0.5 * (once + once.T)
