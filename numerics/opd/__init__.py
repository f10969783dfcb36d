"""On-policy distillation: advantages, baselines, token weights and top-k divergences, written once."""

from .advantages import Mode, advantage, discounted_future
from .baselines import group_mean, leave_one_out, optimal_baseline
from .flow import gradient_flow
from .truncated import bucketed_divergence, log_rest, truncated_sum
from .weights import Reduction, diagnostics, normalizer, token_weights

__all__ = [
    "Mode",
    "Reduction",
    "advantage",
    "bucketed_divergence",
    "diagnostics",
    "discounted_future",
    "gradient_flow",
    "group_mean",
    "leave_one_out",
    "log_rest",
    "normalizer",
    "optimal_baseline",
    "token_weights",
    "truncated_sum",
]
