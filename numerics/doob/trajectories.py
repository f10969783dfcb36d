r"""Unguided trajectories and their labels: what h is learned from, off the policy that it will guide.

One run of the unguided sampler serves every event: labels are the event of the states at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import array_api_compat
from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary, checked
from driftproof._random import Rng, source
from driftproof.numerics.samplers import sample_trajectory
from driftproof.theory.doob.events import AbstractEvent
from driftproof.theory.processes import AbstractGaussianProcess

__all__ = ["TrajectoryStore", "collect"]

Score: TypeAlias = Callable[[Array, Array], Array]


@final
@dataclass(frozen=True, eq=False)
@checked
class TrajectoryStore:
    """Trajectories of one sampler.

    Arguments:
        times: Noise times t_0 > ... > t_N.
        states: States at these times, shape (N + 1, B, d).
        hits: 1 where a trajectory ends in the event and 0 where not, shape (B,).
    """

    times: tuple[float, ...]
    states: Array
    hits: Array

    def relabelled(self, event: AbstractEvent) -> TrajectoryStore:
        """The same trajectories for another event."""
        xp, _, (states,) = boundary("TrajectoryStore", states=self.states)
        return TrajectoryStore(
            self.times, self.states, xp.astype(event.contains(states[-1, ...]), states.dtype)
        )

    def pairs(self, rng: Rng) -> tuple[Array, Array, Array]:
        """One random time before the end for every trajectory: states (B, d), times (B,), labels (B,).

        Pairs of one trajectory share their label: one a trajectory keeps those of a batch independent.
        """
        xp = array_api_compat.array_namespace(self.states)
        drawn = source(rng, like=self.states).uniform(self.hits)
        steps = len(self.times) - 1
        index = xp.astype(xp.floor(drawn * steps), xp.int64)
        index = xp.where(index > steps - 1, steps - 1, index)
        count = self.hits.shape[0]
        rows = xp.arange(count, dtype=xp.int64, device=device(self.states))
        flat = xp.reshape(self.states, (-1, *self.states.shape[2:]))
        times = xp.asarray(self.times, dtype=self.states.dtype, device=device(self.states))
        return xp.take(flat, index * count + rows, axis=0), xp.take(times, index), self.hits


@arrays()
def collect(
    process: AbstractGaussianProcess,
    score: Score,
    event: AbstractEvent,
    grid: Sequence[float],
    start: Array,
    rng: Rng,
    *,
    eta: float = 1.0,
    method: str = "euler_maruyama",
) -> TrajectoryStore:
    r"""Run the unguided sampler and label its trajectories.

    Arguments:
        process: VP, VE or Flow.
        score: The unguided score, a function of states (B, d) and a noise time.
        event: The event.
        grid: Decreasing noise times.
        start: States at the first time, shape (B, d).
        rng: A numpy or torch generator or an integer seed.
        eta: Stochasticity, > 0: without noise the label is a function of every state, and h the indicator of it.
        method: A sampler of :mod:`driftproof.numerics.samplers` whose steps are Gaussian.

    Returns:
        The store.

    Raises:
        UnmetHypothesis: eta = 0; an event of another dimension; what the sampler refuses.

    Claims: DOOB-STORE-1

    Example:
        >>> from driftproof.theory.doob import half_space
        >>> from driftproof.theory.processes import VP
        >>> import numpy as np
        >>> store = collect(VP(), lambda x, t: -x, half_space([1.0], 0.0), [1.0, 0.5, 0.1], np.ones((4, 1)), 0)
        >>> store.states.shape, store.hits.shape
        ((3, 4, 1), (4,))
    """
    if not eta > 0.0:
        raise UnmetHypothesis("collect", "eta > 0", f"eta = {eta!r}")
    if start.ndim != 2 or start.shape[1] != event.dimension:
        hypothesis = f"start (B, {event.dimension}), like the event"
        raise UnmetHypothesis("collect", hypothesis, f"shape {tuple(start.shape)}")
    run = sample_trajectory(process, score, grid, eta, rng, method, start=start, disable=True)
    xp = array_api_compat.array_namespace(run.states)
    empty = TrajectoryStore(run.times, run.states, xp.zeros_like(run.states[0, :, 0]))
    return empty.relabelled(event)
