r"""Basis pursuit denoising: the sparsest signal, in the l1 norm, within a ball around the measurements.

.. math:: \min_x |x|_1 \;\;\text{subject to}\;\; |Ax - y| \le \epsilon \qquad\iff\qquad
    \min_x \tfrac12|Ax - y|^2 + \lambda|x|_1 \;\;\text{at the}\;\lambda\;\text{where}\; |Ax_\lambda - y| = \epsilon

The residual of the LASSO does not decrease in :math:`\lambda`, from the distance of y to the range of A up to
:math:`|y|` at :math:`\lambda = |A^\top y|_\infty`: one root of a scalar function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from array_api_compat import device
from scipy.optimize import brentq

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked

from .proxes import require_problem
from .solver import solve

__all__ = ["Denoised", "bpdn"]


@final
@dataclass(frozen=True, slots=True, eq=False)
@checked
class Denoised:
    """The result of :func:`bpdn`.

    Arguments:
        x: Coordinates, with shape (d,).
        lam: The penalty of the LASSO that has this solution.
        residual: The length of Ax - y.
        gap: How far at most the l1 norm of ``x`` is above the least in the ball.
    """

    x: Array
    lam: float
    residual: float
    gap: float


@arrays()
def bpdn(
    A: Array, y: Array, radius: float, *, tolerance: float = 1e-13, max_iterations: int = 50_000
) -> Denoised:
    r"""Basis pursuit denoising, as about a dozen LASSO problems.

    .. math:: \min_x |x|_1 \;\;\text{subject to}\;\; |Ax - y| \le \epsilon; \qquad
        |x|_1 - \min \le |x|_1 - \frac{y^\top r - \epsilon|r|}{|A^\top r|_\infty}, \quad r = y - Ax

    Arguments:
        A: The sketch, with shape (m, d).
        y: Measurements of one signal, with shape (m,).
        radius: The radius :math:`\epsilon` of the ball, > 0: the length of the noise, not its square.
        tolerance: Duality gap of each LASSO, relative to :math:`|y|^2`; it settles residuals up to
            :math:`\sqrt{2\,\mathrm{tolerance}}\,|y|`, the least radius.
        max_iterations: Steps allowed for each LASSO.

    Returns:
        The solution with its certificate: the second term above is a value of the dual problem.

    Raises:
        UnmetHypothesis: The ball holds 0 (then x = 0), or no Ax (then there is no x), or the tolerance cannot tell;
            and what :func:`solve` refuses.
        NotConverged: A LASSO needs more steps; that of a radius close to the distance of y from the range of A.

    References:
        | Atomic decomposition by basis pursuit (Chen, Donoho & Saunders, 1998)
        | Probing the Pareto frontier for basis pursuit solutions (van den Berg & Friedlander, 2008)

    Claims: CSDM-BPDN-1

    Example:
        >>> import numpy as np
        >>> bpdn(np.eye(2), np.array([3.0, 4.0]), math.sqrt(2.0)).x.round(9).tolist()
        [2.0, 3.0]
    """
    xp, down, (A, y) = boundary("bpdn", A=A, y=y)
    if y.ndim != 1:
        raise UnmetHypothesis("bpdn", "y has the shape (m,) of one signal", f"shape {tuple(y.shape)}")
    require_problem(xp, A=A, y=y, lam=1.0)
    _require_radius(xp, A, y, radius, tolerance)
    found = zero = xp.zeros((A.shape[1],), dtype=y.dtype, device=device(y))
    top = math.log(float(xp.max(xp.abs(y @ A))))  # from here on x = 0

    def excess(log_lam: float) -> float:
        nonlocal found
        if log_lam >= top:
            found = zero
        else:
            found = solve(
                A,
                y,
                math.exp(log_lam),
                tolerance=tolerance,
                relative_to="data",
                max_iterations=max_iterations,
                start=found,
            ).x
        return _length(xp, y - A @ found) - radius

    high, low = top, top - 1.0
    while excess(low) > 0.0:
        high, low = low, low - 1.0
    root = float(brentq(excess, low, high, xtol=1e-14, rtol=1e-14))
    residual = excess(root) + radius
    left = y - A @ found
    dual = (float(y @ left) - radius * residual) / float(xp.max(xp.abs(left @ A)))
    return Denoised(down(found), math.exp(root), residual, float(xp.sum(xp.abs(found))) - dual)


def _require_radius(xp: Namespace, A: Array, y: Array, radius: float, tolerance: float) -> None:
    if not 0.0 < radius < math.inf:
        raise UnmetHypothesis("bpdn", "radius > 0 and finite", f"radius = {radius!r}")
    size = _length(xp, y)
    if radius >= size:
        hypothesis = "radius < |y|, as a ball that holds 0 has the solution x = 0"
        raise UnmetHypothesis("bpdn", hypothesis, f"radius = {radius!r}, |y| = {size:.6g}")
    u, s, _ = xp.linalg.svd(A, full_matrices=False)
    spans = s > xp.max(s) * max(A.shape) * float(xp.finfo(A.dtype).eps)
    inside = xp.where(spans, y @ u, xp.zeros_like(s))
    distance = _length(xp, y - u @ inside)
    if radius <= distance:
        hypothesis = "the ball holds some Ax, with radius > distance of y from the range of A"
        raise UnmetHypothesis("bpdn", hypothesis, f"radius = {radius!r}, distance = {distance:.6g}")
    least = distance + math.sqrt(2.0 * max(tolerance, 0.0)) * size
    if radius <= least:
        hypothesis = f"radius > {least:.6g}, what tolerance = {tolerance!r} can tell from the least residual"
        raise UnmetHypothesis("bpdn", hypothesis, f"radius = {radius!r}")


def _length(xp: Namespace, values: Array) -> float:
    return math.sqrt(float(xp.sum(values * values)))
