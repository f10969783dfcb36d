"""What a policy gradient samples, and what it is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from ...._namespace import UnmetHypothesis
from ..guidance import Condition
from ..kit.identity import digest_of
from .rewards import Reward, checked

__all__ = ["Task"]


@final
@dataclass(frozen=True, slots=True)
class Task:
    """What is to be sampled, and what it is worth.

    Arguments:
        prompts: The prompts.
        conditions: Named tensors with a row for each prompt.
        shape: The shape of a state.
        decode: From the last states to images, with shape (B, 3, H, W) and values in [0, 1].
        reward: See :mod:`.rewards`.
        dtype: Of the states.
        watch: Numbers to log after every epoch.
    """

    prompts: tuple[str, ...]
    conditions: Mapping[str, Tensor]
    shape: tuple[int, ...]
    decode: Callable[[Tensor], Tensor]
    reward: Reward
    dtype: torch.dtype = torch.float32
    watch: Callable[[], Mapping[str, float]] = field(default=dict)

    def __post_init__(self) -> None:
        if not self.prompts:
            raise UnmetHypothesis("Task", "at least one prompt", "none")
        for name, value in self.conditions.items():
            if len(value) != len(self.prompts):
                got = f"{len(value)} rows of {name!r} for {len(self.prompts)} prompts"
                raise UnmetHypothesis("Task", "conditions have a row for each prompt", got)

    def description(self) -> dict[str, object]:
        """What tells this task from others, as JSON; of prompts, of which there may be many, a digest."""
        prompts = {"count": len(self.prompts), "digest": digest_of(self.prompts)}
        return {"prompts": prompts, "shape": list(self.shape), "dtype": str(self.dtype)}

    def condition(self, prompts: Tensor) -> Condition:
        """The conditions of some prompts, by number."""
        return {name: value[prompts.to(value.device)] for name, value in self.conditions.items()}

    def draw_prompts(self, generator: torch.Generator, count: int, group: int) -> Tensor:
        """The prompt of every row: distinct prompts as far as there are enough, each ``group`` times."""
        many = len(self.prompts)
        if count <= many:
            chosen = torch.randperm(many, generator=generator, device=generator.device)[:count]
        else:
            chosen = torch.randint(many, (count,), generator=generator, device=generator.device)
        return chosen.repeat_interleave(group)

    def draw_noise(self, generator: torch.Generator, rows: int) -> Tensor:
        """Standard normal states."""
        shape = (rows, *self.shape)
        return torch.randn(shape, generator=generator, device=generator.device, dtype=self.dtype)

    def rewards(self, states: Tensor, prompts: Tensor) -> Tensor:
        """The rewards of last states."""
        with torch.no_grad():
            images = self.decode(states)
        return checked(self.reward, images, [self.prompts[i] for i in prompts.tolist()])
