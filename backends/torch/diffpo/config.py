"""The recipes of ``diffpo``: masked language models, rewarded for solving Sudoku in few evaluations."""

from __future__ import annotations

from typing import Annotated, Literal, final

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.plan import SeededPlan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import Seeds, TwoOrMore, validated
from driftproof.backends.torch.pretrained.config import Lora

__all__ = ["RECIPES", "Method", "Recipe"]


@final
@validated(frozen=True, slots=True)
class Method:
    """One way to train.

    Arguments:
        loss: Of the model.
        trains: What is trained: the model, the sampler, or both.
        clip: Of the ratio of probabilities.
        cap: Of the weights of tokens, for ``diffpo``.
        shrink: Evaluations that are taken together, for ``trace``.
        weight: Of the sampler's loss beside the model's.
    """

    loss: Literal["diffu_grpo", "wd1", "gdpo", "coupled_grpo", "trace", "diffpo"]
    trains: Literal["model", "sampler", "joint"] = "model"
    clip: PositiveFloat = 0.2
    cap: PositiveFloat = 2.0
    shrink: PositiveInt = 1
    weight: PositiveFloat = 1.0

    @property
    def label(self) -> str:
        """The row of the table."""
        return self.loss if self.trains == "model" else f"{self.loss}, {self.trains}"


@final
@validated(frozen=True, slots=True)
class Recipe:
    """A comparison on Sudoku: the model of the zoo, trained in several ways from several seeds.

    Arguments:
        title: Title of the section.
        plan: Budget: rows are rollouts, ``samples`` of each puzzle.
        samples: Rollouts of one puzzle.
        iterations: Updates on the rollouts of a step.
        clues: Cells that are given.
        thresholds: Entropy bounds in nats that a sampler chooses among; the model alone is trained at random ones of these.
        cost: What an evaluation costs, in units of the reward.
        temperature: Of the draws.
        method: The ways to train.
        seeds: One run of each method for each.
        evaluation: Puzzles of unseen grids on which accuracy and evaluations are measured.
        lora: The adapter that is trained; None trains every weight.
    """

    title: str
    plan: SeededPlan
    method: Annotated[tuple[Method, ...], Field(min_length=1)]
    samples: TwoOrMore = 8
    iterations: PositiveInt = 1
    clues: Annotated[int, Field(ge=0, le=15)] = 5
    thresholds: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=2)] = (0.0, 0.5, 2.0)
    cost: NonNegativeFloat = 0.0
    temperature: PositiveFloat = 1.0
    seeds: Seeds = (0,)
    evaluation: PositiveInt = 500
    lora: Lora | None = None

    def __post_init__(self) -> None:
        if self.plan.train_batch_size % self.samples:
            got = f"train_batch_size = {self.plan.train_batch_size}, samples = {self.samples}"
            raise UnmetHypothesis("diffpo recipe", "samples divides train_batch_size", got)
        if len({method.label for method in self.method}) < len(self.method):
            raise UnmetHypothesis("diffpo recipe", "every method differs from the others", "one comes twice")
        if list(self.thresholds) != sorted(set(self.thresholds)):
            got = f"{self.thresholds}"
            raise UnmetHypothesis("diffpo recipe", "thresholds increase", got)


RECIPES = Recipes("diffpo", Recipe, ("sudoku",))
