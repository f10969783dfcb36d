r"""The closed form: a two-parameter score on Gaussian data, and the exact objective of its N steps.

The data are :math:`N(0, v)` under VP with :math:`\alpha_t^2 = e^{-Bt}`; the model is over-confident by
:math:`\kappa` and believes in the mean :math:`\theta`,

.. math:: \hat\epsilon_t(x) = \kappa\,\sigma_t\,\frac{x - \alpha_t\theta}{\Sigma_t}, \qquad
    \Sigma_t = \alpha_t^2 v + \sigma_t^2, \qquad \text{reference } (\theta, \kappa) = (0, 1).

Every step is affine in x with Gaussian noise, :math:`x' = a x + b + \varsigma Z`, so that mean and variance go
down the grid by :math:`m' = am + b`, :math:`V' = a^2 V + \varsigma^2`, and with the steps
:math:`a^0 x + b^0` of the reference

.. math:: J = -(m_N - c)^2 - V_N - \beta\sum_i \frac{E\,[(a_i - a_i^0)x_i + b_i - b_i^0]^2}{2\varsigma_i^2}

is exact.  A trainer of N steps ascends this J, not its limit; steps outside of a window contribute no policy
gradient, so that a windowed trainer comes to rest where the partial derivatives with respect to the
parameters *of the stochastic steps* vanish on average over the windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import root
from torch import Tensor, nn

from driftproof.backends.torch.pretrained.guidance import Condition
from driftproof.backends.torch.rl.sampler import Kind, Sampler
from driftproof.backends.torch.rl.task import Task

from .config import ScalarModel

__all__ = ["Exact", "GaussianDenoiser", "gaussian_task"]


@final
class GaussianDenoiser(nn.Module):
    """The score of the docstring as a noise-predicting model of two parameters.

    Arguments:
        model: Data and schedule.
        alphas_cumprod: The table of the scheduler.
    """

    def __init__(self, model: ScalarModel, alphas_cumprod: Tensor) -> None:
        super().__init__()
        self.prediction = "epsilon"
        self.variance = model.variance
        self.theta = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.kappa = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.levels: Tensor
        self.register_buffer("levels", alphas_cumprod.double())

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.noise(x, t, self.theta, self.kappa)

    def noise(self, x: Tensor, t: Tensor, theta: Tensor, kappa: Tensor) -> Tensor:
        """The predicted noise of any parameters."""
        square = self.levels[t].reshape(-1, *(1,) * (x.ndim - 1))
        alpha, sigma = square.sqrt(), (1.0 - square).sqrt()
        return kappa * sigma * (x - alpha * theta) / (square * self.variance + sigma**2)


def gaussian_task(model: ScalarModel, denoiser: GaussianDenoiser) -> Task:
    """Scalars, the reward -(x - target)^2, and the two parameters in the log."""
    return Task(
        (1,),
        reward=lambda x, _: -((x[:, 0] - model.target) ** 2),
        prompts=("a number",),
        dtype=torch.float64,
        watch=lambda: {"theta": denoiser.theta.item(), "kappa": denoiser.kappa.item()},
    )


@final
@dataclass(frozen=True, slots=True)
class Exact:
    """The exact objective of a Gaussian model and a sampler.

    Arguments:
        model: Data and target.
        sampler: The steps.
        denoiser: For its formula; its parameters are not used.
        beta: Coefficient of the KL divergence.
        kl: As in the budget.
    """

    model: ScalarModel
    sampler: Sampler
    denoiser: GaussianDenoiser
    beta: float
    kl: Literal["loss", "path"] = "path"

    def terms(self, theta: Tensor, kappa: Tensor, kinds: Sequence[Kind]) -> tuple[Tensor, Tensor]:
        """Expected reward and path divergence, for parameters of each step, with shape (N,)."""
        mean, variance = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
        divergence = torch.zeros((), dtype=torch.float64)
        for i, kind in enumerate(kinds):
            slope, shift, std = self._step(i, theta[i], kappa[i], kind)
            if kind == "sde":
                slope0, shift0, _ = self._step(i, theta.new_zeros(()), theta.new_ones(()), kind)
                # "loss" does not see that the states, too, depend on the parameters.
                m, v = (mean, variance) if self.kl == "path" else (mean.detach(), variance.detach())
                gap, tilt = (slope - slope0) * m + shift - shift0, slope - slope0
                divergence = divergence + (gap**2 + tilt**2 * v) / (2.0 * std**2)
            mean, variance = slope * mean + shift, slope**2 * variance + std**2
        return -((mean - self.model.target) ** 2) - variance, divergence

    def reward(self, theta: float, kappa: float, eta_zero: bool) -> float:
        """The expected reward at eta = 0, or with every step stochastic."""
        every = range(self.sampler.n_steps)
        kinds = self.sampler.deterministic if eta_zero else self.sampler.kinds(every)
        with torch.no_grad():
            return float(self.terms(*self._spread(theta, kappa), kinds)[0])

    def objective(self, theta: float, kappa: float) -> float:
        """Reward less beta times the divergence, with every step stochastic."""
        kinds = self.sampler.kinds(range(self.sampler.n_steps))
        with torch.no_grad():
            reward, divergence = self.terms(*self._spread(theta, kappa), kinds)
        return float(reward - self.beta * divergence)

    def direction(self, theta: float, kappa: float, windows: Sequence[Sequence[int]]) -> list[float]:
        """The expected direction of a trainer, averaged over its windows; the gradient of J for the full one."""
        total = torch.zeros(2, dtype=torch.float64)
        for window in windows:
            kinds = self.sampler.kinds(window)
            parameters = [p.requires_grad_() for p in self._spread(theta, kappa)]
            reward, divergence = self.terms(parameters[0], parameters[1], kinds)
            slopes = torch.autograd.grad(reward - self.beta * divergence, parameters)
            learnt = torch.tensor([float(kind == "sde") for kind in kinds], dtype=torch.float64)
            total += torch.stack([(slope * learnt).sum() for slope in slopes])
        return (total / len(windows)).tolist()

    def optimum(self, windows: Sequence[Sequence[int]]) -> tuple[float, float]:
        """The parameters where :meth:`direction` vanishes.

        Raises:
            FloatingPointError: No such point was found.
        """

        def field(point: NDArray[np.float64]) -> list[float]:
            return self.direction(float(point[0]), float(point[1]), windows)

        found = root(field, x0=[0.3, 1.1], tol=1e-12)
        if not found.success:
            raise FloatingPointError(f"Exact.optimum: {found.message}")
        return float(found.x[0]), float(found.x[1])

    def _step(self, i: int, theta: Tensor, kappa: Tensor, kind: Kind) -> tuple[Tensor, Tensor, Tensor]:
        """Slope, shift and standard deviation of step i, read off at x = 0 and x = 1."""
        x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        steps = torch.tensor([i, i])
        output = self.denoiser.noise(x, self.sampler.times(steps), theta, kappa)
        mean, std = self.sampler.moments(output, steps, x, self.sampler.eta_of(kind))
        return mean[1, 0] - mean[0, 0], mean[0, 0], std.expand(2, 1)[0, 0]

    def _spread(self, theta: float, kappa: float) -> tuple[Tensor, Tensor]:
        shape = (self.sampler.n_steps,)
        return torch.full(shape, theta, dtype=torch.float64), torch.full(shape, kappa, dtype=torch.float64)
