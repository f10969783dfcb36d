"""A score network fitted to rows of data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof._random import source
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.supervised import Trained, train

from .diffusions import AbstractDiffusion
from .metrics import Rows
from .networks import NetworkRecipe, backbone
from .scores import ScoreNetwork

__all__ = ["fit_network"]


def fit_network(
    diffusion: AbstractDiffusion,
    rows: Rows,
    side: int,
    network: NetworkRecipe,
    plan: Plan,
    accelerator: Accelerator,
    *,
    checkpoint: Path | None = None,
    config: Mapping[str, object] | None = None,
    title: str = "train",
) -> Trained[ScoreNetwork]:
    """Train a score network on rows (n, d) of data."""
    encoded = torch.tensor(diffusion.encode(rows), dtype=torch.float32, device=accelerator.device)
    model = ScoreNetwork(backbone(network, rows.shape[1], side, diffusion.heads, plan.seed), diffusion)

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, ...]:
        noise = source(generator)
        picked = torch.randint(len(encoded), (batch,), generator=generator, device=encoded.device)
        x0 = encoded[picked]
        t = diffusion.draw_time(x0[:, :1], noise)
        x, *targets = diffusion.forward(x0, t, noise)
        return x, t, *targets

    def loss(network: nn.Module, x: Tensor, t: Tensor, *targets: Tensor) -> Tensor:
        return diffusion.loss(network(x, t), x, t, *targets).mean()

    made_with = {"network": network, "rows": list(rows.shape), **(config or {})}
    return train(
        model, draw, loss, plan, checkpoint=checkpoint, config=made_with, accelerator=accelerator, title=title
    )
