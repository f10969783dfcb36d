r"""Recipes: tables that become frozen dataclasses, checked before any work.

A recipe may hold a table ``[smoke]`` of the same shape; with ``smoke=True`` its values replace the
others, so that the smoke run is the full run on a smaller budget and never another code path.

.. code-block:: python

    RECIPES = Recipes("reward_gap", Recipe, ("gaussian", "ddpo-sd15"))
    recipe, tables = RECIPES.load(RECIPES.find("gaussian"), smoke=True, changes=["budget.epochs=20"])
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, final

from pydantic import TypeAdapter, ValidationError

from driftproof.backends.torch.recipes import RecipeError, changed, find, read

from .config_errors import problems

__all__ = ["RecipeError", "Recipes", "build", "read"]

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Recipes(Generic[T]):
    """The recipes of a paper: those that are shipped, and how a file becomes one.

    Arguments:
        paper: The name of the paper, and of the folder of its recipes.
        kind: The configuration of a recipe, made by :func:`.schema.validated`; a field ``name`` is that of the
            file unless the recipe has one.
        packaged_names: The shipped ones whose ``--smoke`` is part of that of the paper, in the order in which they
            run; none of these needs a download.
    """

    paper: str
    kind: type[T]
    packaged_names: tuple[str, ...]

    def packaged(self) -> list[Path]:
        """The files of the recipes that need no download."""
        return [self.find(name) for name in self.packaged_names]

    def find(self, config: str | Path) -> Path:
        """The file of a recipe, by its path or by its name; see :func:`..recipes.find`."""
        return find(self.paper, config)

    def load(self, path: Path, smoke: bool, changes: Sequence[str] = ()) -> tuple[T, Mapping[str, Any]]:
        """The recipe of a file, and its tables as they were read, with some values set.

        Raises:
            RecipeError: No such file, a missing or unknown key, a wrong type, a value outside of its range.
        """
        tables = changed(read(path, smoke), changes)
        if self._is_named:
            tables = {"name": path.stem, **tables}
        return build(self.kind, tables, path.name), tables

    def resolved(self, recipe: T) -> str:
        """A recipe as JSON with every default filled in, which :meth:`load` takes back from a file ``.json``."""
        return TypeAdapter(self.kind).dump_json(recipe, indent=2, exclude_none=True).decode()

    def schema(self) -> dict[str, Any]:
        """The JSON schema of the files."""
        made = TypeAdapter(self.kind).json_schema()
        required = [name for name in made.get("required", []) if not (self._is_named and name == "name")]
        smoke = {"type": "object", "description": "Values that --smoke puts in the place of the others."}
        return {**made, "required": required, "properties": {**made["properties"], "smoke": smoke}}

    @property
    def _is_named(self) -> bool:
        return "name" in {field.name for field in dataclasses.fields(self.kind)}  # type: ignore[arg-type]


def build(kind: type[T], tables: Mapping[str, Any], where: str = "recipe") -> T:
    """An instance of a configuration, made by :func:`.schema.validated`, from tables.

    Raises:
        RecipeError: Keys that are missing or unknown, and values of another type or outside of their range.

    Example:
        >>> from driftproof.backends.torch.kit.plan import Plan
        >>> build(Plan, {"max_steps": 8, "train_batch_size": 2, "learning_rate": 1}).learning_rate
        1.0
        >>> build(Plan, {"max_steps": 8, "train_batch_size": 0, "lerning_rate": 1})
        Traceback (most recent call last):
        ...
        driftproof.backends.torch.recipes.tables.RecipeError: recipe: unknown key 'lerning_rate' (did you mean 'learning_rate'?); train_batch_size: expected > 0, got 0; 1 more
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(tables))
    except ValidationError as error:
        raise RecipeError(f"{where}: {problems(kind, error, tables)}") from None
