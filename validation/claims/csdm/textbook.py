"""Second computations: slow, short, and written from the definitions."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["bpdn", "density", "lasso", "objective", "soft"]

Floats = NDArray[np.float64]


def density(z: float) -> float:
    """The standard normal density."""
    return math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def soft(v: float, tau: float) -> float:
    """The soft threshold by its cases."""
    return v - tau if v > tau else v + tau if v < -tau else 0.0


def objective(x: Any, A: Floats, y: Floats, lam: float) -> float:
    """The objective of the LASSO."""
    return float(0.5 * np.sum((A @ x - y) ** 2) + lam * np.sum(np.abs(x)))


def lasso(A: Floats, y: Floats, lam: float, low: float = -np.inf, high: float = np.inf) -> Floats:
    """The optimum of the bounded LASSO by enumeration: each coordinate is 0, at a bound, or free with a sign."""
    d = A.shape[1]
    states: list[Any] = [0.0, "+", "-"] + [bound for bound in (low, high) if np.isfinite(bound) and bound]
    best, least = np.zeros(d), objective(np.zeros(d), A, y, lam)
    for pattern in product(states, repeat=d):
        x = np.array([value if isinstance(value, float) else 0.0 for value in pattern])
        free = [i for i, value in enumerate(pattern) if isinstance(value, str)]
        if len(free) > A.shape[0]:
            continue
        if free:
            signs = np.array([1.0 if pattern[i] == "+" else -1.0 for i in free])
            gram = A[:, free].T @ A[:, free]
            x[free] = np.linalg.solve(gram, A[:, free].T @ (y - A @ x) - lam * signs)
            if (x[free] * signs < 0.0).any():
                continue
        if (x >= low).all() and (x <= high).all() and objective(x, A, y, lam) < least:
            best, least = x, objective(x, A, y, lam)
    return best


def bpdn(A: Floats, y: Floats, radius: float) -> Floats:
    """The least l1 norm in the ball by enumeration: on each support and sign a linear function on an ellipsoid."""
    m, d = A.shape
    best, least = np.zeros(d), np.inf
    for signs in product((0.0, 1.0, -1.0), repeat=d):
        s = np.array(signs)
        free = np.flatnonzero(s)
        if not 0 < len(free) <= m:
            continue
        part, s = A[:, free], s[free]
        inverse = np.linalg.inv(part.T @ part)
        centre = inverse @ part.T @ y
        room = radius**2 - np.sum((part @ centre - y) ** 2)
        if room < 0.0:
            continue
        x = centre - np.sqrt(room / (s @ inverse @ s)) * inverse @ s
        if (x * s >= 0.0).all() and np.sum(np.abs(x)) < least:
            best, least = np.zeros(d), float(np.sum(np.abs(x)))
            best[free] = x
    return best
