r"""The protocol of a trainer of rollouts: a method is the few functions in which it differs from others.

=================  ==================================================================================
``rollout``        the trajectories of an epoch, by default from the grid of a sampler
``kinds``          which steps of an epoch are stochastic
``behaviour``      which policy samples: ``current``, or a name in ``policies``
``record``         what is kept of a stochastic step
``signal``         what the rewards say: a number, a label, a gradient for each trajectory or step
``times``          where a loss looks: at the recorded steps, or at the end noised afresh
``loss``           the loss at these places, from any policies
``after_update``   what follows an optimizer step (an old or averaged policy moves)
``after_epoch``    what follows an epoch (a critic learns)
=================  ==================================================================================

The loop around them, :class:`.trainer.RolloutTrainer`, draws, samples, rewards, cuts parts, accumulates, steps,
saves and resumes.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn
from torch.func import functional_call

from driftproof.backends.torch.kit.checkpoint import prefixed
from driftproof.backends.torch.pretrained.denoisers import reference_of
from driftproof.backends.torch.pretrained.guidance import Condition, Predict
from driftproof.numerics.reward_gap import PairedGap

from .budget import RolloutBudget
from .sampler import Kind, Sampler
from .task import Task
from .times import Batch, RecordedSteps, Samples, TimeLaw
from .trajectories import Recorder

if TYPE_CHECKING:
    from .trainer import RolloutTrainer

__all__ = ["AbstractMethod", "Losses", "Objective", "Policies", "Setting"]

SignalT = TypeVar("SignalT")


@final
class Policies:
    """The model under its names: with the weights of today, those of the past, as it was, or another model.

    Arguments:
        denoiser: The model that is trained.
        names: Beside ``current``: ``reference``, the model as it is now, whose adapters are switched off or which
            is copied; any other name keeps a second set of the trained weights, which :meth:`move` follows.
        others: Models that are not trained, a teacher for instance.
        accelerator: Devices and precision.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        names: Sequence[str],
        others: Mapping[str, Predict],
        accelerator: Accelerator,
    ) -> None:
        def prepared(frozen: nn.Module) -> nn.Module:
            return cast("nn.Module", accelerator.prepare_model(frozen, evaluation_mode=True))

        self.accelerator, self.denoiser = accelerator, denoiser
        self.wrapped: Any = denoiser  # replaced when the model is prepared
        self.weights = {name: weight for name, weight in denoiser.named_parameters() if weight.requires_grad}
        self.others = dict(others)
        if "reference" in names:
            self.others["reference"] = reference_of(denoiser, prepared)
        self.copies = {
            name: {key: weight.detach().clone() for key, weight in self.weights.items()}
            for name in names
            if name != "reference"
        }

    def trained(self, x: Tensor, t: Tensor, condition: Condition, guidance: float | None = None) -> Tensor:
        """The model of today with a gradient in its weights."""
        with _guided_by(self.denoiser, guidance):
            return cast("Tensor", self.wrapped(x, t, condition))

    @torch.no_grad()
    def __call__(
        self, name: str, x: Tensor, t: Tensor, condition: Condition, guidance: float | None = None
    ) -> Tensor:
        """A policy by its name, without gradients; ``guidance`` in place of the model's own."""
        with _guided_by(self.denoiser, guidance):
            if name in self.others:
                return self.others[name](x, t, condition)
            if name == "current":
                return cast("Tensor", self.denoiser(x, t, condition))
            with self.accelerator.autocast():
                return cast("Tensor", functional_call(self.denoiser, self.copies[name], (x, t, condition)))

    def predict(self, name: str, guidance: float | None = None) -> Predict:
        """A policy as a function."""
        return lambda x, t, condition: self(name, x, t, condition, guidance)

    @torch.no_grad()
    def move(self, name: str, keep: float = 0.0) -> None:
        """Bring a copy nearer to the model of today: it keeps this share of itself."""
        for key, weight in self.weights.items():
            self.copies[name][key].lerp_(weight.detach(), 1.0 - keep)

    def tensors(self) -> dict[str, Tensor]:
        """The copies, for a checkpoint."""
        return {
            key: value for name, copy in self.copies.items() for key, value in prefixed(name, copy).items()
        }


@final
@dataclass(frozen=True)
class Setting:
    """The setting that a trainer gives to its method."""

    policies: Policies
    sampler: Sampler
    task: Task
    accelerator: Accelerator
    title: str


@final
@dataclass(frozen=True)
class Losses:
    """The result of a loss: a number for each place, (n,), and numbers to log, each (n,)."""

    each: Tensor
    seen: Mapping[str, Tensor] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Objective(Generic[SignalT]):
    """A loss beside that of the policy, with weights, an optimizer and a cadence of its own.

    Arguments:
        name: For the log.
        weights: The weights that it trains.
        optimizer: The optimizer of these weights.
        loss: A loss with the arguments of the method's own.
        every: Updates from one of its steps to the next.
    """

    name: str
    weights: tuple[nn.Parameter, ...]
    optimizer: torch.optim.Optimizer
    loss: Callable[[Batch, Samples, SignalT], Losses]
    every: int = 1


class AbstractMethod(ABC, Generic[SignalT]):
    """A method; only ``signal`` and ``loss`` have no default.

    Arguments:
        budget: The numbers of its epochs.
    """

    policies: tuple[str, ...] = ()
    behaviour: str = "current"
    guidance: float | None = None  # of rollouts; None for the model's own
    keep_states: bool = True
    times: TimeLaw = RecordedSteps()
    reduction: Literal["mean", "sum"] = "mean"  # over the places of a trajectory
    together: int = 1  # rows side by side that no part and no batch separates
    setting: Setting

    def __init__(self, budget: RolloutBudget) -> None:
        self.budget = budget

    # -- what a method decides ----------------------------------------------------------------------------

    @abstractmethod
    def signal(self, samples: Samples) -> SignalT:
        """The training signal that the rewards give to the trajectories of this process."""

    @abstractmethod
    def loss(self, batch: Batch, samples: Samples, signal: SignalT) -> Losses:
        """The losses at some places."""

    def rollout(self, trainer: RolloutTrainer[SignalT], epoch: int, generator: torch.Generator) -> Samples:
        """The trajectories of an epoch with their rewards; by default those of the trainer's sampler."""
        prompts = trainer.task.draw_prompts(generator, self.budget.prompts, self.budget.num_generations)
        return trainer.samples(epoch, generator, prompts)

    def kinds(self, epoch: int) -> tuple[Kind, ...]:
        """The tag of every step of an epoch; by default all are stochastic that have noise."""
        return self.setting.sampler.kinds(range(self.setting.sampler.n_steps), self.name)

    def record(self, condition: Condition, prompts: Tensor) -> Sequence[Recorder]:
        """The record of every stochastic step."""
        return ()

    def learns(self, epoch: int) -> bool:
        """Whether the model is updated in this epoch."""
        return True

    def numbers(self, samples: Samples) -> dict[str, float]:
        """Numbers of a rollout for the log."""
        rewards = samples.rewards
        return {"reward": float(rewards.mean())}

    def shown(self, numbers: Mapping[str, float]) -> float:
        """The number of an epoch in the progress bar: less is better."""
        return -numbers["reward"]

    def after_update(self) -> None:
        """Called after every optimizer step."""

    def after_epoch(self, epoch: int, samples: Samples, signal: SignalT) -> dict[str, float]:
        """Called after an epoch; gives numbers for the log."""
        return {}

    measure_every: int = 0  # epochs between two measurements; 0 measures before and after only

    def measure(self, trainer: RolloutTrainer[SignalT]) -> PairedGap | None:
        """Measurements before, while and after training, by the trainer of this method; by default none."""
        return None

    def objectives(self) -> Sequence[Objective[SignalT]]:
        """Losses beside that of the policy."""
        return ()

    # -- how it is resumed, identified and saved ----------------------------------------------------------

    def optimizer(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of the policy."""
        budget = self.budget
        return torch.optim.AdamW(weights, lr=budget.learning_rate, weight_decay=budget.weight_decay)

    def begin(self, setting: Setting) -> None:
        """Taken up by a trainer."""
        self.setting = setting

    def check(self) -> None:
        """Raise where a hypothesis of the method fails."""

    @property
    def schedule(self) -> Callable[[int, int], float] | None:
        """The learning rate of an epoch of a run of some length; None where it is constant."""
        return None

    @property
    def name(self) -> str:
        """For messages and for the identity of a run."""
        return type(self).__name__

    def made_with(self) -> dict[str, object]:
        """Its numbers, as they were given: what a refused resumption names."""
        return {"budget": self.budget}

    def description(self) -> dict[str, object]:
        """The settings of the method beside its budget: JSON, or dataclasses."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save beside weights and optimizers, which a resumption fills in place."""
        return {}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Optimizers of its own."""
        return {objective.name: objective.optimizer for objective in self.objectives()}


@contextlib.contextmanager
def _guided_by(denoiser: Any, guidance: float | None) -> Iterator[None]:
    """The model with another weight of guidance inside."""
    if guidance is None:
        yield
        return
    own = denoiser.guidance
    denoiser.guidance = guidance
    try:
        yield
    finally:
        denoiser.guidance = own
