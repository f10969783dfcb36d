r"""The closed form: Gaussian data, a score with a free affine correction, and the exact optimum of its N steps.

The model acts with :math:`a_k(x) = s_{pre}(x, t_k) + A_k x + b_k`, so that every step is affine with Gaussian
noise.  With the pre-trained step :math:`N(F_k x + h_k, \varsigma_k^2)` and a mean moved by u, dynamic
programming over quadratic functions :math:`V_k = \tfrac12 x^\top P x + g \cdot x + e` is exact,

.. math:: u = (\beta/\varsigma^2 - P)^{-1}\,\big(P(Fx + h) + g\big)

and the optimal action is within the family: the trainer has to find it.  As N grows it becomes the optimum of
:mod:`driftproof.theory.score_as_action`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.pretrained.guidance import Condition
from driftproof.backends.torch.rl.gaussian import GaussianModel, vp_sampler
from driftproof.backends.torch.rl.sampler import Sampler, Sampling
from driftproof.backends.torch.rl.task import Task
from driftproof.theory.laws import Gaussian

__all__ = ["AffineDenoiser", "Exact", "Moments", "gaussian_parts"]

Floats: TypeAlias = NDArray[np.float64]


@final
class AffineDenoiser(nn.Module):
    """The exact score of Gaussian data plus a trained affine correction for each step, as predicted noise.

    Arguments:
        data: The data law.
        sampler: Its timesteps and levels.

    Raises:
        UnmetHypothesis: A singular covariance.
    """

    def __init__(self, data: Gaussian, sampler: Sampler) -> None:
        super().__init__()
        least = float(np.linalg.eigvalsh(np.asarray(data.cov)).min())
        if not least > 1e-12 * float(np.max(np.abs(data.cov))):
            raise UnmetHypothesis("GaussianModel", "cov is not singular", f"least eigenvalue {least:.3g}")
        self.prediction = "epsilon"
        d, n = len(data.mean), sampler.n_steps
        self.slope = nn.Parameter(torch.zeros(n, d, d, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(n, d, dtype=torch.float64))
        bars = sampler.scheduler.alphas_cumprod.double()[sampler.timesteps]
        alpha, sigma = bars.sqrt()[:, None], (1.0 - bars).sqrt()
        cov, eye = torch.as_tensor(data.cov), torch.eye(d, dtype=torch.float64)
        total = bars[:, None, None] * cov + (1.0 - bars)[:, None, None] * eye
        self.timesteps: Tensor
        self.sigma: Tensor
        self.centre: Tensor
        self.precision: Tensor
        self.register_buffer("timesteps", sampler.timesteps.clone())
        self.register_buffer("sigma", sigma)
        self.register_buffer("centre", alpha * torch.as_tensor(data.mean))
        self.register_buffer("precision", torch.linalg.inv(total))

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        k = (t[:, None] == self.timesteps).int().argmax(dim=1)
        score = -torch.einsum("bij,bj->bi", self.precision[k], x - self.centre[k])
        action = score + torch.einsum("bij,bj->bi", self.slope[k], x) + self.shift[k]
        return -self.sigma[k][:, None] * action


def gaussian_parts(model: GaussianModel, sampling: Sampling) -> tuple[AffineDenoiser, Sampler, Task]:
    """Model, sampler and task; the whole grid is stochastic."""
    sampler = vp_sampler(model.decay, model.levels, sampling)
    c, q = torch.as_tensor(model.c, dtype=torch.float64), torch.as_tensor(model.Q, dtype=torch.float64)

    def reward(x: Tensor, prompts: Sequence[str]) -> Tensor:
        return x @ c.to(x) - 0.5 * ((x @ q.to(x)) * x).sum(dim=-1)

    task = Task((len(model.mean),), reward, prompts=("a point",), dtype=torch.float64)
    return AffineDenoiser(model.data, sampler), sampler, task


@final
@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and covariance of the samples, and the objective."""

    mean: Floats
    cov: Floats
    objective: float


@final
@dataclass(frozen=True, slots=True)
class Exact:
    """Exact numbers of the affine family on one grid.

    Arguments:
        model: Data and reward.
        sampler: The steps.
        beta: Strength of the penalty, > 0.
    """

    model: GaussianModel
    sampler: Sampler
    beta: float

    def of(self, denoiser: AffineDenoiser) -> Moments:
        """The law and the objective of a policy, wherever its weights lie."""
        return self._propagated(self._steps(copy.deepcopy(denoiser).cpu()))

    def optimum(self) -> Moments:
        """The law and the objective of the best policy.

        Raises:
            UnmetHypothesis: A reward so convex that the penalty does not hold it.
        """
        base = self._steps(AffineDenoiser(self.model.data, self.sampler))
        reward = self.model.reward
        p, g = -np.asarray(reward.Q), np.asarray(reward.c)
        best = []
        for slope, shift, std in reversed(base):
            hold = self.beta / std**2 * np.eye(len(g)) - p
            least = float(np.linalg.eigvalsh(hold).min())
            if not least > 0.0:
                got = f"least eigenvalue {least:.3g}"
                raise UnmetHypothesis("Exact.optimum", "beta / std^2 - P is positive definite", got)
            gain = np.linalg.solve(hold, p)
            push = np.linalg.solve(hold, g)
            best.append((slope + gain @ slope, shift + gain @ shift + push, std))
            # The value after the step, seen from before it: V(m) + w.H^-1 w / 2, with w = P m + g.
            bent = p + p @ gain
            p, g = slope.T @ bent @ slope, slope.T @ (bent @ shift + g + p @ push)
        return self._propagated(best[::-1])

    def _steps(self, denoiser: AffineDenoiser) -> list[tuple[Floats, Floats, float]]:
        """Slope, shift and standard deviation of every step, read off at 0 and at the unit vectors."""
        d = len(self.model.mean)
        x = torch.cat([torch.zeros(1, d), torch.eye(d)]).double()
        found = []
        with torch.no_grad():
            for k in range(self.sampler.n_steps):
                steps = torch.full((d + 1,), k)
                output = denoiser(x, self.sampler.times(steps), {})
                mean, std = self.sampler.moments(output, steps, x, self.sampler.eta)
                m = mean.numpy()
                found.append(((m[1:] - m[0]).T, m[0], float(std.reshape(-1)[0])))
        return found

    def _propagated(self, steps: list[tuple[Floats, Floats, float]]) -> Moments:
        base = self._steps(AffineDenoiser(self.model.data, self.sampler))
        d = len(self.model.mean)
        mean, cov, divergence = np.zeros(d), np.eye(d), 0.0
        for (slope, shift, std), (slope0, shift0, _) in zip(steps, base, strict=True):
            gap, tilt = (slope - slope0) @ mean + shift - shift0, slope - slope0
            divergence += float(gap @ gap + np.trace(tilt @ cov @ tilt.T)) / (2.0 * std**2)
            mean, cov = slope @ mean + shift, slope @ cov @ slope.T + std**2 * np.eye(d)
        reward = float(self.model.reward.expectation(Gaussian(mean, 0.5 * (cov + cov.T))))
        return Moments(mean, cov, reward - self.beta * divergence)
