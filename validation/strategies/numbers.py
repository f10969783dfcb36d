"""Positive numbers: log-uniform, with the ends and the values where formulas change."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..._namespace import UnmetHypothesis

__all__ = ["dimensions", "positive", "times"]


def positive(
    low: float = 1e-6, high: float = 1e6, edges: Sequence[float] = (1.0, 2.0, 0.5)
) -> SearchStrategy[float]:
    """Floats in [low, high], log-uniform, with both ends and the ``edges`` in between.

    Raises:
        UnmetHypothesis: 0 < low < high fails.

    Example:
        >>> from hypothesis import find
        >>> find(positive(), lambda x: x == 1), find(positive(1e-3, 10.0), lambda x: x >= 10)
        (1.0, 10.0)
    """
    if not 0 < low < high < math.inf:
        raise UnmetHypothesis("positive", "0 < low < high < inf", f"low = {low!r}, high = {high!r}")
    special = [edge for edge in edges if low < edge < high]
    uniform = st.floats(math.log(low), math.log(high)).map(lambda u: min(max(math.exp(u), low), high))
    return st.sampled_from([*special, low, high]) | uniform


def times(low: float = 1e-6, high: float = 1e3) -> SearchStrategy[float]:
    """Noise times in [low, high], > 0; pass ``high=0.999`` for flows, which end at 1.

    Example:
        >>> from hypothesis import find
        >>> find(times(), lambda t: t <= 1e-6)
        1e-06
    """
    return positive(low, high)


def dimensions(low: float = 0.05, high: float = 60.0) -> SearchStrategy[float]:
    """Dimensions delta of squared Bessel processes.

    Exact integers (where the Bessel functions are elementary or a count of Gaussians), both sides of the
    boundary at 2, and dimensions below 1, where the process sticks to 0 longest.

    Example:
        >>> from hypothesis import find
        >>> find(dimensions(), lambda delta: delta == 4)
        4.0
    """
    return positive(low, high, edges=(1.0, 2.0, 4.0, 0.5, 3.0, 2.0001, 1.9999, 9.0))
