"""A recipe of this paper: which data, which network, which budget, which processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.loop import Plan
from driftproof.backends.torch.kit.recipe import RecipeError, Recipes, build, with_name
from driftproof.backends.torch.score_models.data import DataRecipe
from driftproof.backends.torch.score_models.diffusions import DiffusionRecipe, NoiseRange, Objective
from driftproof.backends.torch.score_models.networks import NetworkRecipe

__all__ = [
    "RECIPES",
    "EnergiesRecipe",
    "LawsRecipe",
    "Recipe",
    "SamplingRecipe",
]


@final
@dataclass(frozen=True, slots=True)
class SamplingRecipe:
    """How samples are drawn and judged.

    Arguments:
        steps: Reverse steps.
        count: Rows drawn.
        replicates: Bootstrap replicates.
        oracle_points: Points in each interval of the exact error; 0 leaves it out.
    """

    steps: int = 200
    count: int = 2000
    replicates: int = 100
    oracle_points: int = 256

    def __post_init__(self) -> None:
        if self.steps < 1 or self.count < 2 or self.replicates < 2 or self.oracle_points < 0:
            got = f"steps = {self.steps}, count = {self.count}, replicates = {self.replicates}"
            raise UnmetHypothesis("sampling", "steps >= 1, count >= 2, replicates >= 2", got)


@final
@dataclass(frozen=True, slots=True)
class LawsRecipe:
    """A diffusion of single values with a second-moment head, beside its exact laws.

    Arguments:
        training: The budget.
        network: The backbone.
        objectives: What is regressed; the first one is shown in full, all are compared.
    """

    training: Plan
    network: NetworkRecipe = field(default_factory=lambda: NetworkRecipe(width=64))
    objectives: tuple[Objective, ...] = ("conditional mean",)

    def __post_init__(self) -> None:
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise UnmetHypothesis("laws", "distinct objectives", f"objectives = {self.objectives}")


@final
@dataclass(frozen=True, slots=True)
class EnergiesRecipe:
    """The empirical-Bayes study of image blocks.

    Arguments:
        blocks: Sides of the blocks; the dimension is their square.
        variances: Noise variances, in squared units of the data, > 0.
    """

    blocks: tuple[int, ...] = (1, 2, 4)
    variances: tuple[float, ...] = (4.0, 25.0)

    def __post_init__(self) -> None:
        if not self.blocks or not self.variances or min(self.blocks) < 1 or not min(self.variances) > 0.0:
            got = f"blocks = {self.blocks}, variances = {self.variances}"
            raise UnmetHypothesis("energies", "blocks >= 1 and variances > 0", got)


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """One experiment.

    Arguments:
        name: The stem of the file.
        title: The heading of the report.
        data: What to load.
        training: The budget, the same for every process.
        processes: The processes to compare.
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
    training: Plan
    processes: tuple[DiffusionRecipe, ...]
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    noise: NoiseRange = field(default_factory=NoiseRange)
    sampling: SamplingRecipe = field(default_factory=SamplingRecipe)
    seeds: tuple[int, ...] = (0,)
    laws: LawsRecipe | None = None
    market_fit: bool = False
    energies: EnergiesRecipe | None = None

    def plan(self, seed: int) -> Plan:
        """The budget with one of the seeds."""
        return replace(self.training, seed=seed)


def _convert(path: Path, tables: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the list ``process``, each with the range of the noise unless it has its own, as dataclasses."""
    rest = with_name(path, tables)
    listed = rest.pop("process", None)
    if not isinstance(listed, list) or not listed:
        raise RecipeError(f"{path.name}: expected at least one [[process]]")
    base = build(NoiseRange, rest.get("noise", {}), f"{path.name}: noise")
    processes = tuple(
        DiffusionRecipe.read(
            {"low": base.low, "high": base.high, **_table(entry)}, f"{path.name}: process[{i}]"
        )
        for i, entry in enumerate(listed)
    )
    if len({process.name for process in processes}) < len(processes):
        raise RecipeError(f"{path.name}: a process is named twice")
    return {**rest, "processes": processes}


def _table(entry: object) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise RecipeError(f"[[process]]: expected a table, got {entry!r}")
    return entry


RECIPES = Recipes("tweedie", Recipe, ("digits", "prices", "variance"), _convert)
