r"""Derivatives of one function three ways: autograd in two precisions, and differences of its values.

Differences are of sixth order, with steps of 0.004 of the coordinate, or of 0.0003 at 0; where a domain ends they are
taken from inside.  How far they may be from the derivative is computed at every point:

.. math:: \tfrac18 |D_{2h} - D_h| \;+\; \frac{\sum_i |w_i|}{h} \max \delta f \;+\; \delta f'

* truncation: that of :math:`D_h` is 1/63 of the difference if both steps are small for the function, and still below
  1/8 where halving the step gains a factor of 9 instead of 64;
* rounding :math:`\delta f` of the function, and :math:`\delta f'` of its derivative by autograd: twice the distance of
  values at seven neighbours, so near that the function is a line, from the line that fits them best.

Autograd in float32 is compared with autograd in float64, whose roundings are none beside its own: these, computed
likewise at seven neighbours of float32, and what the rounding of the coordinates leaves open,

.. math:: \delta_{32} f' \;+\; |f'(x (1 \pm 2^{-23})) - f'(x)|.

Both hold beside them 16 roundings of the larger of the slope and the value over the coordinate.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np

from driftproof.validation.evidence.base import Labelled

__all__ = ["Point", "by_differences", "in_single_precision"]

STEP, STEP_AT_ZERO = 0.004, 3e-4
NEIGHBOURS = range(7)
NEAR = 2.0**-40, 2.0**-24  # of the coordinate, and of a step: a line, but thousands of roundings apart
EPS = 2.0**-52
EPS_SINGLE = 2.0**-23
LEAST = 16.0  # roundings of the size that are the same at all neighbours

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
    """Autograd less differences, over the bound on what may be between them: at most 1."""
    at = np.asarray(point.at)
    value, found = _autograd(point.function, at)
    sides = [_autograd(point.function, _beside(point, k))[1] for k in NEIGHBOURS[1:]]
    spread = _off_a_line([found, *sides])
    for k, place in enumerate(point.at):
        values = _Values(point, k)
        want, coarse = values.difference(1), values.difference(2)
        size = max(abs(want), abs(value) / (abs(place) or 1.0))
        bound = abs(coarse - want) / 8.0 + values.rounding() + spread[k] + LEAST * EPS * size
        # A constant that no coordinate moves has neither, and its derivative is 0.
        yield f"{point.label}, coordinate {k}", (found[k] - want) / (bound or EPS), 0.0


def in_single_precision(point: Point) -> Iterator[Labelled]:
    """Autograd in float32 less autograd in float64 at the same coordinates, over the bound on it: at most 1."""
    at = np.asarray(point.at, dtype=np.float32).astype(np.float64)
    value, want = _autograd(point.function, at)
    rounding = EPS_SINGLE * np.where(at, np.abs(at), 1.0)
    beside = [(at + k * rounding).astype(np.float32).astype(np.float64) for k in NEIGHBOURS]
    singles = [_autograd(point.function, place, single=True)[1] for place in beside]
    changes = np.zeros_like(want)
    for signs in (np.ones(at.size), (-1.0) ** np.arange(at.size)):
        moved = at + np.where(at, signs, 1.0) * rounding  # from 0 into the domain
        changes = np.maximum(changes, np.abs(_autograd(point.function, moved)[1] - want))
    size = np.maximum(np.abs(want), abs(value) / np.where(at, np.abs(at), 1.0))
    bound = _off_a_line(singles) + changes + LEAST * EPS_SINGLE * size
    yield f"{point.label}, float32", (singles[0] - want) / np.where(bound, bound, EPS), 0.0 * want


def _autograd(function: Function, at: Floats, single: bool = False) -> tuple[float, Floats]:
    import torch

    theta = torch.tensor(at, dtype=torch.float32 if single else torch.float64, requires_grad=True)
    value = function(theta)
    slope = torch.zeros_like(theta)
    if value.requires_grad:
        (slope,) = torch.autograd.grad(value, theta)
    return float(value.detach()), np.asarray(slope.double())


class _Values:
    """A function along one coordinate: every value is computed once."""

    def __init__(self, point: Point, k: int) -> None:
        self.point, self.k = point, k
        self.nodes = range(7) if k in point.ends else range(-3, 4)
        self.step = STEP * abs(point.at[k]) or STEP_AT_ZERO
        self.known: dict[float, float] = {}

    def at(self, steps: float) -> float:
        """The value so many steps along the coordinate."""
        if steps not in self.known:
            moved = np.asarray(self.point.at)
            moved[self.k] += steps * self.step
            self.known[steps] = float(self.point.function(moved))
        return self.known[steps]

    def difference(self, factor: int) -> float:
        """The derivative, by the polynomial through seven values that lie so many steps apart."""
        weights = {node: float(_weight(self.nodes, node)) for node in self.nodes}
        return sum(w * self.at(factor * n) for n, w in weights.items() if w) / (factor * self.step)

    def rounding(self) -> float:
        """What the rounding of the function may do to the difference."""
        weights = sum(abs(float(_weight(self.nodes, node))) for node in self.nodes)
        noise = 0.0
        for node in (self.nodes[1], self.nodes[3], self.nodes[-1]):
            values = [self.at(node + NEAR[1] * k) for k in NEIGHBOURS]
            noise = max(noise, float(_off_a_line(values)), EPS * abs(values[0]))
        return weights * noise / self.step


def _beside(point: Point, k: int) -> Floats:
    """A neighbour in all coordinates, inside of the domain where one ends at 0."""
    at = np.asarray(point.at)
    return at + NEAR[0] * k * np.where(at, np.abs(at), 1.0)


def _off_a_line(values: Any) -> Any:
    """Twice the largest distance of values at the neighbours from the line that fits them best."""
    values = np.asarray(values)
    return 2.0 * np.max(np.abs(_OFF_A_LINE @ values), axis=0)


def _complement() -> Floats:
    line = np.stack([np.ones(len(NEIGHBOURS)), np.asarray(NEIGHBOURS)], axis=1)
    return np.asarray(np.eye(len(NEIGHBOURS)) - line @ np.linalg.pinv(line))


_OFF_A_LINE = _complement()


@functools.cache
def _weight(nodes: range, node: int) -> Fraction:
    """The derivative at 0 of the polynomial that is 1 at one node and 0 at the others."""
    others = [other for other in nodes if other != node]
    below = math.prod(node - other for other in others)
    return sum((Fraction(math.prod(-b for b in others if b != a), below) for a in others), Fraction(0))
