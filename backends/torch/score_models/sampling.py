r"""Reverse-time sampling on one geometric grid of the noise-to-signal ratio.

.. math:: r_j = r_{\max} \Big(\frac{r_{\min}}{r_{\max}}\Big)^{j/n}, \qquad j = 0, \dots, n,

n reverse steps, then one estimate of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from driftproof._random import Source

from .diffusions import AbstractDiffusion
from .scores import Outputs

__all__ = ["grid", "sample", "trajectory"]


def grid(diffusion: AbstractDiffusion, steps: int) -> list[float]:
    """The noise times of the grid, from late to early, as floats."""
    ratios = torch.logspace(0.0, 1.0, steps + 1, base=diffusion.low / diffusion.high, dtype=torch.float64)
    return [float(t) for t in diffusion.time(diffusion.high * ratios)]


@torch.no_grad()
def trajectory(
    outputs: Outputs, diffusion: AbstractDiffusion, like: Tensor, steps: int, source: Source
) -> Sequence[Tensor]:
    """States at every time of the grid, each with the shape (B, d) of ``like``."""
    times = grid(diffusion, steps)
    states = [diffusion.prior(like, source)]
    for now, then in pairwise(times):
        t, s = (torch.full_like(like[:, :1], value) for value in (now, then))
        states.append(diffusion.step(states[-1], t, s, outputs(states[-1], t)[:, 0], source))
    return states


@torch.no_grad()
def sample(
    outputs: Outputs, diffusion: AbstractDiffusion, like: Tensor, steps: int, source: Source
) -> Tensor:
    """Draws of the data, in the coordinates of the diffusion, with the shape (B, d) of ``like``."""
    x = trajectory(outputs, diffusion, like, steps, source)[-1]
    t = torch.full_like(like[:, :1], grid(diffusion, steps)[-1])
    return diffusion.denoise(x, t, outputs(x, t)[:, 0])
