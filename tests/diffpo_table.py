"""A denoiser with free logits, whose rollouts on a grid of noise are its law."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from driftproof.backends.torch.diffpo import Method, Settings, Trainer
from driftproof.backends.torch.kit.plan import Plan

SIZE, LENGTH, EIGHTHS = 2, 2, 8
# Laws in eighths, at every state: with noise on a grid of eighths, all rollouts together are their law.
PARTS = np.random.default_rng(2).integers(1, EIGHTHS, size=((SIZE + 1) ** LENGTH, LENGTH))
TABLE = np.log(np.stack([PARTS, EIGHTHS - PARTS], axis=-1) / EIGHTHS)
REWARD = torch.tensor([1.0, -0.5, 0.25, 2.0], dtype=torch.float64)


class Table(nn.Module):
    """A denoiser with free logits, padding and all."""

    mask_token, vocabulary = SIZE, SIZE

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(TABLE))

    def logits(self, z: Tensor, attention_mask: Tensor) -> Tensor:
        powers = (SIZE + 1) ** torch.arange(LENGTH - 1, -1, -1)
        return self.table[(z[:, :LENGTH] * powers).sum(dim=1)]


class Every:
    """All rollouts of two tokens: a prompt without a token, and rewards by the sequence."""

    def draw(self, generator: Any, count: int) -> tuple[Tensor, Tensor]:
        z = torch.full((count, LENGTH), SIZE)
        return z, torch.ones_like(z)

    def reward(self, z: Tensor, x: Tensor) -> Tensor:
        return REWARD[2 * x[:, 0] + x[:, 1]]


def grid() -> Tensor:
    """Every pair of uniform numbers in the middle of eighths, (64, 2)."""
    middle = (torch.arange(EIGHTHS, dtype=torch.float64) + 0.5) / EIGHTHS
    return torch.cartesian_prod(middle, middle)


def trainer_of(method: Method, rows: int = 64, **settings: Any) -> Trainer:
    plan = Plan(max_steps=6, train_batch_size=rows, learning_rate=0.01, max_grad_norm=1e9, save_steps=2)
    chosen = {"thresholds": (0.0, 9.0), "samples": rows, **settings}
    return Trainer(Table(), Every(), Settings(method, **chosen), plan)
