"""A recipe of this paper: which data, which sketches, which network, which budgets."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Annotated, Literal, final

from pydantic import NonNegativeFloat, NonPositiveFloat, PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.plan import Plan, SeededPlan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import DISTINCT, NOT_EMPTY, ProperShare, Seeds, TwoOrMore, validated
from driftproof.backends.torch.score_models.diffusions import NoiseRange
from driftproof.backends.torch.score_models.networks import NetworkRecipe

from .data import SketchData

__all__ = ["RECIPES", "BudgetRecipe", "Recipe"]


@final
@validated(frozen=True, slots=True)
class BudgetRecipe:
    """How samples are drawn and judged.

    Arguments:
        budgets: Coordinates that the network may be evaluated at for one sample: steps times m.
        count: Rows drawn.
        replicates: Bootstrap replicates.
        factors: Penalties to choose from on training rows, in units of the universal one.
    """

    budgets: Annotated[tuple[PositiveInt, ...], NOT_EMPTY] = (2000, 8000)
    count: TwoOrMore = 1000
    replicates: TwoOrMore = 60
    factors: Annotated[tuple[PositiveFloat, ...], NOT_EMPTY] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@final
@validated(frozen=True, slots=True)
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
        low, high: Bounds of the data, low <= 0 <= high, only with ``basis = "none"``; None for none.
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
    dimensions: Annotated[tuple[PositiveInt, ...], NOT_EMPTY, DISTINCT]
    training: SeededPlan
    sketch: Literal["gaussian", "rademacher", "orthogonal"] = "gaussian"
    basis: Literal["none", "cosine", "haar"] = "cosine"
    low: NonPositiveFloat | None = None
    high: NonNegativeFloat | None = None
    energies: Annotated[tuple[ProperShare, ...], NOT_EMPTY] = (0.9, 0.95, 0.99)
    order: float = 1.0
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    noise: NoiseRange = field(default_factory=NoiseRange)
    sampling: BudgetRecipe = field(default_factory=BudgetRecipe)
    seeds: Seeds = (0,)

    def __post_init__(self) -> None:
        if self.network.kind != "mlp":
            got = f"network.kind = {self.network.kind!r}"
            raise UnmetHypothesis("csdm recipe", "network.kind is mlp, for measurements are no images", got)
        if (self.low is not None or self.high is not None) and self.basis != "none":
            raise UnmetHypothesis("csdm recipe", "basis is none beside bounds", f"basis = {self.basis!r}")

    def plan(self, seed: int) -> Plan:
        """The budget with one of the seeds."""
        return replace(self.training, seed=seed)


RECIPES = Recipes("csdm", Recipe, ("digits", "stress"))
