r"""The density of a reverse squared-Bessel diffusion, without chance: a birth-death chain in its place.

.. math:: dY = \tilde b(Y, t)\,d\tau + \eta \sqrt{g Y}\,dB, \qquad F = \frac{2 \tilde b}{\eta^2 g}

In :math:`\log y` the scale density is :math:`e^{-\phi} y`, the speed density a multiple of
:math:`e^\phi`, with :math:`\phi' = F` finite at 0 whatever the dimension :math:`2 F(0)`.  Cells on which F is
taken constant give rates that are positive, conserve mass and have the right speed measure up to
:math:`O(h^2)`; in time, steps are those of the L-stable diagonally implicit rule of order 2.
The chain knows of the process only its drift and its diffusion coefficient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import numpy as np
from scipy.linalg import solve_banded

from .gauss import Floats

__all__ = ["Chain", "cells"]

Drift = Callable[[Floats, float], Any]
GAMMA = 1.0 - math.sqrt(0.5)


def cells(lowest: float, highest: float, count: int) -> tuple[Floats, Floats]:
    """Centers and edges of cells even in log x near 0 and in sqrt(x) further out."""
    low, high = (math.log(math.expm1(math.sqrt(x))) for x in (lowest, highest))
    u = np.logaddexp(0.0, np.linspace(low, high, 2 * count + 1)) ** 2
    return u[1::2], u[0::2]


@final
@dataclass(frozen=True)
class Chain:
    """The chain of a reverse drift; mass below the lowest cell is kept in it."""

    process: Any
    drift: Drift
    centers: Floats
    edges: Floats
    eta: float = 1.0

    def run(self, mass: Floats, start: float, end: float, steps: int, power: float = 2.0) -> Floats:
        """Masses of the cells at noise time ``end`` from those at ``start`` > ``end``, finer near the end."""
        times = end + (start - end) * np.linspace(1.0, 0.0, steps + 1) ** power
        for t, s in pairwise(times):
            h = float(t - s)
            first = self.solve(float(t - GAMMA * h), GAMMA * h, mass)
            slope = (first - mass) / (GAMMA * h)
            mass = self.solve(float(s), GAMMA * h, mass + (1.0 - GAMMA) * h * slope)
        return mass

    def solve(self, t: float, h: float, mass: Floats) -> Floats:
        """(1 - h A)^{-1} mass, A the generator at noise time t."""
        up, down = self.rates(t)
        bands = np.zeros((3, mass.size))
        bands[0, 1:], bands[2, :-1], bands[1] = -h * down, -h * up, 1.0
        bands[1, :-1] += h * up
        bands[1, 1:] += h * down
        return np.asarray(solve_banded((1, 1), bands, mass, check_finite=False))

    def rates(self, t: float) -> tuple[Floats, Floats]:
        x, face = self.centers, self.edges[1:-1]
        g = self.eta**2 * float(self.process.diffusion(1.0, t))
        at_center, at_face = (2.0 * np.asarray(self.drift(y, t)) / g for y in (x, face))
        cell, gap = np.diff(np.log(self.edges)), np.diff(np.log(x))
        speed = cell * _sinhc(0.5 * at_center * cell)  # of a cell, relative to its center
        scale = face * gap * _sinhc(0.5 * (1.0 - at_face) * gap)  # between centers, relative to the face
        rise = 0.5 * (at_center[:-1] + at_face) * np.log(face / x[:-1])
        fall = 0.5 * (at_center[1:] + at_face) * np.log(x[1:] / face)
        up = 0.5 * g * np.exp(rise) / (scale * speed[:-1])
        down = 0.5 * g * np.exp(-fall) / (scale * speed[1:])
        return up, down


def _sinhc(x: Floats) -> Floats:
    safe = np.where(np.abs(x) < 1e-4, 1.0, x)
    return np.where(np.abs(x) < 1e-4, 1.0 + x * x / 6.0, np.sinh(safe) / safe)
