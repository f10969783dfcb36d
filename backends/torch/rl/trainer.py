r"""The trainer of rollouts: one loop for every method, see :mod:`.method`.

An epoch draws prompts and noise, samples, rewards the ends, asks the method what that says, and goes through the
trajectories in parts: one optimizer step each, over micro batches.  All randomness of epoch k is a function of
(seed, k), drawn for all processes together: a run that was killed and resumed is the run that was not, bit for bit,
and several processes do what one would, up to the order of summation.

The parts of a pass: every run of ``steps_per_generation`` rows side by side (of whole groups, where a method compares rows) is
dealt to the parts in a random order.  So each part has the same share of every process, whatever their number.

The first update of an epoch is on policy: its ratio is 1 by definition, and not what two batches of different
sizes round it to (beside a clip range of 1e-4 that matters).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.callbacks import Callbacks
from driftproof.backends.torch.kit.checkpoint import prefixed
from driftproof.backends.torch.kit.distributed import (
    clipped_step,
    local_rows,
    require_unsharded,
    sync_on_last,
)
from driftproof.backends.torch.kit.identity import Identity, identity_of
from driftproof.backends.torch.kit.loop import run_steps
from driftproof.backends.torch.kit.moved import Moved
from driftproof.backends.torch.kit.run import Resumed, Run, everywhere
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.pretrained.denoisers import require_prediction
from driftproof.backends.torch.pretrained.guidance import Condition, Predict

from .history import Log
from .method import AbstractMethod, Losses, Policies, Setting
from .sampler import Kind, Sampler
from .task import Task
from .times import Samples
from .trajectories import Recorder, Trajectories, rollout

__all__ = ["RolloutTrainer"]

SignalT = TypeVar("SignalT")

# Streams of one seed that no epoch uses.
EVALUATION, SHUFFLES, FRESH = 1 << 30, 1 << 29, 1 << 27


class RolloutTrainer(Generic[SignalT]):
    """Trains a model by a method.

    Arguments:
        method: What is learnt from a rollout; its budget is that of the trainer.
        denoiser: The model, a module with an attribute ``prediction``; parameters that require gradients are
            trained in place.
        sampler: The steps of training; None for a method that samples by itself.
        task: Prompts, decoder, reward.
        others: Models that are not trained, for the method's policies.
        accelerator: Devices, processes and precision; by default what ``accelerate launch`` set.
        title: The label of the progress bar.

    Raises:
        UnmetHypothesis: What the method refuses, a model that predicts something else than the scheduler takes, no
            weights to train, a rollout that cannot be dealt evenly to processes and updates, an accelerator that
            shards the weights, or one that accumulates gradients (``per_device_train_batch_size`` does).
    """

    def __init__(
        self,
        method: AbstractMethod[SignalT],
        denoiser: nn.Module,
        sampler: Sampler | None,
        task: Task,
        *,
        others: Mapping[str, Predict] | None = None,
        accelerator: Accelerator | None = None,
        title: str = "train",
    ) -> None:
        budget, name = method.budget, method.name
        if sampler is not None:
            require_prediction(name, denoiser, sampler.prediction)  # type: ignore[arg-type]  # a module has any attribute
        self.accelerator = accelerator or Accelerator()
        require_unsharded(name, self.accelerator)
        parts = self.accelerator.num_processes * budget.steps_per_generation
        if budget.rows % (parts * method.together):
            whole = "" if method.together == 1 else f", in groups of {method.together}"
            hypothesis = f"processes times steps_per_generation divide the rows{whole}"
            raise UnmetHypothesis(name, hypothesis, f"{budget.rows} rows, {parts} parts")
        self.method, self.task, self.budget, self.title = method, task, budget, title
        self.sampler = cast("Sampler", sampler)  # what a method does not use it does not miss
        self.weights = {key: p for key, p in denoiser.named_parameters() if p.requires_grad}
        if not self.weights:
            raise UnmetHypothesis(name, "some weights require gradients", "none does")
        # Before the model is prepared: what it is now is what its copies are.
        self.policies = Policies(denoiser, method.policies, others or {}, self.accelerator)
        method.begin(Setting(self.policies, self.sampler, task, self.accelerator, title))
        method.check()
        self.optimizer = method.optimizer(list(self.weights.values()))
        self.wrapped, self.prepared_optimizer = self.accelerator.prepare(denoiser.eval(), self.optimizer)
        self.denoiser: Predict = self.accelerator.unwrap_model(self.wrapped)
        self.policies.wrapped, self.moved = self.wrapped, Moved(self.weights.values())
        self.log = Log()

    # -- the run ------------------------------------------------------------------------------------------

    def train(
        self,
        checkpoint: Path | None = None,
        config: Mapping[str, object] | None = None,
        callbacks: Callbacks | None = None,
    ) -> Log:
        """Run the budget, from the checkpoint if there is one.

        Arguments:
            checkpoint: A file to resume from when it exists, and to save to.
            config: What the checkpoint must have been made with beside the parts of this trainer: JSON, or
                dataclasses whose fields tell their roles, see :mod:`driftproof.backends.torch.kit.identity`.
            callbacks: What is called as it goes on; an epoch is a step of theirs.

        Raises:
            FloatingPointError: A reward or a gradient is not finite; raised before the update it would have spoiled.
            TrainingInterrupted, InUse, OtherRun, CheckpointError, OSError: As in :func:`.kit.loop.run_steps`.
        """
        self.log, budget = Log(), self.budget
        run = Run(checkpoint, self.identity(config), self.accelerator, "epoch")
        run_steps(self, run, budget.epochs, budget.save_every, budget.seed, self.title, callbacks)
        return self.log

    def identity(self, config: Mapping[str, object] | None = None) -> Identity:
        """What a run of this trainer is made with."""
        return identity_of(
            self.method.schedule,
            method=self.method.name,
            **self.method.made_with(),
            **self.method.description(),
            sampler=None if self.sampler is None else self.sampler.description(),
            task=self.task.description(),
            precision=self.accelerator.mixed_precision,
            **(config or {}),
        )

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        copies = prefixed("policies", self.policies.tensors())
        return {**prefixed("weights", self.weights), **prefixed("method", self.method.tensors()), **copies}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Those of a checkpoint."""
        return {"optimizer": self.optimizer, **self.method.optimizers()}

    def history(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The log."""
        return {}, self.log.to_json()

    def resumed(self, found: Resumed) -> None:
        """Take back the log."""
        self.log = Log.from_json(found.record)

    def logged(self, step: int) -> Mapping[str, float]:
        """The numbers of an epoch, and what was measured after it."""
        return {**self.log.rows[step], **self.log.measurements(step + 1)}

    def advance(self, epoch: int) -> float:
        """An epoch with what is measured before and after it; its loss for the progress bar."""
        if not self.log.gaps and epoch == 0:
            self._measure(0)
        numbers = self._epoch(epoch)
        self.log.append({**numbers, **self.task.watch()})
        every, done = self.method.measure_every, epoch + 1
        if done == self.budget.epochs or (every and done % every == 0):
            self._measure(done)
        return self.method.shown(numbers)

    def _measure(self, epochs: int) -> None:
        gap = self.method.measure(self)
        if gap is not None:
            self.log.measured(epochs, gap)

    # -- an epoch -----------------------------------------------------------------------------------------

    def sample(
        self,
        generator: torch.Generator,
        prompts: Tensor,
        kinds: tuple[Kind, ...],
        policy: str = "current",
        *,
        start: Tensor | None = None,
        record: Callable[[Condition, Tensor], Sequence[Recorder]] = lambda condition, prompts: (),
        keep_states: bool = False,
    ) -> Trajectories:
        """Trajectories of this process, of those of prompts (B,) of all.

        Arguments:
            generator: Draws for all processes.
            prompts: The number of the prompt of every row.
            kinds: The tag of every step.
            policy: Which samples.
            start: Where all rows begin; by default drawn first.
            record: What is kept of every stochastic step, from the conditions and prompts of this process.
            keep_states: Whether all states are kept, or the ends alone.
        """
        rows = len(prompts)
        mine = local_rows(self.accelerator, rows)
        start = self.task.draw_noise(generator, rows) if start is None else start
        condition = self.task.condition(prompts[mine])
        return rollout(
            self.policies.predict(policy, self.method.guidance),
            self.sampler,
            kinds,
            start[mine],
            condition,
            lambda _: self.task.draw_noise(generator, rows)[mine],
            record(condition, prompts[mine]),
            self.budget.per_device_rollout_batch_size,
            keep_states=keep_states,
        )

    def samples(self, epoch: int, generator: torch.Generator, prompts: Tensor) -> Samples:
        """A rollout of the method with its rewards.

        Raises:
            FloatingPointError: A reward is not finite; raised before anything is updated.
            OSError: It is that of another process.
        """
        method, mine = self.method, local_rows(self.accelerator, len(prompts))
        done = self.sample(
            generator,
            prompts,
            method.kinds(epoch),
            method.behaviour,
            record=method.record,
            keep_states=method.keep_states,
        )
        own = everywhere(self.accelerator, lambda: self.task.rewards(done.end, prompts[mine]))
        rewards = self.accelerator.gather(own)
        return Samples(done, self.task.condition(prompts[mine]), prompts, mine, rewards, self.sampler)

    def _epoch(self, epoch: int) -> dict[str, float]:
        budget, method = self.budget, self.method
        for group in self.optimizer.param_groups:
            group["lr"] = budget.rate(epoch)
        samples = method.rollout(self, epoch, generator_of(budget.seed, epoch, self.accelerator.device))
        if not bool(torch.isfinite(samples.rewards).all()):
            raise FloatingPointError(
                f"{self.title}: a reward of epoch {epoch} is not finite; nothing was updated"
            )
        signal = method.signal(samples)
        numbers = method.numbers(samples)
        if method.learns(epoch):
            numbers |= self._updates(epoch, samples, signal)
        return {**numbers, **method.after_epoch(epoch, samples, signal)}

    def _updates(self, epoch: int, samples: Samples, signal: SignalT) -> dict[str, float]:
        """Go through the trajectories; the means of what the losses let see."""
        budget, method = self.budget, self.method
        deal = generator_of(budget.seed, SHUFFLES + epoch)
        fresh = generator_of(budget.seed, FRESH + epoch, self.accelerator.device)
        seen: dict[str, Tensor] = {}
        places, update = 0, 0
        for _ in range(budget.num_iterations):
            for rows in self._parts(deal):
                count = len(rows) * method.times.count(samples)
                share = count if method.reduction == "mean" else len(rows)
                for objective in method.objectives():
                    if update % objective.every == 0:
                        self._other(objective, samples, signal, rows, share, fresh)
                self.prepared_optimizer.zero_grad(set_to_none=True)
                batches = method.times.batches(samples, rows, self._size, fresh, first=update == 0)
                for batch, last in _with_last(batches):
                    with sync_on_last(self.accelerator, self.wrapped, last):
                        found = method.loss(batch, samples, signal)
                        loss = found.each.sum()
                        self.accelerator.backward(loss / share)
                    _add(seen, {"loss": found.each, **found.seen})
                clipped_step(
                    self.accelerator,
                    self.prepared_optimizer,
                    list(self.weights.values()),
                    budget.max_grad_norm,
                    f"{self.title}: the gradient of epoch {epoch}",
                    self.moved if update == 0 else None,
                )
                method.after_update()
                update, places = update + 1, places + count
        if not seen:
            return {}
        means = self.accelerator.reduce(torch.stack(list(seen.values())), reduction="mean") / places
        moved = self.moved.share()
        return {**dict(zip(seen, means.tolist(), strict=True)), **({} if moved is None else {"moved": moved})}

    def _other(
        self,
        objective: Any,
        samples: Samples,
        signal: SignalT,
        rows: Tensor,
        share: int,
        fresh: torch.Generator,
    ) -> None:
        """A step of a loss beside that of the policy."""
        objective.optimizer.zero_grad(set_to_none=True)
        for batch in self.method.times.batches(samples, rows, self._size, fresh, first=False):
            found: Losses = objective.loss(batch, samples, signal)
            torch.autograd.backward(found.each.sum() / share)
        for weight in objective.weights:
            if weight.grad is not None:
                weight.grad = self.accelerator.reduce(weight.grad, reduction="mean")
        objective.optimizer.step()

    @property
    def _size(self) -> int:
        """The largest batch, in whole groups where a method compares rows."""
        together = self.method.together
        return max(together, self.budget.per_device_train_batch_size // together * together)

    def _parts(self, deal: torch.Generator) -> Iterator[Tensor]:
        """The trajectories of this process in each part of a pass."""
        updates, together, device = (
            self.budget.steps_per_generation,
            self.method.together,
            self.accelerator.device,
        )
        runs = self.budget.rows // (together * updates)
        order = torch.rand(runs, updates, generator=deal).argsort(dim=1)[local_rows(self.accelerator, runs)]
        first = torch.arange(len(order)) * updates
        for part in order.T:
            units = first + part
            rows = units[:, None] * together + torch.arange(together)
            yield rows.flatten().to(device)


def _with_last(items: Iterator[Any]) -> Iterator[tuple[Any, bool]]:
    """Each item, and whether it is the last one."""
    previous = next(items, None)
    for item in items:
        yield previous, False
        previous = item
    if previous is not None:
        yield previous, True


def _add(sums: dict[str, Tensor], seen: Mapping[str, Tensor]) -> None:
    for name, values in seen.items():
        total = values.detach().double().sum()
        sums[name] = sums[name] + total if name in sums else total
