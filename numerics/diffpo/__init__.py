r"""Masked diffusion from samples: allocation, confidence, rollouts, estimators and losses, written once.

* :mod:`allocation`: tokens for evaluations, masks for noise levels;
* :mod:`confidence`, :mod:`gumbel`: what half precision and few random bits do to orders and draws;
* :mod:`rollouts`: sampling, with the sampler's own log-probability recorded;
* :mod:`estimators`: log-probabilities from masked tokens; :mod:`losses`, :mod:`stepwise`: what is descended.
"""

from .allocation import allocate, masked_count, systematic_counts
from .confidence import certainty, tied_gap
from .estimators import (
    count_estimate,
    coupled_log_probs,
    semi_deterministic_estimate,
    time_estimate,
    two_times_log_probs,
)
from .gumbel import quantised_gumbel_law
from .losses import (
    diffpo_loss,
    diffu_grpo_loss,
    group_advantages,
    joint_loss,
    sampler_loss,
    sequence_loss,
    wd1_loss,
)
from .rollouts import Rollouts, categorical, low_confidence_rollout, rollout
from .stepwise import draft_advantages, draft_loss, trace_log_probs, trace_loss

__all__ = [
    "Rollouts",
    "allocate",
    "categorical",
    "certainty",
    "count_estimate",
    "coupled_log_probs",
    "diffpo_loss",
    "diffu_grpo_loss",
    "draft_advantages",
    "draft_loss",
    "group_advantages",
    "joint_loss",
    "low_confidence_rollout",
    "masked_count",
    "quantised_gumbel_law",
    "rollout",
    "sampler_loss",
    "semi_deterministic_estimate",
    "sequence_loss",
    "systematic_counts",
    "tied_gap",
    "time_estimate",
    "trace_log_probs",
    "trace_loss",
    "two_times_log_probs",
    "wd1_loss",
]
