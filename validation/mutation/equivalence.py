"""Whether an error changes anything: the function with it, and without, on a thousand random inputs.

Nobody has to say what the inputs of a function are: its evidence calls it, and those calls, each with its
numbers moved at random and to edges, are inputs of the right kinds.  An input counts if the right function
returns on it and the wrong one evaluates the error.  Results are equal only to the last bit; where calls cannot be
recorded, copied or compared, nothing is known, and the error has survived.  An error that only another kind
of input would show is called equivalent wrongly: so the list is printed, and rates are given with it, too.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import sys
from collections.abc import Sequence
from time import process_time
from types import CodeType, FunctionType
from typing import Any, final

import numpy as np

from .forks import allow, forked
from .inputs import copied, jittered, same
from .loaded import HERE, Piece, Setting, run
from .rounding import COUNT
from .sites import Site
from .swap import swapped

__all__ = ["equal_everywhere"]

INPUTS, DRAWS, CALLS = 1000, 10_000, 50
SECONDS = 60.0
FIRST = 20  # inputs after which it shows whether all of them take too long
_GENERATOR, _VARARGS, _VARKEYWORDS = 0x20, 0x04, 0x08


def equal_everywhere(site: Site, pieces: Sequence[Piece], setting: Setting) -> str:
    """A sentence that all random inputs give equal results; empty where that is not so, or not known."""
    done = forked(lambda tell: tell(_compare(site, pieces, setting)))
    equal = bool(done.messages) and done.messages[0]
    return f"{INPUTS} random inputs of {site.function} give equal results" if equal else ""


def _compare(site: Site, pieces: Sequence[Piece], setting: Setting) -> bool:
    file = next(file for file, module in setting.files.items() if module == site.module)
    named = [f for f in HERE.functions[file] if f.__code__.co_qualname == site.function]
    if len(named) != 1:
        return False  # of several closures of one text, calls do not tell which they are
    function = named[0]
    calls = _calls(function, pieces, setting)
    if not calls:
        return False
    allow(SECONDS)
    right = [(f, f.__code__) for f in HERE.functions[file]]
    wrong = [(f, f.__code__) for f in swapped(site, HERE.functions[file], counted=True)]
    right = [(f, code) for f, code in right if any(f is other for other, _ in wrong)]
    caches = _caches()
    rng, good, first, varied, began = np.random.default_rng(0), 0, None, False, process_time()
    for draw in range(DRAWS):
        call = calls[draw] if draw < len(calls) else jittered(calls[int(rng.integers(len(calls)))], rng)
        _take(right, caches)
        want, before = _returned(call, function), COUNT[0]
        if want is _RAISED:
            continue  # no input of this function
        _take(wrong, caches)
        if not same(_returned(call, function), want):
            return False
        if COUNT[0] == before:
            continue  # the error does not concern it
        first, varied = (want, False) if good == 0 else (first, varied or not same(want, first))
        good += 1
        if good == FIRST and (process_time() - began) * INPUTS > SECONDS * FIRST:
            return False
        if good == INPUTS:
            return varied  # a result that no input moves tells nothing
    return False


_RAISED = object()


def _returned(call: Call, function: FunctionType) -> Any:
    try:
        with np.errstate(all="ignore"):
            return call.of(function)
    except Exception:  # noqa: BLE001  # it refuses
        return _RAISED


@final
@dataclasses.dataclass(frozen=True)
class Call:
    """The arguments of one call."""

    positional: tuple[Any, ...]
    named: dict[str, Any]

    def of(self, function: FunctionType) -> Any:
        """The result of a function for copies of them; all that a generator yields."""
        given = copied(self)
        result = function(*given.positional, **given.named)
        return list(result) if function.__code__.co_flags & _GENERATOR else result


def _calls(function: FunctionType, pieces: Sequence[Piece], setting: Setting) -> list[Call]:
    """The calls of a function that evidence makes."""
    found, code = list[Call](), function.__code__

    def note(frame: Any, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code is code and len(found) < CALLS:
            sys.setprofile(None)
            try:
                found.append(copied(_arguments(code, frame.f_locals)))
            finally:
                sys.setprofile(note)

    for piece in pieces:
        allow(SECONDS)
        sys.setprofile(note)
        try:
            run(piece, setting)
        finally:
            sys.setprofile(None)
        if len(found) >= CALLS:
            break
    return found


def _arguments(code: CodeType, local: dict[str, Any]) -> Call:
    names = iter(code.co_varnames)
    positional = tuple(local[next(names)] for _ in range(code.co_argcount))
    named = {name: local[name] for name in (next(names) for _ in range(code.co_kwonlyargcount))}
    if code.co_flags & _VARARGS:
        positional += local[next(names)]
    if code.co_flags & _VARKEYWORDS:
        named |= local[next(names)]
    return Call(positional, named)


def _caches() -> list[Any]:
    kind: Any = functools._lru_cache_wrapper
    return [item for item in gc.get_objects() if type(item) is kind]


def _take(codes: Sequence[tuple[FunctionType, CodeType]], caches: Sequence[Any]) -> None:
    for function, code in codes:
        function.__code__ = code
    for cache in caches:
        if cache.cache_info().currsize:
            cache.cache_clear()
