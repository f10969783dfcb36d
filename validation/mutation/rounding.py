"""What a planted rounding calls: a value as if it had been computed in single precision."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

__all__ = ["COUNT", "counted", "float32"]

COUNT = [0]


def counted(value: Any) -> Any:
    """The value, counted: whether an input evaluates an error at all."""
    COUNT[0] += 1
    return value


def float32(value: Any) -> Any:
    """The value rounded to single precision and lifted back; what is no float64 stays as it is.

    Example:
        >>> float32(0.1) == 0.1, float32(0.5), float32("a")
        (False, 0.5, 'a')
    """
    if isinstance(value, float):
        return type(value)(np.float32(value))
    if array_api_compat.is_array_api_obj(value):
        xp = array_api_compat.array_namespace(value)
        if value.dtype == xp.float64:
            return xp.astype(xp.astype(value, xp.float32), xp.float64)
    return value
