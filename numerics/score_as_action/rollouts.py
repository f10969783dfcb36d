r"""Paths of a policy: the states, the actions, and the noise that drove them.

.. math:: x_{k+1} = x_k + \Big[-b(x_k, t_k) + \tfrac{1+\eta^2}2\,g_k^2\,a_k\Big]\Delta_k + \eta\,\xi_k, \qquad
    \xi_k = g_k\,\Delta B_k \sim N(0, g_k^2 \Delta_k I)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias, final

from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary, checked, holds
from driftproof._random import Rng, source
from driftproof.numerics._checks import require_batch, require_eta
from driftproof.theory.processes import reverse_drift
from driftproof.theory.score_as_action.posterior import Process

__all__ = ["Rollout", "Score", "rollout"]

Score: TypeAlias = Callable[[Array, Array], Array]


@final
@dataclass(frozen=True, slots=True)
@checked
class Rollout:
    """The result of a rollout, for B paths, N steps and d coordinates.

    Arguments:
        times: Noise times (N + 1,), falling.
        states: (B, N + 1, d).
        actions: The policy's scores (B, N, d).
        excess: Those less the pre-trained scores (B, N, d).
        noise: :math:`g \\Delta B`, (B, N, d).
        g2dt: :math:`g^2(t_k)\\,\\Delta_k`, (N,).
    """

    times: Array
    states: Array
    actions: Array
    excess: Array
    noise: Array
    g2dt: Array

    @property
    def dt(self) -> Array:
        """Lengths of the steps, (N,)."""
        return self.times[:-1] - self.times[1:]

    @property
    def end(self) -> Array:
        """The samples, (B, d)."""
        return self.states[:, -1, :]


@arrays()
def rollout(
    process: Process,
    policy: Score,
    pretrained: Score,
    grid: Sequence[float],
    rng: Rng,
    start: Array,
    eta: float = 1.0,
) -> Rollout:
    r"""Sample paths of a policy by Euler-Maruyama, with what actors and critics need.

    Arguments:
        process: VP, VE or Flow.
        policy: The score that acts, a function of x (B, d) and of t, an array without axes.
        pretrained: The score that the KL penalty refers to, likewise.
        grid: Noise times from noise to data, Python floats, falling, >= 0.
        rng: A numpy or torch generator or an integer seed; or a :class:`Source`.
        start: States at the first time, (B, d).
        eta: Stochasticity, >= 0; at 0 the noise is drawn and not used.

    Returns:
        A :class:`Rollout`.

    Raises:
        UnmetHypothesis: eta < 0, no paths, a grid that does not fall, or leaves [0, T], a score
            of another shape, or states that do not stay finite.

    Claims: SCORE-ACTION-PATHS-1

    Example:
        >>> import numpy as np
        >>> from driftproof.theory.processes import VE
        >>> paths = rollout(VE(), lambda x, t: -x, lambda x, t: -x, [1.0, 0.5], 0, np.ones((3, 2)))
        >>> paths.states.shape, float(np.abs(paths.excess).max())
        ((3, 2, 2), 0.0)
    """
    if not isinstance(process, Process):
        raise UnmetHypothesis("rollout", "the process is VP, VE or Flow", f"process {type(process).__name__}")
    require_eta("rollout", eta)
    xp, _, (start,) = boundary("rollout", start=start)
    if start.ndim != 2:
        raise UnmetHypothesis("rollout", "start (B, d)", f"shape {tuple(start.shape)}")
    require_batch("rollout", start)
    times = [float(t) for t in grid]
    falls = len(times) > 1 and all(s < t for t, s in pairwise(times))
    if not (falls and times[0] <= process.T and times[-1] >= 0.0):
        hypothesis = f"the grid falls to a time >= 0, from one <= T = {process.T:g}"
        raise UnmetHypothesis("rollout", hypothesis, f"grid = {times[:4]}...")
    draws = source(rng, like=start)
    where = device(start)
    x, states, actions, excess, noises, weights = start, [start], [], [], [], []
    for t_k, s_k in pairwise(times):
        t = xp.asarray(t_k, dtype=start.dtype, device=where)
        action = policy(x, t)
        before = pretrained(x, t)
        for score in (action, before):
            if score.shape != x.shape:
                got = f"shapes {tuple(score.shape)}, {tuple(x.shape)}"
                raise UnmetHypothesis("rollout", "the score has the shape of the state", got)
        g2dt = process.rates(xp, t)[1] * (t_k - s_k)
        noise = xp.sqrt(g2dt) * draws.normal(x)
        x = x + reverse_drift.kernel(xp, process, x, t, action, eta) * (t_k - s_k) + eta * noise
        states.append(x)
        actions.append(action)
        excess.append(action - before)
        noises.append(noise)
        weights.append(g2dt)
    if not holds(xp.all(xp.isfinite(x))):
        raise UnmetHypothesis("rollout", "states stay finite", f"after {len(times) - 1} steps they are not")
    return Rollout(
        xp.asarray(times, dtype=start.dtype, device=where),
        xp.stack(states, axis=1),
        xp.stack(actions, axis=1),
        xp.stack(excess, axis=1),
        xp.stack(noises, axis=1),
        xp.stack(weights),
    )
