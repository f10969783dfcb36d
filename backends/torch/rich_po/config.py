"""The recipes of ``rich_po``: a Gaussian denoiser whose optimum is known, or a pipeline of diffusers on pairs."""

from __future__ import annotations

import warnings
from dataclasses import field
from typing import Annotated, Literal, TypeAlias, final

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import HOW
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import DISTINCT, NOT_EMPTY, Seeds, TwoOrMore, validated
from driftproof.backends.torch.pretrained.config import PipelineModel
from driftproof.backends.torch.rl.rewards import RewardChoice
from driftproof.backends.torch.rl.sampler import Sampling
from driftproof.theory.rich_po import attainable_losses, loser_growth, nats_beta, summed_beta

from .noising import Density

__all__ = ["RECIPES", "GaussianPairs", "Objective", "PairChoice", "ReachWarning", "Recipe"]

Half: TypeAlias = Annotated[float, Field(ge=0, lt=0.5)]
Clip: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Vector: TypeAlias = tuple[float, ...]
Policy: TypeAlias = Literal["random", "best", "edit", "relabelled", "filtered"]


class ReachWarning(UserWarning):
    """A loss asks for a margin that the winner's error cannot give."""


@final
@validated(frozen=True, slots=True)
class Objective:
    """The loss of a pair, see :mod:`driftproof.numerics.rich_po`.

    Arguments:
        beta: As the script has it; IPO's is its tau.
        script: Whose convention that is: a key of :data:`driftproof.theory.rich_po.BETA_CONVENTIONS`.
        loss: ``clamped`` is the loss of steps of D3PO and SPO, whose ratios are averaged over the image: its beta is taken
            as it is.
        sft: Weight of the winner's own log-ratio.
        smoothing: Of the labels of ``dpo``, and the share of flipped labels that ``robust`` corrects for.
        penalty: Of ``dpop``.
        clip: Of ``clamped``.
        errors: Squared errors of the ``noise``, so that one beta serves every prediction, or of what the network predicts.
        shared_time, shared_noise: Whether both images of a pair get the same.
        times: The law of the noise times.
        ties: Pairs that nobody won count ``half`` on either side, or are ``dropped``.
        displacement: The alarm is raised where winners' errors grow by this share of the reference's.
    """

    beta: PositiveFloat
    script: Literal["salesforce", "diffusers-sdxl", "diffusers-sd", "summed"] = "summed"
    loss: Literal["dpo", "ipo", "hinge", "dpop", "sppo", "robust", "clamped"] = "dpo"
    sft: NonNegativeFloat = 0.0
    smoothing: Half = 0.0
    penalty: NonNegativeFloat = 0.0
    clip: Clip = 0.1
    errors: Literal["noise", "prediction"] = "noise"
    shared_time: bool = True
    shared_noise: bool = True
    times: Density = "uniform"
    ties: Literal["half", "dropped"] = "half"
    displacement: PositiveFloat = field(default=0.1, metadata=HOW)

    def __post_init__(self) -> None:
        for name, losses in (("smoothing", ("dpo", "robust")), ("penalty", ("dpop",))):
            if getattr(self, name) and self.loss not in losses:
                hypothesis = f"{name} = 0, for a loss that is not {' or '.join(losses)}"
                raise UnmetHypothesis(
                    "Objective", hypothesis, f"{name} = {getattr(self, name)!r}, {self.loss}"
                )
        if self.loss == "clamped" and (self.sft or self.script != "summed"):
            got = f"sft = {self.sft!r}, script = {self.script!r}"
            raise UnmetHypothesis("Objective", "sft = 0 and no other script's beta, for clamped", got)

    def summed(self, dimension: int) -> float:
        """beta per summed squared error, of images with so many numbers."""
        return self.beta if self.loss == "clamped" else summed_beta(self.beta, dimension, self.script)

    def announced(self, dimension: int, log_snr_range: float) -> list[str]:
        """What is worth knowing before a long run: beta in units that can be compared, what a clamp leaves."""
        if self.loss == "clamped":
            low, high = attainable_losses(self.beta, self.clip)
            return [
                f"the loss cannot leave [{low:.4g}, {high:.4g}]: where it sits at an end, nothing is learnt"
            ]
        beta = self.summed(dimension)
        nats = nats_beta(beta, log_snr_range)
        said = f"beta = {self.beta:g} ({self.script}) is {beta:.4g} per summed squared error of {dimension} numbers"
        return [f"{said}, about {nats:.3g} per nat"]

    def check_reach(self, dimension: int, winner_error: float) -> float:
        """What the loser's summed error has to grow by for the margin of pairs that always win.

        Arguments:
            dimension: Numbers of an image.
            winner_error: Summed squared error of the reference on winners.

        Warns:
            ReachWarning: It is more than the winner can give.
        """
        if self.loss not in ("ipo", "sppo", "hinge"):
            return 0.0
        grown = float(loser_growth(1.0, self.summed(dimension), winner_error, self.loss))
        if grown > 0.0:
            warnings.warn(
                f"{self.loss}: pairs that always win are wanted at a margin that takes all of the winner's error "
                f"({winner_error:.4g}) and {grown:.4g} more of the loser's; a larger beta asks for less",
                ReachWarning,
                stacklevel=2,
            )
        return grown


@final
@validated(frozen=True, slots=True)
class GaussianPairs:
    """Random pairs of N(mean, cov), labelled by the reward w.x, and a denoiser whose mean is trained.

    Arguments:
        mean, cov: Of the data, (d,) and (d, d).
        w: Reward, (d,).
        alphas: Levels of the noise times, in (0, 1), equally likely; sigma is the rest of the variance, or of 1 for a flow.
        prediction: What the denoiser predicts.
        flips: Probability that a label is flipped.
    """

    mean: Vector
    cov: tuple[Vector, ...]
    w: Vector
    alphas: Annotated[Vector, NOT_EMPTY]
    prediction: Literal["epsilon", "v_prediction", "flow_prediction"] = "epsilon"
    flips: Half = 0.0

    def __post_init__(self) -> None:
        d = len(self.mean)
        square = len(self.cov) == d and all(len(row) == d for row in self.cov)
        if not d or not square or len(self.w) != d:
            raise UnmetHypothesis("GaussianPairs", "mean (d,), cov (d, d), w (d,)", repr(self))
        if not all(0.0 < alpha < 1.0 for alpha in self.alphas):
            raise UnmetHypothesis("GaussianPairs", "alphas in (0, 1)", repr(self.alphas))


@final
@validated(frozen=True, slots=True)
class PairChoice:
    """Where the pairs of a pipeline come from.

    Arguments:
        policy: Made by the model itself and labelled by the reward: two draws, the ``best`` and the worst of several, or of
            digits an ``edit`` that wins by decree, is ``relabelled``, or ``filtered``.
        count: How many are made.
        of: Draws of ``best``.
        table: A folder of tables with the columns of pickapic, see
            :mod:`driftproof.backends.torch.preferences.table`; then no pairs are made.
        most: Pairs of the table that are used.
        flips: Probability that a label is flipped.
    """

    policy: Policy = "random"
    count: PositiveInt = 256
    of: TwoOrMore = 4
    table: str = ""
    most: PositiveInt = 100_000
    flips: Half = 0.0


@final
@validated(frozen=True, slots=True)
class Recipe:
    """One training: a Gaussian denoiser, or a pipeline of diffusers.

    Arguments:
        title: Title of the section.
        objective, budget: The loss and the training; a row of a batch is a pair.
        gaussian, pipeline: One of the two models; the pipeline's prompts are those of its evaluation, and of pairs that are made.
        seeds: Of the Gaussian model or of the comparison, one run each.
        pairs: Of a pipeline.
        policies: Ways to make pairs that are compared, with every seed and the count of ``pairs``; then none is trained alone.
        sampling: Of images, made or evaluated.
        reward, second: What is measured on prompts before and after; the first labels pairs that are made.
        held_out: Images of that measurement.
        name: That of its file; its checkpoints are named by it.
    """

    title: str
    objective: Objective
    budget: Plan
    gaussian: GaussianPairs | None = None
    pipeline: PipelineModel | None = None
    seeds: Seeds = (0,)
    pairs: PairChoice = field(default_factory=PairChoice)
    policies: Annotated[tuple[Policy, ...], DISTINCT] = ()
    sampling: Sampling = field(default_factory=lambda: Sampling(steps=20))
    reward: RewardChoice = field(default_factory=lambda: RewardChoice("brightness"))
    second: RewardChoice = field(default_factory=lambda: RewardChoice("jpeg"))
    held_out: TwoOrMore = 64
    name: str = "recipe"

    def __post_init__(self) -> None:
        if (self.gaussian is None) == (self.pipeline is None):
            raise UnmetHypothesis("rich_po recipe", "a table [gaussian] or [pipeline]", "none or both")
        if self.policies and (self.pipeline is None or self.pairs.table):
            got = f"policies = {self.policies!r}, table = {self.pairs.table!r}"
            raise UnmetHypothesis(
                "rich_po recipe", "policies are compared on a pipeline, without a table", got
            )


RECIPES = Recipes("rich_po", Recipe, ("gaussian", "mnist-sd", "mnist-policies", "sd15", "sdxl"))
