"""Three published methods on the protocol of :mod:`driftproof.backends.torch.rl.method`, a few functions each.

They show what the protocol must allow; ``tests/test_torch_rl_methods.py`` runs them, and checks their types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import array_api_compat.torch as xp
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from driftproof.backends.torch.pretrained.guidance import Condition
from driftproof.backends.torch.rl.budget import RolloutBudget
from driftproof.backends.torch.rl.method import AbstractMethod, Losses
from driftproof.backends.torch.rl.sampler import Kind, log_prob
from driftproof.backends.torch.rl.times import Batch, FreshNoise, Samples
from driftproof.backends.torch.rl.trajectories import Recorder, references
from driftproof.numerics.reward_gap import clipped_surrogate, group_advantages


def squares(x: Tensor) -> Tensor:
    """Summed over coordinates."""
    return (x**2).flatten(1).sum(dim=1)


@final
class DiffusionNFT(AbstractMethod[Tensor]):
    """Rewards in [0, 1] pull the flow towards a sample and push it away, from samples of the policy of the past."""

    policies = ("old",)
    behaviour = "old"
    keep_states = False
    times = FreshNoise()

    def __init__(self, budget: RolloutBudget, beta: float = 1.0, keep: float = 0.5) -> None:
        super().__init__(budget)
        self.beta, self.keep = beta, keep

    def kinds(self, epoch: int) -> tuple[Kind, ...]:
        return self.setting.sampler.deterministic

    def signal(self, samples: Samples) -> Tensor:
        rewards = samples.rewards.reshape(-1, self.budget.num_generations)
        relative = rewards - rewards.mean(dim=1, keepdim=True)
        share = 0.5 + 0.5 * relative / relative.abs().max().clamp(min=1e-12)
        return share.flatten()[samples.mine]

    def loss(self, batch: Batch, samples: Samples, signal: Tensor) -> Losses:
        assert batch.noise is not None and batch.clean is not None
        target, r = batch.noise - batch.clean, signal[batch.rows]
        old = self.setting.policies("old", batch.x, batch.t, batch.condition)
        moved = self.beta * (self.setting.policies.trained(batch.x, batch.t, batch.condition) - old)
        positive, negative = squares(old + moved - target), squares(old - moved - target)
        return Losses(batch.weight * (r * positive + (1.0 - r) * negative), {"deviation": squares(moved)})

    def after_epoch(self, epoch: int, samples: Samples, signal: Tensor) -> dict[str, float]:
        self.setting.policies.move("old", self.keep)
        return {}


@final
class AWM(AbstractMethod[Tensor]):
    """Advantage-weighted matching: the matching loss takes the place of the log-density, with a clipped ratio."""

    policies = ("ema",)
    keep_states = False

    def __init__(
        self, budget: RolloutBudget, clip: float = 0.2, beta: float = 0.1, keep: float = 0.9
    ) -> None:
        super().__init__(budget)
        self.clip, self.beta, self.keep = clip, beta, keep
        self.times = FreshNoise(draws=2, weight=lambda t: 1.0 - t, shared=budget.num_generations)

    def signal(self, samples: Samples) -> Tensor:
        groups = samples.rewards.reshape(-1, self.budget.num_generations)
        found: Tensor = group_advantages.kernel(xp, groups, "group", True, None).flatten()[samples.mine]
        return found

    def loss(self, batch: Batch, samples: Samples, signal: Tensor) -> Losses:
        assert batch.noise is not None and batch.clean is not None
        policies, target = self.setting.policies, batch.noise - batch.clean
        new = policies.trained(batch.x, batch.t, batch.condition)
        fit = -batch.weight * squares(new - target)
        gain, clipped = clipped_surrogate.kernel(xp, fit, fit.detach(), signal[batch.rows], self.clip)
        anchor = batch.weight * squares(new - policies("ema", batch.x, batch.t, batch.condition))
        return Losses(self.beta * anchor - gain, {"clip_fraction": clipped, "anchor": anchor})

    def after_update(self) -> None:
        self.setting.policies.move("ema", self.keep)


@final
class D3PO(AbstractMethod[Tensor]):
    """Of two samples the better one is preferred at every step, by log-ratios to the reference."""

    policies = ("reference",)
    together = 2

    def __init__(self, budget: RolloutBudget, beta: float = 0.1) -> None:
        super().__init__(budget)
        self.beta = beta

    def record(self, condition: Condition, prompts: Tensor) -> Sequence[Recorder]:
        return (references(self.setting.policies.predict("reference"), self.setting.sampler, condition),)

    def signal(self, samples: Samples) -> Tensor:
        """+1 where the first of a pair is the better one, -1 where the second is, 0 where neither is."""
        first, second = samples.rewards.reshape(-1, 2).T
        return torch.sign(first - second).repeat_interleave(2)[samples.mine]

    def loss(self, batch: Batch, samples: Samples, signal: Tensor) -> Losses:
        assert batch.steps is not None and batch.after is not None
        sampler = self.setting.sampler
        output = self.setting.policies.trained(batch.x, batch.t, batch.condition)
        mean, std = sampler.moments(output, batch.steps, batch.x, sampler.eta)
        base = samples.done.recorded["reference"][batch.rows, batch.places]
        ratio = log_prob(batch.after, mean, std) - log_prob(batch.after, base, std)
        first, second = ratio.reshape(-1, 2).T
        sign = signal[batch.rows].reshape(-1, 2)[:, 0]
        each = -sign.abs() * logsigmoid(self.beta * sign * (first - second))
        return Losses(
            0.5 * each.repeat_interleave(2), {"margin": (sign * (first - second)).repeat_interleave(2)}
        )
