"""A network trained on batches that a recipe draws, through :func:`.loop.run_steps`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis

from .checkpoint import prefixed
from .distributed import clipped_step, local_rows, require_unsharded
from .ema import EMA
from .identity import identity_of
from .loop import run_steps
from .moved import Moved
from .plan import Plan
from .run import Resumed, Run
from .seeding import generator_of

__all__ = ["Trained", "train"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Draw = Callable[[torch.Generator, int], Sequence[Tensor]]
Loss = Callable[..., Tensor]
WATCH_EVERY = 50  # steps between two looks at whether updates round to nothing


@final
@dataclass(frozen=True, slots=True)
class Trained(Generic[ModuleT]):
    """What training gives: the averaged module, the loss of every step, the seconds spent."""

    model: ModuleT
    losses: Tensor
    seconds: float


def train(
    model: ModuleT,
    draw: Draw,
    loss: Loss,
    plan: Plan,
    *,
    checkpoint: Path | None = None,
    config: Mapping[str, object] | None = None,
    accelerator: Accelerator | None = None,
    title: str = "train",
    rows: list[Tensor] | None = None,
) -> Trained[ModuleT]:
    """Minimise ``E loss(model, *draw)`` with Adam.

    Arguments:
        model: The module; trained in place.
        draw: ``draw(generator, batch)`` gives tensors of ``batch`` rows on the generator's device.
        loss: ``loss(model, *rows)`` gives the mean loss over the rows, a 0-D tensor.
        plan: The budget.
        checkpoint: A file to resume from when it exists, and to save to.
        config: What the checkpoint must have been made with beside the plan: JSON, or dataclasses whose fields
            tell their roles, see :mod:`.kit.identity`.
        accelerator: Devices, processes and precision; by default what ``accelerate launch`` set.
        title: The label of the progress bar.
        rows: A list to which the loss appends a tensor at each step, of the same shape and the same in all
            processes: it is saved and resumed with the weights.

    Raises:
        FloatingPointError: A loss or a gradient is not finite; raised before the step that it would have spoiled.
        TrainingInterrupted, InUse, OtherRun, CheckpointError, OSError: As in :func:`.loop.run_steps`.
        UnmetHypothesis: The batch cannot be dealt evenly to the processes, or the accelerator shards the weights
            or accumulates gradients.
    """
    accelerator = accelerator or Accelerator()
    require_unsharded("train", accelerator, "a step takes its whole batch")
    world = accelerator.num_processes
    if plan.train_batch_size % world:
        raise UnmetHypothesis(
            "train", "processes divide the batch", f"{plan.train_batch_size} rows, {world} processes"
        )
    work = _Fit(model, draw, loss, plan, accelerator, [] if rows is None else rows, title)
    identity = identity_of(
        lambda step, length: replace(plan, max_steps=length).rate(step),
        plan=plan,
        precision=accelerator.mixed_precision,
        **(config or {}),
    )
    run = Run(checkpoint, identity, accelerator)
    seconds = run_steps(work, run, plan.max_steps, plan.save_steps, plan.seed, title)
    return Trained(work.ema.averaged(work.inner), torch.tensor(work.losses, dtype=torch.float64), seconds)


@final
class _Fit(Generic[ModuleT]):
    """The work of :func:`train`."""

    def __init__(
        self,
        model: ModuleT,
        draw: Draw,
        loss: Loss,
        plan: Plan,
        accelerator: Accelerator,
        rows: list[Tensor],
        title: str,
    ) -> None:
        self.draw, self.loss, self.plan, self.accelerator = draw, loss, plan, accelerator
        self.rows, self.title, self.losses = rows, title, list[float]()
        self.optimizer = torch.optim.Adam(model.parameters(), lr=plan.learning_rate, fused=True)
        self.wrapped, self.prepared_optimizer = accelerator.prepare(model, self.optimizer)
        self.inner: ModuleT = accelerator.unwrap_model(self.wrapped)
        self.wrapped.train()
        self.ema, self.moved = EMA(self.inner, plan.ema_decay), Moved(self.inner.parameters())
        self.mine = local_rows(accelerator, plan.train_batch_size)

    def state(self) -> dict[str, Tensor]:
        return {**prefixed("model", self.inner.state_dict()), **prefixed("ema", self.ema.state)}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"optimizer": self.optimizer}

    def history(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        series = {"losses": torch.tensor(self.losses, dtype=torch.float64)}
        return series | ({"rows": torch.stack(self.rows)} if self.rows else {}), {}

    def resumed(self, found: Resumed) -> None:
        self.losses = found.series["losses"].tolist()
        self.rows[:] = found.series.get("rows", torch.empty(0)).unbind()

    def logged(self, step: int) -> Mapping[str, float]:
        return {"loss": self.losses[step]}

    def advance(self, step: int) -> float:
        plan, accelerator = self.plan, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate(step)
        batch = self.draw(generator_of(plan.seed, step, accelerator.device), plan.train_batch_size)
        value = self.loss(self.wrapped, *(part[self.mine] for part in batch))
        mean = float(accelerator.reduce(value.detach().float(), reduction="mean"))
        if not math.isfinite(mean):
            raise FloatingPointError(f"{self.title}: the loss of step {step} is {mean}; nothing was updated")
        self.prepared_optimizer.zero_grad(set_to_none=True)
        accelerator.backward(value)
        what = f"{self.title}: the gradient of step {step}"
        moved = self.moved if step % WATCH_EVERY == 0 else None
        clipped_step(
            accelerator, self.prepared_optimizer, self.wrapped.parameters(), plan.max_grad_norm, what, moved
        )
        if moved is not None:
            moved.share()  # warns where most updates round to nothing
        self.ema.update(self.inner, step)
        self.losses.append(mean)
        return mean
