r"""Gaussian paths between data and noise, and how far a control can push along them.

For one direction of standard deviation :math:`\sigma` and levels :math:`\alpha(t), \beta(t)` of data and
noise, the marginal deviation is :math:`s_t = (\alpha^2\sigma^2 + \beta^2)^{1/2}`; the probability flow
stretches distances from time t to the data (t = 0) by :math:`\Phi_t = \sigma / s_t`, and

.. math:: \text{linear} \; (\alpha = 1 - t, \beta = t): \quad
        \int_0^t \Phi^2 = \sigma\,\mathrm{atan2}(t, \sigma(1-t)), \qquad
        \int_0^t \Phi = \tfrac{\sigma}{\sqrt{1+\sigma^2}}
            \Big[\mathrm{asinh}\,\sigma - \mathrm{asinh}\,\tfrac{\sigma^2 - (1+\sigma^2)t}{\sigma}\Big] \\
    \text{trigonometric} \; (\alpha = \cos\theta, \beta = \sin\theta, \theta = \tfrac{\pi t}2): \quad
        \int_0^t \Phi^2 = \tfrac{2\sigma}{\pi}\,\mathrm{atan2}(\sin\theta, \sigma\cos\theta), \qquad
        \int_0^t \Phi = \tfrac2\pi\,F(\theta \mid 1 - \sigma^{-2})

with Legendre's incomplete integral F of the first kind.  For two directions, with Carlson's symmetric integral,
on the linear path (and :math:`2/\pi` times that on the trigonometric one),

.. math:: \int_0^t \Phi_i\,\Phi_j = \beta\,R_F\big(\alpha^2,\; \Phi_{i,t}^{-2},\; \Phi_{j,t}^{-2}\big)

The full text of the paper was not available to us; derived here.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import numpy as np

from driftproof._namespace import Array, Namespace, UnmetHypothesis

__all__ = [
    "PATHS",
    "Path",
    "layered_edges",
    "levels",
    "stretch",
    "stretch_at",
    "stretch_integral",
    "stretch_product_integral",
    "stretch_square_integral",
    "velocity_rate",
]

Path: TypeAlias = Literal["linear", "trigonometric"]
PATHS = ("linear", "trigonometric")

_DUPLICATIONS = 16


def check_path(subject: str, path: str) -> None:
    """Raise unless the path is known."""
    if path not in PATHS:
        raise UnmetHypothesis(subject, f"path is one of {', '.join(PATHS)}", f"path = {path!r}")


def levels(path: str, t: float) -> tuple[float, float, float, float]:
    """Levels of data and noise at noise time t, and their rates of change."""
    if path == "linear":
        return 1.0 - t, t, -1.0, 1.0
    rate = 0.5 * math.pi
    # As a sine: cos(pi t / 2) loses its digits near t = 1, and is 6e-17 there, not 0.
    cosine = math.sin(rate * (1.0 - t))
    return cosine, math.sin(rate * t), -rate * math.sin(rate * t), rate * cosine


def deviation(xp: Namespace, sigma: Array, t: float, path: str) -> Array:
    """Kernel: marginal standard deviation s_t."""
    alpha, beta, _, _ = levels(path, t)
    return xp.sqrt((alpha * sigma) ** 2 + beta**2)


def stretch(xp: Namespace, sigma: Array, t: float, path: str) -> Array:
    """Kernel: the factor from time t to the data, sigma / s_t."""
    return sigma / deviation(xp, sigma, t, path)


def stretch_at(xp: Namespace, sigma: Array, times: Array, path: str) -> Array:
    """Kernel: the factor at many times, (..., d) from times (...) and deviations (d,)."""
    times = times[..., None]
    if path == "linear":
        alpha, beta = 1.0 - times, times
    else:
        alpha, beta = xp.sin(0.5 * math.pi * (1.0 - times)), xp.sin(0.5 * math.pi * times)
    return sigma / xp.sqrt((alpha * sigma) ** 2 + beta**2)


def layered_edges(sigma: Array, t: float) -> Any:
    """Edges of panels on [0, t] that halve towards 0 and 1: the factor has layers there, as wide as s and 1/s."""
    smallest, largest = (float(choose(abs(float(v)) for v in sigma)) for choose in (min, max))
    low, high = (min(max(3, 2 + math.ceil(math.log2(scale))), 60) for scale in (1.0 / smallest, largest))
    powers = 0.5 ** np.arange(1, low + 1), 1.0 - 0.5 ** np.arange(1, min(high, 50) + 1)
    inner = np.concatenate(powers)
    return np.unique(np.concatenate([[0.0], inner[inner < t], [t]]))


def velocity_rate(xp: Namespace, sigma: Array, t: float, path: str) -> Array:
    """Kernel: d log s_t / dt, the slope of the velocity in x."""
    alpha, beta, alpha_rate, beta_rate = levels(path, t)
    return (alpha * alpha_rate * sigma**2 + beta * beta_rate) / ((alpha * sigma) ** 2 + beta**2)


def stretch_square_integral(xp: Namespace, sigma: Array, t: float, path: str) -> Array:
    """Kernel: the integral of the squared factor over the times [0, t]."""
    alpha, beta, _, _ = levels(path, t)
    scale = 1.0 if path == "linear" else 2.0 / math.pi
    return scale * sigma * xp.atan2(xp.full_like(sigma, beta), sigma * alpha)


def stretch_integral(xp: Namespace, sigma: Array, t: float, path: str) -> Array:
    """Kernel: the integral of the factor over the times [0, t]."""
    if path == "linear":
        total = 1.0 + sigma**2
        end = xp.asinh((sigma**2 * (1.0 - t) - t) / sigma)  # sigma^2 - total t, without cancellation
        return sigma / xp.sqrt(total) * (xp.asinh(sigma) - end)
    alpha, beta, _, _ = levels(path, t)
    squared = alpha**2 + (beta / sigma) ** 2  # 1 - m sin^2 with m = 1 - 1/sigma^2, without cancellation
    return 2.0 / math.pi * beta * _carlson(xp, xp.full_like(sigma, alpha**2), squared, xp.ones_like(sigma))


def stretch_product_integral(xp: Namespace, sigma: Array, t: float, path: str) -> Array:
    """Kernel: the integrals of products of the factors of two directions over the times [0, t], (d, d)."""
    alpha, beta, _, _ = levels(path, t)
    length = 1.0 if path == "linear" else 2.0 / math.pi
    squared = alpha**2 + (beta / sigma) ** 2
    rows, columns = squared[:, None] + 0.0 * squared, squared + 0.0 * squared[:, None]
    return length * beta * _carlson(xp, xp.full_like(rows, alpha**2), rows, columns)


def _carlson(xp: Namespace, x: Array, y: Array, z: Array) -> Array:
    """Carlson's R_F(x, y, z), by duplication."""
    for _ in range(_DUPLICATIONS):
        a, b, c = xp.sqrt(x), xp.sqrt(y), xp.sqrt(z)
        shared = a * b + b * c + c * a
        x, y, z = 0.25 * (x + shared), 0.25 * (y + shared), 0.25 * (z + shared)
    mean = (x + y + z) / 3.0
    u, v = 1.0 - x / mean, 1.0 - y / mean
    w = -u - v
    second, third = u * v - w**2, u * v * w
    return (1.0 - second / 10.0 + third / 14.0 + second**2 / 24.0) / xp.sqrt(mean)
