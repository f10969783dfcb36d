"""Where one step of a sampler leads, found in a copy of it, which the run does not notice."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .models import Model

if TYPE_CHECKING:
    from .affine import Sampler

__all__ = ["led", "network"]


def network(
    sampler: Sampler, call: int, calls: int, model: Model, before: tuple[float, float]
) -> tuple[Model, tuple[float, float]]:
    """The network with the c_skip and c_out of this step, and the level below that its noise leads up from.

    Found in a copy of the sampler, in coordinates for state, output, neither and noise; the last step, after
    which there is no level, leads where the one before did.  NaN where the step remembers earlier ones.
    """
    state, output, noise = np.eye(4)[[0, 1, 3]]
    try:
        twin = copy.deepcopy(sampler)
        skip, out, rest, rise = map(float, twin.step(call, output, state, lambda key: noise))
        after = twin.levels(call + 1) if call + 1 < calls else None
    except (RuntimeError, ValueError):
        return model, (math.nan, math.nan)
    made = replace(model, scalings=(skip, out) if rest == 0.0 else (math.nan, math.nan))
    if after is None:
        return made, before
    return made, (after[0], math.sqrt(max(after[1] ** 2 - rise**2, 0.0)))


def led(sampler: Sampler, call: int, model: Model, alpha: float, sigma: float) -> tuple[float, float]:
    """Where the step without its noise leads data 1 and noise 1, in a copy of the sampler; NaN where it remembers."""
    x0, z = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    try:
        twin = copy.deepcopy(sampler)
        after = twin.step(
            call, model.of(x0, z, alpha, sigma), alpha * x0 + sigma * z, lambda key: np.zeros(2)
        )
    except (RuntimeError, ValueError):  # earlier states, which have another shape: a multistep method
        return math.nan, math.nan
    return float(after[0]), float(after[1])
