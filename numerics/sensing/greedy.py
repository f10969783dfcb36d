r"""Least squares on a support: given, or found greedily.

.. math:: \hat x_S = A_S^+ y, \qquad S_{k+1} = S_k \cup \{\arg\max_j |a_j^\top (y - A \hat x_k)| / |a_j|\}

Symbols:
    A: The sketch, with shape (m, d).
    y: Measurements, with shape (..., m).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis, known, public

__all__ = ["debias", "omp"]


def _require_matrix(xp: Namespace, subject: str, A: Array, y: Array) -> None:
    if A.ndim != 2 or 0 in A.shape or y.ndim < 1 or y.shape[-1] != A.shape[0]:
        raise UnmetHypothesis(
            subject, "A (m, d), not empty, and y (..., m)", f"{tuple(A.shape)}, {tuple(y.shape)}"
        )
    empty = xp.sum(A * A, axis=0) == 0
    if known(xp.any(empty)):
        got = f"{int(xp.sum(xp.astype(empty, xp.int64)))} of {A.shape[1]} columns"
        raise UnmetHypothesis(subject, "no column of A is zero", got)


def _check_support(xp: Namespace, *, A: Array, y: Array, x: Array) -> None:
    _require_matrix(xp, "debias", A, y)
    if tuple(x.shape) != (*y.shape[:-1], A.shape[1]):
        raise UnmetHypothesis("debias", "x (..., d)", f"{tuple(x.shape)}, A {tuple(A.shape)}")
    if 0 in tuple(x.shape):
        return
    sizes = xp.sum(xp.astype(x != 0, xp.int64), axis=-1)
    largest, m = int(xp.max(sizes)), A.shape[0]
    if largest > m:
        raise UnmetHypothesis("debias", "s <= m", f"s = {largest}, m = {m}")
    # Normal equations of unit columns, less what rounding could make of 0: they have a factor or are singular.
    unit = A / xp.sqrt(xp.sum(A * A, axis=0))
    matrix = _restricted(xp, unit, xp.astype(x != 0, A.dtype))
    floor = _dependent(xp, A)
    try:
        xp.linalg.cholesky(matrix - floor * xp.eye(A.shape[1], dtype=A.dtype, device=device(A)))
    except (np.linalg.LinAlgError, RuntimeError):  # torch's is a RuntimeError
        least = float(xp.min(xp.linalg.eigvalsh(matrix)))
        got = f"least eigenvalue of their Gram matrix = {least:.3g}"
        raise UnmetHypothesis("debias", "the columns on a support are independent", got) from None


# x says which coordinates are refitted.
@public(check=_check_support, differentiates=("A", "y"), A="finite", y="finite")
def debias(xp: Namespace, A: Array, y: Array, x: Array) -> Array:
    r"""Least squares on the support of x: what takes the bias of the l1 penalty away.

    .. math:: \hat x_S = (A_S^\top A_S)^{-1} A_S^\top y, \qquad S = \{j : x_j \ne 0\}, \qquad
        \hat x^{\ell_1}_S = \hat x_S - \lambda\,(A_S^\top A_S)^{-1} \mathrm{sign}(x_S)

    Arguments:
        A, y: Symbols of the module.
        x: Coordinates whose support is kept, with shape (..., d).

    Returns:
        Array with shape (..., d), zero outside of the support.

    Raises:
        UnmetHypothesis: A support larger than m, or whose columns depend on each other; a zero column, or shapes
            that do not match.

    Claims: CSDM-DEBIAS-1, CSDM-TRANSFER-1

    Example:
        >>> import numpy as np
        >>> debias(np.eye(2), np.array([3.0, 0.5]), np.array([2.0, 0.0])).tolist()
        [3.0, 0.0]
    """
    chosen = xp.astype(x != 0, A.dtype)
    return _on_support(xp, A, y, chosen)


def _check_sparsity(xp: Namespace, *, A: Array, y: Array, s: int) -> None:
    _require_matrix(xp, "omp", A, y)
    m, d = A.shape
    if not 1 <= s <= d:
        raise UnmetHypothesis("omp", "1 <= s <= d", f"s = {s}, d = {d}")
    if s > m:
        raise UnmetHypothesis("omp", "s <= m", f"s = {s}, m = {m}")


@public(check=_check_sparsity, A="finite", y="finite")
def omp(xp: Namespace, A: Array, y: Array, s: int) -> Array:
    r"""Orthogonal matching pursuit: s times the column that correlates best with what is left.

    Columns that depend on those taken are passed over.  Exact for every s-sparse x whose sparsity is below :math:`(1 + 1/\mu)/2`.

    Arguments:
        A, y: Symbols of the module.
        s: Columns to take, 1 <= s <= min(m, d).

    Returns:
        Array with shape (..., d), at most s entries of each row not 0.

    Raises:
        UnmetHypothesis: s > m, a zero column, or shapes that do not match.

    References:
        | Greed is good: algorithmic results for sparse approximation (Tropp, 2004), theorem 3.5

    Claims: CSDM-OMP-1

    Example:
        >>> import numpy as np
        >>> omp(np.eye(3), np.array([0.5, -3.0, 2.0]), 2).tolist()
        [0.0, -3.0, 2.0]
    """
    unit = A / xp.sqrt(xp.sum(A * A, axis=0))
    columns = xp.arange(A.shape[1], device=device(A))
    chosen = xp.zeros_like(y[..., :1] * A[0, :])
    new, floor = (
        xp.ones_like(chosen),
        _dependent(xp, A),
    )  # of a unit column, what its square has outside of the span
    left = y
    directions: list[Array] = []
    for _ in range(s):
        fit = xp.abs(left @ unit)
        fit = xp.where(new > floor, fit, -xp.ones_like(fit))  # at a residual of 0 a new column, too
        best = xp.argmax(fit, axis=-1, keepdims=True)
        picked = xp.astype((columns == best) & (new > floor), A.dtype)
        chosen = chosen + picked
        q = picked @ xp.matrix_transpose(unit)
        for direction in (*directions, *directions):  # twice is enough
            q = q - direction * xp.sum(direction * q, axis=-1, keepdims=True)
        length = xp.sqrt(xp.sum(q * q, axis=-1, keepdims=True))
        q = q / xp.where(length > 0, length, xp.ones_like(length))
        directions.append(q)
        new = xp.where(picked > 0, xp.zeros_like(new), new - (q @ unit) ** 2)
        left = left - q * xp.sum(q * left, axis=-1, keepdims=True)
    return _on_support(xp, A, y, chosen)


def _on_support(xp: Namespace, A: Array, y: Array, chosen: Array) -> Array:
    """Normal equations with the rows and columns outside of the support replaced by the identity."""
    right: Any = chosen * (y @ A)
    return xp.linalg.solve(_restricted(xp, A, chosen), right[..., None])[..., 0]


def _restricted(xp: Namespace, A: Array, chosen: Array) -> Array:
    gram = xp.matrix_transpose(A) @ A
    identity = xp.eye(A.shape[1], dtype=A.dtype, device=device(A))
    both = chosen[..., :, None] * chosen[..., None, :]
    return both * gram + (1.0 - chosen)[..., None] * identity


def _dependent(xp: Namespace, A: Array) -> float:
    """Squared length outside of a span that rounding alone can give a unit column."""
    return 64.0 * float(xp.finfo(A.dtype).eps)
