"""Doubles of the roles of the rich-feedback pipeline, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from driftproof.backends.torch.preferences import (
    DigitCritic,
    DigitEditor,
    DigitInstructor,
    Job,
    PairSink,
    RewardRelabeler,
    RichFeedback,
)
from driftproof.backends.torch.rl.rewards import ThicknessReward


def bar(width: int = 2, lean: float = 0.0) -> torch.Tensor:
    image = torch.zeros(1, 32, 32)
    for row in range(6, 26):
        left = round(15 - lean * (row - 16))
        image[:, row, left : left + width] = 1.0
    return image


def jobs(count: int) -> list[Job]:
    return [Job("a medium one, upright", bar(1 + k % 3), "drawn", k) for k in range(count)]


def feedback(**options: Any) -> RichFeedback:
    roles: dict[str, Any] = {
        "critic": DigitCritic(4.0),
        "instructor": DigitInstructor(),
        "editor": DigitEditor(),
        "relabeler": RewardRelabeler(ThicknessReward(4.0), "thickness 4"),
    }
    return RichFeedback(**{**roles, **options})


def stub(method: str, does: Callable[..., Any]) -> Any:
    """A role of which one method is a function."""
    return type("Stub", (), {"version": "stub", method: staticmethod(does)})()


def failing(error: Exception) -> Callable[..., Any]:
    def does(*arguments: Any) -> Any:
        raise error

    return does


def sink(folder: Path, made: RichFeedback, **options: Any) -> PairSink:
    return PairSink(folder, made.description(), **options)
