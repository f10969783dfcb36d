r"""A Gaussian denoiser whose mean is trained: what Diffusion-DPO must find on it is known.

.. math:: E[x_0 \mid x_t] = \mu_0 + m + \alpha S_0 C_t^{-1}\big(x_t - \alpha(\mu_0 + m)\big), \qquad C_t = \alpha^2S_0 + \sigma^2I,

and the optimum of the shift m is :func:`driftproof.numerics.rich_po.diffusion_dpo_optimum`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast, final

import numpy as np
import torch
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.pretrained.guidance import Condition
from driftproof.numerics.rich_po import diffusion_dpo_optimum
from driftproof.numerics.samplers.parametrization import output_of

from .config import GaussianPairs, Objective
from .noising import Noising
from .trainer import Pairs

__all__ = ["GaussianSource", "ShiftedGaussian", "noising_of", "population_optimum"]


def noising_of(model: GaussianPairs) -> Noising:
    """The levels of a recipe, as a table; timesteps are its rows."""
    alpha = torch.tensor(model.alphas, dtype=torch.float64)
    flow = model.prediction == "flow_prediction"
    sigma = 1.0 - alpha if flow else (1.0 - alpha.square()).sqrt()
    return Noising(alpha, sigma, torch.arange(len(alpha)))


def population_optimum(
    model: GaussianPairs, objective: Objective
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The shift that infinitely many pairs lead to.

    Raises:
        UnmetHypothesis: Another loss than DPO, an SFT term, times or errors that the theory does not cover.
    """
    o = objective
    plain = o.loss == "dpo" and not o.sft and not o.smoothing and o.times == "uniform" and o.shared_time
    if not plain or (o.errors == "prediction" and model.prediction != "epsilon"):
        hypothesis = "DPO of noise errors with one uniform time a pair, without an SFT term"
        raise UnmetHypothesis("population optimum", hypothesis, repr(o))
    noising, beta = noising_of(model), o.summed(len(model.mean))
    levels = noising.alpha.numpy(), noising.sigma.numpy()
    cov, w = np.asarray(model.cov), np.asarray(model.w)
    return diffusion_dpo_optimum(cov, w, *levels, beta, model.flips, o.shared_noise)


@final
class ShiftedGaussian(nn.Module):
    """The exact denoiser of N(mean + shift, cov); the shift is trained, from 0.

    Arguments:
        model: The law, and what is predicted.
    """

    cov: Tensor
    mean: Tensor

    def __init__(self, model: GaussianPairs) -> None:
        super().__init__()
        self.prediction, self.noising = model.prediction, noising_of(model)
        self.register_buffer("cov", torch.tensor(model.cov, dtype=torch.float64))
        self.register_buffer("mean", torch.tensor(model.mean, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(len(model.mean), dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        alpha, sigma = self.noising.levels(t, x)
        eye = torch.eye(len(self.mean), dtype=x.dtype, device=x.device)
        blurred = alpha[..., None].square() * self.cov + sigma[..., None].square() * eye
        centre = self.mean + self.shift
        rest = torch.linalg.solve(blurred, x - alpha * centre)
        data, noise = centre + alpha * rest @ self.cov, sigma * rest
        return cast("Tensor", output_of(data, noise, alpha, sigma, self.prediction))


@final
class GaussianSource:
    """Fresh random pairs at every step, labelled by Bradley and Terry.

    Arguments:
        model: The law, the reward, and how many labels are flipped.
    """

    def __init__(self, model: GaussianPairs) -> None:
        self.model = model

    def draw(self, generator: torch.Generator, rows: int) -> Pairs:
        """Pairs, winners first."""
        where: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": torch.float64}
        mean, cov, w = (
            torch.tensor(v, dtype=torch.float64, device=generator.device)
            for v in (self.model.mean, self.model.cov, self.model.w)
        )
        x = mean + torch.randn(2, rows, len(mean), **where) @ torch.linalg.cholesky(cov).T
        wins = torch.sigmoid((x[0] - x[1]) @ w)
        wins = self.model.flips + (1.0 - 2.0 * self.model.flips) * wins
        first = (torch.rand(rows, **where) < wins)[:, None]
        sure = torch.ones(rows, dtype=torch.float64, device=generator.device)
        return torch.where(first, x[0], x[1]), torch.where(first, x[1], x[0]), sure, {}

    def description(self) -> Mapping[str, object]:
        """The law."""
        return asdict(self.model)
