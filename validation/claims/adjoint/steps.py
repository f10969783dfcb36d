r"""On the grid of a trainer: the discrete oracle, and the index of the adjoint."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
from scipy.integrate import quad

from driftproof.numerics.adjoint import (
    adjoint_step,
    control_target,
    matching_round,
    policy_rollout,
    quantile_mask,
    sample_losses,
)
from driftproof.theory.adjoint import (
    BallCost,
    DiscreteFlow,
    GaussianFlow,
    PowerCost,
    QuadraticCost,
    uniform_times,
)
from driftproof.theory.rewards import Linear, Quadratic
from driftproof.validation import Rate, bound, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from .grids import NOISE, TIMES, matched
from .textbook import EACH, curvature

__all__ = ["DiscreteOracle", "Euler", "IndexOfTheAdjoint", "OneStep"]

LINE = GaussianFlow([1.3], [[0.49]])


def _minimiser(flow: Any, reward: Any, lam: float, noise: Any) -> tuple[Any, Any]:
    """Least squares over all controls of one trajectory at once: no adjoint, no recursion of gains."""
    d, n = 2, len(TIMES) - 1
    h = -np.diff(TIMES)

    def end(controls: Any) -> Any:
        x = noise
        for k in range(n):
            x = x - h[k] * (flow.velocity(x, TIMES[k]) + controls[k])
        return x

    base = end(np.zeros((n, d)))
    columns = [end(unit.reshape(n, d)) - base for unit in np.eye(n * d)]
    moves = np.stack(columns, axis=1)  # x_N = base + moves @ u
    q = curvature(reward)
    hessian = lam * np.diag(np.repeat(h, d)) + moves.T @ q @ moves
    best = np.linalg.solve(hessian, moves.T @ (reward.c - q @ base))
    return best.reshape(n, d), base + moves @ best


def _followed(control: Any, grid: DiscreteFlow, reward: Any, lam: float, x: Any) -> tuple[Any, Any]:
    """Controls along a trajectory of the oracle, and its end."""
    controls = []
    for k, (t, h) in enumerate(zip(grid.times[:-1], grid.steps, strict=True)):
        controls.append(control(grid, x, k, reward, lam))
        x = x - h * (grid.flow.velocity(x, t) + controls[-1])
    return np.asarray(controls), x


@claim(
    "ADJOINT-DISCRETE-1",
    "The discrete oracle, and the rounds that reach it exactly",
    r"""u_k = \tfrac1\lambda a_{k+1}, \qquad a_k = (I - h_k\,\partial_x v_k)^\top a_{k+1}, \quad a_N = -\nabla r(x_N)
        \quad \mathrm{minimises} \quad \sum_k h_k \tfrac\lambda2|u_k|^2 - r(x_N)""",
    covers=[DiscreteFlow.control, matching_round, policy_rollout],
    hypotheses=[r"\mathrm{Euler\;steps}", r"I + G^N Q \succ 0"],
)
class DiscreteOracle:
    @exact(1e-12, over=EACH)
    def the_minimiser_over_all_controls(control, flow, reward, lam):
        for noise in NOISE[:2]:
            controls, end = _followed(control, DiscreteFlow(flow, TIMES), reward, lam, noise)
            want, there = _minimiser(flow, reward, lam, noise)
            yield "controls", controls, want
            yield "end", end, there

    @exact(1e-12, over=EACH)
    def rounds_of_matching_end_there(control, matching_round, policy_rollout, flow, reward, lam):
        path, controls = policy_rollout(flow, matched(flow, reward, lam, matching_round), NOISE, TIMES)
        for i in range(2):
            want, end = _followed(control, DiscreteFlow(flow, TIMES), reward, lam, NOISE[i])
            yield "controls", np.asarray(controls)[:, i], want
            yield "end", path.end[i], end

    mutants = {
        "index k": wrong(
            DiscreteFlow.control, self=lambda self: DiscreteFlow(self.flow, self.times, index=0)
        ),
        "sign of the control": wrong(DiscreteFlow.control, lambda value: -value),
        "control of continuous time": wrong(
            DiscreteFlow.control,
            lambda self, x, k, reward, lam: self.flow.control(x, self.times[k], reward, lam),
        ),
        "rounds at another weight": wrong(matching_round, lam=lambda lam: 2.0 * lam),
        "rolled out from other noise": wrong(policy_rollout, noise=lambda noise: -noise),
    }


def _biased_shift(terminal_law: Any, steps: int) -> float:
    """How far the fixed point with index k lies from the optimum, for a linear reward with c = lam = 1."""
    grids = [DiscreteFlow(LINE, uniform_times(steps), index) for index in (0, 1)]
    first, second = (float(terminal_law(grid, Linear([1.0]), 1.0).mean[0]) for grid in grids)
    return first - second


@claim(
    "ADJOINT-INDEX-1",
    "The adjoint of index k instead of k + 1 is a bias of first order",
    r"""\frac1\lambda\sum_k h\,\Psi_k\Psi_{k-1}^\top - G^N = -\frac h{2\lambda}\,(1 - \sigma^2) + O(h^2)""",
    covers=[DiscreteFlow, DiscreteFlow.terminal_law, DiscreteFlow.objective],
    hypotheses=[r"\mathrm{linear\;path}, \; d = 1, \; \mathrm{even\;grid}"],
)
class IndexOfTheAdjoint:
    """Code that pairs the control of a step with the adjoint *before* it stays short of the optimum."""

    @rate()
    def order_and_constant(terminal_law):
        biases = [_biased_shift(terminal_law, n) for n in (200, 400, 800, 1600)]
        orders = [float(np.log2(a / b)) for a, b in pairwise(biases)]
        return Rate(orders, 1.0, 0.02, 1600 * biases[-1], -0.5 * (1.0 - 0.49), 0.01)

    @exact(1e-12)
    def the_fixed_point_of_a_biased_trainer(terminal_law):
        """The rounds with the wrong index, iterated: they stop where the closed form says."""
        n, c = 20, 1.0
        grid = DiscreteFlow(LINE, uniform_times(n))
        moved = -sum(
            h * float(grid.transition(k)[0, 0]) * _early(grid, k) * -c for k, h in enumerate(grid.steps)
        )
        return _biased_shift(terminal_law, n), moved - float(grid.gramian(1.0)[0, 0])

    @exact(1e-13, over=grid(index=(0, 1), reward=(Linear([1.0]), Quadratic([0.8], [[1.7]]))))
    def what_both_pay(objective, index, reward):
        """Costs are quadratic in the noise: three nodes of Gauss-Hermite give their mean."""
        grid, paid = DiscreteFlow(LINE, uniform_times(10), index), []
        for z in (-np.sqrt(3.0), 0.0, np.sqrt(3.0)):
            controls, end = _followed(DiscreteFlow.control, grid, reward, 0.7, np.asarray([z]))
            energy = sum(h * float(u[0]) ** 2 for h, u in zip(grid.steps, controls, strict=True))
            paid.append(0.35 * energy - float(reward.value(end)))
        return float(objective(grid, reward, 0.7)), (paid[0] + 4.0 * paid[1] + paid[2]) / 6.0

    @bound(tight=0.3, over=rows("n", (10, 25)))
    def the_optimum_costs_less(objective, n):
        grids = [DiscreteFlow(LINE, uniform_times(n), index) for index in (1, 0)]
        right, biased = (float(objective(grid, Quadratic([0.8], [[1.7]]), 1.0)) for grid in grids)
        return right, biased

    refuses = [(DiscreteFlow, LINE, uniform_times(4), 2), (DiscreteFlow, LINE, [0.0, 0.5, 1.0])]

    mutants = {
        "no bias": wrong(DiscreteFlow.terminal_law, self=lambda self: DiscreteFlow(self.flow, self.times, 1)),
        "sign": wrong(
            DiscreteFlow.terminal_law, self=lambda self: DiscreteFlow(self.flow, self.times, 1 - self.index)
        ),
        "twice": wrong(DiscreteFlow.terminal_law, lam=lambda lam: 0.5 * lam),
        "costs at another weight": wrong(DiscreteFlow.objective, lam=lambda lam: 2.0 * lam),
    }


def _early(grid: DiscreteFlow, k: int) -> float:
    """The factor before step k: one more step than that of the transition."""
    rate_k = float(LINE.vjp([0.0], grid.times[k], [1.0])[0])
    return (1.0 - grid.steps[k] * rate_k) * float(grid.transition(k)[0, 0])


@claim(
    "ADJOINT-EULER-1",
    "Euler steps find the optimum to first order, with this constant",
    r"""G^N - G = h\Big[\tfrac12(1 - \sigma^2) - \int_0^1 \Phi_t^2\Big(A_t - A_0 + \int_0^t A^2\Big)dt\Big] + O(h^2)""",
    covers=[DiscreteFlow.gramian],
    hypotheses=[r"d = 1, \; \lambda = 1", r"\mathrm{even\;grid}"],
)
class Euler:
    @rate()
    def order_and_constant(gramian):
        def slope(t):
            return (t - (1.0 - t) * 0.49) / ((1.0 - t) ** 2 * 0.49 + t**2)

        def weighed(t):
            phi2 = 0.49 / ((1.0 - t) ** 2 * 0.49 + t**2)
            return phi2 * (slope(t) + 1.0 + quad(lambda s: slope(s) ** 2, 0.0, t)[0])

        constant = 0.5 * (1.0 - 0.49) - quad(weighed, 0.0, 1.0)[0]
        grids = [DiscreteFlow(LINE, uniform_times(n)) for n in (100, 200, 400, 800)]
        errors = [float(gramian(grid, 1.0)[0, 0] - LINE.gramian(1.0, 1.0)[0, 0]) for grid in grids]
        orders = [float(np.log2(a / b)) for a, b in pairwise(errors)]
        return Rate(orders, 1.0, 0.03, 800 * errors[-1], constant, 0.01)

    mutants = {
        "factors of continuous time": wrong(DiscreteFlow.gramian, lambda self: _summed(self)),
        "index k": wrong(
            DiscreteFlow.gramian, self=lambda self: DiscreteFlow(self.flow, self.times, index=0)
        ),
        "one step short": wrong(DiscreteFlow.gramian, start=lambda: 1),
    }


def _summed(grid: DiscreteFlow) -> Any:
    """The Gramian with the stretch of continuous time at the end of every step."""
    parts = [grid.flow.transition(t) ** 2 * h for t, h in zip(grid.times[1:], grid.steps, strict=True)]
    return np.sum(parts, axis=0)


def _bent(x: Any) -> list[Any]:
    """A velocity whose Jacobian is not symmetric."""
    return [mpmath.sin(x[1]) + x[0] ** 2, x[0] * mpmath.exp(x[1])]


def _moved(x: Any, h: float, a: Any) -> Any:
    """The component along a of the state after an Euler step: its gradient is the adjoint before."""
    return sum(weight * (position - h * v) for weight, position, v in zip(a, x, _bent(list(x)), strict=True))


# Costs of a unit weight as functions of the norm of the control.
PRINTED: tuple[tuple[str, Any, Any], ...] = (
    ("quadratic", QuadraticCost(), lambda r: r**2 / 2),
    ("power", PowerCost(1.5), lambda r: r ** mpmath.mpf(1.5) / 1.5),
)


@claim(
    "ADJOINT-STEP-1",
    "One step: its adjoint, its target, its losses, and which of them count",
    r"""a_k = \nabla_x\,\langle a_{k+1},\, x - h\,v(x)\rangle, \qquad
        \lambda\,\nabla L(u^\star) = a, \qquad \tfrac12 |u - u^\star|^2, \qquad
        \#\{\text{kept}\} = \lceil \text{share} \cdot B \rceil \text{ of the least losses}""",
    covers=[adjoint_step, control_target, sample_losses, quantile_mask],
    hypotheses=[r"\lambda > 0", r"\text{no ties, for the count of what is kept}"],
)
class OneStep:
    @exact(1e-14, over=grid(x=((0.3, -0.7), (1.25, 0.5)), a=((1.0, 0.0), (-0.5, 2.0)), h=(0.25, 0.01)))
    def the_adjoint_before_is_a_gradient(adjoint_step, x, a, h):
        """Derivatives at fifty digits of the Euler step itself: a dozen roundings of numbers up to 8."""
        along = ((1, 0), (0, 1))
        jacobian = [[mpmath.diff(lambda *y, i=i: _bent(y)[i], x, n) for n in along] for i in (0, 1)]
        pulled = [sum(a[i] * jacobian[i][j] for i in (0, 1)) for j in (0, 1)]
        want = [mpmath.diff(lambda *y: _moved(y, h, a), x, n) for n in along]
        return adjoint_step(np.asarray(a), np.asarray(pulled, dtype=np.float64), h), want

    @exact(1e-13, over=grid(rows("name, cost, printed", PRINTED), lam=(0.7, 1.0, 3.0)))
    def the_target_balances_cost_and_adjoint(control_target, name, cost, printed, lam):
        """The slope of the printed cost at the target, times the weight, is the adjoint."""
        a = np.asarray([[0.3, -0.4], [-1.2, 0.5], [3.0, 4.0]])
        for u, want in zip(control_target(a, lam, cost), a, strict=True):
            length = mpmath.sqrt(mpmath.fdot(u, u))
            yield name, [lam * mpmath.diff(printed, length) * part / length for part in u], want

    @exact(1e-14)
    def damping_and_the_shape_of_samples(control_target):
        a = np.asarray([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.5], [0.0, 0.0]]])  # norms 5 and 1/2
        current = np.asarray([[[1.0, 2.0], [3.0, 4.0]], [[-1.0, 0.0], [0.5, 2.0]]])
        for d in (0.0, 0.25, 0.9):
            got = control_target(a, 2.0, QuadraticCost(), current, d)
            yield f"quadratic, damping {d}", got, (1.0 - d) * a / 2.0 + d * current
        # p = 3/2: |u|^(1/2) = |a|, so that u = |a| a; the norm is that of a whole sample.
        norms = np.asarray([5.0, 0.5])[:, None, None]
        yield "power, samples of a shape", control_target(a, 1.0, PowerCost(1.5)), norms * a
        yield "a ball, which holds one of them", control_target(a, 1.0, BallCost(1.0)), [a[0] / 5.0, a[1]]

    @exact(0.0)
    def losses_as_fractions(sample_losses):
        """Dyadic numbers: nothing is rounded."""
        control = np.asarray([[[1.0, -2.5], [0.25, 4.0]], [[0.0, 3.0], [1.5, -0.5]]])
        target = np.asarray([[[0.5, 2.0], [0.25, -1.0]], [[0.0, 3.0], [-2.5, 0.75]]])
        want = [
            float(sum((Fraction(u) - Fraction(v)) ** 2 for u, v in zip(*pair, strict=True)) / 2)
            for pair in zip(control.reshape(2, 4).tolist(), target.reshape(2, 4).tolist(), strict=True)
        ]
        yield "half of the squared distance", sample_losses(control, target), want

    @exact(0.0)
    def every_order_of_five_losses(quantile_mask):
        for order in itertools.permutations((0.0, 0.5, 1.0, 3.0, 9.0)):
            for share in (0.01, 0.2, 0.25, 0.5, 0.75, 0.9, 1.0):
                count = math.ceil(Fraction(str(share)) * len(order))
                want = [float(loss in sorted(order)[:count]) for loss in order]
                yield f"{order}, share {share}", quantile_mask(np.asarray(order), share), want
        yield "ties all stay", quantile_mask(np.asarray([1.0, 2.0, 1.0, 1.0]), 0.25), [1.0, 0.0, 1.0, 1.0]

    refuses = [
        (control_target, np.ones((1, 2)), 0.0),
        (quantile_mask, np.ones(3), 0.0),
        (sample_losses, np.ones((2, 2)), np.ones((2, 1))),
    ]

    mutants = {
        "the step forwards": wrong(adjoint_step, h=lambda h: -h),
        "a step of length one": wrong(adjoint_step, h=lambda: 1.0),
        "weight on the wrong side": wrong(control_target, lam=lambda lam: 1.0 / lam),
        "damping for one minus it": wrong(control_target, damping=lambda damping: 1.0 - damping),
        "norms of single coordinates": {
            control_target: lambda a, lam, *rest: control_target(
                np.ravel(a)[:, None], lam, *rest[:1]
            ).reshape(a.shape)
        },
        "no half": wrong(sample_losses, lambda value: 2.0 * value),
        "the first coordinate": wrong(
            sample_losses, control=lambda control: control[:, :1], target=lambda target: target[:, :1]
        ),
        "the largest losses": wrong(quantile_mask, losses=lambda losses: -losses),
        "a share rounded down": wrong(quantile_mask, share=lambda share: max(int(share * 5), 1) / 5.0),
    }
