r"""The optimal plan between two samples, and a map made of it.

.. math:: \min_{P \ge 0} \sum_{ij} P_{ij} |x_i - y_j|^2, \qquad P 1 = a, \quad P^\top 1 = b, \qquad
    \hat S(x_i) = \frac1{a_i} \sum_j P_{ij}\, y_j

Where the plan splits a point, :math:`\hat S` is the barycentre of the parts.  A plan knows nothing of other points: a new
x takes the image of its nearest sample (``"nearest"``) or that sample's displacement (``"displacement"``).
Both jump from cell to cell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, final

import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, checked
from driftproof.numerics._samples import Floats, as_points, as_rows, as_weights, require_squares

__all__ = ["Extension", "PlanMap", "fit_assignment"]

Extension: TypeAlias = Literal["nearest", "displacement"]


@final
@dataclass(frozen=True, eq=False)
@checked
class PlanMap:
    """The barycentric image of a plan, extended by the nearest neighbour.

    Arguments:
        points: The samples :math:`x_i`, shape (m, d).
        images: :math:`\\hat S(x_i)`, shape (m, d).
        cost: Squared transport cost between the two samples.
        extension: The part that a new point takes from its nearest sample.
    """

    points: Floats
    images: Floats
    cost: float
    extension: Extension
    _index: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from sklearn.neighbors import NearestNeighbors  # slow to import, and only maps need it

        if self.points.ndim != 2 or 0 in self.points.shape or self.images.shape != self.points.shape:
            got = f"shapes {self.points.shape}, {self.images.shape}"
            raise UnmetHypothesis("PlanMap", "points and images (m, d), not empty", got)
        if not np.isfinite(self.points).all():
            raise UnmetHypothesis("PlanMap", "points is finite", "an infinite coordinate")
        object.__setattr__(self, "_index", NearestNeighbors(n_neighbors=1).fit(self.points))

    def __call__(self, x: Array) -> Floats:
        """The images of points, shape (..., d)."""
        points = as_points("PlanMap", x, self.points.shape[1])
        rows = points.reshape(-1, points.shape[-1])
        nearest = self._index.kneighbors(rows, return_distance=False)[:, 0]
        images = self.images[nearest]
        if self.extension == "displacement":
            images = rows + (images - self.points[nearest])
        result: Floats = images.reshape(points.shape)
        return result


@arrays(results="numpy")
def fit_assignment(
    x: Array,
    y: Array,
    extension: Extension = "nearest",
    *,
    x_weights: Array | None = None,
    y_weights: Array | None = None,
    max_iterations: int = 1_000_000,
) -> PlanMap:
    r"""The map of the optimal plan from the sample x onto the sample y; time grows like :math:`m^3`.

    Arguments:
        x, y: Samples, shapes (m, d) and (n, d).
        extension: ``"nearest"`` or ``"displacement"``.
        x_weights, y_weights: Weights of the rows, > 0; uniform unless given.  Classes whose shares differ
            between the laws are brought to the same shares by them.
        max_iterations: Cap of the network simplex.

    Returns:
        The map, and the squared transport cost.

    Raises:
        UnmetHypothesis: The simplex did not end within the cap, or an argument is out of its range.

    References:
        | Displacement interpolation using Lagrangian mass transport (Bonneel, van de Panne, Paris & Heidrich, 2011)

    Claims: TRANSFER-ASSIGN-1

    Example:
        >>> onto = fit_assignment([[0.0], [1.0]], [[5.0], [3.0]])
        >>> onto([[0.25]]).tolist(), onto.cost
        ([[3.0]], 12.5)
    """
    import ot

    source, target = as_rows("fit_assignment", x=x, y=y)
    require_squares("fit_assignment", source, target)
    if extension not in ("nearest", "displacement"):
        hypothesis = "extension is 'nearest' or 'displacement'"
        raise UnmetHypothesis("fit_assignment", hypothesis, f"extension = {extension!r}")
    if max_iterations < 1:
        raise UnmetHypothesis("fit_assignment", "max_iterations >= 1", f"{max_iterations}")
    a = as_weights("fit_assignment", "x_weights", x_weights, source.shape[0])
    b = as_weights("fit_assignment", "y_weights", y_weights, target.shape[0])
    centre = source.mean(axis=0)  # the expanded squares cancel less near the origin
    cost = ot.dist(source - centre, target - centre)
    with _quiet():
        plan, log = ot.emd(a, b, cost, numItermax=max_iterations, log=True)
    if log["result_code"] != 1:
        error = max(np.abs(plan.sum(axis=1) - a).sum(), np.abs(plan.sum(axis=0) - b).sum())
        hypothesis = f"the simplex ends within {max_iterations} iterations"
        raise UnmetHypothesis("fit_assignment", hypothesis, f"marginal error {error:.3g}; {log['warning']}")
    return PlanMap(source, (plan @ target) / a[:, None], float(log["cost"]), extension)


def _quiet() -> Any:
    """POT warns where this module raises."""
    import warnings

    return warnings.catch_warnings(action="ignore")
