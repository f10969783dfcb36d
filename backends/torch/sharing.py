"""What processes share: the rows of a batch, a question, the reduction of gradients."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

__all__ = ["anywhere", "share", "synchronised"]


def share(accelerator: Accelerator, rows: int) -> slice:
    """The rows of this process."""
    own = rows // accelerator.num_processes
    return slice(accelerator.process_index * own, (accelerator.process_index + 1) * own)


def anywhere(accelerator: Accelerator, asked: bool) -> bool:
    """Whether some process says yes: all get the same answer."""
    flag = torch.tensor(float(asked), device=accelerator.device)
    return float(accelerator.reduce(flag, reduction="sum")) > 0.0


def synchronised(accelerator: Accelerator, model: Any, last: bool) -> Any:
    """A context in which gradients are reduced over processes for the last part of a batch only."""
    return contextlib.nullcontext() if last else accelerator.no_sync(model)
