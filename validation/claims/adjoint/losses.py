r"""The matching loss: where it vanishes, what it certifies, and how to take it from some of the steps."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

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
)
from driftproof.theory.adjoint import DiscreteFlow
from driftproof.theory.rewards import Quadratic
from driftproof.validation import bound, boundary, claim, exact, rows
from driftproof.validation.mutants import wrong

from .grids import NOISE, TIMES, coefficients, matched
from .textbook import CASES, EACH, FLOWS

__all__ = ["Certificates", "LossReachesZero", "Subsampling"]


def _losses(matching_loss: Any, flow: Any, policy: Any, reward: Any, lam: float) -> Any:
    path, controls = policy_rollout(flow, policy, NOISE, TIMES)
    after = adjoints(path, reward.gradient(path.end), flow.vjp)
    return matching_loss(path, controls, after, lam)


@claim(
    "ADJOINT-LOSS-1",
    "The loss is exactly zero at the optimum, and nowhere else",
    r"""\mathcal L(u) = 0 \iff u \; \mathrm{satisfies\;Pontryagin's\;conditions\;on\;every\;trajectory}""",
    covers=[matching_loss],
    hypotheses=[r"\mathrm{deterministic\;dynamics}", r"\mathrm{index\;} k + 1"],
)
class LossReachesZero:
    """A flow sends each noise to one endpoint: its adjoint is a function of the state, and no variance is left."""

    @exact(1e-27, over=EACH)
    def zero_at_the_fixed_point(matching_loss, flow, reward, lam):
        return _losses(matching_loss, flow, matched(flow, reward, lam), reward, lam), np.zeros(len(NOISE))

    @exact(1e-12, over=EACH)
    def the_gradient_of_the_objective_elsewhere(matching_loss, flow, reward, lam):
        """lam^2 |u - target|^2 is the squared gradient of J in the controls, here by exact differences."""
        policy = _disturbed(matched(flow, reward, lam))
        got = _losses(matching_loss, flow, policy, reward, lam)[0]
        return got, _squared_slope(flow, policy, reward, lam) / lam**2 / 2.0

    @boundary(1e-4)
    def not_with_the_wrong_index(matching_loss):
        _, flow, reward, lam = CASES[1]
        policy = AffinePolicy(*coefficients(DiscreteFlow(flow, TIMES, index=0), reward, lam))
        return float(np.max(_losses(matching_loss, flow, policy, reward, lam))), 0.0

    mutants = {
        "index k": wrong(matching_loss, after=lambda after: [after[0], *after[:-1]]),
        "no half": wrong(matching_loss, lambda value: 2.0 * value),
        "a floor": wrong(matching_loss, lambda value: value + 1e-12),
    }


def _disturbed(best: AffinePolicy) -> AffinePolicy:
    rng = np.random.default_rng(3)
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


_FLOW, _CONCAVE = FLOWS["linear"], Quadratic([0.8, 0.1], [[1.7, -0.3], [-0.3, 0.4]])


@cache
def _policies() -> tuple[AffinePolicy, ...]:
    rng = np.random.default_rng(11)
    shapes = ((len(TIMES) - 1, 2, 2), (len(TIMES) - 1, 2))
    return tuple(AffinePolicy(*(0.5 * rng.normal(size=shape) for shape in shapes)) for _ in range(3))


def _best(flow: Any, reward: Any, lam: float) -> AffinePolicy:
    return AffinePolicy(*coefficients(DiscreteFlow(flow, TIMES), reward, lam))


def _gap(trajectory_costs: Any, flow: Any, policy: Any, best: Any, reward: Any, lam: float) -> Any:
    """Excess cost, sample by sample."""
    costs = []
    for followed in (policy, best):
        path, controls = policy_rollout(flow, followed, NOISE, TIMES)
        costs.append(trajectory_costs(path, controls, reward.value(path.end), lam))
    return costs[0] - costs[1]


def _most(optimum_interval: Any, matching_loss: Any, flow: Any, policy: Any, reward: Any, lam: float) -> Any:
    """The certified bound on it."""
    return -optimum_interval(0.0, 1.0, lam).low * _losses(matching_loss, flow, policy, reward, lam)


@claim(
    "ADJOINT-CERTIFICATE-1",
    "The matching loss bounds the distance to the optimum, from both sides",
    r"""\frac{\lambda\,\mathcal L(u)}{1 + \kappa} \le J(u) - J^* \le \lambda\,\mathcal L(u), \qquad
        \kappa = \lambda_{max}(G^{1/2} Q G^{1/2})""",
    covers=[optimum_interval, trajectory_costs, matching_loss],
    hypotheses=[r"\mathrm{affine\;flow}", r"r \; \mathrm{concave}", r"L = \tfrac12|u|^2"],
)
class Certificates:
    """A stopping rule with a unit: what is left to gain is at most lambda times the loss that is printed."""

    @bound(tight=0.3, over=rows("policy", _policies))
    def never_more_is_left(optimum_interval, trajectory_costs, matching_loss, policy):
        gap = _gap(trajectory_costs, _FLOW, policy, _best(_FLOW, _CONCAVE, 0.9), _CONCAVE, 0.9)
        return gap, _most(optimum_interval, matching_loss, _FLOW, policy, _CONCAVE, 0.9)

    @bound(tight=0.3, over=rows("policy", _policies))
    def never_less_than_the_curvature_allows(optimum_interval, trajectory_costs, matching_loss, policy):
        values, axes = np.linalg.eigh(DiscreteFlow(_FLOW, TIMES).gramian(0.9))
        root = axes * np.sqrt(values)
        curvature = float(np.max(np.linalg.eigvalsh(root.T @ _CONCAVE.Q @ root)))
        most = _most(optimum_interval, matching_loss, _FLOW, policy, _CONCAVE, 0.9)
        gap = _gap(trajectory_costs, _FLOW, policy, _best(_FLOW, _CONCAVE, 0.9), _CONCAVE, 0.9)
        return most / (1.0 + curvature), gap

    @exact(1e-11)
    def an_equality_for_linear_rewards(optimum_interval, trajectory_costs, matching_loss):
        _, flow, reward, lam = CASES[0]
        best = matched(flow, reward, lam)
        policy = _disturbed(best)
        most = _most(optimum_interval, matching_loss, flow, policy, reward, lam)
        return _gap(trajectory_costs, flow, policy, best, reward, lam), most

    @boundary(0.05)
    def convex_rewards_are_not_covered(optimum_interval, trajectory_costs, matching_loss):
        reward, lam = Quadratic([0.5, 0.0], [[-0.4, 0.0], [0.0, -0.2]]), 0.9
        policy = _policies()[0]
        gap = _gap(trajectory_costs, _FLOW, policy, _best(_FLOW, reward, lam), reward, lam)
        most = _most(optimum_interval, matching_loss, _FLOW, policy, reward, lam)
        yield "largest ratio", float(np.max(gap / most)), 1.0

    mutants = {
        "half of it": wrong(matching_loss, lambda value: 0.5 * value),
        "weight forgotten": wrong(optimum_interval, lam=lambda: 1.0),
        "without the energy": wrong(trajectory_costs, lambda rewards: -rewards),
    }


def _expected_weights(chosen_steps: Any, probabilities: Any, n: int) -> Any:
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


@claim(
    "ADJOINT-SUBSAMPLING-1",
    "A loss over some of the steps, weighted, is unbiased",
    r"""E\Big[\sum_{i=1}^n \frac{f(k_i)}{n\,p_{k_i}}\Big] = \sum_k f(k) \quad \mathrm{for\;stratified\;} k_i""",
    covers=[chosen_steps, step_probabilities],
    hypotheses=[r"p_k > 0 \; \mathrm{where} \; f(k) \neq 0"],
)
class Subsampling:
    @exact(1e-12, over=rows("count, n", ((10, 1), (10, 4), (7, 3), (1, 2))))
    def every_step_counts_once(chosen_steps, step_probabilities, count, n):
        return _expected_weights(chosen_steps, step_probabilities(count), n), np.ones(count)

    @exact(
        1e-15,
        over=rows("count, share, start, late", ((10, 0.5, 0.6, 4), (7, 0.25, 0.5, 3), (4, 0.9, 0.99, 0))),
    )
    def the_late_steps_have_their_share(step_probabilities, count, share, start, late):
        """``late`` of them begin at ``start``; where that is none, all are alike."""
        early = [(1.0 - share) / (count - late)] * (count - late) if late else [1.0 / count] * count
        return step_probabilities(count, share, start), early + [share / late for _ in range(late)]

    @exact(1e-12)
    def steps_of_no_probability(chosen_steps):
        return _expected_weights(chosen_steps, np.asarray([0.0, 0.25, 0.75, 0.0]), 2), [0.0, 1.0, 1.0, 0.0]

    mutants = {
        "no importance weights": wrong(
            chosen_steps,
            lambda value, probabilities: [(k, w * probabilities[k] * len(probabilities)) for k, w in value],
        ),
        "weights not divided by n": wrong(
            chosen_steps, lambda value, uniforms: [(k, w * len(uniforms)) for k, w in value]
        ),
        "the last stratum forgotten": wrong(chosen_steps, lambda value: [*value[:-1], (value[-1][0], 0.0)]),
        "the other share": wrong(step_probabilities, late_share=lambda late_share: 1.01 * late_share),
    }
