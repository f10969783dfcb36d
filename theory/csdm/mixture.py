r"""Sparse data with Gaussian amplitudes: a law on which the whole pipeline has closed forms.

.. math:: x = \sum_{i \in S} z_i e_i, \quad S \;\text{uniform among the sets of size}\; s, \quad z_i \sim N(0, v),

so that the sketch :math:`y = Ax` is a mixture of :math:`N(0, v A_S A_S^\top)`, its noised marginals are
Gaussian mixtures (``process.marginal``), and the best of all decoders is a posterior mean over supports.

Symbols:
    s: Non-zero coordinates, 1 <= s <= min(m, d).
    sketch: The matrix A, with shape (m, d).
    variance: The variance v of an amplitude, > 0.
    y: Measurements, with shape (..., m).
    noise: The noise level sigma of a measurement, > 0.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, holds, public, require, still
from driftproof.theory.laws import GaussianMixture
from driftproof.theory.laws.gaussian import log_density

__all__ = ["oracle_decoder", "sparse_mixture", "support_posterior"]

_MOST_SUPPORTS = 20_000


@arrays()
def sparse_mixture(sketch: Array, s: int, variance: float) -> GaussianMixture:
    r"""The law of the sketch of uniformly s-sparse data with Gaussian amplitudes.

    .. math:: \binom ds^{-1} \sum_{|S| = s} N(0, v\,A_S A_S^\top)

    Its components are singular where s < m; its marginals under a diffusion are not:
    ``process.marginal(law, t).score(y)`` is the exact latent score.

    Arguments:
        sketch, s, variance: Symbols of the module.

    Returns:
        A mixture on R^m with one component for each support, in lexicographic order.

    Raises:
        UnmetHypothesis: s > m, a variance that is not positive, or more than 20000 supports.

    Claims: CSDM-MIXTURE-1

    Example:
        >>> import numpy as np
        >>> sparse_mixture(np.eye(2), 1, 4.0).cov.tolist()
        [[2.0, 0.0], [0.0, 2.0]]
    """
    xp, _, (sketch,) = boundary("sparse_mixture", sketch=sketch)
    _check(xp, sketch=sketch, s=s, variance=variance)
    covs = variance * _outer_products(xp, sketch, s)
    count, m = covs.shape[0], covs.shape[-1]
    weights = xp.full((count,), 1.0 / count, dtype=covs.dtype, device=device(sketch))
    return GaussianMixture(weights, xp.zeros((count, m), dtype=covs.dtype, device=device(sketch)), covs)


def _check(
    xp: Namespace, *, sketch: Array, s: int, variance: float, noise: float = 1.0, y: Array | None = None
) -> None:
    subject = "sparse_mixture"
    if sketch.ndim != 2:
        raise UnmetHypothesis(subject, "A has the shape (m, d)", f"shape {tuple(sketch.shape)}")
    require(xp, subject, "sketch", sketch, "finite")
    m, d = sketch.shape
    if not 1 <= s <= d:
        raise UnmetHypothesis(subject, "1 <= s <= d", f"s = {s}, d = {d}")
    if s > m:
        raise UnmetHypothesis(subject, "s <= m", f"s = {s}, m = {m}")
    if not (0.0 < variance < math.inf and 0.0 < noise < math.inf):
        raise UnmetHypothesis(subject, "variance > 0 and noise > 0", f"{variance!r}, {noise!r}")
    if math.comb(d, s) > _MOST_SUPPORTS:
        raise UnmetHypothesis(subject, f"at most {_MOST_SUPPORTS} supports", f"{math.comb(d, s)} supports")
    if y is not None and (y.ndim < 1 or y.shape[-1] != m):
        raise UnmetHypothesis(subject, "y has m measurements", f"y of shape {tuple(y.shape)}, m = {m}")
    if y is not None:
        largest = variance * s * xp.max(xp.sum(sketch * sketch, axis=0))
        floor = xp.sqrt(4.0 * m * float(xp.finfo(sketch.dtype).eps) * largest)
        if not holds(noise > floor):
            hypothesis = f"noise > {float(floor):.3g}, what {sketch.dtype} can tell from the signal"
            raise UnmetHypothesis(subject, hypothesis, f"noise = {noise!r}")


@public(wide=True, check=_check, y="finite")
def support_posterior(xp: Namespace, sketch: Array, y: Array, s: int, variance: float, noise: float) -> Array:
    r"""The probability of every support, given noisy measurements.

    .. math:: P(S \mid y) \propto N(y;\, 0,\; v A_S A_S^\top + \sigma^2 I)

    Arguments:
        sketch, y, s, variance, noise: Symbols of the module.

    Returns:
        Probabilities, with shape (..., C(d, s)), supports in lexicographic order.

    Raises:
        UnmetHypothesis: s > m, a number that must be positive is not, or noise that is lost beside the signal.

    Claims: CSDM-MIXTURE-1

    Example:
        >>> import numpy as np
        >>> support_posterior(np.eye(2), np.array([1.0, 1.0]), 1, 1.0, 0.5).tolist()
        [0.5, 0.5]
    """
    covs = _noisy_covariances(xp, sketch, s, variance, noise)
    joint = log_density(xp, y[..., None, :], xp.zeros_like(covs[..., 0]), covs)
    likelihood = xp.exp(joint - still(xp.max(joint, axis=-1, keepdims=True)))
    return likelihood / xp.sum(likelihood, axis=-1, keepdims=True)


@public(check=_check, y="finite")
def oracle_decoder(xp: Namespace, sketch: Array, y: Array, s: int, variance: float, noise: float) -> Array:
    r"""The posterior mean of sparse data: no decoder has a smaller squared error.

    .. math:: E[x \mid y] = \sum_S P(S \mid y)\; v A_S^\top \big(v A_S A_S^\top + \sigma^2 I\big)^{-1} y
        \quad\text{on}\; S

    Arguments:
        sketch, y, s, variance, noise: Symbols of the module.

    Returns:
        Array with shape (..., d).

    Raises:
        UnmetHypothesis: s > m, a number that must be positive is not, or noise that is lost beside the signal.

    Claims: CSDM-MIXTURE-1

    Example:
        >>> import numpy as np
        >>> oracle_decoder(np.eye(1), np.array([2.0]), 1, 1.0, 1.0).tolist()
        [1.0]
    """
    weights = support_posterior.kernel(xp, sketch, y, s, variance, noise)
    covs = _noisy_covariances(xp, sketch, s, variance, noise)
    inverses = xp.linalg.inv(covs)  # (N, m, m)
    whitened = xp.sum(inverses * y[..., None, None, :], axis=-1)  # (..., N, m)
    on_support = variance * (whitened @ sketch) * _indicators(xp, sketch, s)  # (..., N, d)
    return xp.sum(weights[..., None] * on_support, axis=-2)


def _indicators(xp: Namespace, sketch: Array, s: int) -> Array:
    """The supports of size s in lexicographic order, as rows of 0 and 1: shape (N, d)."""
    d = sketch.shape[-1]
    supports = np.array(list(combinations(range(d), s)))
    rows = np.zeros((len(supports), d))
    np.put_along_axis(rows, supports, 1.0, axis=1)
    return xp.asarray(rows, dtype=sketch.dtype, device=device(sketch))


def _outer_products(xp: Namespace, sketch: Array, s: int) -> Array:
    rows = _indicators(xp, sketch, s)
    return (sketch[None, ...] * rows[:, None, :]) @ xp.matrix_transpose(sketch)


def _noisy_covariances(xp: Namespace, sketch: Array, s: int, variance: float, noise: float) -> Array:
    identity = xp.eye(sketch.shape[0], dtype=sketch.dtype, device=device(sketch))
    return variance * _outer_products(xp, sketch, s) + noise * noise * identity
