r"""The l1 penalty with bounds: its prox, the objective, and a certificate of how far from the optimum one is.

.. math:: F(x) = \tfrac12 |Ax - y|^2 + \lambda |x|_1 + \iota_{[l, h]^d}(x), \qquad l \le 0 \le h

One family holds all of them: no bounds (``l1``), ``low=0`` (non-negative) and ``low=0, high=1`` (box).  For any
dual point :math:`\theta` that is feasible, :math:`F(x) - D(\theta)` bounds the distance to the optimum;
the residual, shrunk just enough, is one:

.. math:: D(\theta) = y^\top\theta - \tfrac12|\theta|^2
    - h \sum_i (a_i^\top\theta - \lambda)_+ + l \sum_i (-a_i^\top\theta - \lambda)_+

Symbols:
    v: Array with shape (...).
    tau: Threshold, >= 0; a number, or an array that broadcasts against ``v``.
    low: Lower bound, <= 0; none by default.
    high: Upper bound, >= 0; none by default.
    A: The sketch, with shape (m, d).
    y: Measurements, with shape (..., m).
    lam: The penalty lambda, > 0; a number, or an array with shape (..., 1).
"""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, known, public

__all__ = ["duality_gap", "objective", "prox", "require_problem", "soft_threshold"]


@public(tau=">= 0")
def soft_threshold(xp: Namespace, v: Array, tau: float | Array) -> Array:
    r"""Shrinks towards 0 by tau.

    .. math:: \eta(v; \tau) = \mathrm{sign}(v)\,(|v| - \tau)_+ = (v - \tau)_+ + (v + \tau)_-

    Arguments:
        v, tau: Symbols of the module.

    Returns:
        Array with shape (...).

    Claims: CSDM-PROX-1, CSDM-SOFT-1

    Example:
        >>> soft_threshold([-3.0, 0.5, 2.0], 1.0).tolist()
        [-2.0, 0.0, 1.0]
    """
    zero = xp.zeros((), dtype=v.dtype, device=device(v))
    return xp.maximum(v - tau, zero) + xp.minimum(v + tau, zero)


def _check_bounds(xp: Namespace, *, low: float, high: float, **rest: Any) -> None:
    require_bounds("prox", low, high)


@public(check=_check_bounds, tau=">= 0", low="in [-inf, inf]", high="in [-inf, inf]")
def prox(
    xp: Namespace, v: Array, tau: float | Array, low: float = -math.inf, high: float = math.inf
) -> Array:
    r"""The prox of the l1 norm with bounds.

    .. math:: \arg\min_{l \le x \le h}\; \tfrac12 (x - v)^2 + \tau |x| = \mathrm{clip}\big(\eta(v; \tau), l, h\big)

    In this order: clipping first and shrinking then is another map.

    Arguments:
        v, tau, low, high: Symbols of the module.

    Returns:
        Array with shape (...).

    Raises:
        UnmetHypothesis: Not low <= 0 <= high, or tau < 0.

    References:
        | A fast iterative shrinkage-thresholding algorithm (Beck, Teboulle, 2009)

    Claims: CSDM-PROX-1

    Example:
        >>> prox([-3.0, 0.5, 2.0], 0.25, 0.0, 1.0).tolist()
        [0.0, 0.25, 1.0]
    """
    x = soft_threshold.kernel(xp, v, tau)
    if low > -math.inf:
        x = xp.maximum(x, xp.full((), low, dtype=v.dtype, device=device(v)))
    if high < math.inf:
        x = xp.minimum(x, xp.full((), high, dtype=v.dtype, device=device(v)))
    return x


def require_bounds(subject: str, low: float, high: float) -> None:
    """Raise unless low <= 0 <= high: then 0 is feasible, and the dual simple."""
    if not low <= 0.0 <= high:
        raise UnmetHypothesis(subject, "low <= 0 <= high", f"low = {low!r}, high = {high!r}")


def require_problem(
    xp: Namespace,
    *,
    A: Array,
    y: Array,
    lam: float | Array,
    low: float = -math.inf,
    high: float = math.inf,
    **rest: Any,
) -> None:
    """Raise unless shapes match, lambda > 0, every coordinate is measured, and the bounds hold 0."""
    subject = "fista"
    require_bounds(subject, low, high)
    if A.ndim != 2 or 0 in A.shape or y.ndim < 1 or y.shape[-1] != A.shape[0]:
        raise UnmetHypothesis(
            subject, "A (m, d), not empty, and y (..., m)", f"{tuple(A.shape)}, {tuple(y.shape)}"
        )
    least = lam if isinstance(lam, float) else float(xp.min(lam))
    if not least > 0.0:
        raise UnmetHypothesis(subject, "lambda > 0", f"lambda = {least!r}")
    most = lam if isinstance(lam, float) else float(xp.max(lam))
    if not most < math.inf:
        raise UnmetHypothesis(subject, "lambda is finite", f"lambda = {most!r}")
    if not holds(xp.all(xp.isfinite(A))) or not holds(xp.all(xp.isfinite(y))):
        raise UnmetHypothesis(subject, "A and y are finite", "infinite values")
    empty = xp.sum(A * A, axis=0) == 0
    if known(xp.any(empty)):
        got = f"{int(xp.sum(xp.astype(empty, xp.int64)))} of {A.shape[1]} columns"
        raise UnmetHypothesis(subject, "no column of A is zero", got)
    for name in ("x", "z"):
        if name in rest and (rest[name].ndim < 1 or rest[name].shape[-1] != A.shape[1]):
            shape = tuple(rest[name].shape)
            raise UnmetHypothesis(subject, f"{name} has {A.shape[1]} coordinates", f"shape {shape}")


@public(wide=True, check=require_problem)
def objective(xp: Namespace, x: Array, A: Array, y: Array, lam: float | Array) -> Array:
    r"""The objective of the LASSO.

    .. math:: F(x) = \tfrac12 |Ax - y|^2 + \lambda |x|_1

    scikit-learn's ``Lasso`` divides it by m: its ``alpha`` is :math:`\lambda/m`.

    Arguments:
        x: Coordinates, with shape (..., d).
        A, y, lam: Symbols of the module.

    Returns:
        Array with shape (...).

    Raises:
        UnmetHypothesis: lambda <= 0, a zero column, or shapes that do not match.

    Claims: CSDM-FISTA-1, CSDM-GAP-1

    Example:
        >>> import numpy as np
        >>> float(objective(np.ones(2), np.eye(2), np.zeros(2), 0.5))
        2.0
    """
    residual = x @ xp.matrix_transpose(A) - y
    return 0.5 * xp.sum(residual * residual, axis=-1) + xp.sum(lam * xp.abs(x), axis=-1)


@public(wide=True, check=require_problem, low="in [-inf, inf]", high="in [-inf, inf]")
def duality_gap(
    xp: Namespace,
    x: Array,
    A: Array,
    y: Array,
    lam: float | Array,
    low: float = -math.inf,
    high: float = math.inf,
) -> Array:
    r"""How far at most the objective is above its optimum.

    .. math:: F(x) - F(x^*) \le F(x) - D(\theta), \qquad \theta = c\,(y - Ax), \quad
        c = \frac{\lambda}{\max(\lambda, \max_i \pm a_i^\top(y - Ax))}

    where only unbounded signs enter the maximum.

    Arguments:
        x: Coordinates within the bounds, with shape (..., d).
        A, y, lam, low, high: Symbols of the module.

    Returns:
        Array with shape (...), >= 0 up to rounding; 0 at the optimum only.

    Raises:
        UnmetHypothesis: lambda <= 0, a zero column, or shapes that do not match.

    References:
        | An interior-point method for large-scale l1-regularized least squares (Kim et al., 2007), section III

    Claims: CSDM-GAP-1

    Example:
        >>> import numpy as np
        >>> y = np.array([3.0, 0.5])
        >>> float(duality_gap(np.array([2.0, 0.0]), np.eye(2), y, 1.0))
        0.0
    """
    residual = y - x @ xp.matrix_transpose(A)
    slopes = residual @ A
    floor = lam + xp.zeros_like(slopes[..., :1])
    worst = floor
    if math.isinf(high):
        worst = xp.maximum(worst, xp.max(slopes, axis=-1, keepdims=True))
    if math.isinf(low):
        worst = xp.maximum(worst, xp.max(-slopes, axis=-1, keepdims=True))
    shrink = floor / worst
    # F - D as a sum of what is not negative: for small penalties F and D agree in most of their digits.
    apart = xp.sum(((1.0 - shrink) * residual) ** 2, axis=-1)
    above, below = shrink * slopes - lam, -shrink * slopes - lam
    return 0.5 * apart + xp.sum(_slack(xp, x, above, high) + _slack(xp, -x, below, -low), axis=-1)


def _slack(xp: Namespace, x: Array, excess: Array, high: float) -> Array:
    """The part of one sign of a coordinate: -x excess for excess < 0, (high - x) excess above, x the positive part."""
    zero = xp.zeros_like(excess)
    inside = -xp.maximum(x, zero) * xp.minimum(excess, zero)
    if math.isinf(high):
        return inside
    return inside + (high - xp.maximum(x, zero)) * xp.maximum(excess, zero)
