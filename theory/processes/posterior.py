r"""The data behind a noised point: Gaussian data and their mixtures under a Gaussian process.

.. math:: X_0 \mid X_t = x \sim \sum_k \gamma_k(x)\, N(M_k, C_k), \qquad
    M = m + K(x - \alpha m), \quad K = \alpha S \Sigma^{-1}, \quad C = \sigma^2 S \Sigma^{-1}, \quad
    \Sigma = \alpha^2 S + \sigma^2 I
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis
from driftproof.theory.laws.gaussian import log_density, score_function
from driftproof.theory.special.elementary import log_mean_exp

from .gaussian import AbstractGaussianProcess

__all__ = ["Posterior", "matvec", "posterior", "require_states"]


@final
@dataclass(frozen=True, slots=True)
class Posterior:
    """Component by component: exponents (..., K), means (..., K, d), gains and covariances, scores.

    A component has the posterior weight :math:`w_k e^{a_k}`, with its exponent :math:`a_k`: the prior weight stays
    outside of the exponent, so that what it multiplies differentiates in a weight that is 0.
    """

    exponents: Array
    means: Array
    gains: Array
    covs: Array
    scores: Array


def posterior(
    xp: Namespace,
    process: AbstractGaussianProcess,
    weights: Array,
    means: Array,
    covs: Array,
    x: Array,
    t: Array,
) -> Posterior:
    """Kernel: the posterior of every component, means (K, d) and covs (K, d, d), at x (..., d) and t (...)."""
    alpha, sigma = process.alpha_sigma(xp, t)
    alpha, sigma = alpha[..., None, None, None], sigma[..., None, None, None]
    eye = xp.eye(covs.shape[-1], dtype=covs.dtype, device=device(covs))
    total = alpha**2 * covs + sigma**2 * eye
    share = xp.linalg.solve(total, xp.broadcast_to(covs, total.shape))  # S / Sigma: they commute
    gains, left = alpha * share, sigma**2 * share
    centres = alpha[..., 0] * means
    away = x[..., None, :] - centres
    logs = log_density(xp, x[..., None, :], centres, total)
    return Posterior(
        exponents=logs - log_mean_exp(xp, weights, logs)[..., None],
        means=means + matvec(xp, gains, away),
        gains=gains,
        covs=left,
        scores=score_function(xp, x[..., None, :], centres, total),
    )


def require_states(subject: str, x: Array, t: Array, d: int) -> None:
    """Raise unless x is (..., d), like the data, and t a number or like x without its last axis."""
    if not x.ndim or x.shape[-1] != d:
        raise UnmetHypothesis(subject, f"x (..., {d}), like the data", f"x has shape {tuple(x.shape)}")
    try:
        np.broadcast_shapes(tuple(x.shape[:-1]), tuple(t.shape))
    except ValueError:
        got = f"shapes {tuple(x.shape)}, {tuple(t.shape)}"
        raise UnmetHypothesis(subject, "t () or like x without its last axis", got) from None


def matvec(xp: Namespace, matrix: Array, vector: Array) -> Array:
    """Matrices (..., d, d) on vectors (..., d)."""
    return xp.squeeze(matrix @ vector[..., None], axis=-1)
