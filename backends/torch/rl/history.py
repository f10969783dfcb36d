"""What a policy gradient measures: numbers of every epoch, and reward gaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self, final

from driftproof.numerics.reward_gap import PairedGap

__all__ = ["Log"]


@final
@dataclass(slots=True)
class Log:
    """Numbers of every epoch, and the reward gaps that were measured.

    Arguments:
        rows: A mapping of numbers for each epoch.
        gaps: Epochs done and the gap then.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    gaps: list[tuple[int, PairedGap]] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return len(self.rows)

    def column(self, name: str) -> list[float]:
        """One number of every epoch."""
        return [row[name] for row in self.rows]

    def append(self, row: Mapping[str, float]) -> None:
        """Take in an epoch."""
        self.rows.append(dict(row))

    def measured(self, epochs: int, gap: PairedGap) -> None:
        """Take in a measurement."""
        self.gaps.append((epochs, gap))

    def measurements(self, epochs: int) -> dict[str, float]:
        """Measurements after so many epochs, by name: with a deterministic sampler, with a stochastic one."""
        found = [gap for done, gap in self.gaps if done == epochs]
        return {"eval_reward": found[-1].ode, "eval_reward_sde": found[-1].sde} if found else {}

    def to_json(self) -> dict[str, Any]:
        """The part of it that a checkpoint keeps."""
        return {"rows": self.rows, "gaps": [[epochs, asdict(gap)] for epochs, gap in self.gaps]}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        return cls(record["rows"], [(epochs, PairedGap(**gap)) for epochs, gap in record["gaps"]])
