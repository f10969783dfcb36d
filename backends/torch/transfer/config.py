"""The recipes of ``transfer``: shifted digits and a table of two domains."""

from __future__ import annotations

from typing import Annotated, final

from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.plan import SeededPlan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import DISTINCT, NOT_EMPTY, ProperShare, validated

from .data import Shift

__all__ = ["RECIPES", "FineTuning", "Recipe", "TableRecipe"]


def _increasing(values: tuple[int, ...]) -> tuple[int, ...]:
    if list(values) != sorted(set(values)):
        raise ValueError("increasing numbers")
    return values


INCREASING = AfterValidator(_increasing)


@final
@validated(frozen=True, slots=True)
class FineTuning:
    """Training of the whole network on few target images, source images and the transport cost between both.

    Arguments:
        plan: The budget.
        shots: The sample sizes for which it is done.
        weight: Weight of the transport cost of the features.
        epsilon: Its regularisation, as a share of the mean cost.
    """

    plan: SeededPlan
    shots: tuple[int, ...]
    weight: NonNegativeFloat = 0.1
    epsilon: PositiveFloat = 0.1


@final
@validated(frozen=True, slots=True)
class TableRecipe:
    """The comparison on diabetes patients: sample sizes and the number of splits."""

    sizes: Annotated[tuple[Annotated[int, Field(ge=5, le=110)], ...], NOT_EMPTY, INCREASING]
    splits: Annotated[int, Field(ge=3)]


@final
@validated(frozen=True, slots=True)
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
    shots: Annotated[tuple[PositiveInt, ...], NOT_EMPTY, INCREASING]
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=3), DISTINCT]
    source_training: SeededPlan
    shift: Annotated[tuple[Shift, ...], NOT_EMPTY]
    finetuning: FineTuning | None = None
    table: TableRecipe | None = None
    width: PositiveInt = 16
    features: PositiveInt = 24
    pretrained: str = ""
    frozen: bool = True
    shrinkage: ProperShare = 0.1  # not 0: features may have no variance
    wrong_penalty: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        names = [shift.name for shift in self.shift]
        if len(set(names)) < len(names):
            raise UnmetHypothesis("transfer recipe", "shifts have distinct names", ", ".join(names))
        if self.finetuning is not None and not set(self.finetuning.shots) <= set(self.shots):
            got = f"{self.finetuning.shots} of {self.shots}"
            raise UnmetHypothesis("transfer recipe", "finetuning.shots are among the shots", got)


RECIPES = Recipes("transfer", Recipe, ("shifts",))
