"""Finite mixtures of Gaussian laws on R^d."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked, require
from driftproof._random import Rng, source
from driftproof.theory.special.elementary import log_mean_exp, shares, weighed
from driftproof.theory.special.quadrature import still

from .base import AbstractLaw, size
from .elementwise import rows_at
from .gaussian import (
    check_psd,
    check_regular,
    density_anywhere,
    log_density,
    require_points,
    score_function,
)
from .matrices import sqrt_psd
from .mixture import check_weights, draw_index, require_rows

__all__ = ["GaussianMixture"]


@final
@dataclass(frozen=True, eq=False)
@checked
class GaussianMixture(AbstractLaw):
    r"""A finite mixture of Gaussian laws on R^d.

    .. math:: p(x) = \sum_k w_k\, N(x; m_k, C_k), \qquad
        \nabla \log p(x) = -\sum_k P(k \mid x)\, C_k^{-1}(x - m_k)

    Arguments:
        weights: Weights, shape (K,), with sum 1; or (..., K), a mixture for each row.
        means: Means, shape (K, d) or (..., K, d).
        covs: Covariances, shape (K, d, d) or (..., K, d, d), or (d, d) if shared.

    Raises:
        UnmetHypothesis: As for :class:`Gaussian`, or the weights do not sum to 1.

    Claims: TWEEDIE-DRAW-1, TWEEDIE-MARGINAL-1, SPECIAL-LAWS-2

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
        count, d = weights.shape[-1], means.shape[-1] if means.ndim else 0
        if covs.ndim == 2:
            covs = xp.broadcast_to(covs, (count, *covs.shape))
        if not d or tuple(means.shape[-2:]) != (count, d) or tuple(covs.shape[-3:]) != (count, d, d):
            got = f"shapes {tuple(weights.shape)}, {tuple(means.shape)}, {tuple(covs.shape)}"
            raise UnmetHypothesis(
                "GaussianMixture", "weights (..., K), means (..., K, d), covs (..., K, d, d), d >= 1", got
            )
        require_rows("GaussianMixture", **_rows(weights, means, covs))
        check_psd(xp, "GaussianMixture", covs)
        self._keep(weights=weights, means=means, covs=covs)

    @property
    def parameters(self) -> Mapping[str, Array]:
        return self._as_given(weights=self.weights, means=self.means, covs=self.covs)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(*_rows(self.weights, self.means, self.covs).values())

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.means.shape[-1:])

    @property
    def mean(self) -> Array:
        xp, down, (w, means) = boundary("GaussianMixture", weights=self.weights, means=self.means)
        return down.wide(xp.sum(w[..., None] * means, axis=-2))

    @property
    def cov(self) -> Array:
        xp, down, w, means, covs = self._lifted()
        centred = means - xp.sum(w[..., None] * means, axis=-2, keepdims=True)
        outer = centred[..., :, None] * centred[..., None, :]
        return down.wide(xp.sum(w[..., None, None] * (covs + outer), axis=-3))

    @property
    def variance(self) -> Array:
        xp, down, (cov,) = boundary("GaussianMixture", cov=self.cov)
        return down.wide(xp.linalg.diagonal(cov))

    def log_prob(self, x: Array, strict: bool = False) -> Array:
        xp, down, x, w, means, covs = self._at("log_prob", x)

        def density(x: Array) -> Array:
            return log_mean_exp(xp, w, log_density(xp, x[..., None, :], means, covs))

        return down.wide(density_anywhere(xp, "GaussianMixture", x, strict, density))

    def score(self, x: Array) -> Array:
        xp, down, x, w, means, covs = self._at("score", x)
        require(xp, "GaussianMixture", "x", x, "finite")
        logs = log_density(xp, x[..., None, :], means, covs)
        scores = score_function(xp, x[..., None, :], means, covs)
        # A component that cannot have drawn x has no say, however steep it is.
        return down(xp.sum(weighed(xp, shares(xp, w, logs)[..., None], scores), axis=-2))

    def sample(self, shape: int | tuple[int, ...], rng: Rng) -> Array:
        xp, down, w, means, covs = self._lifted()
        noise, batch = source(rng, like=w), self.batch_shape
        shape = (*size("GaussianMixture", shape), *batch)
        like = xp.zeros(shape, dtype=w.dtype, device=device(w))
        index = draw_index(xp, w, noise.uniform(like))
        z = noise.normal(xp.zeros((*shape, *self.event_shape), dtype=w.dtype, device=device(w)))
        roots = rows_at(xp, sqrt_psd(xp, covs), index, batch, axes=2)
        moved = xp.squeeze(z[..., None, :] @ roots, axis=-2)
        return still(self._drawn(down, rows_at(xp, means, index, batch, axes=1) + moved))

    def _lifted(self) -> tuple[Namespace, Any, Array, Array, Array]:
        xp, down, (w, means, covs) = boundary(
            "GaussianMixture", weights=self.weights, means=self.means, covs=self.covs
        )
        return xp, down, w, means, covs

    def _at(self, method: str, x: Array) -> tuple[Namespace, Any, Array, Array, Array, Array]:
        xp, down, (x, w, means, covs) = boundary("GaussianMixture", x=x, **self.parameters)
        require_points(f"GaussianMixture.{method}", x, self)
        check_regular(xp, f"GaussianMixture.{method}", covs)
        return xp, down, x, w, means, covs


def _rows(weights: Array, means: Array, covs: Array) -> dict[str, tuple[int, ...]]:
    return {
        "weights": tuple(weights.shape[:-1]), "means": tuple(means.shape[:-2]), "covs": tuple(covs.shape[:-3])
    }  # fmt: skip
