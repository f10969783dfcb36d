r"""The exact h of the *discrete* chain of a Gaussian model, and what a guidance that differs from it costs.

Every unguided step is affine, :math:`x_{k+1} = F_k x_k + f_k + \varsigma_k Z`, so that the last state behind a state is
:math:`N(A_k x + b_k, C_k)` and

.. math:: h_k(x) = \Phi\Big(\frac{n \cdot (A_k x + b_k) - b}{\sqrt{n^\top C_k n}}\Big)

without an error of discretisation: what a trainer has to find.  A step that is guided by g has its mean moved by
:math:`c_k g`; the best one is moved by :math:`\varsigma_k^2\,E\nabla h_{k+1}/h_k`, and the divergence of paths is that of
the Gaussian steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from .config import GaussianData
from .models import Frozen, Guide

__all__ = ["ChainH", "guidance_share"]


@final
@dataclass(frozen=True)
class ChainH:
    """The exact margins of a chain.

    Arguments:
        slopes, shifts: :math:`\\zeta_k = a_k \\cdot x + b_k`, with shapes (N, d) and (N,).
        timesteps: Of the steps, shape (N,).
        mean, cov: Of the last state of unguided paths from N(0, I).
    """

    slopes: Tensor
    shifts: Tensor
    timesteps: Tensor
    mean: Tensor
    cov: Tensor

    @classmethod
    def of(cls, model: GaussianData, frozen: Frozen) -> ChainH:
        """Backward recursion of the steps, which are read off at 0 and at the unit vectors."""
        sampler, d = frozen.sampler, len(model.mean)
        normal = torch.tensor(model.normal, dtype=torch.float64)
        points = torch.cat([torch.zeros(1, d), torch.eye(d)]).double()
        a, b = torch.eye(d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
        c = torch.zeros(d, d, dtype=torch.float64)
        slopes, shifts = [], []
        for k in reversed(range(sampler.n_steps)):
            steps = torch.full((d + 1,), k)
            output = frozen.output(points, sampler.times(steps))
            moved, std = sampler.moments(output, steps, points, sampler.eta)
            c = c + float(std.reshape(-1)[0]) ** 2 * a @ a.T
            b = a @ moved[0] + b
            a = a @ (moved[1:] - moved[0]).T
            spread = math.sqrt(float(normal @ c @ normal))
            slopes.append(a.T @ normal / spread)
            shifts.append((normal @ b - model.level) / spread)
        return cls(torch.stack(slopes[::-1]), torch.stack(shifts[::-1]), sampler.timesteps, b, c + a @ a.T)

    def margin(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The margin of each row, and its slope."""
        k = (t[:, None] == self.timesteps).int().argmax(dim=1)
        return (self.slopes[k] * x).sum(dim=1) + self.shifts[k], self.slopes[k]

    def log_h(self, x: Tensor, t: Tensor) -> Tensor:
        """log h."""
        return torch.special.log_ndtr(self.margin(x, t)[0])

    def guide(self, x: Tensor, t: Tensor) -> Tensor:
        """Its gradient."""
        margin, slope = self.margin(x, t)
        logs = -0.5 * margin**2 - 0.5 * math.log(2.0 * math.pi) - torch.special.log_ndtr(margin)
        return torch.exp(logs)[:, None] * slope

    def log_probability(self, model: GaussianData) -> float:
        """Of the event, of unguided paths."""
        normal = torch.tensor(model.normal, dtype=torch.float64)
        z = (normal @ self.mean - model.level) / torch.sqrt(normal @ self.cov @ normal)
        return float(torch.special.log_ndtr(z))


def guidance_share(
    frozen: Frozen, chain: ChainH, guide: Guide, count: int, generator: torch.Generator
) -> float:
    """The mean square of the error of a guidance, over that of the exact one, along paths that the exact one guides.

    Steps count by the square of what guidance moves their means by, in units of their noise: by the divergence of paths.
    """
    sampler = frozen.sampler
    x = frozen.start(count, generator)
    wrong = whole = 0.0
    for k in range(sampler.n_steps):
        steps = torch.full((count,), k)
        t = sampler.times(steps)
        exact, found = chain.guide(x, t), guide(x, t)
        still = torch.zeros_like(x)
        moved, std = sampler.moments(
            frozen.guided(still, torch.ones_like(x), x, t), steps, still, sampler.eta
        )
        weight = float(np.square((moved / std).reshape(-1)[0].item()))
        wrong += weight * float(((found - exact) ** 2).sum(dim=1).mean())
        whole += weight * float((exact**2).sum(dim=1).mean())
        x = frozen.step(x, k, chain.guide, generator)
    return wrong / whole
