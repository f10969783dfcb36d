"""Whether the two sides of a comparison are independent: what evidence calls that the code under test calls too.

Evidence takes what it tries as an argument, so whatever else of ``theory`` and ``numerics`` it reaches is its other
side.  A function that stands on both sides can be wrong on both, and the comparison does not see it.  That is no fault
where the function has been compared with something else: :func:`circular` lists what has not.

Names are followed statically, from the globals and closures of a function through all that it calls.  What is called
through an attribute of a value (a method of a law) is not seen: this is a net for the common mistake, and no proof of
independence.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, final

from .evidence.base import Evidence
from .statements import Claim

__all__ = ["Comparison", "circular", "comparisons", "reached"]

_LIBRARY: Final = ("driftproof.theory.", "driftproof.numerics.")
_CLAIMS: Final = "driftproof.validation.claims."
_COMPARE: Final = ("exact", "property", "rate", "bound")


@final
@dataclass(frozen=True)
class Comparison:
    """A piece of evidence that compares values.

    Attributes:
        claim, evidence: Which piece.
        tries: Qualified names of the functions under test.
        beside: What its other side calls that reaches what is under test, or a part of it.
        shared: Those parts.
    """

    claim: str
    evidence: str
    tries: frozenset[str]
    beside: frozenset[str]
    shared: frozenset[str]


def comparisons(claims: Iterable[Claim]) -> list[Comparison]:
    """All pieces of evidence that compare values, of functions of the library."""
    return [
        _comparison(claim, item) for claim in claims for item in claim.evidence if item.kind.name in _COMPARE
    ]


def circular(found: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    """Functions on both sides that nothing independent has proved, and the pieces that rest on them.

    A function is proved by a comparison whose two sides share nothing, or nothing but what is proved without it.
    """
    found = list(found)
    proved: frozenset[str] = frozenset()
    while more := frozenset().union(*(each.tries for each in found if each.beside <= proved)) - proved:
        proved |= more
    lost: dict[str, list[Comparison]] = {}
    for each in found:
        for name in each.beside - proved:
            lost.setdefault(name, []).append(each)
    return lost


def reached(function: Callable[..., Any]) -> frozenset[str]:
    """Qualified names of the functions of theory and numerics that a function reaches, itself left out.

    Example:
        >>> from driftproof.theory.opd import bias
        >>> "driftproof.theory.opd.exact.pathwise_logit_gradient" in reached(bias)
        True
    """
    found: set[str] = set()
    waiting = [*_functions(function)]
    begun = {id(each) for each in waiting}
    while waiting:
        for callee in _callees(waiting.pop()):
            if id(callee) not in begun:
                begun.add(id(callee))
                waiting.append(callee)
                if callee.__module__.startswith(_LIBRARY):
                    found.add(_name(callee))
    return frozenset(found)


def _comparison(claim: Claim, item: Evidence) -> Comparison:
    tries = [each for name in item.tries for each in _functions(claim.things[name])]
    names = frozenset(map(_name, tries))
    tested = names.union(*map(reached, tries))
    entries = {_name(each): each for each in _entries(item.function)}
    both = {
        name: common
        for name, each in entries.items()
        if (common := _mathematics(tested & {name, *reached(each)}))
    }
    return Comparison(claim.id, item.name, names, frozenset(both), frozenset().union(*both.values()))


def _entries(function: Callable[..., Any]) -> Iterator[FunctionType]:
    """The functions of the library that evidence, or a helper of a claim, calls itself."""
    waiting = [*_functions(function)]
    begun = {id(each) for each in waiting}
    while waiting:
        for callee in _callees(waiting.pop()):
            if id(callee) in begun:
                continue
            begun.add(id(callee))
            if callee.__module__.startswith(_CLAIMS):
                waiting.append(callee)
            else:
                yield callee


def _mathematics(names: Iterable[str]) -> frozenset[str]:
    """Those that compute; checks of arguments stand on both sides of everything."""
    own = (name for name in names if "._checks." not in name)
    return frozenset(n for n in own if not n.rpartition(".")[2].lstrip("_").startswith(("require", "check")))


def _callees(function: FunctionType) -> Iterator[FunctionType]:
    names, closed = function.__globals__, inspect.getclosurevars(function).nonlocals
    for code in _codes(function.__code__):
        found: Any = None
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                found = names.get(step.argval)
            elif step.opname in (
                "LOAD_DEREF",
                "LOAD_CLOSURE",
            ):  # of its own closure, or a local of what encloses it
                found = closed.get(step.argval)
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(found, ModuleType):
                found = getattr(found, step.argval, None)
            elif step.opname != "PRECALL":
                found = None
            yield from _functions(found)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _functions(thing: Any) -> Iterator[FunctionType]:
    """The function as it is written behind one of ours; none for a class, which holds data as well."""
    thing = thing.fget if isinstance(thing, property) else getattr(thing, "__func__", thing)
    kernel = getattr(thing, "kernel", None)
    thing = (
        kernel if isinstance(kernel, FunctionType) else inspect.unwrap(thing) if callable(thing) else thing
    )
    if isinstance(thing, FunctionType) and str(thing.__module__).startswith((*_LIBRARY, _CLAIMS)):
        yield thing


def _name(function: FunctionType) -> str:
    return f"{function.__module__}.{function.__qualname__}"
