"""Hypotheses on the fields of a recipe, checked before any work."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import fields
from typing import TYPE_CHECKING

from driftproof._namespace import UnmetHypothesis

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["require_choice", "require_each", "require_numbers"]


def require_each(subject: str, table: DataclassInstance, *hypotheses: tuple[str, bool]) -> None:
    """Raise at the first hypothesis that is not met; its first word is the field that it is about.

    Example:
        >>> from driftproof.backends.torch.kit.loop import Plan
        >>> plan = Plan(steps=1, batch=1, learning_rate=1.0, clip=2.0)
        >>> require_each("Budget", plan, ("steps > 0", True), ("clip in (0, 1)", False))
        Traceback (most recent call last):
        ...
        driftproof.UnmetHypothesis: Budget: unmet hypothesis: clip in (0, 1) (clip = 2.0)
    """
    for hypothesis, met in hypotheses:
        if not met:
            name = hypothesis.split()[0]
            raise UnmetHypothesis(subject, hypothesis, f"{name} = {getattr(table, name)!r}")


def require_numbers(subject: str, table: DataclassInstance, zero: Collection[str]) -> None:
    """Raise unless the numbers of a dataclass are finite and > 0, those named in ``zero`` >= 0."""
    for field in fields(table):
        value = getattr(table, field.name)
        if isinstance(value, str | bool):
            continue
        free = field.name in zero
        met = math.isfinite(value) and (value >= 0 if free else value > 0)
        require_each(subject, table, (f"{field.name} {'>= 0' if free else '> 0'}", met))


def require_choice(subject: str, table: DataclassInstance, **known: tuple[str, ...]) -> None:
    """Raise unless fields have one of their values: another one would fall through to some branch."""
    for name, values in known.items():
        require_each(
            subject, table, (f"{name} is one of {', '.join(values)}", getattr(table, name) in values)
        )
