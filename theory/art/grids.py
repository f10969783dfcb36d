r"""Grids in closed form: equal steps of the angle, and of its sine.

The cosine law (:mod:`.cosine`) turns the error of Euler's method into a sum, :math:`-\sum_k \log\cos\delta_k`, of a
convex function of steps whose total is given.  So equal angles are optimal for *every* number of steps and for
every loss that grows with the error, not in a limit only.  Euler ancestral on the same data loses variance instead,
and for many steps equal steps of :math:`\sin\omega` lose least (:mod:`.ancestral`).

Grids of levels have the shape (..., n + 1) and fall from sigma_max to sigma_min, both exact.  n < 1 raises
:class:`UnmetHypothesis`, as does sigma_min >= sigma_max.

Symbols:
    n: Number of steps, >= 1; a grid has n + 1 levels, from noise to data.
    s: Standard deviation of the data, > 0, shape (...).
    sigma_min, sigma_max: The last and the first level, 0 <= sigma_min < sigma_max, shape (...).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from array_api_compat import device

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    holds,
    public,
)

__all__ = ["ancestral_grid", "flow_grid", "path_kl_grid", "tangent_grid"]


def _falls(subject: str) -> Callable[..., None]:
    """The check that there is a step, and that the levels fall."""

    def check(xp: Namespace, *, n: int, **ends: Any) -> None:
        if n < 1:
            raise UnmetHypothesis(subject, "n >= 1", f"n = {n}")
        if "sigma_min" in ends and not holds(xp.all(ends["sigma_min"] < ends["sigma_max"])):
            got = f"sigma_min up to {float(xp.max(ends['sigma_min']))!r}"
            raise UnmetHypothesis(subject, "sigma_min < sigma_max", got)

    return check


@public(check=_falls("tangent_grid"), s="in (0, inf)", sigma_min="in [0, inf)", sigma_max="in (0, inf)")
def tangent_grid(xp: Namespace, n: int, s: Array, sigma_min: Array, sigma_max: Array) -> Array:
    r"""Noise levels of equal angles: the best grid of Euler's method on :math:`N(0, s^2)`, for every n.

    .. math:: \sigma_k = s\tan\Big(\omega_{max} + \frac kn(\omega_{min} - \omega_{max})\Big)
        = \frac{A_k\,\sigma_{max}/r_{max} + B_k\,\sigma_{min}/r_{min}}{A_k/r_{max} + B_k/r_{min}}, \qquad
        r^2 = s^2 + \sigma^2

    with :math:`A_k = \sin(\frac{n-k}n\Delta)`, :math:`B_k = \sin(\frac kn\Delta)` and the whole angle
    :math:`\Delta`: an average of the two ends, in which nothing cancels, where :math:`\tan` beside
    :math:`\pi/2` would lose the digits of the first levels.  Its ratio is :math:`\cos^n(\Delta/n)`.

    Arguments:
        n, s, sigma_min, sigma_max: Symbols of the module.

    References:
        | Tangent law for Gaussian data (Sun, Poor & Zhang, 2026), https://arxiv.org/abs/2601.13602

    Claims: ART-TANGENT-1

    Example:
        >>> [round(x, 6) for x in tangent_grid(2, 1.0, 0.0, 1.0).tolist()]
        [1.0, 0.414214, 0.0]
    """
    up, down = _fractions(xp, n, s, sigma_min, sigma_max)
    s, low, high = s[..., None], sigma_min[..., None], sigma_max[..., None]
    whole = xp.atan2(s * (high - low), s * s + high * low)
    first = xp.sin(down * whole) / xp.sqrt(s * s + high * high)
    last = xp.sin(up * whole) / xp.sqrt(s * s + low * low)
    levels = (first * high + last * low) / (first + last)
    return _with_ends(xp, levels, up, down, low, high)


@public(check=_falls("ancestral_grid"), s="in (0, inf)", sigma_min="in [0, inf)", sigma_max="in (0, inf)")
def ancestral_grid(xp: Namespace, n: int, s: Array, sigma_min: Array, sigma_max: Array) -> Array:
    r"""Noise levels with equal steps of the sine: the best grid of Euler ancestral (eta = 1), as n grows.

    .. math:: \sin\omega_k = \frac{\sigma_k}{\sqrt{s^2 + \sigma_k^2}}
        = \frac{n-k}n \sin\omega_{max} + \frac kn \sin\omega_{min}

    Both :math:`\sin\omega` and :math:`1 - \sin\omega` are averaged, so that neither end loses digits.

    Arguments:
        n, s, sigma_min, sigma_max: Symbols of the module.

    Claims: ART-ANCESTRAL-2

    Example:
        >>> [round(x, 6) for x in ancestral_grid(2, 3.0, 0.0, 4.0).tolist()]  # sines 0.8, 0.4, 0
        [4.0, 1.309307, 0.0]
    """
    up, down = _fractions(xp, n, s, sigma_min, sigma_max)
    s, low, high = s[..., None], sigma_min[..., None], sigma_max[..., None]
    sine = down * _sine(xp, high, s) + up * _sine(xp, low, s)
    rest = down * _one_less_sine(xp, high, s) + up * _one_less_sine(xp, low, s)
    levels = s * sine / xp.sqrt(rest * (1.0 + sine))
    return _with_ends(xp, levels, up, down, low, high)


@public(check=_falls("flow_grid"), s="in (0, inf)")
def flow_grid(xp: Namespace, n: int, s: Array) -> Array:
    r"""Noise times of equal angles: the best grid of Euler's method on a linear flow, for every n.

    .. math:: t_k = \frac{s\,T_k}{1 + s\,T_k}, \qquad T_k = \tan\frac{\pi(n-k)}{2n}

    from t = 1, noise, to t = 0, data; the whole angle is a quarter of a turn whatever s is, and the Wasserstein
    distance :math:`s(1 - \cos^n\frac\pi{2n})`.

    Arguments:
        n, s: Symbols of the module.

    Returns:
        Times (..., n + 1), falling from 1 to 0, both exact.

    References:
        | Tangent law for Gaussian data (Sun, Poor & Zhang, 2026), https://arxiv.org/abs/2601.13602

    Claims: ART-FLOW-1

    Example:
        >>> flow_grid(2, 3.0).tolist()
        [1.0, 0.75, 0.0]
    """
    quarter = 0.5 * math.pi / n
    # Both as sines of the smaller angle: exactly equal in the middle, and exactly 0 at the ends.
    noise = [math.sin(quarter * (n - k)) if 2 * k > n else math.cos(quarter * k) for k in range(n + 1)]
    data = noise[::-1]
    like = {"dtype": s.dtype, "device": device(s)}
    z, x = xp.asarray(noise, **like), xp.asarray(data, **like)
    return s[..., None] * z / (x + s[..., None] * z)


@public(check=_falls("path_kl_grid"), s="in (0, inf)", sigma_min="in (0, inf)", sigma_max="in (0, inf)")
def path_kl_grid(xp: Namespace, n: int, s: Array, sigma_min: Array, sigma_max: Array) -> Array:
    r"""Noise levels of equal steps of :math:`\log(1 + \mathrm{SNR})`: the best grid of AYS's bound, for every n.

    .. math:: \log\Big(1+\frac{s^2}{\sigma_k^2}\Big) = \ell_k, \qquad \sigma_k = \frac s{\sqrt{e^{\ell_k} - 1}}

    The least bound is :math:`\frac n2(e^{L/n} - 1 - \frac Ln)` for the whole way L (:mod:`.path_kl`).

    Arguments:
        n, s, sigma_min, sigma_max: Symbols of the module; sigma_min > 0, for at 0 the bound is infinite.

    Claims: ART-AYS-2

    Example:
        >>> [round(x, 12) for x in path_kl_grid(2, 1.0, 15.0**-0.5, 1.0 / 3.0**0.5).tolist()]  # 1 + SNR = 4, 8, 16
        [0.57735026919, 0.377964473009, 0.258198889747]
    """
    up, down = _fractions(xp, n, s, sigma_min, sigma_max)
    s, low, high = s[..., None], sigma_min[..., None], sigma_max[..., None]
    length = down * xp.log1p((s / high) ** 2) + up * xp.log1p((s / low) ** 2)
    return _with_ends(xp, s / xp.sqrt(xp.expm1(length)), up, down, low, high)


def _fractions(xp: Namespace, n: int, *like: Array) -> tuple[Array, Array]:
    """k/n and (n - k)/n, each exact."""
    k = xp.arange(n + 1, dtype=like[0].dtype, device=device(like[0]))
    return k / n, (n - k) / n


def _with_ends(xp: Namespace, levels: Array, up: Array, down: Array, low: Array, high: Array) -> Array:
    """The levels, with the two ends as they were given."""
    zero = xp.zeros_like(levels)
    return xp.where(up == 0.0, high + zero, xp.where(down == 0.0, low + zero, levels))


def _sine(xp: Namespace, sigma: Array, s: Array) -> Array:
    return sigma / xp.sqrt(s * s + sigma * sigma)


def _one_less_sine(xp: Namespace, sigma: Array, s: Array) -> Array:
    """1 - sin(omega), without cancellation."""
    r = xp.sqrt(s * s + sigma * sigma)
    return s * s / (r * (r + sigma))
