r"""DDPO and MixGRPO (with the full window: Flow-GRPO): policy gradients as methods of a trainer of rollouts.

An epoch samples trajectories, rewards their ends, and ascends

.. math:: \frac1S \sum_{i \in \text{sde}} \Big[\min\big(u_i A_i,\ \mathrm{clip}(u_i)\, A_i\big)
    - \beta\,\mathrm{KL}_i\Big]

over the S stochastic steps, whose log-probabilities are sums over coordinates.  With ``kl="path"`` the
advantage of a step also pays for the divergences that follow it,
:math:`A_i = A - \beta\sum_{k>i}\mathrm{KL}_k`, which makes the whole the gradient of
:math:`E r - \beta\,\mathrm{KL}(\text{paths})`; with ``kl="loss"``, the usual form, it is not a gradient.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import final

import array_api_compat.torch as xp
import torch
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.distributed import local_rows
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.pretrained.guidance import Condition
from driftproof.backends.torch.rl.method import AbstractMethod, Losses
from driftproof.backends.torch.rl.sampler import Kind, log_prob
from driftproof.backends.torch.rl.statistics import PromptStatistics
from driftproof.backends.torch.rl.times import Batch, Samples
from driftproof.backends.torch.rl.trainer import EVALUATION, RolloutTrainer
from driftproof.backends.torch.rl.trajectories import Recorder, log_probs, references
from driftproof.numerics.opd import discounted_future, leave_one_out
from driftproof.numerics.reward_gap import (
    PairedGap,
    Window,
    clipped_surrogate,
    group_advantages,
    paired_gap,
    running_advantages,
    step_kl,
)

from .config import Budget

__all__ = ["DDPO", "AbstractPolicyGradient", "MixGRPO"]


class AbstractPolicyGradient(AbstractMethod[Tensor]):
    """The common part of DDPO and MixGRPO, which differ in advantages and in the stochastic steps.

    Arguments:
        budget: The numbers of the policy gradient.
    """

    budget: Budget

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self.policies = ("reference",) if budget.beta > 0.0 else ()
        self.measure_every = budget.evaluate_every

    @abstractmethod
    def window(self, epoch: int) -> Sequence[int]:
        """The steps that are stochastic in this epoch."""

    @abstractmethod
    def windows(self) -> Sequence[Sequence[int]]:
        """Every window that will come."""

    @abstractmethod
    def advantages(self, rewards: Tensor, prompts: Tensor) -> Tensor:
        """Advantages of all rewards of a rollout, with shape (B,), from what was seen so far."""

    def check(self) -> None:
        budget = self.budget
        if budget.beta > 0.0 and budget.kl == "path" and budget.rows < 2:
            raise UnmetHypothesis(self.name, "at least 2 rows, for kl = path", f"{budget.rows} rows")
        for window in self.windows():
            self.setting.sampler.kinds(window, self.name)

    def kinds(self, epoch: int) -> tuple[Kind, ...]:
        return self.setting.sampler.kinds(self.window(epoch), self.name)

    def record(self, condition: Condition, prompts: Tensor) -> Sequence[Recorder]:
        if not self.policies:
            return (log_probs,)
        policies, sampler, chunk = (
            self.setting.policies,
            self.setting.sampler,
            self.budget.per_device_rollout_batch_size,
        )
        return (log_probs, references(policies.predict("reference"), sampler, condition, chunk))

    def signal(self, samples: Samples) -> Tensor:
        """Advantages of the trajectories of this process at each stochastic step, with shape (B, S)."""
        recorded = samples.done.recorded
        relative = self.advantages(samples.rewards.to(recorded["log_probs"].dtype), samples.prompts)[:, None]
        if self.policies and self.budget.kl == "path":
            kl = self.setting.accelerator.gather(recorded["kl"])
            later = discounted_future.kernel(xp, kl, kl.new_tensor(1.0))
            others = leave_one_out.kernel(xp, later.T).T
            relative = relative - self.budget.beta * (later - others)
        return relative.expand(-1, recorded["log_probs"].shape[1])[samples.mine]

    def loss(self, batch: Batch, samples: Samples, signal: Tensor) -> Losses:
        budget, sampler, recorded = self.budget, self.setting.sampler, samples.done.recorded
        assert batch.steps is not None and batch.after is not None  # of recorded steps
        output = self.setting.policies.trained(batch.x, batch.t, batch.condition)
        mean, std = sampler.moments(output, batch.steps, batch.x, sampler.eta)
        logp = log_prob(batch.after, mean, std)
        place = (batch.rows, batch.places)
        old = logp.detach() if batch.first else recorded["log_probs"][place]
        # Per coordinate or not, the gradient at the old policy is A times that of the log-probability.
        size = float(batch.x[0].numel()) if budget.ratio == "mean" else 1.0
        chosen = signal[place].to(logp.dtype)
        surrogate, clipped = clipped_surrogate.kernel(xp, logp / size, old / size, chosen, budget.clip_range)
        kl = torch.zeros_like(logp)
        if self.policies:
            kl = step_kl.kernel(xp, mean, recorded["reference"][place], std)
        seen = {"clip_fraction": clipped, "squared_log_ratio": ((logp - old).detach() / size) ** 2, "kl": kl}
        return Losses(budget.beta * kl - size * surrogate, seen)

    def numbers(self, samples: Samples) -> dict[str, float]:
        rewards = samples.rewards
        spread = float(rewards.std()) if len(rewards) > 1 else 0.0
        return {**super().numbers(samples), "spread": spread, "window": float(samples.done.stochastic[0])}

    def measure(self, trainer: RolloutTrainer[Tensor], pairs: int | None = None) -> PairedGap | None:
        """The reward at eta = 0 and at the training eta, every step stochastic, from the same starts.

        None where there are no pairs.
        """
        pairs = self.budget.pairs if pairs is None else pairs
        if not pairs:
            return None
        setting, world = self.setting, self.setting.accelerator.num_processes
        total = -(-pairs // world) * world  # up to a multiple
        generator = generator_of(self.budget.seed, EVALUATION, setting.accelerator.device)
        start = trainer.task.draw_noise(generator, total)
        prompts = torch.arange(total, device=start.device) % len(trainer.task.prompts)
        mine, found = local_rows(setting.accelerator, total), []
        for kinds in (setting.sampler.deterministic, setting.sampler.kinds(range(setting.sampler.n_steps))):
            done = trainer.sample(generator, prompts, kinds, start=start)
            found.append(setting.accelerator.gather(trainer.task.rewards(done.end, prompts[mine])))
        return paired_gap(found[0], found[1], self.budget.level)


@final
class DDPO(AbstractPolicyGradient):
    """DDPO: every step is stochastic; rewards are compared with the running statistics of their prompt.

    References:
        | Training diffusion models with reinforcement learning (Black et al., 2023)
        | https://arxiv.org/abs/2305.13301
    """

    def check(self) -> None:
        super().check()
        self.statistics = PromptStatistics(
            len(self.setting.task.prompts), self.budget.decay, self.budget.min_count
        ).to(self.setting.accelerator.device)

    def window(self, epoch: int) -> Sequence[int]:
        return range(self.setting.sampler.n_steps)

    def windows(self) -> Sequence[Sequence[int]]:
        return [self.window(0)]

    def advantages(self, rewards: Tensor, prompts: Tensor) -> Tensor:
        budget = self.budget
        self.statistics.take_in(rewards, prompts)
        members = nn.functional.one_hot(prompts, len(self.setting.task.prompts)).double()
        clip, least = budget.advantage_clip or None, float(budget.min_count)
        count, mean, squares = self.statistics.buffers()
        values = rewards.double()
        found = running_advantages.kernel(
            xp, values, members, count, mean, squares, least, budget.scale_rewards, clip
        )
        return found.to(rewards.dtype)

    def tensors(self) -> dict[str, Tensor]:
        return self.statistics.state_dict()


@final
class MixGRPO(AbstractPolicyGradient):
    """MixGRPO: a sliding window of stochastic steps; rewards are compared within groups of one prompt.

    With the full window this is Flow-GRPO.

    Arguments:
        budget: The numbers of the policy gradient, with groups of at least 2.
        stochastic: The window.

    Raises:
        UnmetHypothesis: Groups of one, or a window that is wider than the grid.

    References:
        | MixGRPO: unlocking flow-based GRPO efficiency with mixed ODE-SDE (Li et al., 2025)
        | https://arxiv.org/abs/2507.21802
        | Flow-GRPO: training flow matching models via online RL (Liu et al., 2025)
        | https://arxiv.org/abs/2505.05470
    """

    def __init__(self, budget: Budget, stochastic: Window | None = None) -> None:
        super().__init__(budget)
        self.stochastic = stochastic or Window()
        if budget.num_generations < 2:
            raise UnmetHypothesis(
                self.name, "at least 2 samples of a prompt", f"num_generations = {budget.num_generations}"
            )

    def window(self, epoch: int) -> Sequence[int]:
        return self.stochastic.steps(self.setting.sampler.n_steps, epoch)

    def windows(self) -> Sequence[Sequence[int]]:
        period = self.setting.sampler.n_steps * self.stochastic.every
        return [self.window(epoch) for epoch in range(min(period, self.budget.epochs))]

    def advantages(self, rewards: Tensor, prompts: Tensor) -> Tensor:
        budget = self.budget
        groups = rewards.double().reshape(-1, budget.num_generations)
        clip = budget.advantage_clip or None
        found = group_advantages.kernel(xp, groups, budget.baseline, budget.scale_rewards, clip)
        return found.reshape(-1).to(rewards.dtype)

    def description(self) -> dict[str, object]:
        return {"window": self.stochastic}
