r"""Where levels should lie: the densities of good grids on Gaussian data, and what any density costs.

A solver of order p whose step of length h adds :math:`c(\sigma)h^{p+1}` to the final error has, for a grid of n
steps with the density :math:`\rho`,

.. math:: n^p\,E_n \to \int \frac{c}{\rho^p}\,d\sigma \cdot \Big(\int\rho\,d\sigma\Big)^p, \qquad
    \text{least for } \rho \propto c^{1/(p+1)}

=============== =============================================== ==================================================
criterion       density                                         minimises
=============== =============================================== ==================================================
``"euler"``     :math:`s/(s^2+\sigma^2) = d\omega/d\sigma`      the final error of Euler: equal angles
``"heun"``      :math:`\tan^{1/3}\omega\,d\omega/d\sigma`       the final error of Heun
``"ancestral"`` :math:`s^2/(s^2+\sigma^2)^{3/2}`                the final variance deficit of Euler ancestral
``"art"``       :math:`\sqrt s/(s^2+\sigma^2)^{3/4}`            the sum of Euler's local errors (ART)
=============== =============================================== ==================================================

The last leaves out that an error made early is carried to the end by
:math:`\sqrt{(s^2+\sigma_N^2)/(s^2+\sigma^2)}`.  With this factor in its cost, ART's density becomes Euler's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np

from driftproof._arguments import checked
from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.theory.special.quadrature import integrate

__all__ = ["Criterion", "Density", "error_constant", "level_density"]

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Density: TypeAlias = Callable[[Floats], Floats]
Criterion: TypeAlias = Literal["euler", "heun", "ancestral", "art"]


@public(sigma="in [0, inf)", s="in (0, inf)")
def level_density(xp: Namespace, sigma: Array, s: Array, criterion: Criterion = "euler") -> Array:
    r"""The density of noise levels that minimises an error on :math:`N(0, s^2)`.

    .. math:: \frac{s}{s^2+\sigma^2}, \quad \Big(\frac\sigma s\Big)^{1/3}\frac{s}{s^2+\sigma^2}, \quad
        \frac{s^2}{(s^2+\sigma^2)^{3/2}}, \quad \frac{\sqrt s}{(s^2+\sigma^2)^{3/4}}

    Arguments:
        sigma: Noise levels :math:`\sigma \ge 0`, shape (...).
        s: Standard deviation of the data, > 0.
        criterion: The error, by the table of the module.

    Returns:
        The density, elementwise, up to a constant of no unit; that of Heun vanishes at the level 0, with an infinite
        slope.

    Claims: ART-DENSITY-1, ART-CONSTANT-1, ART-HEUN-2

    Example:
        >>> [float(level_density(0.0, 2.0, c)) for c in ("euler", "heun", "ancestral", "art")]
        [0.5, 0.0, 0.5, 0.5]
    """
    square = s * s + sigma * sigma
    if criterion == "euler":
        return s / square
    if criterion == "heun":
        return (sigma / s) ** (1.0 / 3.0) * s / square
    if criterion == "ancestral":
        return s * s / (square * xp.sqrt(square))
    return xp.sqrt(s / square) / square**0.25


@arrays("numpy")
@checked
def error_constant(
    density: Density,
    s: float,
    sigma_min: float,
    sigma_max: float,
    solver: Literal["euler", "heun", "ancestral"] = "euler",
) -> float:
    r"""The constant of a density of levels on :math:`N(0, s^2)`: the limit of :math:`n^p` times the relative error.

    .. math:: \text{Euler: } \frac12\int\frac{\omega'^2}\rho\int\rho, \qquad
        \text{Heun: } \frac12\int\frac{\tan\omega\;\omega'^3}{\rho^2}\Big(\int\rho\Big)^2, \qquad
        \text{ancestral: } \int\frac{4s^2(s^2+\sigma_N^2)}{(s^2+\sigma^2)^3\rho}\int\rho

    Arguments:
        density: :math:`\rho`, from levels of shape (N,) to values > 0 there, up to a constant.
        s: Standard deviation of the data, > 0.
        sigma_min, sigma_max: The ends, 0 <= sigma_min < sigma_max.
        solver: ``"euler"`` and ``"heun"``: of the standard deviation; ``"ancestral"``: of the variance, and less.

    Returns:
        The constant, to about 1e-9 of itself.

    Raises:
        UnmetHypothesis: A range that is none, a density that is not > 0 and finite, or an integral that diverges.

    Claims: ART-CONSTANT-1, ART-HEUN-2, ART-ANCESTRAL-2

    Example:
        >>> round(error_constant(lambda x: 1.0 / x, 0.5, 0.002, 80.0), 3)  # equal steps of log sigma
        2.649
    """
    require_range("error_constant", sigma_min, sigma_max, s=s)
    order = 2 if solver == "heun" else 1

    def local(x: Floats) -> Floats:
        square = s * s + x * x
        if solver == "euler":
            return 0.5 * (s / square) ** 2
        if solver == "heun":
            return 0.5 * (x / s) * (s / square) ** 3
        return 4.0 * s * s * (s * s + sigma_min * sigma_min) / square**3

    rho = checked_density("error_constant", density)
    edges = range_edges(sigma_min, sigma_max)
    whole = integrate("error_constant", rho, edges, 1e-10).value
    return (
        integrate("error_constant", lambda x: local(x) / rho(x) ** order, edges, 1e-10).value * whole**order
    )


def checked_density(subject: str, density: Density) -> Density:
    """The density, refused where it is not positive and finite."""

    def checked(x: Floats) -> Floats:
        values = np.asarray(density(x), dtype=np.float64)
        if values.shape != x.shape:
            raise UnmetHypothesis(subject, "the density has the shape of the levels", f"shape {values.shape}")
        bad = ~((values > 0.0) & np.isfinite(values))
        if bad.any():
            got = f"{values[bad][0]!r} at {float(x[bad][0])!r}"
            raise UnmetHypothesis(subject, "the density is > 0 and finite", got)
        return values

    return checked


def require_range(subject: str, sigma_min: float, sigma_max: float, **positive: float) -> None:
    """Raise unless 0 <= sigma_min < sigma_max < inf, and the other numbers are > 0 and finite."""
    if not 0.0 <= sigma_min < sigma_max < math.inf:
        raise UnmetHypothesis(subject, "0 <= sigma_min < sigma_max < inf", f"{sigma_min!r}, {sigma_max!r}")
    for name, value in positive.items():
        if not 0.0 < value < math.inf:
            raise UnmetHypothesis(subject, f"{name} > 0", f"{name} = {value!r}")


def range_edges(sigma_min: float, sigma_max: float, per_decade: int = 2) -> Floats:
    """Edges of panels that grow with the level: densities vary on its logarithm."""
    start = sigma_min if sigma_min > 0.0 else 1e-9 * sigma_max
    inner: Floats = np.geomspace(start, sigma_max, 2 + math.ceil(per_decade * math.log10(sigma_max / start)))
    inner[0], inner[-1] = start, sigma_max
    return inner if sigma_min > 0.0 else np.concatenate([[0.0], inner])
