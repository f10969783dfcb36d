"""Recipes as tables: read from TOML or JSON, the budget of ``[smoke]`` merged in, single values set."""

from __future__ import annotations

import json
import reprlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["RecipeError", "changed", "read", "shown"]

DEPTH = 16  # of tables and arrays in each other; recipes need three
LARGEST = 2**31 - 1  # of integers: seeds differ below it, and no batch or budget of steps is larger


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80
shown = _REPR.repr  # a value in a message of one line


class RecipeError(ValueError):
    """A recipe that cannot be run: which key, what was expected there, and what came."""


def read(path: Path, smoke: bool = False) -> dict[str, Any]:
    """The tables of a file, those of ``[smoke]`` merged in or left out.

    Arguments:
        path: A TOML file; JSON where it ends in ``.json``.
        smoke: Whether the values of ``[smoke]`` replace the others.

    Raises:
        RecipeError: No such file, neither TOML nor JSON, values that no recipe has, or no ``[smoke]``.
    """
    if not path.is_file():
        raise RecipeError(f"recipe: no file {path}")
    try:
        text = path.read_text(encoding="utf-8")
        tables = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:  # neither, not UTF-8, or an integer of thousands of digits
        raise RecipeError(f"recipe {path}: {error}") from None
    except RecursionError:
        raise RecipeError(f"recipe {path}: nested more deeply than can be read") from None
    if not isinstance(tables, dict):
        raise RecipeError(f"recipe {path}: expected a table, got {shown(tables)}")
    _require_plain(tables, f"recipe {path}")
    if smoke and "smoke" not in tables:
        raise RecipeError(f"recipe {path}: there is no table [smoke], as --smoke needs")
    changes = tables.pop("smoke", {})
    if not isinstance(changes, Mapping):
        raise RecipeError(f"recipe {path}: smoke: expected a table, got {shown(changes)}")
    return _merged(tables, changes) if smoke else tables


def changed(tables: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The tables with some values set.

    Arguments:
        tables: Those of a recipe.
        changes: Texts ``key=value``, the key dotted, with numbers for the items of arrays, the value as in TOML.

    Raises:
        RecipeError: No such text, or a key below what is no table.

    Example:
        >>> changed({"budget": {"epochs": 9, "clip": 0.1}}, ["budget.epochs=2", 'title="short"'])
        {'budget': {'epochs': 2, 'clip': 0.1}, 'title': 'short'}
    """
    made = dict(tables)
    for change in changes:
        key, _, text = change.partition("=")
        keys = key.strip().split(".")
        try:
            parsed = tomllib.loads(f"value = {text}")
        except (ValueError, RecursionError):
            parsed = {}
        if list(parsed) != ["value"] or not all(keys):
            hint = "expected KEY=VALUE, the value as in TOML, where text has quotes: KEY='\"text\"'"
            raise RecipeError(f"--set {shown(change)}: {hint}")
        _require_plain(parsed["value"], f"--set {key}")
        made = _with(made, keys, parsed["value"], change)
    return made


def _with(part: Any, keys: Sequence[str], value: Any, change: str) -> Any:
    """A part of the tables with the value at these keys."""
    if not keys:
        return value
    head, *rest = keys
    if isinstance(part, list):
        if not head.isdecimal() or int(head) >= len(part):
            raise RecipeError(
                f"--set {change}: expected the number of an item below {len(part)}, got {head!r}"
            )
        return [_with(x, rest, value, change) if i == int(head) else x for i, x in enumerate(part)]
    if not isinstance(part, Mapping):
        raise RecipeError(f"--set {change}: expected a table above {head!r}, got {shown(part)}")
    return {**part, head: _with(part.get(head, {}), rest, value, change)}


def _require_plain(value: Any, where: str, path: tuple[str, ...] = ()) -> None:
    """Raise unless everything is a table, an array, text, a number or a truth value: no date, no null."""
    if len(path) > DEPTH:
        raise RecipeError(f"{where}: tables and arrays are nested more than {DEPTH} deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _require_plain(item, where, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _require_plain(item, where, (*path, str(number)))
    elif not isinstance(value, str | bool | int | float):
        raise RecipeError(
            f"{where}: {'.'.join(path)}: expected text, a number, true or false, got {shown(value)}"
        )
    elif isinstance(value, int) and abs(value) > LARGEST:
        got = shown(value)
        raise RecipeError(f"{where}: {'.'.join(path)}: expected a number up to 2^31 - 1, got {got}")


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = base.get(key)
        merged[key] = (
            _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return merged
