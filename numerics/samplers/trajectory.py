"""Runs with their densities: what importance weights and policy gradients are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from array_api_compat import array_namespace

from driftproof._namespace import Array, UnmetHypothesis, checked

from .transitions import step_log_prob

__all__ = ["Trajectory"]


@final
@dataclass(frozen=True)
@checked
class Trajectory:
    """A run of N steps.

    Arguments:
        times: The grid, N + 1 noise times.
        etas: The eta of every step.
        states: The states, with shape (N + 1, B, *).
        means: The mean of every step, with shape (N, B, *).
        stds: Its standard deviation, with shape (N, B, *); 0 where a step has no noise.
    """

    times: tuple[float, ...]
    etas: tuple[float, ...]
    states: Array
    means: Array
    stds: Array

    @property
    def noisy(self) -> tuple[int, ...]:
        """The steps that have a density."""
        xp = array_namespace(self.stds)
        return tuple(i for i in range(len(self.etas)) if bool(xp.all(self.stds[i, ...] > 0)))

    def log_prob(self, i: int) -> Array:
        """The log-density of step ``i``, summed over its coordinates, with shape (B,).

        Raises:
            UnmetHypothesis: The step has no noise: eta = 0, or it ends at the data; or there is no such step.
        """
        if not 0 <= i < len(self.etas):
            raise UnmetHypothesis("Trajectory.log_prob", f"0 <= i < {len(self.etas)}", f"i = {i!r}")
        if i not in self.noisy:
            got = f"std = 0.0 at step {i}, eta = {self.etas[i]!r}, to t = {self.times[i + 1]!r}"
            raise UnmetHypothesis("Trajectory.log_prob", "the step has noise", got)
        return step_log_prob(self.states[i + 1, ...], self.means[i, ...], self.stds[i, ...])

    def log_probs(self) -> Array:
        """The log-densities of the steps in ``noisy``, with shape (len(noisy), B); their sum is the path's.

        Raises:
            UnmetHypothesis: No step has noise.
        """
        if not self.noisy:
            raise UnmetHypothesis("Trajectory.log_probs", "a step has noise", f"eta = {self.etas!r}")
        return array_namespace(self.states).stack([self.log_prob(i) for i in self.noisy])
