r"""Adjoint matching with an exact regression: policies that are affine at each step.

.. math:: u_k(x) = B_k x + b_k, \qquad (B_k, b_k) \gets \arg\min \sum_i \big|u_k(x_k^i) - u_k^{\star,i}\big|^2

On a Gaussian flow with a linear or quadratic reward the optimal control is of this form, and the rounds find
the discrete oracle to rounding, from as many samples as the regression needs to be determined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import array_api_compat

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, checked
from driftproof.theory.adjoint import GaussianFlow
from driftproof.theory.adjoint.endpoints import SmoothReward, require_gradient
from driftproof.theory.adjoint.truncation import Truncation

from .adjoints import adjoints
from .matching import control_target
from .trajectories import Trajectory, rollout

__all__ = ["AffinePolicy", "matching_round", "policy_rollout", "uncontrolled"]


@final
@dataclass(frozen=True, eq=False)
@checked
class AffinePolicy:
    """Controls B_k x + b_k: gains (N, d, d), offsets (N, d)."""

    gains: Array
    offsets: Array

    def control(self, k: int, x: Array) -> Array:
        """The control of step k at states x (B, d)."""
        xp = array_api_compat.array_namespace(x)
        return x @ xp.matrix_transpose(self.gains[k, ...]) + self.offsets[k, ...]


@arrays()
def uncontrolled(flow: GaussianFlow, steps: int) -> AffinePolicy:
    """The policy that does nothing."""
    xp = array_api_compat.array_namespace(flow.mean)
    d = flow.mean.shape[0]
    where = {"dtype": flow.mean.dtype, "device": getattr(flow.mean, "device", None)}
    return AffinePolicy(xp.zeros((steps, d, d), **where), xp.zeros((steps, d), **where))


@arrays()
def policy_rollout(
    flow: GaussianFlow, policy: AffinePolicy, noise: Array, times: Sequence[float]
) -> tuple[Trajectory, list[Array]]:
    """The trajectory under a policy, and the controls along it.

    Raises:
        UnmetHypothesis: A policy of another number of steps, or what :func:`rollout` refuses.
    """
    if policy.gains.shape[0] != len(times) - 1:
        got = f"{policy.gains.shape[0]} for {len(times) - 1} steps"
        raise UnmetHypothesis("policy_rollout", "a control for each step of the grid", got)
    index = {float(t): k for k, t in enumerate(times)}

    def velocity(x: Array, t: float) -> Array:
        return flow.velocity(x, t) + policy.control(index[t], x)

    path = rollout(velocity, noise, times)
    return path, [policy.control(k, path.states[k]) for k in range(len(path.steps))]


@arrays()
def matching_round(
    flow: GaussianFlow,
    policy: AffinePolicy,
    reward: SmoothReward,
    lam: float,
    noise: Array,
    times: Sequence[float],
    *,
    last: int | None = None,
    mode: Truncation = "train",
    damping: float = 0.0,
) -> AffinePolicy:
    """One round: roll out, pull the gradient back, regress the targets on the states of each step.

    Arguments:
        flow, policy: The flow and the current policy.
        reward: With ``gradient(x)``.
        lam: Weight of the running cost, > 0.
        noise: Samples of the noise, shape (B, d), B > d, that span the space.
        times: The grid.
        last, mode: Truncation, as for :func:`adjoints`; steps without target get no control.
        damping: Share of the current control in the target, in [0, 1).

    Raises:
        UnmetHypothesis: Too few samples, a reward without gradient, lam <= 0, or what the parts refuse.

    Claims: ADJOINT-DISCRETE-1, ADJOINT-INDEX-1
    """
    require_gradient("matching_round", reward)
    d = flow.mean.shape[0]
    if noise.ndim != 2 or noise.shape[0] <= d:
        raise UnmetHypothesis("matching_round", "more samples than dimensions", f"shape {tuple(noise.shape)}")
    xp = array_api_compat.array_namespace(noise)
    spread = xp.linalg.svdvals(noise - xp.mean(noise, axis=0))
    if not float(xp.min(spread)) > noise.shape[0] * float(xp.finfo(noise.dtype).eps) * float(xp.max(spread)):
        got = f"spread from {float(xp.min(spread)):.3g} to {float(xp.max(spread)):.3g}"
        raise UnmetHypothesis("matching_round", "samples that determine an affine map", got)
    path, controls = policy_rollout(flow, policy, noise, times)
    after = adjoints(path, reward.gradient(path.end), flow.vjp, last=last, mode=mode)
    gains, offsets = [], []
    for k, a in enumerate(after):
        x = path.states[k]
        goal = 0.0 * x if a is None else control_target(a, lam, current=controls[k], damping=damping)
        centre, aim = xp.mean(x, axis=0), xp.mean(goal, axis=0)
        away = x - centre
        moments = xp.matrix_transpose(away) @ away
        gain = xp.matrix_transpose(xp.linalg.solve(moments, xp.matrix_transpose(away) @ (goal - aim)))
        gains.append(gain)
        offsets.append(aim - gain @ centre)
    return AffinePolicy(xp.stack(gains), xp.stack(offsets))
