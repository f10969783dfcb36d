r"""Estimated transport maps, from samples of two laws.

* :mod:`quantile`: on the line, by order statistics;
* :mod:`gaussian`: the affine map between two normal laws, from means and covariances;
* :mod:`assignment`: the optimal plan between samples, its barycentric image, extended to new points by the
  nearest neighbour;
* :mod:`entropic`: the entropic map, which is defined everywhere, with its shrinkage removed;
* :mod:`sinkhorn`: the two formulas that the entropic map is made of, over any array namespace.

Plans are computed by POT; a fitted map is a small object with ``__call__``.  Errors name what failed and
by how much: nothing that did not converge is returned.
"""

from .assignment import PlanMap, fit_assignment
from .entropic import EntropicMap, fit_entropic
from .gaussian import AffineMap, fit_gaussian
from .quantile import QuantileMap, fit_quantile
from .sinkhorn import entropic_image, half_step

__all__ = [
    "AffineMap",
    "EntropicMap",
    "PlanMap",
    "QuantileMap",
    "entropic_image",
    "fit_assignment",
    "fit_entropic",
    "fit_gaussian",
    "fit_quantile",
    "half_step",
]
