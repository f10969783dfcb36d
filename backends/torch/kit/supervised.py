"""A network trained on batches that a recipe draws, through :func:`.loop.run_steps`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from .checkpoint import prefixed
from .ema import EMA
from .plan import Plan
from .planned import Planned
from .run import Resumed
from .seeding import generator_of

__all__ = ["Trained", "train"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Draw = Callable[[torch.Generator, int], Sequence[Tensor]]
Loss = Callable[..., Tensor]


@final
@dataclass(frozen=True, slots=True)
class Trained(Generic[ModuleT]):
    """The result of a training: the averaged module, the loss of every step, the seconds spent."""

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
        UnmetHypothesis: As for :class:`.planned.Planned`.
    """
    work = _Fit(model, draw, loss, plan, accelerator, [] if rows is None else rows, title)
    seconds = work.run_plan(checkpoint, **(config or {}))
    return Trained(work.ema.averaged(work.inner), torch.tensor(work.losses, dtype=torch.float64), seconds)


@final
class _Fit(Planned, Generic[ModuleT]):
    """The work of :func:`train`."""

    def __init__(
        self,
        model: ModuleT,
        draw: Draw,
        loss: Loss,
        plan: Plan,
        accelerator: Accelerator | None,
        rows: list[Tensor],
        title: str,
    ) -> None:
        super().__init__("train", model, model.parameters(), plan, accelerator, title, fused=True)
        self.draw, self.loss, self.rows, self.losses = draw, loss, rows, list[float]()
        self.inner: ModuleT = self.accelerator.unwrap_model(self.wrapped)
        self.wrapped.train()
        self.ema = EMA(self.inner, plan.ema_decay)

    def state(self) -> dict[str, Tensor]:
        return {**prefixed("model", self.inner.state_dict()), **prefixed("ema", self.ema.state)}

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
        self.set_rate(step)
        batch = self.draw(generator_of(plan.seed, step, accelerator.device), plan.train_batch_size)
        value = self.loss(self.wrapped, *(part[self.mine] for part in batch))
        mean = float(accelerator.reduce(value.detach().float(), reduction="mean"))
        self.require_finite(mean, step)
        self.prepared_optimizer.zero_grad(set_to_none=True)
        accelerator.backward(value)
        self.descend(step)
        self.ema.update(self.inner, step)
        self.losses.append(mean)
        return mean
