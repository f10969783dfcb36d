r"""ISTA and FISTA on a batch of problems with one matrix, stopped by a certificate.

A step costs one pair of matrix products for the whole batch.  Without restarts the methods obey

.. math:: F(x_k) - F^* \le \frac{L\,|x_0 - x^*|^2}{2k} \;\;\text{(ISTA)}, \qquad
    \frac{2L\,|x_0 - x^*|^2}{(k+1)^2} \;\;\text{(FISTA)}, \qquad L = \lVert A \rVert^2;

the solver restarts the momentum of a problem where it points uphill, and lets a problem go as soon as its
duality gap is small enough: what is left of the batch gets cheaper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from array_api_compat import device

from ..._namespace import Array, Namespace, UnmetHypothesis, boundary, public
from .proxes import duality_gap, prox, require_problem

__all__ = ["NotConverged", "Solution", "advance", "fista_step", "ista_step", "lipschitz", "solve"]


@public(check=require_problem)
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


@public(check=require_problem)
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
    if not bool(xp.all(xp.isfinite(A))):
        raise UnmetHypothesis("lipschitz", "A is finite", "infinite values")
    return float(xp.max(xp.linalg.svdvals(A))) ** 2


@final
@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What :func:`solve` found.

    Arguments:
        x: Coordinates, with shape (..., d).
        gap: Duality gaps, with shape (...).
        steps: Steps of the slowest problem.
    """

    x: Array
    gap: Array
    steps: int


class NotConverged(ArithmeticError):
    """Problems whose duality gap is still above the goal after the last step that was allowed.

    Arguments:
        problems: How many they are.
        gap: The largest gap, relative to the squared norm of the measurements.
        tolerance: The goal for it.
        steps: Steps taken.
        best: What was reached.
    """

    def __init__(self, problems: int, gap: float, tolerance: float, steps: int, best: Solution) -> None:
        super().__init__(
            f"fista: {problems} problem(s) did not converge within {steps} steps: "
            f"relative duality gap {gap:.3g} > {tolerance:.3g}"
        )
        self.problems, self.gap, self.tolerance, self.steps = problems, gap, tolerance, steps
        self.best = best

    def __reduce__(self) -> tuple[type[NotConverged], tuple[int, float, float, int, Solution]]:
        return type(self), (self.problems, self.gap, self.tolerance, self.steps, self.best)


# Several steps at once: what a backend may compile.
Advance: TypeAlias = Callable[..., tuple[Array, Array, Array]]


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


def solve(
    A: Array,
    y: Array,
    lam: float | Array,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    tolerance: float = 1e-8,
    most: int = 5000,
    every: int = 20,
    start: Array | None = None,
    advance: Advance = advance,
    certificate: Callable[..., Array] = duality_gap.kernel,
) -> Solution:
    r"""The LASSO with bounds, for every row of ``y`` at once.

    .. math:: \min_{l \le x \le h}\; \tfrac12 |Ax - y|^2 + \lambda |x|_1 \quad
        \text{to a duality gap of} \; \epsilon\,|y|^2

    The same goal as scikit-learn's ``Lasso(alpha=lam/m, tol=tolerance)``.

    Arguments:
        A: The sketch, with shape (m, d).
        y: Measurements, with shape (..., m).
        lam: The penalty, > 0: a number, or an array with the shape (...) of the batch.
        low: Lower bound, <= 0; none by default.
        high: Upper bound, >= 0; none by default.
        tolerance: The goal epsilon, at least 16 roundings of the dtype.
        most: Steps allowed.
        every: Steps between two looks at the gap.
        start: Where to start, with shape (..., d); 0 by default.
        advance, certificate: The kernels that take several steps and give the gap; compiled ones, for instance.

    Returns:
        The solution; a row of zeros in ``y`` gives zeros.

    Raises:
        UnmetHypothesis: lambda <= 0, a zero column of A, a tolerance that the dtype cannot reach, measurements
            whose squares leave the range of the dtype.
        NotConverged: After ``most`` steps a gap is above the goal; the error holds the gap and what was reached.

    Claims: CSDM-GAP-1

    Example:
        >>> import numpy as np
        >>> solve(np.eye(3), np.array([3.0, 0.5, -2.0]), 1.0).x.tolist()
        [2.0, 0.0, -1.0]
        >>> solve(np.eye(3), np.array([3.0, 0.5, -2.0]), 1.0, low=0.0, high=1.0).x.tolist()
        [1.0, 0.0, 0.0]
    """
    xp, down, (A, y) = boundary("fista", A=A, y=y)
    shape = tuple(y.shape[:-1])
    lam = _penalties(xp, lam, y)
    require_problem(xp, A=A, y=y, lam=lam, low=low, high=high)
    _require_budget(xp, y, tolerance, most, every)
    rows = xp.reshape(y, (-1, y.shape[-1]))
    x = xp.zeros((rows.shape[0], A.shape[1]), dtype=y.dtype, device=device(y))
    if start is not None:
        _, _, (begin, _) = boundary("fista", start=start, y=y)
        if tuple(begin.shape) != (*shape, A.shape[1]):
            got = f"shape {tuple(begin.shape)}, y {tuple(y.shape)}"
            raise UnmetHypothesis("fista", f"start has {A.shape[1]} coordinates for each problem", got)
        x = prox.kernel(xp, xp.reshape(begin, tuple(x.shape)), 0.0, low, high)
    step = 1.0 / (lipschitz(A) * (1.0 + 8.0 * float(xp.finfo(y.dtype).eps)))
    found, gap, steps = _descend(
        xp,
        x,
        A,
        rows,
        lam,
        step,
        low,
        high,
        tolerance=tolerance,
        most=most,
        every=every,
        advance=advance,
        certificate=certificate,
    )
    solution = Solution(down(xp.reshape(found, (*shape, A.shape[1]))), down(xp.reshape(gap, shape)), steps)
    size = xp.sum(rows * rows, axis=-1)
    late = gap > tolerance * size
    if bool(xp.any(late)):
        relative = xp.where(late, gap / xp.where(size > 0, size, xp.ones_like(size)), xp.zeros_like(gap))
        count = int(xp.sum(xp.astype(late, xp.int64)))
        raise NotConverged(count, float(xp.max(relative)), tolerance, steps, solution)
    return solution


def _descend(
    xp: Namespace,
    x: Array,
    A: Array,
    y: Array,
    lam: float | Array,
    step: float,
    low: float,
    high: float,
    *,
    tolerance: float,
    most: int,
    every: int,
    advance: Advance,
    certificate: Callable[..., Array],
) -> tuple[Array, Array, int]:
    """Iterates and gaps of all rows; rows that are done leave the batch."""
    goal = tolerance * xp.sum(y * y, axis=-1)
    rows = xp.arange(y.shape[0], device=device(y))
    z, t = x, xp.ones_like(x[:, :1])
    finished: list[tuple[Array, Array, Array]] = []
    steps = 0
    while True:
        gap = certificate(xp, x, A, y, lam, low, high)
        done = gap <= goal
        left = xp.sum(xp.astype(~done, xp.int64))
        if int(left) == 0 or steps >= most:
            finished.append((rows, x, gap))
            break
        # Leaving pays where a good part of the batch is done: a gather costs a few steps.
        if 4 * int(left) <= 3 * rows.shape[0]:
            gone, stay = xp.nonzero(done)[0], xp.nonzero(~done)[0]
            finished.append(tuple(xp.take(part, gone, axis=0) for part in (rows, x, gap)))
            rows, x, z, t, y, goal = (xp.take(part, stay, axis=0) for part in (rows, x, z, t, y, goal))
            if not isinstance(lam, float):
                lam = xp.take(lam, stay, axis=0)
        count = min(every, most - steps)
        x, z, t = advance(xp, x, z, t, A, y, lam, step, low, high, True, count)
        steps += count
    order, x, gap = (xp.concat([parts[i] for parts in finished], axis=0) for i in range(3))
    back = xp.argsort(order)
    return xp.take(x, back, axis=0), xp.take(gap, back, axis=0), steps


def _penalties(xp: Namespace, lam: Any, y: Array) -> float | Array:
    """A number, or one penalty for each row of the flat batch, as a column."""
    if isinstance(lam, int | float) and not isinstance(lam, bool):
        return float(lam)
    _, _, (lam, _) = boundary("fista", lam=lam, y=y)
    if tuple(lam.shape) not in ((), tuple(y.shape[:-1])):
        got = f"lambda {tuple(lam.shape)}, y {tuple(y.shape)}"
        raise UnmetHypothesis("fista", "a penalty for each problem", got)
    return xp.reshape(xp.broadcast_to(lam, y.shape[:-1]), (-1, 1))


def _require_budget(xp: Namespace, y: Array, tolerance: float, most: int, every: int) -> None:
    least = 16.0 * float(xp.finfo(y.dtype).eps)
    if not least <= tolerance < math.inf:
        hypothesis = f"tolerance >= {least:.3g}, what {y.dtype} can certify, and finite"
        raise UnmetHypothesis("fista", hypothesis, f"tolerance = {tolerance!r}")
    if most < 1 or every < 1:
        raise UnmetHypothesis("fista", "most >= 1 and every >= 1", f"most = {most}, every = {every}")
    if 0 in tuple(y.shape):
        raise UnmetHypothesis("fista", "there are problems to solve", f"y of shape {tuple(y.shape)}")
    # The goal is a share of |y|^2: where that is lost, nothing is certified.
    info, largest = xp.finfo(y.dtype), xp.max(xp.abs(y), axis=-1)
    low, high = math.sqrt(float(info.smallest_normal) / tolerance), math.sqrt(float(info.max) / y.shape[-1])
    lost = (largest > 0) & ((largest < low) | (largest > high))
    if bool(xp.any(lost)):
        worst = float(xp.max(xp.where(lost, largest, xp.zeros_like(largest))))
        hypothesis = f"|y|^2 neither underflows nor overflows in {y.dtype}: scale the problem"
        raise UnmetHypothesis("fista", hypothesis, f"the largest |y_i| is {worst:.3g}")
