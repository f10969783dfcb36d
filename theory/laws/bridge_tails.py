r"""Both tails of a bridge of squared Bessel type, in logarithms: the integral of its density from the point on.

In :math:`u = y e^{\mp s}` the smaller tail is, with :math:`g(s) = \log u f(u)`,

.. math:: P(U \le y) = \int_0^\infty e^{g(s)}\,ds, \qquad P(U > y) = \int_0^\infty e^{g(s)}\,ds,

relative to the value at one point, where all digits of the logarithm are.  The law of log U is a mixture of
log-concave ones, with one mode: what counts ends where g has fallen far enough, which is bracketed.  Near 0 it falls
no faster than :math:`u^{\delta/2}`, and what is left out is the integral of that power.  Panels are narrow at both ends
of the range: a small :math:`\delta` spreads the law over many powers of ten, and the rest of it lies at one end.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from array_api_compat import device

from driftproof._blocks import elementwise
from driftproof._namespace import Array, Namespace, repeat, still
from driftproof.theory.special.elementary import log_complement

__all__ = ["log_tails_of_density"]

_DEPTH = 40.0  # exponents below the top that count
_HALVINGS, _SHORTEST = 14, 30.0  # of the logarithm of the window, exp(-30) of the longest one at least
_PANELS, _ORDER = 8, 20


def _graded(panels: int, order: int) -> tuple[list[float], list[float]]:
    """Nodes and weights on [0, 1] of Gauss's rule on panels that shrink like squares towards both ends."""
    edges = np.sin(0.5 * np.pi * np.arange(panels + 1) / panels) ** 2
    x, w = np.polynomial.legendre.leggauss(order)
    nodes = edges[:-1, None] + 0.5 * (1.0 + x) * np.diff(edges)[:, None]
    return nodes.reshape(-1).tolist(), (0.5 * w * np.diff(edges)[:, None]).reshape(-1).tolist()


_NODES, _WEIGHTS = _graded(_PANELS, _ORDER)


def log_tails_of_density(
    xp: Namespace,
    log_density: Callable[..., Array],
    a: float,
    parameters: tuple[Array, ...],
    mean: Array,
    rate: Array,
    y: Array,
    log_y: Array,
) -> tuple[Array, Array]:
    """Both tails of a law on the half-line, as good as its log-density and, near 0, relative to their size.

    Arguments:
        log_density: From a point and the parameters.
        a: Power of the distribution function at 0, > 0.
        parameters: Arrays of the shape of y.
        mean: Of the law, of that shape.
        rate: Of that shape: near 0 the density is its power times 1 + O(rate u).
        y: Point >= 0, and ``log_y`` its logarithm, which is finite where y underflows.
    """
    eps = float(xp.finfo(y.dtype).eps)
    mean, least = still(mean), 0.1 * eps / still(rate)
    near = y < least
    # Half of a law of small mean lies below e^(-log 2 / mean).
    few = mean < 0.5
    middle = xp.exp(-0.7 / xp.where(few, mean, xp.full_like(mean, 0.5)))
    middle = xp.where(middle > 1e-14, middle, xp.full_like(mean, 1e-14))
    upper = (y > xp.where(few, middle, mean)) & ~near
    log_point = xp.where(near, xp.log(least), log_y)
    point = xp.where(near, least, y)
    length, flat = _window(
        xp, point, log_point, upper, least, *map(still, parameters), log_density=log_density
    )
    top = log_density(point, *parameters) + log_point
    total = _total(xp, point, log_point, upper, length, top, *parameters, log_density=log_density)
    last = xp.where(flat, length, xp.zeros_like(length))
    rest = _height(xp, point, log_point, upper, last, parameters, log_density)
    total = total + xp.where(flat, xp.exp(rest - top), xp.zeros_like(top)) / a
    direct = top + xp.log(total)
    direct = direct + a * xp.where(near, log_y - log_point, xp.zeros_like(y))
    direct = xp.where(direct > 0, xp.zeros_like(direct), direct)
    other = log_complement(xp, direct)
    return xp.where(upper, other, direct), xp.where(upper, direct, other)


def _height(
    xp: Namespace,
    y: Array,
    log_y: Array,
    upper: Array,
    s: Array,
    parameters: tuple[Array, ...],
    log_density: Callable[..., Array],
) -> Array:
    """The logarithm of u f(u), s units of log u beyond y."""
    step = xp.where(upper, s, -s)
    return log_density(y * xp.exp(step), *parameters) + (log_y + step)


def _window(
    xp: Namespace,
    y: Array,
    log_y: Array,
    upper: Array,
    least: Array,
    *parameters: Array,
    log_density: Callable[..., Array],
) -> tuple[Array, Array]:
    """How far the integral is taken, and whether what is beyond is the integral of a power."""
    y, log_y = still(y), still(log_y)
    zero = xp.zeros_like(y)

    def height(s: Array) -> Array:
        return _height(xp, y, log_y, upper, s, parameters, log_density)

    most = xp.where(upper, 2.0 * xp.log1p(12.0 / xp.sqrt(y)), log_y - xp.log(least))
    most = xp.where(most > 0, most, zero)
    floor = height(zero) - _DEPTH

    def halve(low: Array, high: Array) -> tuple[Array, Array]:
        middle = 0.5 * (low + high)
        beyond = height(most * xp.exp(-middle)) < floor
        return xp.where(beyond, middle, low), xp.where(beyond, high, middle)

    shrink, _ = repeat(halve, _HALVINGS, zero, xp.full_like(y, _SHORTEST))
    flat = ~upper & (height(most) >= floor)
    return xp.where(flat, most, most * xp.exp(-shrink)), flat


@functools.partial(elementwise, block=256)  # so that an array of the nodes of all of them stays in the cache
def _total(
    xp: Namespace,
    y: Array,
    log_y: Array,
    upper: Array,
    length: Array,
    top: Array,
    *parameters: Array,
    log_density: Callable[..., Array],
) -> Array:
    """The integral over the window, in units of exp(top)."""
    nodes, weights = (xp.asarray(each, dtype=y.dtype, device=device(y)) for each in (_NODES, _WEIGHTS))
    rows = tuple(value[..., None] for value in parameters)
    y, log_y, upper, top = (value[..., None] for value in (y, log_y, upper, top))
    heights = _height(xp, y, log_y, upper, length[..., None] * nodes, rows, log_density)
    return length * xp.sum(weights * xp.exp(heights - top), axis=-1)
