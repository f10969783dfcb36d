"""Positive numbers: log-uniform, with the ends and the values where formulas change."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.processes import CIR, GBM, AbstractProcess, Flow
from driftproof.theory.processes.clock import Identity

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


def times(
    low: float = 1e-6, high: float = 1e3, *, process: AbstractProcess | None = None
) -> SearchStrategy[float]:
    """Noise times in [low, high], > 0; of a process, those at which its laws have moments that are floats.

    A schedule ends at its horizon, a flow before 1, and growth or decay at :math:`e^{300}`.

    Example:
        >>> from hypothesis import find
        >>> from driftproof.theory.processes import VP
        >>> find(times(), lambda t: t <= 1e-6), find(times(process=VP(T=3.0)), lambda t: t > 2.0)
        (1e-06, 3.0)
    """
    return positive(low, high if process is None else min(high, _horizon(process)))


def _horizon(process: AbstractProcess) -> float:
    """A schedule that falls gives no law beyond its horizon; without a schedule the floats end first."""
    match process:
        case Flow():
            return 0.999
        case GBM(clock=Identity()):
            return 300.0 / (abs(process.mu) + process.sigma**2)
        case CIR(clock=Identity()):
            return 300.0 / process.kappa
    return float(getattr(getattr(process, "clock", process), "T", math.inf))


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
