"""What a long run shows: a bar on a terminal, plain lines elsewhere.

Everything goes to standard error; standard output belongs to results.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

__all__ = ["Progress"]


@final
class Progress:
    """Steps done out of ``total``, with a smoothed loss.

    Arguments:
        title: The label.
        total: The number of steps.
        done: How many of them an earlier run did.
        visible: False on all processes but one.
    """

    def __init__(self, title: str, total: int, done: int = 0, *, visible: bool = True) -> None:
        self.title, self.visible = title, visible
        self.done, self.smooth = done, float("nan")
        self.live = visible and sys.stderr.isatty()
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not self.live,
        )
        self.task = self.bar.add_task(title, total=total, completed=done, loss=float("nan"))

    def __enter__(self) -> Self:
        self.bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.__exit__(kind, error, trace)
        if self.visible and not self.live and self.smooth == self.smooth:
            print(f"{self.title}: {self.done} steps, loss {self.smooth:.4f}", file=sys.stderr, flush=True)

    def advance(self, loss: float) -> None:
        """Count one step with this loss."""
        self.done += 1
        self.smooth = loss if self.smooth != self.smooth else 0.98 * self.smooth + 0.02 * loss
        if self.live:
            self.bar.update(self.task, advance=1, loss=self.smooth)
