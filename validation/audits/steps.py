"""A plain step function as the probe sees it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, final

import numpy as np

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.processes import AbstractGaussianProcess

from .affine import Draw, Vector

__all__ = ["StepSampler"]


@final
class StepSampler:
    """A plain function ``step(model_output, t, s, sample, noise)`` between two noise times t > s.

    Arguments:
        function: The step, over NumPy arrays of shape (K,); times are Python floats.
        process: The forward process.
        grid: The noise times of a run of n steps, n + 1 of them; by default equally spaced down to 0.
    """

    rounding: Final = 1e-10
    stepwise: Final = True

    def __init__(
        self,
        function: Callable[..., Any],
        process: AbstractGaussianProcess,
        grid: Callable[[int], Sequence[float]] | None = None,
    ) -> None:
        if not isinstance(process, AbstractGaussianProcess):
            raise UnmetHypothesis("audit", "the process is Gaussian", f"process {type(process).__name__}")
        self._function, self._process, self._grid = function, process, grid or self._equal
        self._times: Sequence[float] = ()

    def begin(self, steps: int, start: int = 0) -> int:
        self._times = [float(t) for t in self._grid(steps)]
        if len(self._times) != steps + 1:
            got = f"{len(self._times)} for {steps} steps"
            raise UnmetHypothesis("audit", "grid(n) has n + 1 noise times", got)
        for t, s in pairwise(self._times):
            if not t > s:
                raise UnmetHypothesis(
                    "audit", "the noise level falls from step to step", f"t = {t}, then {s}"
                )
        return len(self._times) - 1

    def first(self) -> tuple[float, float]:
        return self.levels(0)

    def opened(self, x: Vector, draw: Draw) -> Vector:
        return x

    def levels(self, call: int) -> tuple[float, float]:
        alpha, sigma = self._process.alpha_sigma(np, np.asarray(self._times[call]))
        return float(alpha), float(sigma)

    def step(self, call: int, output: Vector, x: Vector, draw: Draw) -> Vector:
        t, s = self._times[call], self._times[call + 1]
        made = self._function(np.array(output), t, s, np.array(x), draw(None))  # it may write into these
        try:
            after = np.array(made, dtype=np.float64)
        except (TypeError, ValueError) as error:
            hypothesis = "step returns the next state, an array of numbers"
            raise UnmetHypothesis("audit", hypothesis, type(made).__name__) from error
        if after.shape != x.shape:
            got = f"{after.shape} from {x.shape}"
            raise UnmetHypothesis("audit", "step keeps the shape of the state", got)
        return after

    def blur(self, call: int) -> float:
        return 0.0

    def label(self, call: int) -> float:
        return math.nan

    def clock(self, alpha: Vector, sigma: Vector) -> None:
        return None

    def in_double_precision(self) -> None:
        return None

    def reinterpreted(self) -> Iterator[tuple[str, StepSampler]]:
        yield from ()

    def _equal(self, steps: int) -> Sequence[float]:
        # A flow starts a little before its end, where the state says nothing about the data.
        start = float(getattr(self._process, "T", 1.0))
        if float(self._process.alpha_sigma(np, np.asarray(start))[0]) <= 0.0:
            start *= 0.999
        return [float(t) for t in np.linspace(start, 0.0, steps + 1)]
