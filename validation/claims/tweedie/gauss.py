"""Gauss quadrature rules of few nodes, for transition operators that are matrices over them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import roots_jacobi

__all__ = ["Floats", "panel", "panels", "power_panels"]

Floats: TypeAlias = NDArray[np.float64]


@lru_cache
def _legendre(order: int) -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return nodes, weights


def panel(low: float, high: float, order: int = 20) -> tuple[Floats, Floats]:
    """Nodes and weights of one Gauss-Legendre panel."""
    nodes, weights = _legendre(order)
    half = 0.5 * (high - low)
    return low + half * (nodes + 1.0), half * weights


def panels(edges: Sequence[float] | Floats, order: int = 20) -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss-Legendre panels between consecutive edges."""
    parts = [panel(float(a), float(b), order) for a, b in pairwise(edges)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([w for _, w in parts])


def power_panels(top: float, power: float, order: int = 16, count: int = 12) -> tuple[Floats, Floats]:
    r"""Nodes and weights on (0, top] for integrands of the form :math:`x^{power}` times an entire function.

    Densities of squared-Bessel laws are such, with power nu.  The panels are even in :math:`\sqrt x`, in
    which these laws are nearly Gaussian; the first one is a Gauss-Jacobi panel.
    """
    edges = top * np.linspace(0.0, 1.0, count + 1) ** 2
    nodes, weights = roots_jacobi(order, 0.0, power)
    first = 0.5 * edges[1] * (nodes + 1.0)
    head = weights * (0.5 * edges[1]) * (nodes + 1.0) ** -power
    x, w = panels(edges[1:], order)
    return np.concatenate([first, x]), np.concatenate([head, w])
