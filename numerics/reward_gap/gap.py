r"""The reward gap of two samplers on the same seeds, with an interval.

.. math:: \widehat{\mathrm{gap}} = \frac1n\sum_{i=1}^n \big(r(x^{ODE}_i) - r(x^{SDE}_i)\big)

Both samplers start from the same noise, so that the differences have less spread than the rewards.
Student's interval is exact for normal differences and holds to first order for any; the bootstrap
(percentile) corrects for skewness when n is moderate.  Neither corrects for looking many times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, final

import array_api_compat.numpy as numpy_namespace
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary, checked, require
from driftproof._random import Rng, source

__all__ = ["PairedGap", "paired_gap"]

RESAMPLES = 2000


@final
@dataclass(frozen=True, slots=True)
@checked(low="in [-inf, inf]", high="in [-inf, inf]")
class PairedGap:
    """Mean rewards of both samplers, their difference, and its interval at the stated level."""

    ode: float
    sde: float
    gap: float
    low: float
    high: float
    level: float
    pairs: int

    def __str__(self) -> str:
        percent = f"{100.0 * self.level:g} %"
        return f"{self.gap:+.4g} [{self.low:+.4g}, {self.high:+.4g}] ({percent}, {self.pairs} pairs)"


@arrays()
def paired_gap(
    ode: Array,
    sde: Array,
    level: float = 0.95,
    method: Literal["t", "bootstrap"] = "t",
    rng: Rng = 0,
) -> PairedGap:
    """The mean of ``ode - sde`` and an interval that covers its expectation with probability ``level``.

    Arguments:
        ode: Rewards of the deterministic sampler, shape (n,), n >= 2.
        sde: Rewards of the stochastic sampler from the same starts, in the same order.
        level: Coverage in (0, 1).
        method: ``t`` (Student) or ``bootstrap`` (percentile, 2000 resamples).
        rng: A numpy generator or an integer seed, for the bootstrap.

    Returns:
        A :class:`PairedGap`.

    Raises:
        UnmetHypothesis: Fewer than 2 pairs, different shapes, a reward that is not finite, or a level outside
            of (0, 1).

    Claims: REWARD-GAP-INTERVAL-1

    Example:
        >>> gap = paired_gap([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
        >>> gap.gap, gap.pairs
        (2.0, 3)
    """
    boundary("paired_gap", ode=ode, sde=sde)
    left, right = _host(ode), _host(sde)
    if left.shape != right.shape or left.ndim != 1 or left.size < 2:
        got = f"shapes {left.shape} and {right.shape}"
        raise UnmetHypothesis("paired_gap", "two rewards of each of n >= 2 seeds", got)
    if not 0.0 < level < 1.0:
        raise UnmetHypothesis("paired_gap", "level in (0, 1)", f"level = {level!r}")
    for name, rewards in (("ode", left), ("sde", right)):
        require(numpy_namespace, "paired_gap", name, rewards, "finite")
    difference = left - right
    n, mean = difference.size, float(difference.mean())
    if method == "t":
        half = float(stats.t.ppf(0.5 + 0.5 * level, n - 1)) * float(difference.std(ddof=1)) / math.sqrt(n)
        low, high = mean - half, mean + half
    elif method == "bootstrap":
        draws = source(rng, like=difference)
        means = np.array(
            [difference[_indices(draws.uniform(difference), n)].mean() for _ in range(RESAMPLES)]
        )
        low, high = (float(q) for q in np.quantile(means, [0.5 - 0.5 * level, 0.5 + 0.5 * level]))
    else:
        raise UnmetHypothesis("paired_gap", "method is t or bootstrap", repr(method))
    return PairedGap(float(left.mean()), float(right.mean()), mean, low, high, level, n)


def _indices(uniform: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    return np.minimum((uniform * n).astype(np.int64), n - 1)


def _host(values: Any) -> NDArray[np.float64]:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
