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

from . import textbook
from .cases import DIMENSIONS, POINTS, ROUNDING, STARTS, measured
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


def _altered(change: Callable[[Any, Any, Any], Any]) -> Callable[[float, float, float], Any]:
    """The law with ``change(log_density, x, scale)`` for its log-density."""

    def law(df: float, nc: float, scale: float) -> Any:
        exact_law = NoncentralChi2(df, nc, scale)
        return SimpleNamespace(log_prob=lambda x: change(exact_law.log_prob(x), x, scale))

    return law


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

    @exact(ROUNDING)
    def bessel_form_at_fifty_digits(NoncentralChi2):
        for df in DIMENSIONS:
            for scale in (1e-6, 1.0):
                for nc in STARTS:
                    for x in POINTS:
                        textbook_form = textbook.density(BESQ(df), x, mpf(nc) * scale, scale)
                        want, got = mpmath.log(textbook_form), NoncentralChi2(df, nc, scale).log_prob(x)
                        label = f"df = {df}, nc = {nc:g}, scale = {scale:g}, x = {x:g}"
                        yield measured(label, got, want, max(_conditioning(x, nc, scale), abs(want)))

    @exact(ROUNDING)
    def poisson_mixture_of_gammas(NoncentralChi2):
        for df in DIMENSIONS:
            for nc, x in ((0.0, 2.0), (1e-12, 1.0), (3.0, 0.5), (40.0, 70.0)):
                want = mpmath.log(_poisson_mixture(x, df, nc))
                label = f"df = {df}, nc = {nc:g}, x = {x:g}"
                yield measured(
                    label, NoncentralChi2(df, nc, 1.0).log_prob(x), want, _conditioning(x, nc, 1.0)
                )

    @exact(1e-12)
    def integrates_to_one_with_its_moments(NoncentralChi2):
        """Mass, mean, second moment and Laplace transform; the rounding of 800 nodes stays below 1e-12."""
        for df in DIMENSIONS:
            for nc, scale in ((0.0, 1.0), (2.0, 0.5), (50.0, 2.0)):
                size = scale * (df + nc)
                label = f"df = {df}, nc = {nc}, scale = {scale}"
                x, w = half_line(size, largest=1e3)
                p = w * np.exp(NoncentralChi2(df, nc, scale).log_prob(x))
                yield f"{label}: mass", np.sum(p), 1.0
                yield f"{label}: mean", np.sum(p * x) / size, 1.0
                second = size**2 + 2.0 * scale**2 * (df + 2.0 * nc)
                yield f"{label}: second moment", np.sum(p * x * x) / second, 1.0
                spread = 1.0 + 2.0 * scale
                transform = spread ** (-df / 2) * np.exp(-nc * scale / spread)
                yield f"{label}: Laplace transform", np.sum(p * np.exp(-x)), transform

    @exact(1e-12, over=rows("x, df, nc", ((1e4, 1e4, 1.0), (1e3, 1e3, 1e-3), (2e3, 500.0, 2e3))))
    def finite_at_many_degrees_of_freedom(NoncentralChi2, x, df, nc):
        """The log-density is a sum of terms of size df log df, each rounded."""
        want = mpmath.log(textbook.density(BESQ(df), x, nc, 1.0))
        return NoncentralChi2(df, nc, 1.0).log_prob(x), want

    mutants = {
        "order df/2": lambda df, nc, scale: NoncentralChi2(df + 2.0, nc, scale),
        "half the noncentrality": lambda df, nc, scale: NoncentralChi2(df, 0.5 * nc, scale),
        "no Jacobian of the scale": _altered(lambda log_p, x, scale: log_p + np.log(scale)),
        "Gamma density of scale c": _altered(lambda log_p, x, scale: log_p + np.log(2.0)),
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
        label = f"df = {df}, shape = {shape}, m = {mixing:g}, x = {x:g}"
        return label, GammaMixedChi2(df, shape, mixing, 1.0).log_prob(x), want

    @exact(1e-12)
    def integrates_to_one_with_its_moments(GammaMixedChi2):
        for df, shape, mixing in _mixtures():
            law, label = GammaMixedChi2(df, shape, mixing, 0.5), f"df = {df}, shape = {shape}, m = {mixing:g}"
            mean = 0.5 * (df + 2.0 * shape * mixing)
            x, w = half_line(mean, largest=1e3)
            p = w * np.exp(law.log_prob(x))
            yield f"{label}: mass", np.sum(p), 1.0
            yield f"{label}: mean", [np.sum(p * x) / mean, float(law.mean) / mean], [1.0, 1.0]
            yield f"{label}: variance", np.sum(p * (x - mean) ** 2) / law.variance, 1.0
            if df > 2.0:  # p vanishes at both ends: integration by parts
                yield f"{label}: score", np.sum(p * np.exp(-x) * law.score(x)), np.sum(p * np.exp(-x))

    mutants = {
        "rate for scale": lambda df, shape, mixing, scale: GammaMixedChi2(df, shape, 1.0 / mixing, scale),
        "noncentrality for its half": lambda df, shape, mixing, scale: GammaMixedChi2(
            df, shape, 2.0 * mixing, scale
        ),
        "order df/2": lambda df, shape, mixing, scale: GammaMixedChi2(df + 2.0, shape, mixing, scale),
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
