r"""The last step into the event: a draw from the posterior given the event, instead of a small step that may miss it.

.. math:: X = X' + \frac{C n}{n^\top C n}\,(U - n \cdot X'), \qquad X' \sim N(M, C), \quad
    U \sim n \cdot X' \mid l \le n \cdot X' \le h

X has the law :math:`N(M, C \mid A)`, and lies in A by construction.  Where the posterior of the data given the noised
point is normal this ends the guided process exactly; elsewhere it changes the law by what the posterior differs from
its normal approximation, however few violations are left.
"""

from __future__ import annotations

import math

from driftproof._capabilities import arrays
from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    boundary,
    holds,
    public,
)
from driftproof._random import Rng, source
from driftproof.theory.doob.events import lifted
from driftproof.theory.doob.linear import Slab
from driftproof.theory.doob.shapes import Box
from driftproof.theory.laws.gaussian import check_psd
from driftproof.theory.laws.matrices import sqrt_psd
from driftproof.theory.processes.posterior import matvec
from driftproof.theory.special.normal import log_ndtr, mills

__all__ = ["finish", "truncated_normal"]

_NEWTON = 10  # steps; the first guess is within 2.2, and the last digits double


def _has_an_interior(xp: Namespace, *, low: Array, high: Array, **_: Rng) -> None:
    if not holds(xp.all(low < high)):
        raise UnmetHypothesis("truncated_normal", "low < high", "an interval without an interior")


@public(check=_has_an_interior)
def truncated_normal(xp: Namespace, low: Array, high: Array, rng: Rng) -> Array:
    r"""Draws from the standard normal law on intervals, however far out, by inversion in logarithms.

    .. math:: \Phi(Z) = \Phi(l) + V\,(\Phi(h) - \Phi(l)), \qquad V \sim U(0, 1)

    Arguments:
        low, high: Ends l < h, any shape; they may be infinite.
        rng: A numpy or torch generator or an integer seed; one uniform draw for each element.

    Returns:
        Array of the broadcast shape, between the ends.

    Raises:
        UnmetHypothesis: An interval is empty or a point.

    Claims: DOOB-FINISH-1

    Example:
        >>> bool(abs(truncated_normal(40.0, 41.0, 0) - 40.5) <= 0.5)
        True
    """
    low, high = low + xp.zeros_like(high), high + xp.zeros_like(low)
    share = source(rng, like=low).uniform(low)
    # In the tail in which the interval lies: of its ends a < b there, b is nearer to the middle.
    mirrored = high > -low
    a, b = xp.where(mirrored, -high, low), xp.where(mirrored, -low, high)
    most = 0.25 * float(xp.finfo(low.dtype).max) ** 0.5
    a, b = xp.where(a < -most, -most, a), xp.where(b > most, most, b)
    top = log_ndtr.kernel(xp, b)
    gap = top - log_ndtr.kernel(xp, a)
    # A share of exactly 0 would be an infinite end.
    share = xp.maximum(share, xp.full_like(share, 0.25 * float(xp.finfo(share.dtype).eps)))
    from_above = xp.log1p(share * xp.expm1(-gap))
    from_below = xp.log(share + (1.0 - share) * xp.exp(-gap))
    z = _log_quantile(xp, top + xp.where(mirrored, from_above, from_below))
    # Between ends that are nearly one point the law is flat, and a quantile would have no digits.
    flat = xp.where(mirrored, b - share * (b - a), a + share * (b - a))
    z = xp.where(gap < 1e-7, flat, z)
    z = xp.minimum(xp.maximum(z, a), b)
    return xp.where(mirrored, -z, z)


@arrays()
def finish(event: Slab | Box, mean: Array, cov: Array, rng: Rng) -> Array:
    r"""Draws from a normal law given a slab, a half-space or a box.

    Arguments:
        event: The event, Slab or Box.
        mean: M, shape (..., d): for each draw the posterior mean of the data.
        cov: C, shape (d, d): their posterior covariance; diagonal for a box.
        rng: A numpy or torch generator or an integer seed.

    Returns:
        Array (..., d), every point of it in the event.

    Raises:
        UnmetHypothesis: Another event; shapes that do not match; a law without density along the event.

    Claims: DOOB-FINISH-1

    Example:
        >>> from driftproof.theory.doob import half_space
        >>> import numpy as np
        >>> event = half_space([1.0, 1.0], 9.0)
        >>> bool(event.contains(finish(event, np.zeros((5, 2)), np.eye(2), 0)).all())
        True
    """
    if not isinstance(event, Slab | Box):
        got = f"a {type(event).__name__}"
        raise UnmetHypothesis("finish", "the event is a Slab or a Box", got)
    xp, down, (mean, cov, *_) = boundary("finish", mean=mean, cov=cov, **lifted(event))
    d = event.dimension
    if not mean.ndim or mean.shape[-1] != d or tuple(cov.shape) != (d, d):
        got = f"shapes {tuple(mean.shape)}, {tuple(cov.shape)}"
        raise UnmetHypothesis("finish", f"mean (..., {d}) and cov ({d}, {d})", got)
    check_psd(xp, "finish", cov)
    noise = source(rng, like=mean)
    if isinstance(event, Box):
        low, high, spread = event.standardised(xp, mean, cov)
        drawn = mean + spread * truncated_normal.kernel(xp, low, high, noise)
        return down(xp.minimum(xp.maximum(drawn, event.low), event.high))
    free = mean + noise.normal(mean) @ sqrt_psd(xp, cov)
    low, high, spread = event.standardised(xp, mean, cov)
    z = truncated_normal.kernel(xp, low, high, noise)
    value = xp.sum(mean * event.normal, axis=-1) + spread * z
    along = matvec(xp, cov, event.normal) / (spread * spread)
    drawn = free + along * (value - xp.sum(free * event.normal, axis=-1))[..., None]
    return down(_pushed_in(xp, event, drawn, along))


def _pushed_in(xp: Namespace, event: Slab, x: Array, along: Array) -> Array:
    """Points whose functional misses a level by a rounding, moved by a few roundings."""
    eps = 8.0 * float(xp.finfo(x.dtype).eps)
    for _ in range(3):
        value = xp.sum(x * event.normal, axis=-1)
        size = xp.sum(xp.abs(x * event.normal), axis=-1)
        below, above = value < event.low, value > event.high
        step = xp.where(below, event.low - value + eps * size, xp.zeros_like(value))
        step = xp.where(above, event.high - value - eps * size, step)
        x = x + along * step[..., None]
    return x


def _log_quantile(xp: Namespace, target: Array) -> Array:
    """z with log Phi(z) = target <= 0: Newton's steps from the left of a concave function never pass its root."""
    least = float(xp.finfo(target.dtype).smallest_normal)
    upper = target > -math.log(2.0)
    rest = xp.where(upper, -xp.expm1(target), xp.ones_like(target))
    rest = xp.where(rest > 0, rest, least + 0.0 * rest)
    goal = xp.where(upper, xp.log(rest), target)
    z = -xp.sqrt(-2.0 * goal)
    for _ in range(_NEWTON):
        z = z + (goal - log_ndtr.kernel(xp, z)) / mills.kernel(xp, z)
    return xp.where(upper, -z, z)
