r"""Grids of a density, and the best grid for a Gaussian of several scales.

On :math:`N(0, \mathrm{diag}(s_i^2))` no density is best for all axes at once.  With
:math:`\omega_i = \arctan(\sigma/s_i)` the leading error of Euler's method is

.. math:: n\,W_2 \to \Big[\sum_i (s_i^2+\sigma_N^2)\,e_i^2\Big]^{1/2}, \qquad
    e_i = \frac12 \int\frac{\omega_i'^2}{\rho}\,d\sigma \int\rho\,d\sigma ,

convex in the grid, so that its stationary point is the optimum.  There

.. math:: \rho^2 \propto \sum_i \lambda_i\,\omega_i'^2, \qquad \lambda_i \propto (s_i^2+\sigma_N^2)\,e_i :

the density depends on the weights, the weights on the errors that it leaves.

Symbols:
    n: Number of steps, >= 1.
    scales: Standard deviations :math:`s_i > 0`, one for each principal axis.
    sigma_min, sigma_max: The ends, 0 <= sigma_min < sigma_max.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftproof._arguments import checked
from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

from .cumulative import Cumulative
from .densities import Density, Floats, range_edges, require_range

__all__ = ["equidistribute", "optimal_grid", "scale_weights", "scales_density"]

_ROUNDS = 500


@arrays("numpy")
@checked
def equidistribute(density: Density, n: int, sigma_min: float, sigma_max: float) -> Floats:
    r"""Noise levels between which a density has equal shares.

    .. math:: \int_{\sigma_{k+1}}^{\sigma_k} \rho\,d\sigma = \frac1n \int_{\sigma_{min}}^{\sigma_{max}} \rho\,d\sigma

    Arguments:
        density: :math:`\rho`, from levels of shape (N,) to values > 0 and finite inside of the range, smooth in the
            logarithm of the level, up to a constant.
        n, sigma_min, sigma_max: Symbols of the module.

    Returns:
        Levels (n + 1,), falling, the ends exact; the others to rounding.

    Raises:
        UnmetHypothesis: n < 1, a range that is none, a density that is not > 0 and finite, or not smooth.

    Claims: ART-EQUIDISTRIBUTE-1

    Example:
        >>> equidistribute(lambda x: 1.0 / x, 2, 0.01, 1.0).round(12).tolist()
        [1.0, 0.1, 0.01]
    """
    if n < 1:
        raise UnmetHypothesis("equidistribute", "n >= 1", f"n = {n}")
    require_range("equidistribute", sigma_min, sigma_max)
    whole = Cumulative("equidistribute", density, range_edges(sigma_min, sigma_max, 8))
    shares = whole.total * np.arange(n - 1, 0, -1) / n
    return np.concatenate([[sigma_max], whole.inverse(shares), [sigma_min]])


@public(sigma="in [0, inf)", scales="in (0, inf)", weights=">= 0")
def scales_density(xp: Namespace, sigma: Array, scales: Array, weights: Array) -> Array:
    r"""A density of levels for several scales at once.

    .. math:: \rho = \Big[\sum_i \lambda_i \frac{s_i^2}{(s_i^2+\sigma^2)^2}\Big]^{1/2}

    Arguments:
        sigma: Noise levels >= 0, shape (...).
        scales: Standard deviations :math:`s_i > 0`, (d,).
        weights: :math:`\lambda_i \ge 0`, (d,).

    Returns:
        The density, shape (...).

    Claims: ART-SCALES-1

    Example:
        >>> float(scales_density(0.0, [0.5, 1.0], [1.0, 5.0]))
        3.0
    """
    slope = scales / (scales * scales + sigma[..., None] ** 2)
    return xp.sqrt(xp.sum(weights * slope * slope, axis=-1))


@checked
def scale_weights(scales: Sequence[float], sigma_min: float, sigma_max: float) -> tuple[float, ...]:
    r"""How much each scale of a Gaussian counts in the density of the best grid.

    .. math:: \lambda_i \propto (s_i^2+\sigma_{min}^2) \int \frac{\omega_i'^2}{\rho}\,d\sigma, \qquad
        \rho^2 = \sum_i \lambda_i\,\omega_i'^2

    Arguments:
        scales, sigma_min, sigma_max: Symbols of the module.

    Returns:
        The weights, of sum 1.

    Raises:
        UnmetHypothesis: No scale, or one that is not > 0; a range that is none; weights that do not converge.

    Claims: ART-SCALES-1

    Example:
        >>> scale_weights([1.0, 1.0], 0.0, 80.0)
        (0.5, 0.5)
    """
    if len(scales) == 0:
        raise UnmetHypothesis("scale_weights", "there is a scale", "scales = []")
    require_range("scale_weights", sigma_min, sigma_max, **{f"scales[{i}]": s for i, s in enumerate(scales)})
    s = np.asarray(scales)
    x, w = _nodes(range_edges(sigma_min, sigma_max, 8))
    squares = (s / (s * s + x[:, None] ** 2)) ** 2  # (nodes, d)
    variance = s * s + sigma_min * sigma_min
    weights = variance / np.sum(variance)
    for _ in range(_ROUNDS):
        errors = (w / np.sqrt(squares @ weights)) @ squares
        # A root of the plain update: it halves the overshoot, and has the same fixed point.
        moved = np.sqrt(weights * variance * errors)
        moved = moved / np.sum(moved)
        change = float(np.max(np.abs(moved / weights - 1.0)))
        weights = moved
        if change <= 1e-13:
            return tuple(float(value) for value in weights)
    got = f"after {_ROUNDS} rounds they still change by {change:.2g} of themselves"
    raise UnmetHypothesis("scale_weights", "the weights converge", got)


@arrays("numpy")
@checked
def optimal_grid(scales: Sequence[float], n: int, sigma_min: float, sigma_max: float) -> Floats:
    r"""The best grid of Euler's method, as n grows, on a centred Gaussian with several standard deviations.

    Equal shares of :func:`scales_density` with the weights of :func:`scale_weights`; with one scale
    :func:`.tangent_grid`, which is best for every n.

    Arguments:
        scales, n, sigma_min, sigma_max: Symbols of the module.

    Returns:
        Levels (n + 1,), falling.

    Raises:
        UnmetHypothesis: As for :func:`scales_density` and :func:`scale_weights`.

    Claims: ART-SCALES-2

    Example:
        >>> optimal_grid([1.0], 2, 0.0, 1.0).round(6).tolist()
        [1.0, 0.414214, 0.0]
    """
    s, weights = np.asarray(scales), np.asarray(scale_weights(scales, sigma_min, sigma_max))
    return equidistribute(lambda x: np.asarray(scales_density(x, s, weights)), n, sigma_min, sigma_max)


def _nodes(edges: Floats) -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss's rule on every panel, in one row."""
    x, w = np.polynomial.legendre.leggauss(20)
    half = 0.5 * np.diff(edges)
    return (edges[:-1, None] + half[:, None] * (1.0 + x)).reshape(-1), (half[:, None] * w).reshape(-1)
