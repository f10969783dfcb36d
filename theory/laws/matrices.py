r"""Functions of positive semi-definite matrices that differentiate at repeated eigenvalues.

The derivative of an eigenvector divides by gaps of eigenvalues, and is no number at the identity; that of the
square root S of C does not: it solves Sylvester's equation :math:`S\,dS + dS\,S = dC`.  The root is therefore
taken of the numbers of C, and C's gradient enters by two steps of Newton's iteration from there,

.. math:: S_{k+1} = S_k + L^{-1}(C - S_k^2), \qquad L(X) = S_0 X + X S_0,

which change no value and make the first two derivatives those of the root.
"""

from __future__ import annotations

from collections.abc import Callable

from driftproof._namespace import Array, Namespace, still

__all__ = ["constant", "polar_factor", "sqrt_psd"]


def sqrt_psd(xp: Namespace, cov: Array) -> Array:
    r"""Symmetric square root of positive semi-definite matrices; twice differentiable where they are regular.

    In directions between two null vectors, where the derivative is infinite, it is taken as 0.

    Arguments:
        cov: Matrices, shape (..., d, d), of which the symmetric part is taken.

    Returns:
        Array of the shape of ``cov``.

    Example:
        >>> import array_api_compat.numpy as xp
        >>> sqrt_psd(xp, xp.asarray([[4.0, 0.0], [0.0, 0.0]])).tolist()
        [[2.0, 0.0], [0.0, 0.0]]
    """
    cov = 0.5 * (cov + xp.matrix_transpose(cov))
    fixed = constant(cov)
    values, vectors = xp.linalg.eigh(fixed)
    roots = xp.sqrt(xp.where(values > 0, values, xp.zeros_like(values)))
    root = (vectors * roots[..., None, :]) @ xp.matrix_transpose(vectors)
    if fixed is cov:  # a namespace without gradients
        return root
    solve = _sylvester(xp, vectors, roots)
    change = cov - fixed  # 0, with the gradient of cov
    first = root + solve(change)
    return first + solve(change - (first @ first - root @ root))


def polar_factor(xp: Namespace, matrix: Array) -> Array:
    """The orthogonal matrix nearest to ``matrix``, shape (..., d, d): U V^T of its singular vectors, a constant."""
    u, _, vt = xp.linalg.svd(constant(matrix))
    return u @ vt


def constant(value: Array) -> Array:
    """The numbers of an array without their gradient; the array itself where there is none."""
    return still(value)


def _sylvester(xp: Namespace, vectors: Array, roots: Array) -> Callable[[Array], Array]:
    pairs = roots[..., :, None] + roots[..., None, :]
    inside = pairs > 0
    weights = xp.where(inside, 1.0 / xp.where(inside, pairs, xp.ones_like(pairs)), xp.zeros_like(pairs))
    transposed = xp.matrix_transpose(vectors)

    def solve(change: Array) -> Array:
        return vectors @ (weights * (transposed @ change @ vectors)) @ transposed

    return solve
