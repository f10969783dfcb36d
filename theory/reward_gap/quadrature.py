"""Integrals over noise time: Gauss-Legendre panels that shrink towards T, where flows are singular."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.polynomial import legendre

__all__ = ["Floats", "running", "times"]

Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_ORDER, _EVEN, _HALVINGS = 16, 32, 40


def times(horizon: float) -> tuple[Floats, Floats]:
    """Nodes in (0, horizon), increasing, and their weights."""
    edges = horizon * _edges()
    half = 0.5 * np.diff(edges)
    x, w = legendre.leggauss(_ORDER)
    return (edges[:-1, None] + half[:, None] * (1.0 + x)).reshape(-1), (half[:, None] * w).reshape(-1)


def running(values: Floats, horizon: float) -> tuple[Floats, float]:
    """Integrals from 0 to each node, and to the horizon, of a function given at the nodes."""
    half = 0.5 * np.diff(horizon * _edges())[:, None]
    panels = np.reshape(values, (-1, _ORDER))
    whole = np.sum(half * legendre.leggauss(_ORDER)[1] * panels, axis=1)
    before = np.cumsum(whole) - whole
    return (before[:, None] + half * (panels @ _primitive().T)).reshape(-1), float(np.sum(whole))


@cache
def _edges() -> Floats:
    last = 1.0 - 1.0 / _EVEN
    shrinking = 1.0 - 0.5 ** np.arange(1, _HALVINGS + 1) / _EVEN
    return np.concatenate([np.linspace(0.0, last, _EVEN), shrinking, [1.0]])


@cache
def _primitive() -> Floats:
    """Rows integrate the polynomial through the nodes from -1 to each of them."""
    x, w = legendre.leggauss(_ORDER)
    rows = []
    for k in range(_ORDER):
        unit = np.zeros(k + 1)
        unit[k] = 1.0
        primitive = legendre.legval(x, legendre.legint(unit, lbnd=-1.0))
        rows.append(0.5 * (2 * k + 1) * np.outer(primitive, w * legendre.legval(x, unit)))
    return np.sum(rows, axis=0)
