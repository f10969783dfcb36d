"""One script of draws for several runs: what is random is the same, what is computed from it is compared.

A count or an accepted proposal is a decision; the last bit of a rate can turn one into another, and every
later draw of the generator with it.  Under a :class:`Script` all runs have the same uniform and normal
numbers, and for a Poisson or gamma draw they *ask* with a parameter each, which is compared as a result is,
and are given the draw of the first run.  What a kernel decides by itself (a uniform number against a
threshold) is decided in every run; the noise of :mod:`tests.parity.noise` shows where that is a matter of
the last digit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from driftproof._random import NumpySource, Source, _convert, _host


@final
@dataclass(frozen=True)
class Script:
    """The draws so far: those without a parameter, by kind, and all draws that have one, in order."""

    seed: int
    free: dict[str, list[np.ndarray]] = field(default_factory=dict)
    given: list[np.ndarray] = field(default_factory=list)

    def reader(self) -> Reader:
        return Reader(self)

    def number(
        self, kind: str, position: int, draw: Callable[[np.random.Generator], np.ndarray]
    ) -> np.ndarray:
        """The draw at a position; the first run that comes so far makes it."""
        drawn = self.free.setdefault(kind, [])
        if position == len(drawn):
            drawn.append(draw(np.random.default_rng([self.seed, len(kind), position])))
        return drawn[position]


@final
@dataclass
class Reader(Source):
    """A source that reads a script, of runs of one batch or of several copies of it."""

    script: Script
    parameters: list[np.ndarray] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)

    def normal(self, like: Any) -> Any:
        return self._free("normal", like, lambda rng, shape: rng.standard_normal(shape))

    def uniform(self, like: Any) -> Any:
        return self._free("uniform", like, lambda rng, shape: rng.random(shape))

    def gamma(self, shape: Any) -> Any:
        return self._given(shape, NumpySource.gamma)

    def poisson(self, rate: Any) -> Any:
        return self._given(rate, NumpySource.poisson)

    def adopt(self, xp: Any, values: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        return xp, values

    def _free(self, kind: str, like: Any, draw: Callable[..., np.ndarray]) -> Any:
        position = self.positions.get(kind, 0)
        self.positions[kind] = position + 1
        shape = tuple(self.script.free[kind][0].shape) if position or kind in self.script.free else like.shape
        return _spread(self.script.number(kind, position, lambda rng: draw(rng, tuple(shape))), like)

    def _given(self, parameter: Any, draw: Callable[[NumpySource, np.ndarray], np.ndarray]) -> Any:
        position, values = len(self.parameters), _host(parameter)
        self.parameters.append(values)
        if position == len(self.script.given):
            rng = np.random.default_rng([self.script.seed, 0, position])
            self.script.given.append(draw(NumpySource(rng), values))
        return _spread(self.script.given[position], parameter)


def _spread(draws: np.ndarray, like: Any) -> Any:
    copies = like.shape[0] // draws.shape[0] if draws.ndim else 1
    return _convert(np.concatenate([draws] * copies) if copies > 1 else draws, like)
