r"""Noise times whose steps are equal in the logarithm of the posterior variance.

.. math:: C(t) = \frac{\sigma^2 s^2}{\alpha^2 s^2 + \sigma^2}, \qquad C(t_k) = C(t_0)\,q^k

Near the data guidance grows like :math:`1/\sqrt C`: steps that are equal in t leave a violation of the event that
falls like the root of their number, geometric ones nearly none.
"""

from __future__ import annotations

import math

import array_api_compat.numpy as numpy_namespace
import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import UnmetHypothesis
from driftproof.theory.processes import VE, VP, Flow

__all__ = ["variance_clock_grid"]


@arrays("numpy")
def variance_clock_grid(
    process: VP | VE | Flow, scale: float, steps: int, last: float, *, start: float | None = None
) -> tuple[float, ...]:
    r"""Decreasing noise times with a geometric posterior variance.

    Arguments:
        process: VP, VE or Flow.
        scale: The deviation s of the data along the event, > 0.
        steps: Number of steps, >= 1.
        last: The posterior variance at the end as a share of :math:`s^2`, in (0, 1), below that at the start.
        start: The noise time to start from; the horizon without.

    Returns:
        steps + 1 times, from ``start`` down.

    Raises:
        UnmetHypothesis: An argument outside of its range.

    Claims: DOOB-GRID-1

    Example:
        >>> times = variance_clock_grid(Flow(), 1.0, 2, 0.01)
        >>> [round(t, 6) for t in times]
        [1.0, 0.25, 0.091325]
    """
    name = "variance_clock_grid"
    if not isinstance(process, VP | VE | Flow):
        raise UnmetHypothesis(name, "the process is VP, VE or Flow", f"process {type(process).__name__}")
    if not 0.0 < scale < math.inf:
        raise UnmetHypothesis(name, "scale > 0 and finite", f"scale = {scale!r}")
    if isinstance(steps, bool) or steps % 1 != 0 or steps < 1:
        raise UnmetHypothesis(name, "steps is an integer >= 1", f"steps = {steps!r}")
    end = float(process.T) if start is None else float(start)
    if not 0.0 < end <= float(process.T):
        raise UnmetHypothesis(name, f"0 < start <= {float(process.T)}", f"start = {end!r}")
    alpha, sigma = (float(v) for v in process.alpha_sigma(numpy_namespace, np.asarray(end)))
    first = sigma**2 / (alpha**2 * scale**2 + sigma**2)
    if not 0.0 < last < first:
        raise UnmetHypothesis(name, f"0 < last < {first:.6g}", f"last = {last!r}")
    shares = first * (last / first) ** (np.arange(1, int(steps) + 1) / steps)
    # C / s^2 = r^2 / (s^2 + r^2) with r = sigma / alpha.
    ratios = scale * np.sqrt(shares / (1.0 - shares))
    times = process.time_of_ratio(numpy_namespace, ratios)
    return (end, *(float(t) for t in times))
