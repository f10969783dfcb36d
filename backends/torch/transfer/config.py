"""The recipes of ``transfer``: shifted digits and a table of two domains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.loop import Plan
from driftproof.backends.torch.kit.recipe import Recipes, require_seeds

from .data import Shift

__all__ = ["RECIPES", "FineTuning", "Recipe", "TableRecipe"]


@final
@dataclass(frozen=True, slots=True)
class FineTuning:
    """Training of the whole network on few target images, source images and the transport cost between both.

    Arguments:
        plan: The budget.
        shots: The sample sizes for which it is done.
        weight: Weight of the transport cost of the features.
        epsilon: Its regularisation, as a share of the mean cost.
    """

    plan: Plan
    shots: tuple[int, ...]
    weight: float = 0.1
    epsilon: float = 0.1

    def __post_init__(self) -> None:
        _positive("finetuning", epsilon=self.epsilon)
        if not (self.weight >= 0.0 and math.isfinite(self.weight)):
            raise UnmetHypothesis("finetuning", "weight >= 0 and finite", f"weight = {self.weight}")


@final
@dataclass(frozen=True, slots=True)
class TableRecipe:
    """The comparison on diabetes patients: sample sizes and the number of splits."""

    sizes: tuple[int, ...]
    splits: int

    def __post_init__(self) -> None:
        _increasing("table", "sizes", self.sizes)
        if self.sizes[0] < 5 or self.sizes[-1] > 110 or self.splits < 3:
            got = f"sizes = {self.sizes}, splits = {self.splits}"
            raise UnmetHypothesis("table", "sizes between 5 and 110, and splits >= 3", got)


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """Few-shot comparisons of transfer with direct learning.

    Arguments:
        title: Title of the section.
        shots: Images a class, increasing.
        seeds: One split, one source model and one draw of shots each; at least 3.
        source_training: Budget of the source model.
        shift: What happens to the target images; one comparison each.
        finetuning: Of the whole network; None leaves the backbone frozen throughout.
        table: The comparison on a table; None leaves it out.
        width, features: Channels and features of the backbone.
        pretrained: A model for ``from_pretrained`` (a name on the hub, or a folder) in place of that backbone.
        frozen: Whether the weights of a pretrained backbone stay as they are; its head is trained all the same.
        shrinkage: Of the covariances behind the affine map, in (0, 1).
        wrong_penalty: Penalty towards a source head with its classes shifted by one, > 0.
    """

    title: str
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    source_training: Plan
    shift: tuple[Shift, ...]
    finetuning: FineTuning | None = None
    table: TableRecipe | None = None
    width: int = 16
    features: int = 24
    pretrained: str = ""
    frozen: bool = True
    shrinkage: float = 0.1
    wrong_penalty: float = 1.0

    def __post_init__(self) -> None:
        _increasing("transfer recipe", "shots", self.shots)
        require_seeds("transfer recipe", self.seeds, least=3)
        if not self.shift or len({shift.name for shift in self.shift}) < len(self.shift):
            raise UnmetHypothesis(
                "transfer recipe", "shifts have distinct names, at least one", "names repeat"
            )
        if self.finetuning is not None and not set(self.finetuning.shots) <= set(self.shots):
            got = f"{self.finetuning.shots} of {self.shots}"
            raise UnmetHypothesis("transfer recipe", "finetuning.shots are among the shots", got)
        if not 0.0 < self.shrinkage < 1.0:
            got = f"shrinkage = {self.shrinkage}; features may have no variance"
            raise UnmetHypothesis("transfer recipe", "0 < shrinkage < 1", got)
        _positive(
            "transfer recipe", wrong_penalty=self.wrong_penalty, width=self.width, features=self.features
        )


RECIPES = Recipes("transfer", Recipe, ("shifts",))


def _increasing(subject: str, name: str, values: tuple[int, ...]) -> None:
    if not values or values[0] < 1 or list(values) != sorted(set(values)):
        raise UnmetHypothesis(subject, f"{name} are >= 1 and increasing", f"{name} = {values}")


def _positive(subject: str, **values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise UnmetHypothesis(subject, f"{name} > 0 and finite", f"{name} = {value!r}")
