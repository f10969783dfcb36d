"""Losses with a planted error beside right ones, drawn from a seed: what the audit of losses is audited with.

They are written as practice writes them (``F.kl_div``, ``logsigmoid``, ``cross_entropy``, masks, casts), from
nothing that the objectives use.  Every error is one that was made somewhere: a wrong power of the temperature,
a dropped tail, swapped arguments of KL, a factor, a stop-gradient, a wrong denominator, beta in the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from driftproof.validation.audits.loss_rows import audit_loss

from .alignment import answers, pairs, policies, supervised
from .base import Planted
from .distillation import distillation, estimators, mixture, tempered, top

__all__ = ["Planted", "Tally", "drawn", "tally"]

_RECIPES: tuple[Callable[[np.random.Generator], Iterator[Planted]], ...] = (
    distillation,
    tempered,
    mixture,
    top,
    estimators,
    pairs,
    answers,
    policies,
    supervised,
)


@final
@dataclass(frozen=True)
class Tally:
    """How the audit did: which planted errors it missed, and which right losses it refused."""

    planted: int
    right: int
    missed: tuple[str, ...]
    refused: tuple[str, ...]

    @property
    def sensitivity(self) -> float:
        """Share of the planted errors that are found."""
        return 1.0 - len(self.missed) / max(1, self.planted)

    @property
    def specificity(self) -> float:
        """Share of the right losses that are called so."""
        return 1.0 - len(self.refused) / max(1, self.right)


def tally(losses: Sequence[Planted]) -> Tally:
    """Audit each: an error is found if the verdict is not what is documented, or if there is none."""
    missed, refused = [], []
    for each in losses:
        try:
            row = audit_loss(each.loss, form=each.form, documented=each.documented, name=each.name)
            agrees, said = row.agrees, row.verdict
        except ValueError as error:
            agrees, said = False, str(error)
        if each.right and agrees is not True:
            refused.append(f"{each.name}: {said}")
        if not each.right and agrees is not False:
            missed.append(f"{each.name}: {said}")
    right = sum(each.right for each in losses)
    return Tally(len(losses) - right, right, tuple(missed), tuple(refused))


def drawn(seed: int, each: int = 2) -> list[Planted]:
    """Losses of every recipe, ``each`` times, with parameters and reductions from a seed.

    Example:
        >>> made = drawn(0, each=1)
        >>> len([x for x in made if x.right]) >= 15, len([x for x in made if not x.right]) >= 30
        (True, True)
    """
    rng = np.random.default_rng(seed)
    return [made for _ in range(each) for recipe in _RECIPES for made in recipe(rng)]
