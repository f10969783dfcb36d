r"""Distribution functions in logarithms, and the quantiles that invert them.

A law is asked for both tails at once, because one is right in its digits where the other is almost 1.  Quantiles solve
for the smaller one, in a coordinate in which every state is a finite number: x itself, or its logarithm on the
half-line,

.. math:: \ell \leftarrow \ell + \frac{\log p - \log F(x(\ell))}{\partial_\ell \log F(x(\ell))},

inside of a bracket that halves where Newton's step would leave it.  The last step is taken with gradients: then the
derivative of a quantile, and that of a draw whose level is held (an implicit reparametrisation), is
:math:`-\partial_\theta F / p`.

References:
    | Implicit reparameterization gradients (Figurnov, Mohamed & Mnih, 2018), https://arxiv.org/abs/1805.08498
"""

from __future__ import annotations

import math
from collections.abc import Callable

from driftproof._namespace import Array, Namespace, repeat, settle, still
from driftproof.theory.special import gammaln
from driftproof.theory.special.elementary import log_or_minus_infinity
from driftproof.theory.special.noncentral_gamma import log_noncentral_gamma
from driftproof.theory.special.normal import log_ndtr, mills

__all__ = [
    "between",
    "half_line_quantile",
    "half_line_tails",
    "log_levels",
    "log_p_of_power",
    "normal_quantile",
    "normal_tails",
    "on_level",
    "positive_quantile",
    "positive_tails",
    "solve",
]

Tails = tuple[Array, Array]

_ROUNDS = 100
_STRIDE = 3.0  # of one step, in the coordinate
_STEEPEST = 80.0  # exponents that float32 takes
_NORMAL_ROUNDS = 10


def log_levels(xp: Namespace, p: Array) -> Tails:
    """Logarithms of p and 1 - p for p in [0, 1]."""
    sure = p == 1.0
    rest = xp.log1p(-xp.where(sure, xp.zeros_like(p), p))
    return log_or_minus_infinity(xp, p), xp.where(sure, -xp.inf, rest)


def normal_tails(xp: Namespace, z: Array) -> Tails:
    """Both tails of the standard normal law; z may be infinite."""
    finite = xp.abs(z) < xp.inf
    inside = xp.where(finite, z, xp.zeros_like(z))
    never, sure = xp.full_like(z, -xp.inf), xp.zeros_like(z)
    lower = xp.where(finite, log_ndtr.kernel(xp, inside), xp.where(z > 0, sure, never))
    return lower, xp.where(finite, log_ndtr.kernel(xp, -inside), xp.where(z > 0, never, sure))


def normal_quantile(xp: Namespace, log_p: Array, log_q: Array) -> Array:
    r"""The z with :math:`\log\Phi(z) = \log p` and :math:`\log\Phi(-z) = \log q`; infinite at the ends.

    The logarithm of the tail is concave, so that Newton's iteration rises from :math:`-\sqrt{-2 \log p}`, where
    the tail is below p.
    """
    left = log_p <= log_q
    level = xp.where(left, log_p, log_q)
    ended = level == -xp.inf
    level = xp.where(ended, xp.full_like(level, -1.0), level)
    fixed = still(level)
    (z,) = repeat(
        lambda z: (z + (fixed - log_ndtr.kernel(xp, z)) / mills.kernel(xp, z),),
        _NORMAL_ROUNDS,
        -xp.sqrt(-2.0 * fixed),
    )
    z = z + (level - log_ndtr.kernel(xp, z)) / mills.kernel(xp, z)
    z = xp.where(ended, xp.full_like(z, -xp.inf), z)
    return xp.where(left, z, -z)


def half_line_tails(xp: Namespace, x: Array, a: Array | float, b: Array | float, unit: Array) -> Tails:
    """Both tails of a noncentral gamma variable times ``unit``; x may be any number."""
    blank = xp.zeros_like(x + unit + a + b)
    x, a, b, unit = (value + blank for value in (x, a, b, unit))
    return positive_tails(xp, x, unit, lambda y, log_y: log_noncentral_gamma(xp, a, b, y, log_y))


def positive_tails(
    xp: Namespace,
    x: Array,
    unit: Array,
    tails: Callable[[Array, Array], Tails],
) -> Tails:
    """Both tails at any number from those at x / unit > 0 and its logarithm; of the shape of unit."""
    most = float(xp.finfo(x.dtype).max)
    # Beyond, x / unit is no number; a quotient by the largest one may be subnormal, and is taken in two steps.
    inside = (x > 0) & (x < xp.inf) & (x / math.sqrt(most) / math.sqrt(most) < unit)
    point = xp.where(inside, x, unit)
    lower, upper = tails(point / unit, xp.log(point) - xp.log(unit))
    never, sure = xp.full_like(x, -xp.inf), xp.zeros_like(x)
    lower = xp.where(inside, lower, xp.where(x > 0, sure, never))
    return lower, xp.where(inside, upper, xp.where(x > 0, never, sure))


def half_line_quantile(
    xp: Namespace,
    log_density: Callable[[Array], Array],
    log_p: Array,
    log_q: Array,
    a: Array | float,
    b: Array | float,
    unit: Array,
) -> Array:
    """The quantile of that law, of which ``log_density`` is the log-density; 0 where it underflows."""
    blank = xp.zeros_like(log_p + unit + a + b)
    a, b, unit, log_p, log_q = (value + blank for value in (a, b, unit, log_p, log_q))
    return positive_quantile(
        xp,
        lambda x, a, b, unit: half_line_tails(xp, x, a, b, unit),
        (a, b, unit),
        log_density,
        log_p,
        log_q,
        first=(log_p_of_power(xp, a, b), a),
        moments=((a + b), (a + b) * ((a + b) / (a + 2.0 * b))),
        unit=unit,
    )


def log_p_of_power(xp: Namespace, a: Array, none: Array) -> Array:
    r"""The logarithm of the coefficient of :math:`y^a` in the distribution function, with :math:`e^{-\text{none}}` of no count."""
    return -none - gammaln.kernel(xp, a + 1.0)


def positive_quantile(
    xp: Namespace,
    tails: Callable[..., Tails],
    parameters: tuple[Array, ...],
    log_density: Callable[[Array], Array],
    log_p: Array,
    log_q: Array,
    first: Tails,
    moments: Tails,
    unit: Array,
) -> Array:
    """The quantile of a law on the half-line, counted in ``unit``; 0 where it underflows.

    Arguments:
        tails: Both tails from x and the parameters.
        parameters: Arrays of the shape of log_p.
        log_density: From x.
        log_p, log_q: Logarithms of the level and of what is left.
        first: Logarithm of the coefficient, and the exponent, of the first power of the distribution function of
            x / unit, which it approaches near 0.
        moments: Of x / unit, the mean, and the square of the mean over the variance.
        unit: Scale, > 0.
    """
    none, sure = log_p == -xp.inf, log_q == -xp.inf
    half = xp.full_like(log_p, -math.log(2.0))
    log_p, log_q = xp.where(none | sure, half, log_p), xp.where(none | sure, half, log_q)
    limits = xp.finfo(log_p.dtype)
    least, most = math.log(float(limits.smallest_normal)), math.log(float(limits.max))
    # Of small p the first power gives the quantile.
    power = (log_p - first[0]) / first[1] + xp.log(unit)
    tiny = power < least
    known = none | sure | tiny
    low = xp.full_like(log_p, least)
    high = xp.log(still(unit)) + (0.5 * most - 3.0)  # tails are numbers up to there
    high = xp.where(high < most, high, xp.full_like(high, most))
    fixed = tuple(still(value) for value in parameters)
    found = solve(
        xp,
        lambda y: tails(xp.exp(y), *fixed),
        lambda y: y + still(log_density(xp.exp(y))),
        still(log_p),
        still(log_q),
        start=_start(xp, still(log_p), still(log_q), still(power), *map(still, (*moments, unit))),
        low=xp.where(known, xp.zeros_like(low), low),
        high=xp.where(known, xp.zeros_like(high), high),
    )
    x = xp.exp(xp.where(known, xp.zeros_like(found), found))
    x = on_level(xp, tails(x, *parameters), log_density(x), x, x, log_p, log_q)
    x = xp.where(tiny, xp.exp(xp.where(tiny, power, xp.full_like(power, least))), x)
    return xp.where(none, xp.zeros_like(x), xp.where(sure, xp.inf, x))


def _start(
    xp: Namespace, log_p: Array, log_q: Array, power: Array, mean: Array, shape: Array, unit: Array
) -> Array:
    """About the logarithm of the quantile: the cube root of the law is almost normal, unless it is near 0."""
    root = 1.0 - 1.0 / (9.0 * shape) + normal_quantile(xp, log_p, log_q) / (3.0 * xp.sqrt(shape))
    cube = 3.0 * xp.log(xp.where(root > 0.3, root, xp.ones_like(root)))
    near = xp.where(power < xp.log(mean) + xp.log(unit), power, xp.log(mean) + xp.log(unit))
    # An upper tail falls like exp(-y) beyond the mean.
    tail = 2.0 * xp.log(xp.sqrt(-log_q) + xp.sqrt(mean)) + xp.log(unit)
    small = xp.where((log_q < -3.0), tail, near)
    return xp.where((root > 0.3) & (mean > 0.5), xp.log(mean) + cube + xp.log(unit), small)


def solve(
    xp: Namespace,
    tails: Callable[[Array], Tails],
    log_rate: Callable[[Array], Array],
    log_p: Array,
    log_q: Array,
    start: Array,
    low: Array,
    high: Array,
) -> Array:
    """The coordinate in [low, high] at which the tails are p and q; ``log_rate`` is the logarithm of the density in it."""
    left = log_p <= log_q
    level = xp.where(left, log_p, log_q)
    # After a step so small its square is left, and after `on_level` less.
    close = float(xp.finfo(start.dtype).eps) ** 0.3

    def newton(at: Array, low: Array, high: Array) -> tuple[tuple[Array, Array, Array], Array]:
        lower, upper = tails(at)
        got = xp.where(left, lower, upper)
        beyond = xp.where(left, got > level, got < level)  # the quantile lies to the left
        low, high = xp.where(beyond, low, at), xp.where(beyond, at, high)
        step, rate = _step(xp, level, got, log_rate(at), left)
        step = xp.where(step > _STRIDE, _STRIDE, xp.where(step < -_STRIDE, -_STRIDE, step))
        inside = (rate > 0) & (at + step >= low) & (at + step <= high)
        at = xp.where(inside, at + step, 0.5 * (low + high))
        return (at, low, high), inside & (xp.abs(step) * (1.0 + rate) <= close) | (
            high - low <= close * close
        )

    at = xp.where((start > low) & (start < high), start, 0.5 * (low + high))
    return settle(newton, _ROUNDS, at, low, high)[0]


def between(
    xp: Namespace, low: Array, high: Array, positive: bool
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """The point at the share u in [0, 1] of the way from low to high, and the logarithm of its derivative.

    Where numbers are positive the way is that of their logarithms.
    """
    if not positive:
        return lambda u: low + (high - low) * u, lambda u: xp.log(high - low)
    least = xp.full_like(low, float(xp.finfo(low.dtype).smallest_normal))
    low = xp.where(low > least, low, least)
    way = xp.log(xp.where(high > low, high / low, 2.0 * xp.ones_like(low)))
    return lambda u: low * xp.exp(way * u), lambda u: xp.log(low) + way * u + xp.log(way)


def on_level(
    xp: Namespace, tails: Tails, log_density: Array, x: Array, unit: Array, log_p: Array, log_q: Array
) -> Array:
    """One more of Newton's steps, which carries the derivatives of the levels and of the tails at x, a constant.

    It is counted in ``unit``, 0 or of the size of what is likely there: a density may be as large as 1 / x.
    """
    left = log_p <= log_q
    got, level = xp.where(left, *tails), xp.where(left, log_p, log_q)
    log_rate = still(log_density) + log_or_minus_infinity(xp, unit)
    return x + unit * _step(xp, level, got, log_rate, left)[0]


def _step(xp: Namespace, level: Array, got: Array, log_rate: Array, left: Array) -> Tails:
    """Newton's step to where the tail is as the level says, and the slope of its logarithm; 0 and 0 where it has none."""
    log_rate = log_rate - still(got)
    sloped = (xp.abs(log_rate) < _STEEPEST) & (got > -xp.inf) & (level > -xp.inf)
    rate = xp.where(sloped, xp.exp(xp.where(sloped, log_rate, xp.zeros_like(log_rate))), 0.0)
    step = (xp.where(sloped, level, 0.0) - xp.where(sloped, got, 0.0)) / xp.where(sloped, rate, 1.0)
    return xp.where(left, step, -step), rate
