"""The log of a policy gradient, and its file: weights, optimizer, statistics and everything measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor

from ....numerics.reward_gap import PairedGap
from .. import checkpoint as checkpoints

__all__ = ["Log"]


@final
@dataclass(slots=True)
class Log:
    """Numbers of every epoch, and the reward gaps that were measured.

    Arguments:
        path: The checkpoint, or None.
        config: What it must have been made with (JSON).
        accelerator: Of the run.
        rows: A mapping of numbers for each epoch.
        gaps: Epochs done and the gap then.
    """

    path: Path | None
    config: Mapping[str, Any]
    accelerator: Accelerator
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

    def save(
        self, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]
    ) -> None:
        """Write the checkpoint, if there is a path."""
        if self.path is not None and self.accelerator.is_main_process:
            tensors = {
                **checkpoints.prefixed("weights", weights),
                **checkpoints.prefixed("optimizer", checkpoints.optimizer_tensors(optimizer)),
                **checkpoints.prefixed("state", state),
            }
            gaps = [[epochs, asdict(gap)] for epochs, gap in self.gaps]
            scaler = self.accelerator.scaler  # only float16 has one
            metadata = {
                "config": self.config,
                "rows": self.rows,
                "gaps": gaps,
                "scaler": {} if scaler is None else scaler.state_dict(),
            }
            checkpoints.save(self.path, tensors, metadata)
        self.accelerator.wait_for_everyone()

    def resume(
        self,
        weights: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        restore: Callable[[Mapping[str, Tensor]], None],
    ) -> None:
        """Load the checkpoint, if there is one.

        Raises:
            ValueError: It belongs to another configuration, or to other weights.
        """
        if self.path is None or not self.path.exists():
            return
        tensors, metadata = checkpoints.load(self.path)
        for key in sorted({*metadata["config"], *self.config}):
            there, here = metadata["config"].get(key), self.config.get(key)
            if there != here:
                raise ValueError(
                    f"{self.path} was made with another configuration ({key}: {there!r} there, {here!r} here)"
                )
        saved = checkpoints.under("weights", tensors)
        if {k: v.shape for k, v in saved.items()} != {k: v.shape for k, v in weights.items()}:
            raise ValueError(f"{self.path} was made with other weights")
        with torch.no_grad():
            for name, value in saved.items():
                weights[name].copy_(value)
        checkpoints.restore_optimizer(optimizer, checkpoints.under("optimizer", tensors))
        restore(checkpoints.under("state", tensors))
        if self.accelerator.scaler is not None and metadata["scaler"]:
            self.accelerator.scaler.load_state_dict(metadata["scaler"])
        self.rows = metadata["rows"]
        self.gaps = [(epochs, PairedGap(**gap)) for epochs, gap in metadata["gaps"]]
