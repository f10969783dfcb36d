"""The findings on one sampler, as its row says them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from .models import Model
from .severity import Severity

__all__ = ["Finding"]


@final
@dataclass(frozen=True)
class Finding:
    """The findings on a sampler.

    Arguments:
        severity: The class of the verdict.
        text: The verdict in one line.
        reason: The numbers behind it.
        steps: The step counts that ran.
        mean_error, std_error: Errors of the terminal law at these.
        model: The exact model that was used.
        affine: Whether superposition holds; where not, Monte Carlo settles it.
        draws: Normals drawn at the largest step count.
        order, order_interval: Observed order, and the slopes of the tail; None where nothing shows one.
        floor: The error that remains in the limit; None where there is none.
        laws: For each further data law, errors of mean and deviation at these counts.
        refused: Messages of the sampler at step counts that it does not take.
        label_error: The largest distance of a timestep label to its level, in training steps.
        confirmed: Whether longer runs and other data stand behind it.
    """

    severity: Severity
    text: str
    reason: str
    steps: tuple[int, ...]
    mean_error: tuple[float, ...]
    std_error: tuple[float, ...]
    model: Model
    affine: bool
    draws: int
    order: float | None = None
    order_interval: tuple[float, float] | None = None
    floor: float | None = None
    laws: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    label_error: float | None = None
    confirmed: bool = False

    @property
    def error(self) -> float:
        """The error at the last step count."""
        return math.hypot(self.mean_error[-1], self.std_error[-1])
