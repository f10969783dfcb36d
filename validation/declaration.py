"""What the body of a claim declares: names for what it covers, planted errors, and calls that are refused."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from driftproof._namespace import UnmetHypothesis

from .evidence.base import Evidence, Thing
from .evidence.deterministic import Boundary, raises
from .mutants import Wrong

__all__ = ["Covers", "Things", "changes", "named", "refusal"]

Covers = Sequence[Any] | Mapping[str, Any]
Things = Mapping[str, Thing]


def named(id: str, covers: Covers) -> Things:
    """The objects under test, by the names that evidence takes them by: their own, unless a mapping gives others."""
    if not covers:
        raise TypeError(f"claim {id}: covers nothing; give covers=[...]")
    if isinstance(covers, Mapping):
        return MappingProxyType({name: _callable(item) for name, item in covers.items()})
    found: dict[str, Thing] = {}
    for item in covers:
        function = _callable(item)
        if function.__name__ in found:
            raise TypeError(
                f"claim {id}: covers two things called {function.__name__}; a mapping gives them names, "
                f"covers={{'of_the_flow': ..., ...}}"
            )
        found[function.__name__] = function
    return MappingProxyType(found)


def changes(id: str, things: Things, mutants: Mapping[str, Any]) -> Mapping[str, Things]:
    """Each planted error as what it puts in which place.

    A mutant is a :class:`driftproof.validation.mutants.Wrong`, which knows whose place it takes; a mapping from
    what is covered to what is put there; or anything else, where the claim covers one thing alone.
    """
    return {name: MappingProxyType(_change(id, things, name, mutant)) for name, mutant in mutants.items()}


def _change(id: str, things: Things, name: str, mutant: Any) -> dict[str, Thing]:
    if isinstance(mutant, Mapping):
        return {_place(id, things, name, item): other for item, other in mutant.items()}
    if isinstance(mutant, Wrong):
        return {_place(id, things, name, mutant.right): mutant}
    if len(things) == 1:
        return {next(iter(things)): mutant}
    raise TypeError(
        f"claim {id}: the mutant {name!r} does not say whose place it takes: {{function: mutant}}"
    )


def _place(id: str, things: Things, name: str, item: Any) -> str:
    if isinstance(item, str) and item in things:
        return item
    places = [
        place for place, thing in things.items() if not isinstance(item, str) and thing == _callable(item)
    ]
    if len(places) == 1:
        return places[0]
    raise TypeError(f"claim {id}: the mutant {name!r} changes {item!r}; the claim covers {', '.join(things)}")


def refusal(id: str, things: Things, calls: Sequence[tuple[Any, ...]]) -> Evidence:
    """Evidence that each call ``(function, *arguments)`` is refused; a first member that is an exception is the one."""
    split = [call if _is_exception(call[0]) else (UnmetHypothesis, *call) for call in calls]
    if not split:
        raise TypeError(f"claim {id}: refuses nothing; leave it out")
    places = [
        next((name for name, thing in things.items() if thing == _callable(call[1])), "") for call in split
    ]
    tried = [name for name in things if name in places]
    if not tried:
        raise TypeError(f"claim {id}: what refuses is none of {', '.join(things)}")

    def refuses(**given: Thing) -> Any:
        for place, (exception, function, *arguments) in zip(places, split, strict=True):
            yield raises(exception, given[place] if place else function, *arguments)

    taken = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in tried]
    refuses.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]  # functions take attributes
    return Evidence("refuses", refuses, Boundary(tolerance=1e-3, scale=1.0))


def _is_exception(item: Any) -> bool:
    return isinstance(item, type) and issubclass(item, Exception)


def _callable(item: Any) -> Any:
    """A function that does what ``item`` does: of a property, its getter."""
    return item.fget if isinstance(item, property) else item
