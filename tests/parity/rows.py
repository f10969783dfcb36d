"""What a row of the parity table says, and the sample values that rows are made of.

A row belongs to one public function, whose decorator says what it can do
(:class:`driftproof._capabilities.Capabilities`); draws are injected where it takes ``rng``.  It gives samples: complete sets of arguments, in which the numpy
arrays are the array arguments, as full of edges as the function allows.  Everything else follows:
:mod:`tests.parity.checks` runs the function on each sample in every namespace, precision and
transformation.  How far two computations may be apart is computed (:mod:`tests.parity.bounds`): no row states
a tolerance of its own but ``absolute``, where two libraries have different algorithms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, final

import numpy as np

from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, AbstractGaussianProcess, Flow, LinearClock

Sample = Mapping[str, Any]


@final
@dataclass(frozen=True)
class Row:
    """One function of the table.

    Arguments:
        samples: Complete arguments, by name.
        reason: Why ``absolute``, ``single``, ``compiled`` or ``rounded`` is not the default.
        absolute: What the bound has beside the computed one, in roundings of 1.
        single: Whether float32 is an approximation of float64.
        rounded: Whether its bound counts every rounding, not only what processors differ in.
        compiled: Whether it is compiled; if not, it would take too long (its graph is traced all the same).
        gentle: Values for :func:`torch.autograd.gradcheck` and half precision that replace the defaults.
        shared: Array arguments without the batch axis.
        whole: The arrays are one batch, not a batch of cases: two of them make the mapped axis.
    """

    samples: tuple[Sample, ...]
    reason: str = ""
    absolute: float = 0.0
    single: bool = True
    compiled: bool = True
    rounded: bool = False
    gentle: Sample = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    whole: bool = False


def row(samples: Iterable[Sample], **options: Any) -> Row:
    """A row; every option of :class:`Row` but the samples by keyword."""
    return Row(tuple(samples), **options)


def mesh(fixed: Sample | None = None, /, **axes: Any) -> Sample:
    """One sample with every combination of the axes, flattened to one batch axis."""
    columns = np.array(list(product(*axes.values())), dtype=np.float64).T
    return {**(fixed or {}), **{name: column.copy() for name, column in zip(axes, columns, strict=True)}}


# Generic points of every argument name, inside of every domain, s < t < 1: for derivatives and half precision.
GENTLE: Mapping[str, tuple[float, ...]] = {
    "x": (0.3, 0.9, 1.7),
    "x0": (0.5, 1.1, 0.8),
    "xt": (0.6, 0.7, 1.3),
    "s": (0.1, 0.25, 0.5),
    "t": (0.4, 0.6, 0.8),
}
ELSEWHERE = (0.45, 0.85, 1.35)

GAUSSIAN = (VP(0.1, 20.0, 1.0), VE(0.01, 50.0, 1.0), Flow())
GEOMETRIC = (GBM(0.3, 0.7), GBM(-1.0, 0.2, LinearClock(0.1, 2.0, 30.0)))
SQUARED = (
    BESQ(0.5),
    BESQ(2.0),
    BESQ(4.0),
    CIR(1.0, 0.1, 1.0),
    CIR(2.0, 1.0, 0.7, LinearClock(0.2, 1.0, 30.0)),
)
PROCESSES = (*GAUSSIAN, *GEOMETRIC, *SQUARED)

REAL = (-1e4, -3.0, -1e-8, 0.0, 0.5, 2.0, 1e4)
POSITIVE = (1e-8, 1e-3, 0.5, 1.0, 2.0, 40.0, 1e6)
HALF_LINE = (0.0, 1e-12, 1e-3, 0.5, 2.0, 40.0, 1e8)
TIMES = (1e-6, 1e-3, 0.3, 0.95)
LONG_TIMES = (1e-6, 1e-3, 0.3, 2.0, 30.0)
SCORES = (-7.0, 0.0, 0.6)


def states(process: Any) -> tuple[float, ...]:
    """States of a process, boundary included."""
    return {"finite": REAL, "> 0": POSITIVE, ">= 0": HALF_LINE}[process.support]


def times(process: Any) -> tuple[float, ...]:
    """Times of a process: flows end at 1."""
    return TIMES if isinstance(process, AbstractGaussianProcess) else LONG_TIMES
