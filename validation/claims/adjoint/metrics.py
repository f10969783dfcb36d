r"""A price of the control that depends on its direction, and the one that repairs the means."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import mpmath as mp
import numpy as np
from scipy.integrate import quad

from driftproof.theory.adjoint import GaussianFlow, MetricFlow
from driftproof.theory.adjoint.paths import Path
from driftproof.theory.laws import kl
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.validation import Thing, boundary, claim, exact, raises

from .textbook import BENT, FLOWS, PULL, Wavy, closed_loop, line, slopes

__all__ = ["PricesOfDirections", "PricesOfTheTilt"]

STATES = np.asarray([[0.3, -1.0], [-1.2, 0.4], [2.0, 1.5]])
METRIC = np.asarray([[0.9, 0.35], [0.35, 0.5]])  # does not commute with the covariance
REWARDS = (("linear", PULL), ("quadratic", BENT), ("wavy", Wavy()))


@claim(
    "ADJOINT-METRIC-1",
    paper="adjoint",
    title="A price that depends on the direction mixes the axes of the data by arithmetic-geometric means",
    statement=r"""G_t = \int_0^t \Phi_s W^{-1} \Phi_s\,ds, \qquad
        (G_1)_{ij} = (W^{-1})_{ij}\,\frac\pi2\,\frac{\sigma_i\sigma_j}{\mathrm{agm}(\sigma_i, \sigma_j)}
        \;(\mathrm{linear}), \qquad
        \partial_t V + v \cdot \nabla V + \tfrac12 \nabla V^\top W^{-1} \nabla V = 0, \quad u = W^{-1}\nabla V""",
    hypotheses=[
        r"W \succ 0",
        r"I - G\,\nabla^2 r \succ 0",
        r"(G_1)_{ij} \;\mathrm{along\;the\;axes\;of}\;\Sigma",
    ],
    vouches=[
        MetricFlow.gramian,
        MetricFlow.value,
        MetricFlow.control,
        MetricFlow.terminal_law,
        MetricFlow.optimal_endpoint,
    ],
)
class PricesOfDirections:
    thing = MetricFlow

    @exact(tolerance=1e-12)
    def quadrature_of_the_definition(thing: Thing) -> Iterator[Any]:
        for path in ("linear", "trigonometric"):
            for widths in ((0.7, 1.9), (0.05, 3.0)):
                flow = GaussianFlow([0.0, 0.0], np.diag(np.square(widths)), path=path)
                for t in (0.3, 1.0):
                    inverse = np.linalg.inv(METRIC)
                    want = [
                        [_product(a, b, t, path) * inverse[i, j] for j, b in enumerate(widths)]
                        for i, a in enumerate(widths)
                    ]
                    yield f"{path}, {widths}, t = {t}", thing(flow, METRIC).gramian(t), np.asarray(want)

    @exact(tolerance=1e-13)
    def arithmetic_geometric_means(thing: Thing) -> Iterator[Any]:
        lengths: dict[Path, float] = {"linear": 0.5 * np.pi, "trigonometric": 1.0}
        for path, length in lengths.items():
            a, b = 0.3, 2.5
            flow = GaussianFlow([0.0, 0.0], [[a * a, 0.0], [0.0, b * b]], path=path)
            want = length * np.asarray([[a, a * b / float(mp.agm(a, b))], [a * b / float(mp.agm(a, b)), b]])
            yield path, thing(flow, METRIC).gramian(1.0) @ np.eye(2), want * np.linalg.inv(METRIC)

    @exact(tolerance=1e-12)
    def the_same_price_for_all_directions(thing: Thing) -> Iterator[Any]:
        for path, flow in FLOWS.items():
            plain = thing(flow, 0.8 * np.eye(2))
            yield f"{path}, Gramian", plain.gramian(0.6), flow.gramian(0.6, 0.8)
            yield f"{path}, control", plain.control(STATES, 0.6, BENT), flow.control(STATES, 0.6, BENT, 0.8)

    @exact(tolerance=2e-9)
    def hamilton_jacobi_bellman(thing: Thing) -> Iterator[Any]:
        inverse, t, h = np.linalg.inv(METRIC), 0.55, 1e-3
        for path, flow in FLOWS.items():
            for name, reward in REWARDS:
                value = thing(flow, METRIC).value
                parts = [
                    w * (value(STATES, t + j * h, reward) - value(STATES, t - j * h, reward))
                    for j, w in ((1, 0.75), (2, -0.15), (3, 1.0 / 60.0))
                ]
                slope = slopes(lambda x: value(x, t, reward), STATES)  # noqa: B023
                carried = np.sum(slope * flow.velocity(STATES, t) + 0.5 * slope * (slope @ inverse), axis=-1)
                yield f"{path}, {name}", np.sum(parts, axis=0) / h + carried, np.zeros(3)
                yield (
                    f"{path}, {name}, control",
                    thing(flow, METRIC).control(STATES, t, reward),
                    slope @ inverse,
                )

    @exact(tolerance=1e-7)
    def the_controlled_flow_arrives_there(thing: Thing) -> Iterator[Any]:
        flow = FLOWS["linear"]
        for name, reward in REWARDS[:2]:
            priced = thing(flow, METRIC)

            def drift(x: Any, t: float, priced: Any = priced, reward: Any = reward) -> Any:
                return flow.velocity(x, t) + priced.control(x, t, reward)

            start = np.vstack([np.zeros(2), np.eye(2)])
            end, _ = closed_loop(drift, start, 1.0, 60)
            factor, law = (end[1:] - end[0]).T, priced.terminal_law(reward)
            yield f"{name}, mean", law.mean, end[0]
            yield f"{name}, covariance", law.cov, factor @ factor.T
            yield f"{name}, endpoints", priced.optimal_endpoint(start, 1.0, reward), end

    @boundary()
    def prices_are_positive(thing: Thing) -> Iterator[Any]:
        flow = FLOWS["linear"]
        yield raises(ValueError, thing, flow, [[1.0, 2.0], [2.0, 1.0]])
        yield raises(ValueError, thing, flow, [[1.0, 1.0], [1.0, 1.0]])
        yield raises(ValueError, thing, flow, [[1.0, 0.5], [0.0, 1.0]])
        yield raises(ValueError, thing, flow, [[1.0]])
        yield raises(
            ValueError, thing(flow, METRIC).value, STATES, 1.0, Quadratic([0.0, 0.0], -9.0 * np.eye(2))
        )

    mutants: ClassVar[dict[str, Thing]] = {
        "W for its inverse": lambda flow, w: MetricFlow(flow, np.linalg.inv(w)),
        "each direction for itself": lambda flow, w: MetricFlow(flow, np.diag(np.diag(w))),
        "a mean price": lambda flow, w: MetricFlow(flow, 0.5 * np.trace(w) * np.eye(2)),
        "axes of the data forgotten": lambda flow, w: MetricFlow(flow, flow.axes @ w @ flow.axes.T),
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


def _law(flow: GaussianFlow, reward: Any, lam: float) -> Any:
    law = MetricFlow.of_the_tilt(flow, lam).terminal_law(reward)
    return law.mean, law.cov, float(kl(law, tilted(flow.law, reward, lam)))


@claim(
    "ADJOINT-METRIC-2",
    paper="adjoint",
    title="One price of the control moves all means as the tilt does, and then contracts twice",
    statement=r"""W = \tfrac\pi2\,\lambda\,\Sigma^{-1/2}: \quad G_1 = \Sigma/\lambda, \quad E X_0 = E_{tilt} X_0
        \;\forall c, Q, \qquad \mathrm{Cov}\,X_0 = \mathrm{Cov}_{tilt}\,\Sigma^{-1}\,\mathrm{Cov}_{tilt}
        \prec \mathrm{Cov}_{tilt} \;\mathrm{for}\; Q \succ 0""",
    hypotheses=[
        r"\mathrm{linear\;path\;(1\;for}\;\pi/2\;\mathrm{on\;the\;trigonometric\;one)}",
        r"I + \Sigma Q/\lambda \succ 0",
    ],
    vouches=[MetricFlow.of_the_tilt, MetricFlow.terminal_law],
)
class PricesOfTheTilt:
    thing = staticmethod(_law)

    @exact(tolerance=1e-12)
    def means_and_covariances_by_precisions(thing: Thing) -> Iterator[Any]:
        for path, flow in FLOWS.items():
            precision = np.linalg.inv(flow.cov)
            for name, reward, lam in (("linear", PULL, 0.6), ("quadratic", BENT, 0.9)):
                q = reward.Q if isinstance(reward, Quadratic) else np.zeros((2, 2))
                tilt = np.linalg.inv(precision + q / lam)
                mean, cov, _ = thing(flow, reward, lam)
                yield f"{path}, {name}, mean", mean, tilt @ (precision @ flow.mean + reward.c / lam)
                yield f"{path}, {name}, covariance", cov, tilt @ precision @ tilt

    @exact(tolerance=1e-12)
    def linear_rewards_sample_the_tilt(thing: Thing) -> Iterator[Any]:
        for path, flow in FLOWS.items():
            yield path, thing(flow, Linear([2.0, -1.0]), 0.5)[2], 0.0

    @boundary(tolerance=0.01)
    def curved_ones_do_not(thing: Thing) -> Iterator[Any]:
        yield "KL", thing(FLOWS["linear"], BENT, 0.9)[2], 0.0

    @boundary(tolerance=0.05)
    def nor_does_the_plain_price(thing: Thing) -> Iterator[Any]:
        """A direction narrower than pi / 2 is pushed too far."""
        flow = line(0.7)
        yield "mean", flow.terminal_law(Linear([0.8]), 1.0).mean, thing(flow, Linear([0.8]), 1.0)[0]

    mutants: ClassVar[dict[str, Thing]] = {
        "plain price": lambda f, r, lam: _of(f, r, lam, lam * np.eye(len(f.mean))),
        "without pi / 2": lambda f, r, lam: _of(f, r, lam, lam * f.along_axes(np, 1.0 / f.sigma) * 0.9),
        "a root of the covariance, not of its inverse": lambda f, r, lam: _of(
            f, r, lam, 0.5 * np.pi * lam * f.along_axes(np, f.sigma)
        ),
        "covariance of the tilt": lambda f, r, lam: (
            _law(f, r, lam)[0],
            tilted(f.law, r, lam).cov,
            0.0,
        ),
    }


def _of(flow: GaussianFlow, reward: Any, lam: float, metric: Any) -> Any:
    law = MetricFlow(flow, metric).terminal_law(reward)
    return law.mean, law.cov, float(kl(law, tilted(flow.law, reward, lam)))
