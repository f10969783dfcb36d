r"""Recipes: TOML tables that become frozen dataclasses, checked before any work.

A recipe may hold a table ``[smoke]`` of the same shape; with ``smoke=True`` its values replace the
others, so that the smoke run is the full run on a smaller budget and never another code path.

.. code-block:: python

    RECIPES = Recipes("reward_gap", Recipe, ("gaussian", "ddpo-sd15"))
    recipe, tables = RECIPES.load(path, smoke=True)
"""

from __future__ import annotations

import dataclasses
import reprlib
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Generic, TypeVar, final

from driftproof._namespace import UnmetHypothesis

__all__ = ["RecipeError", "Recipes", "build", "read", "require_seeds", "with_name"]

T = TypeVar("T")

DEPTH = 16  # of tables and arrays in each other; recipes need three
LARGEST = 2**31 - 1  # of integers: seeds are told apart below it, and no batch or budget of steps is larger


class RecipeError(ValueError):
    """A recipe that cannot be run: a missing or unknown key, a wrong type."""


@final
@dataclass(frozen=True)
class Recipes(Generic[T]):
    """The recipes of a paper: those that are shipped, and how a file becomes one.

    Arguments:
        paper: The name of the paper, and of the folder of its recipes.
        kind: The dataclass of a recipe.
        packaged_names: Those of the shipped ones that need no download, in the order in which they run.
        convert: ``convert(path, tables)`` gives the tables that :func:`build` reads; by default the tables.
    """

    paper: str
    kind: type[T]
    packaged_names: tuple[str, ...]
    convert: Callable[[Path, Mapping[str, Any]], Mapping[str, Any]] = lambda _, tables: tables

    def packaged(self) -> list[Path]:
        """The files of the recipes that need no download."""
        folder = Path(str(files("driftproof.backends.torch.recipes"))) / self.paper
        return [folder / f"{name}.toml" for name in self.packaged_names]

    def load(self, path: Path, smoke: bool) -> tuple[T, Mapping[str, Any]]:
        """The recipe of a file, and its tables as they were read.

        Raises:
            RecipeError: No such file, a missing or unknown key, a wrong type.
            UnmetHypothesis: A number outside of its range.
        """
        tables = read(path, smoke)
        return build(self.kind, self.convert(path, tables), path.name), tables


def with_name(path: Path, tables: Mapping[str, Any]) -> dict[str, Any]:
    """The tables with the name of the file, for recipes whose seeds set those of their training.

    Raises:
        RecipeError: The training has a seed of its own.
    """
    training = tables.get("training", {})
    if isinstance(training, Mapping) and "seed" in training:
        raise RecipeError(f"{path.name}: training.seed is set by seeds = [...]")
    return {"name": path.stem, **tables}


def require_seeds(subject: str, seeds: tuple[int, ...], least: int = 1) -> None:
    """Raise unless there are enough seeds, and no two are the same."""
    if len(set(seeds)) < max(least, len(seeds)):
        raise UnmetHypothesis(
            subject, f"distinct seeds, at least {'one' if least == 1 else least}", f"seeds = {seeds}"
        )


def read(path: Path, smoke: bool = False) -> dict[str, Any]:
    """The tables of a recipe, those of ``[smoke]`` merged in or left out.

    Raises:
        RecipeError: No such file, or not TOML.
    """
    if not path.is_file():
        raise RecipeError(f"recipe: no file {path}")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not TOML, not UTF-8, or an integer of thousands of digits
        raise RecipeError(f"recipe {path}: {error}") from None
    except RecursionError:
        raise RecipeError(f"recipe {path}: nested more deeply than can be read") from None
    _require_shallow(tables, path)
    changes = tables.pop("smoke", {})
    if not isinstance(changes, Mapping):
        raise RecipeError(f"recipe {path}: smoke: expected a table, got {_shown(changes)}")
    return _merged(tables, changes) if smoke else tables


def build(kind: type[T], table: Mapping[str, Any], where: str = "recipe") -> T:
    """An instance of the dataclass ``kind`` from a table: every key known, every value of its type.

    Fields may be str, bool, int, float, a Literal, another dataclass, a union or ``tuple[X, ...]``.

    Raises:
        RecipeError: An unknown or missing key, or a value of another type.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Network:
        ...     width: int
        ...     dropout: float = 0.0
        >>> build(Network, {"width": 8})
        Network(width=8, dropout=0.0)
        >>> build(Network, {"widht": 8})
        Traceback (most recent call last):
        ...
        driftproof.backends.torch.kit.recipe.RecipeError: recipe: unknown key 'widht' (known: width, dropout)
    """
    if not isinstance(table, Mapping):
        raise RecipeError(f"{where}: expected a table, got {_shown(table)}")
    hints = typing.get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if field.init]  # type: ignore[arg-type]
    names = [field.name for field in fields]
    for key in table:
        if key not in names:
            raise RecipeError(f"{where}: unknown key {_shown(key)} (known: {', '.join(names)})")
    for field in fields:
        optional = (
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        )
        if field.name not in table and not optional:
            raise RecipeError(f"{where}: missing key {field.name!r}")
    return kind(**{key: _value(hints[key], value, f"{where}.{key}") for key, value in table.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    arguments = typing.get_args(kind)
    if isinstance(kind, types.UnionType):  # already one of them, or the first
        return value if isinstance(value, arguments) else _value(arguments[0], value, where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{where}: expected an array, got {_shown(value)}")
        return tuple(_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if typing.get_origin(kind) is typing.Literal:
        if value not in arguments:
            raise RecipeError(
                f"{where}: expected one of {', '.join(map(repr, arguments))}, got {_shown(value)}"
            )
        return value
    if dataclasses.is_dataclass(kind):
        if isinstance(value, typing.cast("type[Any]", kind)):
            return value
        return build(typing.cast("type[Any]", kind), value, where)
    if kind in (int, float) and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > LARGEST:
            raise RecipeError(f"{where}: expected a number up to 2^31 - 1, got {_shown(value)}")
        return kind(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise RecipeError(f"{where}: expected {kind.__name__}, got {_shown(value)}")
    return value


def _require_shallow(tables: Mapping[str, Any], path: Path) -> None:
    level: list[Any] = [tables]
    for _ in range(DEPTH):
        below = [part.values() if isinstance(part, Mapping) else part for part in level]
        level = [item for items in below for item in items if isinstance(item, Mapping | list)]
        if not level:
            return
    raise RecipeError(f"recipe {path}: tables and arrays are nested more than {DEPTH} deep")


def _shown(value: object) -> str:
    """A value in a message of one line."""
    return reprlib.repr(value)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = base.get(key)
        merged[key] = (
            _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return merged
