"""The recipes of ``reward_gap``: a model, a sampler, a reward, and one of two ways to train."""

from __future__ import annotations

from dataclasses import field
from typing import Literal, final

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import HOW
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import ProperShare, Seeds, Share, TwoOrMore, validated
from driftproof.backends.torch.pretrained.config import PipelineModel
from driftproof.backends.torch.rl.budget import RolloutBudget, require_one_model
from driftproof.backends.torch.rl.rewards import RewardChoice
from driftproof.backends.torch.rl.sampler import Sampling
from driftproof.numerics.reward_gap import Window

__all__ = ["RECIPES", "Budget", "Recipe", "ScalarModel"]


@final
@validated(frozen=True, slots=True)
class Budget(RolloutBudget):
    """What a policy gradient runs with.

    Arguments: those of :class:`.rl.budget.RolloutBudget`, and
        clip_range: The clip range of the ratio, in (0, 1).
        ratio: ``mean``: log-ratios are divided by the number of coordinates before they are clipped, as in
            ddpo-pytorch and flow_grpo, to whose clip ranges (1e-4) this belongs; ``sum``: they are those of the
            densities, for clip ranges as PPO has them (0.2): single precision rounds a log-density over 16384
            coordinates by about 1e-3.  The gradient at the old policy is the same.
        advantage_clip: Largest absolute advantage; 0 clips nothing.
        scale_rewards: Divide advantages by their standard deviation.
        beta: Coefficient of the KL divergence from the model as it was, >= 0, in units of the advantages.
        kl: ``loss``: the gradient of the divergence of each step, at the states that were visited; ``path``:
            the gradient of the divergence of the paths, which also counts how a step changes later states.
        decay, min_count: Of DDPO: weight that past rewards keep (1 keeps all), and the rewards of a prompt before
            its own statistics are used.
        baseline: Of MixGRPO: ``others`` or ``group``.
        evaluate_every: Epochs between two measurements of the reward gap; 0 measures before and after only.
        pairs: Seeds of a measurement, >= 2; 0 measures nothing.
        level: Coverage of its interval.
    """

    clip_range: ProperShare = 1e-4
    ratio: Literal["sum", "mean"] = "mean"
    advantage_clip: NonNegativeFloat = 5.0
    scale_rewards: bool = True
    beta: NonNegativeFloat = 0.0
    kl: Literal["loss", "path"] = "loss"
    decay: Share = 1.0
    min_count: TwoOrMore = 16
    baseline: Literal["others", "group"] = "others"
    evaluate_every: NonNegativeInt = field(default=0, metadata=HOW)
    pairs: NonNegativeInt = field(default=64, metadata=HOW)
    level: ProperShare = field(default=0.95, metadata=HOW)

    def __post_init__(self) -> None:
        if self.pairs == 1:
            raise UnmetHypothesis("Budget", "pairs >= 2, or 0", "pairs = 1")


@final
@validated(frozen=True, slots=True)
class ScalarModel:
    """The closed form: a score with mean theta and scale kappa on data N(0, variance), under VP.

    Arguments:
        variance: Of the data, > 0.
        decay: The integral of the rate of VP over its time.
        target: The reward is -(x - target)^2.
        levels: Noise levels of the table.
        tail: The last part of the epochs, whose mean parameters are reported, in (0, 1].
    """

    variance: PositiveFloat = 0.49
    decay: PositiveFloat = 6.0
    target: float = 1.0
    levels: PositiveInt = 1000
    tail: Share = field(default=0.5, metadata=HOW)


@final
@validated(frozen=True, slots=True)
class Recipe:
    """One training.

    Arguments:
        title: Title of the section.
        method: ``ddpo`` (advantages from running statistics of each prompt, every step stochastic) or
            ``mixgrpo`` (advantages within groups, a window of stochastic steps).
        sampling, budget: The sampler and the policy gradient.
        gaussian, pipeline: One of the two models.
        window: Of ``mixgrpo``; the full one is Flow-GRPO.
        reward: Of a pipeline.
        seeds: Of the Gaussian model: runs, whose spread gives the interval; a pipeline has ``budget.seed``.
    """

    title: str
    method: Literal["ddpo", "mixgrpo"]
    sampling: Sampling
    budget: Budget
    gaussian: ScalarModel | None = None
    pipeline: PipelineModel | None = None
    window: Window = field(default_factory=Window)
    reward: RewardChoice = field(default_factory=RewardChoice)
    seeds: Seeds = (0,)

    def __post_init__(self) -> None:
        require_one_model("reward_gap recipe", self.gaussian, self.pipeline, self.seeds, self.budget)
        if not self.budget.pairs:
            raise UnmetHypothesis("reward_gap recipe", "pairs >= 2, as its report shows the gap", "pairs = 0")


RECIPES = Recipes("reward_gap", Recipe, ("gaussian", "ddpo-sd15"))
