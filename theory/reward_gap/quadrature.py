"""Integrals over noise time: Gauss-Legendre panels that shrink towards both ends.

Narrow data make a layer at 0, as wide as their variance; flows are singular at T.  What a function of the user does in
between is not known: two orders of the rule tell the error (:func:`stated`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.polynomial import legendre

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.special.quadrature import Integral

__all__ = ["Floats", "running", "settled", "stated", "times"]

Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_ORDER, _COARSE, _EVEN, _HALVINGS = 16, 11, 32, 40
_RTOL = 1e-8


def stated(value: Callable[[int], float]) -> Integral:
    """A quadrature of a given order, and its error: the difference to one of a lower order, and rounding."""
    fine = value(_ORDER)
    return Integral(fine, abs(fine - value(_COARSE)) + 2.0**-44 * abs(fine))


def settled(subject: str, found: Integral) -> float:
    """The value, if its error is below 1e-8 of it.

    Raises:
        UnmetHypothesis: The functions have features that the panels do not resolve.
    """
    if not found.error <= _RTOL * abs(found.value):
        got = f"{found.value:.6g} with an error of {found.error:.2g}"
        raise UnmetHypothesis(subject, "the functions of time are resolved by the quadrature", got)
    return found.value


def times(horizon: float, order: int = _ORDER) -> tuple[Floats, Floats]:
    """Nodes in (0, horizon), increasing, and their weights."""
    edges = horizon * _edges()
    half = 0.5 * np.diff(edges)
    x, w = legendre.leggauss(order)
    return (edges[:-1, None] + half[:, None] * (1.0 + x)).reshape(-1), (half[:, None] * w).reshape(-1)


def running(values: Floats, horizon: float, order: int = _ORDER) -> tuple[Floats, float]:
    """Integrals from 0 to each node, and to the horizon, of a function given at the nodes."""
    half = 0.5 * np.diff(horizon * _edges())[:, None]
    panels = np.reshape(values, (-1, order))
    whole = np.sum(half * legendre.leggauss(order)[1] * panels, axis=1)
    before = np.cumsum(whole) - whole
    return (before[:, None] + half * (panels @ _primitive(order).T)).reshape(-1), float(np.sum(whole))


@cache
def _edges() -> Floats:
    inner = np.linspace(0.0, 1.0, _EVEN + 1)[1:-1]
    shrinking = 0.5 ** np.arange(_HALVINGS, 0, -1) / _EVEN
    return np.concatenate([[0.0], shrinking, inner, 1.0 - shrinking[::-1], [1.0]])


@cache
def _primitive(order: int) -> Floats:
    """Rows integrate the polynomial through the nodes from -1 to each of them."""
    x, w = legendre.leggauss(order)
    rows = []
    for k in range(order):
        unit = np.zeros(k + 1)
        unit[k] = 1.0
        primitive = legendre.legval(x, legendre.legint(unit, lbnd=-1.0))
        rows.append(0.5 * (2 * k + 1) * np.outer(primitive, w * legendre.legval(x, unit)))
    return np.sum(rows, axis=0)
