r"""On the grid of a trainer: the discrete oracle, and the index of the adjoint."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from scipy.integrate import quad

from ....numerics.adjoint import adjoints, matching_round, policy_rollout
from ....theory.adjoint import DiscreteFlow, GaussianFlow, uniform_times
from ....theory.rewards import Linear, Quadratic
from ... import Rate, Thing, bound, boundary, claim, exact, raises, rate
from .grids import NOISE, TIMES, matched
from .textbook import CASES

__all__ = ["DiscreteOracle", "Euler", "IndexOfTheAdjoint"]

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
