"""Trajectories of a policy: its states, the tag of every step, and what a method has recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import array_api_compat.torch as xp
import torch
from torch import Tensor

from driftproof.backends.torch.pretrained.guidance import Condition, Predict
from driftproof.numerics.reward_gap import step_kl

from .sampler import Kind, Sampler, log_prob

__all__ = ["Recorder", "Step", "Trajectories", "chunked", "log_probs", "references", "rollout"]

# The noise of a step for the whole batch of all processes, cut to the rows of this one.
Noise = Callable[[int], Tensor]


@final
@dataclass(frozen=True, slots=True)
class Step:
    """A stochastic step as it was taken, for B rows.

    Arguments:
        number: The number of the step.
        x, after: The states before and after it, with shape (B, *).
        output: The output of the model.
        mean, std: Moments of the state after it.
    """

    number: int
    x: Tensor
    after: Tensor
    output: Tensor
    mean: Tensor
    std: Tensor


# What is kept of a stochastic step: named tensors with B rows.
Recorder = Callable[[Step], Mapping[str, Tensor]]


@final
@dataclass(frozen=True, slots=True)
class Trajectories:
    """The result of a rollout.

    Arguments:
        states: From noise to the end, with shape (N + 1, B, *); the end alone, (1, B, *), where only that was recorded.
        kinds: The tag of each of the N steps.
        recorded: Named tensors of the S stochastic steps, with shape (B, S, *).
    """

    states: Tensor
    kinds: tuple[Kind, ...]
    recorded: Mapping[str, Tensor]

    @property
    def stochastic(self) -> list[int]:
        """The numbers of the stochastic steps."""
        return [i for i, kind in enumerate(self.kinds) if kind == "sde"]

    @property
    def end(self) -> Tensor:
        """The last states."""
        return self.states[-1]


@torch.no_grad()
def rollout(
    predict: Predict,
    sampler: Sampler,
    kinds: tuple[Kind, ...],
    start: Tensor,
    condition: Condition,
    noise: Noise,
    record: Sequence[Recorder] = (),
    chunk: int | None = None,
    *,
    keep_states: bool = True,
) -> Trajectories:
    """Sample from ``start`` to the end.

    Arguments:
        predict: The model.
        sampler: The steps.
        kinds: The tag of every step.
        start: The noise, with shape (B, *).
        condition: Named tensors with B rows.
        noise: ``noise(i)`` gives that of step i, with the shape of ``start``; called at ``sde`` steps.
        record: The record to keep of every stochastic step.
        chunk: The largest number of rows that the model is given at a time.
        keep_states: Whether all states are kept, or the end alone.
    """
    states, kept = [start], []
    for i, kind in enumerate(kinds):
        x = states[-1]
        steps = torch.full((len(x),), i, device=x.device)
        output = chunked(predict, sampler, x, steps, condition, chunk)
        mean, std = sampler.moments(output, steps, x, sampler.eta_of(kind))
        if kind == "sde":
            # The density is that of the state as it is stored.
            after = (mean + std * noise(i).to(mean.dtype)).to(x.dtype)
            taken = Step(i, x, after, output, mean, std)
            kept.append({name: value for recorder in record for name, value in recorder(taken).items()})
        else:
            after = mean.to(x.dtype)
        states = [*states, after] if keep_states else [after]
    recorded = {name: torch.stack([step[name] for step in kept], dim=1) for name in (kept[0] if kept else ())}
    return Trajectories(torch.stack(states), kinds, recorded)


def log_probs(step: Step) -> dict[str, Tensor]:
    """The recorder of ``log_probs``, with shape (B, S)."""
    return {"log_probs": log_prob(step.after, step.mean, step.std)}


def references(
    predict: Predict, sampler: Sampler, condition: Condition, chunk: int | None = None
) -> Recorder:
    """The recorder of another model's means, ``reference``, and the divergences from it, ``kl``, with shape (B, S).

    A loss at the same states takes the means from here: the other model is not evaluated twice.
    """

    def record(step: Step) -> dict[str, Tensor]:
        steps = torch.full((len(step.x),), step.number, device=step.x.device)
        output = chunked(predict, sampler, step.x, steps, condition, chunk)
        mean, _ = sampler.moments(output, steps, step.x, sampler.eta)
        return {"reference": mean, "kl": step_kl.kernel(xp, step.mean, mean, step.std)}

    return record


def chunked(
    predict: Predict, sampler: Sampler, x: Tensor, steps: Tensor, condition: Condition, chunk: int | None
) -> Tensor:
    """The model on all rows, at most ``chunk`` of them at a time."""
    t = sampler.times(steps)
    if chunk is None or len(x) <= chunk:
        return predict(x, t, condition)
    parts = [slice(i, i + chunk) for i in range(0, len(x), chunk)]
    return torch.cat([predict(x[p], t[p], {k: v[p] for k, v in condition.items()}) for p in parts])
