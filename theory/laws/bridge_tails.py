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
_HALVINGS = 14
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
    direct = _log_tail(xp, point, log_point, upper, least, *parameters, a=a, log_density=log_density)
    direct = direct + a * xp.where(near, log_y - log_point, xp.zeros_like(y))
    direct = xp.where(direct < 0, direct, xp.zeros_like(direct))
    other = log_complement(xp, direct)
    return xp.where(upper, other, direct), xp.where(upper, direct, other)


@functools.partial(elementwise, block=128)  # so that an array of the nodes of all of them stays in the cache
def _log_tail(
    xp: Namespace,
    y: Array,
    log_y: Array,
    upper: Array,
    least: Array,
    *parameters: Array,
    a: float,
    log_density: Callable[..., Array],
) -> Array:
    """The logarithm of P(U > y) where ``upper``, of P(U <= y) elsewhere."""
    one = xp.ones_like(y)
    outward = xp.where(upper, one, -one)

    def height(y: Array, log_y: Array, outward: Array, s: Array, parameters: tuple[Array, ...]) -> Array:
        return log_density(y * xp.exp(outward * s), *parameters) + (log_y + outward * s)

    fixed, at, log_at = tuple(still(value) for value in parameters), still(y), still(log_y)
    most = xp.where(upper, 2.0 * xp.log1p(12.0 / xp.sqrt(at)), log_at - xp.log(least))
    most = xp.where(most > 0, most, xp.zeros_like(most))
    floor = height(at, log_at, outward, xp.zeros_like(y), fixed) - _DEPTH

    def halve(low: Array, high: Array) -> tuple[Array, Array]:
        middle = 0.5 * (low + high)
        beyond = height(at, log_at, outward, most * xp.exp(-middle), fixed) < floor
        return xp.where(beyond, middle, low), xp.where(beyond, high, middle)

    shrink, _ = repeat(halve, _HALVINGS, xp.zeros_like(y), 30.0 * one)
    flat = ~upper & (height(at, log_at, outward, most, fixed) >= floor)
    length = xp.where(flat, most, most * xp.exp(-shrink))

    top = log_density(y, *parameters) + log_y
    where = device(y)
    nodes = xp.asarray(_NODES, dtype=y.dtype, device=where)
    weights = xp.asarray(_WEIGHTS, dtype=y.dtype, device=where)
    rows = tuple(value[..., None] for value in parameters)
    heights = height(y[..., None], log_y[..., None], outward[..., None], length[..., None] * nodes, rows)
    total = length * xp.sum(weights * xp.exp(heights - top[..., None]), axis=-1)
    rest = height(y, log_y, outward, xp.where(flat, most, xp.zeros_like(most)), parameters)
    total = total + xp.where(flat, xp.exp(rest - top), xp.zeros_like(top)) / a
    return top + xp.log(total)
