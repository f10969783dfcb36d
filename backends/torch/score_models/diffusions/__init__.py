"""Generative diffusions: one for each process, set up by one rule."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.schema import validated
from driftproof.theory.processes import CIR, GBM, VP

from .base import AbstractDiffusion
from .gaussian import GaussianDiffusion
from .lognormal import LogNormalDiffusion
from .squared_bessel import Objective, SquaredBesselDiffusion

Rows: TypeAlias = NDArray[np.float64]

__all__ = [
    "AbstractDiffusion",
    "CIRRecipe",
    "GBMRecipe",
    "GaussianDiffusion",
    "LogNormalDiffusion",
    "NoiseRange",
    "Objective",
    "ProcessRecipe",
    "SquaredBesselDiffusion",
    "VPRecipe",
]


@final
@validated(frozen=True, slots=True)
class NoiseRange:
    """Where sampling stops and starts, as noise-to-signal ratios: ``low`` < ``high``."""

    low: PositiveFloat = 0.02
    high: PositiveFloat = 10.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise UnmetHypothesis("NoiseRange", "low < high", f"low = {self.low!r}, high = {self.high!r}")


@final
@validated(frozen=True, slots=True)
class VPRecipe:
    """The parameters of :class:`~driftproof.theory.processes.VP`."""

    name: Literal["VP"]
    beta_min: PositiveFloat = 0.1
    beta_max: PositiveFloat = 20.0
    T: PositiveFloat = 1.0

    def fit(self, rows: Rows, noise: NoiseRange) -> GaussianDiffusion:
        """The diffusion, scaled to training rows (n, d)."""
        return GaussianDiffusion(VP(self.beta_min, self.beta_max, self.T), rows, noise.low, noise.high)


@final
@validated(frozen=True, slots=True)
class GBMRecipe:
    """The parameters of :class:`~driftproof.theory.processes.GBM`; ``shift`` is added to the data."""

    name: Literal["GBM"]
    mu: float
    sigma: PositiveFloat
    shift: float = 0.0

    def fit(self, rows: Rows, noise: NoiseRange) -> LogNormalDiffusion:
        """The diffusion, scaled to training rows (n, d).

        Raises:
            UnmetHypothesis: Some rows are not > 0 after the shift.
        """
        return LogNormalDiffusion(GBM(self.mu, self.sigma), rows, noise.low, noise.high, self.shift)


@final
@validated(frozen=True, slots=True)
class CIRRecipe:
    """The parameters of :class:`~driftproof.theory.processes.CIR`; ``objective`` is what is regressed."""

    name: Literal["CIR"]
    kappa: PositiveFloat
    theta: PositiveFloat
    sigma: PositiveFloat
    objective: Objective = "conditional mean"

    def fit(self, rows: Rows, noise: NoiseRange, heads: int = 1) -> SquaredBesselDiffusion:
        """The diffusion, scaled to training rows (n, d); a second head is for second moments.

        Raises:
            UnmetHypothesis: Some rows are negative.
        """
        process = CIR(self.kappa, self.theta, self.sigma)
        return SquaredBesselDiffusion(process, rows, noise.low, noise.high, self.objective, heads)


ProcessRecipe: TypeAlias = Annotated[VPRecipe | GBMRecipe | CIRRecipe, Field(discriminator="name")]
