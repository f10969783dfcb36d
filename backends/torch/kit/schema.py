"""Configurations: frozen dataclasses that pydantic checks, whether they are called or read from a file.

.. code-block:: python

    @final
    @validated(frozen=True, slots=True)
    class Network:
        width: PositiveInt
        dropout: Decay = 0.0

Numbers are finite, types are strict (an integer is a number, nothing else is another thing), and no key is unknown.
What several fields must satisfy together is said in ``__post_init__``, by an :class:`UnmetHypothesis`; a check of a
single field raises a ValueError that says what was expected.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import textwrap
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import pydantic
from pydantic import AfterValidator, ConfigDict, Field, NonNegativeInt, ValidationError

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.recipes.tables import shown

if TYPE_CHECKING:
    from dataclasses import dataclass as validated  # what replace() and fields() take

__all__ = [
    "DISTINCT",
    "NOT_EMPTY",
    "Decay",
    "ProperShare",
    "Seeds",
    "Share",
    "TwoOrMore",
    "problems",
    "unknown_key",
    "validated",
]

T = TypeVar("T")

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
SHOWN = 2  # problems in one line
CLOSE = 0.65  # of misspelt keys, as difflib measures it

if not TYPE_CHECKING:

    def validated(**options: Any) -> Callable[[type[T]], type[T]]:
        """A dataclass that checks what it is made of; the options are those of :func:`dataclasses.dataclass`.

        Raises:
            UnmetHypothesis: From a call: a value outside of its range.
            TypeError: From a call: a value of another type, an argument that is missing or unknown.

        Example:
            >>> @validated(frozen=True)
            ... class Network:
            ...     width: pydantic.PositiveInt
            >>> Network(8)
            Network(width=8)
            >>> Network(0)
            Traceback (most recent call last):
            ...
            driftproof.UnmetHypothesis: Network: hypothesis width > 0 fails (width = 0)
        """

        def decorate(cls: type[T]) -> type[T]:
            made = pydantic.dataclasses.dataclass(cls, config=STRICT, **options)
            init = made.__init__

            @functools.wraps(init)
            def __init__(self: T, *arguments: Any, **named: Any) -> None:
                try:
                    init(self, *arguments, **named)
                except ValidationError as error:
                    raise _of_call(made, error) from None

            made.__init__ = __init__
            return made

        return decorate


def distinct(values: Sequence[Any]) -> Sequence[Any]:
    """The values, unless two are the same."""
    if len(set(values)) < len(values):
        raise ValueError("distinct values")
    return values


DISTINCT = AfterValidator(distinct)
NOT_EMPTY = Field(min_length=1)
TwoOrMore: TypeAlias = Annotated[int, Field(ge=2)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
ProperShare: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Decay: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Seeds: TypeAlias = Annotated[tuple[NonNegativeInt, ...], NOT_EMPTY, DISTINCT]

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
UNKNOWN = ("unexpected_keyword_argument", "unexpected_positional_argument", "extra_forbidden")


def problems(kind: type[Any], error: ValidationError, tables: object) -> str:
    """What is wrong with tables, in one line: the keys by their paths, what was expected, and what came.

    Arguments:
        kind: The configuration that they should have been.
        error: Why they are not.
        tables: As they were read.
    """
    found = sorted(
        error.errors(), key=lambda one: one["type"] not in UNKNOWN
    )  # a misspelt key is missing, too
    told = [_problem(kind, one, tables) for one in found[:SHOWN]]
    return "; ".join([*told, *([f"{len(found) - SHOWN} more"] if len(found) > SHOWN else [])])


def _problem(kind: type[Any], error: Mapping[str, Any], tables: object) -> str:
    path = _path(error["loc"], tables)
    dotted = ".".join(map(str, path))
    if error["type"] in UNKNOWN:
        return unknown_key(dotted, _fields_at(kind, path[:-1]))
    if error["type"] == "missing":
        return f"missing key {dotted!r}"
    if error["type"] == "union_tag_not_found":
        return f"missing key {dotted + '.' + error['ctx']['discriminator'].strip(chr(39))!r}"
    expected, got = _expected(error)
    if error["type"] == "union_tag_invalid":
        dotted += "." + error["ctx"]["discriminator"].strip("'")
    return f"{dotted}: expected {expected}, got {got}" if dotted else f"expected {expected}, got {got}"


def unknown_key(dotted: str, known: Sequence[str]) -> str:
    """That a key is unknown, and the nearest one that is known.

    Example:
        >>> unknown_key("network.widht", ["width", "depth"])
        "unknown key 'network.widht' (did you mean 'width'?)"
    """
    near = difflib.get_close_matches(dotted.rpartition(".")[2], known, 1, CLOSE)
    among = textwrap.shorten(", ".join(known), 160, placeholder=" ...")
    return f"unknown key {shown(dotted)} ({f'did you mean {near[0]!r}?' if near else f'known: {among}'})"


def _of_call(cls: type[Any], error: ValidationError) -> Exception:
    """What a call raises."""
    first = error.errors()[0]
    if isinstance(unmet := first.get("ctx", {}).get("error"), UnmetHypothesis):
        return unmet
    names = [field.name for field in dataclasses.fields(cls)]  # of arguments by position
    loc = [names[key] if key in range(len(names)) and not i else key for i, key in enumerate(first["loc"])]
    name, (expected, got) = ".".join(map(str, loc)), _expected(first)
    if first["type"] in RANGES:
        hypothesis = f"{name} {expected}" if expected[0] in "<>" else f"{name} is {expected}"
        return UnmetHypothesis(cls.__name__, hypothesis, f"{name} = {got}")
    if first["type"] == "missing":
        return TypeError(f"{cls.__name__}: missing argument {name!r}")
    if first["type"] in UNKNOWN:
        return TypeError(f"{cls.__name__}: unknown argument {name!r}")
    return TypeError(f"{cls.__name__}: expected {expected} for {name}, got {got}")


def _expected(error: Mapping[str, Any]) -> tuple[str, str]:
    """What was expected and what came."""
    context = error.get("ctx", {})
    unmet = context.get("error")
    if isinstance(unmet, UnmetHypothesis):
        return unmet.hypothesis, unmet.got
    kind, words = error["type"], error["msg"].removeprefix("Input should be ")
    got = context["tag"] if kind == "union_tag_invalid" else error["input"]
    return {**RANGES, **KINDS}.get(kind, words.replace("{", "{{").replace("}", "}}")).format(
        **context
    ), shown(got)


def _path(loc: Sequence[int | str], tables: object) -> list[int | str]:
    """The keys of a location in the tables; pydantic also names the variant of a union."""
    path: list[int | str] = []
    here: Any = tables
    for number, key in enumerate(loc, 1):
        inside = here[key] if _has(here, key) else None
        if inside is not None or number == len(loc):
            path.append(key)
            here = inside
    return path


def _has(here: Any, key: int | str) -> bool:
    return (
        key in here if isinstance(here, Mapping) else isinstance(here, list | tuple) and isinstance(key, int)
    )


def _fields_at(kind: type[Any], path: Sequence[int | str]) -> list[str]:
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
