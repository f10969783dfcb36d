r"""Adaptive quadrature on numpy that states its error: Gauss rules of two orders on panels that are halved.

A panel's error is taken as the difference of its two rules, which is that of the lower one, or as the last three
Legendre coefficients of the integrand if they are larger: across a kink the rules may agree by accident, three
coefficients in a row do not vanish.  What is returned comes from the higher rule.  A kink between the last node and the edge of a panel is seen by
neither rule.  It is seen by what two neighbours say about the edge between them: where they differ by a in value and by
b in slope, a kink hides at the distance a/b, and leaves out :math:`a^2/2b`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, still

__all__ = ["Integral", "composite", "integrate", "readable", "require_resolved", "resolution", "still"]

_LOW, _HIGH = (np.polynomial.legendre.leggauss(order) for order in (10, 21))
_ROUNDS, _MOST = 60, 100_000
_NOISE = 64.0  # roundings of an integrand that is an exponential: as many as its exponent is large
_EPS = float(np.finfo(np.float64).eps)
_GUARD = 1.0 / 256.0
_GAP = 0.5 * (1.0 - float(_HIGH[0][-1]))  # of a panel, beyond its last node

Floats = np.ndarray[Any, np.dtype[np.float64]]


def composite(panels: int, order: int) -> tuple[Floats, Floats]:
    """Nodes and weights on [0, 1] of Gauss's rule on equal panels.

    Example:
        >>> nodes, weights = composite(4, 3)
        >>> float(weights @ nodes**5) * 6.0
        1.0
    """
    x, w = np.polynomial.legendre.leggauss(order)
    return ((np.arange(panels)[:, None] + 0.5 * (1.0 + x)) / panels).reshape(-1), np.tile(
        0.5 * w / panels, panels
    )


def resolution(xp: Namespace, dtype: Any) -> float:
    """The share of its size that a quadrature in this dtype may be off: 1e-10, in single precision 256 roundings.

    Example:
        >>> resolution(np, np.float64)
        1e-10
    """
    return max(1e-10, 256.0 * float(xp.finfo(dtype).eps))


def readable(value: Array) -> bool:
    """Whether numbers can be read off: not while a function is mapped or traced, as by ``torch.func.vmap`` and ``jax.jit``.

    Example:
        >>> readable(np.ones(2))
        True
    """
    xp = array_namespace(value)
    try:
        return bool(xp.any(xp.reshape(still(value) == 0.0, (-1,))[:1])) or True
    except (RuntimeError, TypeError):  # torch's error, and jax's
        return False


def require_resolved(xp: Namespace, subject: str, fine: Array, coarse: Array, size: Array) -> None:
    """Raise unless rules of two orders agree to :func:`resolution`, relative to the integral of absolute values.

    The difference is the error of the lower order, far above that of the value that is kept.

    Raises:
        UnmetHypothesis: The integrand has features that the panels do not resolve.
    """
    fine, coarse, size = (still(value) for value in (fine, coarse, size))
    error = xp.abs(fine - coarse)
    if not holds(xp.all(error <= resolution(xp, fine.dtype) * size)):
        wrong = ~(error <= resolution(xp, fine.dtype) * size)
        share = xp.where(
            wrong & (size > 0), error / xp.where(size > 0, size, xp.ones_like(size)), 0.0 * error
        )
        got = f"rules of two orders differ by {float(xp.max(share)):.2g} of the integral"
        raise UnmetHypothesis(subject, "the integrand is resolved by the quadrature", got)


class Integral(NamedTuple):
    """The value of an integral, and a bound on what is wrong with it."""

    value: float
    error: float


def integrate(subject: str, integrand: Callable[[Floats], Floats], edges: Floats, rtol: float) -> Integral:
    """The integral over [edges[0], edges[-1]]; ``edges`` are where the integrand turns or breaks, as far as known.

    Arguments:
        subject: The name of the quantity, for the error.
        integrand: From points of shape (N,) to values of shape (N,).
        edges: Increasing, at least two.
        rtol: Panels are halved until the error is this part of the value, or all of it is rounding.

    Raises:
        UnmetHypothesis: A value is not finite, or the error does not come down.

    Example:
        >>> found = integrate("example", lambda x: np.abs(x), np.asarray([-1.0, 2.0]), 1e-12)
        >>> abs(found.value - 2.5) <= found.error < 1e-11
        True
    """
    edges = _guarded(np.asarray(edges, dtype=np.float64))
    left, right = edges[:-1], edges[1:]
    panels = _panels(integrand, left, right)
    count = left.size
    for _ in range(_ROUNDS):
        total, rounding = float(np.sum(panels.value)), panels.rounding
        if not np.isfinite(total):
            raise UnmetHypothesis(subject, "the integral is finite", f"{total} over {left.size} panels")
        error = panels.error + _hidden(panels, right - left)
        whole = float(np.sum(error + rounding))
        rough = error > np.maximum(rounding, 0.1 * rtol * abs(total) / (64 + left.size))
        if whole <= rtol * abs(total) or not rough.any():
            return Integral(total, whole + 4.0 * _EPS * abs(total))
        if count > _MOST:
            break
        middle = 0.5 * (left[rough] + right[rough])
        halves = (
            np.stack([left[rough], middle], axis=1).reshape(-1),
            np.stack([middle, right[rough]], 1).reshape(-1),
        )
        count += halves[0].size
        fresh = _panels(integrand, *halves)
        order = np.argsort(np.concatenate([left[~rough], halves[0]]))
        left, right = (
            np.concatenate([old[~rough], new])[order] for old, new in zip((left, right), halves, strict=True)
        )
        panels = _Panels(
            *(np.concatenate([old[~rough], new])[order] for old, new in zip(panels, fresh, strict=True))
        )
    raise UnmetHypothesis(subject, "the integral converges", f"{total:.3g} with an error of {whole:.2g}")


class _Panels(NamedTuple):
    """Value, difference of the two rules, rounding; the integrand and its slope at both edges, and its noise."""

    value: Floats
    error: Floats
    rounding: Floats
    at_left: Floats
    at_right: Floats
    slope_left: Floats
    slope_right: Floats
    noise: Floats


def _panels(integrand: Callable[[Floats], Floats], left: Floats, right: Floats) -> _Panels:
    half = 0.5 * (right - left)
    sums = []
    for nodes, weights in (_LOW, _HIGH):
        x = left[:, None] + half[:, None] * (1.0 + nodes)
        values = integrand(x.reshape(-1)).reshape(x.shape)
        sums.append(half * (values @ weights))
    size = np.abs(values)
    with np.errstate(
        invalid="ignore", over="ignore"
    ):  # an integral that is not finite is refused by the caller
        tail = half * np.max(np.abs(values @ _TAIL), axis=1)
        # Points are rounded too: of a pole just outside little is known.
        place = 4.0 * _EPS * np.maximum(np.abs(left), np.abs(right))
        at_left, at_right = (values @ row for row in _AT_EDGES)
        slope_left, slope_right = (values @ row / half for row in _SLOPE_AT_EDGES)
        return _Panels(
            sums[1],
            np.maximum(np.abs(sums[1] - sums[0]), tail),
            _NOISE * _EPS * half * (size @ weights) + place * np.ptp(values, axis=1),
            at_left,
            at_right,
            slope_left,
            slope_right,
            _NOISE * _EPS * np.max(size, axis=1)
            + place * np.maximum(np.abs(slope_left), np.abs(slope_right)),
        )


def _hidden(panels: _Panels, width: Floats) -> Floats:
    """The part that kinks and jumps beyond the last nodes may leave out, half of it on either side of an edge."""
    apart = np.abs(panels.at_right[:-1] - panels.at_left[1:])
    apart = np.maximum(apart - np.maximum(panels.noise[:-1], panels.noise[1:]), 0.0)
    turn = np.abs(panels.slope_right[:-1] - panels.slope_left[1:])
    most = _GAP * np.maximum(width[:-1], width[1:])  # as far as a kink can hide
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = apart * np.minimum(np.where(turn > 0.0, 0.5 * apart / turn, np.inf), most)
    missed = np.where(apart > 0.0, missed, 0.0)
    return 0.5 * (np.append(missed, 0.0) + np.append(0.0, missed))


def _guarded(edges: Floats) -> Floats:
    """The edges, with narrow panels at both ends of all, where no neighbour would see what hides."""
    shares = _GUARD ** np.arange(3, 0, -1)
    low, high = edges[0] + (edges[1] - edges[0]) * shares, edges[-1] - (edges[-1] - edges[-2]) * shares
    return np.unique(np.concatenate([edges, low, high]))


def _rows() -> tuple[Floats, Floats, Floats]:
    """From values at the nodes: the interpolating polynomial at both ends of [-1, 1], its slope, its last coefficients."""
    x, w = _HIGH
    degrees = np.arange(x.size)
    ends = np.asarray([-1.0, 1.0])[:, None] ** degrees
    fit = (degrees + 0.5)[:, None] * np.polynomial.legendre.legvander(x, x.size - 1).T * w
    return ends @ fit, (ends * [[-1.0], [1.0]] * (degrees * (degrees + 1) / 2.0)) @ fit, fit[-3:].T


_AT_EDGES, _SLOPE_AT_EDGES, _TAIL = _rows()
