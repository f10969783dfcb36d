"""Which settings of a recipe take less memory in which phase; what they give is told by another dry run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .estimate import Estimate

__all__ = ["advised", "knobs"]

# Numbers of rows, by the phase whose peak they are in.
ROWS = {
    "rollout": ("budget.per_device_rollout_batch_size", "budget.prompts"),
    "decode": ("budget.prompts",),
    "reward": ("budget.prompts",),
    "gradient": ("budget.train_batch_size",),
    "signal": ("pipeline.at_once", "budget.train_batch_size"),
    "update": ("budget.per_device_train_batch_size", "pipeline.at_once"),
}


def knobs(recipe: Any, phase: str) -> Iterator[str]:
    """Changes to try one after the other, each beside those before it, as ``--set`` takes them."""
    model = recipe.pipeline
    if phase in ("update", "signal") and model is not None and not model.checkpointing:
        yield "pipeline.checkpointing=true"
    for name in ROWS.get(phase, ()):
        table, _, key = name.partition(".")
        rows = getattr(getattr(recipe, table, None), key, None)
        while isinstance(rows, int) and rows > 1:
            rows = rows // 2
            yield f"{name}={rows}"


def advised(
    estimate: Estimate, recipe: Any, again: Callable[[list[str]], Estimate], tries: int = 4
) -> dict[str, int]:
    """Settings with which the phase that does not fit holds less, up to the first that fits.

    Arguments:
        estimate: Of the recipe as it is.
        recipe: The recipe.
        again: The estimate with some changes.
        tries: Dry runs that this may take.
    """
    found: dict[str, int] = {}
    best, phase = estimate.peak, estimate.worst.name
    kept: dict[str, str] = {}
    for change in knobs(recipe, phase):
        if tries == 0:
            break
        key = change.partition("=")[0]
        tries -= 1
        try:
            new = again([*(c for name, c in kept.items() if name != key), change])
        except ValueError:  # rows that can no longer be dealt to processes and updates
            continue
        if new.peak < best:
            kept[key], best = change, new.peak
            found[" --set ".join(kept.values())] = best
        if new.fits or new.worst.name != phase:
            break
    return found
