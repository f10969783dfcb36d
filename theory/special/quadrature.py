r"""Adaptive quadrature on numpy that states its error: Gauss rules of two orders on panels that are halved.

A panel's error is taken as the difference of its two rules, which is that of the lower one, plus the rounding
of its sum; what is returned comes from the higher one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..._namespace import UnmetHypothesis

__all__ = ["Integral", "composite", "integrate"]

_LOW, _HIGH = (np.polynomial.legendre.leggauss(order) for order in (10, 21))
_ROUNDS, _MOST = 60, 100_000
_NOISE = 64.0  # roundings of an integrand that is an exponential: as many as its exponent is large
_EPS = float(np.finfo(np.float64).eps)

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


class Integral(NamedTuple):
    """The value of an integral, and a bound on what is wrong with it."""

    value: float
    error: float


def integrate(subject: str, integrand: Callable[[Floats], Floats], edges: Floats, rtol: float) -> Integral:
    """The integral over [edges[0], edges[-1]]; ``edges`` are where the integrand turns or breaks, as far as known.

    Arguments:
        subject: What is computed, for the error.
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
    left, right = np.asarray(edges[:-1], dtype=np.float64), np.asarray(edges[1:], dtype=np.float64)
    settled, settled_error, count = 0.0, 0.0, 0
    for _ in range(_ROUNDS):
        value, error, rounding = _panels(integrand, left, right)
        count += left.size
        total = settled + float(np.sum(value))
        if not np.isfinite(total):
            raise UnmetHypothesis(subject, "the integral is finite", f"{total} over {left.size} panels")
        whole = settled_error + float(np.sum(error + rounding))
        rough = error > np.maximum(rounding, 0.1 * rtol * abs(total) / (64 + left.size))
        if whole <= rtol * abs(total) or not rough.any():
            return Integral(total, whole + 4.0 * _EPS * abs(total))
        settled += float(np.sum(value[~rough]))
        settled_error += float(np.sum((error + rounding)[~rough]))
        middle = 0.5 * (left[rough] + right[rough])
        if count > _MOST:
            break
        left, right = np.concatenate([left[rough], middle]), np.concatenate([middle, right[rough]])
    raise UnmetHypothesis(subject, "the integral converges", f"{total:.3g} with an error of {whole:.2g}")


def _panels(integrand: Callable[[Floats], Floats], left: Floats, right: Floats) -> tuple[Floats, ...]:
    """Value, difference of the two rules, and rounding of each panel."""
    half = 0.5 * (right - left)
    sums = []
    for nodes, weights in (_LOW, _HIGH):
        x = left[:, None] + half[:, None] * (1.0 + nodes)
        values = integrand(x.reshape(-1)).reshape(x.shape)
        sums.append(half * (values @ weights))
        size = half * (np.abs(values) @ weights)
    with np.errstate(invalid="ignore"):  # an integral that is not finite is refused by the caller
        return sums[1], np.abs(sums[1] - sums[0]), _NOISE * _EPS * size
