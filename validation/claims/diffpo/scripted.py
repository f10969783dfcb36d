"""Uniform numbers that are written down: every combination of a grid once, so that a law is a count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from driftproof._random import Source

from .textbook import Floats

__all__ = ["Scripted", "product"]


def product(*sizes: int) -> list[Floats]:
    """Midpoints of grids, in all combinations: one column for each size."""
    axes = [(np.arange(n) + 0.5) / n for n in sizes]
    return [column.reshape(-1) for column in np.meshgrid(*axes, indexing="ij")]


@dataclass
class Scripted(Source):
    """A source that gives these arrays, one after the other, whatever is asked for."""

    uniforms: list[Floats]
    given: int = field(default=0)

    def uniform(self, like: Any) -> Any:
        self.given += 1
        return np.broadcast_to(self.uniforms[self.given - 1], like.shape)

    def normal(self, like: Any) -> Any:
        raise NotImplementedError

    def gamma(self, shape: Any) -> Any:
        raise NotImplementedError

    def poisson(self, rate: Any) -> Any:
        raise NotImplementedError

    def adopt(self, xp: Any, values: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        return xp, values
