"""The recipes of ``adjoint``: a Gaussian flow whose optimum is known, or a flow model of diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from ...._namespace import UnmetHypothesis
from ....theory.adjoint import BallCost, ElasticCost, PowerCost, QuadraticCost, RunningCost
from ....theory.adjoint.truncation import MODES
from ..kit.identity import HOW
from ..ranges import require_each
from ..recipe import build, read
from ..training import Plan

__all__ = [
    "Cost",
    "GaussianModel",
    "Matching",
    "PublishedModel",
    "Recipe",
    "RewardChoice",
    "load_recipe",
    "packaged",
]


@final
@dataclass(frozen=True, slots=True)
class Cost:
    """A running cost by name; ``parameter`` is the exponent, the bound or the price of acting."""

    kind: Literal["quadratic", "power", "ball", "elastic"] = "quadratic"
    parameter: float = 0.0

    def __post_init__(self) -> None:
        self.made()

    def made(self) -> RunningCost:
        """The cost of the theory."""
        if self.kind == "quadratic":
            return QuadraticCost()
        kinds: dict[str, Any] = {"power": PowerCost, "ball": BallCost, "elastic": ElasticCost}
        if self.kind not in kinds:
            known = "kind is one of quadratic, power, ball, elastic"
            raise UnmetHypothesis("Cost", known, f"kind = {self.kind!r}")
        made: RunningCost = kinds[self.kind](self.parameter)
        return made


@final
@dataclass(frozen=True, slots=True)
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

    lam: float
    last: int = 0
    mode: Literal["train", "frozen", "identity"] = "train"
    chosen: int = 0
    keep: float = 1.0
    damping: float = 0.0
    guidance: Literal["none", "rollout", "full"] = "none"
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        require_each(
            "Matching",
            self,
            ("lam > 0", 0.0 < self.lam < float("inf")),
            ("mode is train, frozen or identity", self.mode in MODES),
            ("guidance is none, rollout or full", self.guidance in ("none", "rollout", "full")),
            ("last >= 0", self.last >= 0),
            ("chosen >= 0", self.chosen >= 0),
            ("keep in (0, 1]", 0.0 < self.keep <= 1.0),
            ("damping in [0, 1)", 0.0 <= self.damping < 1.0),
        )

    def require_steps(self, count: int) -> None:
        """Raise if the truncation is longer than the grid."""
        if self.last > count:
            raise UnmetHypothesis(
                "Matching", f"last <= {count}, the steps of the grid", f"last = {self.last}"
            )


@final
@dataclass(frozen=True, slots=True)
class GaussianModel:
    """A Gaussian flow in the plane (or any dimension) with a quadratic reward.

    Arguments:
        mean, cov: The data; cov row by row.
        slope, curvature: c and the rows of Q.
        steps: Euler steps.
    """

    mean: tuple[float, ...]
    cov: tuple[float, ...]
    slope: tuple[float, ...]
    curvature: tuple[float, ...]
    steps: int = 10

    def __post_init__(self) -> None:
        d = len(self.mean)
        if not (len(self.slope) == d and len(self.cov) == len(self.curvature) == d * d and self.steps >= 1):
            hypothesis = "mean and slope (d,), cov and curvature (d d,), steps >= 1"
            raise UnmetHypothesis("GaussianModel", hypothesis, repr(self))


@final
@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A flow model of diffusers, or one of its small configurations with random weights.

    Arguments:
        kind: ``sit``, ``flux2`` or ``sd3``.
        name: For ``from_pretrained``; for SiT the file of its weights.  Empty: small and random.
        vae: Of a SiT, for ``from_pretrained``.
        dtype: Of network and decoder.
        guidance: Weight of classifier-free guidance, where it is used.
        side: Pixels of an image.
        steps: Euler steps of a rollout.
        rank, targets: Of the adapter.
        labels: Classes of a SiT.
        prompts, prompt_file: Prompts of the others.
        checkpointing: Recompute activations in backward passes.
        at_once: Rows that the network is given at a time; 0 for all.
    """

    kind: Literal["sit", "flux2", "sd3"]
    name: str = ""
    vae: str = ""
    dtype: Literal["float32", "bfloat16"] = "float32"
    guidance: float = 1.0
    side: int = 16
    steps: int = 10
    rank: int = 4
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v")
    labels: tuple[int, ...] = (0, 1)
    prompts: tuple[str, ...] = ("cat", "dog")
    prompt_file: str = field(default="", metadata=HOW)  # the prompts themselves are known by their digest
    checkpointing: bool = field(default=False, metadata=HOW)
    at_once: int = field(default=0, metadata=HOW)

    def __post_init__(self) -> None:
        if self.at_once < 0:
            raise UnmetHypothesis("model", "at_once >= 0", f"at_once = {self.at_once!r}")
        if self.steps < 1 or self.rank < 1 or not self.targets or self.side < 1:
            raise UnmetHypothesis("model", "steps, rank and side >= 1, and some target", repr(self)[:120])


@final
@dataclass(frozen=True, slots=True)
class RewardChoice:
    """A reward with a gradient: ``brightness`` needs no weights, ``clip`` and ``aesthetic`` need models.

    Arguments:
        scale: What it is multiplied with.
        model: A CLIP model for ``from_pretrained``.
        head: File of the aesthetic head.
        smoothing, noise, bound: See :class:`.task.Task`.
    """

    kind: Literal["brightness", "clip", "aesthetic"] = "brightness"
    scale: float = 1.0
    model: str = "openai/clip-vit-large-patch14"
    head: str = ""
    smoothing: int = 1
    noise: float = 0.02
    bound: float = 1e30


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """One training: a Gaussian model or a published one."""

    title: str
    matching: Matching
    budget: Plan
    gaussian: GaussianModel | None = None
    model: PublishedModel | None = None
    reward: RewardChoice = field(default_factory=RewardChoice)
    held_out: int = 64

    def __post_init__(self) -> None:
        if (self.gaussian is None) == (self.model is None):
            raise UnmetHypothesis("adjoint recipe", "a table [gaussian] or [model]", "none or both")
        if self.held_out < 2:
            raise UnmetHypothesis("adjoint recipe", "held_out >= 2", f"held_out = {self.held_out}")


def packaged() -> list[Path]:
    """The recipes of ``--smoke`` without ``--config``: they need no download."""
    folder = Path(__file__).parent.parent / "recipes" / "adjoint"
    return [folder / "gaussian.toml", folder / "flux2-klein-4b.toml"]


def load_recipe(path: Path, smoke: bool) -> tuple[Recipe, Mapping[str, Any]]:
    """The recipe of a file, and its tables as they were read."""
    tables = read(path, smoke)
    return build(Recipe, tables), tables
