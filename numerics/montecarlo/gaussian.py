r"""Exact tests of a multivariate Gaussian: mean, covariance, or both.

.. math::
    T^2 &= n\,(\bar x-\mu)^\top S^{-1}(\bar x-\mu),\qquad \tfrac{n-d}{d(n-1)}T^2\sim F_{d,\,n-d}
        &&\text{(mean)}\\
    \Lambda &= \operatorname{tr} W - N\log|W/N| - Nd,\qquad W = \sum(y-\bar y)(y-\bar y)^\top
        \sim W_d(n-1),\quad y = \Sigma^{-1/2}(x-\mu) &&\text{(covariance, }N = n-1)\\
    \Lambda &+ n|\bar y|^2 &&\text{(both, }N = n)

The likelihood ratios have a closed cumulant generating function K (derived here from the Wishart
normalising constant, below), so that their tail is a contour integral,

.. math:: P(\Lambda > x) = \frac1{2\pi i}\int e^{K(s)-sx}\,\frac{ds}s,

taken along a parabola through the saddle point, where the trapezoidal rule converges geometrically:
p-values are exact to about ten digits however small they are, at every n > d.

References:
    | The generalization of Student's ratio (Hotelling, 1931)
    | Unbiasedness of some test criteria for the equality of one or two covariance matrices
    | (Sugiura, Nagao, 1968): the weight N = n - 1
    | An introduction to multivariate statistical analysis (Anderson, 2003), chapters 5 and 10
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

import numpy as np
from scipy.optimize import brentq
from scipy.special import loggamma
from scipy.stats import f as fisher
from scipy.stats import ncf

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis
from driftproof.theory.special.quadrature import Integral

from .verdict import POWER, Floats, Verdict, as_level, as_samples

__all__ = ["gaussian_test"]

_EPS, _SHARE, _LEAST = 2.0**-52, 1e-6, 1e-300


@arrays()
def gaussian_test(
    x: Array, mean: Array | None, cov: Array | None, alpha: float, *, power: float = POWER
) -> Verdict:
    r"""Test that Gaussian vectors have a given mean, a given covariance, or both.

    Arguments:
        x: Draws, shape (n, d), n > d.
        mean: :math:`\mu`, shape (d,); None leaves it free (likelihood ratio of the covariance).
        cov: :math:`\Sigma`, shape (d, d), positive definite; None leaves it free (Hotelling's test).
        alpha: False-alarm rate.
        power: Detection probability behind ``detectable``.

    Returns:
        The verdict.  Effects are :math:`\sqrt{2\,\mathrm{KL}}` of the estimated law, less its mean under
        the hypothesis; for a shift of the mean that is the Mahalanobis distance.  ``detectable`` is exact
        for such a shift, and for a covariance :math:`c\,\Sigma` where the mean is free.

    Raises:
        UnmetHypothesis: Nothing to test, too few draws, a covariance that is not positive definite.

    Claims: STATISTICS-GAUSSIAN-1

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(1000, 3))
        >>> gaussian_test(x, np.zeros(3), np.eye(3), alpha=1e-8).rejects
        False
        >>> gaussian_test(x, np.zeros(3), 1.3 * np.eye(3), alpha=1e-8).rejects
        True
    """
    (draws,) = as_samples("gaussian_test", ndim=2, x=x)
    as_level("gaussian_test", "alpha", alpha)
    as_level("gaussian_test", "power", power)
    n, d = draws.shape
    if mean is None and cov is None:
        raise UnmetHypothesis("gaussian_test", "a mean or a covariance is given", "neither")
    if not n > d >= 1:
        raise UnmetHypothesis("gaussian_test", "n > d >= 1", f"x has shape {draws.shape}")
    mu = draws.mean(axis=0) if mean is None else _parameter("mean", mean, (d,))
    centred = draws - mu
    if cov is None:
        return _hotelling(centred, alpha, power)
    whitened = np.linalg.solve(_cholesky(_parameter("cov", cov, (d, d))), centred.T).T
    average = whitened.mean(axis=0)
    residual = whitened - average
    scatter = residual.T @ residual
    weight = n - 1 if mean is None else n
    sign, log_det = np.linalg.slogdet(scatter / weight)
    statistic = float(np.trace(scatter)) - weight * (float(log_det) if sign > 0 else -math.inf) - weight * d
    if mean is not None:
        statistic += n * float(average @ average)
    ratio = _LikelihoodRatio(d, n, with_mean=mean is not None)
    p = _tail(ratio.cgf(), statistic, ratio.edge(), ratio.terms).value if math.isfinite(statistic) else 0.0
    effect = math.sqrt(max(0.0, statistic - ratio.expectation()) / n)
    name = "Gaussian covariance" if mean is None else "Gaussian mean and covariance"
    detectable = _detectable(ratio, alpha, power)
    return Verdict(name, p, effect, detectable, "sqrt(2 KL)", n, alpha, power, "exact for Gaussian draws")


def _hotelling(centred: Floats, alpha: float, power: float) -> Verdict:
    n, d = centred.shape
    average = centred.mean(axis=0)
    residual = (centred - average) / math.sqrt(n - 1)
    distance2 = float(
        np.sum(np.linalg.solve(_cholesky(residual.T @ residual, "sample covariance"), average) ** 2)
    )
    scale = (n - d) / (d * (n - 1)) * n
    p = float(fisher.sf(scale * distance2, d, n - d))
    effect = math.sqrt(max(0.0, distance2))
    detectable = _hotelling_detectable(n, d, alpha, power)
    return Verdict(
        "Gaussian mean", p, effect, detectable, "sqrt(2 KL)", n, alpha, power, "exact for Gaussian draws"
    )


Cgf = Callable[[Any], Any]


@final
@dataclass(frozen=True, slots=True)
class _LikelihoodRatio:
    """The law of the likelihood ratio of n Gaussian vectors in d dimensions."""

    d: int
    n: int
    with_mean: bool

    def edge(self, scale: float = 1.0) -> float:
        """The first singularity of the cumulant generating function on the positive axis."""
        weight = self.n if self.with_mean else self.n - 1
        return min(0.5 / scale, (self.n - self.d) / (2 * weight))

    def cgf(self, scale: float = 1.0, shift2: float = 0.0) -> Cgf:
        r"""K(s) where the draws have covariance ``scale`` times and a mean off by ``sqrt(shift2)``.

        With nu = n - 1 and q = nu/2 - sN the Wishart normalising constant gives

        .. math:: E\,e^{s\operatorname{tr}W}|W|^{-sN} =
            \frac{\Gamma_d(q)}{\Gamma_d(\nu/2)}\,2^{-sNd}c^{-sNd}(1-2sc)^{-qd}.
        """
        d, n = self.d, self.n
        nu, weight = n - 1, (n if self.with_mean else n - 1)
        halves = np.arange(d) / 2

        def k(s: Any) -> Any:
            q = nu / 2 - s * weight
            shrink = np.log(1 - 2 * s * scale)
            value = (
                sum(loggamma(q - h) - loggamma(nu / 2 - h + 0j) for h in halves)
                + s * weight * d * (math.log(weight) - 1 - math.log(2) - math.log(scale))
                - q * d * shrink
            )
            if self.with_mean:  # n |y|^2 is scale times a noncentral chi-square
                value = value - d / 2 * shrink + s * n * shift2 / (1 - 2 * s * scale)
            return value

        return k

    def terms(self, s: Any) -> Any:
        """The size of the terms that K(s) is the sum of: of logarithms of gamma functions."""
        return self.d * self.n * (0.5 + np.abs(s)) * (math.log(self.n) + 2.0 + np.log1p(np.abs(s)))

    def expectation(self) -> float:
        return float(np.imag(self.cgf()(1e-12j)) / 1e-12)


@lru_cache
def _detectable(ratio: _LikelihoodRatio, alpha: float, power: float) -> float:
    null, edge, mean = ratio.cgf(), ratio.edge(), ratio.expectation()

    def excess(x: float) -> float:
        return math.log(max(_tail(null, x, edge, ratio.terms).value, 1e-300)) - math.log(alpha)

    def miss(cgf: Cgf, edge: float) -> float:
        return power - _tail(cgf, critical, edge, ratio.terms).value

    high = 2 * mean
    while excess(high) > 0:
        high *= 2
    critical = float(brentq(excess, 0.0, high, rtol=1e-10))
    step = 1 / math.sqrt(ratio.n)
    if ratio.with_mean:
        return _root_above(lambda shift: miss(ratio.cgf(shift2=shift**2), edge), step)
    scale = 1 + _root_above(lambda more: miss(ratio.cgf(scale=1 + more), ratio.edge(1 + more)), step)
    return math.sqrt(ratio.d * (scale - 1 - math.log(scale)))


@lru_cache
def _hotelling_detectable(n: int, d: int, alpha: float, power: float) -> float:
    critical = float(fisher.isf(alpha, d, n - d))
    return _root_above(
        lambda shift: float(ncf.cdf(critical, d, n - d, n * shift**2)) - (1 - power), 1 / math.sqrt(n)
    )


def _tail(cgf: Cgf, x: float, edge: float, terms: Cgf) -> Integral:
    """P(Lambda > x) along a parabola through the saddle point of K(s) - s x.

    The error is what every other point leaves out, the ends that are cut off, and the rounding of the exponents.

    Raises:
        UnmetHypothesis: The error is above 1e-6 of the probability and above 1e-300.
    """

    def slope(s: float) -> float:
        h = 1e-9 * min(edge, max(abs(s), edge))
        return float(np.imag(cgf(np.asarray(s + 1j * h))) / h) - x

    if x <= 0:
        return Integral(1.0, 0.0)
    low = -1.0
    while slope(low) > 0:
        low *= 4
    saddle = float(brentq(slope, low, edge * (1 - 1e-9), xtol=1e-13 * edge))
    step = 1e-4 * (edge - saddle)
    width = 1 / math.sqrt((slope(saddle + step) - slope(saddle - step)) / (2 * step))
    # Keep clear of the pole at 0 and of the singularity at the edge.
    crossing = saddle if abs(saddle) > 0.5 * width else min(0.5 * width, 0.5 * edge)
    room = edge - crossing
    width = min(width, room)
    # For a chi-square law this parabola touches the path of steepest descent, up to fourth order.
    reach = max(12.0, math.sqrt(150 * room / x) / width)
    u, du = np.linspace(-reach, reach, 2 * math.ceil(reach / 0.04) + 1, retstep=True)
    s = crossing + 1j * width * u + (width * u) ** 2 / (3 * room)
    ds = 1j * width + 2 * width**2 * u / (3 * room)
    integrand = np.exp(cgf(s) - s * x) / s * ds
    inside = float(np.real(np.sum(integrand) * du / (2j * math.pi)))
    value = min(1.0, max(0.0, inside if crossing > 0 else 1.0 + inside))
    coarse = float(np.real(np.sum(integrand[::2]) * 2.0 * du / (2j * math.pi)))
    size = np.abs(integrand) * du / (2.0 * math.pi)
    left = reach * float(size[0] + size[-1]) / du  # the ends fall faster than a Gauss curve of this width
    rounding = _EPS * float(np.sum(size * (8.0 + np.abs(s * x) + terms(s))))
    error = abs(inside - coarse) + left + rounding
    if not error <= max(_SHARE * value, _LEAST):
        got = f"{value:.6g} with an error of {error:.2g}"
        raise UnmetHypothesis("gaussian_test", "the tail of the likelihood ratio is found to 6 digits", got)
    return Integral(value, error)


def _root_above(decreasing: Callable[[float], float], step: float) -> float:
    high = step
    while decreasing(high) > 0:
        high *= 2
        if high > 1e9:
            return math.inf
    return float(brentq(decreasing, 0.0, high))


def _parameter(name: str, value: Array, shape: tuple[int, ...]) -> Floats:
    (host,) = as_samples("gaussian_test", ndim=len(shape), least=1, **{name: value})
    if host.shape != shape:
        raise UnmetHypothesis("gaussian_test", f"{name} has shape {shape}", f"shape {host.shape}")
    return host


def _cholesky(cov: Floats, name: str = "cov") -> Floats:
    if float(np.abs(cov - cov.T).max()) > 1e-12 * float(np.abs(cov).max()):
        raise UnmetHypothesis("gaussian_test", f"{name} is symmetric", f"shape {cov.shape}")
    try:
        return np.asarray(np.linalg.cholesky(cov))
    except np.linalg.LinAlgError:
        least = float(np.linalg.eigvalsh(cov)[0])
        raise UnmetHypothesis(
            "gaussian_test", f"{name} is positive definite", f"eigenvalue {least:.3g}"
        ) from None
