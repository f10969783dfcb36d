"""A claim as data: what it states, covers and tries, and how another process finds it again."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast, final

from driftproof._identity import specification

from .declaration import Things
from .evidence.base import Evidence

__all__ = ["Claim", "Picture", "Predicate", "figure", "reference", "referred"]

Predicate = Callable[..., bool]


@final
@dataclass(frozen=True)
class Picture:
    """A function that draws a matplotlib figure; its docstring is the caption."""

    name: str
    function: Callable[..., Any]

    @property
    def caption(self) -> str:
        return inspect.getdoc(self.function) or self.name.replace("_", " ")


def figure(function: Callable[..., Any]) -> Picture:
    """Make a figure of a claim: a function of what it covers, by name, optionally with ``rng``."""
    return Picture(function.__name__, function)


@final
@dataclass(frozen=True, eq=False)
class Claim:
    """A statement, what it covers, its evidence and its mutants.

    Attributes:
        things: The objects under test, by the names that evidence takes.
        covers: The qualified names of what the claim speaks for.
        mutants: Planted errors: what each puts in which place.
    """

    id: str
    paper: str
    title: str
    statement: str
    things: Things
    covers: tuple[str, ...]
    hypotheses: Mapping[str, Predicate | None]
    evidence: tuple[Evidence, ...]
    mutants: Mapping[str, Things]
    figures: tuple[Picture, ...]
    expect: str
    module: str
    qualname: str
    notes: str = ""

    @property
    def weight(self) -> float:
        """Its weight in the error budget of a run."""
        return sum(evidence.weight for evidence in self.evidence)

    def mutated(self, name: str) -> Things:
        """The objects under test, with a planted error in the place of one."""
        return {**self.things, **self.mutants[name]}

    def concerned(self, name: str) -> tuple[Evidence, ...]:
        """The evidence that takes what a planted error changes."""
        return tuple(item for item in self.evidence if not self.mutants[name].keys().isdisjoint(item.tries))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled by name where another process can import it; by value elsewhere."""
        where = reference(self)
        return (referred, where) if where else super().__reduce_ex__(protocol)


def reference(claim: Claim) -> tuple[str, str] | None:
    """Module and name where an import finds the claim again, in any process; None where it does not."""
    here: object = sys.modules.get(claim.module)
    for part in claim.qualname.split("."):
        here = getattr(here, part, None)
    elsewhere = claim.module != "__main__" and specification(claim.module) is not None
    return (claim.module, claim.qualname) if here is claim and elsewhere else None


def referred(module: str, qualname: str) -> Claim:
    """The claim that :func:`reference` refers to, in whichever process."""
    there: Any = importlib.import_module(module)
    for part in qualname.split("."):
        there = getattr(there, part)
    return cast("Claim", there)
