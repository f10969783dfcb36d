r"""Gaussian laws on R^d.

.. math::
    \log p(x) = -\tfrac12 (x-m)^\top C^{-1} (x-m) - \tfrac12 \log\det 2\pi C, \qquad
    \nabla \log p(x) = -C^{-1}(x-m)

A singular covariance is legal: such a law can be sampled and transported; it has no density, and
asking for one is an error that says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from array_api_compat import device

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    boundary,
    checked,
    holds,
    known,
    require,
)
from driftproof._random import Rng, source
from driftproof._tracing import settled
from driftproof.theory.special.quadrature import still

from .base import AbstractLaw, size
from .matrices import constant, sqrt_psd
from .mixture import require_rows
from .tails import normal_tails

__all__ = ["Gaussian"]


@final
@dataclass(frozen=True, eq=False)
@checked
class Gaussian(AbstractLaw):
    r"""The Gaussian law :math:`N(m, C)` on R^d.

    Arguments:
        mean: Mean :math:`m`, shape (d,); or (..., d), a law for each row.
        cov: Covariance :math:`C`, shape (d, d) or (..., d, d), symmetric positive semi-definite.

    Raises:
        UnmetHypothesis: ``cov`` is not symmetric positive semi-definite, or shapes do not match; in
            ``log_prob`` and ``score``: ``cov`` is singular.

    Claims: TWEEDIE-DRAW-1, TWEEDIE-MARGINAL-1, SPECIAL-LAWS-2

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
        if not d or tuple(cov.shape[-2:]) != (d, d):
            got = f"shapes {tuple(mean.shape)}, {tuple(cov.shape)}"
            raise UnmetHypothesis("Gaussian", "mean (..., d) and cov (..., d, d), d >= 1", got)
        require_rows("Gaussian", mean=tuple(mean.shape[:-1]), cov=tuple(cov.shape[:-2]))
        check_psd(xp, "Gaussian", cov)
        self._keep(mean=mean, cov=cov)

    @property
    def parameters(self) -> Mapping[str, Array]:
        return self._as_given(mean=self.mean, cov=self.cov)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(tuple(self.mean.shape[:-1]), tuple(self.cov.shape[:-2]))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.mean.shape[-1:])

    @property
    def has_rsample(self) -> bool:
        return True

    @property
    def variance(self) -> Array:
        xp, down, (cov,) = boundary("Gaussian", cov=self.cov)
        return down.wide(xp.linalg.diagonal(cov))

    def log_prob(self, x: Array, strict: bool = False) -> Array:
        xp, down, (x, mean, cov) = self._at("log_prob", x)
        check_regular(xp, "Gaussian.log_prob", cov)
        return down.wide(density_anywhere(xp, "Gaussian", x, strict, lambda x: log_density(xp, x, mean, cov)))

    def score(self, x: Array) -> Array:
        xp, down, (x, mean, cov) = self._at("score", x)
        check_regular(xp, "Gaussian.score", cov)
        require(xp, "Gaussian", "x", x, "finite")
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
        log_det = xp.broadcast_to(log_det, self.batch_shape)
        return down.wide(0.5 * (cov.shape[-1] * (1.0 + math.log(2.0 * math.pi)) + log_det))

    def sample(self, shape: int | tuple[int, ...], rng: Rng) -> Array:
        return still(self.rsample(shape, rng))

    def rsample(self, shape: int | tuple[int, ...], rng: Rng) -> Array:
        xp, down, (mean, cov) = boundary("Gaussian", mean=self.mean, cov=self.cov)
        whole = (*size("Gaussian", shape), *self.batch_shape, *self.event_shape)
        z = source(rng, like=mean).normal(xp.zeros(whole, dtype=mean.dtype, device=device(mean)))
        root = sqrt_psd(xp, cov)
        moved = z @ root if root.ndim == 2 else xp.squeeze(z[..., None, :] @ root, axis=-2)
        return self._drawn(down, mean + moved)

    def _at(self, method: str, x: Array) -> tuple[Namespace, Any, tuple[Array, ...]]:
        xp, down, values = boundary("Gaussian", x=x, **self.parameters)
        require_points(f"Gaussian.{method}", values[0], self)
        return xp, down, values

    def _standard(self, method: str, x: Array) -> tuple[Namespace, Any, Array]:
        """The coordinates in standard deviations from the mean."""
        xp, down, (x, mean, cov) = self._at(method, x)
        variances = xp.linalg.diagonal(cov)
        beside = constant(cov) - xp.eye(cov.shape[-1], dtype=cov.dtype, device=device(cov)) * constant(
            variances
        )
        subject, hypothesis = f"Gaussian.{method}", "cov is diagonal and positive"
        said = f"{subject}: unmet hypothesis: {hypothesis}"
        if known(xp.any(beside != 0.0), said) or not holds(xp.all(constant(variances) > 0.0), said):
            got = f"cov of shape {tuple(cov.shape)} with entries beside the diagonal, or a zero on it"
            raise UnmetHypothesis(subject, hypothesis, got)
        return xp, down, (x - mean) / xp.sqrt(variances)


def log_density(xp: Namespace, x: Array, mean: Array, cov: Array) -> Array:
    """Gaussian log-density; x and mean (..., d), cov (..., d, d) broadcast over the batch."""
    root = xp.linalg.cholesky(cov)
    apart = x - mean
    white = solve_vectors(xp, root, apart)
    square = xp.sum(white * white, axis=-1)
    # Deviations that overflow are infinite, and their difference no number.
    far = xp.isnan(square) & ~xp.any(xp.isnan(apart), axis=-1)
    square = xp.where(far, xp.inf, square)
    log_det = xp.sum(xp.log(xp.linalg.diagonal(root)), axis=-1)
    return -0.5 * square - log_det - 0.5 * x.shape[-1] * math.log(2.0 * math.pi)


def score_function(xp: Namespace, x: Array, mean: Array, cov: Array) -> Array:
    """Gaussian score; x and mean (..., d), cov (..., d, d) broadcast over the batch."""
    return -solve_vectors(xp, cov, x - mean)


def solve_vectors(xp: Namespace, matrix: Array, vector: Array) -> Array:
    """Matrices (..., d, d) solved for vectors (..., d), broadcast over the batch."""
    # numpy's solve reads a stack of vectors as a matrix: the trailing axis keeps it a vector.
    batch = tuple(xp.broadcast_arrays(vector, matrix[..., 0])[0].shape)
    matrix = xp.broadcast_to(matrix, (*batch, batch[-1]))
    return xp.linalg.solve(matrix, xp.broadcast_to(vector, batch)[..., None])[..., 0]


def check_psd(xp: Namespace, subject: str, cov: Array, name: str = "cov") -> None:
    """Raise unless each of the matrices is symmetric positive semi-definite to rounding."""
    cov = constant(cov)  # a check reads numbers; torch warns where a number with a gradient is read
    eps = float(xp.finfo(cov.dtype).eps)
    size = xp.max(xp.abs(cov), axis=(-2, -1))
    if not holds(xp.all(size < float("inf"))):
        raise UnmetHypothesis(subject, f"{name} is finite", f"max |C| = {float(xp.max(size)):.3g}")
    skew = xp.max(xp.abs(cov - xp.matrix_transpose(cov)), axis=(-2, -1))
    if known(xp.any(skew > 64.0 * eps * size)):
        raise UnmetHypothesis(subject, f"{name} is symmetric", f"max |C - C^T| = {float(xp.max(skew)):.3g}")
    least = xp.min(xp.linalg.eigvalsh(cov), axis=-1)
    if known(xp.any(least < -64.0 * cov.shape[-1] * eps * size)):
        got = f"least eigenvalue = {float(xp.min(least)):.3g}"
        raise UnmetHypothesis(subject, f"{name} is positive semi-definite", got)


def check_regular(xp: Namespace, subject: str, cov: Array, name: str = "cov") -> None:
    """Raise unless each of the matrices is numerically invertible."""
    values = xp.linalg.eigvalsh(constant(cov))
    least, most = xp.min(values, axis=-1), xp.max(values, axis=-1)
    above = least - cov.shape[-1] * float(xp.finfo(cov.dtype).eps) * most
    if not holds(xp.all(above > 0.0)):
        least, most, above = (xp.reshape(v, (-1,)) for v in (least, most, above))
        k = int(xp.argmin(above))
        got = f"eigenvalues in [{float(least[k]):.3g}, {float(most[k]):.3g}]"
        raise UnmetHypothesis(subject, f"{name} is not singular", got)


def require_points(subject: str, x: Array, law: AbstractLaw) -> None:
    """Raise unless x is (..., d), in rows that fit those of the law."""
    (d,) = law.event_shape
    if x.shape[-1:] != (d,):
        raise UnmetHypothesis(subject, f"x (..., {d})", f"x of shape {tuple(x.shape)}")
    require_rows(subject, x=tuple(x.shape[:-1]), law=law.batch_shape)


def require_single(subject: str, *laws: AbstractLaw) -> None:
    """Raise where a law is several in rows: what was called is of one."""
    for law in laws:
        if law.batch_shape != ():
            got = f"{type(law).__name__} of batch shape {law.batch_shape}"
            raise UnmetHypothesis(subject, "one law, without rows", got)


def density_anywhere(
    xp: Namespace, subject: str, x: Array, strict: bool, density: Callable[[Array], Array]
) -> Array:
    """The log-density at x (..., d): minus infinity, or refused, where a coordinate is infinite."""
    if strict:
        require(xp, subject, "x", x, "finite")
    good = xp.all(xp.abs(x) < xp.inf, axis=-1)
    if settled(xp.all(good)):
        return density(x)
    return xp.where(good, density(xp.where(good[..., None], x, xp.zeros_like(x))), -xp.inf)
