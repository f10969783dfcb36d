r"""Which steps of a sampler are stochastic: the window of MixGRPO.

The window covers w of the N steps, begins at the first (the noisiest) and moves by a stride after every
few iterations; at the end it begins again.  Steps outside of it are deterministic (eta = 0), which keeps
the marginals of an exact score all the same.  Only steps in the window have log-probabilities: what the
deterministic steps owe to the weights is left out of the policy gradient.  The full window is Flow-GRPO.

References:
    | MixGRPO: unlocking flow-based GRPO efficiency with mixed ODE-SDE (Li et al., 2025), section 3
    | https://arxiv.org/abs/2507.21802 (the wrap at the end is chosen here)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from driftproof._namespace import UnmetHypothesis, checked

__all__ = ["Window"]


@final
@dataclass(frozen=True, slots=True)
@checked
class Window:
    """A sliding window of stochastic steps.

    Arguments:
        size: Steps in the window, >= 1; 0 stands for all of them, always.
        stride: Steps that it moves by, >= 1.
        every: Iterations between two moves, >= 1.

    Raises:
        UnmetHypothesis: A number outside of its range.
        TypeError: A number that is no integer.

    Example:
        >>> window = Window(size=2, stride=1, every=10)
        >>> [list(window.steps(4, i)) for i in (0, 9, 10, 20, 30)]
        [[0, 1], [0, 1], [1, 2], [2, 3], [0, 1]]
        >>> list(Window().steps(3, 100))
        [0, 1, 2]
    """

    size: int = 0
    stride: int = 1
    every: int = 25

    def __post_init__(self) -> None:
        for name, least in (("size", 0), ("stride", 1), ("every", 1)):
            value = getattr(self, name)
            if not isinstance(value, int):
                raise TypeError(f"Window: expected an integer for {name}, got {type(value).__name__}")
            if value < least:
                raise UnmetHypothesis("Window", f"{name} >= {least}", f"{name} = {value!r}")

    def steps(self, n_steps: int, iteration: int) -> range:
        """The stochastic steps among 0, ..., n_steps - 1 at this iteration.

        Raises:
            UnmetHypothesis: The window is wider than the grid, or iteration < 0.
        """
        if iteration < 0:
            raise UnmetHypothesis("Window", "iteration >= 0", f"iteration = {iteration!r}")
        if self.size > n_steps:
            got = f"{self.size} steps of {n_steps}"
            raise UnmetHypothesis("Window", "the window is not wider than the grid", got)
        size = self.size or n_steps
        places = (n_steps - size) // self.stride + 1
        start = self.stride * (iteration // self.every % places)
        return range(start, start + size)
