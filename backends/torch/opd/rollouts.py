"""Completions sampled from a model by inversion: the noise is data, so that a run can be replayed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["rollout", "token_log_probs"]


@torch.no_grad()
def rollout(
    model: Any, prompts: Tensor, uniform: Tensor | None, length: int, eos: int
) -> tuple[Tensor, Tensor]:
    """Completions of ``length`` tokens and the mask of those up to the end of the sequence.

    Arguments:
        model: A causal language model: ``model(input_ids=...).logits``.
        prompts: Token ids, shape (B, P), without padding.
        uniform: Uniform draws in [0, 1), shape (B, length); None takes the likeliest tokens.
        length: Tokens to sample.
        eos: The token that ends a sequence; it counts, what follows does not.

    Returns:
        Token ids and mask, both of shape (B, length).
    """
    ids, alive = prompts, torch.ones_like(prompts[:, 0], dtype=torch.bool)
    tokens, masks = [], []
    for n in range(length):
        logits = model(input_ids=ids).logits[:, -1].float()
        if uniform is None:
            token = logits.argmax(-1)
        else:
            edges = torch.softmax(logits, -1).cumsum(-1)
            # The first edge beyond u: never a token of probability 0, at u = 0 and at rounded ends as well.
            level = uniform[:, n : n + 1].to(edges.dtype) * edges[:, -1:]
            token = torch.searchsorted(edges, level, right=True)[:, 0]
        tokens.append(token)
        masks.append(alive)
        alive = alive & (token != eos)
        ids = torch.cat([ids, token[:, None]], dim=1)
    return torch.stack(tokens, dim=1), torch.stack(masks, dim=1)


def token_log_probs(model: Any, prompts: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities over the vocabulary at every token of the completions, shape (B, T, V)."""
    ids = torch.cat([prompts, tokens], dim=1)
    logits = model(input_ids=ids).logits[:, prompts.shape[1] - 1 : -1]
    return torch.log_softmax(logits.float(), dim=-1)
