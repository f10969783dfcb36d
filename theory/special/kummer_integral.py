r"""Kummer's function with large parameters: an integral whose integrand is a bump, by the trapezoidal rule.

With a gamma variable S of shape a,

.. math:: {}_1F_1(a; b; x) = E\,{}_0F_1(b; xS)
    = \frac{2}{\Gamma(a)} \int_0^\infty r^{2a-1} e^{-r^2}\, {}_0F_1(b; x r^2)\,dr

All terms are positive.  In r the bump has its mode at the root of a quadratic equation and a width that hardly
changes; towards 0, where a small a leaves a singularity, :math:`r = \log(1 + \exp(v - e^{-v}))` falls doubly
exponentially.  On such integrands the trapezoidal rule converges exponentially: 96 nodes reach rounding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from array_api_compat import device

from driftproof._namespace import Array, Namespace, still

from .bessel import ladder_of_square
from .elementary import deviance

__all__ = ["log_hyp1f1_of_large", "ratio_of_large"]

_NODES = 96
_DEPTH = 46.0  # exponents below the mode that count: exp(-46) is 1e-20
_HALVINGS = 30
_TERMS = 12  # of the expansion for large x


def log_hyp1f1_of_large(xp: Namespace, a: float, b: float, x: Array) -> Array:
    """log 1F1(a; b; x) for x >= 0."""
    near, far = _two_regions(xp, a, b, x)
    bump = _bump(xp, a, b, near)
    inside = bump.middle + xp.log(bump.step * xp.sum(xp.exp(bump.exponents), axis=-1))
    outside = far + (a - b) * xp.log(far) + (math.lgamma(b) - math.lgamma(a)) + xp.log(_far_sum(far, a, b))
    return xp.where(x > near, outside, inside)


def ratio_of_large(xp: Namespace, a: float, b: float, x: Array) -> Array:
    """1F1(a+1; b+1; x) / 1F1(a; b; x): b/a times the mean of S 0F1'(b; xS) / 0F1(b; xS) under the bump."""
    near, far = _two_regions(xp, a, b, x)
    bump = _bump(xp, a, b, near)
    heights = xp.exp(bump.exponents)
    inside = 2.0 * xp.sum(heights * bump.slopes, axis=-1) / xp.sum(heights, axis=-1)
    outside = _far_sum(far, a + 1.0, b + 1.0) / _far_sum(far, a, b)
    return (b / a) * xp.where(x > near, outside, inside)


def _two_regions(xp: Namespace, a: float, b: float, x: Array) -> tuple[Array, Array]:
    """Arguments of the integral, and of the expansion that is exact to rounding beyond 30 max(a, b)^2."""
    last = 30.0 * max(a, b) ** 2
    return xp.where(x > last, last, x), xp.where(x > last, x, last)


def _far_sum(x: Array, a: float, b: float) -> Array:
    """The sum of DLMF 13.7.1, whose terms fall like 30^-n / n!."""
    value = 1.0 + 0.0 * x
    for n in range(_TERMS - 1, -1, -1):
        value = 1.0 + ((b - a + n) * (1.0 - a + n) / (n + 1)) * (value / x)
    return value


class _Bump(NamedTuple):
    """The integrand at the nodes, shape (..., n): exponents over that of one node in the middle, which is given.

    Where x is large the terms of an exponent are as large as x, and their sum over the bump is a few units: it is
    taken as differences from the middle, each the product of r - r' and what does not cancel.
    """

    exponents: Array
    middle: Array
    step: Array
    slopes: Array  # s I_b / (sqrt w I_{b-1})


def _bump(xp: Namespace, a: float, b: float, x: Array) -> _Bump:
    fixed = still(x)  # where the nodes lie changes no value
    low, high = _window(xp, a, b, fixed)
    step, where = (high - low) / (_NODES - 1), device(x)
    shares = xp.linspace(0.0, 1.0, _NODES, dtype=x.dtype, device=where)
    log_r, r, log_slope = _radius(xp, low[..., None] + (high - low)[..., None] * shares)
    ladder = ladder_of_square(xp, b - 1.0, 4.0 * x[..., None] * (r * r))
    log_r_0, r_0, log_slope_0, root_0, scale_0, rest_0 = (
        v[..., _NODES // 2] for v in (log_r, r, log_slope, ladder.s, ladder.scale, ladder.rest)
    )
    apart = (r - r_0[..., None]) * (r + r_0[..., None])  # of s
    root = ladder.s + root_0[..., None]
    rise = 4.0 * x[..., None] * apart / root
    beside = xp.abs(apart) < 0.5 * r_0[..., None] ** 2
    near = xp.where(beside, apart, xp.zeros_like(apart)) / r_0[..., None] ** 2
    logs = xp.where(beside, 0.5 * xp.log1p(near), log_r - log_r_0[..., None])
    exponents = (
        apart * (4.0 * x[..., None] / root - 1.0)
        + 2.0 * a * logs
        - (b - 1.0) * xp.log1p(rise / scale_0[..., None])
        + (ladder.rest - rest_0[..., None])
        + (log_slope - log_slope_0[..., None])
    )
    start = ladder_of_square(xp, b - 1.0, xp.zeros_like(r_0))
    w = 4.0 * x * r_0 * r_0
    bessel = w / scale_0 - (b - 1.0) * xp.log1p(w / (scale_0 * (2.0 * ladder.mu))) + (rest_0 - start.rest)
    middle = _log_gamma_density(xp, a, log_r_0, r_0 * r_0) + log_slope_0 + bessel
    return _Bump(exponents, middle, step, r * r * ladder.r)


def _log_gamma_density(xp: Namespace, a: float, log_r: Array, s: Array) -> Array:
    """log of 2 r^(2a) e^(-s) / Gamma(a), as a deviance where a is not small."""
    if a < 1.0:
        return 2.0 * a * log_r - s + (math.log(2.0) - math.lgamma(a))
    excess = (s - a) / a
    ratio = s / a
    rest = 0.5 * math.log(a) - 0.5 * math.log(2.0 * math.pi) - _stirling(a) + math.log(2.0)
    return rest - a * deviance(xp, excess, ratio)


def _stirling(a: float) -> float:
    """The part of log Gamma(a) that Stirling's formula leaves out."""
    if a < 16.0:
        return math.lgamma(a) - ((a - 0.5) * math.log(a) - a + 0.5 * math.log(2.0 * math.pi))
    w = 1.0 / (a * a)
    return (1.0 / 12.0 - w * (1.0 / 360.0 - w * (1.0 / 1260.0 - w * (1.0 / 1680.0 - w / 1188.0)))) / a


def _radius(xp: Namespace, v: Array) -> tuple[Array, Array, Array]:
    """log r, r and log dr/dv - log r, in which what is large at small r is left out."""
    back = xp.exp(-v)
    w = v - back
    moderate = xp.where(w > 30.0, xp.zeros_like(w), w)
    r = xp.where(w > 30.0, w, xp.log1p(xp.exp(moderate)))
    tiny = w < -30.0
    log_r = xp.where(tiny, w, xp.log(xp.where(tiny, xp.ones_like(r), r)))
    return log_r, r, xp.where(tiny, xp.zeros_like(w), w - log_r) - r + xp.log1p(back)


def _window(xp: Namespace, a: float, b: float, x: Array) -> tuple[Array, Array]:
    """Where the bump is above e^-46 of its mode, by halving, with the leading term of 0F1 for large orders."""
    order = max(b - 0.5, 0.25)

    def height(v: Array) -> Array:
        log_r, r, log_slope = _radius(xp, v)
        root = xp.sqrt(4.0 * x * r * r + order * order)
        rise = 4.0 * x * r * r / (root + order) - order * xp.log((root + order) / (2.0 * order))
        return 2.0 * a * log_r - r * r + log_slope + rise

    above, gap = max(a - 0.5, 0.0), x - order
    root = xp.sqrt(gap * gap + 4.0 * above * x)
    mode = xp.sqrt(
        above + 0.5 * xp.where(gap > 0, gap + root, 4.0 * above * x / (root + xp.abs(gap) + 1e-30))
    )
    wide = 10.0 + 4.0 * b**0.25
    least = -math.log(max(_DEPTH / (2.0 * a), 1.0)) - 2.0
    centre = xp.where(mode > 1.0, mode, xp.ones_like(mode))
    ends = []
    for end in (least + 0.0 * x, centre + wide):
        outside, inside = end, centre
        floor = height(centre) - _DEPTH
        for _ in range(_HALVINGS):
            middle = 0.5 * (outside + inside)
            low = height(middle) < floor
            outside, inside = xp.where(low, middle, outside), xp.where(low, inside, middle)
        ends.append(outside)
    return ends[0], ends[1]
