r"""Particles with a twist: the evidence without bias for any twist, and the law of the event with one of 1/N.

.. math:: w_{k+1} = w_k\,\frac{P_k(x_k, x_{k+1})}{Q_k(x_k, x_{k+1})}\,\frac{\psi_{k+1}(x_{k+1})}{\psi_k(x_k)}, \qquad
    \hat Z = \prod_{\text{segments}} \frac1N \sum_i w^i, \qquad E \hat Z = E\,\psi_N(X_N)

P is the unguided chain, Q the one that moves particles, and :math:`\psi_N = 1_A` at the end, whatever stands for
:math:`\log h` before.  Weights that a step without resampling leaves are kept and multiplied.  At the end weights are
returned: particles without them are of another law.

Many independent systems run at once, along leading axes.

Symbols:
    log_weights: log w, shape (..., N): systems, then particles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import array_api_compat
from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    boundary,
    checked,
    known,
    still,
)
from driftproof._random import Rng, Source, source
from driftproof.theory.special.elementary import log_sum_exp

__all__ = ["ParticleRun", "effective_size", "systematic_ancestors", "twisted_particles"]

# move(k, states, noise): the states after step k, and log P - log Q of the moves, (..., N) or 0.0.
Move: TypeAlias = Callable[[int, Array, Source], tuple[Array, Array | float]]
# log_twist(k, states): log psi_k at the states, shape (..., N).
Twist: TypeAlias = Callable[[int, Array], Array]


@final
@dataclass(frozen=True, eq=False)
@checked
class ParticleRun:
    """The result of a run.

    Arguments:
        states: The particles at the end, shape (..., N, *).
        log_weights: Their weights, shape (..., N), since the last resampling.
        segments: The logarithms of the mean weights, shape (steps + 1, ...): of each segment where it ended, 0 where a
            step did not resample; their sum is that of the evidence.
        sizes: The effective sizes before each step and at the end, shape (steps + 1, ...).
    """

    states: Array
    log_weights: Array
    segments: Array
    sizes: Array

    @property
    def log_evidence(self) -> Array:
        """The logarithm of the evidence of each system; minus infinity where all particles are lost."""
        xp = array_api_compat.array_namespace(self.segments)
        return xp.sum(self.segments, axis=0)

    def mean(self, values: Array) -> Array:
        """The weighted mean of values (..., N) in each system; 0 where all particles are lost."""
        xp = array_api_compat.array_namespace(self.log_weights)
        return xp.sum(_shares(xp, self.log_weights) * values, axis=-1)


@arrays()
def twisted_particles(
    start: Array, move: Move, log_twist: Twist, steps: int, rng: Rng, *, threshold: float = 0.5
) -> ParticleRun:
    r"""Run particles through a chain, reweighted by a twist and resampled where they have degenerated.

    Arguments:
        start: Draws from the start of the unguided chain, shape (..., N, *).
        move: From a step k, states and a source of noise, to the states after it and :math:`\log P - \log Q` of the
            moves: 0.0 where the unguided chain moves.
        log_twist: From k and states to :math:`\log\psi_k`, shape (..., N), for k = 0, ..., steps; at the end exactly
            :math:`\log 1_A` (or the reward), before anything above minus infinity wherever the event can be reached.
        steps: Number of steps, >= 1.
        rng: A numpy or torch generator or an integer seed.
        threshold: Systems are resampled whose effective size is at most this share of N: 0 never, 1 before each step.

    Returns:
        The run.

    Raises:
        UnmetHypothesis: No step, a threshold outside of [0, 1], a twist of another shape or without a number.

    References:
        | Sequential Monte Carlo samplers (Del Moral, Doucet & Jasra, 2006)
        | Controlled sequential Monte Carlo (Heng, Bishop, Deligiannidis & Doucet, 2020)

    Claims: DOOB-SMC-1, DOOB-SMC-2

    Example:
        >>> import numpy as np
        >>> coin = lambda k, x, noise: (x + 2.0 * (noise.uniform(x) < 0.5) - 1.0, 0.0)
        >>> run = twisted_particles(np.zeros((8,)), coin, lambda k, x: 0.0 * x, 3, 0)
        >>> float(run.log_evidence)
        0.0
    """
    name = "twisted_particles"
    if steps < 1:
        raise UnmetHypothesis(name, "steps >= 1", f"steps = {steps!r}")
    if not 0.0 <= threshold <= 1.0:
        raise UnmetHypothesis(name, "0 <= threshold <= 1", f"threshold = {threshold!r}")
    xp, down, (x,) = boundary(name, start=start)
    noise = source(rng, like=x)
    twist = _twist(xp, name, log_twist, 0, x, None)
    log_w = twist
    count = twist.shape[-1]
    segments, sizes = [], []
    for k in range(steps):
        size, mean = effective_size(log_w), _log_mean(xp, log_w)
        again = (size <= threshold * count) & (mean > -xp.inf)
        segments.append(xp.where(again, mean, xp.zeros_like(mean)))
        sizes.append(size)
        if bool(xp.any(again)):
            ancestors = systematic_ancestors(log_w, noise)
            own = xp.arange(count, dtype=ancestors.dtype, device=device(log_w)) + 0 * ancestors
            ancestors = xp.where(again[..., None], ancestors, own)
            x, twist = _permuted(xp, x, ancestors), _permuted(xp, twist, ancestors)
            log_w = xp.where(again[..., None], xp.zeros_like(log_w), log_w)
        x, ratio = move(k, x, noise)
        then = _twist(xp, name, log_twist, k + 1, x, tuple(twist.shape))
        alive = (log_w > -xp.inf) & (twist > -xp.inf)
        change = ratio + then - xp.where(alive, twist, xp.zeros_like(twist))
        log_w = xp.where(alive, log_w + change, -xp.inf)
        twist = then
    segments.append(_log_mean(xp, log_w))
    sizes.append(effective_size(log_w))
    return ParticleRun(down(x), log_w, xp.stack(segments), xp.stack(sizes))


@arrays()
def systematic_ancestors(log_weights: Array, rng: Rng) -> Array:
    r"""One resampling of every system by systematic draws: a particle has :math:`N w_i/\sum w` descendants, rounded.

    Arguments:
        log_weights: Symbols of the module.
        rng: A numpy or torch generator or an integer seed; one uniform draw for each system.

    Returns:
        Integers (..., N): the parent of each particle.  A system without weight keeps its order.

    References:
        | Comparison of resampling schemes for particle filtering (Douc & Cappé, 2005)

    Claims: DOOB-SMC-1

    Example:
        >>> import numpy as np
        >>> systematic_ancestors(np.log(np.asarray([0.5, 0.25, 0.125, 0.125])), 0).tolist()
        [0, 0, 1, 3]
    """
    xp, _, (log_weights,) = boundary("systematic_ancestors", log_weights=log_weights)
    shape, count = tuple(log_weights.shape), log_weights.shape[-1]
    weights = xp.reshape(_shares(xp, log_weights), (-1, count))
    lost = xp.sum(weights, axis=-1, keepdims=True) == 0
    weights = xp.where(lost, 1.0 / count + 0.0 * weights, weights)
    drawn = source(rng, like=log_weights).uniform(weights[:, :1])
    rank = xp.arange(count, dtype=weights.dtype, device=device(weights))
    # Positions of a lost system at the middle of its cells, so that its order stays.
    points = (rank + xp.where(lost, 0.5 + 0.0 * drawn, drawn)) / count
    system = xp.arange(weights.shape[0], dtype=weights.dtype, device=device(weights))[:, None]
    edges = xp.cumulative_sum(weights, axis=-1)
    # One sorted row for all systems: each has an interval of length 1.
    edges = xp.reshape(edges / edges[:, -1:] + system, (-1,))
    found = xp.searchsorted(edges, xp.reshape(points + system, (-1,)), side="right")
    whole = xp.astype(xp.arange(weights.shape[0], device=device(weights)), found.dtype)[:, None]
    found = xp.reshape(found, tuple(weights.shape)) - whole * count
    found = xp.where(found < 0, 0, xp.where(found > count - 1, count - 1, found))
    return xp.reshape(found, shape)


@arrays()
def effective_size(log_weights: Array) -> Array:
    r"""The effective size of every system.

    .. math:: \frac{(\sum_i w_i)^2}{\sum_i w_i^2}

    Arguments:
        log_weights: Symbols of the module.

    Returns:
        Array (...), between 1 and N; 0 where all particles are lost.

    Claims: DOOB-SMC-1

    Example:
        >>> import numpy as np
        >>> float(effective_size(np.log(np.asarray([1.0, 1.0, 2.0]))))
        2.6666666666666665
    """
    xp, down, (log_weights,) = boundary("effective_size", log_weights=log_weights)
    weights = _shares(xp, log_weights)
    square = xp.sum(weights * weights, axis=-1)
    some = square > 0
    return down.wide(
        xp.where(some, 1.0 / xp.where(some, square, xp.ones_like(square)), xp.zeros_like(square))
    )


def _shares(xp: Namespace, log_weights: Array) -> Array:
    top = still(xp.max(log_weights, axis=-1, keepdims=True))
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    weights = xp.exp(log_weights - top)
    total = xp.sum(weights, axis=-1, keepdims=True)
    return weights / xp.where(total > 0, total, xp.ones_like(total))


def _log_mean(xp: Namespace, log_weights: Array) -> Array:
    count = xp.asarray(float(log_weights.shape[-1]), dtype=log_weights.dtype, device=device(log_weights))
    return log_sum_exp(xp, log_weights) - xp.log(count)


def _permuted(xp: Namespace, values: Array, ancestors: Array) -> Array:
    """The resampled particles: everything that is kept for one goes through here."""
    shape, count = tuple(values.shape), ancestors.shape[-1]
    flat = xp.reshape(ancestors, (-1, count))
    rows = xp.astype(xp.arange(flat.shape[0], device=device(values)), flat.dtype)[:, None]
    rest = shape[ancestors.ndim :]
    taken = xp.take(xp.reshape(values, (-1, *rest)), xp.reshape(flat + rows * count, (-1,)), axis=0)
    return xp.reshape(taken, shape)


def _twist(
    xp: Namespace, name: str, log_twist: Twist, k: int, x: Array, shape: tuple[int, ...] | None
) -> Array:
    value = log_twist(k, x)
    found = tuple(value.shape)
    wanted = tuple(x.shape[: len(found)]) if shape is None else shape
    if not found or 0 in found or found != wanted:
        got = f"step {k}: shape {found} beside states {tuple(x.shape)}"
        raise UnmetHypothesis(name, "the twist has one number for each particle", got)
    if known(xp.any(xp.isnan(value))) or known(xp.any(value == xp.inf)):
        raise UnmetHypothesis(name, "the twist is a number or minus infinity", f"step {k}")
    return value
