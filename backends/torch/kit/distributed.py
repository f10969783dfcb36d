"""What processes share: the rows of a batch, a question, the reduction of gradients and the step that they make."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import Any

import torch
from accelerate import Accelerator, DistributedType  # type: ignore[import-untyped]  # ships no types
from accelerate.utils import reduce  # type: ignore[import-untyped]
from torch import nn

from driftproof._namespace import UnmetHypothesis

from .moved import Moved

__all__ = ["any_process", "clipped_step", "local_rows", "require_unsharded", "sync_on_last"]


def require_unsharded(
    subject: str, accelerator: Accelerator, instead: str = "micro batches accumulate"
) -> None:
    """Raise unless every process has all weights, and gradients are those of the loss.

    accelerate divides losses by its number of accumulation steps even where none are accumulated; ``instead``
    says what takes their place.

    Raises:
        UnmetHypothesis: It accumulates gradients, or shards the weights.
    """
    steps, kind = accelerator.gradient_accumulation_steps, accelerator.distributed_type
    if steps != 1:
        got = f"gradient_accumulation_steps = {steps}; {instead}"
        raise UnmetHypothesis(subject, "gradient_accumulation_steps = 1", got)
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UnmetHypothesis(subject, "every process has all weights", f"distributed_type = {kind.value}")


def local_rows(accelerator: Accelerator, rows: int) -> slice:
    """The rows of this process."""
    own = rows // accelerator.num_processes
    return slice(accelerator.process_index * own, (accelerator.process_index + 1) * own)


def any_process(state: Any, asked: bool) -> bool:
    """Whether some process says yes: all get the same answer; ``state`` is an Accelerator or a PartialState."""
    flag = torch.tensor(float(asked), device=state.device)
    return float(reduce(flag, reduction="sum")) > 0.0


def sync_on_last(accelerator: Accelerator, model: Any, last: bool) -> Any:
    """A context in which gradients are reduced over processes for the last part of a batch only."""
    return contextlib.nullcontext() if last else accelerator.no_sync(model)


def clipped_step(
    accelerator: Accelerator,
    optimizer: Any,
    weights: Iterable[nn.Parameter],
    largest: float,
    what: str,
    moved: Moved | None = None,
) -> None:
    """Bound the norm of the gradient, and let the optimizer step.

    Arguments:
        accelerator: Which has summed the gradient over processes.
        optimizer: The optimizer, prepared by it.
        weights: Those with a gradient.
        largest: The largest norm.
        what: The gradient of what, for the error.
        moved: Called after the step.

    Raises:
        FloatingPointError: The gradient is not finite; raised before the step.
    """
    norm = accelerator.clip_grad_norm_(weights, largest)
    # In float16 an overflow is the scaler's business: it skips the step and scales less.
    if norm is not None and accelerator.scaler is None and not math.isfinite(float(norm)):
        raise FloatingPointError(f"{what} is {float(norm)}; nothing was updated")
    if moved is not None:
        moved.before(max(group["lr"] for group in optimizer.param_groups))
    optimizer.step()
    if moved is not None:
        moved.after()
