r"""Running costs beyond the quadratic one: duality, powers, and why Huber's is no cost for control."""

from __future__ import annotations

from typing import Any

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
from driftproof.theory.adjoint.regularizers import RunningCost
from driftproof.theory.rewards import Linear, Quadratic
from driftproof.validation import boundary, claim, exact, property, raises, rows
from driftproof.validation.mutants import wrong

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
EACH = rows("label, form", ((repr(cost), cost) for cost in COSTS))
COORDINATES = st.floats(-0.69, 0.69)


@claim(
    "ADJOINT-REGULARIZER-1",
    "Each cost, its conjugate and the control that it asks for",
    r"""L(u) + L^*(a) = a \cdot u \;\mathrm{for}\; u = \nabla L^*(a), \qquad L(w) + L^*(a) \ge a \cdot w \;\forall w""",
    covers=[RunningCost.cost, RunningCost.conjugate, RunningCost.control],
    hypotheses=[r"|a| \;\mathrm{within\;the\;reach\;of\;the\;cost}"],
)
class Duality:
    """Clipping the norm of an adjoint is the quadratic cost on a ball, soft thresholding the elastic one."""

    @property(1e-13, examples=30, false_alarm=0.0, over=EACH)
    def fenchel_equality(cost, conjugate, control, form, x=COORDINATES, y=COORDINATES):
        a = np.asarray([x, y])
        u = control(form, a)
        return cost(form, u) + conjugate(form, a), a @ u

    @property(0.0, examples=20, false_alarm=0.0, over=EACH)
    def no_other_control_is_better(cost, conjugate, form, x=COORDINATES, y=COORDINATES):
        a = np.asarray([x, y])
        others = np.stack(np.meshgrid(np.linspace(-3, 3, 25), np.linspace(-3, 3, 25)), axis=-1).reshape(-1, 2)
        return np.max(others @ a - cost(form, others) - conjugate(form, a)) > 1e-13, False

    @exact(1e-11, over=EACH)
    def the_control_is_the_slope_of_the_conjugate(control, conjugate, form):
        points = np.asarray([[0.3, -0.1], [0.55, 0.4], [-0.05, 0.1]])
        return control(form, points), slopes(lambda a: conjugate(form, a), points)

    mutants = {
        "identity": wrong(RunningCost.control, lambda a: a),
        "conjugate of the quadratic": wrong(RunningCost.conjugate, lambda a: 0.5 * np.sum(a * a, axis=-1)),
        "twice the control": wrong(RunningCost.control, lambda value: 2.0 * value),
        "twice the cost": wrong(RunningCost.cost, lambda value: 2.0 * value),
    }


def _shift(endpoint: Any, cost: RunningCost, sigma: float, c: float, lam: float) -> float:
    flow = RegularizedFlow(GaussianFlow([0.0], [[sigma**2]]), cost)
    return float(endpoint(flow, [0.0], 1.0, Linear([c]), lam)[0])


@claim(
    "ADJOINT-POWER-1",
    "Power costs answer a linear reward with a power",
    r"""z - \hat y = M_q\,|c/\lambda|^{q-1}\,\mathrm{sgn}\,c, \quad M_q = \int_0^1 \Phi^q, \qquad
        M_2 = \frac{\pi\sigma}2, \quad M_4 = \frac{\pi\sigma^3}4 + \sigma^2 + \frac{\pi\sigma}4""",
    covers=[
        RegularizedFlow.endpoint,
        RegularizedFlow.control,
        RegularizedFlow.value,
        QuadraticCost,
        PowerCost,
    ],
    hypotheses=[r"d = 1, \; \mathrm{linear\;path}", r"1/p + 1/q = 1"],
)
class Powers:
    @exact(1e-11, over=rows("sigma", (0.5, 1.7)))
    def closed_forms(endpoint, QuadraticCost, PowerCost, sigma):
        fourth = 0.25 * np.pi * sigma**3 + sigma**2 + 0.25 * np.pi * sigma
        second = _shift(endpoint, QuadraticCost(), sigma, -1.2, 0.9)
        yield "p = 2", second, -0.5 * np.pi * sigma * 1.2 / 0.9
        yield "p = 4/3", _shift(endpoint, PowerCost(4.0 / 3.0), sigma, -1.2, 0.9), -fourth * (1.2 / 0.9) ** 3

    @exact(1e-11, over=rows("sigma", (0.5, 1.7)))
    def quadrature_for_another_power(endpoint, PowerCost, sigma):
        moment = path_integral(lambda t: path_factor(sigma, t, "linear") ** 3, 0.0, 1.0, sigma)
        return _shift(endpoint, PowerCost(1.5), sigma, 1.2, 0.9), moment * (1.2 / 0.9) ** 2

    @exact(2e-8, over=rows("cost", (PowerCost(4.0 / 3.0), BallCost(0.5), ElasticCost(0.5))))
    def bellman_for_every_cost(value, control, cost):
        """dV/dt + v V' + lam L*(V'/lam) = 0 and u = the slope of L*, for a concave reward."""
        x, h, lam, reward = np.asarray([[-1.0], [0.4]]), 2e-3, 0.5, Quadratic([0.8], [[1.7]])
        flow = RegularizedFlow(GaussianFlow([1.3], [[0.49]]), cost)
        slope = _difference(lambda e: value(flow, x + e, 0.6, reward, lam), h)[:, None]
        rate = _difference(lambda e: value(flow, x, 0.6 + e, reward, lam), h)
        carried = np.sum(slope * flow.flow.velocity(x, 0.6), -1)
        yield "value", rate + carried + lam * cost.conjugate(slope / lam), np.zeros(2)
        yield "control", control(flow, x, 0.6, reward, lam), cost.control(slope / lam)

    mutants = {
        "quadratic for all": {PowerCost: lambda p: QuadraticCost()},
        "weight forgotten": wrong(RegularizedFlow.endpoint, lam=lambda: 1.0),
        "p for q": wrong(PowerCost, p=lambda p: p / (p - 1.0)),
        "sign of the control": wrong(RegularizedFlow.control, lambda value: -value),
        "value at another weight": wrong(RegularizedFlow.value, lam=lambda lam: 2.0 * lam),
    }


def _difference(f: Any, h: float) -> Any:
    return (8.0 * (f(0.5 * h) - f(-0.5 * h)) - (f(h) - f(-h))) / (6.0 * h)


FLOW = GaussianFlow([1.3], [[0.49]])


@claim(
    "ADJOINT-HUBER-1",
    "Huber's cost is no cost for control: ever shorter, larger pushes pay",
    r"""\inf_u \int L_\delta(u) - r(x_0) = -\infty \;\mathrm{for}\; r = c\,x, \;
        \max_t \Phi_t |c| > \lambda\delta; \qquad \mathrm{a\;minimiser\;exists\;if}\; \max_t \Phi_t |\nabla r| \le \lambda\delta""",
    covers=[HuberCost, RegularizedFlow.endpoint],
    hypotheses=[r"d = 1"],
)
class Huber:
    """Clipping the control instead (BallCost) is well posed for every reward."""

    @exact(0.0)
    def large_pushes_cost_less_than_they_bring(HuberCost):
        """Linear reward: scaling a push beyond delta scales cost less gain; below zero there is no least one."""
        sizes = np.asarray([[10.0], [100.0], [1000.0], [10000.0]])
        net = HuberCost(1.0).cost(sizes) - 1.5 * sizes[:, 0]
        yield "each is lower", bool(np.all(np.diff(net) < 0.0)), True
        yield "without a bound", bool(net[-1] < -4000.0), True

    @exact(1e-12)
    def within_its_reach_it_is_the_quadratic_one(HuberCost, endpoint):
        z = endpoint(RegularizedFlow(FLOW, HuberCost(2.0)), [[0.2]], 1.0, Linear([1.0]), 0.9)
        return z, FLOW.optimal_endpoint([[0.2]], 1.0, Linear([1.0]), 0.9)

    @boundary()
    def beyond_it_the_hypothesis_is_named(HuberCost, endpoint):
        given = ([[0.2]], 1.0, Linear([1.0]), 0.9)
        yield raises(ValueError, endpoint, RegularizedFlow(FLOW, HuberCost(0.5)), *given)
        yield "the ball is fine", endpoint(RegularizedFlow(FLOW, BallCost(0.5)), *given), np.zeros((1, 1))

    mutants = {
        "quadratic": {HuberCost: lambda delta: QuadraticCost()},
        "elastic": {HuberCost: ElasticCost},
        "a larger delta": wrong(HuberCost, delta=lambda delta: 4.0 * delta),
        "weight forgotten": wrong(RegularizedFlow.endpoint, lam=lambda: 1.0),
    }
