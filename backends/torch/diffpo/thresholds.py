r"""A threshold for each prompt: a law on a grid of entropy bounds, learned from rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import array_api_compat.torch as xp
import torch
from torch import Tensor, nn

from driftproof.numerics.diffpo import categorical

__all__ = ["ThresholdHead"]


@final
class ThresholdHead(nn.Module):
    r"""Logits of the thresholds: the mean over a prompt's tokens of what each says, and a bias.

    .. math:: \pi_\phi(\cdot \mid z) = \mathrm{softmax}\Big(b + \frac1n \sum_i e_{z_i}\Big)

    All are 0 at first: every threshold is as likely as any other.

    Arguments:
        thresholds: The grid, in nats.
        tokens: How many different tokens a canvas may hold, the mask's included.
    """

    thresholds: Tensor

    def __init__(self, thresholds: Sequence[float], tokens: int) -> None:
        super().__init__()
        self.register_buffer("thresholds", torch.tensor(thresholds, dtype=torch.float64))
        self.said = nn.Embedding(tokens, len(thresholds))
        self.bias = nn.Parameter(torch.zeros(len(thresholds)))
        nn.init.zeros_(self.said.weight)

    def forward(self, z: Tensor, attention: Tensor) -> Tensor:
        """Log-probabilities (B, K), for canvases and their attention masks (B, L)."""
        real = attention.to(self.bias.dtype)
        mean = (self.said(torch.where(attention > 0, z, 0)) * real[..., None]).sum(dim=1) / real.sum(
            dim=1, keepdim=True
        )
        return torch.log_softmax(self.bias + mean, dim=-1)

    @torch.no_grad()
    def choose(self, z: Tensor, attention: Tensor, uniform: Tensor) -> Tensor:
        """Indices of thresholds, (B,), by uniform numbers (B,)."""
        return categorical.kernel(xp, self(z, attention).double(), uniform).long()
