r"""Transport on the line: the quantile of one law at the rank in the other.

.. math:: S(x) = F_Q^{-1}(F_P(x))

With samples the order statistics stand for both: of equal numbers, the i-th smallest goes to the i-th
smallest.  Between order statistics the map is linear; beyond the last one it goes on as a shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, checked
from driftproof.numerics._samples import Floats, as_points, as_rows, as_weights, require_squares

__all__ = ["QuantileMap", "fit_quantile"]


@final
@dataclass(frozen=True, eq=False)
@checked
class QuantileMap:
    """A non-decreasing, piecewise linear map.

    Arguments:
        knots: Where it bends, shape (knots,), increasing.
        images: Its values there, non-decreasing.
        cost: Squared transport cost between the two samples.
    """

    knots: Floats
    images: Floats
    cost: float

    def __call__(self, x: Array) -> Floats:
        """The images of points, shape (..., 1)."""
        points = as_points("QuantileMap", x, 1)
        ends = (self.images[0] - self.knots[0], self.images[-1] - self.knots[-1])
        inside = np.interp(points, self.knots, self.images)
        beyond = np.where(points < self.knots[0], points + ends[0], points + ends[1])
        outside = (points < self.knots[0]) | (points > self.knots[-1])
        result: Floats = np.where(outside, beyond, inside)
        return result


@arrays(results="numpy")
def fit_quantile(
    x: Array, y: Array, *, x_weights: Array | None = None, y_weights: Array | None = None
) -> QuantileMap:
    r"""The quantile map from the sample x onto the sample y.

    Arguments:
        x, y: Samples on the line, shapes (m, 1) and (n, 1); equal values of x share their mean rank.
        x_weights, y_weights: Weights of the rows, > 0; uniform unless given.  The rank of a row is the weight below
            it and half of its own.

    Returns:
        The map, and the squared transport cost.

    Raises:
        UnmetHypothesis: x has fewer than two different values: one point has no map onto many; or a weight is not
            positive.

    References:
        | Topics in optimal transportation (Villani, 2003), theorem 2.18

    Claims: TRANSFER-ASSIGN-1

    Example:
        >>> onto = fit_quantile([[1.0], [3.0], [2.0]], [[20.0], [10.0], [30.0]])
        >>> onto([[1.0], [2.5], [4.0]]).tolist(), onto.cost
        ([[10.0], [25.0], [31.0]], 378.0)
        >>> fit_quantile([[0.0], [1.0]], [[0.0], [1.0]], x_weights=[1.0, 3.0]).cost
        0.25
    """
    import ot  # a second to import, and only plans need it

    source, target = as_rows("fit_quantile", x=x, y=y)
    require_squares("fit_quantile", source, target)
    if source.shape[1] != 1:
        raise UnmetHypothesis("fit_quantile", "d = 1", f"d = {source.shape[1]}")
    knots, index = np.unique(source[:, 0], return_inverse=True)
    if knots.size < 2:
        raise UnmetHypothesis("fit_quantile", "x has two different values", "its variance is 0")
    a = as_weights("fit_quantile", "x_weights", x_weights, source.shape[0])
    b = as_weights("fit_quantile", "y_weights", y_weights, target.shape[0])
    # Rows of one weight are counted in integers: equal numbers have equal ranks, to the last bit.
    ranks = _ranks(np.bincount(index, None if x_weights is None else a))
    order = np.argsort(target[:, 0], kind="stable")
    ordered = target[order, 0]
    middles = _ranks(np.ones(order.size) if y_weights is None else b[order])
    # The quantile function bends too: its ranks become knots, between the first and the last of x.
    bends = middles[(middles > ranks[0]) & (middles < ranks[-1])]
    at = np.unique(np.concatenate([knots, np.interp(bends, ranks, knots)]))
    images = np.interp(np.interp(at, knots, ranks), middles, ordered)
    cost = float(ot.emd2_1d(source[:, 0], target[:, 0], a, b, metric="sqeuclidean"))
    return QuantileMap(at, images, cost)


def _ranks(weights: NDArray[Any]) -> Floats:
    """The weight below each point and half of its own, as shares of the whole."""
    below = np.cumsum(weights)
    result: Floats = (below - 0.5 * weights) / below[-1]
    return result
