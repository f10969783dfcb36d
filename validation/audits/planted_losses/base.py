"""A loss with what is said of it, and the draws of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from driftproof.validation.audits.forms import Form

__all__ = ["Planted", "number", "pick"]


@final
@dataclass(frozen=True)
class Planted:
    """A loss, what is said of it, and whether that is so.

    Arguments:
        name: The loss, and its error where it has one.
        form: Its form.
        loss: The callable, with arguments by position.
        documented: The documented objective.
        right: Whether it is so.
    """

    name: str
    form: Form
    loss: Callable[..., Any]
    documented: str
    right: bool


def pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def number(rng: np.random.Generator, low: float, high: float) -> float:
    """Three digits, log-uniform."""
    return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")
