r"""Confidence sets of a learning curve: all values that a studentised test over seeds does not reject.

At a given exponent the curve is linear in its other parameters, so that a combination of the sizes exists which
is blind to them and whose mean vanishes if the exponent is right,

.. math:: g(\beta)^\top \bar r = 0, \qquad g = W w, \quad
    w \perp_W 1,\, m^{-\beta} \;\;\text{the part of}\;\; \log m \cdot m^{-\beta}

Each seed gives one draw of it.  Its Student statistic is exact for normal noise, however the sizes of a seed
depend on each other, whatever floor and constant are, zero included: there is no boundary that a bootstrap
of the estimate would have to get right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from driftproof.numerics._samples import Floats

__all__ = ["Seeds", "exponent_set", "floor_set"]

_ROUNDING = 1e-12  # a mean below this share of its terms is zero


@final
@dataclass(frozen=True, slots=True, eq=False)
class Seeds:
    """A curve seed by seed, and where its statistics are significant.

    Arguments:
        log_m: Logarithms of the sizes, the first one 0, shape (sizes,).
        risks: Risks, shape (sizes, seeds).
        weight: Inverse squared errors of the means, shape (sizes,).
        resampled: Columns of bootstrap samples, shape (resamples, seeds); None: Student's quantiles.
    """

    log_m: Floats
    risks: Floats
    weight: Floats
    resampled: NDArray[np.int64] | None = None

    def blind(self, direction: Floats, *tangents: Floats) -> Floats:
        """Combinations of the sizes along directions, blind to tangents: all of shape (tests, sizes)."""
        root = np.sqrt(self.weight)
        left = direction * root
        basis = np.linalg.qr(np.stack([tangent * root for tangent in tangents], axis=-1))[0]
        for _ in range(2):  # once more: what is left may be small beside what was taken away
            left = left - np.squeeze(basis @ (np.swapaxes(basis, 1, 2) @ left[..., None]), -1)
        result: Floats = left * root
        return result

    def below(self, tail: float, combination: Floats, risks: Floats | None = None) -> NDArray[np.bool_]:
        """Whether the mean of each combination is < 0, tested at the level ``tail``."""
        seeds = self.risks if risks is None else risks
        draws = np.squeeze(combination[:, None, :] @ seeds, 1)
        rounding = _ROUNDING * (np.abs(combination) * np.abs(seeds).mean(axis=-1)).sum(axis=-1)
        statistic = _studentised(draws, rounding)
        count = draws.shape[1]
        if self.resampled is None:
            return np.asarray(statistic < stdtrit(count - 1, tail))
        centred = draws - draws.mean(axis=1, keepdims=True)
        again = _studentised(centred[:, self.resampled], rounding[:, None])
        return np.asarray(statistic < np.quantile(again, tail, axis=1))


def exponent_set(
    seeds: Seeds, best: float, searched: tuple[float, float], level: float, floor: bool
) -> tuple[float, float]:
    r"""The interval of exponents; 0 or infinite where an end of the range that is searched is not rejected.

    With a floor, an exponent is too small as well where it needs a floor that is negative: the lower tail is
    shared between both tests, so that the level is kept whatever they have in common.
    """
    tail = 0.5 * (1.0 - level)

    def kept(beta: Floats) -> NDArray[np.bool_]:
        power = np.exp(-beta[:, None] * seeds.log_m)
        one = np.ones_like(power)
        g = seeds.blind(-seeds.log_m * power, *([one, power] if floor else [power]))
        # An exponent that is too small leaves a curvature of one sign, whatever the curve.
        g = g * np.sign(g @ np.exp(-2.0 * searched[1] * seeds.log_m))[:, None]
        if not floor:
            return ~(seeds.below(tail, g) | seeds.below(tail, -g))
        return ~(
            seeds.below(tail, g)
            | seeds.below(0.5 * tail, -g)
            | seeds.below(0.5 * tail, seeds.blind(one, power))
        )

    grid = np.geomspace(*searched, 120)
    low, high = _ends(kept, grid, best)
    return (0.0 if low <= searched[0] else low, math.inf if high >= searched[1] else high)


def floor_set(
    seeds: Seeds, best: float, level: float, exponents: Callable[[Floats], Floats]
) -> tuple[float, float]:
    r"""The interval of floors, >= 0.

    The exponent is not known here, but fitted for each floor (``exponents``); the combination is blind to its
    error in first order, so that the level is kept in first order too.

    Arguments:
        seeds: The curve.
        best: The fitted floor.
        level: Confidence.
        exponents: The best exponents for given floors, both of shape (tests,).
    """
    tail = 0.5 * (1.0 - level)

    def kept(low: Floats) -> NDArray[np.bool_]:
        power = np.exp(-exponents(low)[:, None] * seeds.log_m)
        g = seeds.blind(np.ones_like(power), power, seeds.log_m * power)
        above = seeds.risks - low[:, None, None]
        return ~(seeds.below(tail, g, above) | seeds.below(tail, -g, above))

    most = float(seeds.risks.max())
    return _ends(kept, np.linspace(0.0, most, 120), best)


def _studentised(draws: Floats, rounding: Floats) -> Floats:
    """Mean over its standard error, along the last axis."""
    error = draws.std(axis=-1, ddof=1) / math.sqrt(draws.shape[-1])
    result: Floats = draws.mean(axis=-1) / np.maximum(error, np.maximum(rounding, 1e-300))
    return result


def _ends(kept: Callable[[Floats], NDArray[np.bool_]], grid: Floats, best: float) -> tuple[float, float]:
    """The smallest and the largest value that are kept; ``best`` is one of them."""
    values = np.unique(np.append(grid, best))
    held = kept(values) | (values == best)
    ends = []
    for side in (1, -1):
        points, mask = values[::side], held[::side]
        first = int(np.argmax(mask))
        inner, outer = points[first], points[max(first - 1, 0)]
        while abs(inner - outer) > 1e-7 * grid[-1]:
            between = np.linspace(inner, outer, 33)
            mask = kept(between) | (between == best)
            mask[0], mask[-1] = True, False
            last = int(np.argmin(mask))
            inner, outer = between[last - 1], between[last]
        ends.append(float(inner))
    return ends[0], ends[1]
