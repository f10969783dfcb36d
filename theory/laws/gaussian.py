r"""Gaussian laws on R^d and their finite mixtures.

.. math::
    \log p(x) = -\tfrac12 (x-m)^\top C^{-1} (x-m) - \tfrac12 \log\det 2\pi C, \qquad
    \nabla \log p(x) = -C^{-1}(x-m)

A singular covariance is legal: such a law can be sampled and transported; it has no density, and
asking for one is an error that says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from array_api_compat import device

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    boundary,
    checked,
    holds,
    known,
)
from driftproof._random import Rng, source
from driftproof.theory.special.elementary import log_mean_exp, shares, weighed
from driftproof.theory.special.quadrature import still

from .base import AbstractLaw
from .matrices import constant, sqrt_psd
from .mixture import check_weights, draw_index
from .tails import normal_tails

__all__ = ["Gaussian", "GaussianMixture"]


@final
@dataclass(frozen=True, eq=False)
@checked
class Gaussian(AbstractLaw):
    r"""The Gaussian law :math:`N(m, C)` on R^d.

    Arguments:
        mean: Mean :math:`m`, shape (d,).
        cov: Covariance :math:`C`, shape (d, d), symmetric positive semi-definite.

    Raises:
        UnmetHypothesis: ``cov`` is not symmetric positive semi-definite, or shapes do not match; in
            ``log_prob`` and ``score``: ``cov`` is singular.

    Claims: TWEEDIE-DRAW-1, TWEEDIE-MARGINAL-1

    Example:
        >>> float(Gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 4.0]]).score([0.0, 2.0])[1])
        -0.5
    """

    mean: Array
    cov: Array

    def __post_init__(self) -> None:
        xp, down, (mean, cov) = boundary("Gaussian", mean=self.mean, cov=self.cov)
        down(self)  # remembers half precision
        d = mean.shape[-1] if mean.ndim else 0
        if mean.ndim != 1 or not d or cov.shape != (d, d):
            got = f"shapes {tuple(mean.shape)}, {tuple(cov.shape)}"
            raise UnmetHypothesis("Gaussian", "mean (d,) and cov (d, d), d >= 1", got)
        check_psd(xp, "Gaussian", cov)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "cov", cov)

    @property
    def parameters(self) -> Mapping[str, Array]:
        return {"mean": self.mean, "cov": self.cov}

    @property
    def variance(self) -> Array:
        xp, down, (cov,) = boundary("Gaussian", cov=self.cov)
        return down.wide(xp.linalg.diagonal(cov))

    def log_prob(self, x: Array) -> Array:
        xp, down, (x, mean, cov) = boundary("Gaussian", x=x, mean=self.mean, cov=self.cov)
        check_regular(xp, "Gaussian.log_prob", cov)
        return down.wide(log_density(xp, x, mean, cov))

    def score(self, x: Array) -> Array:
        xp, down, (x, mean, cov) = boundary("Gaussian", x=x, mean=self.mean, cov=self.cov)
        check_regular(xp, "Gaussian.score", cov)
        return down(score_function(xp, x, mean, cov))

    def log_cdf(self, x: Array) -> Array:
        """Logarithm of the probability that no coordinate exceeds that of ``x``, of a law with a diagonal covariance."""
        xp, down, z = self._standard("log_cdf", x)
        return down.wide(xp.sum(normal_tails(xp, z)[0], axis=-1))

    def log_sf(self, x: Array) -> Array:
        """Logarithm of the probability that every coordinate exceeds that of ``x``, of such a law: 1 - cdf if d = 1."""
        xp, down, z = self._standard("log_sf", x)
        return down.wide(xp.sum(normal_tails(xp, z)[1], axis=-1))

    def entropy(self) -> Array:
        xp, down, (cov,) = boundary("Gaussian", cov=self.cov)
        check_regular(xp, "Gaussian.entropy", cov)
        log_det = 2.0 * xp.sum(xp.log(xp.linalg.diagonal(xp.linalg.cholesky(cov))), axis=-1)
        return down.wide(0.5 * (cov.shape[-1] * (1.0 + math.log(2.0 * math.pi)) + log_det))

    def sample(self, shape: tuple[int, ...], rng: Rng) -> Array:
        return still(self.rsample(shape, rng))

    def rsample(self, shape: tuple[int, ...], rng: Rng) -> Array:
        xp, down, (mean, cov) = boundary("Gaussian", mean=self.mean, cov=self.cov)
        like = xp.zeros((*shape, mean.shape[0]), dtype=mean.dtype, device=device(mean))
        return self._drawn(down, mean + source(rng, like=mean).normal(like) @ sqrt_psd(xp, cov))

    def _standard(self, method: str, x: Array) -> tuple[Namespace, Any, Array]:
        """The coordinates in standard deviations from the mean."""
        xp, down, (x, mean, cov) = boundary("Gaussian", x=x, mean=self.mean, cov=self.cov)
        variances = xp.linalg.diagonal(cov)
        beside = constant(cov) - xp.eye(cov.shape[-1], dtype=cov.dtype, device=device(cov)) * constant(
            variances
        )
        if known(xp.any(beside != 0.0)) or not holds(xp.all(constant(variances) > 0.0)):
            got = f"cov of shape {tuple(cov.shape)} with entries beside the diagonal, or a zero on it"
            raise UnmetHypothesis(f"Gaussian.{method}", "cov is diagonal and positive", got)
        return xp, down, (x - mean) / xp.sqrt(variances)


@final
@dataclass(frozen=True, eq=False)
@checked
class GaussianMixture(AbstractLaw):
    r"""A finite mixture of Gaussian laws on R^d.

    .. math:: p(x) = \sum_k w_k\, N(x; m_k, C_k), \qquad
        \nabla \log p(x) = -\sum_k P(k \mid x)\, C_k^{-1}(x - m_k)

    Arguments:
        weights: Weights, shape (K,), with sum 1.
        means: Means, shape (K, d).
        covs: Covariances, shape (K, d, d), or (d, d) if shared.

    Raises:
        UnmetHypothesis: As for :class:`Gaussian`, or the weights do not sum to 1.

    Claims: TWEEDIE-DRAW-1, TWEEDIE-MARGINAL-1

    Example:
        >>> law = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [[[1.0]], [[1.0]]])
        >>> float(law.cov[0, 0])
        2.0
    """

    weights: Array
    means: Array
    covs: Array

    def __post_init__(self) -> None:
        given = {"weights": self.weights, "means": self.means, "covs": self.covs}
        xp, down, (weights, means, covs) = boundary("GaussianMixture", **given)
        down(self)  # remembers half precision
        check_weights(xp, "GaussianMixture", weights)
        count, d = weights.shape[0], means.shape[-1] if means.ndim else 0
        if covs.ndim == 2:
            covs = xp.broadcast_to(covs, (count, *covs.shape))
        if not d or means.shape != (count, d) or covs.shape != (count, d, d):
            got = f"shapes {tuple(weights.shape)}, {tuple(means.shape)}, {tuple(covs.shape)}"
            raise UnmetHypothesis(
                "GaussianMixture", "weights (K,), means (K, d), covs (K, d, d), d >= 1", got
            )
        check_psd(xp, "GaussianMixture", covs)
        for name, value in zip(given, (weights, means, covs), strict=True):
            object.__setattr__(self, name, value)

    @property
    def parameters(self) -> Mapping[str, Array]:
        return {"weights": self.weights, "means": self.means, "covs": self.covs}

    @property
    def mean(self) -> Array:
        xp, down, (w, means) = boundary("GaussianMixture", weights=self.weights, means=self.means)
        return down.wide(xp.sum(w[:, None] * means, axis=0))

    @property
    def cov(self) -> Array:
        xp, down, w, means, covs = self._lifted()
        centred = means - xp.sum(w[:, None] * means, axis=0)
        outer = centred[:, :, None] * centred[:, None, :]
        return down.wide(xp.sum(w[:, None, None] * (covs + outer), axis=0))

    @property
    def variance(self) -> Array:
        xp, down, (cov,) = boundary("GaussianMixture", cov=self.cov)
        return down.wide(xp.linalg.diagonal(cov))

    def log_prob(self, x: Array) -> Array:
        xp, down, w, logs, *_ = self._parts("log_prob", x)
        return down.wide(log_mean_exp(xp, w, logs))

    def score(self, x: Array) -> Array:
        xp, down, w, logs, x, means, covs = self._parts("score", x)
        scores = score_function(xp, x[..., None, :], means, covs)
        # A component that cannot have drawn x has no say, however steep it is.
        return down(xp.sum(weighed(xp, shares(xp, w, logs)[..., None], scores), axis=-2))

    def sample(self, shape: tuple[int, ...], rng: Rng) -> Array:
        xp, down, w, means, covs = self._lifted()
        noise = source(rng, like=w)
        like = xp.zeros(shape, dtype=w.dtype, device=device(w))
        index = xp.reshape(draw_index(xp, w, noise.uniform(like)), (-1,))
        z = noise.normal(xp.zeros((*shape, means.shape[1]), dtype=w.dtype, device=device(w)))
        roots = xp.take(sqrt_psd(xp, covs), index, axis=0)
        flat = xp.reshape(z, (-1, 1, means.shape[1])) @ roots
        draws = xp.take(means, index, axis=0) + xp.squeeze(flat, axis=1)
        return still(self._drawn(down, xp.reshape(draws, (*shape, means.shape[1]))))

    def _lifted(self) -> tuple[Namespace, Any, Array, Array, Array]:
        xp, down, (w, means, covs) = boundary("GaussianMixture", **self.parameters)
        return xp, down, w, means, covs

    def _parts(self, method: str, x: Array) -> tuple[Namespace, Any, Array, Array, Array, Array, Array]:
        xp, down, (x, w, means, covs) = boundary("GaussianMixture", x=x, **self.parameters)
        check_regular(xp, f"GaussianMixture.{method}", covs)
        return xp, down, w, log_density(xp, x[..., None, :], means, covs), x, means, covs


def log_density(xp: Namespace, x: Array, mean: Array, cov: Array) -> Array:
    """Gaussian log-density; x and mean (..., d), cov (..., d, d) broadcast over the batch."""
    root = xp.linalg.cholesky(cov)
    white = _solve(xp, root, x - mean)
    log_det = xp.sum(xp.log(xp.linalg.diagonal(root)), axis=-1)
    return -0.5 * xp.sum(white * white, axis=-1) - log_det - 0.5 * x.shape[-1] * math.log(2.0 * math.pi)


def score_function(xp: Namespace, x: Array, mean: Array, cov: Array) -> Array:
    """Gaussian score; x and mean (..., d), cov (..., d, d) broadcast over the batch."""
    return -_solve(xp, cov, x - mean)


def _solve(xp: Namespace, matrix: Array, vector: Array) -> Array:
    # numpy's solve reads a stack of vectors as a matrix: the trailing axis keeps it a vector.
    batch = tuple(xp.broadcast_arrays(vector, matrix[..., 0])[0].shape)
    matrix = xp.broadcast_to(matrix, (*batch, batch[-1]))
    return xp.linalg.solve(matrix, xp.broadcast_to(vector, batch)[..., None])[..., 0]


def check_psd(xp: Namespace, subject: str, cov: Array, name: str = "cov") -> None:
    """Raise unless the matrices are symmetric positive semi-definite to rounding."""
    cov = constant(cov)  # a check reads numbers; torch warns where a number with a gradient is read
    eps = float(xp.finfo(cov.dtype).eps)
    size = xp.max(xp.abs(cov))
    if not holds(size < float("inf")):
        raise UnmetHypothesis(subject, f"{name} is finite", f"max |C| = {float(size):.3g}")
    skew = xp.max(xp.abs(cov - xp.matrix_transpose(cov)))
    if known(skew > 64.0 * eps * size):
        raise UnmetHypothesis(subject, f"{name} is symmetric", f"max |C - C^T| = {float(skew):.3g}")
    least = xp.min(xp.linalg.eigvalsh(cov))
    if known(least < -64.0 * cov.shape[-1] * eps * size):
        got = f"least eigenvalue = {float(least):.3g}"
        raise UnmetHypothesis(subject, f"{name} is positive semi-definite", got)


def check_regular(xp: Namespace, subject: str, cov: Array, name: str = "cov") -> None:
    """Raise unless the matrices are numerically invertible."""
    values = xp.linalg.eigvalsh(constant(cov))
    least, most = xp.min(values), xp.max(values)
    if not holds(least > cov.shape[-1] * float(xp.finfo(cov.dtype).eps) * most):
        got = f"eigenvalues in [{float(least):.3g}, {float(most):.3g}]"
        raise UnmetHypothesis(subject, f"{name} is not singular", got)
