"""Rollouts with what a critic needs: states, log-probabilities, divergences, rewards of denoised states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import array_api_compat.torch as xp
import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.pretrained.guidance import Condition, Predict
from driftproof.backends.torch.rl.sampler import Sampler, log_prob
from driftproof.backends.torch.rl.trajectories import chunked
from driftproof.numerics.reward_gap import step_kl

__all__ = ["Run", "finish", "moments", "rollout", "stochastic_steps"]

PlugIn = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True, slots=True)
class Run:
    """What a rollout gives, for B paths and S stochastic steps.

    Arguments:
        states: Before every stochastic step and after the last, (S + 1, B, *).
        log_probs: Of the steps, (B, S).
        kl: Divergences of the steps from the reference, (B, S).
        plug_in: Rewards of the denoised states (S, B); zeros where none were asked for.
        end: The samples, (B, *).
    """

    states: Tensor
    log_probs: Tensor
    kl: Tensor
    plug_in: Tensor
    end: Tensor


def stochastic_steps(sampler: Sampler, subject: str) -> int:
    """How many steps are stochastic; what follows them is deterministic.

    Raises:
        UnmetHypothesis: eta = 0: there is no likelihood, and no divergence from the pre-trained paths.
    """
    kinds = sampler.kinds(range(sampler.n_steps), subject)
    count = sum(kind == "sde" for kind in kinds)
    if any(kind != "sde" for kind in kinds[:count]):
        raise UnmetHypothesis(subject, "deterministic steps come last", f"{kinds}")
    return count


def moments(sampler: Sampler, output: Tensor, steps: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of steps whose numbers do not fall, (n,): one call for each number."""
    found, counts = torch.unique_consecutive(steps, return_counts=True)
    sizes = counts.tolist()
    means, stds = [], []
    for k, o, part in zip(found.tolist(), torch.split(output, sizes), torch.split(x, sizes), strict=True):
        mean, std = _moments(sampler, o, int(k), part, sampler.eta)
        means.append(mean)
        stds.append(std.reshape(-1, *(1,) * (x.ndim - 1)).expand(len(part), *(1,) * (x.ndim - 1)))
    return torch.cat(means), torch.cat(stds)


def _moments(sampler: Sampler, output: Tensor, k: int, x: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Those of one step for all rows, without a table of rows."""
    if sampler.kind == "gddim" or eta == 0.0:
        mean, std = sampler.scheduler.moments(output, sampler.timesteps[k], x, eta)
        return mean, std
    mean, std = sampler.moments(output, torch.full((len(x),), k, device=x.device), x, eta)
    return mean, std[:1]


@torch.no_grad()
def rollout(
    predict: Predict,
    reference: Predict,
    sampler: Sampler,
    count: int,
    start: Tensor,
    condition: Condition,
    noise: Callable[[int], Tensor],
    plug_in: PlugIn | None = None,
    chunk: int | None = None,
) -> Run:
    """Sample from ``start`` to the end.

    Arguments:
        predict, reference: The model, and the model as it was.
        sampler: The steps, of which the first ``count`` are stochastic.
        start: The noise, (B, *).
        condition: Named tensors with B rows.
        noise: ``noise(k)`` gives that of step k, with the shape of ``start``.
        plug_in: The reward of denoised states, for a critic with a skip connection.
        chunk: The largest number of rows that the model is given at a time.
    """
    states, logs, divergences, denoised = [start], [], [], []
    for k in range(count):
        x = states[-1]
        steps = torch.full((len(x),), k, device=x.device)
        output = chunked(predict, sampler, x, steps, condition, chunk)
        mean, std = _moments(sampler, output, k, x, sampler.eta)
        other = chunked(reference, sampler, x, steps, condition, chunk)
        divergences.append(step_kl.kernel(xp, mean, _moments(sampler, other, k, x, sampler.eta)[0], std))
        # The density is that of the state as it is stored.
        states.append((mean + std * noise(k).to(mean.dtype)).to(x.dtype))
        logs.append(log_prob(states[-1], mean, std))
        if plug_in is None:
            denoised.append(logs[-1].new_zeros(len(x)))
        else:
            t = sampler.timesteps[k]
            guess = sampler.scheduler.step(output, t, x, eta=0.0).pred_original_sample
            denoised.append(plug_in(guess).to(logs[-1].dtype))
    return Run(
        torch.stack(states),
        torch.stack(logs, dim=1),
        torch.stack(divergences, dim=1),
        torch.stack(denoised),
        finish(predict, sampler, count, states[-1], condition, chunk),
    )


def finish(
    predict: Predict, sampler: Sampler, count: int, x: Tensor, condition: Condition, chunk: int | None = None
) -> Tensor:
    """The deterministic steps after the stochastic ones."""
    for k in range(count, sampler.n_steps):
        steps = torch.full((len(x),), k, device=x.device)
        output = chunked(predict, sampler, x, steps, condition, chunk)
        x = _moments(sampler, output, k, x, 0.0)[0].to(x.dtype)
    return x
