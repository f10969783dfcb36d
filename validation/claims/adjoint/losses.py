r"""The matching loss: where it vanishes, what it certifies, and how to take it from some of the steps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from driftproof.numerics.adjoint import (
    AffinePolicy,
    adjoints,
    chosen_steps,
    matching_loss,
    optimum_interval,
    policy_rollout,
    step_probabilities,
    trajectory_costs,
    uncontrolled,
)
from driftproof.theory.adjoint import DiscreteFlow
from driftproof.theory.rewards import Quadratic
from driftproof.validation import Thing, bound, boundary, claim, exact

from .grids import NOISE, TIMES, coefficients, matched
from .textbook import CASES, FLOWS

__all__ = ["Certificates", "LossReachesZero", "Subsampling"]


def _losses(flow: Any, policy: Any, reward: Any, lam: float) -> Any:
    path, controls = policy_rollout(flow, policy, NOISE, TIMES)
    after = adjoints(path, reward.gradient(path.end), flow.vjp)
    return matching_loss(path, controls, after, lam)


@claim(
    "ADJOINT-LOSS-1",
    paper="adjoint",
    title="The loss is exactly zero at the optimum, and nowhere else",
    statement=r"""\mathcal L(u) = 0 \iff u \; \mathrm{satisfies\;Pontryagin's\;conditions\;on\;every\;trajectory}""",
    hypotheses=[r"\mathrm{deterministic\;dynamics}", r"\mathrm{index\;} k + 1"],
    vouches=[matching_loss],
)
class LossReachesZero:
    """A flow sends each noise to one endpoint: its adjoint is a function of the state, and no variance is left."""

    thing = staticmethod(_losses)

    @exact(tolerance=1e-27)
    def zero_at_the_fixed_point(thing: Thing) -> Iterator[Any]:
        for name, flow, reward, lam in CASES:
            yield name, thing(flow, matched(name), reward, lam), np.zeros(len(NOISE))

    @exact(tolerance=1e-12)
    def the_gradient_of_the_objective_elsewhere(thing: Thing) -> Iterator[Any]:
        """lam^2 |u - target|^2 is the squared gradient of J in the controls, here by exact differences."""
        for name, flow, reward, lam in CASES:
            policy = _disturbed(name)
            yield (
                name,
                thing(flow, policy, reward, lam)[0],
                _squared_slope(flow, policy, reward, lam) / lam**2 / 2.0,
            )

    @boundary(tolerance=1e-4)
    def not_with_the_wrong_index(thing: Thing) -> Iterator[Any]:
        _, flow, reward, lam = CASES[1]
        grid = DiscreteFlow(flow, TIMES, index=0)
        policy = AffinePolicy(*coefficients(grid, reward, lam))
        yield "fixed point of index k", float(np.max(thing(flow, policy, reward, lam))), 0.0

    mutants: ClassVar[dict[str, Thing]] = {
        "index k": lambda f, p, r, lam: _shifted_losses(f, p, r, lam),
        "no half": lambda f, p, r, lam: 2.0 * _losses(f, p, r, lam),
        "a floor": lambda f, p, r, lam: _losses(f, p, r, lam) + 1e-12,
    }


def _shifted_losses(flow: Any, policy: Any, reward: Any, lam: float) -> Any:
    path, controls = policy_rollout(flow, policy, NOISE, TIMES)
    after = adjoints(path, reward.gradient(path.end), flow.vjp)
    first = after[0] - path.steps[0] * flow.vjp(path.states[0], path.times[0], after[0])
    return matching_loss(path, controls, [first, *after[:-1]], lam)


def _disturbed(name: str) -> AffinePolicy:
    rng = np.random.default_rng(3)
    best = matched(name)
    return AffinePolicy(
        best.gains + 0.3 * rng.normal(size=best.gains.shape),
        best.offsets + rng.normal(size=best.offsets.shape),
    )


def _squared_slope(flow: Any, policy: Any, reward: Any, lam: float) -> float:
    """sum_k |dJ/du_k|^2 / h_k for the first noise; J is quadratic, so central differences are exact."""
    path, controls = policy_rollout(flow, policy, NOISE[:1], TIMES)
    u = np.concatenate(controls)

    def objective(u: Any) -> float:
        x, paid = NOISE[0], 0.0
        for k, h in enumerate(path.steps):
            paid += h * 0.5 * lam * float(np.sum(u[k] ** 2))
            x = x - h * (flow.velocity(x, TIMES[k]) + u[k])
        return paid - float(reward.value(x))

    total = 0.0
    for k, h in enumerate(path.steps):
        for i in range(2):
            e = np.zeros_like(u)
            e[k, i] = 1.0
            total += (0.5 * (objective(u + e) - objective(u - e))) ** 2 / h
    return total


def _gap_over_loss(flow: Any, policy: Any, best: Any, reward: Any, lam: float) -> Any:
    """Excess cost over certified bound, sample by sample, and the curvature."""
    path, controls = policy_rollout(flow, policy, NOISE, TIMES)
    costs = trajectory_costs(path, controls, reward.value(path.end), lam)
    reference, there = policy_rollout(flow, best, NOISE, TIMES)
    least = trajectory_costs(reference, there, reward.value(reference.end), lam)
    interval = optimum_interval(0.0, 1.0, lam)
    return costs - least, -interval.low * _losses(flow, policy, reward, lam)


@claim(
    "ADJOINT-CERTIFICATE-1",
    paper="adjoint",
    title="The matching loss bounds the distance to the optimum, from both sides",
    statement=r"""\frac{\lambda\,\mathcal L(u)}{1 + \kappa} \le J(u) - J^* \le \lambda\,\mathcal L(u), \qquad
        \kappa = \lambda_{max}(G^{1/2} Q G^{1/2})""",
    hypotheses=[r"\mathrm{affine\;flow}", r"r \; \mathrm{concave}", r"L = \tfrac12|u|^2"],
    vouches=[optimum_interval, trajectory_costs, matching_loss],
)
class Certificates:
    """A stopping rule with a unit: what is left to gain is at most lambda times the loss that is printed."""

    thing = staticmethod(_gap_over_loss)

    @bound(tight=0.3)
    def never_more_is_left(thing: Thing) -> Iterator[Any]:
        flow, reward, lam = FLOWS["linear"], _CONCAVE, 0.9
        for policy in _policies(flow):
            yield "gap", *thing(flow, policy, _best(flow, reward, lam), reward, lam)

    @bound(tight=0.3)
    def never_less_than_the_curvature_allows(thing: Thing) -> Iterator[Any]:
        flow, reward, lam = FLOWS["linear"], _CONCAVE, 0.9
        values, axes = np.linalg.eigh(DiscreteFlow(flow, TIMES).gramian(lam))
        root = axes * np.sqrt(values)
        curvature = float(np.max(np.linalg.eigvalsh(root.T @ reward.Q @ root)))
        for policy in _policies(flow):
            gap, most = thing(flow, policy, _best(flow, reward, lam), reward, lam)
            yield "gap", most / (1.0 + curvature), gap

    @exact(tolerance=1e-11)
    def an_equality_for_linear_rewards(thing: Thing) -> Iterator[Any]:
        name, flow, reward, lam = CASES[0]
        gap, most = thing(flow, _disturbed(name), matched(name), reward, lam)
        yield "gap", gap, most

    @boundary(tolerance=0.05)
    def convex_rewards_are_not_covered(thing: Thing) -> Iterator[Any]:
        flow, reward, lam = FLOWS["linear"], Quadratic([0.5, 0.0], [[-0.4, 0.0], [0.0, -0.2]]), 0.9
        gap, most = thing(flow, _policies(flow)[0], _best(flow, reward, lam), reward, lam)
        yield "largest ratio", float(np.max(gap / most)), 1.0

    mutants: ClassVar[dict[str, Thing]] = {
        "half of it": lambda f, p, b, r, lam: (
            _gap_over_loss(f, p, b, r, lam)[0],
            _gap_over_loss(f, p, b, r, lam)[1] / 2,
        ),
        "weight forgotten": lambda f, p, b, r, lam: (
            _gap_over_loss(f, p, b, r, lam)[0],
            _losses(f, p, r, lam) * 0.3,
        ),
        "gap to no control": lambda f, p, b, r, lam: _gap_over_loss(
            f, p, uncontrolled(f, len(TIMES) - 1), r, lam
        ),
    }


_CONCAVE = Quadratic([0.8, 0.1], [[1.7, -0.3], [-0.3, 0.4]])


@cache
def _policies(flow: Any) -> tuple[AffinePolicy, ...]:
    rng = np.random.default_rng(11)
    shapes = ((len(TIMES) - 1, 2, 2), (len(TIMES) - 1, 2))
    return tuple(AffinePolicy(*(0.5 * rng.normal(size=shape) for shape in shapes)) for _ in range(3))


def _best(flow: Any, reward: Any, lam: float) -> AffinePolicy:
    return AffinePolicy(*coefficients(DiscreteFlow(flow, TIMES), reward, lam))


def _expected_weights(probabilities: Any, n: int) -> Any:
    """E of the weight that each step receives: exactly, between the breakpoints of the inversion."""
    ends = np.concatenate([[0.0], np.cumsum(probabilities)])
    total = np.zeros(len(probabilities))
    for i in range(n):
        cuts = np.unique(np.clip(np.concatenate([n * ends - i, [0.0, 1.0]]), 0.0, 1.0))
        for low, high in pairwise(cuts):
            uniforms = np.full(n, 0.5)
            uniforms[i] = 0.5 * (low + high)
            step, weight = chosen_steps(probabilities, list(uniforms))[i]
            total[step] += weight * (high - low)
    return total


def _unweighted(probabilities: Any, n: int) -> Any:
    return _expected_weights(probabilities, n) * np.asarray(probabilities) * len(probabilities)


@claim(
    "ADJOINT-SUBSAMPLING-1",
    paper="adjoint",
    title="A loss over some of the steps, weighted, is unbiased",
    statement=r"""E\Big[\sum_{i=1}^n \frac{f(k_i)}{n\,p_{k_i}}\Big] = \sum_k f(k) \quad \mathrm{for\;stratified\;} k_i""",
    hypotheses=[r"p_k > 0 \; \mathrm{where} \; f(k) \neq 0"],
    vouches=[chosen_steps, step_probabilities],
)
class Subsampling:
    thing = staticmethod(_expected_weights)

    @exact(tolerance=1e-12)
    def every_step_counts_once(thing: Thing) -> Iterator[Any]:
        for count, n in ((10, 1), (10, 4), (7, 3), (1, 2)):
            yield f"{n} of {count}", thing(step_probabilities(count), n), np.ones(count)

    @exact(tolerance=1e-12)
    def steps_of_no_probability(thing: Thing) -> Iterator[Any]:
        yield "zeros", thing(np.asarray([0.0, 0.25, 0.75, 0.0]), 2), np.asarray([0.0, 1.0, 1.0, 0.0])

    mutants: ClassVar[dict[str, Thing]] = {
        "no importance weights": _unweighted,
        "weights not divided by n": lambda p, n: n * _expected_weights(p, n) + (n == 1),
        "the last stratum forgotten": lambda p, n: _expected_weights(p, n) * (1.0 - 1.0 / (n + 1)),
    }
