r"""Derivatives of one function three ways: autograd in two precisions, and differences of its values.

Differences of sixth order, with steps of 0.004 of the coordinate, or of 0.0003 at 0: what they leave out is below
:math:`10^{-10}` of a function that varies on a third of the scale of the coordinate, or on 0.01 at 0.  Where a domain
ends they are taken from inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np

from ...evidence.base import Labelled

__all__ = ["DIFFERENCES", "SINGLE", "Point", "by_differences", "in_single_precision"]

STEP, STEP_AT_ZERO = 0.004, 3e-4
DIFFERENCES = 1e-9  # 28 (the weights at an end) over 3e-4 (the step) times 32 roundings, and what is left out
SINGLE = (
    64 * 2.0**-23
)  # of autograd in float32: its roundings, beside what those of the coordinates leave open

Floats = np.ndarray[Any, np.dtype[np.float64]]
Function = Callable[[Any], Any]


@final
@dataclass(frozen=True)
class Point:
    """A function of real coordinates, shape (n,), and where it is differentiated.

    Arguments:
        label: What is differentiated, and where.
        function: Takes the coordinates as an array of numpy or torch and returns one number.
        at: The coordinates.
        ends: Coordinates at which their domain ends.
    """

    label: str
    function: Function
    at: tuple[float, ...]
    ends: frozenset[int] = frozenset()


def by_differences(point: Point) -> Iterator[Labelled]:
    """Autograd against differences, relative to the larger of the slope and the value over the coordinate."""
    value, found = _autograd(point.function, np.asarray(point.at))
    for k, place in enumerate(point.at):
        want = _difference(point, k)
        size = max(abs(want), abs(value) / (abs(place) or 1.0), 1.0)
        yield f"{point.label}, coordinate {k}", found[k] / size, want / size


def in_single_precision(point: Point) -> Iterator[Labelled]:
    """Autograd in float32 against float64 at the same coordinates.

    Relative to the slope, the value over the coordinate, and the change of the slope, over 2^-23, where the
    coordinates move by that part of themselves, all up or every other one down.
    """
    at = np.asarray(point.at, dtype=np.float32).astype(np.float64)
    value, want = _autograd(point.function, at)
    _, found = _autograd(point.function, at, single=True)
    changes = np.zeros_like(want)
    for signs in (np.ones(at.size), (-1.0) ** np.arange(at.size)):
        moved = _autograd(point.function, at * (1.0 + signs * 2.0**-23))[1]
        changes = np.maximum(changes, np.abs(moved - want))
    size = np.maximum(
        np.abs(want) + 2.0**23 * changes, np.maximum(abs(value) / np.where(at, np.abs(at), 1.0), 1.0)
    )
    yield f"{point.label}, float32", found / size, want / size


def _autograd(function: Function, at: Floats, single: bool = False) -> tuple[float, Floats]:
    import torch

    theta = torch.tensor(at, dtype=torch.float32 if single else torch.float64, requires_grad=True)
    value = function(theta)
    slope = torch.zeros_like(theta)
    if value.requires_grad:
        (slope,) = torch.autograd.grad(value, theta)
    return float(value.detach()), np.asarray(slope.double())


def _difference(point: Point, k: int) -> float:
    """The derivative in one coordinate, by the polynomial through seven values."""
    nodes = range(7) if k in point.ends else range(-3, 4)
    step = STEP * abs(point.at[k]) or STEP_AT_ZERO
    total = 0.0
    for node in nodes:
        if weight := _weight(nodes, node):
            moved = np.asarray(point.at)
            moved[k] += node * step
            total += float(weight) * float(point.function(moved))
    return total / step


def _weight(nodes: range, node: int) -> Fraction:
    """The derivative at 0 of the polynomial that is 1 at one node and 0 at the others."""
    others = [other for other in nodes if other != node]
    below = math.prod(node - other for other in others)
    return sum((Fraction(math.prod(-b for b in others if b != a), below) for a in others), Fraction(0))
