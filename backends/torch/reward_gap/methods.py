r"""DDPO and MixGRPO: where advantages come from, and which steps are stochastic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import array_api_compat.torch as xp
import torch
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.numerics.reward_gap import Window, group_advantages, running_advantages, update_statistics

from .trainer import AbstractTrainer

__all__ = ["DDPOTrainer", "MixGRPOTrainer"]


@final
class DDPOTrainer(AbstractTrainer):
    """DDPO: every step is stochastic; rewards are compared with the running statistics of their prompt.

    Arguments: those of :class:`AbstractTrainer`.

    References:
        | Training diffusion models with reinforcement learning (Black et al., 2023)
        | https://arxiv.org/abs/2305.13301
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        zeros = torch.zeros(len(self.task.prompts), dtype=torch.float64, device=self.accelerator.device)
        self.statistics = (zeros, zeros.clone(), zeros.clone())  # count, mean, squares

    def window(self, epoch: int) -> Sequence[int]:
        return range(self.sampler.n_steps)

    def advantages(self, rewards: Tensor, prompts: Tensor) -> Tensor:
        budget = self.budget
        members = nn.functional.one_hot(prompts, len(self.task.prompts)).double()
        values = rewards.double()
        self.statistics = update_statistics.kernel(xp, *self.statistics, values, members, budget.history)
        clip = budget.advantage_clip or None
        least = float(budget.least)
        found = running_advantages.kernel(xp, values, members, *self.statistics, least, budget.scale, clip)
        return found.to(rewards.dtype)

    def state(self) -> dict[str, Tensor]:
        return dict(zip(("count", "mean", "squares"), self.statistics, strict=True))

    def _check(self, name: str) -> None:
        pass  # a prompt needs no second sample: it has a past

    def _windows(self) -> Sequence[Sequence[int]]:
        return [range(self.sampler.n_steps)]


@final
class MixGRPOTrainer(AbstractTrainer):
    """MixGRPO: a sliding window of stochastic steps; rewards are compared within groups of one prompt.

    With the full window this is Flow-GRPO.

    Arguments: those of :class:`AbstractTrainer`, and
        stochastic: The window.

    Raises:
        UnmetHypothesis: Groups of one, or a window that is wider than the grid.

    References:
        | MixGRPO: unlocking flow-based GRPO efficiency with mixed ODE-SDE (Li et al., 2025)
        | https://arxiv.org/abs/2507.21802
        | Flow-GRPO: training flow matching models via online RL (Liu et al., 2025)
        | https://arxiv.org/abs/2505.05470
    """

    def __init__(self, *args: Any, stochastic: Window | None = None, **options: Any) -> None:
        self.stochastic = stochastic or Window()
        super().__init__(*args, **options)

    def window(self, epoch: int) -> Sequence[int]:
        return self.stochastic.steps(self.sampler.n_steps, epoch)

    def advantages(self, rewards: Tensor, prompts: Tensor) -> Tensor:
        budget = self.budget
        groups = rewards.double().reshape(-1, budget.group)
        clip = budget.advantage_clip or None
        found = group_advantages.kernel(xp, groups, budget.baseline, budget.scale, clip)
        return found.reshape(-1).to(rewards.dtype)

    def options(self) -> dict[str, object]:
        return {"window": self.stochastic}

    def _check(self, name: str) -> None:
        if self.budget.group < 2:
            hypothesis = "at least 2 samples of a prompt"
            raise UnmetHypothesis(name, hypothesis, f"group = {self.budget.group}")

    def _windows(self) -> Sequence[Sequence[int]]:
        period = self.sampler.n_steps * self.stochastic.every
        return [self.window(epoch) for epoch in range(min(period, self.budget.epochs))]
