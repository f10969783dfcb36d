r"""Orthonormal bases in which paths and images are sparse.

A basis is a matrix :math:`\Psi` of shape (d, d) whose rows are the basis vectors: coefficients are
:math:`c = \Psi x` and data :math:`x = \Psi^\top c`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftproof._capabilities import arrays
from driftproof._namespace import UnmetHypothesis

__all__ = ["cosine_basis", "haar_basis", "product_basis"]

Matrix = NDArray[np.float64]


@arrays("numpy")
def cosine_basis(d: int) -> Matrix:
    r"""The discrete cosine transform DCT-II, orthonormal.

    .. math:: \Psi_{kj} = \sqrt{\tfrac{2 - [k = 0]}{d}}\, \cos\frac{\pi k (2j+1)}{2d}

    Arguments:
        d: Coordinates, >= 1.

    Returns:
        Orthogonal matrix with shape (d, d); row 0 is constant.

    Raises:
        UnmetHypothesis: d < 1.

    Claims: CSDM-BASIS-1

    Example:
        >>> cosine_basis(2).round(12).tolist()
        [[0.707106781187, 0.707106781187], [0.707106781187, -0.707106781187]]
    """
    if d < 1:
        raise UnmetHypothesis("cosine_basis", "d >= 1", f"d = {d}")
    k, j = np.arange(d)[:, None], np.arange(d)[None, :]
    # The angle modulo a full turn in integers: large k loses no digits.
    rows = np.cos(np.pi * ((k * (2 * j + 1)) % (4 * d)) / (2 * d)) * math.sqrt(2.0 / d)
    rows[0] = 1.0 / math.sqrt(d)
    return np.asarray(rows, dtype=np.float64)


@arrays("numpy")
def haar_basis(d: int) -> Matrix:
    r"""The Haar wavelets, orthonormal, from coarse to fine.

    .. math:: \Psi_{2n} = \frac1{\sqrt2} \begin{pmatrix} \Psi_n \otimes (1, 1) \\ I_n \otimes (1, -1) \end{pmatrix}

    Arguments:
        d: Coordinates, a power of two.

    Returns:
        Orthogonal matrix with shape (d, d); row 0 is constant.

    Raises:
        UnmetHypothesis: d is no power of two.

    Claims: CSDM-BASIS-1

    Example:
        >>> (haar_basis(4)[1] * 2.0).round(12).tolist()
        [1.0, 1.0, -1.0, -1.0]
    """
    if d < 1 or d & (d - 1):
        raise UnmetHypothesis("haar_basis", "d is a power of two", f"d = {d}")
    rows = np.ones((1, 1))
    while rows.shape[0] < d:
        fine = np.kron(np.eye(rows.shape[0]), [1.0, -1.0])
        rows = np.concatenate([np.kron(rows, [1.0, 1.0]), fine]) / math.sqrt(2.0)
    return rows


@arrays("numpy")
def product_basis(basis: Any) -> Matrix:
    r"""The basis of square images from that of their rows and columns, :math:`\Psi \otimes \Psi`.

    Arguments:
        basis: Orthogonal matrix with shape (n, n).

    Returns:
        Orthogonal matrix with shape (n², n²), for images flattened row by row.

    Claims: CSDM-BASIS-1

    Example:
        >>> product_basis(haar_basis(2))[0].round(12).tolist()
        [0.5, 0.5, 0.5, 0.5]
    """
    rows = np.asarray(basis, dtype=np.float64)
    return np.asarray(np.kron(rows, rows), dtype=np.float64)
