"""The integral of a positive function, and its inverse, to rounding: what every grid of equal shares is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import numpy as np

from driftproof._namespace import UnmetHypothesis

from .densities import Density, Floats, checked_density

__all__ = ["Cumulative"]

_FINE, _COARSE = (np.polynomial.legendre.leggauss(order) for order in (20, 12))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Cumulative:
    """The integral from the first edge on, by Gauss's rule on panels.

    Arguments:
        subject: The name of the quantity, for the error.
        density: Positive, from points (N,) to values (N,), smooth between the edges.
        edges: Increasing.

    Raises:
        UnmetHypothesis: A density that is not > 0 and finite, or one that the panels do not resolve.
    """

    subject: str
    density: Density
    edges: Floats
    sums: Floats = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "density", checked_density(self.subject, self.density))
        left, width = self.edges[:-1], np.diff(self.edges)
        fine, coarse = (self._parts(left, width, rule) for rule in (_FINE, _COARSE))
        # The difference is the error of the lower rule; the higher one is far more exact.
        if np.sum(np.abs(fine - coarse)) > 1e-9 * np.sum(fine):
            share = float(np.sum(np.abs(fine - coarse)) / np.sum(fine))
            raise UnmetHypothesis(self.subject, "the density is smooth", f"two rules differ by {share:.2g}")
        object.__setattr__(self, "sums", np.concatenate([[0.0], np.cumsum(fine)]))

    @property
    def total(self) -> float:
        """The whole integral."""
        return float(self.sums[-1])

    def at(self, x: Floats) -> Floats:
        """The integral up to points x, shape (N,), within the edges."""
        panel = np.clip(np.searchsorted(self.edges, x, side="right") - 1, 0, self.edges.size - 2)
        left = self.edges[panel]
        return self.sums[panel] + self._parts(left, x - left, _FINE)

    def inverse(self, value: Floats) -> Floats:
        """The points at which the integral has the values, shape (N,), by Newton's method inside of each panel."""
        panel = np.clip(np.searchsorted(self.sums, value, side="right") - 1, 0, self.edges.size - 2)
        left, right = self.edges[panel], self.edges[panel + 1]
        wanted, whole = value - self.sums[panel], self.sums[panel + 1] - self.sums[panel]
        x = left + (right - left) * wanted / whole
        for _ in range(60):  # five do, but beside a zero of the density
            step = (self._parts(left, x - left, _FINE) - wanted) / self._inside(x)
            moved = np.clip(x - step, left, right)
            done = np.abs(moved - x) <= 1e-15 * np.abs(x)
            x = moved
            if done.all():
                break
        return x

    def _parts(self, left: Floats, width: Floats, rule: tuple[Floats, Floats]) -> Floats:
        nodes, weights = rule
        points = left[:, None] + 0.5 * width[:, None] * (1.0 + nodes)
        values = self.density(points.reshape(-1)).reshape(points.shape)
        result: Floats = 0.5 * width * (values @ weights)
        return result

    def _inside(self, x: Floats) -> Floats:
        """The density at points, at an end of the range just inside: it may vanish there."""
        low, high = self.edges[0], self.edges[-1]
        return self.density(np.clip(x, low + 1e-12 * (high - low), high))
