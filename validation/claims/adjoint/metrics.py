r"""A price of the control that depends on its direction, and the one that repairs the means."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
from scipy.integrate import quad

from driftproof.theory.adjoint import GaussianFlow, MetricFlow
from driftproof.theory.laws import Gaussian, kl
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.validation import boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import BENT, FLOWS, PULL, Wavy, closed_loop, curvature, derivative, line, slopes

__all__ = ["PricesOfDirections", "PricesOfTheTilt"]

STATES = np.asarray([[0.3, -1.0], [-1.2, 0.4], [2.0, 1.5]])
METRIC = np.asarray([[0.9, 0.35], [0.35, 0.5]])  # does not commute with the covariance
REWARDS = (("linear", PULL), ("quadratic", BENT), ("wavy", Wavy()))
EACH_PATH = rows("label, flow", FLOWS.items())
NO_PRICES = ([[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]], [[1.0]])
METHODS = (
    MetricFlow.gramian,
    MetricFlow.value,
    MetricFlow.control,
    MetricFlow.terminal_law,
    MetricFlow.optimal_endpoint,
)


def _with_metric(changed: Callable[[Any], Any]) -> dict[Any, Any]:
    """All that is asked of a flow, at another price."""
    return {
        method: wrong(method, self=lambda self: MetricFlow(self.flow, changed(self))) for method in METHODS
    }


@claim(
    "ADJOINT-METRIC-1",
    "A price that depends on the direction mixes the axes of the data by arithmetic-geometric means",
    r"""G_t = \int_0^t \Phi_s W^{-1} \Phi_s\,ds, \qquad
        (G_1)_{ij} = (W^{-1})_{ij}\,\frac\pi2\,\frac{\sigma_i\sigma_j}{\mathrm{agm}(\sigma_i, \sigma_j)}
        \;(\mathrm{linear}), \qquad
        \partial_t V + v \cdot \nabla V + \tfrac12 \nabla V^\top W^{-1} \nabla V = 0, \quad u = W^{-1}\nabla V""",
    covers=METHODS,
    hypotheses=[
        r"W \succ 0",
        r"I - G\,\nabla^2 r \succ 0",
        r"(G_1)_{ij} \;\mathrm{along\;the\;axes\;of}\;\Sigma",
    ],
)
class PricesOfDirections:
    @exact(
        1e-12,
        over=grid(path=("linear", "trigonometric"), widths=((0.7, 1.9), (0.05, 3.0)), t=(0.3, 1.0)),
    )
    def quadrature_of_the_definition(gramian, path, widths, t):
        flow = GaussianFlow([0.0, 0.0], np.diag(np.square(widths)), path=path)
        products = [[_product(a, b, t, path) for b in widths] for a in widths]
        return gramian(MetricFlow(flow, METRIC), t), np.asarray(products) * np.linalg.inv(METRIC)

    @exact(1e-13, over=rows("path, length", (("linear", 0.5 * np.pi), ("trigonometric", 1.0))))
    def arithmetic_geometric_means(gramian, path, length):
        a, b = 0.3, 2.5
        flow = GaussianFlow([0.0, 0.0], [[a * a, 0.0], [0.0, b * b]], path=path)
        want = length * np.asarray([[a, a * b / float(mp.agm(a, b))], [a * b / float(mp.agm(a, b)), b]])
        return gramian(MetricFlow(flow, METRIC), 1.0) @ np.eye(2), want * np.linalg.inv(METRIC)

    @exact(1e-12, over=EACH_PATH)
    def the_same_price_for_all_directions(gramian, control, flow):
        plain = MetricFlow(flow, 0.8 * np.eye(2))
        yield "Gramian", gramian(plain, 0.6), flow.gramian(0.6, 0.8)
        yield "control", control(plain, STATES, 0.6, BENT), flow.control(STATES, 0.6, BENT, 0.8)

    @exact(2e-9, over=grid(EACH_PATH, rows("name, reward", REWARDS)))
    def hamilton_jacobi_bellman(value, control, flow, name, reward):
        priced, inverse, t = MetricFlow(flow, METRIC), np.linalg.inv(METRIC), 0.55
        change = derivative(lambda s: value(priced, STATES, s, reward), t)
        slope = slopes(lambda x: value(priced, x, t, reward), STATES)
        carried = np.sum(slope * flow.velocity(STATES, t) + 0.5 * slope * (slope @ inverse), axis=-1)
        yield f"{name}, value", change + carried, np.zeros(3)
        yield f"{name}, control", control(priced, STATES, t, reward), slope @ inverse

    @exact(1e-7, over=rows("label, reward", REWARDS[:2]))
    def the_controlled_flow_arrives_there(control, terminal_law, optimal_endpoint, reward):
        flow = FLOWS["linear"]
        priced, start = MetricFlow(flow, METRIC), np.vstack([np.zeros(2), np.eye(2)])
        end, _ = closed_loop(lambda x, t: flow.velocity(x, t) + control(priced, x, t, reward), start, 1.0, 60)
        factor, law = (end[1:] - end[0]).T, terminal_law(priced, reward)
        yield "mean", law.mean, end[0]
        yield "covariance", law.cov, factor @ factor.T
        yield "endpoints", optimal_endpoint(priced, start, 1.0, reward), end

    refuses = [
        *((MetricFlow, FLOWS["linear"], metric) for metric in NO_PRICES),
        (
            MetricFlow.value,
            MetricFlow(FLOWS["linear"], METRIC),
            STATES,
            1.0,
            Quadratic([0.0, 0.0], -9.0 * np.eye(2)),
        ),
    ]

    mutants = {
        "W for its inverse": _with_metric(lambda priced: priced.inverse),
        "each direction for itself": _with_metric(lambda priced: np.diag(np.diag(priced.metric))),
        "a mean price": _with_metric(lambda priced: 0.5 * np.trace(priced.metric) * np.eye(2)),
        "axes of the data forgotten": _with_metric(
            lambda priced: priced.flow.axes @ priced.metric @ priced.flow.axes.T
        ),
    }


def _product(a: float, b: float, t: float, path: str) -> float:
    """The integral of the product of two factors, in x = noise level / data level: the roots of quadratics."""
    end = math.tan(0.5 * math.pi * t) if path == "trigonometric" else t / (1.0 - t) if t < 1.0 else math.inf
    found = 0.0
    for low, high in (
        (0.0, min(a, end)),
        (min(a, end), min(b, end)),
        (min(b, end), end if t < 1.0 else math.inf),
    ):
        found += quad(
            lambda x: a * b / math.sqrt((a * a + x * x) * (b * b + x * x)), low, high, epsabs=1e-14
        )[0]
    return found * (1.0 if path == "linear" else 2.0 / math.pi)


@claim(
    "ADJOINT-METRIC-2",
    "One price of the control moves all means as the tilt does, and then contracts twice",
    r"""W = \tfrac\pi2\,\lambda\,\Sigma^{-1/2}: \quad G_1 = \Sigma/\lambda, \quad E X_0 = E_{tilt} X_0
        \;\forall c, Q, \qquad \mathrm{Cov}\,X_0 = \mathrm{Cov}_{tilt}\,\Sigma^{-1}\,\mathrm{Cov}_{tilt}
        \prec \mathrm{Cov}_{tilt} \;\mathrm{for}\; Q \succ 0""",
    covers=[MetricFlow.of_the_tilt, MetricFlow.terminal_law],
    hypotheses=[
        r"\mathrm{linear\;path\;(1\;for}\;\pi/2\;\mathrm{on\;the\;trigonometric\;one)}",
        r"I + \Sigma Q/\lambda \succ 0",
    ],
)
class PricesOfTheTilt:
    @exact(
        1e-12,
        over=grid(EACH_PATH, rows("name, reward, lam", (("linear", PULL, 0.6), ("quadratic", BENT, 0.9)))),
    )
    def means_and_covariances_by_precisions(of_the_tilt, terminal_law, flow, name, reward, lam):
        precision = np.linalg.inv(flow.cov)
        tilt = np.linalg.inv(precision + curvature(reward) / lam)
        law = terminal_law(of_the_tilt(flow, lam), reward)
        yield f"{name}, mean", law.mean, tilt @ (precision @ flow.mean + reward.c / lam)
        yield f"{name}, covariance", law.cov, tilt @ precision @ tilt

    @exact(1e-12, over=EACH_PATH)
    def linear_rewards_sample_the_tilt(of_the_tilt, terminal_law, flow):
        reward = Linear([2.0, -1.0])
        law = terminal_law(of_the_tilt(flow, 0.5), reward)
        return float(kl(law, tilted(flow.law, reward, 0.5))), 0.0

    @boundary(0.01)
    def curved_ones_do_not(of_the_tilt, terminal_law):
        flow = FLOWS["linear"]
        law = terminal_law(of_the_tilt(flow, 0.9), BENT)
        return float(kl(law, tilted(flow.law, BENT, 0.9))), 0.0

    @boundary(0.05)
    def nor_does_the_plain_price(of_the_tilt, terminal_law):
        """A direction narrower than pi / 2 is pushed too far."""
        flow, reward = line(0.7), Linear([0.8])
        return flow.terminal_law(reward, 1.0).mean, terminal_law(of_the_tilt(flow, 1.0), reward).mean

    mutants = {
        "plain price": wrong(
            MetricFlow.of_the_tilt, lambda flow, lam: MetricFlow(flow, lam * np.eye(len(flow.mean)))
        ),
        "without pi / 2": wrong(
            MetricFlow.of_the_tilt,
            lambda flow, lam: MetricFlow(flow, lam * flow.along_axes(np, 1.0 / flow.sigma)),
        ),
        "a root of the covariance, not of its inverse": wrong(
            MetricFlow.of_the_tilt,
            lambda flow, lam: MetricFlow(flow, 0.5 * np.pi * lam * flow.along_axes(np, flow.sigma)),
        ),
        "covariance of the tilt": wrong(
            MetricFlow.terminal_law, lambda value, self, reward: Gaussian(value.mean, _once(self, reward))
        ),
    }


def _once(priced: MetricFlow, reward: Any) -> Any:
    """The covariance of the data, contracted once."""
    if isinstance(reward, Linear):
        return priced.flow.cov
    once = np.linalg.inv(np.eye(2) + priced.gramian(1.0) @ reward.Q) @ priced.flow.cov
    return 0.5 * (once + once.T)
