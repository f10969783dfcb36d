"""The fields that the page needs of a document, checked field by field before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

__all__ = ["require_coverage", "require_run", "require_training"]

# Raises ValueError, naming the place, where a value is not what it should be.
Check: TypeAlias = Callable[[Any, str], None]

_MOST: Final = 1e15  # seconds and counts: beyond, it is no measurement


def _text(value: Any, place: str) -> None:
    if not isinstance(value, str):
        _wrong(place, "text", value)
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        _wrong(place, "text of whole characters", value)


def _flag(value: Any, place: str) -> None:
    if not isinstance(value, bool):
        _wrong(place, "true or false", value)


def _number(value: Any, place: str) -> None:
    """A number of JSON, or one of those that JSON lacks as text."""
    if value in ("inf", "-inf", "nan"):
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        _wrong(place, "a number", value)
    try:
        float(value)
    except OverflowError:
        _wrong(place, "a number below 1e308", "one above")


def _measured(value: Any, place: str) -> None:
    _number(value, place)
    if isinstance(value, str) or not math.isfinite(value) or abs(value) > _MOST:
        _wrong(place, f"a number below {_MOST:g}", value)


def _whole(value: Any, place: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        _wrong(place, "a whole number", value if not isinstance(value, int) else "one of logic")


def _count(value: Any, place: str) -> None:
    _whole(value, place)
    _measured(value, place)


def _cell(value: Any, place: str) -> None:
    if isinstance(value, str):
        _text(value, place)
    elif value is not None and not isinstance(value, bool):
        _number(value, place)


def _maybe(check: Check) -> Check:
    return lambda value, place: None if value is None else check(value, place)


def _list(check: Check) -> Check:
    def checked(value: Any, place: str) -> None:
        if not isinstance(value, list):
            _wrong(place, "a list", value)
        for i, each in enumerate(value):
            check(each, f"{place}[{i}]")

    return checked


def _object(needed: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    def checked(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            _wrong(place, "an object", value)
        for name, check in needed.items():
            if name not in value:
                raise ValueError(f"{place or 'the document'} lacks {name}")
            check(value[name], f"{place}.{name}".removeprefix("."))
        for name, check in (optional or {}).items():
            if name in value:
                check(value[name], f"{place}.{name}".removeprefix("."))

    return checked


def _table_of(check: Check) -> Check:
    def checked(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            _wrong(place, "an object", value)
        for name, each in value.items():
            _text(name, place)
            check(each, f"{place}.{name[:40]}")

    return checked


def _anything(value: Any, place: str) -> None:
    """Settings of a training: shown as they are."""
    if isinstance(value, str):
        _text(value, place)
    elif isinstance(value, dict):
        _table_of(_anything)(value, place)
    elif isinstance(value, list):
        _list(_anything)(value, place)


def _wrong(place: str, expected: str, got: Any) -> None:
    raise ValueError(f"{place}: expected {expected}, got {got!r:.60}")


_NUMBERS = ("error", "tolerance", "detectable", "p_value", "alpha")
_EVIDENCE = _object(
    {
        "name": _text, "kind": _text, "ok": _maybe(_flag), "state": _text, "n": _maybe(_count),
        "examples": _maybe(_count), "counterexample": _maybe(_text), "detail": _text, "warnings": _list(_text),
        "seconds": _measured, **dict.fromkeys(_NUMBERS, _maybe(_number)),
    }
)  # fmt: skip
_MUTANT = _object({"name": _text, "caught": _maybe(_flag), "caught_by": _maybe(_text), "detail": _text})
_FIGURE = _object({"name": _text, "caption": _text, "detail": _text})
_CLAIM = _object(
    {
        "id": _text, "paper": _text, "title": _text, "statement": _text, "hypotheses": _list(_text),
        "covers": _list(_text), "status": _text, "expect": _text, "ok": _flag, "notes": _text,
        "seconds": _measured, "evidence": _list(_EVIDENCE), "mutants": _list(_MUTANT), "figures": _list(_FIGURE),
    }
)  # fmt: skip
_RUN = _object(
    {
        "version": _text, "seed": _whole, "effort": _text, "interrupted": _flag, "registered": _count,
        "uncovered": _list(_text), "versions": _table_of(_text), "seconds": _measured, "claims": _list(_CLAIM),
        "budget": _object({"false_alarms": _number, "spent": _number}),
    }
)  # fmt: skip
_TRAINING = _object(
    {
        "title": _text,
        "tables": _list(_object({"caption": _text, "columns": _list(_text), "rows": _list(_list(_cell))})),
        "figures": _list(_object({"caption": _text}, {"svg": _text, "file": _text})),
    },
    {"summary": _text, "meta": _table_of(_anything)},
)

_COVERAGE = _object(
    {
        "claims": _count,
        "effort": _text,
        "modules": _list(
            _object(
                {
                    "name": _text,
                    "missing": _text,
                    **dict.fromkeys(("lines", "run", "branches", "taken"), _count),
                }
            )
        ),
    }
)


def require_run(document: Mapping[str, Any]) -> None:
    """Raise ValueError where a document of a run lacks what its page shows, or has it of another type."""
    _RUN(document, "")


def require_training(document: Mapping[str, Any]) -> None:
    """Raise ValueError where a document of a training lacks what the page shows, or has it of another type."""
    _TRAINING(document, "")


def require_coverage(document: Mapping[str, Any]) -> None:
    """Raise ValueError where a document of coverage lacks what the page shows, or has it of another type."""
    _COVERAGE(document, "")
