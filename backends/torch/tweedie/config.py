"""A recipe of this paper: which data, which network, which budget, which processes."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Annotated, final

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.plan import Plan, SeededPlan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import DISTINCT, NOT_EMPTY, Seeds, TwoOrMore, validated
from driftproof.backends.torch.score_models.data import DataRecipe
from driftproof.backends.torch.score_models.diffusions import NoiseRange, Objective, ProcessRecipe
from driftproof.backends.torch.score_models.networks import NetworkRecipe

__all__ = [
    "RECIPES",
    "EnergiesRecipe",
    "LawsRecipe",
    "Recipe",
    "SamplingRecipe",
]


@final
@validated(frozen=True, slots=True)
class SamplingRecipe:
    """How samples are drawn and judged.

    Arguments:
        steps: Reverse steps.
        count: Rows drawn.
        replicates: Bootstrap replicates.
        oracle_points: Points in each interval of the exact error; 0 leaves it out.
    """

    steps: PositiveInt = 200
    count: TwoOrMore = 2000
    replicates: TwoOrMore = 100
    oracle_points: NonNegativeInt = 256


@final
@validated(frozen=True, slots=True)
class LawsRecipe:
    """A diffusion of single values with a second-moment head, beside its exact laws.

    Arguments:
        training: The budget.
        network: The backbone.
        objectives: What is regressed; the first one is shown in full, all are compared.
    """

    training: Plan
    network: NetworkRecipe = field(default_factory=lambda: NetworkRecipe(width=64))
    objectives: Annotated[tuple[Objective, ...], NOT_EMPTY, DISTINCT] = ("conditional mean",)


@final
@validated(frozen=True, slots=True)
class EnergiesRecipe:
    """The empirical-Bayes study of image blocks.

    Arguments:
        blocks: Sides of the blocks; the dimension is their square.
        variances: Noise variances, in squared units of the data, > 0.
    """

    blocks: Annotated[tuple[PositiveInt, ...], NOT_EMPTY] = (1, 2, 4)
    variances: Annotated[tuple[PositiveFloat, ...], NOT_EMPTY] = (4.0, 25.0)


@final
@validated(frozen=True, slots=True)
class Recipe:
    """One experiment.

    Arguments:
        name: The stem of the file.
        title: The heading of the report.
        data: What to load.
        training: The budget, the same for every process.
        process: The processes to compare, each once.
        network: The backbone, the same for every process.
        noise: The range of the noise, the same for every process.
        sampling: How to sample and judge.
        seeds: Training seeds; results are averaged over them.
        laws: The one-dimensional study beside exact laws, or none.
        market_fit: Fit CIR to the VIX by its exact transition density.
        energies: The empirical-Bayes study, or none.
    """

    name: str
    title: str
    data: DataRecipe
    training: SeededPlan
    process: Annotated[tuple[ProcessRecipe, ...], NOT_EMPTY]
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    noise: NoiseRange = field(default_factory=NoiseRange)
    sampling: SamplingRecipe = field(default_factory=SamplingRecipe)
    seeds: Seeds = (0,)
    laws: LawsRecipe | None = None
    market_fit: bool = False
    energies: EnergiesRecipe | None = None

    def __post_init__(self) -> None:
        names = [process.name for process in self.process]
        if len(set(names)) < len(names):
            raise UnmetHypothesis("tweedie recipe", "every process is there once", ", ".join(names))

    def plan(self, seed: int) -> Plan:
        """The budget with one of the seeds."""
        return replace(self.training, seed=seed)


RECIPES = Recipes("tweedie", Recipe, ("digits", "prices", "variance"))
