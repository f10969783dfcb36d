"""Intervals over seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student_t

__all__ = ["student_interval"]


def student_interval(
    values: ArrayLike, level: float = 0.95, together: int = 1
) -> tuple[Any, NDArray[np.float64]]:
    """Mean over the first axis, the seeds, and the half-width of Student's interval; nan for one seed.

    Arguments:
        values: With shape (seeds, *).
        level: Coverage.
        together: Intervals that hold jointly at this level (Bonferroni).

    Example:
        >>> mean, half = student_interval([1.0, 3.0])
        >>> float(mean), round(float(half), 3)
        (2.0, 12.706)
    """
    found = np.asarray(values, dtype=np.float64)
    n = len(found)
    if n < 2:
        return found[0], np.full(found.shape[1:], math.nan)
    scale = float(student_t.ppf(1.0 - 0.5 * (1.0 - level) / together, n - 1)) / math.sqrt(n)
    return found.mean(axis=0), scale * found.std(axis=0, ddof=1)
