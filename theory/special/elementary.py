"""Elementary forms that neither overflow at the edge of their domain nor lose a derivative there.

Symbols:
    weights: Weights, >= 0, broadcastable with a.
    a: Exponents, shape (..., K).
"""

from __future__ import annotations

import math

from driftproof._namespace import Array, Namespace, still

__all__ = [
    "deviance",
    "divide",
    "log_complement",
    "log_mean_exp",
    "log_of_positive",
    "log_or_minus_infinity",
    "log_sum_exp",
    "logistic",
    "relative_entropy",
    "shares",
    "softplus",
    "sqrt_or_zero",
    "weighed",
    "xlogy",
]

_TERMS = 10  # of the series of the deviance


def log_sum_exp(xp: Namespace, a: Array, axis: int = -1) -> Array:
    r"""Logarithm of a sum of exponentials along one axis.

    .. math:: \log \sum_k e^{a_k}

    Arguments:
        a: Exponents, shape (..., K); minus infinity stands for a term that is zero.

    Returns:
        Array with the axis removed; minus infinity where every term is zero.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> float(log_sum_exp(xp, xp.asarray([0.0, 0.0]))) == float(xp.log(xp.asarray(2.0)))
        True
    """
    # The sum does not depend on it; and jax, which computes anew, may find no element that is the largest.
    top = still(xp.max(a, axis=axis, keepdims=True))
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    total = xp.sum(xp.exp(a - top), axis=axis)
    return xp.squeeze(top, axis=axis) + log_or_minus_infinity(xp, total)


def log_mean_exp(xp: Namespace, weights: Array, a: Array) -> Array:
    r"""Logarithm of a weighted sum of exponentials along the last axis, which differentiates in a weight that is 0.

    .. math:: \log \sum_k w_k e^{a_k}

    Arguments:
        weights, a: Symbols of the module.

    Returns:
        Array with the last axis removed; minus infinity where every term is zero.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> float(log_mean_exp(xp, xp.asarray([0.0, 1.0]), xp.asarray([5.0, -3.0])))
        -3.0
    """
    joint = _joint(xp, weights, a)
    top = still(xp.max(joint, axis=-1, keepdims=True))
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    total = xp.sum(_terms(xp, weights, a, joint, top), axis=-1)
    return xp.squeeze(top, axis=-1) + log_or_minus_infinity(xp, total)


def shares(xp: Namespace, weights: Array, a: Array) -> Array:
    r"""The share of each term of a weighted sum of exponentials; it differentiates in a weight that is 0.

    .. math:: \frac{w_k e^{a_k}}{\sum_j w_j e^{a_j}}

    Arguments:
        weights, a: Symbols of the module.

    Returns:
        Array of the shape of a; no number where every term is zero or one infinite.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> shares(xp, xp.asarray([1.0, 1.0, 0.0]), xp.asarray([0.0, 0.0, 9.0])).tolist()
        [0.5, 0.5, 0.0]
    """
    total = log_mean_exp(xp, weights, a)[..., None]
    return _terms(xp, weights, a, _joint(xp, weights, a), total)


def _joint(xp: Namespace, weights: Array, a: Array) -> Array:
    here = weights > 0
    logs = xp.log(xp.where(here, weights, xp.ones_like(weights)))
    return xp.where(here, logs + a, -xp.inf)


def _terms(xp: Namespace, weights: Array, a: Array, joint: Array, top: Array) -> Array:
    """w e^(a - top); of a weight 0 it is the derivative that counts, up to half of the largest exponent."""
    here = weights > 0
    most = 0.5 * math.log(float(xp.finfo(a.dtype).max))
    beside = xp.where(here | (a == -xp.inf), xp.zeros_like(joint), a - top)
    beside = xp.exp(xp.where(beside > most, most, beside))
    return xp.where(here, xp.exp(joint - top), xp.where(a == -xp.inf, 0.0, weights) * beside)


def weighed(xp: Namespace, weights: Array, values: Array) -> Array:
    """Weights times values, 0 where the weight is 0 and the value no number or infinite.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> weighed(xp, xp.asarray([0.0, 0.5]), xp.asarray([xp.inf, 4.0])).tolist()
        [0.0, 2.0]
    """
    counts = (weights > 0) | xp.isfinite(values)
    return xp.where(counts, weights, 0.0) * xp.where(counts, values, 0.0)


def log_or_minus_infinity(xp: Namespace, x: Array) -> Array:
    """Logarithm of ``x >= 0``, minus infinity at 0 without a warning.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> float(log_or_minus_infinity(xp, xp.asarray(0.0)))
        -inf
    """
    nothing = x <= 0  # which NaN is not
    return xp.where(nothing, -xp.inf, xp.log(xp.where(nothing, xp.ones_like(x), x)))


def xlogy(xp: Namespace, a: Array, x: Array) -> Array:
    r"""The product of ``a`` and the logarithm of ``x >= 0``, zero where ``a`` is zero.

    .. math:: a \log x, \qquad 0 \log 0 = 0

    Arguments:
        a: Factor, a float or an array broadcastable with x.
        x: Point, x >= 0.

    Returns:
        Array of the broadcast shape; at x = 0 minus infinity for a > 0, plus infinity for a < 0.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> float(xlogy(xp, 0.0, xp.asarray(0.0)))
        0.0
    """
    beside = x <= 0  # which NaN is not
    if isinstance(a, int | float):
        edge = -math.copysign(math.inf, a) if a else 0.0
    else:
        a = a + xp.zeros_like(x)
        edge = xp.where(a > 0, -xp.inf, xp.where(a < 0, xp.inf, xp.zeros_like(a)))
    return xp.where(beside, edge, a * xp.log(xp.where(beside, xp.ones_like(x), x)))


def relative_entropy(xp: Namespace, a: Array, b: Array) -> Array:
    r"""The term of a divergence of two weights, with its derivatives on the closed boundary.

    .. math:: a \log\frac ab \;\; (a, b \ge 0), \qquad 0 \log\frac0b = 0, \quad a \log\frac a0 = \infty

    The derivative in a at 0 is minus infinity for b > 0, and plus infinity for b = 0.

    Arguments:
        a: Weight, >= 0.
        b: Weight, >= 0, of the shape of a.

    Returns:
        Array of that shape.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> relative_entropy(xp, xp.asarray([0.5, 0.5]), xp.asarray([0.5, 0.0])).tolist()
        [0.0, inf]
    """
    zero, one = xp.zeros_like(a), xp.ones_like(a)
    some, mismatch = (a > 0) & (b > 0), (a > 0) & (b <= 0)
    inside = xp.where(some, a, one) * (xp.log(xp.where(some, a, one)) - xp.log(xp.where(some, b, one)))
    # At the boundary a root has the value, 0, and an infinite derivative of the right sign.
    edge = xp.sqrt(xp.where(some | mismatch, zero, a))
    edge = xp.where(b > 0, -edge, edge)
    outside = xp.where(mismatch, a, one) * xp.inf - xp.sqrt(xp.where(mismatch, b, zero))
    return xp.where(some, inside, xp.where(mismatch, outside, edge))


def softplus(xp: Namespace, x: Array) -> Array:
    r"""The logarithm of 1 + exp(x): minus the logarithm of the logistic function at -x.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> float(softplus(xp, xp.asarray(1000.0))), float(softplus(xp, xp.asarray(-1000.0)))
        (1000.0, 0.0)
    """
    return xp.logaddexp(x, xp.zeros_like(x))


def logistic(xp: Namespace, x: Array) -> Array:
    r"""The logistic function, with all digits where it is small.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> float(logistic(xp, xp.asarray(0.0))), float(logistic(xp, xp.asarray(-700.0))) > 0.0
        (0.5, True)
    """
    return xp.exp(-softplus(xp, -x))


def log_complement(xp: Namespace, log_p: Array) -> Array:
    r"""The logarithm of :math:`1 - p` from that of p, with all digits where p is small and where it is almost 1.

    Arguments:
        log_p: :math:`\log p \le 0`; 0 gives minus infinity.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> float(log_complement(xp, xp.asarray(-math.log(2.0)))) == -math.log(2.0)
        True
    """
    rare = log_p < -math.log(2.0)
    one = xp.ones_like(log_p)
    few = xp.log1p(-xp.exp(xp.where(rare, log_p, -one)))
    many = log_or_minus_infinity(xp, -xp.expm1(xp.where(rare, -one, log_p)))
    return xp.where(rare, few, many)


def divide(xp: Namespace, a: Array, x: Array) -> Array:
    r"""The quotient of ``a`` by ``x >= 0``, zero where ``a`` is zero and infinite at x = 0 elsewhere.

    .. math:: a / x, \qquad 0 / 0 = 0

    Arguments:
        a: Numerator, a float or an array broadcastable with x.
        x: Denominator, x >= 0.

    Returns:
        Array of the broadcast shape.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> float(divide(xp, -1.0, xp.asarray(0.0))), float(divide(xp, 0.0, xp.asarray(0.0)))
        (-inf, 0.0)
    """
    inside = x > 0
    a = a + xp.zeros_like(x)
    edge = xp.where(a > 0, xp.inf, xp.where(a < 0, -xp.inf, xp.zeros_like(a)))
    return xp.where(inside, a / xp.where(inside, x, xp.ones_like(x)), edge)


def deviance(xp: Namespace, e: Array, ratio: Array | None = None) -> Array:
    r"""How far 1 + e is from 1: the deviance of a Poisson rate, without cancellation at 0.

    .. math:: e - \log(1 + e) \ge 0, \qquad
        \log(1 + e) = 2\,\mathrm{artanh}\,v, \quad v = \frac{e}{2 + e}, \quad e - 2v = e v

    Arguments:
        e: Point, e > -1.
        ratio: 1 + e, > 0, where it is known better than by this sum.

    Returns:
        Array of the shape of e.

    References:
        | Fast and accurate computation of binomial probabilities (Loader, 2000)

    Example:
        >>> import array_api_compat.numpy as xp
        >>> float(deviance(xp, xp.asarray(1e-20)))
        5e-41
    """
    small = xp.abs(e) < 0.25
    near = xp.where(small, e, xp.zeros_like(e))
    v = near / (2.0 + near)
    square, tail = v * v, xp.full_like(e, 1.0 / (2.0 * _TERMS + 1.0))
    for k in range(_TERMS - 1, 0, -1):  # sum_{k >= 1} v^{2k - 2} / (2k + 1); |v| <= 1/7, so v^20 < 2e-17
        tail = tail * square + 1.0 / (2.0 * k + 1.0)
    far = xp.where(small, xp.ones_like(e), 1.0 + e if ratio is None else ratio)
    return xp.where(small, near * v - 2.0 * square * v * tail, e - xp.log(far))


def log_of_positive(xp: Namespace, x: Array) -> Array:
    """Logarithm of what is > 0 unless a quadrature has failed: no number elsewhere, which the boundary refuses.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> log_of_positive(xp, xp.asarray([1.0, 0.0, -1e-30])).tolist()
        [0.0, nan, nan]
    """
    positive = x > 0
    return xp.where(positive, xp.log(xp.where(positive, x, xp.ones_like(x))), xp.nan)


def sqrt_or_zero(xp: Namespace, x: Array) -> Array:
    """Square root of ``x``, 0 for x <= 0, where the derivative is taken as 0 as well: that of a norm at its kink.

    Only for what has a kink there, or is multiplied by a zero: a function of x that is smooth at 0 loses its
    derivative in the root.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> sqrt_or_zero(xp, xp.asarray([4.0, 0.0])).tolist()
        [2.0, 0.0]
    """
    inside = x > 0
    return xp.where(inside, xp.sqrt(xp.where(inside, x, xp.ones_like(x))), xp.zeros_like(x))
