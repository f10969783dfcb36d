"""How fast an error falls, and whether it has stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np

from .affine import Vector
from .thresholds import HELD

__all__ = ["Order", "order_of", "slopes_of", "stopped"]


@final
@dataclass(frozen=True)
class Order:
    """An order of convergence from the monotone tail of an error.

    Arguments:
        low, high: The least and the largest slope from one count to the next in the tail.
        value: The last one, where they agree; None where they do not, or are too few.
    """

    low: float
    high: float
    value: float | None


def order_of(errors: Mapping[int, Vector], rounding: float) -> Order | None:
    """The order of an error, a vector at each count, from its monotone tail above rounding.

    The tail ends where the error rises from one count to the next, or where a component that matters changes its
    sign: an error that passes through zero is small at one count by chance.

    Example:
        >>> found = order_of({n: np.array([3.0 / n]) for n in (5, 10, 20, 40)}, 1e-12)
        >>> round(found.low, 6), round(found.high, 6), round(found.value, 6)
        (1.0, 1.0, 1.0)
        >>> order_of({n: np.array([1.0 / n - 0.04]) for n in (5, 10, 20, 40)}, 1e-12) is None
        True
    """
    kept = [(n, e) for n, e in sorted(errors.items()) if np.linalg.norm(e) > rounding]
    tail = kept[-1:]
    for n, e in reversed(kept[:-1]):
        after = tail[0][1]
        matters = np.abs(after) > 0.2 * np.linalg.norm(after)
        same = bool(np.all(np.sign(e[matters]) == np.sign(after[matters])))
        if not same or np.linalg.norm(e) <= np.linalg.norm(after):
            break
        tail.insert(0, (n, e))
    tail = tail[-HELD.tail - 1 :]
    slopes = [
        math.log(float(np.linalg.norm(e) / np.linalg.norm(f))) / math.log(m / n)
        for (n, e), (m, f) in pairwise(tail)
    ]
    if not slopes:
        return None
    settled = len(tail) >= HELD.tail and max(slopes) - min(slopes) <= HELD.agree
    return Order(min(slopes), max(slopes), slopes[-1] if settled else None)


def stopped(sizes: Mapping[int, float]) -> bool:
    """Whether this has stopped changing over the last counts."""
    kept = list(sizes.values())[-3:]
    return all(abs(size - kept[-1]) <= HELD.stopped * kept[-1] for size in kept)


def slopes_of(errors: Mapping[int, float], rounding: float) -> tuple[float, ...]:
    """The slope over the last two doublings above rounding, and over the last, of the largest error from each count on.

    An error that changes its sign on the way down is small at one count by chance.
    """
    items = list(errors.items())
    envelope = [(n, max(e for _, e in items[i:])) for i, (n, _) in enumerate(items)]
    kept = [(n, e) for n, e in envelope if e > rounding][-3:]
    n_last, e_last = kept[-1] if kept else (0, 0.0)
    return tuple(math.log(e / e_last) / math.log(n_last / n) for n, e in kept[:-1])
