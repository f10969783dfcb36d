r"""Where a loss looks at a trajectory: at the steps that were taken, or at its end, noised afresh.

A law of times and its weight :math:`\omega` are one object, and what it gives is shared by all policies: a
difference of two models at different noise would be mostly that of the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.pretrained.guidance import Condition

from .sampler import Sampler
from .trajectories import Trajectories

__all__ = ["Batch", "FreshNoise", "RecordedSteps", "Samples", "TimeLaw"]


@final
@dataclass(frozen=True, slots=True)
class Samples:
    """The trajectories of one process, and what is known of those of all.

    Arguments:
        done: The trajectories.
        condition: Named tensors with a row for each.
        prompts: The number of the prompt of every row of all processes.
        mine: The rows of this process.
        rewards: Rewards of all rows.
        sampler: The steps.
    """

    done: Trajectories
    condition: Condition
    prompts: Tensor
    mine: slice
    rewards: Tensor
    sampler: Sampler


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """n states and times at which policies are evaluated.

    Arguments:
        rows: The trajectories, (n,).
        x: The states, (n, *).
        t: Timesteps of the scheduler, (n,).
        condition: Named tensors with n rows.
        weight: :math:`\\omega` of the law, (n,).
        first: Whether the weights are still those of the rollout.
        steps, places: For recorded steps, their numbers, and their columns among the stochastic ones.
        after: For recorded steps, the states after them.
        clean, noise: For fresh noise, the end of the trajectory, and what was added to it.
    """

    rows: Tensor
    x: Tensor
    t: Tensor
    condition: Condition
    weight: Tensor
    first: bool
    steps: Tensor | None = None
    places: Tensor | None = None
    after: Tensor | None = None
    clean: Tensor | None = None
    noise: Tensor | None = None


class TimeLaw(Protocol):
    """Where losses are taken."""

    def count(self, samples: Samples) -> int:
        """Places on each trajectory."""
        ...

    def batches(
        self, samples: Samples, rows: Tensor, size: int, generator: torch.Generator, *, first: bool
    ) -> Iterator[Batch]:
        """All places of some trajectories of this process, at most ``size`` at a time.

        Arguments:
            samples: The rollout.
            rows: The trajectories, (r,), in the order in which their places follow each other.
            size: The largest batch.
            generator: The same in all processes, which draw for all rows and keep their own.
            first: Whether the weights are still those of the rollout.
        """
        ...


@final
@dataclass(frozen=True, slots=True)
class RecordedSteps:
    """Every stochastic step of the trajectory, with weight 1."""

    def count(self, samples: Samples) -> int:
        return len(samples.done.stochastic)

    def batches(
        self, samples: Samples, rows: Tensor, size: int, generator: torch.Generator, *, first: bool
    ) -> Iterator[Batch]:
        done = samples.done
        places = torch.arange(self.count(samples), device=rows.device)
        numbers = torch.tensor(done.stochastic, device=rows.device)
        every = torch.cartesian_prod(places, rows)
        for chunk in torch.split(every, size):
            place, row = chunk[:, 0], chunk[:, 1]
            step = numbers[place]
            yield Batch(
                rows=row,
                x=done.states[step, row],
                t=samples.sampler.times(step),
                condition={name: value[row.to(value.device)] for name, value in samples.condition.items()},
                weight=torch.ones(len(row), device=row.device),
                first=first,
                steps=step,
                places=place,
                after=done.states[step + 1, row],
            )


@final
@dataclass(frozen=True, slots=True)
class FreshNoise:
    r"""The end of the trajectory on the linear path, :math:`x_t = (1 - t)\,x_0 + t\,z`, for flows.

    Arguments:
        law: ``law(u)`` gives noise times in (0, 1) from uniform numbers; by default the times are uniform.
        weight: :math:`\omega(t)`; by default 1.
        draws: Times for each trajectory.
        shared: Rows side by side that share times and noise: 1, or the size of a group.
    """

    law: Callable[[Tensor], Tensor] = lambda u: u
    weight: Callable[[Tensor], Tensor] = torch.ones_like
    draws: int = 1
    shared: int = 1

    def count(self, samples: Samples) -> int:
        return self.draws

    def batches(
        self, samples: Samples, rows: Tensor, size: int, generator: torch.Generator, *, first: bool
    ) -> Iterator[Batch]:
        if samples.sampler.prediction != "flow_prediction":
            got = samples.sampler.prediction
            raise UnmetHypothesis("FreshNoise", "the model predicts a flow", repr(got))
        clean = samples.done.end
        total = len(samples.prompts) // self.shared
        for _ in range(self.draws):
            uniform = torch.rand(total, generator=generator, device=generator.device, dtype=clean.dtype)
            shape = (total, *clean.shape[1:])
            noise = torch.randn(shape, generator=generator, device=generator.device, dtype=clean.dtype)
            t, z = (
                part.repeat_interleave(self.shared, dim=0)[samples.mine].to(clean.device)
                for part in (self.law(uniform), noise)
            )
            for row in torch.split(rows, size):
                level = t[row].reshape(-1, *(1,) * (clean.ndim - 1))
                yield Batch(
                    rows=row,
                    x=(1.0 - level) * clean[row] + level * z[row],
                    t=1000.0 * t[row],
                    condition={
                        name: value[row.to(value.device)] for name, value in samples.condition.items()
                    },
                    weight=self.weight(t[row]),
                    first=first,
                    clean=clean[row],
                    noise=z[row],
                )
