r"""Gaussian flows: how far a control can push, what it is worth, and the law that it leads to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

import numpy as np

from driftproof.theory.adjoint import GaussianFlow
from driftproof.theory.laws import Gaussian
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.validation import Thing, boundary, claim, exact, raises

from .textbook import CASES, FLOWS, Wavy, closed_loop, line, path_factor, path_integral, simpson, slopes

__all__ = ["Gramians", "OptimalLaw", "Values"]

STATES = np.asarray([[0.3, -1.0], [-1.2, 0.4], [2.0, 1.5]])


@claim(
    "ADJOINT-GRAMIAN-1",
    paper="adjoint",
    title="How far a control can push: Gramians of both paths",
    statement=r"""G_t = \frac1\lambda\int_0^t \Phi_s^2\,ds, \qquad
        G_1 = \frac{\pi}{2\lambda}\,\Sigma^{1/2} \;(\mathrm{linear}), \quad
        \frac1\lambda\,\Sigma^{1/2} \;(\mathrm{trigonometric})""",
    hypotheses=[r"\Sigma \succ 0", r"\lambda > 0"],
    vouches=[GaussianFlow.gramian, GaussianFlow.transition],
)
class Gramians:
    thing = GaussianFlow.gramian

    @exact(tolerance=1e-12, scale=0.0)
    def quadrature_of_the_definition(thing: Thing) -> Iterator[Any]:
        for path in ("linear", "trigonometric"):
            for sigma in (0.05, 0.7, 1.0, 4.0):
                for t in (0.2, 1.0):
                    want = path_integral(lambda s: path_factor(sigma, s, path) ** 2, 0.0, t, sigma) / 0.7  # noqa: B023
                    yield f"{path}, sigma = {sigma}, t = {t}", thing(line(sigma, path), t, 0.7)[0, 0], want

    @exact(tolerance=1e-12)
    def the_stretch_squared_adds_up(thing: Thing) -> Iterator[Any]:
        """The transition is that of the definition, axis by axis, and its square is what the Gramian sums."""
        for path, flow in FLOWS.items():
            variances, axes = np.linalg.eigh(flow.cov)
            nodes, weights = np.polynomial.legendre.leggauss(60)
            total = np.zeros((2, 2))
            for s, w in zip(0.35 * (nodes + 1.0), 0.35 * weights, strict=True):
                phi = flow.transition(float(s))
                total += w * phi @ phi
            yield f"{path}, sum", thing(flow, 0.7, 0.4), total / 0.4
            factors = [path_factor(float(np.sqrt(v)), 0.7, path) for v in variances]
            yield f"{path}, axes", flow.transition(0.7), (axes * factors) @ axes.T

    @exact(tolerance=1e-13)
    def roots_of_the_covariance(thing: Thing) -> Iterator[Any]:
        for path, factor in (("linear", 0.5 * np.pi), ("trigonometric", 1.0)):
            root = thing(FLOWS[path], 1.0, 1.0) / factor
            yield path, root @ root, FLOWS[path].cov

    @exact(tolerance=1e-13)
    def a_nearly_singular_direction(thing: Thing) -> Iterator[Any]:
        """sigma = 1e-6: neither overflow nor loss of digits."""
        yield "sigma = 1e-6", thing(line(1e-6), 1.0, 1.0)[0, 0] / 1e-6, 0.5 * np.pi

    @boundary()
    def a_singular_covariance_is_refused(thing: Thing) -> Iterator[Any]:
        yield raises(ValueError, GaussianFlow, [0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]])
        yield raises(ValueError, GaussianFlow.gramian, line(1.0), 0.5, 0.0)

    mutants: ClassVar[dict[str, Thing]] = {
        "linear path for all": lambda f, t, lam: GaussianFlow(f.mean, f.cov).gramian(t, lam),
        "times data": lambda f, t, lam: f.gramian(t, lam) * lam,
        "first power of the stretch": lambda f, t, lam: f.truncated_gain(t, lam, "identity"),
        "covariance, not its root": lambda f, t, lam: f.cov * f.gramian(t, lam)[0, 0] / f.cov[0, 0],
    }


def _value_and_control(flow: Any, x: Any, t: float, reward: Any, lam: float) -> Any:
    return flow.value(x, t, reward, lam), flow.control(x, t, reward, lam)


def _residual(thing: Thing, flow: Any, x: Any, t: float, reward: Any, lam: float, h: float = 1e-3) -> Any:
    """dV/dt + v V' + V'^2 / 2 lam in noise time."""

    def value(t: float) -> Any:
        return thing(flow, x, t, reward, lam)[0]

    parts = [w * (value(t + j * h) - value(t - j * h)) for j, w in ((1, 0.75), (2, -0.15), (3, 1.0 / 60.0))]
    slope = slopes(lambda y: thing(flow, y, t, reward, lam)[0], x)
    return np.sum(parts, axis=0) / h + np.sum(slope * flow.velocity(x, t) + slope**2 / (2.0 * lam), axis=-1)


@claim(
    "ADJOINT-VALUE-1",
    paper="adjoint",
    title="The value is a Moreau envelope, for any smooth reward",
    statement=r"""V(x, t) = \min_z \tfrac12 (z - \hat y)^\top G_t^{-1} (z - \hat y) - r(z), \qquad
        \partial_t V + v \cdot \nabla V + \frac{|\nabla V|^2}{2\lambda} = 0, \quad u = \frac{\nabla V}\lambda""",
    hypotheses=[r"I - G\,\nabla^2 r \succ 0", r"\mathrm{noise\;time}"],
    vouches=[GaussianFlow.value, GaussianFlow.control, GaussianFlow.optimal_endpoint],
)
class Values:
    thing = staticmethod(_value_and_control)

    @exact(tolerance=2e-10)
    def hamilton_jacobi_bellman(thing: Thing) -> Iterator[Any]:
        for name, flow, reward, lam in [*CASES, ("wavy", FLOWS["linear"], Wavy(), 0.8)]:
            yield name, _residual(thing, flow, STATES, 0.55, reward, lam), np.zeros(3)

    @exact(tolerance=1e-10)
    def the_control_is_the_slope(thing: Thing) -> Iterator[Any]:
        for name, flow, reward, lam in [*CASES, ("wavy", FLOWS["linear"], Wavy(), 0.8)]:
            slope = slopes(lambda y: thing(flow, y, 0.6, reward, lam)[0], STATES)  # noqa: B023
            yield name, thing(flow, STATES, 0.6, reward, lam)[1], slope / lam

    @exact(tolerance=5e-7)
    def the_cost_of_the_trajectory(thing: Thing) -> Iterator[Any]:
        """The control followed from noise to data pays what the value says."""
        for name, flow, reward, lam in [*CASES[:2], ("wavy", FLOWS["linear"], Wavy(), 0.8)]:

            def drift(x: Any, t: float, flow: Any = flow, reward: Any = reward, lam: float = lam) -> Any:
                return flow.velocity(x, t) + thing(flow, x, t, reward, lam)[1]

            end, seen = closed_loop(drift, STATES, 1.0, 40)
            spent = [0.5 * lam * np.sum(thing(flow, x, t, reward, lam)[1] ** 2, -1) for t, x in seen]
            paid = simpson(spent, 1.0) - reward.value(end)
            yield name, paid, thing(flow, STATES, 1.0, reward, lam)[0]
            yield f"{name}, endpoint", flow.optimal_endpoint(STATES, 1.0, reward, lam), end

    @boundary()
    def rewards_must_bend_down_and_have_gradients(thing: Thing) -> Iterator[Any]:
        yield raises(ValueError, thing, line(1.0), [[0.0]], 1.0, Quadratic([0.0], [[-1.0]]), 1.0)
        yield raises(ValueError, thing, line(1.0), [[0.0]], 1.0, object(), 1.0)
        yield raises(ValueError, thing, line(1.0), [[0.0]], 1.0, Linear([1.0]), -1.0)

    mutants: ClassVar[dict[str, Thing]] = {
        "sign of the control": lambda f, x, t, r, lam: (f.value(x, t, r, lam), -f.control(x, t, r, lam)),
        "flow time": lambda f, x, t, r, lam: _value_and_control(f, x, 1.0 - t, r, lam),
        "weight forgotten": lambda f, x, t, r, lam: _value_and_control(f, x, t, r, 1.0),
        "gradient at the base endpoint": lambda f, x, t, r, lam: (
            f.value(x, t, r, lam),
            -r.gradient(f.endpoint(x, t)) @ f.transition(t) / lam,
        ),
    }


def _law(flow: Any, reward: Any, lam: float) -> Any:
    law = flow.terminal_law(reward, lam)
    return law.mean, law.cov


@claim(
    "ADJOINT-OPTIMUM-1",
    paper="adjoint",
    title="The law of the optimum, its cost and its Riccati equation",
    statement=r"""X_0 \sim N\big((I+GQ)^{-1}(m+Gc),\,(I+GQ)^{-1}\Sigma(I+GQ)^{-\top}\big), \qquad
        P_t = \Phi_t Q(I+G_tQ)^{-1}\Phi_t""",
    hypotheses=[r"r = c \cdot x - \tfrac12 x^\top Q x", r"I + GQ \; \mathrm{has\;positive\;eigenvalues}"],
    vouches=[GaussianFlow.terminal_law, GaussianFlow.riccati, GaussianFlow.optimal_cost],
)
class OptimalLaw:
    thing = staticmethod(_law)

    @exact(tolerance=3e-8)
    def the_controlled_flow_arrives_there(thing: Thing) -> Iterator[Any]:
        """The closed loop is affine: three trajectories tell mean and covariance."""
        for name, flow, reward, lam in CASES:
            end = _arrivals()[name]
            factor = (end[1:] - end[0]).T
            mean, cov = thing(flow, reward, lam)
            yield f"{name}, mean", mean, end[0]
            yield f"{name}, covariance", cov, factor @ factor.T

    @exact(tolerance=1e-12)
    def expected_cost(thing: Thing) -> Iterator[Any]:
        """E V(x, 1) from V at points with the moments of the noise; V is quadratic."""
        nodes = np.sqrt(2.0) * np.vstack([np.eye(2), -np.eye(2)])  # mean 0, covariance I
        for name, flow, reward, lam in CASES:
            law = thing(flow, reward, lam)
            energy = 0.5 * lam * _spent(flow, reward, lam)
            yield name, np.mean(flow.value(nodes, 1.0, reward, lam)), flow.optimal_cost(reward, lam)
            worth = reward.expectation(Gaussian(*law))
            yield f"{name}, energy less reward", energy - worth, flow.optimal_cost(reward, lam)

    @exact(tolerance=1e-11)
    def riccati_equation(thing: Thing) -> Iterator[Any]:
        """P' = -A P - P A - P^2 / lam in noise time, and P_0 = Q; A and P need not commute."""
        for name, flow, reward, lam in CASES:
            values = {j: flow.riccati(0.6 + 1e-3 * j, reward, lam) for j in range(-3, 4)}
            weights = ((1, 0.75), (2, -0.15), (3, 1.0 / 60.0))
            rate = sum(w * (values[j] - values[-j]) for j, w in weights) / 1e-3
            slope = flow.vjp(np.zeros((2, 2)), 0.6, np.eye(2))
            p = values[0]
            yield name, rate, -slope @ p - p @ slope - p @ p / lam
            yield f"{name}, end", flow.riccati(0.0, reward, lam), _curvature(reward)

    mutants: ClassVar[dict[str, Thing]] = {
        "the tilt": lambda f, r, lam: (tilted(f.law, r, lam).mean, tilted(f.law, r, lam).cov),
        "covariance contracts once": lambda f, r, lam: (
            f.terminal_law(r, lam).mean,
            np.linalg.inv(np.eye(2) + _gain(f, r, lam)) @ f.cov + 0.1 * np.eye(2),
        ),
        "half the Gramian": lambda f, r, lam: _law(f, r, 2.0 * lam),
    }


@cache
def _arrivals() -> dict[str, Any]:
    """Where the controlled flow takes the noises 0 and both unit vectors."""
    found = {}
    for name, flow, reward, lam in CASES:

        def drift(x: Any, t: float, flow: Any = flow, reward: Any = reward, lam: float = lam) -> Any:
            return flow.velocity(x, t) + flow.control(x, t, reward, lam)

        found[name], _ = closed_loop(drift, np.vstack([np.zeros(2), np.eye(2)]), 1.0, 80)
    return found


def _curvature(reward: Any) -> Any:
    return reward.Q if isinstance(reward, Quadratic) else np.zeros((2, 2))


def _gain(flow: Any, reward: Any, lam: float) -> Any:
    return flow.gramian(1.0, lam) @ _curvature(reward)


def _spent(flow: Any, reward: Any, lam: float) -> Any:
    """E int |u|^2 = E |grad r(z)|^2 in the metric of the Gramian over lam, with z ~ the terminal law."""
    law, g, q = flow.terminal_law(reward, lam), flow.gramian(1.0, lam) / lam, _curvature(reward)
    slope = reward.gradient(law.mean)
    return slope @ g @ slope + np.trace(q @ g @ q @ law.cov)
