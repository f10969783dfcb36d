r"""On the grid of a trainer: the discrete oracle, and the index of the adjoint."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, ClassVar

import mpmath
import numpy as np
from scipy.integrate import quad

from driftproof.numerics.adjoint import (
    adjoint_step,
    adjoints,
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
from driftproof.validation import Rate, Thing, bound, boundary, claim, exact, raises, rate
from driftproof.validation.mutants import altered

from .grids import NOISE, TIMES, matched
from .textbook import CASES

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
    q = reward.Q if isinstance(reward, Quadratic) else np.zeros((d, d))
    hessian = lam * np.diag(np.repeat(h, d)) + moves.T @ q @ moves
    best = np.linalg.solve(hessian, moves.T @ (reward.c - q @ base))
    return best.reshape(n, d), base + moves @ best


def _oracle(flow: Any, reward: Any, lam: float, noise: Any) -> Any:
    """Controls along the optimal trajectory of the oracle, and its end."""
    grid = DiscreteFlow(flow, TIMES)
    return _followed(grid, reward, lam, noise)


def _followed(grid: Any, reward: Any, lam: float, x: Any) -> Any:
    controls = []
    for k, (t, h) in enumerate(zip(grid.times[:-1], grid.steps, strict=True)):
        controls.append(grid.control(x, k, reward, lam))
        x = x - h * (grid.flow.velocity(x, t) + controls[-1])
    return np.asarray(controls), x


@claim(
    "ADJOINT-DISCRETE-1",
    paper="adjoint",
    title="The discrete oracle, and the rounds that reach it exactly",
    statement=r"""u_k = \tfrac1\lambda a_{k+1}, \qquad a_k = (I - h_k\,\partial_x v_k)^\top a_{k+1}, \quad a_N = -\nabla r(x_N)
        \quad \mathrm{minimises} \quad \sum_k h_k \tfrac\lambda2|u_k|^2 - r(x_N)""",
    hypotheses=[r"\mathrm{Euler\;steps}", r"I + G^N Q \succ 0"],
    vouches=[DiscreteFlow.control, adjoints, matching_round, policy_rollout],
)
class DiscreteOracle:
    thing = staticmethod(_oracle)

    @exact(tolerance=1e-12)
    def the_minimiser_over_all_controls(thing: Thing) -> Iterator[Any]:
        for name, flow, reward, lam in CASES:
            for noise in NOISE[:2]:
                controls, end = thing(flow, reward, lam, noise)
                want, there = _minimiser(flow, reward, lam, noise)
                yield f"{name}, controls", controls, want
                yield f"{name}, end", end, there

    @exact(tolerance=1e-12)
    def rounds_of_matching_end_there(thing: Thing) -> Iterator[Any]:
        for name, flow, reward, lam in CASES:
            path, controls = policy_rollout(flow, matched(name), NOISE, TIMES)
            for i in range(2):
                want, end = thing(flow, reward, lam, NOISE[i])
                yield name, np.asarray(controls)[:, i], want
                yield f"{name}, end", path.end[i], end

    mutants: ClassVar[dict[str, Thing]] = {
        "index k": lambda f, r, lam, x: _followed(DiscreteFlow(f, TIMES, index=0), r, lam, x),
        "sign of the control": lambda f, r, lam, x: (-_oracle(f, r, lam, x)[0], _oracle(f, r, lam, x)[1]),
        "control of continuous time": lambda f, r, lam, x: _followed(_Continuous(f), r, lam, x),
    }


class _Continuous:
    """The optimal control of continuous time, on the grid."""

    def __init__(self, flow: Any) -> None:
        self.flow, self.times = flow, TIMES
        self.steps = [s - t for s, t in pairwise(TIMES)]

    def control(self, x: Any, k: int, reward: Any, lam: float) -> Any:
        return self.flow.control(x, self.times[k], reward, lam)


def _biased_shift(steps: int) -> float:
    """How far the fixed point with index k lies from the optimum, for a linear reward with c = lam = 1."""
    grids = [DiscreteFlow(LINE, uniform_times(steps), index) for index in (0, 1)]
    first, second = (float(grid.terminal_law(Linear([1.0]), 1.0).mean[0]) for grid in grids)
    return first - second


@claim(
    "ADJOINT-INDEX-1",
    paper="adjoint",
    title="The adjoint of index k instead of k + 1 is a bias of first order",
    statement=r"""\frac1\lambda\sum_k h\,\Psi_k\Psi_{k-1}^\top - G^N = -\frac h{2\lambda}\,(1 - \sigma^2) + O(h^2)""",
    hypotheses=[r"\mathrm{linear\;path}, \; d = 1, \; \mathrm{even\;grid}"],
    vouches=[DiscreteFlow.terminal_law, DiscreteFlow.objective],
)
class IndexOfTheAdjoint:
    """Code that pairs the control of a step with the adjoint *before* it stays short of the optimum."""

    thing = staticmethod(_biased_shift)

    @rate()
    def order_and_constant(thing: Thing) -> Rate:
        biases = [thing(n) for n in (200, 400, 800, 1600)]
        orders = [float(np.log2(a / b)) for a, b in pairwise(biases)]
        return Rate(orders, 1.0, 0.02, 1600 * biases[-1], -0.5 * (1.0 - 0.49), 0.01)

    @exact(tolerance=1e-12)
    def the_fixed_point_of_a_biased_trainer(thing: Thing) -> Iterator[Any]:
        """The rounds with the wrong index, iterated: they stop where the closed form says."""
        n, c = 20, 1.0
        grid = DiscreteFlow(LINE, uniform_times(n))
        moved = -sum(
            h * float(grid.transition(k)[0, 0]) * _early(grid, k) * -c for k, h in enumerate(grid.steps)
        )
        yield "shift", thing(n), moved - float(grid.gramian(1.0)[0, 0])

    @exact(tolerance=1e-13)
    def what_both_pay(thing: Thing) -> Iterator[Any]:
        """Costs are quadratic in the noise: three nodes of Gauss-Hermite give their mean."""
        assert thing(10) != 0.0
        noise = [-np.sqrt(3.0), 0.0, np.sqrt(3.0)]
        rewards: tuple[Linear | Quadratic, ...] = (Linear([1.0]), Quadratic([0.8], [[1.7]]))
        for index, reward in itertools.product((0, 1), rewards):
            grid, paid = DiscreteFlow(LINE, uniform_times(10), index), []
            for z in noise:
                controls, end = _followed(grid, reward, 0.7, np.asarray([z]))
                energy = sum(h * float(u[0]) ** 2 for h, u in zip(grid.steps, controls, strict=True))
                paid.append(0.35 * energy - float(reward.value(end)))
            mean = (paid[0] + 4.0 * paid[1] + paid[2]) / 6.0
            yield f"index {index}", float(grid.objective(reward, 0.7)), mean

    @bound(tight=0.3)
    def the_optimum_costs_less(thing: Thing) -> Iterator[Any]:
        assert thing(20) != 0.0
        reward = Quadratic([0.8], [[1.7]])
        for n in (10, 25):
            right, wrong = (
                float(DiscreteFlow(LINE, uniform_times(n), i).objective(reward, 1.0)) for i in (1, 0)
            )
            yield f"N = {n}", right, wrong

    @boundary()
    def other_indices_are_refused(thing: Thing) -> Iterator[Any]:
        yield raises(ValueError, DiscreteFlow, LINE, uniform_times(4), 2)
        yield raises(ValueError, DiscreteFlow, LINE, [0.0, 0.5, 1.0])

    mutants: ClassVar[dict[str, Thing]] = {
        "no bias": lambda n: 1e-9 / n**2,
        "sign": lambda n: -_biased_shift(n),
        "twice": lambda n: 2.0 * _biased_shift(n),
    }


def _early(grid: DiscreteFlow, k: int) -> float:
    """The factor before step k: one more step than that of the transition."""
    rate_k = float(LINE.vjp([0.0], grid.times[k], [1.0])[0])
    return (1.0 - grid.steps[k] * rate_k) * float(grid.transition(k)[0, 0])


def _gain_error(steps: int) -> float:
    return float(DiscreteFlow(LINE, uniform_times(steps)).gramian(1.0)[0, 0] - LINE.gramian(1.0, 1.0)[0, 0])


@claim(
    "ADJOINT-EULER-1",
    paper="adjoint",
    title="Euler steps find the optimum to first order, with this constant",
    statement=r"""G^N - G = h\Big[\tfrac12(1 - \sigma^2) - \int_0^1 \Phi_t^2\Big(A_t - A_0 + \int_0^t A^2\Big)dt\Big] + O(h^2)""",
    hypotheses=[r"d = 1, \; \lambda = 1", r"\mathrm{even\;grid}"],
    vouches=[DiscreteFlow.gramian],
)
class Euler:
    thing = staticmethod(_gain_error)

    @rate()
    def order_and_constant(thing: Thing) -> Rate:
        def slope(t: float) -> float:
            return (t - (1.0 - t) * 0.49) / ((1.0 - t) ** 2 * 0.49 + t**2)

        def weighed(t: float) -> float:
            phi2 = 0.49 / ((1.0 - t) ** 2 * 0.49 + t**2)
            return phi2 * (slope(t) + 1.0 + quad(lambda s: slope(s) ** 2, 0.0, t)[0])

        constant = 0.5 * (1.0 - 0.49) - quad(weighed, 0.0, 1.0)[0]
        errors = [thing(n) for n in (100, 200, 400, 800)]
        orders = [float(np.log2(a / b)) for a, b in pairwise(errors)]
        return Rate(orders, 1.0, 0.03, 800 * errors[-1], constant, 0.01)

    mutants: ClassVar[dict[str, Thing]] = {
        "factors of continuous time": lambda n: (
            float(np.mean([float(LINE.transition(t)[0, 0]) ** 2 for t in uniform_times(n)[1:]]))
            - float(LINE.gramian(1.0, 1.0)[0, 0])
        ),
        "index k": lambda n: _gain_error(n) + _biased_shift(n),
        "one step short": lambda n: _gain_error(n - 1) * 1.02,
    }


PARTS = SimpleNamespace(before=adjoint_step, target=control_target, losses=sample_losses, mask=quantile_mask)


def _changed(**parts: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(PARTS), **parts})


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
    paper="adjoint",
    title="One step: its adjoint, its target, its losses, and which of them count",
    statement=r"""a_k = \nabla_x\,\langle a_{k+1},\, x - h\,v(x)\rangle, \qquad
        \lambda\,\nabla L(u^\star) = a, \qquad \tfrac12 |u - u^\star|^2, \qquad
        \#\{\text{kept}\} = \lceil \text{share} \cdot B \rceil \text{ of the least losses}""",
    hypotheses=[r"\lambda > 0", r"\text{no ties, for the count of what is kept}"],
    vouches=[adjoint_step, control_target, sample_losses, quantile_mask],
)
class OneStep:
    thing = PARTS

    @exact(tolerance=1e-14)
    def the_adjoint_before_is_a_gradient(thing: Thing) -> Iterator[Any]:
        """Derivatives at fifty digits of the Euler step itself: a dozen roundings of numbers up to 8."""
        for x in ((0.3, -0.7), (1.25, 0.5)):
            for a in ((1.0, 0.0), (-0.5, 2.0)):
                jacobian = [
                    [mpmath.diff(lambda *y, i=i: _bent(y)[i], x, n) for n in ((1, 0), (0, 1))] for i in (0, 1)
                ]
                pulled = [sum(a[i] * jacobian[i][j] for i in (0, 1)) for j in (0, 1)]
                for h in (0.25, 0.01):
                    want = [mpmath.diff(lambda *y, h=h, a=a: _moved(y, h, a), x, n) for n in ((1, 0), (0, 1))]
                    got = thing.before(np.asarray(a), np.asarray(pulled, dtype=np.float64), h)
                    yield f"x = {x}, a = {a}, h = {h}", got, want

    @exact(tolerance=1e-13)
    def the_target_balances_cost_and_adjoint(thing: Thing) -> Iterator[Any]:
        """The slope of the printed cost at the target, times the weight, is the adjoint."""
        a = np.asarray([[0.3, -0.4], [-1.2, 0.5], [3.0, 4.0]])
        for name, cost, printed in PRINTED:
            for lam in (0.7, 1.0, 3.0):
                target = thing.target(a, lam, cost)
                for u, want in zip(target, a, strict=True):
                    length = mpmath.sqrt(mpmath.fdot(u, u))
                    slope = [lam * mpmath.diff(printed, length) * part / length for part in u]
                    yield f"{name}, lam = {lam}", slope, want

    @exact(tolerance=1e-14)
    def damping_and_the_shape_of_samples(thing: Thing) -> Iterator[Any]:
        a = np.asarray([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.5], [0.0, 0.0]]])  # norms 5 and 1/2
        current = np.asarray([[[1.0, 2.0], [3.0, 4.0]], [[-1.0, 0.0], [0.5, 2.0]]])
        for d in (0.0, 0.25, 0.9):
            got = thing.target(a, 2.0, QuadraticCost(), current, d)
            yield f"quadratic, damping {d}", got, (1.0 - d) * a / 2.0 + d * current
        # p = 3/2: |u|^(1/2) = |a|, so that u = |a| a; the norm is that of a whole sample.
        norms = np.asarray([5.0, 0.5])[:, None, None]
        yield "power, samples of a shape", thing.target(a, 1.0, PowerCost(1.5)), norms * a
        yield "a ball, which holds one of them", thing.target(a, 1.0, BallCost(1.0)), [a[0] / 5.0, a[1]]

    @exact(tolerance=0.0)
    def losses_as_fractions(thing: Thing) -> Iterator[Any]:
        """Dyadic numbers: nothing is rounded."""
        control = np.asarray([[[1.0, -2.5], [0.25, 4.0]], [[0.0, 3.0], [1.5, -0.5]]])
        target = np.asarray([[[0.5, 2.0], [0.25, -1.0]], [[0.0, 3.0], [-2.5, 0.75]]])
        want = [
            float(sum((Fraction(u) - Fraction(v)) ** 2 for u, v in zip(*pair, strict=True)) / 2)
            for pair in zip(control.reshape(2, 4).tolist(), target.reshape(2, 4).tolist(), strict=True)
        ]
        yield "half of the squared distance", thing.losses(control, target), want

    @exact(tolerance=0.0)
    def every_order_of_five_losses(thing: Thing) -> Iterator[Any]:
        for order in itertools.permutations((0.0, 0.5, 1.0, 3.0, 9.0)):
            for share in (0.01, 0.2, 0.25, 0.5, 0.75, 0.9, 1.0):
                count = math.ceil(Fraction(str(share)) * len(order))
                want = [float(loss in sorted(order)[:count]) for loss in order]
                yield f"{order}, share {share}", thing.mask(np.asarray(order), share), want
        yield "ties all stay", thing.mask(np.asarray([1.0, 2.0, 1.0, 1.0]), 0.25), [1.0, 0.0, 1.0, 1.0]

    @boundary()
    def bad_arguments(thing: Thing) -> Iterator[Any]:
        yield raises(ValueError, control_target, np.ones((1, 2)), 0.0)
        yield raises(ValueError, quantile_mask, np.ones(3), 0.0)
        yield raises(ValueError, sample_losses, np.ones((2, 2)), np.ones((2, 1)))

    mutants: ClassVar[dict[str, Thing]] = {
        "the step forwards": _changed(before=lambda a, pulled, h: adjoint_step(a, pulled, -h)),
        "a step of length one": _changed(before=lambda a, pulled, h: adjoint_step(a, pulled, 1.0)),
        "weight on the wrong side": _changed(
            target=lambda a, lam, *rest: control_target(a, 1.0 / lam, *rest)
        ),
        "damping for one minus it": _changed(
            target=altered(
                control_target,
                lambda kernel, xp, a, lam, cost, current=None, damping=0.0: kernel(
                    xp, a, lam, cost, current, 1.0 - damping
                ),
            )
        ),
        "norms of single coordinates": _changed(
            target=lambda a, lam, *rest: control_target(np.ravel(a)[:, None], lam, *rest[:1]).reshape(a.shape)
        ),
        "no half": _changed(losses=lambda u, v: 2.0 * sample_losses(u, v)),
        "the first coordinate": _changed(losses=lambda u, v: sample_losses(u[:, :1], v[:, :1])),
        "the largest losses": _changed(mask=lambda losses, share: quantile_mask(-losses, share)),
        "a share rounded down": _changed(
            mask=lambda losses, share: quantile_mask(losses, max(int(share * 5), 1) / 5.0)
        ),
    }
