"""A training with one optimizer under a plan: what its step and its run share, whatever is trained on what."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import nn

from driftproof._namespace import UnmetHypothesis

from .distributed import clipped_step, local_rows, require_unsharded
from .identity import identity_of
from .loop import Work, run_steps
from .moved import Moved
from .plan import Plan
from .run import Run

__all__ = ["Planned"]

WATCH_EVERY = 50  # steps between two looks at whether updates round to nothing


class Planned(Work):
    """Base of such trainings: a subclass says what a checkpoint keeps, keeps its record, and does its steps.

    Arguments:
        subject: Its name in errors.
        model: What is prepared; its other weights stay as they are.
        weights: Those that are trained.
        plan: The budget.
        accelerator: Devices, processes and precision; by default what ``accelerate launch`` set.
        title: The label of the progress bar.
        fused: Of Adam.
        instead: What takes the place of accumulated gradients.

    Raises:
        UnmetHypothesis: No weights to train, a batch that cannot be dealt evenly to the processes, or an accelerator
            that shards the weights or accumulates gradients.
    """

    def __init__(
        self,
        subject: str,
        model: nn.Module,
        weights: Iterable[nn.Parameter],
        plan: Plan,
        accelerator: Accelerator | None,
        title: str,
        *,
        fused: bool | None = None,
        instead: str = "a step takes its whole batch",
    ) -> None:
        self.plan, self.title, self.trained = plan, title, list(weights)
        self.accelerator = accelerator or Accelerator()
        require_unsharded(subject, self.accelerator, instead)
        world = self.accelerator.num_processes
        if plan.train_batch_size % world:
            got = f"{plan.train_batch_size} rows, {world} processes"
            raise UnmetHypothesis(subject, "processes divide the batch", got)
        if not any(weight.requires_grad for weight in self.trained):
            raise UnmetHypothesis(subject, "some weights require gradients", "none does")
        self.mine = local_rows(self.accelerator, plan.train_batch_size)
        self.optimizer = torch.optim.Adam(self.trained, lr=plan.learning_rate, fused=fused)
        self.wrapped, self.prepared_optimizer = self.accelerator.prepare(model, self.optimizer)
        self.moved = Moved(self.trained)

    def run_plan(self, checkpoint: Path | None, **made_with: object) -> float:
        """Do the steps of the plan that are left; the seconds, see :func:`.loop.run_steps`."""
        plan = self.plan
        identity = identity_of(
            lambda step, length: replace(plan, max_steps=length).rate(step),
            plan=plan,
            precision=self.accelerator.mixed_precision,
            **made_with,
        )
        run = Run(checkpoint, identity, self.accelerator)
        return run_steps(self, run, plan.max_steps, plan.save_steps, plan.seed, self.title)

    def set_rate(self, step: int) -> None:
        """The learning rate of the plan."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(step)

    def require_finite(self, loss: float, step: int) -> None:
        """Raise FloatingPointError where the loss is not: the same in all processes, and before an update."""
        if not math.isfinite(loss):
            raise FloatingPointError(f"{self.title}: the loss of step {step} is {loss}; nothing was updated")

    def descend(self, step: int) -> None:
        """A step along the gradient, which is clipped; now and then warn where most updates round to nothing."""
        moved = self.moved if step % WATCH_EVERY == 0 else None
        what = f"{self.title}: the gradient of step {step}"
        largest = self.plan.max_grad_norm
        clipped_step(self.accelerator, self.prepared_optimizer, self.trained, largest, what, moved)
        if moved is not None:
            moved.share()

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """That of a checkpoint."""
        return {"optimizer": self.optimizer}
