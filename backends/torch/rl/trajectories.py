"""Trajectories of a policy: the states, the tag of every step, and the log-probabilities of the stochastic ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import array_api_compat.torch as xp
import torch
from torch import Tensor

from driftproof.backends.torch.pretrained.guidance import Condition, Predict
from driftproof.numerics.reward_gap import step_kl

from .sampler import Kind, Sampler, log_prob

__all__ = ["Pairs", "Trajectories", "chunked", "rollout"]

# The noise of a step for the whole batch of all processes, cut to the rows of this one.
Noise = Callable[[int], Tensor]


@final
@dataclass(frozen=True, slots=True)
class Pairs:
    """Stochastic steps of trajectories, in any order: a row for each."""

    rows: Tensor  # (n,) the trajectory
    steps: Tensor  # (n,) the number of the step
    places: Tensor  # (n,) its column among the stochastic steps


@final
@dataclass(frozen=True, slots=True)
class Trajectories:
    """What a rollout gives.

    Arguments:
        states: From noise to the end, with shape (N + 1, B, *).
        kinds: The tag of each of the N steps: only ``sde`` steps have log-probabilities.
        log_probs: Those of the S stochastic steps, with shape (B, S).
        kl: Divergences from the reference at the same steps, with shape (B, S); None where none was asked for.
    """

    states: Tensor
    kinds: tuple[Kind, ...]
    log_probs: Tensor
    kl: Tensor | None

    @property
    def stochastic(self) -> list[int]:
        """The numbers of the stochastic steps."""
        return [i for i, kind in enumerate(self.kinds) if kind == "sde"]

    @property
    def end(self) -> Tensor:
        """The last states."""
        return self.states[-1]

    def batches(self, rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Pairs]:
        """Every stochastic step of some trajectories once, shuffled, at most ``size`` at a time."""
        places = torch.arange(len(self.stochastic), device=rows.device)
        steps = torch.tensor(self.stochastic, device=rows.device)
        every = torch.cartesian_prod(rows, places)
        order = torch.randperm(len(every), generator=generator, device=generator.device).to(rows.device)
        for chunk in torch.split(every[order], size):
            yield Pairs(chunk[:, 0], steps[chunk[:, 1]], chunk[:, 1])


@torch.no_grad()
def rollout(
    predict: Predict,
    sampler: Sampler,
    kinds: tuple[Kind, ...],
    start: Tensor,
    condition: Condition,
    noise: Noise,
    reference: Predict | None = None,
    chunk: int | None = None,
) -> Trajectories:
    """Sample from ``start`` to the end.

    Arguments:
        predict: The model.
        sampler: The steps.
        kinds: The tag of every step.
        start: The noise, with shape (B, *).
        condition: Named tensors with B rows.
        noise: ``noise(i)`` gives that of step i, with the shape of ``start``; asked for at ``sde`` steps.
        reference: Where divergences are wanted, the model to measure them from.
        chunk: The largest number of rows that the model is given at a time.
    """
    states, log_probs, divergences = [start], [], []
    for i, kind in enumerate(kinds):
        x = states[-1]
        steps = torch.full((len(x),), i, device=x.device)
        eta = sampler.eta_of(kind)
        mean, std = sampler.moments(chunked(predict, sampler, x, steps, condition, chunk), steps, x, eta)
        if kind == "ode":
            states.append(mean.to(x.dtype))
            continue
        # The density is that of the state as it is stored.
        states.append((mean + std * noise(i).to(mean.dtype)).to(x.dtype))
        log_probs.append(log_prob(states[-1], mean, std))
        if reference is not None:
            other = chunked(reference, sampler, x, steps, condition, chunk)
            divergences.append(step_kl.kernel(xp, mean, sampler.moments(other, steps, x, eta)[0], std))
    blank = start.new_zeros(len(start), 0)
    return Trajectories(
        torch.stack(states),
        kinds,
        torch.stack(log_probs, dim=1) if log_probs else blank,
        torch.stack(divergences, dim=1) if divergences else None,
    )


def chunked(
    predict: Predict, sampler: Sampler, x: Tensor, steps: Tensor, condition: Condition, chunk: int | None
) -> Tensor:
    """The model on all rows, at most ``chunk`` of them at a time."""
    t = sampler.times(steps)
    if chunk is None or len(x) <= chunk:
        return predict(x, t, condition)
    parts = [slice(i, i + chunk) for i in range(0, len(x), chunk)]
    return torch.cat([predict(x[p], t[p], {k: v[p] for k, v in condition.items()}) for p in parts])
