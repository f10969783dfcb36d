"""What a training changed: a number before, after, and the difference with its interval, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student_t

from driftproof._namespace import UnmetHypothesis

from .intervals import student_interval
from .report import Section, section_of, table_of

__all__ = ["LEVEL", "Change", "change_metrics", "change_table", "loss_section"]

LEVEL: Final = 0.99  # coverage of the intervals, each alone
SHORTEST: Final = 8  # steps of a series: two in each quarter


@final
@dataclass(frozen=True, slots=True)
class Change:
    """A mean before and after a training.

    Arguments:
        what: The number, on how much.
        before, after: Its means.
        difference: The second less the first.
        half_width: Half the width of the difference's interval, at :data:`LEVEL`.
    """

    what: str
    before: float
    after: float
    difference: float
    half_width: float

    @classmethod
    def paired(cls, what: str, before: ArrayLike, after: ArrayLike) -> Self:
        """The change in numbers of the same rows, with Student's interval of their differences.

        Raises:
            UnmetHypothesis: Other shapes, fewer than two rows, or a number that is not finite.

        Example:
            >>> Change.paired("reward", [1.0, 2.0], [2.0, 3.0])
            Change(what='reward', before=1.5, after=2.5, difference=1.0, half_width=0.0)
        """
        first, last = (np.asarray(rows, dtype=np.float64) for rows in (before, after))
        whole = first.shape == last.shape and first.ndim == 1 and len(first) > 1
        if not whole or not (np.isfinite(first).all() and np.isfinite(last).all()):
            got = f"shapes {first.shape} and {last.shape}"
            raise UnmetHypothesis("Change", "a finite number of each of two rows or more, twice", got)
        mean, half = student_interval(last - first, LEVEL)
        return cls(what, float(first.mean()), float(last.mean()), float(mean), float(half))

    @classmethod
    def along(cls, what: str, series: ArrayLike) -> Self:
        """The change of a number from its mean over the first quarter of the steps to that over the last: Welch's interval.

        A trend within a quarter widens the interval; steps that depend on each other would make it too narrow.

        Raises:
            UnmetHypothesis: Fewer than eight steps, or a number that is not finite.
        """
        values = np.asarray(series, dtype=np.float64)
        if values.ndim != 1 or len(values) < SHORTEST or not np.isfinite(values).all():
            raise UnmetHypothesis(
                "Change", "a finite number of each of eight steps or more", f"{values.shape}"
            )
        n = len(values) // 4
        first, last = values[:n], values[-n:]
        shares = np.array([first.var(ddof=1), last.var(ddof=1)]) / n
        error = float(shares.sum())
        freedom = error**2 / float((shares**2).sum() / (n - 1)) if error > 0.0 else math.inf
        half = float(student_t.ppf(0.5 + 0.5 * LEVEL, freedom)) * math.sqrt(error)
        return cls(what, float(first.mean()), float(last.mean()), float(last.mean() - first.mean()), half)

    @property
    def falls(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.difference + self.half_width < 0.0

    @property
    def rises(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.difference - self.half_width > 0.0


def change_table(caption: str, changes: Sequence[Change]) -> dict[str, Any]:
    """A table of a report."""
    rows = [
        [c.what, f"{c.before:.4g}", f"{c.after:.4g}", f"{c.difference:+.3g} ± {c.half_width:.2g}"]
        for c in changes
    ]
    covered = f"{caption} {100.0 * LEVEL:g} % intervals, each alone."
    return table_of(covered, ["", "before", "after", "change"], rows)


def change_metrics(changes: Sequence[Change]) -> dict[str, Any]:
    """The same for programs, by what was measured: ``metrics`` of a section."""
    return {c.what: {k: v for k, v in asdict(c).items() if k != "what"} for c in changes}


def loss_section(losses: Mapping[str, ArrayLike]) -> list[Section]:
    """How the losses of trainings changed, by the names of the trainings; those too short are left out.

    Arguments:
        losses: The loss of every step, by what was trained.
    """
    changes = [
        Change.along(f"{name}: training loss", series)
        for name, series in losses.items()
        if len(np.atleast_1d(series)) >= SHORTEST
    ]
    if not changes:
        return []
    table = change_table("Training losses, of the first quarter of the steps and of the last.", changes)
    return [section_of("", [table], metrics=change_metrics(changes))]
