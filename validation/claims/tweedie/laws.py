r"""The noncentral chi-square law, the transition of every squared Bessel process, and its gamma mixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf

from driftproof.theory.laws import NoncentralChi2
from driftproof.theory.laws.gamma_mixed import GammaMixedChi2
from driftproof.theory.processes import BESQ
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook
from .cases import DIMENSIONS, POINTS, ROUNDING, STARTS, scaled
from .quadrature import half_line

__all__ = ["GammaMixture", "NoncentralChiSquare"]


def _conditioning(x: float, nc: float, scale: float) -> Any:
    """What a rounding of x, nc and the scale does to the log-density."""
    u = mpf(x) / scale
    return 1 + abs(mpmath.sqrt(u) - mpmath.sqrt(nc)) * (mpmath.sqrt(u) + mpmath.sqrt(nc))


def _poisson_mixture(x: float, df: float, nc: float) -> Any:
    """The density of 2 Gamma(df/2 + N), N Poisson of mean nc/2, term by term."""
    rate, shape, x = mpf(nc) / 2, mpf(df) / 2, mpf(x)
    term = mpmath.exp(-rate - x / 2) * (x / 2) ** (shape - 1) / mpmath.gamma(shape) / 2
    total, n = mpf(0), 0
    while n < nc + x or term > total * mpf(10) ** -40:
        total += term
        term *= rate * (x / 2) / ((n + 1) * (shape + n))
        n += 1
    return total


def _plus(log_factor: Callable[[Any], Any]) -> Any:
    """The law whose log-density is too large by a function of the scale."""
    return wrong(
        NoncentralChi2,
        lambda value, scale: SimpleNamespace(log_prob=lambda x: value.log_prob(x) + log_factor(scale)),
    )


@claim(
    "TWEEDIE-LAW-1",
    "Noncentral chi-square, in logarithms",
    r"""
        \log p(x) = -\tfrac12 (\sqrt u - \sqrt\lambda)^2 + \tfrac\nu2 \log\frac u\lambda
        + \log\big(e^{-z} I_\nu(z)\big) - \log 2c, \qquad
        u = x/c, \; z = \sqrt{u\lambda}, \; \nu = \tfrac\delta2 - 1""",
    covers=[NoncentralChi2],
    hypotheses=[r"\delta > 0", r"\lambda \geq 0", r"c > 0"],
)
class NoncentralChiSquare:
    r"""The last piece of evidence is where ``scipy.stats.ncx2.logpdf`` (1.17) answers minus infinity."""

    @exact(ROUNDING, over=grid(df=DIMENSIONS, scale=(1e-6, 1.0), nc=STARTS, x=POINTS))
    def bessel_form_at_fifty_digits(NoncentralChi2, df, scale, nc, x):
        want = mpmath.log(textbook.density(BESQ(df), x, mpf(nc) * scale, scale))
        got = NoncentralChi2(df, nc, scale).log_prob(x)
        return scaled(got, want, max(_conditioning(x, nc, scale), abs(want)))

    @exact(
        ROUNDING,
        over=grid(
            rows("df", DIMENSIONS), rows("nc, x", ((0.0, 2.0), (1e-12, 1.0), (3.0, 0.5), (40.0, 70.0)))
        ),
    )
    def poisson_mixture_of_gammas(NoncentralChi2, df, nc, x):
        want = mpmath.log(_poisson_mixture(x, df, nc))
        return scaled(NoncentralChi2(df, nc, 1.0).log_prob(x), want, _conditioning(x, nc, 1.0))

    @exact(
        1e-12,
        over=grid(rows("df", DIMENSIONS), rows("nc, scale", ((0.0, 1.0), (2.0, 0.5), (50.0, 2.0)))),
    )
    def integrates_to_one_with_its_moments(NoncentralChi2, df, nc, scale):
        """Mass, mean, second moment and Laplace transform; the rounding of 800 nodes stays below 1e-12."""
        size = scale * (df + nc)
        x, w = half_line(size, largest=1e3)
        p = w * np.exp(NoncentralChi2(df, nc, scale).log_prob(x))
        yield "mass", np.sum(p), 1.0
        yield "mean", np.sum(p * x) / size, 1.0
        second = size**2 + 2.0 * scale**2 * (df + 2.0 * nc)
        yield "second moment", np.sum(p * x * x) / second, 1.0
        spread = 1.0 + 2.0 * scale
        yield "Laplace transform", np.sum(p * np.exp(-x)), spread ** (-df / 2) * np.exp(-nc * scale / spread)

    @exact(1e-12, over=rows("x, df, nc", ((1e4, 1e4, 1.0), (1e3, 1e3, 1e-3), (2e3, 500.0, 2e3))))
    def finite_at_many_degrees_of_freedom(NoncentralChi2, x, df, nc):
        """The log-density is a sum of terms of size df log df, each rounded."""
        want = mpmath.log(textbook.density(BESQ(df), x, nc, 1.0))
        return NoncentralChi2(df, nc, 1.0).log_prob(x), want

    mutants = {
        "order df/2": wrong(NoncentralChi2, df=lambda df: df + 2.0),
        "half the noncentrality": wrong(NoncentralChi2, nc=lambda nc: 0.5 * nc),
        "no Jacobian of the scale": _plus(np.log),
        "Gamma density of scale c": _plus(lambda scale: np.log(2.0)),
    }


@claim(
    "TWEEDIE-LAW-2",
    "Gamma data of any shape, noised",
    r"""
        p(x) = \frac{y^\nu e^{-y}}{2c\,\Gamma(\nu+1)}\,(1+m)^{-\alpha}\,
            {}_1F_1\Big(\alpha;\,\nu+1;\,\frac m{1+m}\,y\Big), \quad y = \frac x{2c}: \quad
        \text{the law of } c\,\chi'^2_\delta(\lambda), \; \tfrac\lambda2 \sim \Gamma(\alpha, m)""",
    covers=[GammaMixedChi2],
    hypotheses=[r"\delta > 0", r"\alpha > 0, \; m > 0, \; c > 0"],
)
class GammaMixture:
    @exact(1e-12, over=grid(rows("df, shape, mixing", lambda: _mixtures()), x=(1e-12, 0.7, 30.0)))
    def negative_binomial_mixture(GammaMixedChi2, df, shape, mixing, x):
        """The gamma densities 2c Gamma(df/2 + N), N negative binomial, term by term; 1F1 is good to 1e-13."""
        want = mpmath.log(_negative_binomial(x, df, shape, mixing))
        return GammaMixedChi2(df, shape, mixing, 1.0).log_prob(x), want

    @exact(1e-12, over=rows("df, shape, mixing", lambda: _mixtures()))
    def integrates_to_one_with_its_moments(GammaMixedChi2, df, shape, mixing):
        law, mean = GammaMixedChi2(df, shape, mixing, 0.5), 0.5 * (df + 2.0 * shape * mixing)
        x, w = half_line(mean, largest=1e3)
        p = w * np.exp(law.log_prob(x))
        yield "mass", np.sum(p), 1.0
        yield "mean", [np.sum(p * x) / mean, float(law.mean) / mean], [1.0, 1.0]
        yield "variance", np.sum(p * (x - mean) ** 2) / law.variance, 1.0
        if df > 2.0:  # p vanishes at both ends: integration by parts
            yield "score", np.sum(p * np.exp(-x) * law.score(x)), np.sum(p * np.exp(-x))

    mutants = {
        "rate for scale": wrong(GammaMixedChi2, mixing=lambda mixing: 1.0 / mixing),
        "noncentrality for its half": wrong(GammaMixedChi2, mixing=lambda mixing: 2.0 * mixing),
        "order df/2": wrong(GammaMixedChi2, df=lambda df: df + 2.0),
    }


def _mixtures() -> Iterator[tuple[float, float, float]]:
    for df in (0.5, 2.0, 9.0):
        for shape, mixing in ((0.4, 2.0), (1.7, 1e-6), (6.0, 0.75)):
            yield df, shape, mixing


def _negative_binomial(x: float, df: float, shape: float, mixing: float) -> Any:
    y, weight = mpf(x) / 2, mpf(mixing) / (1 + mpf(mixing))
    term = (
        (1 + mpf(mixing)) ** -mpf(shape)
        * y ** (mpf(df) / 2 - 1)
        * mpmath.exp(-y)
        / mpmath.gamma(mpf(df) / 2)
        / 2
    )
    total, n = mpf(0), 0
    while n < x or term > total * mpf(10) ** -40:
        total += term
        term *= weight * (shape + n) / (n + 1) * y / (mpf(df) / 2 + n)
        n += 1
    return total
