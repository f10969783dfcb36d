r"""The affine map between two laws of which only mean and covariance are looked at.

.. math:: S(x) = Ax + b, \qquad A \hat\Sigma_x A = \hat\Sigma_y, \quad A\hat\mu_x + b = \hat\mu_y

It is the optimal map between normal laws, and the optimal *affine* map between all others.  A covariance from
m <= d samples is singular: the map needs m > d, or shrinkage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary, checked
from driftproof.numerics._samples import Floats, as_rows, as_weights, require_squares
from driftproof.theory.laws import Gaussian, wasserstein2
from driftproof.theory.laws.maps import gaussian_map

__all__ = ["AffineMap", "fit_gaussian"]


@final
@dataclass(frozen=True, eq=False)
@checked
class AffineMap:
    """The map x -> A x + b.

    Arguments:
        matrix: A, shape (d, d), float64 on the host.
        shift: b, shape (d,).
        cost: Squared transport cost between the two normal laws.
    """

    matrix: Floats
    shift: Floats
    cost: float

    def __call__(self, x: Array) -> Array:
        """The images of points, shape (..., d), in their own namespace, dtype and device."""
        xp, down, (points,) = boundary("AffineMap", x=x)
        if points.ndim < 1 or points.shape[-1] != self.shift.shape[0]:
            got = f"shape {tuple(points.shape)}"
            raise UnmetHypothesis("AffineMap", f"points have shape (..., {self.shift.shape[0]})", got)
        where = {"dtype": points.dtype, "device": device(points)}
        return down(
            points @ xp.asarray(self.matrix, **where) + xp.asarray(self.shift, **where)
        )  # A is symmetric


@arrays()
def fit_gaussian(
    x: Array,
    y: Array,
    shrinkage: float = 0.0,
    *,
    x_weights: Array | None = None,
    y_weights: Array | None = None,
) -> AffineMap:
    r"""The affine map from the sample x onto the sample y.

    .. math:: \hat\Sigma = (1 - \rho)\,\Sigma + \rho\,\frac{\mathrm{tr}\,\Sigma}{d} I

    Arguments:
        x, y: Samples, shapes (m, d) and (n, d), on the host.
        shrinkage: :math:`\rho` in [0, 1), for both covariances.
        x_weights, y_weights: Weights of the rows, > 0; uniform unless given.  Classes whose shares differ
            between the laws are brought to the same shares by them.

    Returns:
        The map, and the squared transport cost between the normal laws.

    Raises:
        UnmetHypothesis: m <= d or a feature of x without variance, unless shrunk; a covariance that is
            numerically singular all the same.

    References:
        | Concentration bounds for linear Monge mapping estimation and optimal transport domain adaptation
          (Flamary, Lounici & Ferrari, 2019)

    Claims: TRANSFER-BURES-1, TRANSFER-GAUSSMAP-1

    Example:
        >>> onto = fit_gaussian([[-1.0], [0.0], [1.0]], [[1.0], [3.0], [5.0]])
        >>> onto(np.asarray([[2.0]])).tolist(), round(onto.cost, 12)
        ([[7.0]], 10.0)
    """
    source, target = as_rows("fit_gaussian", least=2, x=x, y=y)
    require_squares("fit_gaussian", source, target)
    if not 0.0 <= shrinkage < 1.0:
        raise UnmetHypothesis("fit_gaussian", "0 <= shrinkage < 1", f"shrinkage = {shrinkage!r}")
    m, d = source.shape
    # The first two rows tell nearly always, without a pass over all.
    if np.array_equal(source[0], source[1]) and not np.ptp(source, axis=0).any():
        raise UnmetHypothesis("fit_gaussian", "x has two different rows", f"all {m} are equal")
    weights = (
        as_weights("fit_gaussian", "x_weights", x_weights, m),
        as_weights("fit_gaussian", "y_weights", y_weights, target.shape[0]),
    )
    laws = [
        Gaussian(*_moments(rows, w, shrinkage)) for rows, w in zip((source, target), weights, strict=True)
    ]
    if shrinkage == 0.0:
        # Means round: a still feature may show a variance of the order of its roundings.
        suspects = np.flatnonzero(np.diagonal(laws[0].cov) <= 1e-28 * np.square(laws[0].mean))
        still = suspects[np.ptp(source[:, suspects], axis=0) == 0.0]
        if still.size:
            got = f"{still.size} of {d} do not, the first is feature {still[0]}"
            raise UnmetHypothesis("fit_gaussian", "every feature of x varies, or shrinkage > 0", got)
        if m <= d:
            raise UnmetHypothesis("fit_gaussian", "m > d, or shrinkage > 0", f"m = {m}, d = {d}")
    a, b = gaussian_map(laws[0].mean, laws[0].cov, laws[1].mean, laws[1].cov)
    return AffineMap(a, b, float(wasserstein2(*laws)) ** 2)


def _moments(rows: Floats, weights: Floats, shrinkage: float) -> tuple[Floats, Floats]:
    """Mean and shrunk covariance; unbiased before it is shrunk."""
    d = rows.shape[1]
    mean = weights @ rows
    centred = rows - mean
    centred *= np.sqrt(weights)[:, None]
    if not weights @ weights < 1.0:
        raise UnmetHypothesis("fit_gaussian", "two rows or more have weight", "one row has all of it")
    cov = centred.T @ centred / (1.0 - weights @ weights)
    return mean, (1.0 - shrinkage) * cov + shrinkage * (np.trace(cov) / d) * np.eye(d)
