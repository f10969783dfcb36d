r"""Euler trajectories from noise to data, kept for the way back.

.. math:: x_{k+1} = x_k + (t_{k+1} - t_k)\,w(x_k, t_k), \qquad 1 \ge t_0 > t_1 > \dots > t_N \ge 0

for any velocity w: that of the flow, or that of the flow with its control.  The same loop runs a closed
form on numpy and a network on torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias, final

import array_api_compat

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, checked, holds
from driftproof.numerics._checks import require_batch

__all__ = ["Trajectory", "Velocity", "rollout"]

# w(x, t): states (B, *) and a noise time, a Python float, to velocities (B, *).
Velocity: TypeAlias = Callable[[Array, float], Array]


@final
@dataclass(frozen=True, eq=False)
@checked
class Trajectory:
    """States (B, *) at the noise times t_0 > ... > t_N."""

    times: tuple[float, ...]
    states: tuple[Array, ...]

    @property
    def steps(self) -> tuple[float, ...]:
        """Lengths h_k = t_k - t_{k+1} > 0."""
        return tuple(s - t for s, t in pairwise(self.times))

    @property
    def end(self) -> Array:
        """The data x_N."""
        return self.states[-1]


@arrays()
def rollout(velocity: Velocity, noise: Array, times: Sequence[float]) -> Trajectory:
    """Run the Euler steps and keep every state.

    Arguments:
        velocity: w(x, t).
        noise: States x_0, shape (B, *).
        times: Decreasing noise times in [0, 1], at least two.

    Raises:
        UnmetHypothesis: Times that do not decrease, an empty batch, a velocity of another shape, or a
            state that is not finite.

    Claims: ADJOINT-DISCRETE-1, ADJOINT-ROLLOUT-1

    Example:
        >>> import numpy as np
        >>> rollout(lambda x, t: x, np.asarray([[4.0]]), [1.0, 0.5, 0.0]).end.tolist()
        [[1.0]]
    """
    grid = tuple(float(t) for t in times)
    if len(grid) < 2 or not all(s > t for s, t in pairwise(grid)) or not (grid[0] <= 1.0 and grid[-1] >= 0.0):
        raise UnmetHypothesis("rollout", "times decrease within [0, 1]", f"times = {list(grid[:4])}...")
    require_batch("rollout", noise)
    xp = array_api_compat.array_namespace(noise)
    states = [noise]
    for t, s in pairwise(grid):
        speed = velocity(states[-1], t)
        if tuple(speed.shape) != tuple(noise.shape):
            got = f"states {tuple(noise.shape)}, velocities {tuple(speed.shape)}"
            raise UnmetHypothesis("rollout", "the velocity has the shape of the state", got)
        states.append(states[-1] + (s - t) * speed)
    if not holds(xp.all(xp.isfinite(states[-1]))):
        raise UnmetHypothesis("rollout", "states stay finite", f"after {len(grid) - 1} steps they are not")
    return Trajectory(grid, tuple(states))
