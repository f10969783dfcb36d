r"""The LASSO for a batch of problems with one matrix, stopped by a certificate.

The solver restarts the momentum of a problem where it points uphill, and lets a problem go as soon as its
duality gap is small enough: what is left of the batch gets cheaper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked, known

from .fista import advance, lipschitz
from .proxes import duality_gap, objective, prox, require_problem

__all__ = ["NotConverged", "Solution", "solve"]


# Several steps at once: what a backend may compile.
Advance: TypeAlias = Callable[..., tuple[Array, Array, Array]]
RelativeTo: TypeAlias = Literal["value", "data"]


@final
@dataclass(frozen=True, slots=True, eq=False)
@checked
class Solution:
    """The result of :func:`solve`.

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
        gap: The largest gap, relative to the value or to the squared norm of the measurements, as ``relative_to`` says.
        tolerance: The goal for it.
        steps: Steps taken.
        best: The best coordinates reached.
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


@arrays()
def solve(
    A: Array,
    y: Array,
    lam: float | Array,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    tolerance: float | None = None,
    relative_to: RelativeTo = "value",
    max_iterations: int = 5000,
    every: int = 20,
    start: Array | None = None,
    advance: Advance = advance,
    certificate: Callable[..., Array] = duality_gap.kernel,
) -> Solution:
    r"""The LASSO with bounds, for every row of ``y`` at once.

    .. math:: \min_{l \le x \le h}\; \tfrac12 |Ax - y|^2 + \lambda |x|_1 \quad
        \text{to a duality gap of} \; \epsilon\,F(x)

    F is the objective, so that F(x) is at most :math:`1/(1 - \epsilon)` times the optimal value, however small the
    penalty.  A gap of :math:`\epsilon\,|y|^2`, the goal of scikit-learn's ``Lasso(alpha=lam/m, tol=tolerance)``,
    says nothing where the optimal value is smaller than that.

    Arguments:
        A: The sketch, with shape (m, d).
        y: Measurements, with shape (..., m).
        lam: The penalty, > 0: a number, or an array with the shape (...) of the batch.
        low: Lower bound, <= 0; none by default.
        high: Upper bound, >= 0; none by default.
        tolerance: The goal epsilon, at least 16 roundings of the dtype; by default 1e-8, or 64 roundings if they
            are more.
        relative_to: ``"value"``, or ``"data"`` for a gap of epsilon |y|^2.
        max_iterations: Steps allowed.
        every: Steps between two looks at the gap.
        start: Where to start, with shape (..., d); 0 by default.
        advance, certificate: The kernels that take several steps and give the gap; compiled ones, for instance.

    Returns:
        The solution; a row of zeros in ``y`` gives zeros.

    Raises:
        UnmetHypothesis: lambda <= 0, a zero column of A, a tolerance that the dtype cannot reach, measurements
            whose squares leave the range of the dtype.
        NotConverged: After ``max_iterations`` steps a gap is above the goal; the error holds the gap and what was reached.

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
    if tolerance is None:
        tolerance = max(1e-8, 64.0 * float(xp.finfo(y.dtype).eps))
    if relative_to not in ("value", "data"):
        raise UnmetHypothesis("fista", "relative_to is 'value' or 'data'", f"relative_to = {relative_to!r}")
    _require_budget(xp, y, tolerance, max_iterations, every)
    rows = xp.reshape(y, (-1, y.shape[-1]))
    x = xp.zeros((rows.shape[0], A.shape[1]), dtype=y.dtype, device=device(y))
    if start is not None:
        _, _, (begin, _) = boundary("fista", start=start, y=y)
        if tuple(begin.shape) != (*shape, A.shape[1]):
            got = f"shape {tuple(begin.shape)}, y {tuple(y.shape)}"
            raise UnmetHypothesis("fista", f"start has {A.shape[1]} coordinates for each problem", got)
        x = prox.kernel(xp, xp.reshape(begin, tuple(x.shape)), 0.0, low, high)
    step = 1.0 / (lipschitz(A) * (1.0 + 8.0 * float(xp.finfo(y.dtype).eps)))
    found, gap, size, steps = _descend(
        xp,
        x,
        A,
        rows,
        lam,
        step,
        low,
        high,
        tolerance=tolerance,
        relative_to=relative_to,
        max_iterations=max_iterations,
        every=every,
        advance=advance,
        certificate=certificate,
    )
    solution = Solution(
        down(xp.reshape(found, (*shape, A.shape[1]))), down.wide(xp.reshape(gap, shape)), steps
    )
    late = gap > tolerance * size
    if known(xp.any(late)):
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
    relative_to: RelativeTo,
    max_iterations: int,
    every: int,
    advance: Advance,
    certificate: Callable[..., Array],
) -> tuple[Array, Array, Array, int]:
    """Iterates, gaps and what these are relative to, of all rows; rows that are done leave the batch."""
    rows = xp.arange(y.shape[0], device=device(y))
    z, t = x, xp.ones_like(x[:, :1])
    finished: list[tuple[Array, ...]] = []
    steps = 0
    while True:
        gap = certificate(xp, x, A, y, lam, low, high)
        size = xp.sum(y * y, axis=-1) if relative_to == "data" else objective.kernel(xp, x, A, y, lam)
        done = gap <= tolerance * size
        left = xp.sum(xp.astype(~done, xp.int64))
        if int(left) == 0 or steps >= max_iterations:
            finished.append((rows, x, gap, size))
            break
        # Leaving pays where a good part of the batch is done: a gather costs a few steps.
        if 4 * int(left) <= 3 * rows.shape[0]:
            gone, stay = xp.nonzero(done)[0], xp.nonzero(~done)[0]
            finished.append(tuple(xp.take(part, gone, axis=0) for part in (rows, x, gap, size)))
            rows, x, z, t, y = (xp.take(part, stay, axis=0) for part in (rows, x, z, t, y))
            if not isinstance(lam, float):
                lam = xp.take(lam, stay, axis=0)
        count = min(every, max_iterations - steps)
        x, z, t = advance(xp, x, z, t, A, y, lam, step, low, high, True, count)
        steps += count
    order, *found = (xp.concat(list(parts), axis=0) for parts in zip(*finished, strict=True))
    x, gap, size = (xp.take(part, xp.argsort(order), axis=0) for part in found)
    return x, gap, size, steps


def _penalties(xp: Namespace, lam: Any, y: Array) -> float | Array:
    """A number, or one penalty for each row of the flat batch, as a column."""
    if isinstance(lam, int | float) and not isinstance(lam, bool):
        return float(lam)
    _, _, (lam, _) = boundary("fista", lam=lam, y=y)
    if tuple(lam.shape) not in ((), tuple(y.shape[:-1])):
        got = f"lambda {tuple(lam.shape)}, y {tuple(y.shape)}"
        raise UnmetHypothesis("fista", "a penalty for each problem", got)
    return xp.reshape(xp.broadcast_to(lam, y.shape[:-1]), (-1, 1))


def _require_budget(xp: Namespace, y: Array, tolerance: float, max_iterations: int, every: int) -> None:
    least = 16.0 * float(xp.finfo(y.dtype).eps)
    if not least <= tolerance < math.inf:
        hypothesis = f"tolerance >= {least:.3g}, what {y.dtype} can certify, and finite"
        raise UnmetHypothesis("fista", hypothesis, f"tolerance = {tolerance!r}")
    if max_iterations < 1 or every < 1:
        raise UnmetHypothesis(
            "fista",
            "max_iterations >= 1 and every >= 1",
            f"max_iterations = {max_iterations}, every = {every}",
        )
    if 0 in tuple(y.shape):
        raise UnmetHypothesis("fista", "there are problems to solve", f"y of shape {tuple(y.shape)}")
    # The goal is a share of |y|^2: where that is lost, nothing is certified.
    info, largest = xp.finfo(y.dtype), xp.max(xp.abs(y), axis=-1)
    low, high = math.sqrt(float(info.smallest_normal) / tolerance), math.sqrt(float(info.max) / y.shape[-1])
    lost = (largest > 0) & ((largest < low) | (largest > high))
    if known(xp.any(lost)):
        worst = float(xp.max(xp.where(lost, largest, xp.zeros_like(largest))))
        hypothesis = f"|y|^2 neither underflows nor overflows in {y.dtype}"
        raise UnmetHypothesis("fista", hypothesis, f"the largest |y_i| is {worst:.3g}; scale the problem")
