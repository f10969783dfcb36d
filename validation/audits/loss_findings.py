"""The findings on one loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .forms import Form
from .loss_words import sentence
from .measuring import Spread

__all__ = ["Finding"]


@final
@dataclass(frozen=True)
class Finding:
    """The objective that a loss descends.

    Arguments:
        form: Its form.
        roles: The roles of its arguments.
        matches: Names of the objectives that fit and are confirmed; empty where none does.
        scale: The loss descends ``scale`` times the objective; negative where it ascends.
        reduction: How its terms are reduced; empty where no point tells.
        error: Largest absolute error of the gradient, as the loss computes it, against the nearest objective.
        nearest: The objective that fits best, whether or not it fits.
        said: The same in words.
        cosine: Cosine between the gradient and the nearest objective's.
        rivals: Objectives that rounding does not tell apart, where the arithmetic cannot be raised to double.
        value: Expected value at the first point.
        described: The objective whose value this is, in words, where it is not the one that is descended.
        dtype: Precision of what the loss returned.
        coarsest: The lowest precision inside.
        rounding: Largest difference to the same operations in double precision, relative to the gradient.
        tolerance: Largest error that passes, of the gradient in double precision.
        confirmed: Where it was confirmed.
        failed: Where it was not, in words; empty where nothing failed.
        skipped: Where the loss could not be called.
        draws: Its random draws; empty where it is deterministic.
        random: Mean and deviation of its gradient, where it draws.
        learnable: How many numbers of its own it could learn.
    """

    form: Form
    roles: tuple[str, ...]
    matches: tuple[str, ...]
    scale: float
    reduction: str
    error: float
    nearest: str
    said: str
    cosine: float
    rivals: tuple[str, ...]
    value: float
    described: str
    dtype: str
    coarsest: str
    rounding: float
    tolerance: float
    confirmed: tuple[str, ...] = ()
    failed: str = ""
    skipped: tuple[str, ...] = ()
    draws: tuple[str, ...] = ()
    random: Spread | None = None
    learnable: int = 0

    @property
    def text(self) -> str:
        """The finding in words."""
        return sentence(self)
