r"""The exact h of the *discrete* chain of a Gaussian model, and what a guidance that differs from it costs.

Every unguided step is affine, :math:`x_{k+1} = F_k x_k + f_k + \varsigma_k Z`, so that the last state behind a state is
:math:`N(A_k x + b_k, C_k)` and

.. math:: h_k(x) = \Phi\Big(\frac{n \cdot (A_k x + b_k) - b}{\sqrt{n^\top C_k n}}\Big)

without an error of discretisation: what labels have to find.  The mean of a step given the event is moved by
:math:`\varsigma_k^2\,E\nabla h_{k+1}/h_k = \varsigma_k^2\,F_k^{-\top}\nabla\log h_k`: what covariations have to find.  The
denoising regression has to find the score of noised *last states* given the event, less that of the model: the closed
form of :mod:`driftproof.theory.doob` for their law, which is Gaussian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from driftproof.theory.doob import guided_score, half_space
from driftproof.theory.laws import Gaussian
from driftproof.theory.processes import VP

from .config import GaussianData, Loss
from .models import Frozen, Guide, columns

__all__ = ["ChainH", "exact_guide", "guidance_share"]


@final
@dataclass(frozen=True)
class ChainH:
    """The exact margins of a chain.

    Arguments:
        slopes, shifts: :math:`\\zeta_k = a_k \\cdot x + b_k`, with shapes (N, d) and (N,).
        pulls: :math:`F_k^{-\\top} a_k`, shape (N, d).
        timesteps: Timesteps of the steps, shape (N,).
        mean, cov: Moments of the last state of unguided paths from N(0, I).
    """

    slopes: Tensor
    shifts: Tensor
    pulls: Tensor
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
        slopes, shifts, pulls = [], [], []
        for k in reversed(range(sampler.n_steps)):
            steps = torch.full((d + 1,), k)
            output = frozen.output(points, sampler.times(steps))
            moved, std = sampler.moments(output, steps, points, sampler.eta)
            c = c + float(std.reshape(-1)[0]) ** 2 * a @ a.T
            b = a @ moved[0] + b
            forward = (moved[1:] - moved[0]).T
            a = a @ forward
            spread = math.sqrt(float(normal @ c @ normal))
            slopes.append(a.T @ normal / spread)
            pulls.append(torch.linalg.solve(forward.T, slopes[-1]))
            shifts.append((normal @ b - model.level) / spread)
        return cls(
            torch.stack(slopes[::-1]),
            torch.stack(shifts[::-1]),
            torch.stack(pulls[::-1]),
            sampler.timesteps,
            b,
            c + a @ a.T,
        )

    def log_h(self, x: Tensor, t: Tensor) -> Tensor:
        """log h."""
        return torch.special.log_ndtr(self._margin(x, t)[0])

    def guide(self, x: Tensor, t: Tensor) -> Tensor:
        """Its gradient."""
        margin, k = self._margin(x, t)
        return _hazard(margin)[:, None] * self.slopes[k]

    def pull(self, x: Tensor, t: Tensor) -> Tensor:
        """The shift of the step's mean given the event, over the variance of the step."""
        margin, k = self._margin(x, t)
        return _hazard(margin)[:, None] * self.pulls[k]

    def _margin(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        k = (t[:, None] == self.timesteps).int().argmax(dim=1)
        return (self.slopes[k] * x).sum(dim=1) + self.shifts[k], k

    def log_probability(self, model: GaussianData) -> float:
        """The log-probability that unguided paths end in the event."""
        normal = torch.tensor(model.normal, dtype=torch.float64)
        z = (normal @ self.mean - model.level) / torch.sqrt(normal @ self.cov @ normal)
        return float(torch.special.log_ndtr(z))


def exact_guide(loss: Loss, model: GaussianData, frozen: Frozen, chain: ChainH) -> Guide:
    """The guidance that this loss has to find."""
    if loss == "covariation":
        return chain.pull
    if loss != "denoising":
        return chain.guide
    process = VP(model.decay, model.decay, 1.0)
    ends = Gaussian(chain.mean.numpy(), 0.5 * (chain.cov + chain.cov.T).numpy())
    event = half_space(np.asarray(model.normal), model.level)

    def guide(x: Tensor, t: Tensor) -> Tensor:
        times = (t.double().numpy() + 1.0) / model.levels
        found = guided_score(process, ends, event, x.numpy(), times)
        return torch.as_tensor(found) + frozen.noise(x, t) / columns(frozen.sampler, t, x)[1]

    return guide


def guidance_share(
    frozen: Frozen, chain: ChainH, guide: Guide, exact: Guide, count: int, generator: torch.Generator
) -> float:
    """The mean square of the error of a guidance, over that of the exact one, along paths that are guided exactly.

    Steps count by the variance of their noise: by what an error adds to the divergence of the paths.
    """
    x = frozen.start(count, generator)
    wrong = whole = 0.0
    for k, std in enumerate(frozen.sampler.stds(frozen.sampler.eta)):
        t = frozen.sampler.times(torch.full((count,), k))
        right = exact(x, t)
        wrong += std**2 * float(((guide(x, t) - right) ** 2).sum(dim=1).mean())
        whole += std**2 * float((right**2).sum(dim=1).mean())
        x = frozen.step(x, k, chain.pull, generator, "mean")
    return wrong / whole


def _hazard(margin: Tensor) -> Tensor:
    return torch.exp(-0.5 * margin**2 - 0.5 * math.log(2.0 * math.pi) - torch.special.log_ndtr(margin))
