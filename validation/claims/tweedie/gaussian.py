r"""Gaussian noise: the posterior mean and variance are the score and its derivative."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import mpmath
import numpy as np
import sympy as sp
from mpmath import mpf

from driftproof._namespace import Array, Namespace
from driftproof.theory.laws import Discrete, Gaussian, Normal
from driftproof.theory.processes import BESQ, GBM
from driftproof.theory.processes.gaussian import AbstractGaussianProcess
from driftproof.theory.tweedie import conditional_score, posterior_mean, posterior_variance
from driftproof.validation import Thing, claim, exact, grid, rows, symbolic
from driftproof.validation.mutants import wrong
from driftproof.validation.symbols import on_symbols

from . import textbook
from .cases import GAUSSIANS, ROUNDING, scaled
from .textbook import Posterior

__all__ = ["GaussianMean", "GaussianVariance"]

ATOMS, WEIGHTS = (-1.0, 0.25, 3.0), (0.25, 0.5, 0.25)
X, X0, T, ALPHA, SIGMA = sp.symbols("x x_0 t alpha sigma", positive=True)
P, Q = sp.Function("p")(X), sp.Function("q")(X)
TRANSITION = sp.exp(-((X - ALPHA * X0) ** 2) / (2 * SIGMA**2))


@final
class AnyGaussian(AbstractGaussianProcess):
    """A Gaussian process whose levels are symbols: what holds for it holds for every schedule."""

    def alpha_sigma(self, xp: Namespace, t: Array) -> tuple[Array, Array]:
        return ALPHA, SIGMA

    def between(self, xp: Namespace, s: Array, t: Array) -> tuple[Array, Array]:
        raise NotImplementedError("the identities are of one time")

    def rates(self, xp: Namespace, t: Array) -> tuple[Array, Array]:
        raise NotImplementedError("the identities do not differentiate in time")


def _mean(formula: Thing, p: Any) -> Any:
    return on_symbols(formula, AnyGaussian(), X, T, sp.diff(p, X) / p)


def _variance(formula: Thing, p: Any) -> Any:
    return on_symbols(formula, AnyGaussian(), X, T, sp.diff(sp.diff(p, X) / p, X))


def _posteriors() -> Iterator[tuple[str, Posterior]]:
    for process in GAUSSIANS:
        for t in (1e-6, 0.05, 0.4, 0.95):
            for x in (-2.0, 0.1, 2.9, 1e8):
                given = Posterior(process, ATOMS, WEIGHTS, x, t)
                yield f"{type(process).__name__}, x = {x:g}, t = {t:g}", given


@claim(
    "TWEEDIE-GAUSS-1",
    "Posterior mean under Gaussian noise",
    r"E[X_0 \mid X_t = x] = \frac{x + \sigma_t^2\, s(x, t)}{\alpha_t}",
    covers=[posterior_mean, conditional_score],
    hypotheses=[r"X_t = \alpha_t X_0 + \sigma_t Z", r"\alpha_t > 0, \; \sigma_t > 0"],
)
class GaussianMean:
    r"""Times p the right side is linear in p, and it is :math:`x_0` for a transition: so it averages."""

    @symbolic()
    def exact_on_transitions(posterior_mean):
        return _mean(posterior_mean, TRANSITION), X0

    @symbolic()
    def linear_in_the_density(posterior_mean):
        def moment(p: Any) -> Any:
            return p * _mean(posterior_mean, p)

        return moment(P + Q), moment(P) + moment(Q)

    @exact(ROUNDING, over=rows("label, given", _posteriors))
    def three_atoms_at_fifty_digits(posterior_mean, given):
        alpha, variance = textbook.levels(given.process, given.t)
        got = posterior_mean(given.process, given.x, given.t, float(given.score))
        return scaled(got, given.mean(), (abs(given.x) + variance * abs(given.score)) / alpha)

    @exact(ROUNDING, over=grid(process=GAUSSIANS, t=(0.05, 0.4, 0.95)))
    def three_atoms_with_the_score_of_the_library(posterior_mean, process, t):
        alpha, variance = (float(level) for level in textbook.levels(process, t))
        x = np.asarray([alpha * a + 0.7 * variance**0.5 for a in ATOMS])
        score = process.marginal(Discrete(ATOMS, WEIGHTS), t).score(x)
        want = [Posterior(process, ATOMS, WEIGHTS, float(y), t).mean() for y in x]
        size = float(np.max(np.abs(x)) + variance * np.max(np.abs(score))) / alpha
        return posterior_mean(process, x, t, score) / size, [w / size for w in want]

    @exact(ROUNDING, over=grid(process=GAUSSIANS, t=(0.05, 0.4)))
    def precision_weighted_on_normal_data(posterior_mean, process, t):
        """Normal data, and correlated data in the plane, where the score is a vector."""
        alpha, variance = textbook.levels(process, t)
        x, score = 1.5, process.marginal(Normal(-1.0, 2.0), t).score(1.5)
        precision = mpf(1) / 4 + alpha**2 / variance
        want = (mpf(-1) / 4 + alpha * x / variance) / precision
        yield "line", posterior_mean(process, x, t, float(score)), want

        mean, cov, point = [1.0, -2.0], [[2.0, 0.5], [0.5, 1.0]], np.asarray([0.5, 3.0])
        gain = alpha * mpmath.matrix(cov) * _inverse(alpha, variance, cov)
        want = mpmath.matrix(mean) + gain * (mpmath.matrix(point) - alpha * mpmath.matrix(mean))
        got = posterior_mean(process, point, t, process.marginal(Gaussian(mean, cov), t).score(point))
        yield "plane", got, list(want)

    @exact(ROUNDING, over=rows("label, given", _posteriors))
    def regression_target(posterior_mean, conditional_score, given):
        """The mean of the transition scores over the posterior is the score (and so its regression)."""
        alpha, variance = textbook.levels(given.process, given.t)
        targets = {a: mpf(float(conditional_score(given.process, a, given.x, given.t))) for a in ATOMS}
        score = float(given.mean(targets.__getitem__))
        size = (abs(given.x) + variance * abs(score)) / alpha
        return scaled(posterior_mean(given.process, given.x, given.t, score), given.mean(), size)

    # Geometric noise, and squared Bessel noise without the derivative of the score.
    refuses = [(posterior_mean, process, 1.0, 1.0, 0.0) for process in (GBM(0.1, 0.2), BESQ(2.0))]

    mutants = {
        "sign of the score": wrong(posterior_mean, score=lambda score: -score),
        "sigma instead of its square": wrong(
            posterior_mean, score=lambda xp, process, t, score: score / process.alpha_sigma(xp, t)[1]
        ),
        "without 1/alpha": wrong(
            posterior_mean, lambda value, xp, process, t: process.alpha_sigma(xp, t)[0] * value
        ),
    }


def _inverse(alpha: Any, variance: Any, cov: list[list[float]]) -> Any:
    return mpmath.inverse(alpha**2 * mpmath.matrix(cov) + variance * mpmath.eye(2))


@claim(
    "TWEEDIE-GAUSS-2",
    "Posterior variance under Gaussian noise",
    r"\mathrm{Var}[X_0 \mid X_t = x] = \frac{\sigma_t^2 + \sigma_t^4\, \partial_x s(x, t)}{\alpha_t^2}",
    covers=[posterior_variance],
    hypotheses=[r"X_t = \alpha_t X_0 + \sigma_t Z", r"\alpha_t > 0, \; \sigma_t > 0"],
)
class GaussianVariance:
    """With the squared mean added it is a second moment, linear in p."""

    @symbolic()
    def zero_on_transitions(posterior_variance):
        return _variance(posterior_variance, TRANSITION)

    @symbolic()
    def linear_in_the_density(posterior_variance):
        def moment(p: Any) -> Any:
            return p * (_variance(posterior_variance, p) + _mean(posterior_mean, p) ** 2)

        return moment(P + Q), moment(P) + moment(Q)

    @exact(ROUNDING, over=rows("label, given", _posteriors))
    def three_atoms_at_fifty_digits(posterior_variance, given):
        alpha, variance = textbook.levels(given.process, given.t)
        slope = given.score_prime
        got = posterior_variance(given.process, given.x, given.t, float(slope))
        return scaled(got, given.variance(), variance * (1 + variance * abs(slope)) / alpha**2)

    @exact(ROUNDING, over=grid(process=GAUSSIANS, t=(0.05, 0.4)))
    def harmonic_on_normal_data(posterior_variance, process, t):
        alpha, variance = textbook.levels(process, t)
        total = alpha**2 * 4 + variance
        got = posterior_variance(process, 1.5, t, float(-1 / total))
        size = variance * (1 + variance / total) / alpha**2
        return scaled(got, 1 / (mpf(1) / 4 + alpha**2 / variance), size)

    mutants = {
        "sign of the curvature": wrong(posterior_variance, score_prime=lambda score_prime: -score_prime),
        "variance of alpha X_0": wrong(
            posterior_variance, lambda value, xp, process, t: process.alpha_sigma(xp, t)[0] ** 2 * value
        ),
        "twice": wrong(posterior_variance, lambda value: 2 * value),
    }
