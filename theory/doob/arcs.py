r"""The bivariate normal distribution function in logarithms, as a sum of two positive terms.

Its derivative in the correlation is the density (Plackett), so that it is its value at one correlation plus an
integral of densities up to another.  From 0 up to a positive correlation, and from -1 up to a negative one,

.. math:: \Phi_2(a, b; \rho) = \begin{cases} \Phi(a)\Phi(b) + A(a, b) & \rho \ge 0 \\
    \big(\Phi(a) - \Phi(-b)\big)^+ + A(a, -b) & \rho < 0 \end{cases}, \qquad
    A(a, b) = \frac1{2\pi}\int \exp\Big(-\frac{(a-b)^2}{2\sin^2 t} - \frac{ab}{2\cos^2\frac t2}\Big)\,dt

nothing cancels.  The integral over the angle is taken on both sides of its largest value, as far as the integrand
is not below e^-50 of it, by the double exponential rule.
"""

from __future__ import annotations

import math

import numpy as np

from driftproof._namespace import Array, Namespace, public
from driftproof.theory.laws.matrices import constant
from driftproof.theory.special.elementary import log_sum_exp
from driftproof.theory.special.normal import log_ndtr

from .intervals import interval

__all__ = ["log_bivariate_ndtr"]

_STEP, _LAST = 0.05, 3.3
_DEPTH, _HALVINGS = 50.0, 40


def _double_exponential() -> tuple[list[float], list[float]]:
    """Nodes and weights on [0, 1] for integrands that change fast at the ends."""
    tau = _STEP * np.arange(-round(_LAST / _STEP), round(_LAST / _STEP) + 1)
    left = 1.0 / (1.0 + np.exp(-math.pi * np.sinh(tau)))
    right = left[::-1]  # 1 - left, to its last digit
    return left.tolist(), (_STEP * math.pi * np.cosh(tau) * left * right).tolist()


_NODES, _WEIGHTS = _double_exponential()


@public(wide=True, a="finite", b="finite", rho="in [-1, 1]")
def log_bivariate_ndtr(xp: Namespace, a: Array, b: Array, rho: Array) -> Array:
    r"""Logarithm of the bivariate normal distribution function.

    .. math:: \log\Phi_2(a, b; \rho) = \log P(Z_1 \le a, Z_2 \le b), \qquad \mathrm{corr}(Z_1, Z_2) = \rho

    Arguments:
        a, b: Finite numbers, any shape.
        rho: Correlation in [-1, 1], broadcastable with a and b.

    Returns:
        Array of the broadcast shape; minus infinity for rho = -1 and a + b <= 0.

    References:
        | A reduction formula for normal multivariate integrals (Plackett, 1954)
        | Numerical computation of rectangular bivariate and trivariate normal probabilities (Genz, 2004)

    Claims: DOOB-ORTHANT-1

    Example:
        >>> from math import isclose, log
        >>> isclose(log_bivariate_ndtr(0.0, 0.0, 0.5), -log(3.0), rel_tol=1e-13)
        True
    """
    nothing = 0.0 * (a + b + rho)
    a, b, rho = a + nothing, b + nothing, rho + nothing
    positive = rho >= 0
    size = xp.where(positive, rho, -rho)
    angle = xp.atan2(xp.sqrt((1.0 - size) * (1.0 + size)), size)
    quarter = 0.5 * math.pi + nothing
    first, last = xp.where(positive, angle, nothing), xp.where(positive, quarter, angle)
    arc = log_arc(xp, a, xp.where(positive, b, -b), first, last)
    apart = a + b > 0
    between, _ = interval(xp, xp.where(apart, -b, a - 1.0), a)
    below = log_ndtr.kernel(xp, a) + log_ndtr.kernel(xp, b)
    base = xp.where(positive, below, xp.where(apart, between, -xp.inf))
    return log_sum_exp(xp, xp.stack([base, arc], axis=-1))


def log_arc(xp: Namespace, a: Array, b: Array, first: Array, last: Array) -> Array:
    """Kernel: the logarithm of the integral A(a, b) from the angle ``first`` to ``last``, both in [0, pi/2]."""
    square = xp.maximum(a * a, b * b)
    best = xp.where(square > 0, a * b / xp.where(square > 0, square, xp.ones_like(square)), square)
    # The angle of the largest integrand.  Inside of the range it splits the integral, which changes no value, and its
    # derivative is infinite at a = b; at an end it moves with the end.
    best = constant(best)
    best = xp.where(best > 1.0, 1.0, xp.where(best < -1.0, -1.0, best))
    peak = xp.atan2(xp.sqrt((1.0 - best) * (1.0 + best)), best)
    peak = xp.where(peak > first, xp.where(peak < last, peak, last), first)
    nodes, weights = (
        xp.asarray(v, dtype=a.dtype, device=getattr(a, "device", None)) for v in (_NODES, _WEIGHTS)
    )
    parts = []
    for end in (first, last):
        length = _within_reach(xp, constant(a), constant(b), constant(peak), constant(end))
        # Where all counts the piece ends where the integral does, and moves with it.
        length = xp.where(length == constant(end) - constant(peak), end - peak, length)[..., None]
        exponent = _exponent(xp, a[..., None], b[..., None], peak[..., None] + length * nodes)
        size = xp.abs(length)
        scale = xp.where(size > 0, xp.log(xp.where(size > 0, size, xp.ones_like(size))), -xp.inf)
        parts.append(exponent + xp.log(weights / (2.0 * math.pi)) + scale)
    return log_sum_exp(xp, xp.concat(parts, axis=-1))


def _exponent(xp: Namespace, a: Array, b: Array, t: Array) -> Array:
    sine, cosine = xp.sin(t), xp.cos(0.5 * t)
    away = a - b
    some = (away != 0) & (sine != 0)  # equal arguments have a limit at t = 0
    first = away * away / xp.where(some, 2.0 * sine * sine, xp.ones_like(sine))
    first = xp.where(some, first, xp.where(away != 0, xp.inf, 0.0 * first))
    return -first - 0.5 * a * b / (cosine * cosine)


def _within_reach(xp: Namespace, a: Array, b: Array, peak: Array, end: Array) -> Array:
    """The way from the peak towards an end, as far as the integrand is worth a number."""
    top = _exponent(xp, a, b, peak)
    near, far = xp.zeros_like(peak), end - peak
    far_counts = top - _exponent(xp, a, b, end) <= _DEPTH
    whole = far
    for _ in range(_HALVINGS):
        middle = 0.5 * (near + far)
        counts = top - _exponent(xp, a, b, peak + middle) <= _DEPTH
        near, far = xp.where(counts, middle, near), xp.where(counts, far, middle)
    return xp.where(far_counts, whole, far)
