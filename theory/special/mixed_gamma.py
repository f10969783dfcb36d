r"""Both tails of the gamma-mixed noncentral gamma law, in logarithms: a contour integral of elementary functions.

Let :math:`S \sim \Gamma(\alpha)`, N a Poisson variable of mean mS and :math:`Y \sim \Gamma(a + N)`.  With v = 1 - t the
moment-generating function has two branch points, at 0 and at :math:`w = m / (1 + m)`,

.. math:: E e^{tY} = v^{-a}\,\big(1 - \tfrac{m t}{v}\big)^{-\alpha}, \qquad
    P(Y > y) = \frac{1}{2\pi i}\int \frac{e^{-ty}\,E e^{tY}}{1 - v}\,dv,

over a path that comes from minus infinity below both, crosses the real axis in (w, 1) and returns above them; crossing
beyond 1 gives :math:`-P(Y \le y)`.  It crosses at :math:`v_0`, where the integrand is least on the axis, as a hyperbola,

.. math:: v = v_0 + \sigma\,\big(i \cos\chi \sinh\tau - \sin\chi\,(\cosh\tau - 1)\big),

whose :math:`\sigma` is the width of the saddle and whose :math:`\chi` is the curvature of steepest descent there.  Beyond
the saddle its steps grow exponentially, so that it passes singularities of any distance on their own scale, and
:math:`e^{yv}` ends it doubly exponentially: the trapezoidal rule converges exponentially.  The smaller tail comes in all
digits, down to any power; the other is its complement.  The path is a constant: derivatives see the integrand alone.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from array_api_compat import device

from driftproof._blocks import elementwise
from driftproof._namespace import Array, Namespace, repeat, still

from .elementary import deviance, log_complement, log_of_positive
from .gamma import gammaln

__all__ = ["log_mixed_gamma"]

_NODES = 160  # on half of the path
_HALVINGS = 40  # of a logarithm
_NEAR, _TERMS = 0.02, 8  # where the power series is taken, and its length
_FEW = 20.0  # a shape: beyond, the law without counts is a bump far from 0
_SMALL = 1.0  # logarithm of the moment-generating function
_LENGTHS = 16  # halvings of the length
_DEPTH = 40.0  # exponents below the top that count

Complex = tuple[Array, Array]  # real and imaginary part: not every namespace differentiates complex arrays


def log_mixed_gamma(
    xp: Namespace, a: Array, alpha: Array, m: Array, y: Array, log_y: Array
) -> tuple[Array, Array]:
    r"""log P(Y <= y) and log P(Y > y), each relative to the larger of 1 and its size, or in all of its digits near 0.

    No number where a shape, m or y is beyond the largest number to the power 0.4, unless y is beyond all else.  The error is
    that of a sum of numbers as large as the root of :math:`a + \alpha m`; where a is beyond 20 and
    :math:`\alpha \log(1 + m)` small, the upper tail beyond a has one of eps over that.

    Arguments:
        a: Shape, > 0.
        alpha: Shape of the mean of the count, > 0.
        m: Scale of the mean of the count, > 0.
        y: Point in [0, inf); all of one shape.
        log_y: Its logarithm, which is finite where y underflows to 0.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> one, y = xp.asarray(1.0), xp.asarray(700.0)
        >>> _, upper = log_mixed_gamma(xp, one, one, one, y, xp.log(y))
        >>> abs(float(upper) + 350.0) < 1e-12  # of the exponential law of mean 2
        True
    """
    most = float(xp.finfo(y.dtype).max) ** 0.4  # beyond, products may overflow
    tail = -y / (1.0 + m)  # where y is beyond all else: the logarithm of its powers is nothing beside it
    far = -tail > 3e3 / float(xp.finfo(y.dtype).eps) * (1.0 + a + alpha)
    lost = ((a > most) | (alpha > most) | (m > most) | (y > most)) & ~far
    a, alpha, m, y = (xp.where(far | lost, xp.ones_like(each), each) for each in (a, alpha, m, y))
    weight = m / (1.0 + m)
    none = alpha * xp.log1p(m)  # minus the logarithm of the probability of no count
    beside_zero = y * (1.0 + alpha * weight) < _NEAR
    rise = _log_series(xp, a, alpha, weight, xp.where(beside_zero, y, xp.zeros_like(y)))
    power = a * log_y - none - gammaln.kernel(xp, a + 1.0) + rise
    y = xp.where(beside_zero, xp.ones_like(y), y)
    upper = (y > _middle(xp, a, alpha, m, none)) & ~beside_zero
    direct = xp.where(beside_zero, power, _log_tail(xp, a, alpha, m, y, upper))
    direct = xp.where(direct > 0, xp.zeros_like(direct), direct)
    direct = xp.where(lost, xp.nan, xp.where(far, tail, direct))
    upper = upper | far
    other = log_complement(xp, direct)
    return xp.where(upper, other, direct), xp.where(upper, direct, other)


def _middle(xp: Namespace, a: Array, alpha: Array, m: Array, none: Array) -> Array:
    """A point with a fair share of the law on either side: what is computed there is the smaller tail, or about as large."""
    few = none < 0.7
    least = xp.exp(-xp.where(few, 0.7 - none, xp.zeros_like(none)) / a)
    least = xp.where(least > 1e-14, least, xp.full_like(a, 1e-14))
    # Of a small alpha the counts are spread over many scales, with half of them below this.
    spread = xp.where(few, xp.zeros_like(m), m * xp.exp(-0.7 / alpha))
    return xp.where(a < 0.5, least, a) + xp.where(alpha < 0.5, spread, alpha * m)


def _log_series(xp: Namespace, a: Array, alpha: Array, weight: Array, y: Array) -> Array:
    r"""log of P(Y <= y) over its first power: the coefficients of :math:`e^{-y}\,{}_1F_1(\alpha; a; w y)`, integrated."""
    kummer, exponential = [xp.ones_like(y), alpha * weight], [1.0, -1.0]  # the former from j = 1 on times a
    for j in range(1, _TERMS):
        kummer.append(kummer[j] * (alpha + float(j)) * weight / ((a + float(j)) * (j + 1.0)))
        exponential.append(-exponential[j] / (j + 1.0))
    total = xp.zeros_like(y)
    for k in range(_TERMS, 0, -1):
        value = a * exponential[k] + sum(kummer[j] * exponential[k - j] for j in range(1, k + 1))
        total = y * (total + value / (a + float(k)))
    return xp.log1p(total)


@functools.partial(elementwise, block=512)  # so that an array of the nodes of all of them stays in the cache
def _log_tail(xp: Namespace, a: Array, alpha: Array, m: Array, y: Array, upper: Array) -> Array:
    """The logarithm of P(Y > y) where ``upper``, of P(Y <= y) elsewhere."""
    cross = _crossing(xp, still(a), still(alpha), still(m), still(y), upper)
    path = _path(xp, still(a), still(alpha), still(m), still(y), upper, cross)
    v, t, apart = cross.v, cross.t, cross.v - m * cross.t  # 1 - (1 + m) t, which moves with m
    apart = cross.apart + (apart - still(apart))
    lift = _lift(xp, a, alpha, m, v, t, apart)
    near = xp.abs(t) < 0.5  # the terms of the exponent are of the size of t; their sum, of its square
    s, one = xp.where(near, t, xp.zeros_like(t)), xp.ones_like(t)
    share = m * s / xp.where(near, v, one)
    gap = (y - a) - alpha * m
    top = xp.where(
        near,
        a * deviance(xp, -s, xp.where(near, v, one))
        + alpha * deviance(xp, -share, xp.where(near, apart / v, one))
        + alpha * share * s
        - s * gap,
        lift - t * y,
    )
    a, alpha, m, y, lift, v, t, apart, above = (
        each[..., None] for each in (a, alpha, m, y, lift, v, t, apart, upper)
    )
    power = _cumulant(xp, a, alpha, m, v, apart, path.step)
    fall = y * path.step[0], y * path.step[1]
    # Of laws that are almost 0 the pole at t = 0 takes most digits of the upper tail; the path is free of it if 1 is taken
    # from E e^(tY), which adds nothing to its integral.
    small = above & (lift < _SMALL) & (a < _FEW)
    lift = xp.where(small, lift, xp.zeros_like(lift))
    less = _expm1(xp, xp.where(small, lift + power[0], xp.zeros_like(power[0])), power[1])
    fade = _exp(xp, (fall[0] - lift, fall[1]))
    whole, less = _exp(xp, (power[0] + fall[0], power[1] + fall[1])), _times(less, fade)
    integrand = xp.where(small, less[0], whole[0]), xp.where(small, less[1], whole[1])
    # dv over the distance to the pole, which is t - step above and step - t below.
    x, z = t - path.step[0], -path.step[1]
    size = xp.hypot(x, z)
    x, z = x / size, z / size
    _, heights = _times(integrand, _times((x, -z), (path.speed[0] / size, path.speed[1] / size)))
    total = xp.sum(heights, axis=-1) / math.pi
    return top + log_of_positive(xp, xp.where(upper, total, -total))


def _lift(xp: Namespace, a: Array, alpha: Array, m: Array, v: Array, t: Array, apart: Array) -> Array:
    """log E e^(tY)."""
    share = m * t / v
    close = share > 0.5
    near = xp.log1p(-xp.where(close, xp.zeros_like(share), share))
    return -a * xp.log(v) - alpha * xp.where(close, xp.log(apart / v), near)


def _cumulant(
    xp: Namespace, a: Array, alpha: Array, m: Array, v: Array, apart: Array, step: Complex
) -> Complex:
    """log E e^(tY) at v + step over that at v: of alpha the quotient of two factors that may be close."""
    far = v + step[0], step[1]
    size = xp.hypot(*far)
    turned = _times(step, (far[0] / size, -far[1] / size))
    scale = m / apart / size  # w / (v - w) is m / (1 - (1 + m) t)
    by_shape = _log1p(xp, (step[0] / v, step[1] / v))
    by_count = _log1p(xp, (scale * turned[0], scale * turned[1]))
    return -a * by_shape[0] - alpha * by_count[0], -a * by_shape[1] - alpha * by_count[1]


class _Crossing(NamedTuple):
    """Where the path crosses the real axis."""

    v: Array
    t: Array  # 1 - v
    apart: Array  # 1 - (1 + m) t


def _crossing(xp: Namespace, a: Array, alpha: Array, m: Array, y: Array, upper: Array) -> _Crossing:
    """Where the integrand is least on the real axis, with a barrier of half a unit at the branch point."""
    most = 0.45 * math.log(float(xp.finfo(y.dtype).max))

    def at(exponent: Array) -> _Crossing:
        z = xp.exp(exponent)
        rest = 1.0 / (1.0 + (1.0 + m) * z)
        return _Crossing(
            v=xp.where(upper, (1.0 + m * z) * rest, 1.0 + z),
            t=xp.where(upper, z * rest, -z),
            apart=xp.where(upper, rest, 1.0 + (1.0 + m) * z),
        )

    def halve(low: Array, high: Array) -> tuple[Array, Array]:
        exponent = 0.5 * (low + high)
        v, t, apart = at(exponent)
        slope = (a / v - y) + alpha * m / v / apart - 1.0 / t  # in t
        slope = slope + xp.where(upper, 0.5 * (1.0 + m) / apart, xp.zeros_like(y))
        beyond = xp.where(upper, slope, -slope) > 0
        return xp.where(beyond, low, exponent), xp.where(beyond, exponent, high)

    low, high = repeat(halve, _HALVINGS, xp.full_like(y, -most), xp.full_like(y, most))
    return at(0.5 * (low + high))


class _Path(NamedTuple):
    """Nodes above the real axis, as steps from where it is crossed, and the weights of the rule."""

    step: Complex
    speed: Complex


def _path(xp: Namespace, a: Array, alpha: Array, m: Array, y: Array, upper: Array, cross: _Crossing) -> _Path:
    v, t, apart = cross
    q, w = apart / (1.0 + m), m / (1.0 + m)  # v - w
    # Second and third derivatives of the exponent, in units of 1 / q, with a barrier of a unit at w.
    back = q / v
    second = a * back * back + alpha * (w / v) * (1.0 + back) + 1.0
    third = 2.0 * (a * back**3 + alpha * (w / v) * (1.0 + back + back * back) + 1.0)
    pole = q / xp.abs(t)
    width = 1.0 / xp.sqrt(second + pole * pole)
    third = third + xp.where(upper, xp.zeros_like(pole), 2.0 * pole**3)
    second = second + xp.where(upper, xp.zeros_like(pole), pole * pole)
    bend = width * third / (3.0 * second)
    sine = 2.0 * bend / (1.0 + xp.sqrt(1.0 + 4.0 * bend * bend))
    sigma = q * width
    # A path through many scales needs room on both sides.
    wide = 0.7 / (1.0 + 10.0 * y * sigma + 0.4 * xp.where(a > 1.0, xp.ones_like(a), a))
    sine = xp.where(sine > wide, sine, wide)
    cosine = xp.sqrt(1.0 - sine * sine)

    def point(tau: Array, sigma: Array, sine: Array, cosine: Array) -> tuple[Complex, Complex]:
        half = xp.sinh(0.5 * tau)
        up = xp.sinh(tau)
        step = -2.0 * sigma * sine * half * half, sigma * cosine * up
        return step, (-sigma * sine * up, sigma * cosine * xp.cosh(tau))

    lift = _lift(xp, a, alpha, m, v, t, apart)

    def halve(low: Array, high: Array) -> tuple[Array, Array]:
        tau = 0.5 * (low + high)
        step, speed = point(tau, sigma, sine, cosine)
        power, _ = _cumulant(xp, a, alpha, m, v, apart, step)
        fade = xp.where(upper & (lift < _SMALL) & (a < _FEW), -lift, power)
        height = y * step[0] + xp.where(power > fade, power, fade)
        height = (
            height + xp.log(xp.hypot(*speed) / xp.hypot(t - step[0], step[1])) + xp.log(xp.abs(t) / sigma)
        )
        over = height > -_DEPTH
        return xp.where(over, tau, low), xp.where(over, high, tau)

    last = xp.log(2.0 * _DEPTH + 4.0 * _DEPTH * (1.0 + xp.sqrt(a)) / (y * sigma * sine))
    _, length = repeat(halve, _LENGTHS, xp.zeros_like(y), last)
    h = length[..., None] / _NODES
    tau = h * (xp.arange(_NODES, dtype=y.dtype, device=device(y)) + 0.5)
    step, speed = point(tau, sigma[..., None], sine[..., None], cosine[..., None])
    return _Path(step, (h * speed[0], h * speed[1]))


def _log1p(xp: Namespace, z: Complex) -> Complex:
    """log(1 + z)."""
    x, y = z
    return 0.5 * xp.log1p(x * (2.0 + x) + y * y), xp.atan2(y, 1.0 + x)


def _exp(xp: Namespace, z: Complex) -> Complex:
    size = xp.exp(z[0])
    return size * xp.cos(z[1]), size * xp.sin(z[1])


def _expm1(xp: Namespace, x: Array, y: Array) -> Complex:
    """exp(x + iy) - 1."""
    half = xp.sin(0.5 * y)
    return xp.expm1(x) * xp.cos(y) - 2.0 * half * half, xp.exp(x) * xp.sin(y)


def _times(a: Complex, b: Complex) -> Complex:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]
