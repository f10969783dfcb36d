"""Policy gradients for samplers: advantages, the clipped surrogate, KL per step, windows, reward gaps."""

from .advantages import group_advantages, running_advantages, update_statistics
from .gap import PairedGap, paired_gap
from .surrogate import clipped_surrogate, step_kl
from .windows import Window

__all__ = [
    "PairedGap",
    "Window",
    "clipped_surrogate",
    "group_advantages",
    "paired_gap",
    "running_advantages",
    "step_kl",
    "update_statistics",
]
