"""A recipe of this paper: which model, what is measured of it, and beside what its grids are judged."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal, final

from pydantic import Field, PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import DISTINCT, NOT_EMPTY, Seeds, TwoOrMore, validated

__all__ = ["RECIPES", "GaussianData", "Measuring", "Recipe"]


@final
@validated(frozen=True, slots=True)
class GaussianData:
    """Data :math:`N(0, s^2)` in the place of a network.

    Arguments:
        scale: s.
        kind: ``flow``, or ``ratio`` for the table of Stable Diffusion.
        width: Coordinates.
    """

    scale: PositiveFloat
    kind: Literal["flow", "ratio"] = "flow"
    width: PositiveInt = 64


@final
@validated(frozen=True, slots=True)
class Measuring:
    """How the stiffness of a network is measured.

    Arguments:
        count: Paths.
        fine: Fine levels.
        jvp: By Jacobian-vector products in the place of differences.
    """

    count: TwoOrMore = 64
    fine: Annotated[int, Field(ge=4)] = 24
    jvp: bool = False


@final
@validated(frozen=True, slots=True)
class Recipe:
    """One study.

    Arguments:
        name: The stem of the file.
        title: The heading of the report.
        model: ``zoo:NAME`` or the folder of a saved pipeline; empty for Gaussian data.
        gaussian: These.
        guidance: The weight of classifier-free guidance.
        prompts: What the model is asked for in turn; those of :func:`.frozen.load` unless given.
        steps: Numbers of steps.
        solvers: ``euler`` (DDIM, of a flow Euler) and ``heun``.
        measuring: Of the stiffness.
        reference: Steps of the reference, by Heun's method.
        count: States, a seed.
        seeds: Of noise and of the measurement.
        features: Whether images are compared in the features of ``mnist-classifier``.
    """

    name: str
    title: str
    steps: Annotated[tuple[PositiveInt, ...], NOT_EMPTY, DISTINCT]
    model: str = ""
    gaussian: GaussianData | None = None
    guidance: PositiveFloat = 1.0
    prompts: tuple[str, ...] = ()
    solvers: Annotated[tuple[Literal["euler", "heun"], ...], NOT_EMPTY, DISTINCT] = ("euler",)
    measuring: Measuring = field(default_factory=Measuring)
    reference: Annotated[int, Field(ge=8)] = 64
    count: TwoOrMore = 200
    seeds: Seeds = (0,)
    features: bool = False

    def __post_init__(self) -> None:
        if bool(self.model) == (self.gaussian is not None):
            got = f"model = {self.model!r}, gaussian = {self.gaussian!r}"
            raise UnmetHypothesis("art recipe", "a model or gaussian data", got)
        if self.features and not self.model.startswith("zoo:mnist"):
            got = f"model = {self.model!r}"
            raise UnmetHypothesis(
                "art recipe", "the model is one of the zoo that draws digits, where features are wanted", got
            )


RECIPES = Recipes("art", Recipe, ("gaussian", "mnist-sit", "mnist-sd"))
