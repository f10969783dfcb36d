"""What pydantic says of a configuration, in one line: the path of the key, what was expected there, what came."""

from __future__ import annotations

import dataclasses
import difflib
import textwrap
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.recipes.tables import shown

__all__ = ["error_of_call", "problems", "unknown_key"]

SHOWN = 2  # problems in one line
CLOSE = 0.65  # of misspelt keys, as difflib measures it

# What was expected, by the type of pydantic's error; its own words serve for all others.
RANGES: Mapping[str, str] = {
    "greater_than": "> {gt:g}",
    "greater_than_equal": ">= {ge:g}",
    "less_than": "< {lt:g}",
    "less_than_equal": "<= {le:g}",
    "multiple_of": "a multiple of {multiple_of}",
    "finite_number": "a finite number",
    "too_short": ">= {min_length} items",
    "literal_error": "one of {expected}",
    "value_error": "{error}",
}
KINDS: Mapping[str, str] = {
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "an array",
    "dict_type": "a table",
    "dataclass_type": "a table",
    "union_tag_invalid": "one of {expected_tags}",
}
UNKNOWN = ("unexpected_keyword_argument", "unexpected_positional_argument")
MISSING = ("missing", "union_tag_not_found")

Key = int | str


def problems(kind: type[Any], error: ValidationError, tables: object) -> str:
    """The faults of tables, in one line.

    Arguments:
        kind: The configuration that they should have been.
        error: Why they are not.
        tables: The tables, as they were read.
    """
    found = sorted(error.errors(), key=lambda one: one["type"] not in UNKNOWN)  # the cause of missing ones
    lines = [_problem(kind, one, tables) for one in found[:SHOWN]]
    return "; ".join([*lines, *([f"{len(found) - SHOWN} more"] if len(found) > SHOWN else [])])


def unknown_key(dotted: str, known: Sequence[str]) -> str:
    """The error for an unknown key, with the nearest one that is known.

    Example:
        >>> unknown_key("network.widht", ["width", "depth"])
        "unknown key 'network.widht' (did you mean 'width'?)"
    """
    near = difflib.get_close_matches(dotted.rpartition(".")[2], known, 1, CLOSE)
    among = textwrap.shorten(", ".join(known), 160, placeholder=" ...")
    return f"unknown key {shown(dotted)} ({f'did you mean {near[0]!r}?' if near else f'known: {among}'})"


def error_of_call(cls: type[Any], error: ValidationError) -> Exception:
    """The exception of a configuration's call: a TypeError, or an UnmetHypothesis for a value outside of its range."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, UnmetHypothesis) or (isinstance(cause, Exception) and not first["loc"]):
        return cause
    loc, fields = first["loc"], dataclasses.fields(cls)
    if loc and isinstance(loc[0], int) and loc[0] < len(fields):  # an argument by position
        loc = (fields[loc[0]].name, *loc[1:])
    name, (expected, got) = ".".join(map(str, loc)), _expected(first)
    if first["type"] in RANGES:
        hypothesis = f"{name} {expected}" if expected[0] in "<>" else f"{name} is {expected}"
        return UnmetHypothesis(cls.__name__, hypothesis, f"{name} = {got}")
    if first["type"] in MISSING:
        return TypeError(f"{cls.__name__}: missing argument {name!r}")
    if first["type"] in UNKNOWN:
        return TypeError(f"{cls.__name__}: unknown argument {name!r}")
    return TypeError(f"{cls.__name__}: expected {expected} for {name}, got {got}")


def _problem(kind: type[Any], error: Mapping[str, Any], tables: object) -> str:
    path = _path(error, tables)
    dotted = ".".join(map(str, path))
    if error["type"] in UNKNOWN:
        return unknown_key(dotted, _fields_at(kind, path[:-1]))
    if error["type"] in MISSING:
        return f"missing key {dotted!r}"
    expected, got = _expected(error)
    return f"{dotted}: expected {expected}, got {got}" if dotted else f"expected {expected}, got {got}"


def _expected(error: Mapping[str, Any]) -> tuple[str, str]:
    """The expected value and the given one, in words."""
    context = error.get("ctx", {})
    if isinstance(unmet := context.get("error"), UnmetHypothesis):
        return unmet.hypothesis, unmet.got
    template = {**RANGES, **KINDS}.get(error["type"])
    words = error["msg"].removeprefix("Input should be ") if template is None else template.format(**context)
    return words, shown(context.get("tag", error["input"]))


def _path(error: Mapping[str, Any], tables: Any) -> list[Key]:
    """The keys of an error in the tables: those of its location, without the variants of unions, which it names too."""
    path: list[Key] = []
    for key in error["loc"]:
        if isinstance(tables, Mapping | list | tuple) and _has(tables, key):
            path.append(key)
            tables = tables[key]
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    elif "discriminator" in error.get("ctx", {}):
        path.append(error["ctx"]["discriminator"].strip("'"))
    return path


def _has(tables: Any, key: Key) -> bool:
    return key in tables if isinstance(tables, Mapping) else isinstance(key, int)


def _fields_at(kind: type[Any], path: Sequence[Key]) -> list[str]:
    """The fields of what a path leads to, of each variant of a union."""
    level = [kind]
    for key in path:
        if isinstance(key, str):
            level = [made for one in level for made in _dataclasses(typing.get_type_hints(one).get(key))]
    return list(dict.fromkeys(field.name for one in level for field in dataclasses.fields(one)))


def _dataclasses(hint: Any) -> list[type[Any]]:
    """The dataclasses in a type: its own, or those of unions and tuples."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    return [made for part in typing.get_args(hint) for made in _dataclasses(part)]
