"""Intervals over seeds and over rows, as numbers and as they stand in a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student_t

__all__ = ["normal_interval", "shown", "student_interval", "student_text"]


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


def normal_interval(values: ArrayLike) -> tuple[float, float]:
    """Mean of many rows and the half-width of a 95 % normal interval."""
    found = np.asarray(values, dtype=np.float64)
    return float(found.mean()), 1.96 * float(found.std(ddof=1)) / math.sqrt(len(found))


def shown(mean: Any, half: Any, digits: str = ".3g") -> str:
    """A mean with its half-width; alone where there is none.

    Example:
        >>> shown(1.23456, 0.0123), shown(1.23456, math.nan, ".4f")
        ('1.23 ± 0.012', '1.2346')
    """
    mean, half = float(mean), float(half)
    return f"{mean:{digits}}" if math.isnan(half) else f"{mean:{digits}} ± {half:.2g}"


def student_text(values: ArrayLike, digits: str = ".3g") -> str:
    """Mean and 95 % Student interval of a number of each seed."""
    return shown(*student_interval(values), digits)
