"""Gaussian data with a quadratic reward, on a grid of VP: what trainers are checked against."""

from __future__ import annotations

from typing import TypeAlias, final

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.schema import validated
from driftproof.backends.torch.schedulers import GDDIMScheduler
from driftproof.theory.laws import Gaussian
from driftproof.theory.rewards import Quadratic

from .sampler import Sampler, Sampling

__all__ = ["GaussianModel", "vp_sampler"]

Vector: TypeAlias = tuple[float, ...]


@final
@validated(frozen=True, slots=True)
class GaussianModel:
    """Data N(mean, cov) in any dimension d, and the reward c.x - x.Qx / 2.

    Arguments:
        mean, cov: Moments of the data, (d,) and (d, d).
        c, Q: Coefficients of the reward, (d,) and (d, d).
        decay: The integral of the rate of VP over its time, where the model is noised by VP.
        levels: Noise levels of its table.

    Raises:
        UnmetHypothesis: Other shapes, or decay or levels <= 0.
    """

    mean: Vector = (0.5, -0.3)
    cov: tuple[Vector, ...] = ((1.2, 0.3), (0.3, 0.5))
    c: Vector = (1.0, -0.5)
    Q: tuple[Vector, ...] = ((0.8, 0.2), (0.2, 0.4))
    decay: PositiveFloat = 6.0
    levels: PositiveInt = 1000

    def __post_init__(self) -> None:
        d = len(self.mean)
        square = all(len(rows) == d and all(len(row) == d for row in rows) for rows in (self.cov, self.Q))
        if not (d and square):
            hypothesis = "mean (d,), cov (d, d) and Q (d, d) of data and reward on one space"
            raise UnmetHypothesis("GaussianModel", hypothesis, repr(self))
        if len(self.c) != d:
            got = f"data on R^{d}, reward on R^{len(self.c)}"
            raise UnmetHypothesis("GaussianModel", "data and reward on one space", got)

    @property
    def data(self) -> Gaussian:
        """The law of the data."""
        return Gaussian(np.asarray(self.mean), np.asarray(self.cov))

    @property
    def reward(self) -> Quadratic:
        """The reward."""
        return Quadratic(np.asarray(self.c), np.asarray(self.Q))


def vp_sampler(decay: float, levels: int, sampling: Sampling) -> Sampler:
    """A sampler of VP whose whole grid is stochastic, down to the first noise level.

    Arguments:
        decay: The integral of the rate over the time.
        levels: Noise levels of the table.
        sampling: Steps and stochasticity.
    """
    scheduler = GDDIMScheduler(
        num_train_timesteps=levels,
        trained_betas=[float(-np.expm1(-decay / levels))] * levels,
        set_alpha_to_one=False,  # the last step stays stochastic: it, too, has a log-probability
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(sampling.steps)
    return Sampler(scheduler, sampling.eta, sampling.kind)
