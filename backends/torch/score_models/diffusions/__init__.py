"""Generative diffusions: one for each process, set up by one rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from driftproof.backends.torch.kit.recipe import RecipeError, build
from driftproof.theory.processes import CIR, GBM, VP

from .base import AbstractDiffusion
from .gaussian import GaussianDiffusion
from .lognormal import LogNormalDiffusion
from .squared_bessel import Objective, SquaredBesselDiffusion

__all__ = [
    "AbstractDiffusion",
    "DiffusionRecipe",
    "GaussianDiffusion",
    "LogNormalDiffusion",
    "NoiseRange",
    "Objective",
    "SquaredBesselDiffusion",
]


@final
@dataclass(frozen=True, slots=True)
class NoiseRange:
    """Where sampling stops and starts, as noise-to-signal ratios."""

    low: float = 0.02
    high: float = 10.0


@final
@dataclass(frozen=True, slots=True)
class DiffusionRecipe:
    """A process with its parameters, by name, and the range of the noise-to-signal ratio.

    Arguments:
        name: ``VP``, ``GBM`` or ``CIR``.
        process: The forward process.
        low, high: The range of the ratio.
        shift: Added to the data (GBM).
        objective: What is regressed (CIR).
    """

    name: str
    process: VP | GBM | CIR
    low: float
    high: float
    shift: float = 0.0
    objective: Objective = "conditional mean"

    @classmethod
    def read(cls, table: Mapping[str, Any], where: str) -> DiffusionRecipe:
        """From a table of the recipe.

        Raises:
            RecipeError: An unknown process, a missing or unknown key.
            UnmetHypothesis: Parameters that the process refuses.
        """
        rest = dict(table)
        name = rest.pop("name", None)
        if name not in _OPTIONS:
            raise RecipeError(f"{where}.name: expected one of {', '.join(_OPTIONS)}, got {name!r}")
        kind, own = _OPTIONS[name]
        options = {key: rest.pop(key) for key in ("low", "high", *own) if key in rest}
        process = build(kind, rest, f"{where} ({name})")
        return build(cls, {"name": name, "process": process, **options}, f"{where} ({name})")

    def fit(self, rows: NDArray[np.float64], heads: int = 1) -> AbstractDiffusion:
        """The diffusion, scaled to training rows (n, d); only CIR has a second head.

        Raises:
            UnmetHypothesis: The rows are not in the state space.
        """
        match self.process:
            case VP():
                return GaussianDiffusion(self.process, rows, self.low, self.high)
            case GBM():
                return LogNormalDiffusion(self.process, rows, self.low, self.high, self.shift)
            case CIR():
                return SquaredBesselDiffusion(self.process, rows, self.low, self.high, self.objective, heads)


_OPTIONS: Mapping[str, tuple[type[VP | GBM | CIR], tuple[str, ...]]] = {
    "VP": (VP, ()),
    "GBM": (GBM, ("shift",)),
    "CIR": (CIR, ("objective",)),
}
