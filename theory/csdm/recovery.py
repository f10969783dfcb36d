r"""When a decoder must find sparse data: coherence, restricted isometry, and what they guarantee.

.. math:: (1-\delta_k)\,|x|^2 \le |Ax|^2 \le (1+\delta_k)\,|x|^2 \;\;\text{for all}\; k\text{-sparse}\; x, \qquad
    \mu = \max_{i \ne j} \frac{|a_i^\top a_j|}{|a_i||a_j|}
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from array_api_compat import device
from numpy.typing import NDArray

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, known, public

__all__ = ["bpdn_constant", "coherence", "omp_sparsity", "restricted_isometry", "simplex_etf"]

Matrix = NDArray[np.float64]
_MOST_SUPPORTS = 200_000


@arrays("numpy")
def simplex_etf(d: int) -> Matrix:
    r"""The simplex frame: d unit columns in R^(d-1) with all inner products -1/(d-1).

    Its restricted isometry constants are known exactly: :math:`\delta_k = (k-1)/(d-1)`.

    Arguments:
        d: Columns, >= 2.

    Returns:
        Matrix with shape (d - 1, d).

    Raises:
        UnmetHypothesis: d < 2.

    Claims: CSDM-RIP-1

    Example:
        >>> simplex_etf(2).tolist()
        [[1.0, -1.0]]
    """
    if d < 2:
        raise UnmetHypothesis("simplex_etf", "d >= 2", f"d = {d}")
    # Helmert's rows: row k holds 1, ..., 1, -k, scaled; they are orthonormal and orthogonal to 1.
    rows = np.zeros((d - 1, d))
    for k in range(1, d):
        rows[k - 1, :k], rows[k - 1, k] = 1.0, -float(k)
        rows[k - 1] /= math.sqrt(k * (k + 1.0))
    return rows * math.sqrt(d / (d - 1.0))


@arrays()
def restricted_isometry(sketch: Array, k: int) -> float:
    r"""The restricted isometry constant, exactly, by all supports.

    .. math:: \delta_k = \max_{|S| = k} \lVert A_S^\top A_S - I \rVert

    Arguments:
        sketch: The matrix A, with shape (m, d): small, there are binomially many supports.
        k: Size of the supports, 1 <= k <= d.

    Returns:
        The constant.

    Raises:
        UnmetHypothesis: k out of range, or more than 200000 supports.

    Claims: CSDM-RIP-1

    Example:
        >>> round(restricted_isometry(simplex_etf(5), 3), 12)
        0.5
    """
    matrix = np.asarray(sketch, dtype=np.float64)
    d = matrix.shape[-1]
    if matrix.ndim != 2 or not 1 <= k <= d:
        raise UnmetHypothesis(
            "restricted_isometry", "A (m, d) and 1 <= k <= d", f"shape {matrix.shape}, k = {k}"
        )
    if not np.isfinite(matrix).all():
        wrong = int(np.count_nonzero(~np.isfinite(matrix)))
        raise UnmetHypothesis(
            "restricted_isometry", "A is finite", f"{wrong} of {matrix.size} numbers are not"
        )
    if math.comb(d, k) > _MOST_SUPPORTS:
        got = f"{math.comb(d, k)} supports"
        raise UnmetHypothesis("restricted_isometry", f"at most {_MOST_SUPPORTS} supports", got)
    supports = np.array(list(combinations(range(d), k)))
    gram = matrix.T @ matrix
    blocks = gram[supports[:, :, None], supports[:, None, :]] - np.eye(k)
    return float(np.abs(np.linalg.eigvalsh(blocks)).max())


def _columns_vary(xp: Namespace, *, sketch: Array) -> None:
    if sketch.ndim < 2 or sketch.shape[-1] < 2:
        raise UnmetHypothesis("coherence", "A has two columns or more", f"shape {tuple(sketch.shape)}")
    empty = xp.all(sketch == 0, axis=-2)
    if known(xp.any(empty)):
        zeros = int(xp.sum(xp.astype(empty, xp.int64)))
        raise UnmetHypothesis("coherence", "no column of A is zero", f"{zeros} zero columns")


@public(wide=True, check=_columns_vary, sketch="finite")
def coherence(xp: Namespace, sketch: Array) -> Array:
    r"""The largest cosine between two columns.

    .. math:: \mu = \max_{i \ne j} \frac{|a_i^\top a_j|}{|a_i|\,|a_j|}

    Arguments:
        sketch: The matrix A, with shape (..., m, d), d >= 2.

    Returns:
        Array with shape (...), in [0, 1].

    Raises:
        UnmetHypothesis: A column is zero.

    Claims: CSDM-OMP-1

    Example:
        >>> float(coherence([[1.0, 3.0], [0.0, 4.0]]))
        0.6
    """
    # First over the largest entry: no square overflows.
    sketch = sketch / xp.max(xp.abs(sketch), axis=-2, keepdims=True)
    unit = sketch / xp.sqrt(xp.sum(sketch * sketch, axis=-2, keepdims=True))
    cosines = xp.abs(xp.matrix_transpose(unit) @ unit)
    diagonal = xp.eye(cosines.shape[-1], dtype=cosines.dtype, device=device(cosines))
    off = cosines * (1.0 - diagonal)
    return xp.max(xp.reshape(off, (*off.shape[:-2], -1)), axis=-1)


def bpdn_constant(delta: float) -> float:
    r"""The constant of basis pursuit denoising.

    .. math:: |\hat x - x| \le C\eta, \qquad C = \frac{4\sqrt{1+\delta_{2s}}}{1-(1+\sqrt2)\,\delta_{2s}}

    for every s-sparse x, noise of norm at most eta, and :math:`\hat x` of least l1 norm among
    :math:`|A\hat x - y| \le \eta`.

    Arguments:
        delta: The restricted isometry constant of order 2s, in [0, sqrt(2) - 1).

    Raises:
        UnmetHypothesis: delta out of range.

    References:
        | The restricted isometry property and its implications for compressed sensing (Candès, 2008), theorem 1.2

    Claims: CSDM-RIP-1

    Example:
        >>> bpdn_constant(0.0)
        4.0
    """
    if not 0.0 <= delta < math.sqrt(2.0) - 1.0:
        raise UnmetHypothesis("bpdn_constant", "0 <= delta_2s < sqrt(2) - 1", f"delta_2s = {delta:.6g}")
    return 4.0 * math.sqrt(1.0 + delta) / (1.0 - (1.0 + math.sqrt(2.0)) * delta)


def omp_sparsity(mu: float) -> int:
    r"""The largest sparsity that orthogonal matching pursuit, and l1, recover whatever the support.

    .. math:: s < \frac12\Big(1 + \frac1\mu\Big)

    Arguments:
        mu: The coherence, in (0, 1].

    Returns:
        The largest such s, >= 0.

    Raises:
        UnmetHypothesis: mu out of range.

    References:
        | Greed is good: algorithmic results for sparse approximation (Tropp, 2004), theorem 3.5 and corollary 3.6

    Claims: CSDM-OMP-1

    Example:
        >>> omp_sparsity(1.0 / 8.0), omp_sparsity(1.0)
        (4, 0)
    """
    if not 1e-300 < mu <= 1.0:
        raise UnmetHypothesis("omp_sparsity", "mu in (1e-300, 1]", f"mu = {mu!r}")
    limit = 0.5 * (1.0 + 1.0 / mu)
    return math.ceil(limit * (1.0 - 4.0 * np.finfo(np.float64).eps)) - 1
