"""A recipe of this paper: which data, which sketches, which network, which budgets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, final

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.loop import Plan
from driftproof.backends.torch.kit.recipe import RecipeError, Recipes, require_seeds, with_name
from driftproof.backends.torch.score_models.diffusions import NoiseRange
from driftproof.backends.torch.score_models.networks import NetworkRecipe

from .data import SketchData

__all__ = ["RECIPES", "BudgetRecipe", "Recipe"]


@final
@dataclass(frozen=True, slots=True)
class BudgetRecipe:
    """How samples are drawn and judged.

    Arguments:
        budgets: Coordinates that the network may be evaluated at for one sample: steps times m.
        count: Rows drawn.
        replicates: Bootstrap replicates.
        factors: Penalties to choose from on training rows, in units of the universal one.
    """

    budgets: tuple[int, ...] = (2000, 8000)
    count: int = 1000
    replicates: int = 60
    factors: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

    def __post_init__(self) -> None:
        if not self.budgets or min(self.budgets) < 1 or self.count < 2 or self.replicates < 2:
            got = f"budgets = {self.budgets}, count = {self.count}, replicates = {self.replicates}"
            raise UnmetHypothesis("sampling", "budgets >= 1, count >= 2, replicates >= 2", got)
        if not self.factors or not min(self.factors) > 0.0:
            raise UnmetHypothesis("sampling", "factors > 0", f"factors = {self.factors}")


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """One study.

    Arguments:
        name: The stem of the file.
        title: The heading of the report.
        data: What to load.
        dimensions: Latent dimensions; the full dimension is always added.
        training: The budget of training, the same for every dimension.
        sketch: ``gaussian``, ``rademacher`` or ``orthogonal``.
        basis: ``none``, ``cosine`` or ``haar``: where the data are sparse.
        low, high: Bounds of the data, only with ``basis = "none"``.
        energies: Shares of a row's energy, each of which defines a sparsity: real data have no one of their own.
        order: The order p of the variance that the sampler adds, for the predicted optimum.
        network: The backbone, the same for every dimension.
        noise: The range of noise that the network sees.
        sampling: Budgets of sampling, and how samples are judged.
        seeds: Seeds of sketch, training and sampling; results are averaged over them.
    """

    name: str
    title: str
    data: SketchData
    dimensions: tuple[int, ...]
    training: Plan
    sketch: Literal["gaussian", "rademacher", "orthogonal"] = "gaussian"
    basis: Literal["none", "cosine", "haar"] = "cosine"
    low: float = -math.inf
    high: float = math.inf
    energies: tuple[float, ...] = (0.9, 0.95, 0.99)
    order: float = 1.0
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    noise: NoiseRange = field(default_factory=NoiseRange)
    sampling: BudgetRecipe = field(default_factory=BudgetRecipe)
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if (
            not self.dimensions
            or min(self.dimensions) < 1
            or len(set(self.dimensions)) < len(self.dimensions)
        ):
            raise UnmetHypothesis(
                "csdm recipe", "distinct dimensions >= 1", f"dimensions = {self.dimensions}"
            )
        require_seeds("csdm recipe", self.seeds)
        if not self.energies or not all(0.0 < energy < 1.0 for energy in self.energies):
            raise UnmetHypothesis("csdm recipe", "0 < energies < 1", f"energies = {self.energies}")
        if self.network.kind != "mlp":
            raise RecipeError("recipe.network.kind: expected mlp, measurements are no images")
        bounded = math.isfinite(self.low) or math.isfinite(self.high)
        if bounded and self.basis != "none":
            raise RecipeError(f"recipe.basis: expected none beside bounds, got {self.basis!r}")

    def plan(self, seed: int) -> Plan:
        """The budget with one of the seeds."""
        return replace(self.training, seed=seed)


RECIPES = Recipes("csdm", Recipe, ("digits", "stress"), with_name)
