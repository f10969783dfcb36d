"""The result of an audit: one row per object and option, and the document that holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

from driftproof.validation.documents import stamped
from driftproof.validation.journal import write_atomically

__all__ = ["Report", "Row"]


@final
@dataclass(frozen=True)
class Row:
    """One verdict.  Fields that do not apply are None.

    Arguments:
        object: The object that was audited, by its import path.
        options: The options that it was called with.
        verdict: One line; it names what was found, not whether somebody is wrong.
        mean_error, std_error: Errors of the terminal law, a list over the step counts (samplers).
        order, floor: Observed order of convergence, and the error that does not fall (samplers).
        steps: The step counts of these lists (samplers).
        severity: The class of the verdict, a :class:`~driftproof.validation.audits.severity.Severity`.
        affine: Whether every step is affine, so that the errors are exact (samplers).
        order_interval: The least and the largest slope of the error in its monotone tail (samplers).
        laws: Errors of mean and deviation for further data, at these step counts (samplers).
        refused: Its messages at step counts that it does not take (samplers).
        label_error: How many training steps a timestep label is from its level, at most (samplers).
        confirmed: Whether longer runs and other data stand behind the verdict (samplers).
        reason: Version, hypothesis and number behind the verdict; what the documentation says.
        reproduction: At most five lines of Python that show it.
        matches: The objectives that the gradient is, all names of one direction (losses).
        error: Largest absolute error of the gradient against them (losses).
        value: Expected value of the loss on the first pair of laws (losses).
        agrees: Whether the finding is what the documentation says; None where it says nothing.
    """

    object: str
    options: Mapping[str, Any]
    verdict: str
    reason: str
    reproduction: str
    mean_error: Sequence[float] | None = None
    std_error: Sequence[float] | None = None
    order: float | None = None
    floor: float | None = None
    steps: Sequence[int] = ()
    severity: str | None = None
    affine: bool | None = None
    matches: Sequence[str] = ()
    error: float | None = None
    value: float | None = None
    agrees: bool | None = None
    order_interval: Sequence[float] | None = None
    laws: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    label_error: float | None = None
    confirmed: bool | None = None


@final
@dataclass(frozen=True)
class Report:
    """The rows of one target, and the versions that they speak of."""

    target: str
    versions: Mapping[str, str]
    rows: Sequence[Row] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The document ``{"format", "target", "versions", "rows": [...]}``."""
        rows = [asdict(row) for row in self.rows]
        return stamped("audit", {"target": self.target, "versions": dict(self.versions), "rows": rows})

    def write(self, file: Path) -> None:
        """Write the document, whole or not at all."""
        write_atomically(file, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")
