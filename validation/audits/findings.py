"""What is found about one sampler."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

from .models import Model

__all__ = ["SEVERITIES", "Finding", "Severity"]

Severity: TypeAlias = Literal["nan", "diverges", "floor", "mismatch", "slow", "converges", "unsupported"]
SEVERITIES: Final[tuple[Severity, ...]] = (
    "nan",
    "diverges",
    "floor",
    "mismatch",
    "slow",
    "converges",
    "unsupported",
)


@final
@dataclass(frozen=True)
class Finding:
    """What was found.

    Arguments:
        severity: The class of the verdict, worst first in ``SEVERITIES``.
        text: The verdict in one line.
        reason: The numbers behind it.
        steps: The step counts that ran.
        mean_error, std_error: Errors of the terminal law at these.
        order: Observed order; None where nothing converges.
        floor: The error that remains in the limit; None where there is none.
        model: The exact model that was used.
        affine: Whether superposition holds; where not, nothing else is settled.
        draws: Normals drawn at the largest step count.
    """

    severity: Severity
    text: str
    reason: str
    steps: tuple[int, ...]
    mean_error: tuple[float, ...]
    std_error: tuple[float, ...]
    order: float | None
    floor: float | None
    model: Model
    affine: bool
    draws: int

    @property
    def error(self) -> float:
        """The error at the last step count."""
        return math.hypot(self.mean_error[-1], self.std_error[-1])
