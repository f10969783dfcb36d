"""Adjoint matching: rollouts, adjoints through a ``vjp`` callable, targets, and what a loss proves.

One source: the closed-form Gaussian flow on numpy and a network on torch run these functions.
"""

from .adjoints import adjoint_step, adjoints, full_adjoints
from .affine import AffinePolicy, matching_round, policy_rollout, uncontrolled
from .matching import chosen_steps, control_target, quantile_mask, sample_losses, step_probabilities
from .objective import Certificate, matching_loss, optimum_interval, trajectory_costs
from .thresholds import running_threshold
from .trajectories import Trajectory, rollout

__all__ = [
    "AffinePolicy",
    "Certificate",
    "Trajectory",
    "adjoint_step",
    "adjoints",
    "chosen_steps",
    "control_target",
    "full_adjoints",
    "matching_loss",
    "matching_round",
    "optimum_interval",
    "policy_rollout",
    "quantile_mask",
    "rollout",
    "running_threshold",
    "sample_losses",
    "step_probabilities",
    "trajectory_costs",
    "uncontrolled",
]
