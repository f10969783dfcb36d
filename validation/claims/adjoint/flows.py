r"""Gaussian flows: Gramians, values, optimal laws, and what the deterministic optimum is not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

import mpmath as mp
import numpy as np

from ....theory.adjoint import GaussianFlow
from ....theory.laws import Gaussian, kl
from ....theory.rewards import Linear, Quadratic, tilted
from ... import Thing, boundary, claim, exact, figure, raises
from .textbook import CASES, FLOWS, Wavy, closed_loop, path_factor, path_integral, simpson, slopes

__all__ = ["Gramians", "NotTheTilt", "OptimalLaw", "Thresholds", "Values"]

STATES = np.asarray([[0.3, -1.0], [-1.2, 0.4], [2.0, 1.5]])


def _line(sigma: float, path: Any = "linear") -> GaussianFlow:
    return GaussianFlow([1.3], [[sigma**2]], path=path)


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
                    yield f"{path}, sigma = {sigma}, t = {t}", thing(_line(sigma, path), t, 0.7)[0, 0], want

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
        yield "sigma = 1e-6", thing(_line(1e-6), 1.0, 1.0)[0, 0] / 1e-6, 0.5 * np.pi

    @boundary()
    def a_singular_covariance_is_refused(thing: Thing) -> Iterator[Any]:
        yield raises(ValueError, GaussianFlow, [0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]])
        yield raises(ValueError, GaussianFlow.gramian, _line(1.0), 0.5, 0.0)

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
        yield raises(ValueError, thing, _line(1.0), [[0.0]], 1.0, Quadratic([0.0], [[-1.0]]), 1.0)
        yield raises(ValueError, thing, _line(1.0), [[0.0]], 1.0, object(), 1.0)
        yield raises(ValueError, thing, _line(1.0), [[0.0]], 1.0, Linear([1.0]), -1.0)

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


def _law_and_divergence(flow: Any, reward: Any, lam: float) -> Any:
    law = flow.terminal_law(reward, lam)
    return float(law.mean[0]), float(law.cov[0, 0]), float(kl(law, tilted(flow.law, reward, lam)))


@claim(
    "ADJOINT-TILT-1",
    paper="adjoint",
    title="Deterministic control does not sample the tilt",
    statement=r"""\frac{E X_0 - m}{E_{tilt} X_0 - m} = \frac{\pi}{2\sigma} \;(\mathrm{linear\;reward}), \qquad
        \mathrm{var}: \; \frac{\sigma^2}{(1 + Gq)^2} \;\mathrm{against}\; \frac{\sigma^2}{1 + \sigma^2 q/\lambda}""",
    hypotheses=[r"\mathrm{linear\;path}, \; d = 1"],
    vouches=[GaussianFlow.terminal_law, tilted],
)
class NotTheTilt:
    """The optimum of the flow moves narrow directions too far and wide ones not far enough."""

    thing = staticmethod(_law_and_divergence)

    @exact(tolerance=1e-13)
    def shifts(thing: Thing) -> Iterator[Any]:
        for sigma in (0.1, 0.7, 0.5 * np.pi, 3.0):
            shift = thing(_line(sigma), Linear([0.8]), 0.9)[0] - 1.3
            yield f"sigma = {sigma:.3g}", shift / (sigma**2 * 0.8 / 0.9), 0.5 * np.pi / sigma

    @exact(tolerance=1e-12)
    def divergence_by_quadrature(thing: Thing) -> Iterator[Any]:
        """KL(optimum | tilt) from unnormalised densities; sigma = 0.7, c = 0.8, q = 1.7: 0.412 nats."""
        for sigma, q in ((0.7, 1.7), (0.7, 0.0), (2.0, 0.5)):
            mean, variance, divergence = thing(_line(sigma), Quadratic([0.8], [[q]]), 1.0)
            yield f"sigma = {sigma}, q = {q}", divergence, _divergence(mean, variance, sigma, 0.8, q)

    @boundary(tolerance=0.4)
    def the_quadratic_example(thing: Thing) -> Iterator[Any]:
        yield "KL", thing(_line(0.7), Quadratic([0.8], [[1.7]]), 1.0)[2], 0.0

    @exact(tolerance=1e-13)
    def one_width_alone_agrees(thing: Thing) -> Iterator[Any]:
        yield "sigma = pi / 2", thing(_line(0.5 * np.pi), Linear([0.8]), 1.0)[2], 0.0

    @figure
    def two_optima(thing: Thing) -> Any:
        """Mean and standard deviation of the data under the deterministic optimum (solid) and under the tilt
        (dashed), for σ = 0.7 and r = 0.8 x − q x²/2 with λ = 1.  Deterministic control contracts more."""
        from matplotlib.figure import Figure

        drawn = Figure()
        left, right = drawn.subplots(1, 2)
        curvatures = np.linspace(0.0, 4.0, 60)
        flow = _line(0.7)
        laws = [_law_and_divergence(flow, Quadratic([0.8], [[q]]), 1.0) for q in curvatures]
        tilts = [tilted(flow.law, Quadratic([0.8], [[q]]), 1.0) for q in curvatures]
        left.plot(curvatures, [law[0] for law in laws], "C0-", label="control of the flow")
        left.plot(curvatures, [float(law.mean[0]) for law in tilts], "C1--", label="tilt")
        right.plot(curvatures, [law[1] ** 0.5 for law in laws], "C0-")
        right.plot(curvatures, [float(law.cov[0, 0]) ** 0.5 for law in tilts], "C1--")
        left.set(xlabel="q", ylabel="mean")
        right.set(xlabel="q", ylabel="standard deviation", ylim=(0.0, None))
        left.legend(frameon=False)
        return drawn

    mutants: ClassVar[dict[str, Thing]] = {
        "the tilt": lambda f, r, lam: (
            float(tilted(f.law, r, lam).mean[0]),
            float(tilted(f.law, r, lam).cov[0, 0]),
            0.0,
        ),
        "the other divergence": lambda f, r, lam: (
            *_law_and_divergence(f, r, lam)[:2],
            float(kl(tilted(f.law, r, lam), f.terminal_law(r, lam))),
        ),
        "trigonometric path": lambda f, r, lam: _law_and_divergence(
            GaussianFlow(f.mean, f.cov, path="trigonometric"), r, lam
        ),
    }


def _divergence(mean: float, variance: float, sigma: float, c: float, q: float) -> Any:
    with mp.workdps(30):

        def log_tilt(x: Any) -> Any:
            return c * x - q * x**2 / 2 - (x - mp.mpf(1.3)) ** 2 / (2 * mp.mpf(sigma) ** 2)

        def log_p(x: Any) -> Any:
            return -((x - mean) ** 2) / (2 * mp.mpf(variance)) - mp.log(2 * mp.pi * mp.mpf(variance)) / 2

        points = [mean + k * mp.sqrt(variance) * 4 for k in range(-4, 5)]
        wide = [k * mp.mpf(sigma) * 3 for k in range(-7, 8)]
        normaliser = mp.quad(lambda x: mp.exp(log_tilt(x)), wide)
        return mp.quad(lambda x: mp.exp(log_p(x)) * (log_p(x) - log_tilt(x)), points) + mp.log(normaliser)


def _exists(flow: Any, q: float) -> Any:
    """Whether the optimum and the tilt exist for this curvature."""
    result = []
    for call in (lambda r: flow.terminal_law(r, 1.0), lambda r: tilted(flow.law, r, 1.0)):
        try:
            call(Quadratic([0.0], [[q]]))
            result.append(1.0)
        except ValueError:
            result.append(0.0)
    return result


@claim(
    "ADJOINT-THRESHOLD-1",
    paper="adjoint",
    title="Convex rewards: two thresholds, and neither implies the other",
    statement=r"""\mathrm{control:}\; 1 + G q > 0, \qquad \mathrm{tilt:}\; 1 + \sigma^2 q/\lambda > 0,
        \qquad G = \frac{\pi\sigma}{2\lambda}""",
    hypotheses=[r"d = 1", r"\mathrm{linear\;path}"],
    vouches=[GaussianFlow.terminal_law],
)
class Thresholds:
    thing = staticmethod(_exists)

    @exact(tolerance=0.0)
    def on_both_sides_of_both(thing: Thing) -> Iterator[Any]:
        for sigma in (0.7, 3.0):
            control, tilt = -2.0 / (np.pi * sigma), -1.0 / sigma**2
            for q in (0.999 * control, 1.001 * control, 0.999 * tilt, 1.001 * tilt):
                want = [float(q > control), float(q > tilt)]
                yield f"sigma = {sigma}, q = {q:.3g}", thing(_line(sigma), q), want

    @exact(tolerance=1e-9)
    def conjugate_points_are_where_the_shooting_stalls(thing: Thing) -> Iterator[Any]:
        """At the threshold, all noises are sent to one endpoint in reverse: dx_1/dz = 0, by integration."""
        sigma = 0.7
        q = -2.0 / (np.pi * sigma)
        assert thing(_line(sigma), 0.99 * q)[0] == 1.0
        flow, h = _line(sigma), 1.0 / 400
        state = np.asarray([1.0, q])  # variations of state and adjoint at t = 0: dz = 1, da = q dz

        def rates(s: Any, t: float) -> Any:
            slope = float(flow.vjp([1.0], t, [1.0])[0])
            return np.asarray([slope * s[0] + s[1], -slope * s[1]])

        for k in range(400):
            t = k * h
            a = rates(state, t)
            b = rates(state + 0.5 * h * a, t + 0.5 * h)
            c = rates(state + 0.5 * h * b, t + 0.5 * h)
            d = rates(state + h * c, min(t + h, 1.0))
            state = state + h / 6.0 * (a + 2.0 * b + 2.0 * c + d)
        yield "dx_1 / dz", state[0], 0.0

    mutants: ClassVar[dict[str, Thing]] = {
        "one threshold for both": lambda f, q: [_exists(f, q)[1]] * 2,
        "swapped": lambda f, q: _exists(f, q)[::-1],
        "no threshold": lambda f, q: [1.0, _exists(f, q)[1]],
    }
