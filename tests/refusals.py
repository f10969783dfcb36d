"""Rows of bounds, and how they are tried: see test_refusals.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from driftproof import UnmetHypothesis

__all__ = ["ABOVE_1", "BELOW_1", "INF", "NAN", "TINY", "Row", "faults", "ones", "zeros"]

# What is bounded, a call of one value with all else as it should be, values inside, and values outside.
Row = tuple[str, Callable[[Any], object], list[Any], list[Any]]

TINY = 5e-324
INF, NAN = math.inf, math.nan
ABOVE_1, BELOW_1 = math.nextafter(1.0, 2.0), math.nextafter(1.0, 0.0)


def ones(x: Any, *_: Any) -> Any:
    """A density, a stiffness or a speed that is 1 everywhere."""
    return 1.0 + 0.0 * np.asarray(x)


def zeros(*shape: int) -> Any:
    return np.zeros(shape)


def faults(rows: Iterable[Row]) -> list[str]:
    """What is refused inside, and what outside is taken or raises something else, in words."""
    found = []
    for name, call, inside, outside in rows:
        for value in inside:
            try:
                call(value)
            except Exception as error:  # noqa: BLE001
                found.append(f"{name}: refuses {value!r}: {error}")
        for value in outside:
            try:
                with np.errstate(all="ignore"):
                    call(value)
            except UnmetHypothesis:
                continue
            except Exception as error:  # noqa: BLE001
                found.append(f"{name}: raises {type(error).__name__} at {value!r}: {error}")
            else:
                found.append(f"{name}: takes {value!r}")
    return found
