r"""Actor and critic on a sampler: the score is the action, the KL divergence from the pre-trained paths its cost.

The S stochastic steps of a sampler are a chain with Gaussian transitions :math:`N(m_\theta(x_k), \varsigma_k^2)`,
and the objective is

.. math:: J(\theta) = E\Big[r(x_{end}) - \beta \sum_k \mathrm{KL}_k(x_k)\Big], \qquad
    \mathrm{KL}_k = \frac{|m_\theta - m_{pre}|^2}{2\varsigma_k^2}

whose sum is that of the paths at every step size.  With a value function V its gradient is, exactly for the chain,

.. math:: E\sum_k \Big[\nabla_\theta m_\theta^\top \nabla V_{k+1}(x_{k+1})
    - \beta\,\partial_\theta\mathrm{KL}_k\Big]
    = E\sum_k \Big[(V_{k+1} - V_k - \beta\,\mathrm{KL}_k)\,\nabla_\theta \log p_\theta(x_{k+1} \mid x_k)
    - \beta\,\partial_\theta\mathrm{KL}_k\Big]

(the states are held fixed in the last terms): the actors ``pathwise`` and ``advantage``; ``ppo`` puts the clipped
ratio in the place of the log-probability.  What deterministic last steps owe to the weights is left out.

The actor learns with the critic of the rollouts before, and all randomness of epoch k is a function of (seed, k):
a run that was killed and resumed is the run that was not, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import final

import array_api_compat.torch as xp
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit import run as kit_run
from driftproof.backends.torch.kit.distributed import clipped_step, require_plain, share, synchronised
from driftproof.backends.torch.kit.identity import Identity, identity_of
from driftproof.backends.torch.kit.loop import generator_of
from driftproof.backends.torch.kit.progress import Progress
from driftproof.backends.torch.pretrained.denoisers import reference_of, require_prediction
from driftproof.backends.torch.pretrained.guidance import Condition, Predict
from driftproof.backends.torch.rl.history import Log
from driftproof.backends.torch.rl.sampler import Sampler, log_prob
from driftproof.backends.torch.rl.statistics import PromptStatistics
from driftproof.backends.torch.rl.task import Task
from driftproof.numerics.reward_gap import clipped_surrogate, step_kl
from driftproof.numerics.score_as_action import td_errors

from .config import Actor, Budget
from .critics import AbstractCritic, Lesson, NetworkCritic
from .rollouts import Run, finish, moments, rollout, stochastic_steps

__all__ = ["ActorCriticTrainer"]

# Streams of one seed that no epoch uses.
EVALUATION, SHUFFLES, LESSONS = 1 << 30, 1 << 29, 1 << 28


@final
class ActorCriticTrainer:
    """The trainer.

    Arguments:
        denoiser: The model, a module with an attribute ``prediction``; parameters that require gradients are
            trained in place.
        critic: The value function.
        sampler: The steps, eta > 0.
        task: Prompts, decoder, reward.
        budget: The numbers of the actor.
        actor: ``pathwise``, ``advantage`` or ``ppo``.
        accelerator: Devices, processes and precision; by default what ``accelerate launch`` set.
        title: The label of the progress bar.

    Raises:
        UnmetHypothesis: eta = 0; a pathwise actor with a reward without gradient, or with a skip in its critic;
            a model that predicts something else than the scheduler takes; no weights to train; a rollout that
            cannot be dealt evenly to processes and updates; an accelerator that shards the weights, or one that
            accumulates gradients (``micro_batch`` does).
    """

    def __init__(
        self,
        denoiser: nn.Module,
        critic: AbstractCritic,
        sampler: Sampler,
        task: Task,
        budget: Budget,
        actor: Actor,
        *,
        accelerator: Accelerator | None = None,
        title: str = "train",
    ) -> None:
        if actor not in ("pathwise", "advantage", "ppo"):
            raise UnmetHypothesis("trainer", "the actor is pathwise, advantage or ppo", f"actor = {actor!r}")
        name = f"{actor} actor"
        require_prediction(name, denoiser, sampler.prediction)  # type: ignore[arg-type]  # a module has any attribute
        self.accelerator = accelerator or Accelerator()
        require_plain(name, self.accelerator)
        device = self.accelerator.device
        parts = self.accelerator.num_processes * budget.updates
        if budget.rows % parts:
            hypothesis = "processes times updates divide the rows"
            raise UnmetHypothesis(name, hypothesis, f"{budget.rows} rows, {parts} parts")
        if budget.passes > 1 and actor != "ppo":
            raise UnmetHypothesis(name, "passes = 1, but for ppo", f"passes = {budget.passes}")
        self.count = stochastic_steps(sampler, name)
        self.sampler, self.task, self.budget, self.actor, self.title = sampler, task, budget, actor, title
        self.weights = {key: p for key, p in denoiser.named_parameters() if p.requires_grad}
        if not self.weights:
            raise UnmetHypothesis(name, "some weights require gradients", "none does")
        self.skips = isinstance(critic, NetworkCritic) and critic.choice.skip != "none"
        if actor == "pathwise":
            self._require_gradient(name, device)
        self.reference = reference_of(denoiser, partial(self.accelerator.prepare_model, evaluation_mode=True))
        self.optimizer = torch.optim.AdamW(
            list(self.weights.values()), lr=budget.learning_rate, weight_decay=budget.weight_decay
        )
        self.critic = critic.to(device)
        self.wrapped, self.stepper = self.accelerator.prepare(denoiser.eval(), self.optimizer)
        self.denoiser: Predict = self.accelerator.unwrap_model(self.wrapped)
        self.statistics = PromptStatistics(len(task.prompts), budget.history, budget.least).to(device)
        t = sampler.timesteps.double()
        t = torch.cat([t, t.new_zeros(1)]) / len(sampler.scheduler)
        self.dt = (t[:-1] - t[1:])[: self.count].clamp(min=float(t[0]) * 1e-6).to(device)

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
        optimizers = self._optimizers()
        with kit_run.Run(checkpoint, self.identity(config), self.accelerator, "epoch") as run:
            found = run.resume(self._tensors(), optimizers)
            log = Log() if found is None else Log.from_json(found.record)
            visible = self.accelerator.is_main_process
            with Progress(self.title, self.budget.epochs, log.epochs, visible=visible) as progress:
                for epoch in range(log.epochs, self.budget.epochs):
                    numbers = self._epoch(epoch)
                    log.append({**numbers, **self.task.watch()})
                    progress.advance(-numbers["objective"])
                    done = epoch + 1
                    stop = run.stop_asked()
                    if stop or done % self.budget.save_every == 0 or done == self.budget.epochs:
                        run.save(done, self._tensors(), optimizers, record=log.to_json())
                    if stop:
                        raise run.interrupted(done)
        return log

    def identity(self, config: Mapping[str, object] | None = None) -> Identity:
        """What a run of this trainer is made with."""
        budget = self.budget
        return identity_of(
            lambda epoch, length: replace(budget, epochs=length).rate(epoch),
            actor=self.actor,
            budget=budget,
            critic=self.critic.description(),
            sampler=self.sampler.description(),
            task=self.task.description(),
            precision=self.accelerator.mixed_precision,
            **(config or {}),
        )

    def measure(self, rows: int) -> Tensor:
        """Objectives of fresh trajectories, (rows,), on a stream that no epoch uses."""
        world = self.accelerator.num_processes
        rows = -(-rows // world) * world  # up to a multiple
        generator = generator_of(self.budget.seed, EVALUATION, self.accelerator.device)
        prompts = torch.arange(rows, device=self.accelerator.device) % len(self.task.prompts)
        run, mine = self._rollout(generator, prompts, skips=False)
        with torch.no_grad():
            found = self.task.rewards(run.end, prompts[mine]) - self.budget.beta * run.kl.sum(dim=1)
        gathered: Tensor = self.accelerator.gather(found)
        return gathered

    def _epoch(self, epoch: int) -> dict[str, float]:
        budget = self.budget
        for group in self.optimizer.param_groups:
            group["lr"] = budget.rate(epoch)
        generator = generator_of(budget.seed, epoch, self.accelerator.device)
        prompts = self.task.draw_prompts(generator, self.budget.prompts, self.budget.group)
        run, mine = self._rollout(generator, prompts, skips=self.skips)
        with torch.no_grad():
            raw = self.task.rewards(run.end, prompts[mine])
        everywhere = self.accelerator.gather(raw)
        if not bool(torch.isfinite(everywhere).all()):
            raise FloatingPointError(
                f"{self.title}: a reward of epoch {epoch} is not finite; nothing was updated"
            )
        centre, scale = torch.zeros_like(raw), torch.ones_like(raw)
        if budget.normalise == "prompt":
            centre, scale = self.statistics.absorb(everywhere, prompts, mine)
        lesson = Lesson(
            states=run.states,
            plug_in=(run.plug_in - centre) / scale,
            rewards=(raw - centre) / scale,
            cost=budget.beta * run.kl,
            dt=self.dt,
            condition=self.task.condition(prompts[mine]),
        )
        kl = float(self.accelerator.reduce(run.kl.sum(dim=1).mean(), reduction="mean"))
        numbers = {
            "reward": float(everywhere.mean()),
            "kl": kl,
            "objective": float(everywhere.mean()) - budget.beta * kl,
        }
        if epoch >= budget.warmup:
            numbers |= self._updates(epoch, run, lesson, prompts[mine], scale)
        lessons = generator_of(budget.seed, LESSONS + epoch)
        return {**numbers, "critic": self.critic.absorb(lesson, lessons, self.accelerator)}

    # -- the actor ----------------------------------------------------------------------------------------

    def _updates(
        self, epoch: int, run: Run, lesson: Lesson, prompts: Tensor, scale: Tensor
    ) -> dict[str, float]:
        budget = self.budget
        generator = generator_of(budget.seed, SHUFFLES + epoch)
        signal, divisor = self._signal(lesson, prompts, scale)
        rows_here = len(lesson.rewards)
        device = lesson.rewards.device
        sums, first = torch.zeros(2, dtype=torch.float64, device=device), True
        for _ in range(budget.passes):
            order = torch.randperm(rows_here, generator=generator).to(device)
            for rows in order.chunk(budget.updates):
                self.stepper.zero_grad(set_to_none=True)
                every = torch.cartesian_prod(torch.arange(self.count, device=device), rows)
                chunks = torch.split(every, budget.micro_batch)
                for i, pairs in enumerate(chunks):
                    with synchronised(self.accelerator, self.wrapped, i == len(chunks) - 1):
                        loss, seen = self._loss(run, lesson, pairs, signal, divisor, on_policy=first)
                        self.accelerator.backward(loss / len(rows))
                    sums += seen
                clipped_step(
                    self.accelerator,
                    self.stepper,
                    list(self.weights.values()),
                    budget.max_grad_norm,
                    f"{self.title}: the gradient of epoch {epoch}",
                )
                first = False
        total = budget.passes * rows_here * self.count
        means = (self.accelerator.reduce(sums, reduction="mean") / total).tolist()
        return dict(zip(("clip_fraction", "squared_log_ratio"), means, strict=True))

    def _signal(self, lesson: Lesson, prompts: Tensor, scale: Tensor) -> tuple[Tensor, float]:
        """What each step is told, by row and step, and the one number that divides the loss."""
        if self.actor == "pathwise":
            return self._slopes(lesson, prompts, scale), 1.0
        advantage = td_errors.kernel(xp, self.critic.along(lesson), lesson.cost)
        if not self.budget.standardise:
            return advantage, 1.0
        square = self.accelerator.reduce((advantage**2).mean(), reduction="mean")
        return advantage, max(float(square) ** 0.5, 1e-12)

    def _slopes(self, lesson: Lesson, prompts: Tensor, scale: Tensor) -> Tensor:
        """Gradients of V at the states after the steps, (B, S, *); at the end that of the reward."""
        slopes = []
        with torch.enable_grad():
            for k in range(1, self.count):
                x = lesson.states[k].detach().requires_grad_()
                steps = torch.full((len(x),), k, device=x.device)
                values = self.critic(x, steps, lesson.plug_in[k], lesson.condition)
                slopes.append(torch.autograd.grad(values.sum(), x)[0])
            x = lesson.states[-1].detach().requires_grad_()
            end = finish(self.denoiser, self.sampler, self.count, x, lesson.condition)
            slopes.append(torch.autograd.grad((self.task.values(end, prompts) / scale).sum(), x)[0])
        return torch.stack(slopes, dim=1)

    def _loss(
        self, run: Run, lesson: Lesson, pairs: Tensor, signal: Tensor, divisor: float, *, on_policy: bool
    ) -> tuple[Tensor, Tensor]:
        """The summed loss of some steps, and what is logged of them."""
        steps, rows = pairs[:, 0], pairs[:, 1]
        x, after = run.states[steps, rows], run.states[steps + 1, rows]
        condition: Condition = {name: v[rows.to(v.device)] for name, v in lesson.condition.items()}
        t = self.sampler.times(steps)
        mean, std = moments(self.sampler, self.wrapped(x, t, condition), steps, x)
        other, _ = moments(self.sampler, self.reference(x, t, condition), steps, x)
        penalty = self.budget.beta * step_kl.kernel(xp, mean, other, std)
        told = signal[rows, steps].to(mean.dtype)
        blank = torch.zeros_like(penalty)
        if self.actor == "pathwise":
            gain, clipped, ratio = (told * mean).flatten(1).sum(dim=1), blank, blank
        else:
            logp = log_prob(after, mean, std)
            # The first update is on policy: its ratio is 1, and not what two batches round it to.
            old = logp.detach() if on_policy else run.log_probs[rows, steps]
            ratio = (logp - old).detach()
            gain, clipped = logp * told, blank
            if self.actor == "ppo":
                gain, clipped = clipped_surrogate.kernel(xp, logp, old, told, self.budget.clip)
        loss = (penalty - gain).sum() / divisor
        return loss, torch.stack([clipped.detach().double().sum(), (ratio.double() ** 2).sum()])

    def _require_gradient(self, name: str, device: torch.device) -> None:
        if self.skips:
            hypothesis = "a critic without skip: the gradient of a skip is that of the denoiser"
            raise UnmetHypothesis(name, hypothesis, "a skip of the reward of the denoised state")
        x = torch.zeros(1, *self.task.shape, dtype=self.task.dtype, device=device, requires_grad=True)
        self.task.values(x, torch.zeros(1, dtype=torch.long, device=device))

    # -- rewards, prompts, processes ----------------------------------------------------------------------

    def _rollout(self, generator: torch.Generator, prompts: Tensor, *, skips: bool) -> tuple[Run, slice]:
        rows = len(prompts)
        mine = share(self.accelerator, rows)
        start = self.task.draw_noise(generator, rows)[mine]
        own = prompts[mine]
        run = rollout(
            self.denoiser,
            self.reference,
            self.sampler,
            self.count,
            start,
            self.task.condition(own),
            lambda _: self.task.draw_noise(generator, rows)[mine],
            (lambda guess: self.task.rewards(guess, own)) if skips else None,
            self.budget.micro_batch,
        )
        return run, mine

    def _tensors(self) -> dict[str, Tensor]:
        parts = {"weights": self.weights, "statistics": self.statistics.state_dict()}
        parts["critic"] = self.critic.state_dict()
        return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        critics = {f"critic_optimizer{i}": optimizer for i, optimizer in enumerate(self.critic.optimizers())}
        return {"optimizer": self.optimizer, **critics}
