r"""A dry run of a trainer of rollouts: its own epochs on tensors without values.

All of the trainer runs, but what is the same again: a network without a gradient that is asked about as many rows as
before is charged for what it held and did then, and so is the gradient of a reward.  Of the micro batches of an epoch two
are run, as the second meets the gradient of the first; the optimizer has its moments before.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast, final
from unittest import mock

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only

from driftproof.backends.torch.kit.memory import (
    Estimate,
    Ledger,
    Machine,
    Phase,
    Spent,
    StandIn,
    imagined,
    scene,
)
from driftproof.backends.torch.kit.memory.stand_in import Precision
from driftproof.backends.torch.pretrained.config import PipelineModel

from .budget import RolloutBudget
from .task import Task
from .times import Batch, Samples, TimeLaw
from .trainer import RolloutTrainer

__all__ = ["estimated", "once"]

Make: TypeAlias = Callable[[Accelerator], RolloutTrainer[Any]]

RUN: Final = 2  # micro batches of an epoch
PRECISIONS_OF: Final[dict[str, Precision]] = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
PHASES: Final = ("rollout", "decode", "reward", "gradient", "signal", "update", "optimizer", "after")


def estimated(
    title: str, model: PipelineModel, budget: RolloutBudget, machine: Machine, make: Make
) -> Estimate:
    """What a training by rollouts holds and takes; what is measured before and after it is not counted.

    Arguments:
        title: Of the recipe.
        model: Which pipeline.
        budget: Its rollouts.
        machine: What it is to run on.
        make: The trainer, from what stands in for accelerate.
    """
    precision = machine.precision or PRECISIONS_OF[model.dtype]
    with imagined(budget.prompts, machine.cuda) as ledger, ledger.phase("load"):
        here = scene()
        assert here is not None
        trainer = make(cast("Any", StandIn(ledger, machine.count, precision, machine.cuda)))
        held = {}
        for name, module, method in here.held:
            held[name] = sum(t.nbytes for t in (*module.parameters(), *module.buffers()))
            setattr(module, method, once(getattr(module, method), ledger))
        held["prompts"] = sum(t.nbytes for t in trainer.task.conditions.values())
        phases = _phases(trainer, ledger)
        states = [state for optimizer in trainer.optimizers().values() for state in optimizer.state.values()]
        moments = sum(t.nbytes for state in states for t in state.values() if isinstance(t, Tensor))
        weights = [weight for _, module, _ in here.held for weight in module.parameters()]
        return Estimate(
            title=title,
            gpu=machine.gpu,
            count=machine.count,
            precision=precision,
            parameters=sum(weight.numel() for weight in weights),
            trained=sum(weight.numel() for weight in trainer.weights.values()),
            held={**held, "optimizer": moments},
            phases=tuple(phases),
            epochs=budget.epochs,
            assumed=tuple(here.assumed),
        )


def _phases(trainer: RolloutTrainer[Any], ledger: Ledger) -> list[Phase]:
    """Those of an epoch of a trainer that was made inside of :func:`.kit.memory.imagined`."""
    method: Any = trainer.method
    method.times = _Few(method.times, ledger)
    object.__setattr__(trainer.task, "decode", _as_phase(trainer.task.decode, ledger, "decode"))
    object.__setattr__(trainer.task, "reward", _as_phase(trainer.task.reward, ledger, "reward"))
    for owner, name, phase in (
        (method, "rollout", "rollout"),
        (method, "signal", "signal"),
        (trainer, "_updates", "update"),
        (method, "after_epoch", "after"),
    ):
        setattr(owner, name, _as_phase(getattr(owner, name), ledger, phase))
    chunk, gradient = Task._chunk, _as_phase(Task.rewards_and_gradients, ledger, "gradient")
    pulled = once(lambda x, prompts: chunk(trainer.task, x, prompts), ledger, with_gradients=True)
    for optimizer in trainer.optimizers().values():
        _begun(optimizer)
    ledger.phases = {}
    gc.collect()
    gc.freeze()  # what is there already is not looked through again
    try:
        with mock.patch.multiple(
            Task,
            rewards_and_gradients=lambda *given: gradient(*given),
            _chunk=lambda task, x, prompts: pulled(x, prompts),
        ):
            trainer._epoch(_learning(trainer))
    finally:
        gc.unfreeze()
    return [Phase.of(name, ledger.phases[name]) for name in PHASES if name in ledger.phases]


def _learning(trainer: RolloutTrainer[Any]) -> int:
    """An epoch in which the model is updated."""
    last = trainer.budget.epochs - 1
    return next((epoch for epoch in range(last) if trainer.method.learns(epoch)), last)


def _begun(optimizer: torch.optim.Optimizer) -> None:
    """Have the optimizer make its moments, as its first step does."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def once(call: Callable[..., Any], ledger: Ledger, *, with_gradients: bool = False) -> Callable[..., Any]:
    """A function that is run for the first inputs of their shapes, and charged for then.

    What it returns is new; what it keeps beside that is not counted again.

    Arguments:
        call: The function; with and without adapters it takes the same.
        ledger: Where its work is charged.
        with_gradients: Whether it is so, too, where a gradient is recorded, as its results carry none.
    """
    seen: dict[object, tuple[Spent, Any]] = {}

    def counted(*args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() and not with_gradients:
            return call(*args, **kwargs)
        leaves, form = tree_flatten((args, kwargs))
        shapes = [(x.shape, x.dtype) if isinstance(x, Tensor) else _kept(x) for x in leaves]
        key = (str(shapes), str(form), torch.is_autocast_enabled("cpu"))
        if key not in seen:
            with ledger.watch() as spent:
                found = call(*args, **kwargs)
            seen[key] = spent, tree_map_only(Tensor, lambda t: _Shape(tuple(t.shape), t.dtype), found)
            return found
        spent, made = seen[key]
        ledger.repeat(spent)
        return tree_map_only(_Shape, lambda shape: torch.empty(shape.sizes, dtype=shape.dtype), made)

    return counted


def _kept(value: object) -> str:
    """What tells an argument from another that is no tensor; a time is as good as another."""
    return "float" if isinstance(value, float) else repr(value)


@final
@dataclass(frozen=True)
class _Shape:
    """What is kept of a tensor that was returned."""

    sizes: tuple[int, ...]
    dtype: torch.dtype


@final
class _Few:
    """Of the micro batches of an epoch the first ones, with the work of all."""

    def __init__(self, law: TimeLaw, ledger: Ledger) -> None:
        self.law, self.ledger = law, ledger
        self.left, self.last = RUN, Spent()

    def count(self, samples: Samples) -> int:
        """As ever."""
        return self.law.count(samples)

    def batches(
        self, samples: Samples, rows: Tensor, size: int, generator: torch.Generator, *, first: bool
    ) -> Iterator[Batch]:
        """The first ones; when the loop asks for another, the rest is charged like the last of them."""
        places = len(rows) * self.law.count(samples)
        total, done, spent = max(1, -(-places // size)), 0, self.ledger.spent
        if self.left:
            for batch in self.law.batches(samples, rows, size, generator, first=first):
                self.last = Spent(0, -spent.half, -spent.single, -spent.moved)
                yield batch
                self.last.add(spent)
                self.left, done = self.left - 1, done + 1
                if not self.left:
                    break
        spent.add(self.last, max(0, total - done))


def _as_phase(call: Callable[..., Any], ledger: Ledger, phase: str) -> Callable[..., Any]:
    def inside(*args: Any, **kwargs: Any) -> Any:
        with ledger.phase(phase):
            return call(*args, **kwargs)

    return inside
