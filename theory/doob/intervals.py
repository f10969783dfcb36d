r"""The normal law on an interval, in logarithms: its probability and its mean there.

.. math:: \log\big(\Phi(b) - \Phi(a)\big), \qquad
    E[Z \mid a < Z < b] = \frac{\varphi(a) - \varphi(b)}{\Phi(b) - \Phi(a)}

Both are taken in the tail in which the interval lies.  Where its ends are so near that a difference of two
logarithms would cancel, the density is integrated over it instead, by Gauss's rule about the middle.

Symbols:
    low, high: ends a < b, any shape; they may be infinite.
"""

from __future__ import annotations

import math

import numpy as np

from driftproof._blocks import elementwise
from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    holds,
    public,
)
from driftproof.theory.special.elementary import log_or_minus_infinity
from driftproof.theory.special.normal import log_ndtr, mills

__all__ = ["interval_mean", "log_interval"]

_NODES, _WEIGHTS = (part.tolist() for part in np.polynomial.legendre.leggauss(12))
_NEAR = 0.5  # log Phi(b) - log Phi(a) below which Gauss's rule is exact, and a difference is not


def _has_an_interior(xp: Namespace, *, low: Array, high: Array) -> None:
    if not holds(xp.all(low < high)):
        raise UnmetHypothesis("log_interval", "low < high", "an interval without an interior")


@public(wide=True, check=_has_an_interior)
def log_interval(xp: Namespace, low: Array, high: Array) -> Array:
    r"""Logarithm of the probability that a standard normal variable lies between two numbers.

    .. math:: \log\big(\Phi(b) - \Phi(a)\big)

    Arguments:
        low, high: Symbols of the module.

    Returns:
        Array of the broadcast shape, <= 0.

    Raises:
        UnmetHypothesis: An interval is empty or a point.

    Claims: DOOB-INTERVAL-1

    Example:
        >>> from math import inf, isclose, log
        >>> isclose(log_interval(0.0, inf), -log(2.0), rel_tol=1e-15)
        True
    """
    return interval(xp, low, high)[0]


@public(check=_has_an_interior)
def interval_mean(xp: Namespace, low: Array, high: Array) -> Array:
    r"""Mean of a standard normal variable given that it lies between two numbers.

    .. math:: E[Z \mid a < Z < b] = \frac{\varphi(a) - \varphi(b)}{\Phi(b) - \Phi(a)}

    It is the derivative of :func:`log_interval` when both ends move down by one step together.

    Arguments:
        low, high: Symbols of the module.

    Returns:
        Array of the broadcast shape, between the ends.

    Raises:
        UnmetHypothesis: An interval is empty or a point.

    Claims: DOOB-INTERVAL-1

    Example:
        >>> from math import isclose, pi, sqrt
        >>> isclose(interval_mean(0.0, float("inf")), sqrt(2 / pi), rel_tol=1e-15)
        True
    """
    return interval(xp, low, high)[1]


def interval(xp: Namespace, low: Array, high: Array) -> tuple[Array, Array]:
    """Kernel: the log-probability of an interval and the mean on it."""
    low, high = low + 0.0 * _finite(xp, high), high + 0.0 * _finite(xp, low)
    return _log_probability(xp, low, high), _mean(xp, low, high)


@elementwise
def _log_probability(xp: Namespace, low: Array, high: Array) -> Array:
    far, near, gap, middle, width, _ = _in_the_lower_tail(xp, low, high)
    density = -0.5 * middle * middle - 0.5 * math.log(2.0 * math.pi)
    narrow = density + log_or_minus_infinity(xp, width) + xp.log(_moment(xp, middle, width, 0))
    wide = log_ndtr.kernel(xp, far) + xp.log(-xp.expm1(-gap))
    return xp.where(near, narrow, wide)


@elementwise
def _mean(xp: Namespace, low: Array, high: Array) -> Array:
    far, near, gap, middle, width, mirrored = _in_the_lower_tail(xp, low, high)
    spread = _moment(xp, middle, width, 1) / _moment(xp, middle, width, 0)
    other = xp.where(mirrored, -high, low)
    less = xp.exp(-gap)
    wide = (mills.kernel(xp, _finite(xp, other)) * less - mills.kernel(xp, far)) / -xp.expm1(-gap)
    mean = xp.where(near, middle + width * spread, wide)
    return xp.where(mirrored, -mean, mean)


def _in_the_lower_tail(xp: Namespace, low: Array, high: Array) -> tuple[Array, ...]:
    """The upper end, mirrored so that the middle is <= 0; whether the ends are near; what both ways need."""
    mirrored = high > -low
    a = _finite(xp, xp.where(mirrored, -high, low))
    b = _finite(xp, xp.where(mirrored, -low, high))
    gap = log_ndtr.kernel(xp, b) - log_ndtr.kernel(xp, a)
    near = gap < _NEAR
    one = xp.ones_like(gap)
    width, middle = xp.where(near, b - a, one), xp.where(near, 0.5 * a + 0.5 * b, -one)
    return b, near, xp.where(near, one, gap), middle, width, mirrored


def _moment(xp: Namespace, middle: Array, width: Array, power: int) -> Array:
    """The mean of s^power phi(m + w s) / phi(m) over s in [-1/2, 1/2]."""
    total = xp.zeros_like(middle)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        s = 0.5 * node
        total = total + 0.5 * weight * s**power * xp.exp(-width * s * (middle + 0.5 * width * s))
    return total


def _finite(xp: Namespace, z: Array) -> Array:
    """An end whose square is a number; beyond it nothing is left of the law."""
    most = 0.25 * math.sqrt(float(xp.finfo(z.dtype).max))
    return xp.where(z > most, most, xp.where(z < -most, -most, z))
