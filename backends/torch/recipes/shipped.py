"""Which recipes come with the package, and what they load from the hub."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, final

from .tables import RecipeError, read

__all__ = ["ZOO", "Shipped", "find", "names", "shipped"]

ZOO = "zoo:"  # before the name of a model that comes with the package, which nothing has to be loaded for

SCORED = ("clip", "aesthetic")  # rewards by a model
CLIP = "openai/clip-vit-large-patch14"  # the default of RewardChoice


@final
@dataclass(frozen=True, slots=True)
class Shipped:
    """A recipe that comes with the package.

    Arguments:
        paper, name: ``driftproof train PAPER --config NAME`` runs it.
        title: The heading of its report.
        needs: The models, data and files that it loads by name; where there are any, it wants a GPU.
        smoke_needs: Those of ``--smoke``.
    """

    paper: str
    name: str
    title: str
    needs: tuple[str, ...]
    smoke_needs: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Its fields."""
        return {**asdict(self), "gpu": bool(self.needs)}


def folder(paper: str) -> Path:
    """Where the recipes of a paper are."""
    return Path(str(files(__package__))) / paper


def names(paper: str) -> list[str]:
    """Those of a paper.

    Example:
        >>> names("csdm")
        ['digits', 'stress']
    """
    return sorted(path.stem for path in folder(paper).glob("*.toml"))


def find(paper: str, config: str | Path) -> Path:
    """The file of a recipe: a path as it is, or the name of one that comes with the package.

    Raises:
        RecipeError: It is neither; gives the nearest names.
    """
    if (path := Path(config)).is_file():
        return path
    known = names(paper)
    name = str(config).removesuffix(".toml")
    if name in known:
        return folder(paper) / f"{name}.toml"
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}? There are" if near else "there are"
    raise RecipeError(f"{config}: neither a file nor a recipe of {paper} ({hint} {', '.join(known)})")


def shipped(paper: str) -> list[Shipped]:
    """The recipes of a paper."""
    made = []
    for name in names(paper):
        full, small = (read(folder(paper) / f"{name}.toml", smoke) for smoke in (False, True))
        made.append(Shipped(paper, name, full["title"], _needs(full), _needs(small)))
    return made


def _needs(tables: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in the tables for ``from_pretrained`` and ``load_dataset``, and files of weights or prompts."""
    pipeline, published = (tables.get(key, {}) for key in ("pipeline", "published"))
    rewards = [tables.get(key, {}) for key in ("reward", "second")]
    models = [pipeline.get("name"), pipeline.get("vae")] if pipeline.get("name") else []
    scored = [reward for reward in rewards if reward.get("kind") in SCORED]
    judges = [name for reward in scored for name in (reward.get("model", CLIP), reward.get("head"))]
    others = [published.get(key) for key in ("student", "teacher", "dataset")]
    files = [pipeline.get("prompt_file"), tables.get("pairs", {}).get("table")]
    loaded = [*models, *files, *judges, *others, tables.get("pretrained")]
    return tuple(dict.fromkeys(name for name in loaded if name and not name.startswith(ZOO)))
