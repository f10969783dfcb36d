r"""Running costs beyond the quadratic one: duality, powers, and why Huber's is no cost for control."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from hypothesis import strategies as st

from driftproof.theory.adjoint import (
    ArcCost,
    BallCost,
    ElasticCost,
    GaussianFlow,
    HuberCost,
    PowerCost,
    QuadraticCost,
    RegularizedFlow,
)
from driftproof.theory.rewards import Linear, Quadratic
from driftproof.validation import Thing, boundary, claim, drawn, exact, property, raises

from .textbook import path_factor, path_integral, slopes

__all__ = ["Duality", "Huber", "Powers"]

COSTS = (
    QuadraticCost(),
    PowerCost(1.5),
    PowerCost(4.0),
    BallCost(0.6),
    ElasticCost(0.5),
    ArcCost(),
    HuberCost(2.0),
)
COORDINATES = st.floats(-0.69, 0.69)


def _dual(cost: Any, a: Any) -> Any:
    return cost.control(a), cost.cost(cost.control(a)), cost.conjugate(a)


@claim(
    "ADJOINT-REGULARIZER-1",
    paper="adjoint",
    title="Each cost, its conjugate and the control that it asks for",
    statement=r"""L(u) + L^*(a) = a \cdot u \;\mathrm{for}\; u = \nabla L^*(a), \qquad L(w) + L^*(a) \ge a \cdot w \;\forall w""",
    hypotheses=[r"|a| \;\mathrm{within\;the\;reach\;of\;the\;cost}"],
    vouches=[QuadraticCost, PowerCost, BallCost, ElasticCost, ArcCost, HuberCost],
)
class Duality:
    """Clipping the norm of an adjoint is the quadratic cost on a ball, soft thresholding the elastic one."""

    thing = staticmethod(_dual)

    @property(tolerance=1e-13, examples=30, false_alarm=0.0)
    def fenchel_equality(
        thing: Thing, x: float = drawn(COORDINATES), y: float = drawn(COORDINATES)
    ) -> Iterator[Any]:
        a = np.asarray([x, y])
        for cost in COSTS:
            u, spent, conjugate = thing(cost, a)
            yield repr(cost), spent + conjugate, a @ u

    @property(tolerance=0.0, examples=20, false_alarm=0.0)
    def no_other_control_is_better(
        thing: Thing, x: float = drawn(COORDINATES), y: float = drawn(COORDINATES)
    ) -> Iterator[Any]:
        a = np.asarray([x, y])
        others = np.stack(np.meshgrid(np.linspace(-3, 3, 25), np.linspace(-3, 3, 25)), axis=-1).reshape(-1, 2)
        for cost in COSTS:
            _, _, conjugate = thing(cost, a)
            yield repr(cost), np.max(others @ a - cost.cost(others) - conjugate) > 1e-13, False

    @exact(tolerance=1e-11)
    def the_control_is_the_slope_of_the_conjugate(thing: Thing) -> Iterator[Any]:
        points = np.asarray([[0.3, -0.1], [0.55, 0.4], [-0.05, 0.1]])
        for cost in COSTS:
            yield repr(cost), thing(cost, points)[0], slopes(lambda a: thing(cost, a)[2], points)  # noqa: B023

    mutants: ClassVar[dict[str, Thing]] = {
        "identity": lambda cost, a: (
            a,
            cost.cost(a) if not isinstance(cost, BallCost) else 0.0,
            cost.conjugate(a),
        ),
        "conjugate of the quadratic": lambda cost, a: (*_dual(cost, a)[:2], 0.5 * np.sum(a * a, axis=-1)),
        "twice the control": lambda cost, a: (2.0 * cost.control(a), *_dual(cost, a)[1:]),
    }


def _shift(cost: Any, sigma: float, c: float, lam: float) -> float:
    flow = RegularizedFlow(GaussianFlow([0.0], [[sigma**2]]), cost)
    return float(flow.endpoint([0.0], 1.0, Linear([c]), lam)[0])


@claim(
    "ADJOINT-POWER-1",
    paper="adjoint",
    title="Power costs answer a linear reward with a power",
    statement=r"""z - \hat y = M_q\,|c/\lambda|^{q-1}\,\mathrm{sgn}\,c, \quad M_q = \int_0^1 \Phi^q, \qquad
        M_2 = \frac{\pi\sigma}2, \quad M_4 = \frac{\pi\sigma^3}4 + \sigma^2 + \frac{\pi\sigma}4""",
    hypotheses=[r"d = 1, \; \mathrm{linear\;path}", r"1/p + 1/q = 1"],
    vouches=[RegularizedFlow.endpoint, RegularizedFlow.control, RegularizedFlow.value],
)
class Powers:
    thing = staticmethod(_shift)

    @exact(tolerance=1e-11)
    def closed_forms(thing: Thing) -> Iterator[Any]:
        for sigma in (0.5, 1.7):
            fourth = 0.25 * np.pi * sigma**3 + sigma**2 + 0.25 * np.pi * sigma
            yield "p = 2", thing(QuadraticCost(), sigma, -1.2, 0.9), -0.5 * np.pi * sigma * 1.2 / 0.9
            yield "p = 4/3", thing(PowerCost(4.0 / 3.0), sigma, -1.2, 0.9), -fourth * (1.2 / 0.9) ** 3

    @exact(tolerance=1e-11)
    def quadrature_for_another_power(thing: Thing) -> Iterator[Any]:
        for sigma in (0.5, 1.7):
            moment = path_integral(lambda t: path_factor(sigma, t, "linear") ** 3, 0.0, 1.0, sigma)  # noqa: B023
            yield "p = 3/2", thing(PowerCost(1.5), sigma, 1.2, 0.9), moment * (1.2 / 0.9) ** 2

    @exact(tolerance=2e-8)
    def bellman_for_every_cost(thing: Thing) -> Iterator[Any]:
        """dV/dt + v V' + lam L*(V'/lam) = 0 and u = the slope of L*, for a concave reward."""
        assert thing(QuadraticCost(), 1.0, 1.0, 1.0) > 0.0
        x, h, lam, reward = np.asarray([[-1.0], [0.4]]), 2e-3, 0.5, Quadratic([0.8], [[1.7]])
        for cost in (PowerCost(4.0 / 3.0), BallCost(0.5), ElasticCost(0.5)):
            flow = RegularizedFlow(GaussianFlow([1.3], [[0.49]]), cost)
            slope = _difference(lambda e: flow.value(x + e, 0.6, reward, lam), h)[:, None]  # noqa: B023
            rate = _difference(lambda e: flow.value(x, 0.6 + e, reward, lam), h)  # noqa: B023
            carried = np.sum(slope * flow.flow.velocity(x, 0.6), -1)
            yield repr(cost), rate + carried + lam * cost.conjugate(slope / lam), np.zeros(2)
            yield f"{cost!r}, control", flow.control(x, 0.6, reward, lam), cost.control(slope / lam)

    mutants: ClassVar[dict[str, Thing]] = {
        "quadratic for all": lambda cost, s, c, lam: _shift(QuadraticCost(), s, c, lam),
        "weight forgotten": lambda cost, s, c, lam: _shift(cost, s, c, 1.0),
        "p for q": lambda cost, s, c, lam: _shift(
            PowerCost(cost.p / (cost.p - 1.0)) if isinstance(cost, PowerCost) else cost, s, c, lam
        ),
    }


def _difference(f: Any, h: float) -> Any:
    return (8.0 * (f(0.5 * h) - f(-0.5 * h)) - (f(h) - f(-h))) / (6.0 * h)


@claim(
    "ADJOINT-HUBER-1",
    paper="adjoint",
    title="Huber's cost is no cost for control: ever shorter, larger pushes pay",
    statement=r"""\inf_u \int L_\delta(u) - r(x_0) = -\infty \;\mathrm{for}\; r = c\,x, \;
        \max_t \Phi_t |c| > \lambda\delta; \qquad \mathrm{a\;minimiser\;exists\;if}\; \max_t \Phi_t |\nabla r| \le \lambda\delta""",
    hypotheses=[r"d = 1"],
    vouches=[HuberCost, RegularizedFlow],
)
class Huber:
    """Clipping the control instead (BallCost) is well posed for every reward."""

    thing = staticmethod(lambda delta: (HuberCost(delta), BallCost(delta)))

    @exact(tolerance=0.0)
    def large_pushes_cost_less_than_they_bring(thing: Thing) -> Iterator[Any]:
        """Linear reward: scaling a push beyond delta scales cost less gain; below zero there is no least one."""
        huber, _ = thing(1.0)
        sizes = np.asarray([[10.0], [100.0], [1000.0], [10000.0]])
        net = huber.cost(sizes) - 1.5 * sizes[:, 0]
        yield "each is lower", bool(np.all(np.diff(net) < 0.0)), True
        yield "without a bound", bool(net[-1] < -4000.0), True

    @exact(tolerance=1e-12)
    def within_its_reach_it_is_the_quadratic_one(thing: Thing) -> Iterator[Any]:
        flow = GaussianFlow([1.3], [[0.49]])
        huber, _ = thing(2.0)
        z = RegularizedFlow(flow, huber).endpoint([[0.2]], 1.0, Linear([1.0]), 0.9)
        yield "endpoint", z, flow.optimal_endpoint([[0.2]], 1.0, Linear([1.0]), 0.9)

    @boundary()
    def beyond_it_the_hypothesis_is_named(thing: Thing) -> Iterator[Any]:
        flow = GaussianFlow([1.3], [[0.49]])
        huber, ball = thing(0.5)
        yield raises(ValueError, RegularizedFlow(flow, huber).endpoint, [[0.2]], 1.0, Linear([1.0]), 0.9)
        yield (
            "the ball is fine",
            RegularizedFlow(flow, ball).endpoint([[0.2]], 1.0, Linear([1.0]), 0.9),
            np.zeros((1, 1)),
        )

    mutants: ClassVar[dict[str, Thing]] = {
        "quadratic": lambda delta: (QuadraticCost(), BallCost(delta)),
        "elastic": lambda delta: (ElasticCost(delta), BallCost(delta)),
        "a larger delta": lambda delta: (HuberCost(4.0 * delta), BallCost(delta)),
    }
