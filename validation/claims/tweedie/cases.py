"""The corners at which the claims are tried: dimensions, points, times, starts, and small data sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow
from driftproof.theory.processes.clock import LinearClock
from driftproof.theory.processes.gaussian import AbstractGaussianProcess
from driftproof.theory.processes.squared_bessel import AbstractSquaredBessel
from driftproof.validation import rounding

__all__ = [
    "ATOMS",
    "BESQS",
    "CIRS",
    "DIMENSIONS",
    "GAUSSIANS",
    "GBMS",
    "POINTS",
    "ROUNDING",
    "STARTS",
    "TIMES",
    "WEIGHTS",
    "corners",
    "measured",
    "scaled",
]

# Closed forms of a few dozen operations, each correctly rounded, on functions good to some units in the
# last place: at most 64 roundings of the largest term.
ROUNDING = rounding(64)

DIMENSIONS = (0.5, 1.0, 2.0, 2.0001, 4.0, 9.0)
POINTS = (1e-12, 1.0, 1e8)
STARTS = (0.0, 1e-12, 1.0, 1e8)
TIMES = (1e-6, 1.0, 1e3)

BESQS = tuple(BESQ(delta) for delta in DIMENSIONS)
CIRS = (
    CIR(kappa=1.0, theta=1.0, sigma=1.0),  # delta = 4
    CIR(kappa=2.0, theta=0.0625, sigma=1.0),  # the Feller condition fails: delta = 1/2
    CIR(kappa=2.0**-20, theta=2.0**20, sigma=2.0),  # hardly reverts: BESQ of dimension 1
    CIR(kappa=0.5, theta=3.0, sigma=1.5, clock=LinearClock(0.5, 2.0, 1.0)),
)
GBMS = (
    GBM(mu=0.125, sigma=0.5),  # mu = sigma^2/2: no drift of the logarithm
    GBM(mu=-0.3, sigma=1.0),
    GBM(mu=0.05, sigma=0.2, clock=LinearClock(0.5, 2.0, 1.0)),
)
GAUSSIANS: tuple[AbstractGaussianProcess, ...] = (VP(0.1, 20.0, 1.0), VE(0.01, 50.0, 1.0), Flow())

# Data on three atoms, one of them at the boundary of the half-line.
ATOMS, WEIGHTS = (0.0, 0.5, 3.0), (0.25, 0.5, 0.25)

Corner: TypeAlias = tuple[str, AbstractSquaredBessel, float, float, float]


def corners(processes: tuple[AbstractSquaredBessel, ...]) -> Iterator[Corner]:
    """Label, process, start, point and time of every combination."""
    for process in processes:
        for t in TIMES:
            for x in POINTS:
                for x0 in STARTS:
                    yield f"{process}, x0 = {x0:g}, x = {x:g}, t = {t:g}", process, x0, x, t


def scaled(got: Any, want: Any, size: Any) -> tuple[Any, Any]:
    """A comparison relative to ``size``: the largest term of a sum, or what rounded input leaves open."""
    return got / size, want / size


def measured(label: str, got: Any, want: Any, size: Any) -> tuple[str, Any, Any]:
    """The same with a label."""
    return label, *scaled(got, want, size)
