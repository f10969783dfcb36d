"""Every value of every shipped recipe replaced by what it cannot be, and every key misspelt."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
for needed in ("accelerate", "diffusers", "peft", "transformers"):
    pytest.importorskip(needed)

from driftproof.backends.torch.kit.recipe import RecipeError, build
from driftproof.backends.torch.recipes import names
from driftproof.validation.papers import PAPERS

Path = tuple[str | int, ...]
PAPERS_WITH_RECIPES = [paper for paper in PAPERS if names(paper)]
SHORT = ("reward_gap", "tweedie")

# Whatever a key may be, what is of another kind is refused; numbers may be too large for any.
KINDS: dict[str, Any] = {"text": "x", "truth": True, "array": [[]], "table": {"x": 1}}
NUMBERS = {"inf": float("inf"), "nan": float("nan"), "a half": 0.5, "text of a number": "1"}
FREE = ("arguments", "lora")  # tables that are handed on, to TRL and to PEFT
LONGEST = 500


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is no table and no array, by its path."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path, value


def keys(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every key of every table."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(key, str):
                yield (*path, key)
            yield from keys(item, (*path, key))


def altered(tables: Any, path: Path, value: Any = None, name: str | None = None) -> Any:
    """A copy with another value at a path, or with its last key renamed."""
    made = copy.deepcopy(tables)
    here = made
    for key in path[:-1]:
        here = here[key]
    if name is None:
        here[path[-1]] = value
    else:
        here[name] = here.pop(path[-1])
    return made


def wrong_for(value: Any) -> dict[str, Any]:
    """What the place of this value cannot hold."""
    if isinstance(value, bool):
        return {name: other for name, other in {**KINDS, **NUMBERS}.items() if name != "truth"}
    if isinstance(value, str):
        return {**{name: other for name, other in KINDS.items() if name != "text"}, "number": 3}
    if isinstance(value, int):
        return {**KINDS, **NUMBERS}
    return {**KINDS, **{name: other for name, other in NUMBERS.items() if name != "a half"}}


def refusal(kind: type[Any], tables: Any) -> str | None:
    """The message of the error, or nothing where the tables are taken."""
    try:
        build(kind, tables, "x.toml")
    except RecipeError as error:
        return str(error)
    return None


def misfits(paper: str) -> tuple[int, list[str]]:
    recipes = importlib.import_module(f"driftproof.backends.torch.{paper}.config").RECIPES
    tries, faults = 0, []
    for name in names(paper):
        tables = json.loads(recipes.resolved(recipes.load(recipes.find(name), False)[0]))
        for path, value in leaves(tables):
            if any(key in FREE for key in path):
                continue
            dotted = ".".join(map(str, path))
            for what, wrong in wrong_for(value).items():
                tries += 1
                told = refusal(recipes.kind, altered(tables, path, wrong))
                if told is None or dotted not in told or "\n" in told or len(told) > LONGEST:
                    faults.append(f"{name}: {dotted} = {what}: {told}")
    return tries, faults


def misspellings(paper: str) -> tuple[int, list[str]]:
    recipes = importlib.import_module(f"driftproof.backends.torch.{paper}.config").RECIPES
    tries, faults = 0, []
    for name in names(paper):
        tables = json.loads(recipes.resolved(recipes.load(recipes.find(name), False)[0]))
        for path in keys(tables):
            if any(key in FREE for key in path[:-1]):
                continue
            right = str(path[-1])
            wrong = right + right[-1]
            tries += 1
            told = refusal(recipes.kind, altered(tables, path, name=wrong))
            dotted = ".".join(map(str, (*path[:-1], wrong)))
            expected = f"unknown key '{dotted}' (did you mean '{right}'?)"
            if right == "name" and path[0] == "process":
                expected = f"missing key '{'.'.join(map(str, path))}'"  # which process it is, is not known
            if told is None or expected not in told or "\n" in told or len(told) > LONGEST:
                faults.append(f"{name}: {dotted}: {told}")
    return tries, faults


@pytest.mark.parametrize(
    "paper",
    [pytest.param(p, marks=[] if p in SHORT else [pytest.mark.hostile]) for p in PAPERS_WITH_RECIPES],
)
def test_values_of_another_kind_and_keys_that_are_misspelt(paper: str, attack: Callable[..., None]) -> None:
    attack(f"a value of another kind: refused by its path ({paper})", *misfits(paper))
    attack(f"a misspelt key: the right one is named ({paper})", *misspellings(paper))
