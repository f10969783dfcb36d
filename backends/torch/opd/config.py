"""The recipes of ``opd``: small models on a task made on the spot, or published models through TRL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, final

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.loop import Plan
from driftproof.backends.torch.kit.recipe import RecipeError, Recipes, build, require_seeds
from driftproof.theory.divergences import get

__all__ = ["RECIPES", "Contender", "ModelSize", "Published", "Recipe"]


@final
@dataclass(frozen=True, slots=True)
class ModelSize:
    """The configuration of a small Qwen3 model."""

    width: int
    layers: int
    heads: int = 2

    def __post_init__(self) -> None:
        if self.heads < 1 or self.layers < 1 or self.width < 1 or self.width % (2 * self.heads):
            hypothesis = "layers and heads >= 1, and each head has an even width"  # rotary pairs
            raise UnmetHypothesis("ModelSize", hypothesis, repr(self))


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
    """Published models and data, trained by :class:`OPDPlusTrainer`.

    Arguments:
        student, teacher: Names for ``from_pretrained``, or folders.
        dataset: A name for ``load_dataset``, or a folder that ``save_to_disk`` wrote.
        split: The part of the data.
        prompt_column: The column of the prompts.
        dtype: Of the student's weights.  In bfloat16 steps of 1e-6 round to nothing; with ``bf16 = true`` float32
            weights are computed with in bfloat16.
        teacher_dtype: Of the teacher's weights; ``auto`` keeps what was saved.
        attn_implementation: Of both models, as ``from_pretrained`` takes it.
        lora: Arguments of PEFT's ``LoraConfig``; None trains every weight.
        arguments: Every other key of the table, for :class:`OPDPlusConfig`.
    """

    student: str
    teacher: str
    dataset: str
    split: str = "train"
    prompt_column: str = "prompt"
    dtype: str = "float32"
    teacher_dtype: str = "auto"
    attn_implementation: str | None = None
    lora: dict[str, Any] | None = None
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
        require_seeds("opd recipe", self.seeds)
        if len({c.label for c in self.contender}) < len(self.contender):
            raise UnmetHypothesis("opd recipe", "every contender differs from the others", "one comes twice")
        if not self.clip > 0.0:
            raise UnmetHypothesis("opd recipe", "clip > 0", f"clip = {self.clip}")


def _convert(path: Path, tables: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the table ``published``, whose unknown keys are arguments of the trainer, as its dataclass."""
    table = tables.get("published")
    if table is None:
        return tables
    if not isinstance(table, Mapping):
        raise RecipeError(f"{path.name}.published: expected a table, got {table!r}")
    own = {field.name for field in fields(Published)} - {"lora", "arguments"}
    run = build(Published, {key: table[key] for key in table if key in own}, f"{path.name}.published")
    lora = table.get("lora")
    if lora is not None and not isinstance(lora, Mapping):
        raise RecipeError(f"{path.name}.published.lora: expected a table, got {lora!r}")
    arguments = {key: value for key, value in table.items() if key not in {*own, "lora"}}
    published = replace(run, lora=None if lora is None else dict(lora), arguments=arguments)
    return {**tables, "published": published}


RECIPES = Recipes("opd", Recipe, ("arithmetic",), _convert)
