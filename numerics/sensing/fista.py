r"""ISTA and FISTA on a batch of problems with one matrix: the steps.

A step costs one pair of matrix products for the whole batch.  Without restarts the methods obey

.. math:: F(x_k) - F^* \le \frac{L\,|x_0 - x^*|^2}{2k} \;\;\text{(ISTA)}, \qquad
    \frac{2L\,|x_0 - x^*|^2}{(k+1)^2} \;\;\text{(FISTA)}, \qquad L = \lVert A \rVert^2
"""

from __future__ import annotations

import math

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, holds, public

from .proxes import prox, require_problem

__all__ = ["advance", "fista_step", "ista_step", "lipschitz"]


@public(check=require_problem, low="in [-inf, inf]", high="in [-inf, inf]")
def ista_step(
    xp: Namespace,
    x: Array,
    A: Array,
    y: Array,
    lam: float | Array,
    step: float,
    low: float = -math.inf,
    high: float = math.inf,
) -> Array:
    r"""One step of proximal gradient descent.

    .. math:: x \gets \mathrm{prox}_{\lambda h}\big(x - h\,A^\top(Ax - y)\big)

    Arguments:
        x: Coordinates, with shape (..., d).
        A: The sketch, with shape (m, d).
        y: Measurements, with shape (..., m).
        lam: The penalty lambda, > 0; a number, or an array with shape (..., 1).
        step: The step h; it descends for h <= 1/L.
        low: Lower bound, <= 0; none by default.
        high: Upper bound, >= 0; none by default.

    Returns:
        Array with shape (..., d).

    Raises:
        UnmetHypothesis: lambda <= 0, a zero column, or shapes that do not match.

    References:
        | A fast iterative shrinkage-thresholding algorithm (Beck, Teboulle, 2009), eq. (3.2) and theorem 3.1

    Claims: CSDM-FISTA-1

    Example:
        >>> import numpy as np
        >>> ista_step(np.zeros(2), np.eye(2), np.array([3.0, 0.5]), 1.0, 1.0).tolist()
        [2.0, 0.0]
    """
    gradient = (x @ xp.matrix_transpose(A) - y) @ A
    return prox.kernel(xp, x - step * gradient, step * lam, low, high)


@public(check=require_problem, low="in [-inf, inf]", high="in [-inf, inf]")
def fista_step(
    xp: Namespace,
    x: Array,
    z: Array,
    t: Array,
    A: Array,
    y: Array,
    lam: float | Array,
    step: float,
    low: float = -math.inf,
    high: float = math.inf,
    restart: bool = False,
) -> tuple[Array, Array, Array]:
    r"""One step of FISTA.

    .. math:: x_k = \mathrm{prox}_{\lambda h}\big(z - h\,A^\top(Az - y)\big), \quad
        t_{k+1} = \tfrac12\big(1 + \sqrt{1 + 4 t_k^2}\big), \quad
        z_{k+1} = x_k + \frac{t_k - 1}{t_{k+1}}\,(x_k - x_{k-1})

    With ``restart`` a problem where :math:`(z - x_k)^\top(x_k - x_{k-1}) > 0` begins anew with t = 1.

    Arguments:
        x: The last iterates, with shape (..., d).
        z: The extrapolated points, with shape (..., d); start at ``x``.
        t: The momentum, with shape (..., 1); start at 1.
        A, y, lam, step, low, high: As for :func:`ista_step`.
        restart: Whether momentum that points uphill is dropped.

    Returns:
        The next ``x``, ``z`` and ``t``.

    Raises:
        UnmetHypothesis: lambda <= 0, a zero column, or shapes that do not match.

    References:
        | A fast iterative shrinkage-thresholding algorithm (Beck, Teboulle, 2009), eqs. (4.1) to (4.3), theorem 4.4
        | Adaptive restart for accelerated gradient schemes (O'Donoghue, Candès, 2015), https://arxiv.org/abs/1204.3982

    Claims: CSDM-FISTA-1

    Example:
        >>> import numpy as np
        >>> zero, y = np.zeros(2), np.array([3.0, 0.5])
        >>> fista_step(zero, zero, np.ones(1), np.eye(2), y, 1.0, 1.0)[0].tolist()
        [2.0, 0.0]
    """
    ahead = ista_step.kernel(xp, z, A, y, lam, step, low, high)
    change = ahead - x
    following = 0.5 * (1.0 + xp.sqrt(1.0 + 4.0 * t * t))
    momentum = (t - 1.0) / following
    if restart:
        uphill = xp.sum((z - ahead) * change, axis=-1, keepdims=True) > 0
        momentum = xp.where(uphill, xp.zeros_like(momentum), momentum)
        following = xp.where(uphill, xp.ones_like(following), following)
    return ahead, ahead + momentum * change, following


@arrays()
def lipschitz(A: Array) -> float:
    r"""The Lipschitz constant :math:`L = \lVert A \rVert^2` of the gradient, from the singular values.

    Arguments:
        A: Matrix with shape (m, d), finite.

    Returns:
        The constant.

    Raises:
        UnmetHypothesis: A is empty, or not finite.

    Example:
        >>> import numpy as np
        >>> lipschitz(np.diag([1.0, 3.0]))
        9.0
    """
    xp, _, (A,) = boundary("lipschitz", A=A)
    if A.ndim != 2 or 0 in A.shape:
        raise UnmetHypothesis("lipschitz", "A has the shape (m, d), not empty", f"shape {tuple(A.shape)}")
    if not holds(xp.all(xp.isfinite(A))):
        raise UnmetHypothesis("lipschitz", "A is finite", "infinite values")
    return float(xp.max(xp.linalg.svdvals(A))) ** 2


def advance(
    xp: Namespace,
    x: Array,
    z: Array,
    t: Array,
    A: Array,
    y: Array,
    lam: float | Array,
    step: float,
    low: float,
    high: float,
    restart: bool,
    count: int,
) -> tuple[Array, Array, Array]:
    """``count`` steps of :func:`fista_step`, a kernel."""
    for _ in range(count):
        x, z, t = fista_step.kernel(xp, x, z, t, A, y, lam, step, low, high, restart)
    return x, z, t
