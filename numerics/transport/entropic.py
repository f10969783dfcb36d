r"""The entropic map from samples, and what removes its shrinkage.

Entropy blurs: the image of a sample is shrunk towards its mean, and the law onto itself is not mapped by the
identity.  The debiased map takes that self-map away,

.. math:: S(x) = x + S_\varepsilon^{x \to y}(x) - S_\varepsilon^{x \to x}(x)

so that identical laws give the identity, and a shift the shift, at every :math:`\varepsilon`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, checked
from driftproof.numerics._samples import Floats, as_points, as_rows, as_weights, require_squares

from .sinkhorn import entropic_image

__all__ = ["EntropicMap", "fit_entropic"]


@final
@dataclass(frozen=True, eq=False)
@checked
class EntropicMap:
    """The entropic map of two samples.

    Arguments:
        points, atoms: The samples, shapes (m, d) and (n, d).
        potential: The potential of the atoms, shape (n,).
        self_potential: The potential of the points onto themselves, shape (m,); None: not debiased.
        epsilon: The regularisation, in units of the squared distance.
        cost: Transport cost of the plan, without its entropy.
        iterations: Those of the longer of the two Sinkhorn runs.
        marginal_error: The larger of their errors, as a Euclidean norm.
    """

    points: Floats
    atoms: Floats
    potential: Floats
    self_potential: Floats | None
    epsilon: float
    cost: float
    iterations: int
    marginal_error: float

    def __call__(self, x: Array) -> Floats:
        """The images of points, shape (..., d)."""
        points = as_points("EntropicMap", x, self.points.shape[1])
        rows = points.reshape(-1, points.shape[-1])
        images: Floats = entropic_image(rows, self.atoms, self.potential, self.epsilon)
        if self.self_potential is not None:
            images = rows + images - entropic_image(rows, self.points, self.self_potential, self.epsilon)
        return images.reshape(points.shape)


@arrays(results="numpy")
def fit_entropic(
    x: Array,
    y: Array,
    epsilon: float,
    *,
    debias: bool = True,
    x_weights: Array | None = None,
    y_weights: Array | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 10_000,
) -> EntropicMap:
    r"""The entropic map from the sample x onto the sample y, by POT's Sinkhorn iteration in the log domain.

    Arguments:
        x, y: Samples, shapes (m, d) and (n, d).
        epsilon: :math:`\varepsilon > 0`, in units of the squared distance; where it is large beside the
            squared distances the map is nearly constant, where it is small the iteration is long.
        debias: Take the self-map of x away.
        x_weights, y_weights: Weights of the rows, > 0; uniform unless given.
        tolerance: Largest Euclidean norm of the error of a marginal, > 0.
        max_iterations: Cap of the iteration, >= 1.

    Returns:
        The map.

    Raises:
        UnmetHypothesis: epsilon <= 0; the marginal error is above the tolerance at the cap.

    References:
        | Entropic estimation of optimal transport maps (Pooladian & Niles-Weed, 2021)
        | Debiaser beware: pitfalls of centering regularized transport maps (Pooladian, Cuturi & Niles-Weed, 2022)

    Claims: TRANSFER-ENTROPIC-1

    Example:
        >>> x = np.asarray([[0.0], [1.0], [3.0]])
        >>> bool(np.allclose(fit_entropic(x, x + 2.0, 1.0)(x), x + 2.0, atol=1e-5))
        True
    """
    source, target = as_rows("fit_entropic", x=x, y=y)
    require_squares("fit_entropic", source, target)
    for name, value in {"epsilon": epsilon, "tolerance": tolerance}.items():
        if not (value > 0.0 and np.isfinite(value)):
            raise UnmetHypothesis("fit_entropic", f"{name} > 0 and finite", f"{name} = {value!r}")
    if max_iterations < 1:
        raise UnmetHypothesis("fit_entropic", "max_iterations >= 1", f"{max_iterations}")
    a = as_weights("fit_entropic", "x_weights", x_weights, source.shape[0])
    b = as_weights("fit_entropic", "y_weights", y_weights, target.shape[0])
    options = (epsilon, tolerance, max_iterations)
    potential, cost, steps, error = _sinkhorn(source, target, a, b, *options)
    own = None
    if debias:
        own, _, more, other = _sinkhorn(source, source, a, a, *options)
        steps, error = max(steps, more), max(error, other)
    return EntropicMap(source, target, potential, own, epsilon, cost, steps, error)


def _sinkhorn(
    x: Floats, y: Floats, a: Floats, b: Floats, epsilon: float, tolerance: float, cap: int
) -> tuple[Floats, float, int, float]:
    """POT's potentials of y, the cost, the iterations and the error of the marginals."""
    import ot

    centre = x.mean(axis=0)
    cost = ot.dist(x - centre, y - centre)
    with np.errstate(over="ignore"):  # its log holds exp(u) as well, which nobody needs
        plan, log = ot.bregman.sinkhorn_log(
            a, b, cost, epsilon, numItermax=cap, stopThr=tolerance, warn=False, log=True
        )
    error = float(log["err"][-1])
    if not error < tolerance:
        hypothesis = f"the marginal error falls below {tolerance:g} within {cap} iterations"
        raise UnmetHypothesis(
            "fit_entropic", hypothesis, f"marginal error = {error:.3g} at epsilon = {epsilon:g}"
        )
    potential: Floats = log["log_v"]
    return potential, float(np.vdot(plan, cost)), int(log["niter"]) + 1, error
