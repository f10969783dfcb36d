"""The recipes of ``score_as_action``: a model, a sampler, an actor, a critic."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Annotated, Literal, TypeAlias, final

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import HOW
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import (
    NOT_EMPTY,
    Decay,
    ProperShare,
    Seeds,
    Share,
    TwoOrMore,
    validated,
)
from driftproof.backends.torch.pretrained.config import PipelineModel
from driftproof.backends.torch.rl.budget import RolloutBudget, require_one_model
from driftproof.backends.torch.rl.gaussian import GaussianModel
from driftproof.backends.torch.rl.rewards import RewardChoice
from driftproof.backends.torch.rl.sampler import Sampling

__all__ = ["RECIPES", "Actor", "Budget", "CriticChoice", "Recipe"]

Actor: TypeAlias = Literal["pathwise", "advantage", "ppo"]


@final
@validated(frozen=True, slots=True)
class Budget(RolloutBudget):
    """What an actor and its critic run with; more than one pass wants ``ppo``.

    Arguments: those of :class:`.rl.budget.RolloutBudget`, and
        lr_scheduler_type: Of the learning rate: ``constant``, or ``cosine`` down to 0 over the epochs.
        beta: Strength of the KL penalty, > 0, in units of the rewards that the actor sees.
        critic_warmup: Epochs at the start in which the critic learns alone.
        clip_range: Of ``ppo``: the range of the ratio, in (0, 1), for log-probabilities summed over coordinates.
        standardise: Divide the actor's loss by the spread of the advantages of the rollout: one number for all
            steps, so that the balance of steps and of the penalty stays what it is.
        normalise: ``prompt``: rewards less the running mean of their prompt, over its deviation.
        decay, min_count: Of these statistics: weight that past rewards keep, and the rewards of a prompt before
            its own are used.
    """

    lr_scheduler_type: Literal["constant", "cosine"] = "constant"
    beta: PositiveFloat = 1e-2
    critic_warmup: NonNegativeInt = 0
    clip_range: ProperShare = 0.2
    standardise: bool = False
    normalise: Literal["none", "prompt"] = "none"
    decay: Share = 1.0
    min_count: TwoOrMore = 16

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch."""
        if self.lr_scheduler_type == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * epoch / self.epochs))


@final
@validated(frozen=True, slots=True)
class CriticChoice:
    """The value function.

    Arguments:
        kind: ``quadratic`` (least squares, for the Gaussian model) or ``network``.
        loss: ``martingale`` (least squares to the return) or ``ctd`` (CTD(0)).
        skip: What multiplies the reward of the denoised state: ``none``, ``constant`` (1), ``learnable`` (a
            number for each step, from 1), or ``cos``, as published, with sin on the network.
        memory: Of ``quadratic``: the weight that past rollouts keep, in [0, 1).
        width, learning_rate, steps, batch: Of ``network``: channels, Adam's rate, updates of an epoch, and
            states of an update.
    """

    kind: Literal["quadratic", "network"] = "network"
    loss: Literal["martingale", "ctd"] = "martingale"
    skip: Literal["none", "constant", "learnable", "cos"] = "constant"
    memory: Decay = 0.9
    width: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-3
    steps: PositiveInt = 10
    batch: PositiveInt = 256

    def __post_init__(self) -> None:
        if self.kind == "quadratic" and (self.loss != "martingale" or self.skip != "none"):
            got = f"loss = {self.loss!r}, skip = {self.skip!r}"
            raise UnmetHypothesis("critic", "martingale loss and no skip, for quadratic", got)


@final
@validated(frozen=True, slots=True)
class Recipe:
    """One training, or one for each actor and seed.

    Arguments:
        title: Title of the section.
        actors: ``pathwise`` (CT-PG), ``advantage`` (TD-PG), ``ppo`` (CT-PPO).
        sampling, budget, critic: The sampler, the actor's and the critic's numbers.
        gaussian, pipeline: One of the two models.
        reward: Of a pipeline.
        seeds: Of the Gaussian model: runs, whose spread gives the interval; a pipeline has ``budget.seed``.
        evaluation: Of the Gaussian model: trajectories of the last measurement, >= 2.
        held_out: Of a pipeline: starts of the measurement before and after, >= 2.
    """

    title: str
    actors: Annotated[tuple[Actor, ...], NOT_EMPTY]
    sampling: Sampling
    budget: Budget
    critic: CriticChoice = field(default_factory=CriticChoice)
    gaussian: GaussianModel | None = None
    pipeline: PipelineModel | None = None
    reward: RewardChoice = field(default_factory=RewardChoice)
    seeds: Seeds = (0,)
    evaluation: TwoOrMore = field(default=20000, metadata=HOW)
    held_out: TwoOrMore = field(default=64, metadata=HOW)

    def __post_init__(self) -> None:
        require_one_model("score_as_action recipe", self.gaussian, self.pipeline, self.seeds, self.budget)


RECIPES = Recipes("score_as_action", Recipe, ("gaussian", "sd15"))
