"""The recipes of ``adjoint``: a Gaussian flow whose optimum is known, or a flow model of diffusers."""

from __future__ import annotations

from dataclasses import field
from typing import Literal, final

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import Decay, Share, TwoOrMore, validated
from driftproof.backends.torch.pretrained.config import PipelineModel
from driftproof.backends.torch.rl.gaussian import GaussianModel
from driftproof.backends.torch.rl.rewards import RewardChoice
from driftproof.theory.adjoint import BallCost, ElasticCost, PowerCost, QuadraticCost, RunningCost

__all__ = ["RECIPES", "Cost", "Matching", "Recipe"]


@final
@validated(frozen=True, slots=True)
class Cost:
    """A running cost by name; ``parameter`` is the exponent, the bound or the price of acting."""

    kind: Literal["quadratic", "power", "ball", "elastic"] = "quadratic"
    parameter: float = 0.0

    def __post_init__(self) -> None:
        self.made()

    def made(self) -> RunningCost:
        """The cost of the theory."""
        match self.kind:
            case "quadratic":
                return QuadraticCost()
            case "power":
                return PowerCost(self.parameter)
            case "ball":
                return BallCost(self.parameter)
            case "elastic":
                return ElasticCost(self.parameter)


@final
@validated(frozen=True, slots=True)
class Matching:
    """How targets are made and which of them a step takes in.

    Arguments:
        lam: Weight of the running cost, > 0: the smaller, the more reward.
        last: Steps at the end whose adjoints are exact; 0 for all.
        mode: What holds before: ``train`` (no control), ``frozen`` (the earliest adjoint again), or
            ``identity`` (no Jacobian at all, and no control before).
        chosen: Steps of the grid in a loss, drawn with importance weights; 0 for all.
        keep: Share of the batch whose losses are smallest, in (0, 1]; the rest is left out.
        damping: Share of the current control in the target, in [0, 1).
        guidance: Where classifier-free guidance acts: ``none``; ``rollout`` only, with adjoints and
            control of the conditional model; or ``full``, where adjoints may grow beyond use.
        cost: The running cost.
    """

    lam: PositiveFloat
    last: NonNegativeInt = 0
    mode: Literal["train", "frozen", "identity"] = "train"
    chosen: NonNegativeInt = 0
    keep: Share = 1.0
    damping: Decay = 0.0
    guidance: Literal["none", "rollout", "full"] = "none"
    cost: Cost = field(default_factory=Cost)

    def require_steps(self, count: int) -> None:
        """Raise if the truncation is longer than the grid."""
        if self.last > count:
            raise UnmetHypothesis(
                "Matching", f"last <= {count}, the steps of the grid", f"last = {self.last}"
            )


@final
@validated(frozen=True, slots=True)
class Recipe:
    """One training: a Gaussian flow, or a flow model of diffusers.

    Arguments:
        title: Title of the section.
        matching, budget: The targets and the training.
        gaussian, pipeline: One of the two models.
        steps: Euler steps of a rollout.
        reward: Of a pipeline.
        held_out: Noises of the measurement before and after.
    """

    title: str
    matching: Matching
    budget: Plan
    gaussian: GaussianModel | None = None
    pipeline: PipelineModel | None = None
    steps: PositiveInt = 10
    reward: RewardChoice = field(default_factory=lambda: RewardChoice("brightness"))
    held_out: TwoOrMore = 64

    def __post_init__(self) -> None:
        if (self.gaussian is None) == (self.pipeline is None):
            raise UnmetHypothesis("adjoint recipe", "a table [gaussian] or [pipeline]", "none or both")


RECIPES = Recipes("adjoint", Recipe, ("gaussian", "sit-xl-2"))
