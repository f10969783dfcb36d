r"""The objective, and how far from its optimum a matching loss says that a policy is.

.. math:: J(u) = E\Big[\sum_k h_k\,\lambda L(u_k) - r(x_N)\Big], \qquad
    \mathcal L(u) = \sum_k h_k\,\tfrac12 E\,|u_k - a_{k+1}/\lambda|^2

On an affine flow with a concave reward and the quadratic cost, J is strongly convex in the controls of each
trajectory, and its gradient *is* the residual of the matching: with :math:`\kappa = \lambda_{max}(G^{1/2} Q G^{1/2})`
the largest curvature of the reward in units of the Gramian,

.. math:: \frac{\lambda\,\mathcal L(u)}{1 + \kappa} \;\le\; J(u) - J^* \;\le\; \lambda\,\mathcal L(u)

An interval for the optimum, from numbers that every trainer has; an equality for linear rewards.  Derived here.

Symbols:
    trajectory: States under the controls.
    controls: u_k (B, *), one for each step.
    lam, cost: The running cost, lam > 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import array_api_compat

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, checked
from driftproof.theory.adjoint.regularizers import QuadraticCost, RunningCost
from driftproof.theory.adjoint.weights import require_weight

from .matching import control_target, sample_losses
from .trajectories import Trajectory

__all__ = ["Certificate", "matching_loss", "optimum_interval", "trajectory_costs"]


@arrays()
def trajectory_costs(
    trajectory: Trajectory,
    controls: Sequence[Array],
    rewards: Array,
    lam: float,
    cost: RunningCost = QuadraticCost(),  # noqa: B008  # frozen, without state
) -> Array:
    """Running costs minus reward of every trajectory: shape (B,); their mean is the objective.

    Arguments:
        trajectory, controls, lam, cost: Symbols of the module.
        rewards: r(x_N), shape (B,).

    Claims: ADJOINT-CERTIFICATE-1

    Example:
        >>> import numpy as np
        >>> path = Trajectory((1.0, 0.0), (np.zeros((1, 1)), -np.ones((1, 1))))
        >>> trajectory_costs(path, [np.ones((1, 1))], np.asarray([0.25]), lam=2.0).tolist()
        [0.75]
    """
    if len(controls) != len(trajectory.steps):
        got = f"{len(controls)} controls for {len(trajectory.steps)} steps"
        raise UnmetHypothesis("trajectory_costs", "one control for each step", got)
    require_weight("trajectory_costs", lam)
    if tuple(rewards.shape) != (trajectory.end.shape[0],):
        got = f"shape {tuple(rewards.shape)} for {trajectory.end.shape[0]} trajectories"
        raise UnmetHypothesis("trajectory_costs", "one reward for each trajectory", got)
    xp = array_api_compat.array_namespace(rewards)
    spent = xp.zeros_like(rewards)
    for h, u in zip(trajectory.steps, controls, strict=True):
        spent = spent + h * lam * cost.cost(xp.reshape(u, (u.shape[0], -1)))
    return spent - rewards


@arrays()
def matching_loss(
    trajectory: Trajectory,
    controls: Sequence[Array],
    after: Sequence[Array | None],
    lam: float,
    cost: RunningCost = QuadraticCost(),  # noqa: B008  # frozen, without state
) -> Array:
    """The whole loss of every trajectory, shape (B,): steps without adjoint aim at 0.

    Arguments:
        trajectory, controls, lam, cost: Symbols of the module.
        after: Adjoints after the steps, as :func:`adjoints` gives them.

    Raises:
        UnmetHypothesis: Numbers of controls and adjoints that do not match, or lam <= 0.

    Claims: ADJOINT-LOSS-1, ADJOINT-CERTIFICATE-1
    """
    if not len(controls) == len(after) == len(trajectory.steps):
        got = f"{len(controls)} controls and {len(after)} adjoints for {len(trajectory.steps)} steps"
        raise UnmetHypothesis("matching_loss", "one control and one adjoint for each step", got)
    require_weight("matching_loss", lam)
    total = 0.0
    for h, u, a in zip(trajectory.steps, controls, after, strict=True):
        total = total + h * sample_losses(u, 0.0 * u if a is None else control_target(a, lam, cost))
    return total


@final
@dataclass(frozen=True, slots=True)
@checked(low="in [-inf, inf]", high="in [-inf, inf]")
class Certificate:
    """Bounds of the optimal objective."""

    low: float
    high: float


def optimum_interval(objective: float, loss: float, lam: float, curvature: float = 0.0) -> Certificate:
    r"""The interval that holds the optimum of an affine flow with a concave reward and the quadratic cost.

    Arguments:
        objective: J(u) of a policy.
        loss: Its matching loss, on its own trajectories and over all steps, >= 0.
        lam: Weight of the running cost, > 0.
        curvature: An upper bound of :math:`\kappa`, >= 0; infinity where nothing is known.

    Claims: ADJOINT-CERTIFICATE-1

    Example:
        >>> optimum_interval(1.0, 0.5, lam=2.0, curvature=1.0)
        Certificate(low=0.0, high=0.5)
    """
    require_weight("optimum_interval", lam)
    for name, value, good in (
        ("objective is finite", objective, abs(objective) < float("inf")),
        ("loss >= 0", loss, 0.0 <= loss < float("inf")),
        ("curvature >= 0", curvature, curvature >= 0.0),
    ):
        if not good:
            raise UnmetHypothesis("optimum_interval", name, f"{name.split()[0]} = {value!r}")
    return Certificate(objective - lam * loss, objective - lam * loss / (1.0 + curvature))
