r"""Rollouts by entropy bounds, one for each row, with the sampler's own log-probability of every token.

The noise is data: one uniform number for each position, used when that position is revealed, in double precision and for the
accepted positions alone.  No (B, L, V) array is held in double.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import array_api_compat.torch as xp
import torch
from torch import Tensor

from driftproof.numerics.diffpo import categorical

from .models import CHUNK_ELEMENTS, MaskedModel

__all__ = ["Rollout", "accepted", "roll_out"]


@final
@dataclass(frozen=True)
class Rollout:
    """Completions with their paths.

    Arguments:
        z: Where they began, integers (B, L).
        attention: 1 at tokens, 0 at padding, (B, L).
        x: Where they ended, (B, L).
        step: The evaluation, 1, 2, ..., with which each was revealed, and 0 where nothing was, (B, L).
        log_probs: The log-probability of each under the law that it was drawn from, 0 elsewhere, (B, L).
    """

    z: Tensor
    attention: Tensor
    x: Tensor
    step: Tensor
    log_probs: Tensor

    @property
    def completion(self) -> Tensor:
        """Booleans (B, L): what was generated."""
        return self.step > 0

    @property
    def evaluations(self) -> Tensor:
        """How many each took, (B,)."""
        return self.step.max(dim=1).values

    def state(self, evaluations: Tensor, mask_token: int) -> Tensor:
        """The canvas after so many evaluations, (B, L), for numbers of shape (B,)."""
        return torch.where(self.step > evaluations[:, None], mask_token, self.x)


def accepted(entropy: Tensor, hidden: Tensor, gamma: Tensor) -> Tensor:
    r"""The positions of low entropy that a bound allows, and never none: :class:`~driftproof.theory.diffpo.EntropyBound`.

    Arguments:
        entropy, hidden: Shape (B, L); something is hidden in each row.
        gamma: The bounds, (B,).
    """
    ascending, order = torch.sort(entropy.masked_fill(~hidden, float("inf")), dim=1, stable=True)
    masked = hidden.gather(1, order)
    own = torch.where(masked, ascending, 0.0)
    chosen = masked & (own.cumsum(dim=1) - own <= gamma[:, None])
    chosen[:, 0] = True
    return torch.zeros_like(hidden).scatter(1, order, chosen)


@torch.no_grad()
def roll_out(
    model: MaskedModel,
    z: Tensor,
    attention: Tensor,
    gamma: Tensor,
    uniform: Tensor,
    temperature: float = 1.0,
) -> Rollout:
    r"""Fill in what is masked.

    .. math:: U_t = \mathrm{EB}_\gamma(p(\cdot \mid z_{t-1})), \qquad x_i \sim p^{1/T}(\cdot \mid z_{t-1}), \; i \in U_t

    Positions are chosen by the entropies at temperature 1, in single precision.

    Arguments:
        model: The model.
        z, attention: Canvases and their attention masks, (B, L).
        gamma: A bound for each row, (B,), in nats.
        uniform: Uniform numbers in [0, 1), double, (B, L).
        temperature: T > 0 of the draws.

    Raises:
        FloatingPointError: A logit of a masked position is NaN.
    """
    x, step = z.clone(), torch.zeros_like(z)
    hidden = (z == model.mask_token) & (attention > 0)
    log_probs = torch.zeros(z.shape, dtype=torch.float64, device=z.device)
    rows, count = torch.nonzero(hidden.any(dim=1))[:, 0], 0
    while len(rows):
        count += 1
        logits = model.logits(x[rows], attention[rows])
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if torch.isnan(logits[hidden[rows]]).any():
            raise FloatingPointError("diffpo: a logit is NaN")
        chosen = accepted(_entropy(logits), hidden[rows], gamma[rows])
        token, score = _draw(logits[chosen], uniform[rows][chosen], temperature)
        x[rows] = x[rows].masked_scatter(chosen, token)
        log_probs[rows] = log_probs[rows].masked_scatter(chosen, score)
        step[rows] = torch.where(chosen, count, step[rows])
        hidden[rows] &= ~chosen
        rows = rows[hidden[rows].any(dim=1)]
    return Rollout(z, attention, x, step, log_probs)


def _entropy(logits: Tensor) -> Tensor:
    log_p = torch.log_softmax(logits, dim=-1)
    return -torch.where(log_p > -float("inf"), log_p.exp() * log_p, 0.0).sum(dim=-1)


def _draw(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Tokens and their log-probabilities, in double, a chunk of positions at a time."""
    tokens, scores = [], []
    rows = max(1, CHUNK_ELEMENTS // logits.shape[-1])
    for i in range(0, len(logits), rows):
        log_p = torch.log_softmax(logits[i : i + rows].double() / temperature, dim=-1)
        token = categorical.kernel(xp, log_p, uniform[i : i + rows].double()).long()
        tokens.append(token)
        scores.append(log_p.gather(-1, token[:, None])[:, 0])
    return torch.cat(tokens), torch.cat(scores)
