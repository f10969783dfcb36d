"""Adjoint matching of a flow on a grid: trained, evaluated, sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor

from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.rl.task import Task
from driftproof.backends.torch.rl.trainer import RolloutTrainer
from driftproof.numerics.adjoint import (
    adjoints,
    matching_loss,
    trajectory_costs,
)

from .config import Matching
from .flows import FlowModel
from .method import AdjointMatching

__all__ = ["COLUMNS", "Evaluation", "FlowTrainer", "Tuned"]

COLUMNS = ("reward", "objective", "loss", "kept", "adjoint")


@final
@dataclass(frozen=True, slots=True)
class Evaluation:
    """Numbers of every trajectory, shape (B,): reward, cost (running cost less reward), matching loss."""

    rewards: Tensor
    costs: Tensor
    losses: Tensor


@final
@dataclass(frozen=True, slots=True)
class Tuned:
    """The result of a training: the log, a row for each step (columns: COLUMNS)."""

    log: Tensor


@final
class FlowTrainer:
    """Tunes a flow for a reward.

    Arguments:
        flow: The model; its trainable weights end as the average that the plan sets.
        task: Shape, conditions, reward.
        times: Decreasing noise times: the grid of rollouts and adjoints.
        matching: Weight, truncation, sub-sampling, damping, mask, guidance.
        plan: Steps, batch, learning rate.
        checkpoint: A file to resume from when it exists, and to save to.
        config: What the checkpoint must have been made with beside these parts: JSON, or dataclasses.
        accelerator: Devices, processes and precision.

    Raises:
        UnmetHypothesis: What the parts refuse.

    Example:
        >>> from driftproof.theory.adjoint import GaussianFlow, uniform_times
        >>> from driftproof.theory.rewards import Linear
        >>> from driftproof.backends.torch.adjoint import AffineFlow, closed_form
        >>> times, one = uniform_times(2), torch.ones(1)
        >>> flow = AffineFlow(GaussianFlow(one, one[None]), times)
        >>> trainer = FlowTrainer(flow, Task((1,), closed_form(Linear(one))), times,
        ...                                  Matching(lam=2.0), Plan(max_steps=1, train_batch_size=4, learning_rate=0.1))
        >>> float(trainer.evaluate(torch.zeros(1, 1), torch.zeros(1, dtype=torch.long)).losses[0])
        0.125
    """

    def __init__(
        self,
        flow: FlowModel,
        task: Task,
        times: Sequence[float],
        matching: Matching,
        plan: Plan,
        *,
        checkpoint: Path | None = None,
        config: Mapping[str, object] | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.flow, self.task = flow, task
        self.checkpoint, self.config = checkpoint, dict(config or {})
        self.method = AdjointMatching(flow, times, matching, plan)
        self.trainer = RolloutTrainer(self.method, self.method.model, None, task, accelerator=accelerator)

    def train(self, title: str = "adjoint matching") -> Tuned:
        """Run the plan, from the checkpoint if there is one; the flow then holds the averaged weights."""
        self.trainer.title = title
        log = self.trainer.train(self.checkpoint, self.config)
        self.average()
        return Tuned(torch.tensor([[row[name] for name in COLUMNS] for row in log.rows]))

    @torch.no_grad()
    def average(self) -> None:
        """Give the flow the averaged weights."""
        for name, weight in self.method.model.named_parameters():
            weight.copy_(self.method.ema.state[name])

    @torch.no_grad()
    def evaluate(self, noise: Tensor, prompts: Tensor) -> Evaluation:
        """Reward, cost and the whole matching loss of trajectories from given noise; no step is left out."""
        method, m, condition = self.method, self.method.matching, self.task.condition(prompts)
        path, full, base = method.path(noise, condition), m.guidance == "full", dict[int, Tensor]()
        with torch.random.fork_rng([]):
            torch.manual_seed(0)  # the copies of a smoothed gradient: the same at every call
            rewards, gradient = self.task.rewards_and_gradients(path.end, prompts)
        after = adjoints(path, gradient, method.vjp(condition, base))
        controls = []
        for k, (x, t) in enumerate(zip(path.states, path.times[:-1], strict=False)):
            v = base[k] if k in base else method.velocity("base", x, t, condition, full)
            tuned = method.velocity("tuned", x, t, condition, full) if k >= method.first else v
            controls.append(tuned - v)
        cost = m.cost.made()
        losses = matching_loss(path, controls, after, m.lam, cost)
        return Evaluation(rewards, trajectory_costs(path, controls, rewards, m.lam, cost), losses)

    def sample(self, noise: Tensor, prompts: Tensor) -> Tensor:
        """Data of the tuned flow from given noise, with the grid and guidance of the training."""
        end: Tensor = self.method.path(noise, self.task.condition(prompts)).end
        return end
