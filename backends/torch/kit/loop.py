r"""One training loop for every trainer: through accelerate, exact to resume, clean to interrupt.

All randomness of step k is a function of (seed, k): a recipe *draws* the global batch, data and noise
together, from a generator that is seeded anew at each step, and every process keeps its rows.  So a run
that was killed and resumed is the run that was not, bit for bit, and two processes see the same losses
as one, up to the order of summation; no generator state has to be saved.  (What a module draws inside
of itself, dropout for instance, is a function of the seed, the step and the process.)
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Protocol, TypeAlias, TypeVar, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from pydantic import AfterValidator, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis

from .callbacks import Callbacks
from .checkpoint import prefixed
from .distributed import clipped_step, local_rows, require_unsharded
from .ema import EMA
from .identity import HOW, LENGTH, identity_of
from .moved import Moved
from .progress import Progress
from .run import Resumed, Run
from .schema import Decay, validated

__all__ = ["Plan", "SeededPlan", "Trained", "Work", "few_threads", "generator_of", "run_steps", "train"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Draw = Callable[[torch.Generator, int], Sequence[Tensor]]
Loss = Callable[..., Tensor]
WATCH_EVERY = 50  # steps between two looks at whether updates round to nothing


@final
@validated(frozen=True, slots=True)
class Plan:
    """The budget of a training run.

    Arguments:
        max_steps: Optimizer steps, > 0.
        train_batch_size: Rows of a step over all processes together, > 0: the result does not depend on their number.
        learning_rate: The peak of the rate, > 0.
        warmup_steps: Steps of the warm-up, >= 0.
        max_grad_norm: The largest norm of the gradient, > 0.
        ema_decay: Of the moving average, in [0, 1).
        seed: The seed of everything, >= 0.
        save_steps: Steps between two checkpoints, > 0.
        lr_scheduler_type: After a linear warm-up, ``cosine`` falls to 0 over the steps, and ``constant_with_warmup``
            stays: only a run whose rate has not begun to fall can be made longer.

    Raises:
        UnmetHypothesis: A number outside of its range, or another schedule.

    Example:
        >>> Plan(max_steps=100, train_batch_size=8, learning_rate=1.0, warmup_steps=10).rate(4)
        0.5
    """

    max_steps: PositiveInt = field(metadata=LENGTH)
    train_batch_size: PositiveInt
    learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt = 0
    max_grad_norm: PositiveFloat = 1.0
    ema_decay: Decay = 0.999
    seed: NonNegativeInt = 0
    save_steps: PositiveInt = field(default=1000, metadata=HOW)
    lr_scheduler_type: Literal["cosine", "constant_with_warmup"] = "cosine"

    def rate(self, step: int) -> float:
        """The learning rate of step number ``step`` (0, 1, ...)."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.lr_scheduler_type == "constant_with_warmup":
            return self.learning_rate
        remaining = (self.max_steps - step) / max(1, self.max_steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1.0 - math.cos(math.pi * remaining))


def _without_seed(plan: Plan) -> Plan:
    if plan.seed:
        raise ValueError("no seed of its own, for it is set by seeds = [...]")
    return plan


SeededPlan: TypeAlias = Annotated[Plan, AfterValidator(_without_seed)]  # of a recipe that sets its seed


@final
@dataclass(frozen=True, slots=True)
class Trained(Generic[ModuleT]):
    """What training gives: the averaged module, the loss of every step, the seconds spent."""

    model: ModuleT
    losses: Tensor
    seconds: float


class Work(Protocol):
    """What a run does step by step; a step is an epoch where the work says so."""

    def state(self) -> dict[str, Tensor]:
        """Named tensors that belong to a checkpoint, and that a resumption fills again."""
        ...

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Those whose states belong to it."""
        ...

    def history(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Tensors that grow with the run, and its record in JSON."""
        ...

    def resumed(self, found: Resumed) -> None:
        """Take back the history."""
        ...

    def logged(self, step: int) -> Mapping[str, float]:
        """The numbers of a step that was done."""
        ...

    def advance(self, step: int) -> float:
        """Do a step; what the progress bar shows of it.

        Raises:
            FloatingPointError: What the step would have spoiled is as it was.
        """
        ...


def run_steps(
    work: Work,
    run: Run,
    length: int,
    save_every: int,
    seed: int,
    title: str,
    callbacks: Callbacks | None = None,
) -> float:
    """Do the steps of a run that are left: resumed, shown, saved, and stopped between two of them; the seconds.

    What modules draw from the global generators, dropout for instance, is a function of the seed, the step and the
    process; outside they are what they were.

    Arguments:
        work: What is done.
        run: Where it is saved; entered here.
        length: Steps in all.
        save_every: Steps between two checkpoints.
        seed: Of the global generators.
        title: The label of the progress bar.
        callbacks: What is called as it goes on, and may ask to save or to stop; then the run ends as if it were over.

    Raises:
        TrainingInterrupted: A signal, or the limit of the session; raised between two steps, after saving.
        InUse: Another run has this checkpoint.
        OtherRun: The checkpoint belongs to another run; told is the first field that differs.
        CheckpointError: The checkpoint is damaged, and there is no older one.
        OSError: A checkpoint cannot be written; the one before is still there.
    """
    accelerator = run.accelerator
    devices = [accelerator.device] if accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(devices), run:
        found = run.resume(work.state(), work.optimizers())
        done, seconds = 0, 0.0
        if found is not None:
            done, seconds = found.done, found.seconds
            work.resumed(found)
        if callbacks is not None:
            callbacks.begin(done, length, work.logged)
        started = time.perf_counter() - seconds
        with Progress(title, length, done, visible=accelerator.is_main_process) as progress:
            for step in range(done, length):
                _seed(seed, step, accelerator.process_index, accelerator.device)
                progress.advance(work.advance(step))
                ended = due = False
                if callbacks is not None:
                    callbacks.step(step + 1, length, work.logged(step))
                    ended, due = callbacks.asked()
                stop = run.stop_asked()
                seconds = time.perf_counter() - started
                if stop or ended or due or (step + 1) % save_every == 0 or step + 1 == length:
                    series, record = work.history()
                    state, optimizers = work.state(), work.optimizers()
                    run.save(step + 1, state, optimizers, seconds=seconds, series=series, record=record)
                    if callbacks is not None and run.path is not None:
                        callbacks.saved()
                if stop:
                    raise run.interrupted(step + 1)
                if ended:
                    break
        if callbacks is not None:
            callbacks.end()
    return seconds


def generator_of(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of one step, an injective function of (seed, step) for both below 2^31."""
    return torch.Generator(device).manual_seed(_number(seed, step))


@contextmanager
def few_threads() -> Iterator[None]:
    """One CPU thread inside, unless ``OMP_NUM_THREADS`` says otherwise.

    Small networks gain nothing from more, and on a machine that is busy the threads wait for each other:
    forty times slower was seen.
    """
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
        TrainingInterrupted, InUse, OtherRun, CheckpointError, OSError: As in :func:`run_steps`.
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


def _seed(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Make the global generators a function of (seed, step, process)."""
    number = _number(seed, _mixed(step) ^ (rank + 1))
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


def _number(seed: int, step: int) -> int:
    """The seed of torch: the CPU's generator (mt19937) reads its low 32 bits alone, so they know both."""
    return (seed << 32) | _mixed(step ^ _mixed(seed + 1))


def _mixed(number: int) -> int:
    """A bijection of the 32-bit integers that spreads every bit over all (the end of MurmurHash3)."""
    number &= 0xFFFFFFFF
    number = (number ^ (number >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
    number = (number ^ (number >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    return number ^ (number >> 16)
