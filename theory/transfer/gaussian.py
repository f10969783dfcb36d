r"""Transport between normal laws: the map, and what estimating it from m samples costs.

.. math::
    S(x) = \mu_S + A(x - \mu_T), \qquad
    A = \Sigma_T^{-1/2}\big(\Sigma_T^{1/2}\Sigma_S\Sigma_T^{1/2}\big)^{1/2}\Sigma_T^{-1/2}

The map from the target to the source is learned from m target samples, so :math:`\mu_T, \Sigma_T` are estimated;
the source law is known, or on the line estimated from n samples of its own.  The rate is :math:`m^{-1/2}` in every
dimension, and :math:`n^{-1/2}`; the constants below are exact.
"""

from __future__ import annotations

import math

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary
from driftproof.theory.laws.gaussian import check_regular
from driftproof.theory.laws.maps import require_covariances
from driftproof.theory.laws.matrices import sqrt_psd

__all__ = ["empirical_transport_risk", "gaussian_map_constant", "gaussian_map_risk"]


def empirical_transport_risk(m: int, n: int | None = None) -> float:
    r"""The expected squared transport cost between m uniform samples on [0, 1] and their law, or n samples more.

    .. math:: E\,W_2^2(U_m, U) = \frac1{6m}, \qquad
        E\,W_2^2(U_m, U_n') = \frac{m + n + 1 + \frac{m^2 + n^2 - \gcd(m, n)^2}{mn}}{6(m+1)(n+1)}, \quad
        \frac1{3(m+1)} \;\text{at}\; m = n

    The integral of the product of two staircases, :math:`\int_0^1 \lceil mu\rceil\lceil nu\rceil\,du`, brings in
    the greatest common divisor.

    Arguments:
        m: Sample size, an integer >= 1.
        n: Size of the other sample; the law itself without.

    Returns:
        The expectation, to rounding.

    Raises:
        UnmetHypothesis: m or n is no integer >= 1.

    References:
        | One-dimensional empirical measures, order statistics, and Kantorovich transport distances
          (Bobkov & Ledoux, 2019)

    Claims: TRANSFER-EMPIRICAL-1, TRANSFER-EMPIRICAL-2

    Example:
        >>> empirical_transport_risk(2) == 1 / 12, empirical_transport_risk(2, 2) == 1 / 9
        (True, True)
    """
    for name, size in (("m", m), ("n", 1 if n is None else n)):
        if isinstance(size, bool) or size % 1 != 0 or size < 1:
            hypothesis = f"{name} is an integer >= 1"
            raise UnmetHypothesis("empirical_transport_risk", hypothesis, f"{name} = {size!r}")
    if n is None:
        return 1.0 / (6.0 * m)
    m, n = int(m), int(n)
    steps = m * n * (m + n + 1) + m * m + n * n - math.gcd(m, n) ** 2
    return steps / (6 * m * n * (m + 1) * (n + 1))


def gaussian_map_risk(m: int, n: int | None = None) -> float:
    r"""The risk of the plug-in map between normal laws on the line, in units of the source variance.

    .. math:: \frac{E\|\hat S - S_0\|^2}{\sigma_S^2} = \Big(1 + \frac1m\Big)\frac{m-1}{m-3}
        - 2\sqrt{\frac{m-1}2}\,\frac{\Gamma(\frac{m-2}2)}{\Gamma(\frac{m-1}2)} + 1 = \frac3{2m} + O(m^{-2})

    for :math:`\hat S(x) = \mu_S + \sigma_S(x - \hat\mu)/\hat\sigma` with the unbiased variance
    :math:`\hat\sigma^2`.  Where the source law is estimated as well, from n samples of its own, the map is
    :math:`\hat\mu_S + \hat\sigma_S(x - \hat\mu)/\hat\sigma` and its risk

    .. math:: \frac1n + \Big(1 + \frac1m\Big)\frac{m-1}{m-3} - 2\,c_4(n)
        \sqrt{\frac{m-1}2}\,\frac{\Gamma(\frac{m-2}2)}{\Gamma(\frac{m-1}2)} + 1 \sim \frac3{2m} + \frac3{2n},
        \qquad c_4(n) = \frac{E\hat\sigma_S}{\sigma_S}
        = \sqrt{\frac2{n-1}}\,\frac{\Gamma(\frac n2)}{\Gamma(\frac{n-1}2)}

    Arguments:
        m: Sample size, an integer > 3: with less, :math:`1/\hat\sigma` has no second moment.
        n: Samples of the source law, an integer > 1; known without.

    Returns:
        The risk, to about 1e-13 of itself.

    Raises:
        UnmetHypothesis: m <= 3: the expectation is infinite; or n <= 1: one sample has no variance.

    Claims: TRANSFER-GAUSSMAP-1, TRANSFER-GAUSSMAP-3

    Example:
        >>> abs(gaussian_map_risk(5) - (3.4 - math.sqrt(2.0 * math.pi))) < 1e-15
        True
        >>> abs(gaussian_map_risk(5, 2) - 1.9) < 1e-15
        True
    """
    if isinstance(m, bool) or m % 1 != 0 or m <= 3:
        raise UnmetHypothesis("gaussian_map_risk", "m is an integer > 3", f"m = {m!r}")
    if n is not None and (isinstance(n, bool) or n % 1 != 0 or n <= 1):
        raise UnmetHypothesis("gaussian_map_risk", "n is an integer > 1", f"n = {n!r}")
    # (1 + 1/m)(m - 1)/(m - 3) - 1 and the rest, each without cancellation: all are O(1/m) or O(1/n).
    inverse = _inverse_deviation_bias(m)
    known = (3.0 * m - 1.0) / (m * (m - 3.0)) - 2.0 * inverse
    return known if n is None else known + 1.0 / n - 2.0 * _deviation_bias(n) * (1.0 + inverse)


def _inverse_deviation_bias(m: int) -> float:
    r"""E[sigma / sigma-hat] - 1, from sqrt(k) Gamma(k - 1/2)/Gamma(k) with k = (m - 1)/2."""
    k = 0.5 * (m - 1)
    if m < 128:
        return math.sqrt(k) * math.gamma(k - 0.5) / math.gamma(k) - 1.0
    # Differences of Stirling's series: (B_j(-1/2) - B_j(0)) (-1)^j / (j (j - 1) k^(j-1)).
    coefficients = (3 / 8, 1 / 8, 3 / 64, 1 / 64, 3 / 640, 1 / 384)
    return math.expm1(sum(c * k**-j for j, c in enumerate(coefficients, start=1)))


def _deviation_bias(n: int) -> float:
    r"""E[sigma-hat / sigma] - 1, from Gamma(k + 1/2)/(sqrt(k) Gamma(k)) with k = (n - 1)/2."""
    k = 0.5 * (n - 1)
    if n < 128:
        return math.gamma(k + 0.5) / (math.sqrt(k) * math.gamma(k)) - 1.0
    # The same differences at 1/2; those of odd order vanish.
    return math.expm1(-1 / (8 * k) + 1 / (192 * k**3) - 1 / (640 * k**5))


@arrays()
def gaussian_map_constant(target_cov: Array, source_cov: Array) -> Array:
    r"""The leading constant of the plug-in map's risk in dimension d: the limit of :math:`m\,E\|\hat S - S_0\|^2`.

    .. math:: \mathrm{tr}\,\Sigma_S + \sum_{i,j} (U^\top\Sigma_T^{-1}U)_{ii}
        \frac{\mu_i^2\mu_j^2}{(\mu_i+\mu_j)^2}(1 + \delta_{ij}), \qquad
        (\Sigma_T^{1/2}\Sigma_S\Sigma_T^{1/2})^{1/2} = U\,\mathrm{diag}(\mu)\,U^\top

    From :math:`A\Sigma_T A = \Sigma_S`, differentiated: with :math:`d\Sigma_T = \Sigma_T^{1/2}W\Sigma_T^{1/2}` the
    change of A solves a Lyapunov equation that U makes diagonal.  For whitening, :math:`\Sigma_S = I`, it is
    :math:`\frac{3d}2 + \sum_{a<b} \frac{l_a+l_b}{(\sqrt{l_a}+\sqrt{l_b})^2}` with the eigenvalues l of
    :math:`\Sigma_T`.

    Arguments:
        target_cov: :math:`\Sigma_T`, the estimated one, shape (d, d), positive definite.
        source_cov: :math:`\Sigma_S`, shape (d, d), positive definite.

    Returns:
        The constant, a scalar array.

    Raises:
        UnmetHypothesis: A covariance is singular, or shapes do not match.

    Claims: TRANSFER-GAUSSMAP-2

    Example:
        >>> float(gaussian_map_constant([[4.0]], [[1.0]]))
        1.5
    """
    given = {"target_cov": target_cov, "source_cov": source_cov}
    xp, down, (target_cov, source_cov) = boundary("gaussian_map_constant", **given)
    require_covariances(xp, "gaussian_map_constant", target_cov, source_cov)
    check_regular(xp, "gaussian_map_constant", target_cov)
    check_regular(xp, "gaussian_map_constant", source_cov)
    root = sqrt_psd(xp, target_cov)
    squared, u = xp.linalg.eigh(root @ source_cov @ root)
    mu = xp.sqrt(squared)
    weight = xp.sum(u * xp.linalg.solve(target_cov, u), axis=0)
    ratio = mu[:, None] * mu[None, :] / (mu[:, None] + mu[None, :])
    spread = xp.sum(ratio * ratio, axis=1) + 0.25 * mu * mu
    return down.wide(xp.linalg.trace(source_cov) + xp.sum(weight * spread))
