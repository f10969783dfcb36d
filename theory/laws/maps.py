"""Optimal transport maps between laws."""

from __future__ import annotations

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, require

from .gaussian import check_psd, check_regular
from .matrices import sqrt_psd

__all__ = ["gaussian_map"]


@arrays()
def gaussian_map(mean: Array, cov: Array, onto_mean: Array, onto_cov: Array) -> tuple[Array, Array]:
    r"""The optimal transport map from one normal law onto another: S(x) = A x + b.

    .. math:: A = C^{-1/2}\big(C^{1/2} C' C^{1/2}\big)^{1/2} C^{-1/2}, \qquad b = \mu' - A\mu

    Arguments:
        mean, cov: :math:`\mu`, shape (d,), and :math:`C`, shape (d, d), positive definite.
        onto_mean, onto_cov: :math:`\mu', C'`; this covariance may be singular.

    Returns:
        A, shape (d, d), symmetric positive semi-definite, and b, shape (d,).

    Raises:
        UnmetHypothesis: ``cov`` is singular: a law on a subspace has no map onto one that fills more; or
            shapes do not match.

    References:
        | The distance between two random vectors with given dispersion matrices (Olkin & Pukelsheim, 1982)
        | Wasserstein geometry of Gaussian measures (Takatsu, 2011)

    Claims: TRANSFER-BURES-1

    Example:
        >>> a, b = gaussian_map([1.0], [[4.0]], [0.0], [[1.0]])
        >>> a.tolist(), b.tolist()
        ([[0.5]], [-0.5])
    """
    given = {"mean": mean, "cov": cov, "onto_mean": onto_mean, "onto_cov": onto_cov}
    xp, down, (mean, cov, onto_mean, onto_cov) = boundary("gaussian_map", **given)
    require_covariances(xp, "gaussian_map", cov, onto_cov)
    if not mean.shape == onto_mean.shape == cov.shape[:1]:
        got = f"shapes {tuple(mean.shape)}, {tuple(onto_mean.shape)} and {tuple(cov.shape)}"
        raise UnmetHypothesis("gaussian_map", "means (d,) and covariances (d, d)", got)
    require(xp, "gaussian_map", "mean", mean, "finite")
    require(xp, "gaussian_map", "onto_mean", onto_mean, "finite")
    check_regular(xp, "gaussian_map", cov)
    root = sqrt_psd(xp, cov)
    half = xp.linalg.solve(root, sqrt_psd(xp, root @ onto_cov @ root))
    a = xp.linalg.solve(root, xp.matrix_transpose(half))
    a = 0.5 * (a + xp.matrix_transpose(a))  # symmetric but for rounding
    return down(a), down(onto_mean - a @ mean)


def require_covariances(xp: Namespace, subject: str, cov: Array, other: Array) -> None:
    """Raise unless both are covariances of one shape (d, d)."""
    if cov.ndim != 2 or cov.shape != other.shape or not cov.shape[0] == cov.shape[-1] > 0:
        got = f"shapes {tuple(cov.shape)} and {tuple(other.shape)}"
        raise UnmetHypothesis(subject, "two covariances of shape (d, d)", got)
    for value in (cov, other):
        require(xp, subject, "cov", value, "finite")
        check_psd(xp, subject, value)
