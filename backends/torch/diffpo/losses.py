r"""The losses of numerics on rollouts of a model: which states are evaluated, and what is made of them.

Masks, masking times and :math:`\tau` are drawn once for a batch of rollouts, and are the same in every pass over it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import array_api_compat.torch as xp
import torch
from torch import Tensor

from driftproof.numerics.diffpo import (
    coupled_log_probs,
    diffpo_loss,
    diffu_grpo_loss,
    semi_deterministic_estimate,
    sequence_loss,
    trace_log_probs,
    trace_loss,
    two_times_log_probs,
    wd1_loss,
)
from driftproof.theory.diffpo.elbo import gauss_nodes

from .config import Method
from .models import token_log_probs
from .rollouts import Rollout

__all__ = ["Surrogate", "policy_loss", "surrogate"]

# Given a model: log-probabilities of the tokens of a batch, (B, L), or of its sequences, (B,).
Surrogate: TypeAlias = Callable[[Any], Tensor]

NODES: Final = 2  # of the quadrature of GDPO


def surrogate(method: Method, rollout: Rollout, mask_token: int, generator: torch.Generator) -> Surrogate:
    """The score of rollouts under a method, with its random part drawn here."""
    done, x = rollout.completion, rollout.x
    device = x.device

    def scored(model: Any, hidden: Tensor) -> Tensor:
        """At the state in which these positions are masked, of the tokens there."""
        z = torch.where(hidden, mask_token, x)
        return token_log_probs(model, z, rollout.attention, x, hidden)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device).to(device)

    match method.loss:
        case "diffu_grpo" | "wd1":
            return lambda model: scored(model, done)
        case "diffpo":
            tau = (uniform(len(x)) * rollout.evaluations).floor()
            late = rollout.step > tau[:, None]
            shifted = torch.where(done, rollout.step - tau[:, None], 0.0).clamp(min=0.0)
            return lambda model: two_times_log_probs.kernel(
                xp, scored(model, done), scored(model, done & late), shifted, 0
            )
        case "trace":
            last = -(-int(rollout.evaluations.max()) // method.shrink)
            hidden = [rollout.step > k * method.shrink for k in range(last)]
            step = rollout.step.clamp(min=1).double()
            return lambda model: trace_log_probs.kernel(
                xp, torch.stack([scored(model, each) for each in hidden], dim=1), step, method.shrink
            )
        case "coupled_grpo":
            t = 0.05 + 0.9 * uniform(len(x))  # other times are left out, so that no weight is above 20
            first = done & (uniform(*x.shape) < t[:, None])
            other = done & ~first
            return lambda model: coupled_log_probs.kernel(
                xp, scored(model, first), scored(model, other), first.to(t.dtype), t
            )
        case "gdpo":
            times, _ = gauss_nodes("gdpo", NODES)
            masks = [done & (uniform(*x.shape) < float(t)) for t in times]
            stacked = torch.stack(masks, dim=1)
            return lambda model: semi_deterministic_estimate.kernel(
                xp, torch.stack([scored(model, each) for each in masks], dim=1), stacked.double()
            )


def policy_loss(
    method: Method, rollout: Rollout, log_p: Tensor, log_old: Tensor, advantages: Tensor
) -> Tensor:
    """The loss of a method: lines of numerics, on what :func:`surrogate` gives now and gave at the rollout."""
    mask = rollout.completion.to(log_p.dtype)
    advantages = advantages.to(log_p.dtype)
    match method.loss:
        case "diffu_grpo" | "coupled_grpo":
            return diffu_grpo_loss.kernel(xp, log_p, log_old, advantages, mask, method.clip)
        case "wd1":
            return wd1_loss.kernel(xp, log_p.sum(dim=1), advantages)
        case "gdpo":
            lengths = mask.sum(dim=1).to(log_p.dtype)
            return sequence_loss.kernel(xp, log_p, log_old, advantages, method.clip, lengths)
        case "trace":
            step = rollout.step.clamp(min=1).to(log_p.dtype)
            return trace_loss.kernel(xp, log_p, log_old, advantages, step, mask, method.shrink, method.clip)
        case "diffpo":
            behaviour = rollout.log_probs.to(log_p.dtype)
            return diffpo_loss.kernel(
                xp, log_p, log_old, behaviour, advantages, mask, method.cap, method.clip
            )
