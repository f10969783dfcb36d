r"""Random sketches: few measurements that keep sparse data apart.

Every sketch has columns of mean squared norm 1, so that a penalty means the same for all of them:
multiplying A (and the measurements) by c multiplies the penalty that gives the same decoder by c².
"""

from __future__ import annotations

import math

import numpy as np
from array_api_compat import array_namespace, device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis
from driftproof._random import Rng, source

from .bases import cosine_basis

__all__ = ["gaussian_sketch", "orthogonal_sketch", "rademacher_sketch"]


@arrays()
def gaussian_sketch(m: int, d: int, rng: Rng, like: Array | None = None) -> Array:
    r"""A sketch with entries N(0, 1/m).

    Arguments:
        m: Measurements, >= 1.
        d: Coordinates, >= 1.
        rng: A numpy or torch generator or an integer seed.
        like: An array whose namespace, dtype and device the sketch takes; numpy float64 without.

    Returns:
        Matrix A with shape (m, d).

    Raises:
        UnmetHypothesis: m or d < 1.

    Claims: CSDM-SKETCH-1

    Example:
        >>> gaussian_sketch(2, 3, 0).shape
        (2, 3)
    """
    _, blank = _blank("gaussian_sketch", m, d, like)
    return source(rng, like=blank).normal(blank) / math.sqrt(m)


@arrays()
def rademacher_sketch(m: int, d: int, rng: Rng, like: Array | None = None) -> Array:
    r"""A sketch with entries :math:`\pm 1/\sqrt m`, each sign with probability one half.

    Arguments:
        m, d, rng, like: As for :func:`gaussian_sketch`.

    Returns:
        Matrix A with shape (m, d); every column has norm 1.

    Raises:
        UnmetHypothesis: m or d < 1.

    Claims: CSDM-SKETCH-1

    Example:
        >>> abs(rademacher_sketch(4, 2, 0)).tolist()
        [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
    """
    xp, blank = _blank("rademacher_sketch", m, d, like)
    return _signs(xp, blank, source(rng, like=blank).uniform(blank)) / math.sqrt(m)


@arrays()
def orthogonal_sketch(m: int, d: int, rng: Rng, like: Array | None = None) -> Array:
    r"""A subsampled orthogonal sketch: m random rows of the cosine transform of randomly signed coordinates.

    .. math:: A = \sqrt{d/m}\; R\,\Psi\,D, \qquad A A^\top = \frac dm\,I

    Arguments:
        m, d, rng, like: As for :func:`gaussian_sketch`; m <= d.

    Returns:
        Matrix A with shape (m, d).

    Raises:
        UnmetHypothesis: m > d, or m or d < 1.

    Claims: CSDM-SKETCH-1

    Example:
        >>> A = orthogonal_sketch(2, 8, 0)
        >>> bool(abs(A @ A.T - 4.0 * np.eye(2)).max() < 1e-14)
        True
    """
    xp, blank = _blank("orthogonal_sketch", m, d, like)
    if m > d:
        raise UnmetHypothesis("orthogonal_sketch", "m <= d", f"m = {m}, d = {d}")
    noise, row = source(rng, like=blank), blank[0, :]
    order = xp.argsort(noise.uniform(row))[:m]
    signs = _signs(xp, row, noise.uniform(row))
    basis = xp.asarray(cosine_basis(d), dtype=blank.dtype, device=device(blank))
    return math.sqrt(d / m) * xp.take(basis, order, axis=0) * signs


def _blank(subject: str, m: int, d: int, like: Array | None) -> tuple[Namespace, Array]:
    if m < 1 or d < 1:
        raise UnmetHypothesis(subject, "m >= 1 and d >= 1", f"m = {m}, d = {d}")
    like = np.zeros(()) if like is None else like
    xp = array_namespace(like)
    return xp, xp.zeros((m, d), dtype=like.dtype, device=device(like))


def _signs(xp: Namespace, blank: Array, u: Array) -> Array:
    return xp.where(u < 0.5, xp.ones_like(blank), -xp.ones_like(blank))
