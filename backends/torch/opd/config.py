"""The recipes of ``opd``: small models on a task made on the spot, or published models through TRL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from ...._namespace import UnmetHypothesis
from ....theory.divergences import get
from ..recipe import build, read
from ..training import Plan

__all__ = ["Contender", "ModelSize", "Published", "Recipe", "load_recipe", "packaged"]


@final
@dataclass(frozen=True, slots=True)
class ModelSize:
    """The configuration of a small Qwen3 model."""

    width: int
    layers: int
    heads: int = 2


@final
@dataclass(frozen=True, slots=True)
class Contender:
    """One way to distil: a divergence and an advantage."""

    divergence: str
    advantage: Literal["centered", "plus", "sg"]

    def __post_init__(self) -> None:
        get(self.divergence)

    @property
    def label(self) -> str:
        """The row of the table."""
        return f"{self.divergence}, {self.advantage}"


@final
@dataclass(frozen=True, slots=True)
class Published:
    """Published models and data, trained by :class:`OPDPlusTrainer`; every other key goes to its config."""

    student: str
    teacher: str
    dataset: str
    split: str = "train"
    prompt_column: str = "prompt"
    arguments: dict[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """A comparison on arithmetic: one teacher, students of several seeds, several ways to distil.

    Arguments:
        title: Title of the section.
        teacher, student: Sizes of the two models.
        teacher_training, student_training: Supervised training of each, the student's a short one.
        distillation: Budget of each distillation.
        contender: The ways to distil.
        seeds: One student for each.
        digits: Digits of the numbers.
        clip: Largest absolute log-ratio.
        published: In place of all others: a run with published models through TRL.
    """

    title: str
    teacher: ModelSize | None = None
    student: ModelSize | None = None
    teacher_training: Plan | None = None
    student_training: Plan | None = None
    distillation: Plan | None = None
    contender: tuple[Contender, ...] = ()
    seeds: tuple[int, ...] = (0,)
    digits: int = 2
    clip: float = 6.0
    published: Published | None = None

    def __post_init__(self) -> None:
        parts = (
            self.teacher,
            self.student,
            self.teacher_training,
            self.student_training,
            self.distillation,
        )
        if self.published is None and (any(part is None for part in parts) or not self.contender):
            hypothesis = "a recipe has [published], or models, budgets and at least one [[contender]]"
            raise UnmetHypothesis("opd recipe", hypothesis, "a part is missing")


def packaged() -> list[Path]:
    """The recipes that come with the package and need no download."""
    return [Path(__file__).parent.parent / "recipes" / "opd" / "arithmetic.toml"]


def load_recipe(path: Path, smoke: bool) -> tuple[Recipe, Mapping[str, Any]]:
    """The recipe of a file, and its tables as they were read."""
    tables = read(path, smoke)
    if "published" in tables:
        known = {"student", "teacher", "dataset", "split", "prompt_column"}
        table = dict(tables["published"])
        arguments = {key: table.pop(key) for key in list(table) if key not in known}
        published = build(Published, table, "recipe.published")
        object.__setattr__(published, "arguments", arguments)
        return Recipe(title=str(tables["title"]), published=published), tables
    return build(Recipe, tables), tables
