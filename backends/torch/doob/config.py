"""The recipes of ``doob``: a frozen model, an event, trajectories of the one labelled by the other, and what learns h."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal, TypeAlias, final

from pydantic import Field, PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import HOW
from driftproof.backends.torch.kit.plan import SeededPlan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import DISTINCT, NOT_EMPTY, Seeds, validated
from driftproof.backends.torch.rl.sampler import Sampling

__all__ = ["RECIPES", "Event", "GaussianData", "ImageModel", "Loss", "Recipe", "Storage"]

Loss: TypeAlias = Literal["cross entropy", "martingale", "covariation", "denoising"]
Vector: TypeAlias = tuple[float, ...]


@final
@validated(frozen=True, slots=True)
class GaussianData:
    """Data N(mean, cov), noised by VP, and a half-space {normal . x >= level}: the exact h is known.

    Arguments:
        mean, cov: Of the data, (d,) and (d, d).
        normal, level: Of the event.
        decay: The integral of the rate of VP over its time.
        levels: Noise levels of its table.
    """

    mean: Vector
    cov: tuple[Vector, ...]
    normal: Vector
    level: float
    decay: PositiveFloat = 8.0
    levels: PositiveInt = 1000

    def __post_init__(self) -> None:
        d = len(self.mean)
        if not d or {len(self.cov), len(self.normal), *map(len, self.cov)} != {d}:
            got = f"mean of {d}, cov of {len(self.cov)}, normal of {len(self.normal)} numbers"
            raise UnmetHypothesis("GaussianData", "mean (d,), cov (d, d) and normal (d,)", got)


@final
@validated(frozen=True, slots=True)
class ImageModel:
    """A model of the zoo that makes digits, see :func:`..pretrained.models.zoo`.

    Arguments:
        name: ``mnist-sd``, which is told a prompt, or ``mnist-sit``, which is told a class.
        prompt: Of ``mnist-sd``.
        label: Of ``mnist-sit``: a digit, or 10 for none.
        guidance: The weight of classifier-free guidance.
        width: Channels of what is learned.
    """

    name: Literal["mnist-sd", "mnist-sit"]
    prompt: str = ""
    label: Annotated[int, Field(ge=0, le=10)] = 10
    guidance: float = 1.0
    width: PositiveInt = 32


@final
@validated(frozen=True, slots=True)
class Event:
    """An event of images.

    Arguments:
        kind: ``ink``, the mean of the pixels is at least a threshold, or ``digit``, the classifier's first choice.
        threshold: Of ``ink``, in (0, 1).
        digit: Of ``digit``.
    """

    kind: Literal["ink", "digit"]
    threshold: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    digit: Annotated[int, Field(ge=0, le=9)] = 7


@final
@validated(frozen=True, slots=True)
class Storage:
    """The store of unguided trajectories.

    Arguments:
        trajectories: Their number.
        shard: Trajectories of a file; each file is made from its own number, whoever makes it.
        dtype: Of the states on the disk.
        most_gib: The largest size that is made without being asked for again.
    """

    trajectories: PositiveInt
    shard: PositiveInt = 1024
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    most_gib: PositiveFloat = field(default=1.0, metadata=HOW)


@final
@validated(frozen=True, slots=True)
class Recipe:
    """One event of one model, and a guidance for each loss.

    Arguments:
        title: Title of the section.
        losses: What is learned from: labels (``cross entropy``, ``martingale``), increments of an h that the martingale
            loss has found (``covariation``), or accepted data (``denoising``).
        sampling: The grid; eta > 0, for without noise a label is known from the start.
        store: The trajectories.
        plan: The training of each.
        gaussian, image: One of the two models.
        event: Of images.
        seeds: One store and one training of each loss for each.
        evaluation: Draws of the last measurement.
        at_once: States that the frozen model is given at a time.
    """

    title: str
    losses: Annotated[tuple[Loss, ...], NOT_EMPTY, DISTINCT]
    sampling: Sampling
    store: Storage
    plan: SeededPlan
    gaussian: GaussianData | None = None
    image: ImageModel | None = None
    event: Event | None = None
    seeds: Seeds = (0,)
    evaluation: Annotated[int, Field(ge=2)] = field(default=1000, metadata=HOW)
    at_once: PositiveInt = 256

    def __post_init__(self) -> None:
        if (self.gaussian is None) == (self.image is None) or (self.image is None) != (self.event is None):
            raise UnmetHypothesis(
                "doob recipe", "gaussian, or image with event", "both, neither or one alone"
            )
        if not self.sampling.eta > 0.0:
            raise UnmetHypothesis(
                "doob recipe", "eta > 0, for without noise a label is known from the start", "eta = 0"
            )


RECIPES = Recipes("doob", Recipe, ("gaussian", "digits"))
