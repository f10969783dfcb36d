"""How a model of the zoo is made: what trains it, what writes it, what scores it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from torch import nn

from driftproof.backends.torch.kit.recipe import Recipes

from .scores import Score

__all__ = ["Maker", "Training", "save_parts"]


@final
@dataclass(frozen=True, slots=True)
class Training:
    """The result of a training.

    Arguments:
        parts: The trained modules and what belongs to them, by the folder that each is written to, ``.`` alone.
        losses: The loss of every step.
    """

    parts: dict[str, Any]
    losses: Sequence[float]


def save_parts(training: Training, folder: Path) -> None:
    """Write each part into the folder of its name; modules in half precision, in which they stay."""
    for name, part in training.parts.items():
        if isinstance(part, nn.Module):
            part.half()
        part.save_pretrained(folder / name)


@final
@dataclass(frozen=True, slots=True)
class Maker:
    """The three functions of a model.

    Arguments:
        recipes: How its file of settings becomes a recipe.
        train: From a recipe, and a folder for checkpoints, to a training.
        evaluate: Scores what lies in a folder.
        data: The data that it was trained on.
        licence: The licence of the weights.
        uses: The models of the zoo that it stands on.
        write: Puts the parts into a folder, in half precision.
        version: The version of the weights, raised when a recipe changes.
    """

    recipes: Recipes[Any]
    train: Callable[[Any, Path], Training]
    evaluate: Callable[[Path], list[Score]]
    data: str
    licence: str
    uses: tuple[str, ...] = ()
    write: Callable[[Training, Path], None] = save_parts
    version: int = 1
