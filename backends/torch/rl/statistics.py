"""Running statistics of each prompt: what is taken from a reward, and what divides it."""

from __future__ import annotations

from typing import final

import array_api_compat.torch as xp
import torch
from torch import Tensor, nn

from driftproof.numerics.reward_gap import update_statistics

__all__ = ["PromptStatistics"]


@final
class PromptStatistics(nn.Module):
    """Mean and deviation of the rewards of each prompt.

    An affine map for each prompt, the same for samples and for denoised states, so that values and rewards stay
    comparable along a path.

    Arguments:
        prompts: Their number.
        decay: The weight that past rewards keep, in (0, 1].
        min_count: The rewards of a prompt before its own statistics are used; until then those of the batch are.

    Example:
        >>> statistics = PromptStatistics(1, decay=1.0, min_count=2)
        >>> rewards, prompts = torch.tensor([1.0, 3.0]), torch.tensor([0, 0])
        >>> [part.tolist() for part in statistics.of_rows(rewards, prompts, slice(None))]
        [[2.0, 2.0], [1.4142135381698608, 1.4142135381698608]]
    """

    def __init__(self, prompts: int, decay: float, min_count: int) -> None:
        super().__init__()
        self.decay, self.min_count = decay, min_count
        self.count: Tensor
        self.mean: Tensor
        self.squares: Tensor
        for name in ("count", "mean", "squares"):
            self.register_buffer(name, torch.zeros(prompts, dtype=torch.float64))

    def take_in(self, rewards: Tensor, prompts: Tensor) -> None:
        """Take in the rewards of all processes."""
        members = nn.functional.one_hot(prompts, len(self.count)).double()
        values = rewards.double()
        found = update_statistics.kernel(xp, self.count, self.mean, self.squares, values, members, self.decay)
        for buffer, value in zip((self.count, self.mean, self.squares), found, strict=True):
            buffer.copy_(value)

    def of_rows(self, rewards: Tensor, prompts: Tensor, mine: slice) -> tuple[Tensor, Tensor]:
        """Take in the rewards of all processes; centre and scale of the rows of this one."""
        self.take_in(rewards, prompts)
        values = rewards.double()
        own = prompts[mine]
        count = self.count[own]
        known = count >= self.min_count
        deviation = (self.squares[own] / (count - 1.0).clamp(min=1.0)).sqrt()
        centre = torch.where(known, self.mean[own], values.mean())
        scale = torch.where(known, deviation, values.std(correction=0))
        # Rewards without any spread say nothing: they are 0, whatever divides them.  What rounding leaves of
        # equal ones is no spread either; divided by itself it would be one.
        spread = scale > 1e-12 * centre.abs()
        return centre.to(rewards.dtype), torch.where(spread, scale, 1.0).to(rewards.dtype)
