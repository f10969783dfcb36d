r"""Both tails of the noncentral gamma law, in logarithms: a contour integral of elementary functions.

Let N be a Poisson variable of mean b and :math:`Y \sim \Gamma(a + N)`.  The gamma law is that of b = 0, and 2cY has the
noncentral chi-square law of :math:`\delta = 2a, \lambda = 2b` and scale c.  With v = 1 - t the moment-generating function
is :math:`E e^{tY} = v^{-a} e^{b(1/v - 1)}`, and Bromwich's integral is

.. math:: P(Y > y) = \frac{1}{2\pi i}\int \frac{e^{\varphi(v)}}{1 - v}\,dv, \qquad
    \varphi(v) = a\,(v - 1 - \log v) + b\,\frac{(1-v)^2}{v} - (1-v)\,(y - a - b),

over a path that comes from minus infinity below the cut :math:`v \le 0`, crosses the real axis in (0, 1) and returns above
it; crossing beyond 1 gives :math:`-P(Y \le y)`.  It crosses at :math:`v_0`, where the integrand is least on the axis, and
hardly turns on

.. math:: v = v_0\, e^{u + i\theta}, \qquad
    e^u = \frac{A s + \sqrt{A^2 s^2 + 4 \beta (A + \beta)}}{2 (A + \beta)}, \quad
    s = \frac{\theta}{\sin\theta}, \quad \beta = \frac b{v_0}, \quad A = a + 1.

In :math:`\theta = \pi \tanh \tau` it falls like a bump or doubly exponentially, and the trapezoidal rule converges
exponentially.  The tail that is the smaller one comes in all digits, down to any power; the other is its complement.
The path is a constant: derivatives see :math:`\varphi` alone, and are such integrals themselves.

References:
    | The asymptotic expansion of the incomplete gamma functions (Temme, 1979), https://doi.org/10.1137/0510071
    | Computation of the Marcum Q-function (Gil, Segura & Temme, 2014), https://doi.org/10.1145/2591004
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from array_api_compat import device

from driftproof._blocks import elementwise
from driftproof._namespace import Array, Namespace, repeat, still

from .bessel_square import leading_rise
from .elementary import deviance, log_complement, log_of_positive
from .gamma import gammaln

__all__ = ["log_noncentral_gamma"]

_NODES = 96  # on half of the path: with 64 the error is 1e-10 for a small a and b = 20
_HALVINGS = 36  # of a logarithm, to a millionth
_DEPTH = 48.0  # exponents below the top that count: exp(-48) is 1e-21
_SERIES = 8  # terms of the sine, below an angle of 1

Complex = tuple[Array, Array]  # real and imaginary part: not every namespace differentiates complex arrays


def log_noncentral_gamma(xp: Namespace, a: Array, b: Array, y: Array, log_y: Array) -> tuple[Array, Array]:
    r"""log P(Y <= y) and log P(Y > y), each relative to the larger of 1 and its size, or in all of its digits near 0.

    Where a + b is below 1e-5 and y below 1e-14, the upper one has an error of eps / (a + b).  No number where a or b
    (or, for b > 0, y) is beyond a tenth of the root of the largest number.

    Arguments:
        a: Shape, > 0.
        b: Mean of the count, >= 0, of the shape of a.
        y: Point in [0, inf), of that shape.
        log_y: Its logarithm, which is finite where y underflows to 0.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> one, zero, y = (xp.asarray(v) for v in (1.0, 0.0, 700.0))
        >>> _, upper = log_noncentral_gamma(xp, one, zero, y, xp.log(y))
        >>> abs(float(upper) + 700.0) < 1e-12  # of the exponential law
        True
    """
    # Below this only the first power of y counts, and the path would be as wide as 1 / y.
    first_power = y < 0.01 * float(xp.finfo(y.dtype).eps) / (1.0 + b)
    most = 0.1 * math.sqrt(float(xp.finfo(y.dtype).max))  # beyond, products may overflow
    # Where y is beyond all else the logarithm of its powers is nothing beside it.
    tail = leading_rise(xp, a, b, y) - b - y
    far = (y > 3e3 / float(xp.finfo(y.dtype).eps) * (1.0 + a)) & (y / 16.0 > b)
    lost = ((a > most) | (b > 0) & ((b > most) | (y > most))) & ~far
    a, b, y = (xp.where(far, xp.ones_like(each), each) for each in (a, b, y))
    a, b, y = (xp.where(lost, xp.ones_like(each), each) for each in (a, b, y))
    power = a * log_y - b - gammaln.kernel(xp, a + 1.0)
    y = xp.where(first_power, xp.ones_like(y), y)
    # Which tail is the smaller one: half of a law of small mean lies below e^(-log 2 / mean).
    mean = a + b
    middle = xp.exp(-0.7 / mean)
    middle = xp.where(middle > 1e-14, middle, xp.full_like(mean, 1e-14))
    upper = (y > xp.where(mean < 0.5, middle, mean)) & ~first_power
    direct = xp.where(first_power, power, _log_tail(xp, a, b, y, upper))
    direct = xp.where(direct > 0, xp.zeros_like(direct), direct)
    direct = xp.where(lost, xp.nan, xp.where(far, tail, direct))
    upper = upper | far
    other = log_complement(xp, direct)
    return xp.where(upper, other, direct), xp.where(upper, direct, other)


@functools.partial(elementwise, block=512)  # so that an array of the nodes of all of them stays in the cache
def _log_tail(xp: Namespace, a: Array, b: Array, y: Array, upper: Array) -> Array:
    """The logarithm of P(Y > y) where ``upper``, of P(Y <= y) elsewhere."""
    gap = (y - xp.maximum(a, b)) - xp.minimum(a, b)  # in the order that rounds least near the mean
    ratio = _crossing(xp, still(a), still(b), still(y), still(gap), upper)  # t / v above, -t below
    v = xp.where(upper, 1.0 / (1.0 + ratio), 1.0 + ratio)
    t = xp.where(upper, ratio * v, -ratio)
    beta = b / v
    near = xp.abs(t) < 1.0  # beyond, a t is subtracted from itself
    s = xp.where(near, t, xp.zeros_like(t))
    top = xp.where(
        near,
        a * deviance(xp, -s, xp.where(near, v, xp.ones_like(v))) + s * s * beta - s * gap,
        t * (beta - y) - a * xp.log(v),
    )
    slope = xp.where(near, gap * v - a * s - beta * s * (2.0 - s), y * v - a - beta)  # of phi in log v
    lift = xp.where(upper, a * xp.log1p(ratio) + b * ratio, xp.zeros_like(y))  # log E e^(tY)
    path = _path(xp, still(a), still(beta), still(y * v), xp.where(upper, 0.0, still(beta)))
    over = xp.where(upper, ratio, t / v)
    a, beta, slope, lift, pull = (each[..., None] for each in (a, beta, slope, lift, y * v))
    over, above = over[..., None], upper[..., None]

    rise = a * (path.real - path.u) + beta * (path.real + path.back) + slope * path.real
    turn = a * path.ahead + beta * path.apart + slope * path.imag
    integrand = xp.exp(rise) * xp.cos(turn), xp.exp(rise) * xp.sin(turn)
    # The upper path is free of the pole at t = 0 if 1 is taken from E e^(tY), which adds nothing to its integral:
    # with it digits would be lost where that pole is near, and of laws that are almost 0.
    fade = xp.exp(pull * path.real - lift)  # e^(-ty), over the top
    without = fade * xp.cos(pull * path.imag), fade * xp.sin(pull * path.imag)
    small = lift < 1.0
    cumulant = lift - a * path.u + beta * path.back
    cumulant = xp.where(small, cumulant, xp.zeros_like(cumulant))
    excess = _expm1(xp, cumulant, beta * (path.apart - path.imag) - a * path.theta)
    direct = _times(excess, without)
    integrand = (
        xp.where(above, xp.where(small, direct[0], integrand[0] - without[0]), integrand[0]),
        xp.where(above, xp.where(small, direct[1], integrand[1] - without[1]), integrand[1]),
    )
    # dv / (1 - v), numerator and denominator divided by v_0; beside it by what would overflow in a square.
    unit = 1.0 + xp.abs(over)
    x, y = (over - path.real) / unit, path.imag / unit
    size = (x * x + y * y) * unit
    pole = _times((1.0 + path.real, path.imag), (x / size, y / size))
    _, heights = _times(integrand, _times(pole, (path.du, path.dtheta)))
    total = xp.sum(heights, axis=-1) / math.pi
    return top + log_of_positive(xp, xp.where(upper, total, -total))


class _Path(NamedTuple):
    """Nodes above the real axis, of w = u + i theta, and what the exponent needs of them without cancellation."""

    u: Array
    theta: Array
    real: Array  # Re e^w - 1
    imag: Array  # Im e^w
    back: Array  # Re e^-w - 1
    apart: Array  # Im e^w + Im e^-w
    ahead: Array  # Im e^w - theta
    du: Array  # weights of the rule
    dtheta: Array


def _path(xp: Namespace, a: Array, beta: Array, pull: Array, held: Array) -> _Path:
    step = _length(xp, a, beta, pull, held)[..., None] / _NODES
    tau = step * (xp.arange(_NODES, dtype=pull.dtype, device=device(pull)) + 0.5)
    a, beta = a[..., None] + 1.0, beta[..., None]
    q = xp.exp(-2.0 * tau)
    theta = math.pi * xp.tanh(tau)
    sine = xp.sin(xp.where(theta < 2.0, theta, 2.0 * math.pi * q / (1.0 + q)))
    half = xp.sin(0.5 * theta)
    versine = 2.0 * half * half
    behind = _behind_sine(xp, theta, sine)
    s = behind / sine  # less 1
    root = xp.hypot(a * (1.0 + s), 2.0 * xp.sqrt(beta) * xp.sqrt(a + beta))
    m = a * s * (1.0 + a * (2.0 + s) / (root + a + 2.0 * beta)) / (2.0 * (a + beta))  # e^u - 1
    dtheta = step * 4.0 * math.pi * q / ((1.0 + q) * (1.0 + q))
    return _Path(
        u=xp.log1p(m),
        theta=theta,
        real=m * (1.0 - versine) - versine,
        imag=(1.0 + m) * sine,
        back=-m / (1.0 + m) * (1.0 - versine) - versine,
        apart=(m + m / (1.0 + m)) * sine,
        ahead=m * sine - behind,
        du=a / root * (theta * versine - behind) / sine / sine * dtheta,
        dtheta=dtheta,
    )


def _length(xp: Namespace, a: Array, beta: Array, pull: Array, held: Array) -> Array:
    """Where the integrand has died out, in tau: at the end of its bump, or doubly exponentially."""
    s = _DEPTH * (a + 1.0 + beta) / ((a + 1.0) * pull)
    far = 0.5 * xp.log(2.0 * s + 2.0)
    versine = _DEPTH / (pull + held)
    narrow = versine < 1.8
    half = xp.asin(xp.sqrt(0.5 * xp.where(narrow, versine, xp.ones_like(versine))))
    near = xp.atanh(2.0 / math.pi * half)
    return xp.where(narrow & (near < far), near, far)


def _crossing(xp: Namespace, a: Array, b: Array, y: Array, gap: Array, upper: Array) -> Array:
    """Where the integrand is least on the real axis: t / v for the upper tail, -t for the lower one."""
    limits = xp.finfo(y.dtype)
    most, square = 0.995 * math.log(float(limits.max)), math.sqrt(float(limits.max))

    def halve(low: Array, high: Array) -> tuple[Array, Array]:
        exponent = 0.5 * (low + high)
        z = xp.exp(exponent)
        rest = 1.0 / (1.0 + z)
        share = z * rest
        near = gap + a * share + b * share * (1.0 + rest)
        below = xp.where(z < 1.0, near, y - rest * (a + b * rest)) - rest / share
        # With half of a unit more than a, as a small one leaves no barrier to the singularity.
        wide = b * share * xp.where(z < square, z, xp.full_like(z, square))
        above = (a + 0.5 + 2.0 * b) * share + wide - (gap - 0.5) * rest - 1.0 / z
        beyond = xp.where(upper, above, below) > 0
        return xp.where(beyond, low, exponent), xp.where(beyond, exponent, high)

    low, high = repeat(halve, _HALVINGS, xp.full_like(y, -0.45 * most), xp.full_like(y, most))
    return xp.exp(0.5 * (low + high))


def _behind_sine(xp: Namespace, theta: Array, sine: Array) -> Array:
    """theta - sin theta, without cancellation."""
    small = theta < 1.0
    angle = xp.where(small, theta, xp.zeros_like(theta))
    series = xp.ones_like(theta)
    for k in range(_SERIES, 0, -1):
        series = 1.0 - series * angle * angle / ((2.0 * k + 2.0) * (2.0 * k + 3.0))
    return xp.where(small, angle * angle * angle * series / 6.0, theta - sine)


def _expm1(xp: Namespace, x: Array, y: Array) -> Complex:
    """exp(x + iy) - 1."""
    half = xp.sin(0.5 * y)
    return xp.expm1(x) * xp.cos(y) - 2.0 * half * half, xp.exp(x) * xp.sin(y)


def _times(a: Complex, b: Complex) -> Complex:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]
