r"""Transport on the line: the quantile of one law at the rank in the other.

.. math:: S(x) = F_Q^{-1}(F_P(x))

With samples the order statistics stand for both: of equal numbers, the i-th smallest goes to the i-th
smallest.  Between order statistics the map is linear; beyond the last one it goes on as a shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from ..._namespace import Array, UnmetHypothesis
from .._samples import Floats, as_points, as_rows, require_squares

__all__ = ["QuantileMap", "fit_quantile"]


@final
@dataclass(frozen=True, eq=False)
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


def fit_quantile(x: Array, y: Array) -> QuantileMap:
    r"""The quantile map from the sample x onto the sample y.

    Arguments:
        x, y: Samples on the line, shapes (m, 1) and (n, 1); equal values share their mean rank.

    Returns:
        The map, and the squared transport cost.

    Raises:
        UnmetHypothesis: x has fewer than two different values: one point has no map onto many.

    References:
        | Topics in optimal transportation (Villani, 2003), theorem 2.18

    Claims: TRANSFER-ASSIGN-1

    Example:
        >>> onto = fit_quantile([[1.0], [3.0], [2.0]], [[20.0], [10.0], [30.0]])
        >>> onto([[1.0], [2.5], [4.0]]).tolist(), onto.cost
        ([[10.0], [25.0], [31.0]], 378.0)
    """
    import ot  # a second to import, and only plans need it

    source, target = as_rows("fit_quantile", x=x, y=y)
    require_squares("fit_quantile", source, target)
    if source.shape[1] != 1:
        raise UnmetHypothesis("fit_quantile", "d = 1", f"d = {source.shape[1]}")
    knots, index = np.unique(source[:, 0], return_inverse=True)
    if knots.size < 2:
        raise UnmetHypothesis("fit_quantile", "x has two different values", "its variance is 0")
    counts = np.bincount(index)
    ranks = (np.cumsum(counts) - 0.5 * counts) / source.shape[0]
    ordered = np.sort(target[:, 0])
    middles = (np.arange(ordered.size) + 0.5) / ordered.size
    # The quantile function bends too: its ranks become knots, between the first and the last of x.
    bends = middles[(middles > ranks[0]) & (middles < ranks[-1])]
    at = np.unique(np.concatenate([knots, np.interp(bends, ranks, knots)]))
    images = np.interp(np.interp(at, knots, ranks), middles, ordered)
    cost = float(ot.emd2_1d(source[:, 0], target[:, 0], metric="sqeuclidean"))
    return QuantileMap(at, images, cost)
