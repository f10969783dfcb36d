r"""Policy gradients on samplers: DDPO and MixGRPO (with the full window: Flow-GRPO).

An epoch samples trajectories, rewards their ends, and ascends

.. math:: \frac1S \sum_{i \in \text{sde}} \Big[\min\big(u_i A_i,\ \mathrm{clip}(u_i)\, A_i\big)
    - \beta\,\mathrm{KL}_i\Big]

over the S stochastic steps, whose log-probabilities are sums over coordinates.  With ``kl="path"`` the
advantage of a step also pays for the divergences that follow it,
:math:`A_i = A - \beta\sum_{k>i}\mathrm{KL}_k`, which makes the whole the gradient of
:math:`E r - \beta\,\mathrm{KL}(\text{paths})`; with ``kl="loss"``, the usual form, it is not a gradient.

The first update of an epoch is on policy: its ratio is 1 by definition, and not what two batches of
different sizes round it to (beside a clip range of 1e-4 that matters).

All randomness of epoch k is a function of (seed, k), drawn for all processes together: a run that was
killed and resumed is the run that was not, bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import array_api_compat.torch as xp
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.checkpoint import prefixed
from driftproof.backends.torch.kit.distributed import clipped_step, require_plain, share, synchronised
from driftproof.backends.torch.kit.identity import Identity, identity_of
from driftproof.backends.torch.kit.loop import generator_of
from driftproof.backends.torch.kit.progress import Progress
from driftproof.backends.torch.kit.run import Run
from driftproof.backends.torch.pretrained.denoisers import reference_of, require_prediction
from driftproof.backends.torch.pretrained.guidance import Condition, Predict
from driftproof.backends.torch.rl.history import Log
from driftproof.backends.torch.rl.sampler import Sampler, log_prob
from driftproof.backends.torch.rl.task import Task
from driftproof.backends.torch.rl.trajectories import Pairs, Trajectories, rollout
from driftproof.numerics.opd import discounted_future, leave_one_out
from driftproof.numerics.reward_gap import PairedGap, clipped_surrogate, paired_gap, step_kl

from .config import Budget

__all__ = ["AbstractTrainer"]

# Streams of one seed that no epoch uses.
EVALUATION, SHUFFLES = 1 << 30, 1 << 29


class AbstractTrainer(ABC):
    """The loop that DDPO and MixGRPO share; they differ in advantages and in the stochastic steps.

    Arguments:
        denoiser: The model, a module with an attribute ``prediction``; parameters that require gradients are
            trained in place.
        sampler: The steps of training, eta > 0.
        task: Prompts, decoder, reward.
        budget: The numbers of the policy gradient.
        accelerator: Devices, processes and precision; by default what ``accelerate launch`` set.
        title: The label of the progress bar.

    Raises:
        UnmetHypothesis: eta = 0, a model that predicts something else than the scheduler takes, no weights to
            train, a rollout that cannot be dealt evenly to processes and updates, an accelerator that shards
            the weights, or one that accumulates gradients (``micro_batch`` does).
    """

    def __init__(
        self,
        denoiser: nn.Module,
        sampler: Sampler,
        task: Task,
        budget: Budget,
        *,
        accelerator: Accelerator | None = None,
        title: str = "train",
    ) -> None:
        name = type(self).__name__
        require_prediction(name, denoiser, sampler.prediction)  # type: ignore[arg-type]  # a module has any attribute
        self.accelerator = accelerator or Accelerator()
        require_plain(name, self.accelerator)
        parts = self.accelerator.num_processes * budget.updates
        if budget.rows % parts:
            raise UnmetHypothesis(
                name, "processes times updates divide the rows", f"{budget.rows} rows, {parts} parts"
            )
        if budget.beta > 0.0 and budget.kl == "path" and budget.rows < 2:
            raise UnmetHypothesis(name, "at least 2 rows, for kl = path", f"{budget.rows} rows")
        self.sampler, self.task, self.budget, self.title = sampler, task, budget, title
        self._check(name)
        for window in self._windows():
            sampler.kinds(window, name)
        self.weights = {key: p for key, p in denoiser.named_parameters() if p.requires_grad}
        if not self.weights:
            raise UnmetHypothesis(name, "some weights require gradients", "none does")
        self.reference = reference_of(denoiser, self._prepared) if budget.beta > 0.0 else None
        optimizer = torch.optim.AdamW(
            list(self.weights.values()), lr=budget.learning_rate, weight_decay=budget.weight_decay
        )
        self.wrapped, self.stepper = self.accelerator.prepare(denoiser.eval(), optimizer)
        self.denoiser: Predict = self.accelerator.unwrap_model(self.wrapped)
        self.optimizer = optimizer

    # -- what a method decides ----------------------------------------------------------------------------

    @abstractmethod
    def window(self, epoch: int) -> Sequence[int]:
        """The steps that are stochastic in this epoch."""

    @abstractmethod
    def advantages(self, rewards: Tensor, prompts: Tensor) -> Tensor:
        """Advantages of all rewards of a rollout, with shape (B,), from what was seen so far."""

    def state(self) -> dict[str, Tensor]:
        """What has to be saved beside weights and optimizer: the tensors themselves, which a resumption fills."""
        return {}

    def options(self) -> dict[str, object]:
        """What defines the method beside the budget."""
        return {}

    @abstractmethod
    def _check(self, name: str) -> None:
        """Raise where a hypothesis of the method fails."""

    @abstractmethod
    def _windows(self) -> Sequence[Sequence[int]]:
        """Every window that will come."""

    # -- the loop -----------------------------------------------------------------------------------------

    def train(self, checkpoint: Path | None = None, config: Mapping[str, object] | None = None) -> Log:
        """Run the budget, from the checkpoint if there is one.

        Arguments:
            checkpoint: A file to resume from when it exists, and to save to.
            config: What the checkpoint must have been made with beside the parts of this trainer: JSON, or
                dataclasses whose fields tell their roles, see :mod:`..kit.identity`.

        Raises:
            FloatingPointError: A reward or a gradient is not finite; raised before the update it would have spoiled.
            TrainingInterrupted: A signal, or the limit of the session; raised between two epochs, after saving.
            InUse, OtherRun, CheckpointError, OSError: As in :func:`..training.train`.
        """
        optimizers = {"optimizer": self.optimizer}
        with Run(checkpoint, self.identity(config), self.accelerator, "epoch") as run:
            found = run.resume(self._tensors(), optimizers)
            log = Log() if found is None else Log.from_json(found.record)
            visible = self.accelerator.is_main_process
            with Progress(self.title, self.budget.epochs, log.epochs, visible=visible) as progress:
                if not log.gaps:
                    log.measured(0, self.measure())
                for epoch in range(log.epochs, self.budget.epochs):
                    numbers = self._epoch(epoch)
                    log.append({**numbers, **self.task.watch()})
                    progress.advance(-numbers["reward"])
                    done = epoch + 1
                    every = self.budget.evaluate_every
                    if done == self.budget.epochs or (every and done % every == 0):
                        log.measured(done, self.measure())
                    stop = run.stop_asked()
                    if stop or done % self.budget.save_every == 0 or done == self.budget.epochs:
                        run.save(done, self._tensors(), optimizers, record=log.to_json())
                    if stop:
                        raise run.interrupted(done)
        return log

    def identity(self, config: Mapping[str, object] | None = None) -> Identity:
        """What a run of this trainer is made with."""
        return identity_of(
            method=type(self).__name__,
            budget=self.budget,
            **self.options(),
            sampler=self.sampler.description(),
            task=self.task.description(),
            precision=self.accelerator.mixed_precision,
            **(config or {}),
        )

    def _tensors(self) -> dict[str, Tensor]:
        return {**prefixed("weights", self.weights), **prefixed("state", self.state())}

    def measure(self, pairs: int | None = None) -> PairedGap:
        """The reward at eta = 0 and at the training eta, every step stochastic, from the same starts."""
        total = pairs or self.budget.pairs
        world = self.accelerator.num_processes
        total = -(-total // world) * world  # up to a multiple
        generator = generator_of(self.budget.seed, EVALUATION, self.accelerator.device)
        start, mine = self.task.draw_noise(generator, total), share(self.accelerator, total)
        prompts = (torch.arange(total, device=start.device) % len(self.task.prompts))[mine]
        found = []
        for kinds in (self.sampler.deterministic, self.sampler.kinds(range(self.sampler.n_steps))):
            done = rollout(
                self.denoiser,
                self.sampler,
                kinds,
                start[mine],
                self.task.condition(prompts),
                lambda _: self.task.draw_noise(generator, total)[mine],
                chunk=self.budget.micro_batch,
            )
            found.append(self.accelerator.gather(self.task.rewards(done.end, prompts)))
        return paired_gap(found[0], found[1], self.budget.level)

    def _epoch(self, epoch: int) -> dict[str, float]:
        budget, device = self.budget, self.accelerator.device
        generator = generator_of(budget.seed, epoch, device)
        mine = share(self.accelerator, budget.rows)
        prompts = self.task.draw_prompts(generator, budget.prompts, budget.group)
        start = self.task.draw_noise(generator, budget.rows)
        done = rollout(
            self.denoiser,
            self.sampler,
            self.sampler.kinds(self.window(epoch)),
            start[mine],
            self.task.condition(prompts[mine]),
            lambda _: self.task.draw_noise(generator, budget.rows)[mine],
            self.reference,
            budget.micro_batch,
        )
        rewards = self.accelerator.gather(self.task.rewards(done.end, prompts[mine]))
        relative = self.advantages(rewards.to(done.log_probs.dtype), prompts)
        advantages = self._of_steps(relative, done.kl)[mine]
        numbers = {
            "reward": float(rewards.mean()),
            "spread": float(rewards.std()) if len(rewards) > 1 else 0.0,
            "window": float(done.stochastic[0]),
        }
        return {**numbers, **self._updates(epoch, done, advantages, self.task.condition(prompts[mine]))}

    def _of_steps(self, relative: Tensor, kl: Tensor | None) -> Tensor:
        """Advantages of all rows and stochastic steps, with shape (B, S)."""
        if kl is None:
            return relative[:, None]
        if self.budget.kl == "loss":
            return relative[:, None].expand(-1, kl.shape[1])
        later = discounted_future.kernel(xp, self.accelerator.gather(kl), kl.new_tensor(1.0))
        others = leave_one_out.kernel(xp, later.T).T
        return relative[:, None] - self.budget.beta * (later - others)

    def _updates(
        self, epoch: int, done: Trajectories, advantages: Tensor, condition: Condition
    ) -> dict[str, float]:
        budget = self.budget
        generator = generator_of(budget.seed, SHUFFLES + epoch)
        device = advantages.device
        advantages = advantages.expand(-1, len(done.stochastic))
        sums = torch.zeros(4, dtype=torch.float64, device=device)
        first = True
        for _ in range(budget.passes):
            order = torch.randperm(len(advantages), generator=generator).to(device)
            for rows in order.chunk(budget.updates):
                self.stepper.zero_grad(set_to_none=True)
                chunks = list(done.batches(rows, budget.micro_batch, generator))
                count = len(rows) * len(done.stochastic)
                for i, pairs in enumerate(chunks):
                    with synchronised(self.accelerator, self.wrapped, i == len(chunks) - 1):
                        loss, seen = self._loss(done, pairs, advantages, condition, on_policy=first)
                        self.accelerator.backward(loss / count)
                    sums += torch.stack([*seen, loss.detach().double()])
                clipped_step(
                    self.accelerator,
                    self.stepper,
                    list(self.weights.values()),
                    budget.max_grad_norm,
                    f"{self.title}: the gradient of epoch {epoch}",
                )
                first = False
        total = budget.passes * advantages.numel()
        means = (self.accelerator.reduce(sums, reduction="mean") / total).tolist()
        return dict(zip(("clip_fraction", "squared_log_ratio", "kl", "loss"), means, strict=True))

    def _loss(
        self, done: Trajectories, pairs: Pairs, advantages: Tensor, condition: Condition, *, on_policy: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The summed loss of some steps, and what is logged of them."""
        budget = self.budget
        x, after = done.states[pairs.steps, pairs.rows], done.states[pairs.steps + 1, pairs.rows]
        rows = {name: value[pairs.rows.to(value.device)] for name, value in condition.items()}
        t, eta = self.sampler.times(pairs.steps), self.sampler.eta
        mean, std = self.sampler.moments(self.wrapped(x, t, rows), pairs.steps, x, eta)
        logp = log_prob(after, mean, std)
        old = logp.detach() if on_policy else done.log_probs[pairs.rows, pairs.places]
        # Per coordinate or not, the gradient at the old policy is A times that of the log-probability.
        size = float(x[0].numel()) if budget.ratio == "mean" else 1.0
        chosen = advantages[pairs.rows, pairs.places].to(logp.dtype)
        surrogate, clipped = clipped_surrogate.kernel(xp, logp / size, old / size, chosen, budget.clip)
        kl = torch.zeros_like(logp)
        if self.reference is not None:
            other = self.sampler.moments(self.reference(x, t, rows), pairs.steps, x, eta)[0]
            kl = step_kl.kernel(xp, mean, other, std)
        loss = (budget.beta * kl - size * surrogate).sum()
        ratio = (logp - old).detach() / size
        return loss, tuple(part.detach().double().sum() for part in (clipped, ratio**2, kl))

    # -- processes ----------------------------------------------------------------------------------------

    def _prepared(self, frozen: nn.Module) -> nn.Module:
        """A copy that is not trained, on the device and in the precision of the model that is."""
        prepared: nn.Module = self.accelerator.prepare_model(frozen, evaluation_mode=True)
        return prepared
