"""A recipe of this paper: which data, which network, which budget, which processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, final

from ...._namespace import UnmetHypothesis
from ..recipe import RecipeError, build, read
from ..training import Plan
from .data import DataRecipe
from .diffusions import DiffusionRecipe, Objective
from .networks import NetworkRecipe

__all__ = [
    "EnergiesRecipe",
    "LawsRecipe",
    "NoiseRange",
    "Recipe",
    "SamplingRecipe",
    "load_recipe",
    "packaged",
]


@final
@dataclass(frozen=True, slots=True)
class NoiseRange:
    """Where sampling stops and starts, as noise-to-signal ratios."""

    low: float = 0.02
    high: float = 10.0


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


def packaged() -> list[Path]:
    """The recipes that come with the package, in order of name."""
    folder = Path(str(files("driftproof.backends.torch.recipes.tweedie")))
    return sorted(folder.glob("*.toml"))


def load_recipe(path: Path, smoke: bool) -> tuple[Recipe, dict[str, Any]]:
    """A recipe and the tables that it was read from.

    Raises:
        RecipeError: A missing or unknown key, an unknown process or data set, a wrong type.
        UnmetHypothesis: A number outside of its range.
    """
    tables = read(path, smoke)
    rest = dict(tables)
    listed = rest.pop("process", None)
    if not isinstance(listed, list) or not listed:
        raise RecipeError(f"{path.name}: expected at least one [[process]]")
    if "seed" in rest.get("training", {}):
        raise RecipeError(f"{path.name}: training.seed is set by seeds = [...]")
    noise = rest.get("noise", {})
    base = build(NoiseRange, noise, f"{path.name}: noise")
    processes = tuple(
        DiffusionRecipe.read(
            {"low": base.low, "high": base.high, **_table(entry)}, f"{path.name}: process[{i}]"
        )
        for i, entry in enumerate(listed)
    )
    if len({process.name for process in processes}) < len(processes):
        raise RecipeError(f"{path.name}: a process is named twice")
    recipe = build(Recipe, {"name": path.stem, **rest, "processes": processes}, path.name)
    return recipe, tables


def _table(entry: object) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise RecipeError(f"[[process]]: expected a table, got {entry!r}")
    return entry
