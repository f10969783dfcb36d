r"""Geometric noise: the logarithm of the data is local in the score, its powers are dilations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from mpmath import mpf

from driftproof.theory.laws import Discrete, LogNormal
from driftproof.theory.processes import GBM
from driftproof.theory.tweedie import log_posterior_mean, log_posterior_variance, posterior_moment
from driftproof.theory.tweedie.symbolic import gbm_dilation, gbm_log_moments
from driftproof.validation import Thing, claim, exact, grid, rows, symbolic
from driftproof.validation.mutants import wrong
from driftproof.validation.symbols import on_symbols, unchecked

from . import textbook
from .cases import GBMS, ROUNDING, scaled
from .quadrature import half_line
from .textbook import Posterior

__all__ = ["DilatedMoments", "LogMean", "LogVariance"]

ATOMS, WEIGHTS = (0.5, 1.25, 3.0), (0.25, 0.5, 0.25)
ORDERS = (1.0, 2.0, -1.0, 0.5)
MU, K = sp.symbols("mu k", real=True)
X, X0, T, SIGMA = sp.symbols("x x_0 t sigma", positive=True)
P, Q = sp.Function("p"), sp.Function("q")
PROCESS = unchecked(GBM, mu=MU, sigma=SIGMA)


def _transition(x: Any) -> Any:
    shift, variance = (MU - SIGMA**2 / 2) * T, SIGMA**2 * T
    return sp.exp(-((sp.log(x) - sp.log(X0) - shift) ** 2) / (2 * variance)) / x


def _log_mean(formula: Thing, p: Any) -> Any:
    return on_symbols(formula, PROCESS, X, T, sp.diff(p, X) / p)


def _log_variance(formula: Thing, p: Any) -> Any:
    score = sp.diff(p, X) / p
    return on_symbols(formula, PROCESS, X, T, score, sp.diff(score, X))


def _posteriors() -> Iterator[tuple[str, Posterior]]:
    for process in GBMS:
        for t in (1e-6, 1.0, 4.0):
            for x in (0.1, 1.0, 2.9, 40.0):
                yield f"{process}, x = {x:g}, t = {t:g}", Posterior(process, ATOMS, WEIGHTS, x, t)


@claim(
    "TWEEDIE-GBM-1",
    "Mean of the logarithm under geometric noise",
    r"E[\log X_0 \mid X_t = x] = \log x - m_t + v_t\,\big(1 + x\,s(x, t)\big)",
    covers=[log_posterior_mean, gbm_log_moments],
    hypotheses=[r"dX = \mu X\,dt + \sigma X\,dB, \; \sigma > 0", r"X_0 > 0", r"t > 0"],
)
class LogMean:
    r"""Times p the right side is linear in p, and it is :math:`\log x_0` for a transition: so it averages."""

    @symbolic()
    def exact_on_transitions(log_posterior_mean):
        return _log_mean(log_posterior_mean, _transition(X)), sp.log(X0)

    @symbolic()
    def linear_in_the_density(log_posterior_mean):
        def moment(p: Any) -> Any:
            return p * _log_mean(log_posterior_mean, p)

        return moment(P(X) + Q(X)), moment(P(X)) + moment(Q(X))

    @symbolic()
    def derivation(gbm_log_moments):
        return gbm_log_moments()[0]

    @exact(ROUNDING, over=rows("label, given", _posteriors))
    def three_atoms_at_fifty_digits(log_posterior_mean, given):
        _, v = textbook.levels(given.process, given.t)
        score, x = given.score, given.x
        got = log_posterior_mean(given.process, x, given.t, float(score))
        return scaled(got, given.mean(mpmath.log), 1 + abs(mpmath.log(x)) + v * (1 + abs(x * score)))

    @exact(1e-12, over=grid(process=GBMS, x=(0.3, 2.0)))
    def gamma_data_by_quadrature(log_posterior_mean, process, x):
        """Data with the density x e^{-x}; the rounding of 600 nodes stays below 1e-12."""
        law = _GammaData(process, x, 1.0)
        return log_posterior_mean(process, x, 1.0, law.score), law.mean(np.log)

    mutants = {
        "sign of the score": wrong(log_posterior_mean, score=lambda score: -score),
        "score of the logarithm": wrong(log_posterior_mean, score=lambda x, score: score + 1.0 / x),
        "drift without Ito's term": wrong(
            log_posterior_mean, lambda value, process, t: value - process.log_variance(t) / 2
        ),
    }


@claim(
    "TWEEDIE-GBM-2",
    "Variance of the logarithm under geometric noise",
    r"""\mathrm{Var}[\log X_0 \mid X_t = x]
        = v_t + v_t^2\,\big(x\,s(x, t) + x^2\,\partial_x s(x, t)\big)""",
    covers=[log_posterior_variance, gbm_log_moments],
    hypotheses=[r"dX = \mu X\,dt + \sigma X\,dB, \; \sigma > 0", r"X_0 > 0", r"t > 0"],
)
class LogVariance:
    """With the squared mean added it is a second moment, linear in p; for a transition it vanishes."""

    @symbolic()
    def zero_on_transitions(log_posterior_variance):
        return _log_variance(log_posterior_variance, _transition(X))

    @symbolic()
    def linear_in_the_density(log_posterior_variance):
        def moment(p: Any) -> Any:
            return p * (_log_variance(log_posterior_variance, p) + _log_mean(log_posterior_mean, p) ** 2)

        return moment(P(X) + Q(X)), moment(P(X)) + moment(Q(X))

    @symbolic()
    def derivation(gbm_log_moments):
        return gbm_log_moments()[1]

    @exact(ROUNDING, over=rows("label, given", _posteriors))
    def three_atoms_at_fifty_digits(log_posterior_variance, given):
        _, v = textbook.levels(given.process, given.t)
        s, ds, x = given.score, given.score_prime, given.x
        got = log_posterior_variance(given.process, x, given.t, float(s), float(ds))
        return scaled(got, given.variance(mpmath.log), v + v**2 * (abs(x * s) + abs(x**2 * ds)))

    @exact(1e-12, over=grid(process=GBMS, x=(0.3, 2.0)))
    def gamma_data_by_quadrature(log_posterior_variance, process, x):
        law = _GammaData(process, x, 1.0)
        want = law.mean(lambda a: np.log(a) ** 2) - law.mean(np.log) ** 2
        return log_posterior_variance(process, x, 1.0, law.score, law.score_prime), want

    mutants = {
        "without x s": wrong(log_posterior_variance, score=lambda score: 0.0 * score),
        "sign of the curvature": wrong(log_posterior_variance, score_prime=lambda score_prime: -score_prime),
        "v instead of its square": wrong(
            log_posterior_variance,
            score=lambda process, t, score: score / process.log_variance(t),
            score_prime=lambda process, t, score_prime: score_prime / process.log_variance(t),
        ),
    }


@claim(
    "TWEEDIE-GBM-3",
    "Moments under geometric noise are dilations",
    r"""E[X_0^k \mid X_t = x]
        = x^k\,e^{-k m_t + k^2 v_t/2 + k v_t}\,\frac{p_t(x e^{k v_t})}{p_t(x)}""",
    covers=[posterior_moment, gbm_dilation],
    hypotheses=[r"dX = \mu X\,dt + \sigma X\,dB, \; \sigma > 0", r"X_0 > 0", r"k \in \mathbb R"],
)
class DilatedMoments:
    r"""Times p the right side is a dilated density times a constant: linear in p, so that it averages."""

    @symbolic()
    def exact_on_transitions(posterior_moment):
        moment = on_symbols(posterior_moment, PROCESS, X, T, K, lambda y: sp.log(_transition(y)))
        return sp.expand_log(sp.log(moment), force=True), K * sp.log(X0)

    @symbolic()
    def derivation(gbm_dilation):
        return gbm_dilation()

    @exact(ROUNDING, over=grid(rows("label, given", _posteriors), k=ORDERS))
    def three_atoms_at_fifty_digits(posterior_moment, given, k):
        """Relative to what a rounding of log p, and of the dilated point, does to the exponential."""
        _, v = textbook.levels(given.process, given.t)
        want = given.mean(partial(_power, k))
        got = posterior_moment(given.process, given.x, given.t, k, _log_prob(given))
        return scaled(got, want, want * _log_rounding(given, mpmath.exp(k * v)))

    @exact(1e-12, over=grid(process=GBMS, x=(0.3, 2.0), k=ORDERS))
    def gamma_data_by_quadrature(posterior_moment, process, x, k):
        law = _GammaData(process, x, 1.0)
        return posterior_moment(process, x, 1.0, k, law.log_prob) / law.mean(partial(_power, k)), 1.0

    @exact(ROUNDING, over=grid(process=GBMS, t=(1e-3, 1.0), x=(0.25, 6.0), k=ORDERS))
    def lognormal_data(posterior_moment, process, t, x, k):
        """Conjugate: the posterior of log X_0 is normal, and its moments are exponentials."""
        m, v = textbook.levels(process, t)
        gain = mpf(0.25) / (0.25 + v)
        mean, variance = mpf(0.5) + gain * (mpmath.log(x) - m - 0.5), gain * v
        marginal = process.marginal(LogNormal(0.5, 0.5), t)
        want = mpmath.exp(k * mean + k * k * variance / 2)
        return posterior_moment(process, x, t, k, marginal.log_prob) / want, 1

    mutants = {
        "dilation by e^{-kv}": wrong(
            posterior_moment, log_prob=lambda x, log_prob: lambda y: log_prob(x * x / y)
        ),
        "without e^{kv}": wrong(
            posterior_moment, lambda value, xp, process, t, k: value * xp.exp(-k * process.log_variance(t))
        ),
        "k instead of its square": wrong(
            posterior_moment,
            lambda value, xp, process, t, k: value * xp.exp((k - k * k) * process.log_variance(t) / 2),
        ),
    }


def _power(k: float, a: Any) -> Any:
    return (mpf(a) if isinstance(a, float) else a) ** k


def _log_rounding(given: Posterior, dilation: Any) -> Any:
    """Size of what is added up in the exponent: the logarithms of p, their slopes and that of x."""
    there = dataclasses.replace(given, x=float(given.x * dilation))
    slope = abs(there.x * there.score) * (1 + abs(mpmath.log(there.x)))
    return 1 + sum(abs(mpmath.log(at.marginal(at.x))) for at in (given, there)) + slope


def _log_prob(given: Posterior) -> Callable[[Any], Any]:
    return given.process.marginal(Discrete(given.atoms, given.weights), given.t).log_prob


class _GammaData:
    """Data with the density a e^{-a}, noised, by quadrature with the lognormal density written out."""

    def __init__(self, process: GBM, x: float, t: float) -> None:
        self.x = x
        self.shift, self.variance = (float(level) for level in textbook.levels(process, t))
        self.atoms, self.weights = half_line(largest=60.0)
        self.weights = self.weights * self.atoms * np.exp(-self.atoms)

    def _joint(self, x: Any) -> Any:
        residual = np.log(x)[..., None] - np.log(self.atoms) - self.shift
        return self.weights * np.exp(-(residual**2) / (2.0 * self.variance)) / x[..., None]

    def log_prob(self, x: Any) -> Any:
        """Up to a constant."""
        return np.log(np.sum(self._joint(np.asarray(x)), axis=-1))

    def mean(self, function: Callable[[Any], Any]) -> Any:
        joint = self._joint(np.asarray(self.x))
        return np.sum(joint * function(self.atoms)) / np.sum(joint)

    def _residual(self, power: int) -> Any:
        residual = np.log(self.x) - np.log(self.atoms) - self.shift
        joint = self._joint(np.asarray(self.x))
        return np.sum(joint * residual**power) / np.sum(joint) / self.variance**power

    @property
    def score(self) -> Any:
        """p'/p, the kernel differentiated under the integral."""
        return -(1.0 + self._residual(1)) / self.x

    @property
    def score_prime(self) -> Any:
        first, second = self._residual(1), self._residual(2)
        return (1.0 + first + second - first**2 - 1.0 / self.variance) / self.x**2
