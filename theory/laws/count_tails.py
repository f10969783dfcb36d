r"""Both tails of the Bessel law on the integers, in logarithms, and its masses without cancellation.

With the real mode :math:`m(m+\nu) = z^2/4` and :math:`s = \sqrt{\nu^2 + z^2} = 2m + \nu`, Stirling's and Debye's
formulas leave only small terms of the mass there,

.. math:: \log P(m) = \psi(m) + \psi(m + \nu) + \tfrac12 \log 2\pi s - \log U_\nu, \qquad
    \psi(m) = m \log m - m - \log\Gamma(m + 1),

and other masses are products of ratios.  The smaller tail is a sum that starts at the point.  It is taken term by
term, of which 128 do wherever a ratio is below exp(-0.3) or a standard deviation below 15.  Elsewhere it is the
integral from the half-integer on, with the corrections of Gauss and Encke,

.. math:: \sum_{k > n} f(k) = \int_{n + 1/2}^\infty f
    - \Big(\frac1\delta - \frac1{2\,\mathrm{arsinh}(\delta/2)}\Big) f\,(n + \tfrac12),

whose central differences are of masses at integers; each is 0.03 times the one before it, so that ten reach rounding.
"""

from __future__ import annotations

import math

from driftproof._namespace import Array, Namespace, repeat, settle, still
from driftproof.theory.special import gammaln, log_ive_parts
from driftproof.theory.special.bessel import ladder_of_square
from driftproof.theory.special.elementary import log_complement, xlogy
from driftproof.theory.special.quadrature import composite

__all__ = ["count_quantile", "count_tails", "log_mass", "log_ratio", "log_step", "width_of"]

_TERMS = 128
_LEAST = 1e-18  # of half the argument whose square is a number in either precision
_WIDE, _STEEP = 15.0, 0.3
_DEPTH = 55.0  # exponents that the integral reaches down
_NODES, _WEIGHTS = (each.tolist() for each in composite(2, 24))
_ENCKE = 10


def count_tails(xp: Namespace, x: Array, nu: float, z: Array) -> tuple[Array, Array]:
    """Both tails at any number x: the smaller one relative to the larger of 1 and its size.

    The position of a large mode has an error of eps times the root of z; there is no number where that is above 0.1.
    """
    blank = xp.zeros_like(x + z)
    x, half = xp.floor(x + blank), 0.5 * z + blank
    eps, limit = float(xp.finfo(x.dtype).eps), math.sqrt(float(xp.finfo(x.dtype).max))
    inside = (x >= 0.0) & (x < xp.inf)
    # Of a count beyond all else the logarithm of its powers is nothing beside it.
    far = inside & (x > 0.1 * limit) & (half < eps * eps * x)
    lost = inside & ~far & ((half > 0.5 * (0.1 / eps) ** 2) | (x > 0.1 * limit))
    most = 1e-4 * limit * limit  # of counts whose logarithm of a tail is a number
    many = xp.where(far & (x < most), x, blank + 1.0)
    tail = 2.0 * many * (1.0 - xp.log(many) + xp.log(xp.where(half > 0, half, blank + 1.0)))
    tail = xp.where((half > 0) & (x < most), tail, -xp.inf)
    n = xp.where(inside & ~far & ~lost, x, blank)
    half = xp.where(lost, blank + 1.0, half)
    # Of smaller ones the first mass above is the upper tail.
    tiny = half < _LEAST
    some = xp.where(tiny, xp.ones_like(half), half)
    mode, beside = _mode(xp, nu, some)
    upper = tiny | (n + 0.5 > mode)
    first = xp.where(upper, n + 1.0, n)
    mass = log_mass_at_mode(xp, nu, some, mode, beside) + log_ratio(xp, nu, some, mode, first)
    small = xlogy(xp, 2.0 * first, half) - gammaln.kernel(xp, first + 1.0)
    small = small - gammaln.kernel(xp, first + (1.0 + nu)) + math.lgamma(1.0 + nu)
    direct = xp.where(tiny, small, mass + xp.log(_sum_from(xp, nu, some, first, upper)))
    direct = xp.where(direct > 0, xp.zeros_like(direct), direct)
    direct = xp.where(lost, xp.nan, xp.where(far, tail, direct))
    upper = upper | far
    other = log_complement(xp, direct)
    never, sure = xp.full_like(blank, -xp.inf), blank
    lower = xp.where(inside, xp.where(upper, other, direct), xp.where(x > 0, sure, never))
    return lower, xp.where(inside, xp.where(upper, direct, other), xp.where(x > 0, never, sure))


def count_quantile(xp: Namespace, log_p: Array, log_q: Array, nu: float, z: Array) -> Array:
    """The least count up to which there is enough; what is short of the level by a few roundings is enough.

    Levels above 0.999 are better asked for by what they leave: p has fewer digits of that.
    """
    blank = xp.zeros_like(log_p + z)
    log_p, log_q, z = still(log_p + blank), still(log_q + blank), still(z + blank)
    left = log_p <= log_q
    level = xp.where(left, log_p, log_q)
    never, sure = log_p == -xp.inf, log_q == -xp.inf
    eps = float(xp.finfo(blank.dtype).eps)
    rounding = 8.0 * eps * xp.where(level < -1.0, -xp.where(level > -xp.inf, level, blank), blank + 1.0)
    # The level that was given may be the larger one, and the other so many times less exact.
    rounding = rounding + 2.0 * eps * xp.exp(-xp.where(level > -7.0, level, blank - 7.0))

    def halve(low: Array, high: Array) -> tuple[tuple[Array, Array], Array]:
        middle = xp.floor(0.5 * (low + high))
        lower, upper = count_tails(xp, middle, nu, z)
        enough = xp.where(left, lower >= level - rounding, upper <= level + rounding)
        low, high = xp.where(enough, low, middle), xp.where(enough, middle, high)
        return (low, high), high - low <= 1.0 + 2.0 * eps * high

    some = xp.where(z > 1e-15, 0.5 * z, blank + 1e-15)
    mode, _ = _mode(xp, nu, some)
    reach = math.sqrt(-2.0 * math.log(float(xp.finfo(blank.dtype).smallest_normal)))
    wide = (reach + 4.0) * width_of(xp, nu, mode)
    # Ratios are below 1/e at twice the mode.
    low = xp.where(mode - wide > -1.0, xp.floor(mode - wide), blank - 1.0)
    high = xp.ceil(mode + wide) + xp.ceil(xp.where(wide > mode, blank + 1500.0, blank))
    known = never | sure
    low = xp.where(known, blank, low)
    _, n = settle(halve, 200, low, xp.where(known, blank, high))
    return xp.where(never, blank, xp.where(sure, xp.where(z > 0, xp.inf, blank), n))


def log_mass(xp: Namespace, n: Array, nu: float, z: Array) -> Array:
    """The logarithm of the mass at a count: from a large mode on, unless that is far away, else by its terms."""
    half = 0.5 * z + xp.zeros_like(n)
    some = xp.where(half > 1.0, half, xp.ones_like(half))
    mode, beside = _mode(xp, nu, some)
    # Of small counts Stirling's formula is worse than the cancellation.
    near = (mode > 30.0) & (n < 1e3 * mode) & (n > 1e-3 * mode)
    count = xp.where(near, n, mode)
    from_mode = log_mass_at_mode(xp, nu, some, mode, beside) + log_ratio(xp, nu, some, mode, count)
    big, rest = log_ive_parts.kernel(xp, nu, z + xp.zeros_like(n))
    terms = xlogy(xp, 2.0 * n, half) + nu * xp.log(0.5 * big) - z - rest
    terms = terms - gammaln.kernel(xp, n + 1.0) - gammaln.kernel(xp, n + (nu + 1.0))
    return xp.where(near, from_mode, terms)


def log_mass_at_mode(xp: Namespace, nu: float, half: Array, m: Array, beside: Array) -> Array:
    """The logarithm of the mass at the real mode m, with ``beside`` = m + nu."""
    w = 4.0 * half * half
    ladder = ladder_of_square(xp, nu, w)
    # s' - s - m' of the order nu + m' from which the walk goes down.
    lift = float(ladder.m)
    gap = lift * (2.0 * nu + lift) / (ladder.s + (m + beside)) - lift
    share = (2.0 * lift + gap) / ladder.scale  # 1 - (nu + s) / (nu + m' + s')
    close = share > 0.5
    power = xp.log1p(-xp.where(close, xp.zeros_like(share), share))
    return (
        _stirling_rest(xp, m)
        + _stirling_rest(xp, beside)
        - nu * xp.where(close, xp.log(2.0 * beside / ladder.scale), power)
        - gap
        - ladder.rest
    )


def _stirling_rest(xp: Namespace, m: Array) -> Array:
    """m log m - m - log Gamma(m + 1)."""
    large = m > 16.0
    some = xp.where(large, xp.ones_like(m), m)
    near = xlogy(xp, some, some) - some - gammaln.kernel(xp, some + 1.0)
    many = xp.where(large, m, xp.full_like(m, 16.0))
    return xp.where(large, -0.5 * xp.log(2.0 * math.pi * many) - _stirling(many), near)


def _mode(xp: Namespace, nu: float, half: Array) -> tuple[Array, Array]:
    """m and m + nu with m (m + nu) = half^2, without cancellation for either sign of nu."""
    root = xp.hypot(xp.full_like(half, 0.5 * nu), half)
    if nu > 0:
        return half * (half / (root + 0.5 * nu)), root + 0.5 * nu
    return root - 0.5 * nu, half * (half / (root - 0.5 * nu))


def _sum_from(xp: Namespace, nu: float, half: Array, first: Array, upper: Array) -> Array:
    """The masses from the first one outwards, over that: upwards where ``upper``."""
    outward = xp.where(upper, xp.ones_like(half), -xp.ones_like(half))
    start = xp.where(upper, first, first + 1.0)

    def ratio(k: Array) -> Array:  # of the masses at first + k outward and at the one before it
        at = start + k * outward
        at = xp.where(at > 0.0, at, xp.zeros_like(at))
        some = xp.where(at > 0.0, at, xp.ones_like(at))
        up = (half / some) * (half / (some - 1.0 + (1.0 + nu)))
        at = xp.where(upper, xp.zeros_like(at), at)
        down = (at / half) * ((at - 1.0 + (1.0 + nu)) / half)
        return xp.where(upper, up, down)

    one = xp.ones_like(half)
    steep = ratio(one)
    wide = (steep > math.exp(-_STEEP)) & (width_of(xp, nu, _mode(xp, nu, half)[0]) > _WIDE)

    def horner(k: Array, total: Array) -> tuple[Array, Array]:
        value = 1.0 + ratio(k) * total
        return k - 1.0, xp.where(wide, one, value)

    _, few = repeat(horner, _TERMS, _TERMS * one, one)
    safe = xp.where(wide, first, xp.full_like(first, 500.0))
    half = xp.where(wide, half, xp.full_like(half, math.sqrt(500.0 * (500.0 + nu))))
    return xp.where(wide, _wide_sum(xp, nu, half, safe, outward), few)


def _wide_sum(xp: Namespace, nu: float, half: Array, first: Array, outward: Array) -> Array:
    edge = first - 0.5 * outward
    slope = -outward * (xp.log(half / edge) + xp.log(half / (edge + nu)))
    curvature = 1.0 / edge + 1.0 / (edge + nu)
    # The exponent falls by slope s + curvature s^2 / 2; the curvature itself falls upwards, by a third at most.
    flat = xp.where(slope > 0, slope, xp.zeros_like(slope))
    far = still(2.0 * _DEPTH / (flat + xp.sqrt(flat * flat + 2.0 * _DEPTH * curvature)))
    far = xp.where((outward < 0) & (far > edge), edge, far)
    total = xp.zeros_like(half)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        total = total + weight * xp.exp(log_ratio(xp, nu, half, first, edge + outward * (node * far)))
    total = total * far
    inner, outer = xp.ones_like(half), xp.ones_like(half)
    for j, weight in enumerate(_WEIGHTS_OF_ENCKE):
        if j > 0:
            outer = xp.exp(log_ratio(xp, nu, half, first, first + j * outward))
        inner = xp.exp(log_ratio(xp, nu, half, first, first - (j + 1.0) * outward))
        total = total + weight * (outer - inner)
    return total


def _encke() -> list[float]:
    """Weights of f(n + 1 + j) - f(n - j) in the correction of a sum beyond n that an integral stands for.

    The series of 1/(2 arsinh(d/2)) - 1/d in odd powers of d, each a central difference of the half-integer.
    """
    # arsinh(d/2) = (d/2) sum_k c_k d^(2k); its reciprocal, term by term.
    c = [
        (-1.0) ** k * math.factorial(2 * k) / (16.0**k * math.factorial(k) ** 2 * (2.0 * k + 1.0))
        for k in range(_ENCKE + 1)
    ]
    inverse = [1.0]
    for k in range(1, _ENCKE + 1):
        inverse.append(-sum(c[i] * inverse[k - i] for i in range(1, k + 1)))
    weights = [0.0] * _ENCKE
    for k in range(1, _ENCKE + 1):  # the power 2k - 1 has 2k points
        for j in range(k):
            weights[j] += inverse[k] * (-1.0) ** (k - 1 - j) * math.comb(2 * k - 1, k - 1 - j)
    return weights


_WEIGHTS_OF_ENCKE = _encke()


def width_of(xp: Namespace, nu: float, m: Array) -> Array:
    """The standard deviation of the normal limit of a law with mode m."""
    return xp.sqrt((m + 1.0) * (0.5 * (m + (1.0 + nu)) / (m + (1.0 + 0.5 * nu))))


def log_step(xp: Namespace, nu: float, half: Array, n: Array) -> Array:
    r"""log P(n) / P(n - 1); two quotients, because the square of z/2 may be no number."""
    return xp.log(half / n) + xp.log(half / (n - 1.0 + (1.0 + nu)))


def log_ratio(xp: Namespace, nu: float, half: Array, m: Array, n: Array) -> Array:
    r"""log P(n) / P(m), without the cancellation of the log-gammas at large counts."""
    k = n - m
    c, rest = _log_rising(xp, m + 1.0, n + 1.0, k)
    d, more = _log_rising(xp, m + (1.0 + nu), n + (1.0 + nu), k)
    return k * (xp.log(half / c) + xp.log(half / d)) - rest - more


def _log_rising(xp: Namespace, start: Array, stop: Array, k: Array) -> tuple[Array, Array]:
    r"""Shifted base c and remainder r with log Gamma(stop) - log Gamma(start) = k log c + r.

    Stirling's formula from c = start + 8 on; the eight factors skipped are one product of quotients, each over the
    quotient of the shifted ends, so that it is a number however far these are apart.
    ``k = stop - start``, given beside them: near nu = -1 the difference of what is rounded is not it.
    """
    c, end = start + 8.0, stop + 8.0
    product = xp.ones_like(c)
    for i in range(8):
        product = product * (((stop + float(i)) / end) / ((start + float(i)) / c))
    short = k / c < -0.5  # there 1 + k / c has fewer digits than the quotient of the ends
    step = xp.where(short, xp.log(end / c), xp.log1p(xp.where(short, xp.zeros_like(k), k / c)))
    remainder = (stop - 0.5) * step - k + _stirling(end) - _stirling(c) - xp.log(product)
    return c, remainder


def _stirling(c: Array) -> Array:
    w = (1.0 / c) * (1.0 / c)
    series = 1.0 / 12.0 - w * (1.0 / 360.0 - w * (1.0 / 1260.0 - w * (1.0 / 1680.0 - w * (1.0 / 1188.0))))
    return series / c
