"""The recipes of ``opd``: small models on a task made on the spot, or published models through TRL."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal, final

from pydantic import PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.plan import Plan, SeededPlan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import Seeds, validated
from driftproof.backends.torch.pretrained.arithmetic import IN_STEPS
from driftproof.backends.torch.pretrained.qwen import ModelSize
from driftproof.theory.divergences import get

__all__ = ["RECIPES", "Method", "Published", "Recipe"]


@final
@validated(frozen=True, slots=True)
class Method:
    """One way to distil: a divergence, and an advantage of each sampled token.

    In the place of an advantage, ``full`` takes the divergence over the whole vocabulary at the states that were
    sampled: the gradient that ``centered`` and ``plus`` estimate from one token.
    """

    divergence: str
    advantage: Literal["centered", "plus", "sg", "full"]

    def __post_init__(self) -> None:
        get(self.divergence)

    @property
    def label(self) -> str:
        """The row of the table."""
        return f"{self.divergence}, {self.advantage}"


@final
@validated(frozen=True, slots=True)
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
        arguments: Those of :class:`OPDPlusConfig`.
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
@validated(frozen=True, slots=True)
class Recipe:
    """A comparison on arithmetic: one teacher, students of several seeds, several ways to distil.

    Arguments:
        title: Title of the section.
        teacher, student: Sizes of the two models.
        teacher_training, student_training: Supervised training of each, the student's a short one.
        distillation: Budget of each distillation.
        method: The ways to distil.
        seeds: One student for each.
        digits: Digits of the numbers.
        zoo: In place of sizes and supervised trainings: ``qwen3-teacher`` and ``qwen3-student``, and sums in steps.
        clip: Largest absolute log-ratio.
        published: In place of all others: a run with published models through TRL.
    """

    title: str
    teacher: ModelSize | None = None
    student: ModelSize | None = None
    teacher_training: Plan | None = None
    student_training: SeededPlan | None = None
    distillation: SeededPlan | None = None
    method: tuple[Method, ...] = ()
    seeds: Seeds = (0,)
    digits: PositiveInt = 2
    zoo: bool = False
    clip: PositiveFloat = 6.0
    published: Published | None = None

    def __post_init__(self) -> None:
        own = (self.teacher, self.student, self.teacher_training, self.student_training)
        whole = all(part is not None for part in own) or self.zoo
        if self.published is None and not (whole and self.distillation and self.method):
            hypothesis = "a recipe has [published], or models, budgets and at least one [[method]]"
            raise UnmetHypothesis("opd recipe", hypothesis, "a part is missing")
        if self.zoo and (any(part is not None for part in own) or self.digits != IN_STEPS.digits):
            hypothesis = f"zoo brings sizes and supervised trainings of its own, and {IN_STEPS.digits} digits"
            raise UnmetHypothesis("opd recipe", hypothesis, "others as well")
        if len({c.label for c in self.method}) < len(self.method):
            raise UnmetHypothesis("opd recipe", "every method differs from the others", "one comes twice")


RECIPES = Recipes("opd", Recipe, ("sums-in-steps",))
