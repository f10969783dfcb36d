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

The actor learns with the critic of the rollouts before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, final

import array_api_compat.torch as xp
import torch
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.checkpoint import prefixed
from driftproof.backends.torch.kit.distributed import local_rows
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.pretrained.guidance import Condition, Predict
from driftproof.backends.torch.rl.method import AbstractMethod, Losses
from driftproof.backends.torch.rl.sampler import Sampler, log_prob
from driftproof.backends.torch.rl.statistics import PromptStatistics
from driftproof.backends.torch.rl.task import Task
from driftproof.backends.torch.rl.times import Batch, Samples
from driftproof.backends.torch.rl.trainer import EVALUATION, RolloutTrainer
from driftproof.backends.torch.rl.trajectories import Recorder, log_probs, references
from driftproof.numerics.reward_gap import clipped_surrogate, step_kl
from driftproof.numerics.score_as_action import td_errors

from .config import Actor, Budget, CriticChoice
from .critics import AbstractCritic, CriticBatch, NetworkCritic
from .rollouts import denoised, finish, stochastic_steps

__all__ = ["ActorCritic", "ActorCriticTrainer", "Told", "network_critic"]

LESSONS = 1 << 28  # a stream of the seed that no epoch uses


@final
@dataclass(frozen=True, slots=True)
class Told:
    """The signal of the critic for the actor.

    Arguments:
        steps: Advantages (B, S), or for ``pathwise`` gradients of the value after the steps, (B, S, *).
        divisor: The divisor of the loss, one number for all steps.
        batch: The data of the same rollout that the critic learns from afterwards.
    """

    steps: Tensor
    divisor: float
    batch: CriticBatch


@final
class ActorCritic(AbstractMethod[Told]):
    """The method.

    Arguments:
        budget: The numbers of the actor.
        critic: The value function.
        actor: ``pathwise``, ``advantage`` or ``ppo``.

    Raises:
        UnmetHypothesis: Another actor, or several passes without ``ppo``; when it is taken up, eta = 0, or a pathwise
            actor with a reward without gradient, or with a skip in its critic.
    """

    budget: Budget
    policies = ("reference",)
    reduction = "sum"

    def __init__(self, budget: Budget, critic: AbstractCritic, actor: Actor) -> None:
        super().__init__(budget)
        if actor not in ("pathwise", "advantage", "ppo"):
            raise UnmetHypothesis("trainer", "the actor is pathwise, advantage or ppo", f"actor = {actor!r}")
        if budget.num_iterations > 1 and actor != "ppo":
            raise UnmetHypothesis(
                f"{actor} actor",
                "num_iterations = 1, but for ppo",
                f"num_iterations = {budget.num_iterations}",
            )
        self.critic, self.actor = critic, actor
        self.skips = isinstance(critic, NetworkCritic) and critic.choice.skip != "none"

    def check(self) -> None:
        setting, budget = self.setting, self.budget
        device, sampler = setting.accelerator.device, setting.sampler
        self.count = stochastic_steps(sampler, self.name)
        if self.actor == "pathwise":
            self._require_gradient(device)
        self.critic.to(device)
        self.statistics = PromptStatistics(len(setting.task.prompts), budget.decay, budget.min_count).to(
            device
        )
        t = sampler.timesteps.double()
        t = torch.cat([t, t.new_zeros(1)]) / len(sampler.scheduler)
        self.dt = (t[:-1] - t[1:])[: self.count].clamp(min=float(t[0]) * 1e-6).to(device)

    def record(self, condition: Condition, prompts: Tensor) -> Sequence[Recorder]:
        setting = self.setting
        found = (log_probs, *self._references(condition, prompts))
        if not self.skips:
            return found
        return (*found, denoised(setting.sampler, lambda x: setting.task.rewards(x, prompts)))

    def signal(self, samples: Samples) -> Told:
        """The batch of the rollout, and what it says to the actor."""
        budget, done, mine = self.budget, samples.done, samples.mine
        raw, kl = samples.rewards[mine], done.recorded["kl"]
        centre, scale = torch.zeros_like(raw), torch.ones_like(raw)
        if budget.normalise == "prompt":
            centre, scale = self.statistics.of_rows(samples.rewards, samples.prompts, mine)
        plug_in = done.recorded["plug_in"].T if self.skips else torch.zeros_like(kl.T)
        batch = CriticBatch(
            states=done.states[: self.count + 1],
            plug_in=(plug_in - centre) / scale,
            rewards=(raw - centre) / scale,
            cost=budget.beta * kl,
            dt=self.dt,
            condition=samples.condition,
        )
        if self.actor == "pathwise":
            return Told(self._slopes(batch, samples.prompts[mine], scale), 1.0, batch)
        advantage = td_errors.kernel(xp, self.critic.values_on_path(batch), batch.cost)
        divisor = 1.0
        if budget.standardise:
            square = self.setting.accelerator.reduce((advantage**2).mean(), reduction="mean")
            divisor = max(float(square) ** 0.5, 1e-12)
        return Told(advantage, divisor, batch)

    def loss(self, batch: Batch, samples: Samples, signal: Told) -> Losses:
        sampler, recorded = self.setting.sampler, samples.done.recorded
        assert batch.steps is not None and batch.after is not None  # of recorded steps
        place = (batch.rows, batch.places)
        output = self.setting.policies.trained(batch.x, batch.t, batch.condition)
        mean, std = sampler.moments(output, batch.steps, batch.x, sampler.eta)
        penalty = self.budget.beta * step_kl.kernel(xp, mean, recorded["reference"][place], std)
        given = signal.steps[place].to(mean.dtype)
        clipped = ratio = torch.zeros_like(penalty)
        if self.actor == "pathwise":
            gain = (given * mean).flatten(1).sum(dim=1)
        else:
            logp = log_prob(batch.after, mean, std)
            old = logp.detach() if batch.first else recorded["log_probs"][place]
            ratio, gain = (logp - old).detach(), logp * given
            if self.actor == "ppo":
                gain, clipped = clipped_surrogate.kernel(xp, logp, old, given, self.budget.clip_range)
        seen = {"clip_fraction": clipped, "squared_log_ratio": ratio.double() ** 2}
        return Losses((penalty - gain) / signal.divisor, seen)

    def learns(self, epoch: int) -> bool:
        return epoch >= self.budget.critic_warmup

    def numbers(self, samples: Samples) -> dict[str, float]:
        reward = float(samples.rewards.mean())
        own = samples.done.recorded["kl"].sum(dim=1).mean()
        kl = float(self.setting.accelerator.reduce(own, reduction="mean"))
        return {"reward": reward, "kl": kl, "objective": reward - self.budget.beta * kl}

    def shown(self, numbers: Mapping[str, float]) -> float:
        return -numbers["objective"]

    def after_epoch(self, epoch: int, samples: Samples, signal: Told) -> dict[str, float]:
        """The critic learns from the rollout that the actor has learnt from."""
        generator = generator_of(self.budget.seed, LESSONS + epoch)
        return {"critic": self.critic.update(signal.batch, generator, self.setting.accelerator)}

    def evaluate(self, trainer: RolloutTrainer[Told], rows: int) -> Tensor:
        """Objectives of fresh trajectories, (rows,), on a stream that no epoch uses."""
        setting, world = self.setting, self.setting.accelerator.num_processes
        rows = -(-rows // world) * world  # up to a multiple
        generator = generator_of(self.budget.seed, EVALUATION, setting.accelerator.device)
        prompts = torch.arange(rows, device=setting.accelerator.device) % len(setting.task.prompts)
        done = trainer.sample(generator, prompts, self.kinds(0), record=self._references)
        found = setting.task.rewards(done.end, prompts[local_rows(setting.accelerator, rows)])
        found = found - self.budget.beta * done.recorded["kl"].sum(dim=1)
        return cast("Tensor", setting.accelerator.gather(found))

    # -- how it is identified and saved -------------------------------------------------------------------

    @property
    def name(self) -> str:
        return f"{self.actor} actor"

    @property
    def schedule(self) -> Callable[[int, int], float]:
        return lambda epoch, length: replace(self.budget, epochs=length).rate(epoch)

    def description(self) -> dict[str, object]:
        return {"critic": self.critic.description()}

    def tensors(self) -> dict[str, Tensor]:
        statistics = prefixed("statistics", self.statistics.state_dict())
        return {**statistics, **prefixed("critic", self.critic.state_dict())}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {f"critic_optimizer{i}": one for i, one in enumerate(self.critic.optimizers())}

    def _references(self, condition: Condition, prompts: Tensor) -> Sequence[Recorder]:
        setting, chunk = self.setting, self.budget.per_device_rollout_batch_size
        return (references(setting.policies.predict("reference"), setting.sampler, condition, chunk),)

    # -- the pathwise actor -------------------------------------------------------------------------------

    def _slopes(self, batch: CriticBatch, prompts: Tensor, scale: Tensor) -> Tensor:
        """Gradients of V at the states after the steps, (B, S, *); at the end that of the reward."""
        slopes, setting = [], self.setting
        with torch.enable_grad():
            for k in range(1, self.count):
                x = batch.states[k].detach().requires_grad_()
                steps = torch.full((len(x),), k, device=x.device)
                values = self.critic(x, steps, batch.plug_in[k], batch.condition)
                slopes.append(torch.autograd.grad(values.sum(), x)[0])
            x = batch.states[-1].detach().requires_grad_()
            model = cast("Predict", setting.policies.denoiser)
            end = finish(model, setting.sampler, self.count, x, batch.condition)
            slopes.append(torch.autograd.grad((setting.task.values(end, prompts) / scale).sum(), x)[0])
        return torch.stack(slopes, dim=1)

    def _require_gradient(self, device: torch.device) -> None:
        if self.skips:
            hypothesis = "a critic without skip, as the gradient of a skip is that of the denoiser"
            raise UnmetHypothesis(self.name, hypothesis, "a skip of the reward of the denoised state")
        task = self.setting.task
        x = torch.zeros(1, *task.shape, dtype=task.dtype, device=device, requires_grad=True)
        task.values(x, torch.zeros(1, dtype=torch.long, device=device))


@final
class ActorCriticTrainer(RolloutTrainer[Told]):
    """The trainer of :class:`ActorCritic`; options are those of :class:`.rl.trainer.RolloutTrainer`."""

    def __init__(
        self,
        denoiser: nn.Module,
        critic: AbstractCritic,
        sampler: Sampler,
        task: Task,
        budget: Budget,
        actor: Actor,
        **options: Any,
    ) -> None:
        super().__init__(ActorCritic(budget, critic, actor), denoiser, sampler, task, **options)
        self.actor_critic = cast("ActorCritic", self.method)


def network_critic(
    choice: CriticChoice, sampler: Sampler, task: Task, seed: int, device: torch.device
) -> NetworkCritic:
    """The value network of a pipeline; its first weights belong to the seed."""
    count = stochastic_steps(sampler, "critic")
    times = sampler.timesteps[:count].double() / len(sampler.scheduler)
    prompt = task.conditions.get("prompt")
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        critic = NetworkCritic(choice, task.shape[0], 0 if prompt is None else prompt.shape[-1], times)
    return critic.to(device)
