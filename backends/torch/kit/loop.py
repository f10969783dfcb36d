r"""One training loop for every recipe: through accelerate, exact to resume, clean to interrupt.

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
from typing import Generic, Literal, TypeVar, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis

from .checkpoint import prefixed
from .config_checks import require_choice, require_each, require_numbers
from .distributed import clipped_step, require_plain
from .ema import EMA
from .identity import HOW, LENGTH, identity_of
from .progress import Progress
from .run import Run

__all__ = ["Plan", "Trained", "few_threads", "generator_of", "train"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Draw = Callable[[torch.Generator, int], Sequence[Tensor]]
Loss = Callable[..., Tensor]


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """The budget of a training run.

    Arguments:
        steps: Optimizer steps, > 0.
        batch: Rows of a step over all processes together, > 0.
        learning_rate: The peak of the rate, > 0.
        warmup: Steps of the warm-up, >= 0.
        clip: The largest norm of the gradient, > 0.
        ema: The decay of the moving average, in [0, 1).
        seed: The seed of everything, >= 0.
        save_every: Steps between two checkpoints, > 0.
        schedule: After a linear warm-up, ``cosine`` falls to 0 over the steps, and ``constant`` stays: only a run
            whose rate has not begun to fall can be made longer.

    Raises:
        UnmetHypothesis: A number outside of its range, or another schedule.

    Example:
        >>> Plan(steps=100, batch=8, learning_rate=1.0, warmup=10).rate(4)
        0.5
    """

    steps: int = field(metadata=LENGTH)
    batch: int
    learning_rate: float
    warmup: int = 0
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    save_every: int = field(default=1000, metadata=HOW)
    schedule: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        require_choice("Plan", self, schedule=("cosine", "constant"))
        require_numbers("Plan", self, zero={"warmup", "ema", "seed"})
        require_each("Plan", self, ("ema < 1", self.ema < 1))

    def rate(self, step: int) -> float:
        """The learning rate of step number ``step`` (0, 1, ...)."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.schedule == "constant":
            return self.learning_rate
        remaining = (self.steps - step) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1.0 - math.cos(math.pi * remaining))


@final
@dataclass(frozen=True, slots=True)
class Trained(Generic[ModuleT]):
    """What training gives: the averaged module, the loss of every step, the seconds spent."""

    model: ModuleT
    losses: Tensor
    seconds: float


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
        TrainingInterrupted: A signal, or the limit of the session; raised between two steps, after saving.
        UnmetHypothesis: The batch cannot be dealt evenly to the processes, or the accelerator shards the weights
            or accumulates gradients.
        InUse: Another run has this checkpoint.
        OtherRun: The checkpoint belongs to another run; told is the first field that differs.
        CheckpointError: The checkpoint is damaged, and there is no older one.
        OSError: A checkpoint cannot be written; the one before is still there.
    """
    accelerator = accelerator or Accelerator()
    require_plain("train", accelerator, "a step takes its whole batch")
    world, rank = accelerator.num_processes, accelerator.process_index
    if plan.batch % world:
        raise UnmetHypothesis("train", "processes divide the batch", f"{plan.batch} rows, {world} processes")
    own = plan.batch // world
    mine = slice(rank * own, (rank + 1) * own)

    optimizer = torch.optim.Adam(model.parameters(), lr=plan.learning_rate, fused=True)
    wrapped, stepper = accelerator.prepare(model, optimizer)
    inner: ModuleT = accelerator.unwrap_model(wrapped)
    ema = EMA(inner, plan.ema)
    identity = identity_of(
        lambda step, length: replace(plan, steps=length).rate(step),
        plan=plan,
        precision=accelerator.mixed_precision,
        **(config or {}),
    )
    log = [] if rows is None else rows
    losses: list[float] = []

    def state() -> dict[str, Tensor]:
        return {**prefixed("model", inner.state_dict()), **prefixed("ema", ema.state)}

    def save(seconds: float) -> None:
        series = {"losses": torch.tensor(losses, dtype=torch.float64)}
        if log:
            series["rows"] = torch.stack(log)
        run.save(len(losses), state(), {"optimizer": optimizer}, seconds=seconds, series=series)

    devices = [accelerator.device] if accelerator.device.type == "cuda" else []
    # Outside of the loop the global generators are what they were.
    with torch.random.fork_rng(devices), Run(checkpoint, identity, accelerator) as run:
        found, seconds = run.resume(state(), {"optimizer": optimizer}), 0.0
        if found is not None:
            losses, seconds = found.series["losses"].tolist(), found.seconds
            log[:] = found.series.get("rows", torch.empty(0)).unbind()
        started = time.perf_counter() - seconds
        wrapped.train()
        with Progress(title, plan.steps, len(losses), visible=accelerator.is_main_process) as progress:
            for step in range(len(losses), plan.steps):
                for group in optimizer.param_groups:
                    group["lr"] = plan.rate(step)
                batch = draw(generator_of(plan.seed, step, accelerator.device), plan.batch)
                _seed(plan.seed, step, rank, accelerator.device)
                value = loss(wrapped, *(part[mine] for part in batch))
                # One reduction for both, so that all processes stop, or fail, at the same step.
                asked = torch.tensor(float(run.interruption.asked > 0), device=value.device)
                shared = accelerator.reduce(torch.stack([value.detach().float(), asked]), reduction="mean")
                mean, stop = float(shared[0]), float(shared[1]) > 0.0
                if not math.isfinite(mean):
                    raise FloatingPointError(
                        f"{title}: the loss of step {step} is {mean}; nothing was updated"
                    )
                stepper.zero_grad(set_to_none=True)
                accelerator.backward(value)
                clipped_step(
                    accelerator,
                    stepper,
                    wrapped.parameters(),
                    plan.clip,
                    f"{title}: the gradient of step {step}",
                )
                ema.update(inner, step)
                losses.append(mean)
                progress.advance(mean)
                if stop or len(losses) % plan.save_every == 0 or len(losses) == plan.steps:
                    seconds = time.perf_counter() - started
                    save(seconds)
                if stop:
                    raise run.interrupted(len(losses))
    return Trained(ema.averaged(inner), torch.tensor(losses, dtype=torch.float64), seconds)


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
