r"""Multilevel splitting: the probability of a rare event as a product of probabilities that are not.

.. math:: P(S(X) \ge b_L) = \prod_l P\big(S(X) \ge b_l \mid S(X) \ge b_{l-1}\big), \qquad b_1 < \dots < b_L

Particles that pass a level are copied over those that do not, and moved by a kernel that leaves the data law as it is,
within the level.  For a diffusion such a kernel is at hand: noise a data point to a time t and denoise it again.
With levels fixed beforehand the product has no bias, for any number of particles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary
from driftproof._random import Rng, Source

from .particles import ParticleRun, twisted_particles

__all__ = ["multilevel_splitting"]

# score(x): S at the points, shape (..., N); move(x, noise): points moved by a kernel that keeps the data law.
Score: TypeAlias = Callable[[Array], Array]
Kernel: TypeAlias = Callable[[Array, Source], Array]


@arrays()
def multilevel_splitting(
    start: Array, score: Score, levels: Sequence[float], move: Kernel, rng: Rng, *, moves: int = 1
) -> ParticleRun:
    r"""Draw data points in a rare event, and estimate its probability without bias.

    Arguments:
        start: Draws from the data law, shape (..., N, *): systems, particles.
        score: S, shape (..., N): what is large in the event.
        levels: :math:`b_1 < \dots < b_L`, finite; the last one defines the event.
        move: A kernel that leaves the data law as it is; its proposals below the level are refused.
        rng: A numpy or torch generator or an integer seed.
        moves: Moves after each level but the last, >= 1.

    Returns:
        The run: particles, of which those of weight 0 do not lie in the event, and the logarithm of the probability.

    Raises:
        UnmetHypothesis: Levels that do not increase, no move, a score of another shape.

    References:
        | Sequential Monte Carlo for rare event estimation (Cérou, Del Moral, Furon & Guyader, 2012)

    Claims: DOOB-SPLIT-1

    Example:
        >>> import numpy as np
        >>> x = np.arange(8.0)
        >>> run = multilevel_splitting(x, lambda x: x, [3.5, 5.5], lambda x, noise: x, 0)
        >>> round(float(np.exp(run.log_evidence)), 12)
        0.25
    """
    name = "multilevel_splitting"
    bounds = [float(level) for level in levels]
    if not bounds or not all(a < b for a, b in pairwise([-float("inf"), *bounds, float("inf")])):
        raise UnmetHypothesis(name, "levels increase, and are finite", f"levels = {bounds[:4]}")
    if moves < 1:
        raise UnmetHypothesis(name, "moves >= 1", f"moves = {moves!r}")
    xp, _, (x,) = boundary(name, start=start)

    def passed(k: int, x: Array) -> Array:
        reached = score(x)
        return xp.where(reached >= bounds[k], xp.zeros_like(reached), -xp.inf)

    def within(k: int, x: Array, noise: Source) -> tuple[Array, float]:
        for _ in range(moves):
            tried = move(x, noise)
            kept = score(tried) >= bounds[k]
            x = xp.where(xp.reshape(kept, (*kept.shape, *(1,) * (x.ndim - kept.ndim))), tried, x)
        return x, 0.0

    if len(bounds) == 1:  # nothing to split: one step that stays
        return twisted_particles(
            x, lambda k, x, noise: (x, 0.0), lambda k, x: passed(0, x), 1, rng, threshold=0.0
        )
    return twisted_particles(x, within, passed, len(bounds) - 1, rng, threshold=1.0)
