"""Noise of a scheduler of diffusers put on rows, and taken off again by DDIM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.supervised import train

from .maker import Training

__all__ = ["fit_noised", "noised", "sampled"]


def noised(rows: Tensor, scheduler: Any, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """States, their times, and what is predicted of them: noise, or ``v_prediction``; times are uniform."""
    levels = scheduler.alphas_cumprod
    t = torch.randint(len(levels), (len(rows),), generator=generator)
    noise = torch.randn(rows.shape, generator=generator)
    kept = levels[t].reshape(-1, *[1] * (rows.ndim - 1))
    alpha, sigma = kept.sqrt(), (1.0 - kept).sqrt()
    is_v = scheduler.config.prediction_type == "v_prediction"
    return alpha * rows + sigma * noise, t, alpha * noise - sigma * rows if is_v else noise


def fit_noised(
    make: Callable[[], nn.Module], rows: Tensor, scheduler: Any, plan: Plan, checkpoint: Path
) -> Training:
    """A UNet of diffusers and its scheduler, trained on noised rows, without a condition."""

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, ...]:
        return noised(rows[torch.randint(len(rows), (batch,), generator=generator)], scheduler, generator)

    def loss(network: Any, x: Tensor, t: Tensor, target: Tensor) -> Tensor:
        return nn.functional.mse_loss(network(x, t).sample, target)

    torch.manual_seed(plan.seed)
    done = train(make(), draw, loss, plan, checkpoint=checkpoint)
    return Training({"unet": done.model, "scheduler": scheduler}, done.losses.tolist())


@torch.no_grad()
def sampled(network: Any, scheduler: Any, x: Tensor, steps: int, at_once: int = 125) -> Tensor:
    """The ends of DDIM without noise that begins at states x; it clips where the scheduler does."""
    from diffusers import DDIMScheduler

    ddim = DDIMScheduler.from_config(scheduler.config)
    ddim.set_timesteps(steps)
    parts = []
    for part in torch.split(x, at_once):
        for t in ddim.timesteps:
            part = ddim.step(network(part, t.expand(len(part))).sample, t, part).prev_sample
        parts.append(part)
    return torch.cat(parts)
