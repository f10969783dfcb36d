r"""Empirical Bayes under squared-Bessel noise: risks, and estimates from a model of the marginal.

With data :math:`X_0 \sim \Gamma(\delta/2, c)`, a decay q and a scale :math:`\rho`, write :math:`b = q c`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy.special import gammaincinv

from driftproof.numerics.tweedie import MarginalModel, fit_marginal
from driftproof.theory import tweedie
from driftproof.theory.laws import Gamma
from driftproof.theory.processes import BESQ, CIR
from driftproof.theory.tweedie import (
    bayes_risk,
    conjugate_posterior,
    posterior_mean,
    unbiased_estimate,
    unbiased_risk,
)
from driftproof.validation import claim, exact, grid, property, rows
from driftproof.validation.mutants import wrong

from .gauss import Floats, power_panels

CASES = (
    (BESQ(0.6), 1.5, 0.4),
    (BESQ(3.0), 0.5, 1.0),
    (CIR(1.2, 0.4, 0.8), 0.7, 0.5),
    (CIR(0.5, 3.0, 1.0), 0.2, 2.0),
)


@lru_cache
def joint(process: Any, scale: float, t: float) -> tuple[Floats, Floats, Floats]:
    """Nodes of the data and of the observation, and their joint masses, shape (data, observation)."""
    law, shape = Gamma(0.5 * process.delta, scale), process.nu
    x0, w0 = power_panels(60.0 * scale, shape, 12, 6)
    decay, rho = float(process.decay(t)), float(process.rho(t))
    x, w = power_panels(60.0 * (decay * scale + 2.0 * rho), shape, 12, 8)
    density = np.exp(law.log_prob(x0)[:, None] + process.transition(x0[:, None], t).log_prob(x[None, :]))
    return x0, x, w0[:, None] * w[None, :] * density


@claim(
    "TWEEDIE-EB-1",
    "The risks of the unbiased and of the Bayes estimator",
    r"""
    E\Big(\frac{X_t - \delta\rho}{q} - X_0\Big)^2 = \frac{2\delta\rho\,(b + \rho)}{q^2}, \qquad
    E\big(E[X_0 | X_t] - X_0\big)^2 = \Big(\frac{b}{b + 2\rho}\Big)^2 \frac{2\delta\rho\,(b + \rho)}{q^2}
    \qquad \text{(BESQ: ratio } (c / (c + 2t))^2)
    """,
    covers=[unbiased_estimate, unbiased_risk, bayes_risk],
    hypotheses=[r"X_0 \sim \Gamma(\delta/2, c)", r"t > 0"],
)
class EmpiricalBayesRisks:
    """The quadrature knows the data law and the transition only; its Bayes estimator is the quotient of two
    of its own sums."""

    @exact(1e-10, scale=0.0, over=rows("process, scale, t", CASES))
    def risks_equal_double_quadrature(unbiased_estimate, unbiased_risk, bayes_risk, process, scale, t):
        x0, x, mass = joint(process, scale, t)
        best = (x0 @ mass) / np.sum(mass, axis=0)
        for name, risk, estimate in (
            ("unbiased", unbiased_risk, unbiased_estimate(process, x, t)),
            ("bayes", bayes_risk, best),
        ):
            want = float(np.sum(mass * (estimate[None, :] - x0[:, None]) ** 2))
            yield name, risk(process, scale, t), want

    @exact(1e-11, over=grid(rows("process, t", [(p, t) for p, _, t in CASES]), x0=(0.0, 0.3, 4.0)))
    def the_unbiased_estimator_is_unbiased(unbiased_estimate, process, t, x0):
        x, w = power_panels(150.0, process.nu)
        density = np.exp(process.transition(x0, t).log_prob(x))
        return float((w * density) @ unbiased_estimate(process, x, t)), x0

    @exact(1e-14, over=grid(delta=(0.2, 7.0), t=(0.1, 2.0)))
    def ratio_of_the_risks(unbiased_risk, bayes_risk, delta, t):
        c, process = np.asarray([1e-3, 0.5, 40.0]), BESQ(delta)
        return bayes_risk(process, c, t) / unbiased_risk(process, c, t), (c / (c + 2 * t)) ** 2

    mutants = {
        "estimator without the decay": wrong(
            unbiased_estimate, lambda process, x, t: x - process.delta * process.rho(t)
        ),
        "estimator off by one degree": wrong(
            unbiased_estimate, lambda value, process, t: value - process.rho(t)
        ),
        "shrinkage to the first power": wrong(
            bayes_risk,
            lambda value, process, scale, t: value * (1 + 2 * process.rho(t) / (process.decay(t) * scale)),
        ),
        "variance at the mean of the data": wrong(
            unbiased_risk, lambda value, process, t: value + 2 * process.rho(t) ** 2
        ),
    }


def first_order_only(self: MarginalModel, x: Any) -> Any:
    """Gaussian habits: x plus the variance of the noise times the score, less its bias."""
    process, rho = self.process, self.process.rho(self.t)
    return (x + (4.0 - process.delta) * rho + 4.0 * rho * x * self.score(x)) / process.decay(self.t)


def without_curvature(self: MarginalModel, x: Any) -> Any:
    process, slope = self.process, self.count(x) / x
    factor = 4.0 * process.rho(self.t) ** 2 / process.decay(self.t)
    return factor * ((process.nu + 1.0) * slope + x * slope**2)


@claim(
    "TWEEDIE-EB-2",
    "Modelling the marginal: the estimate is Tweedie's, and the conjugate model is inside",
    r"""
    p_t(x) \propto x^\nu e^{-x/2\rho + \ell(x)}: \qquad
    \frac{4\rho^2}q \big[(\nu+1)\,\ell' + x(\ell'' + \ell'^2)\big]
    = E[X_0 | x] \text{ by the second-order formula with } s = \frac\nu x - \frac1{2\rho} + \ell',\
    s' = -\frac\nu{x^2} + \ell''; \qquad
    X_0 \sim \Gamma(\tfrac\delta2, c) \iff \ell' = \frac1{2\rho} - \frac1{b + 2\rho}
    """,
    covers=[
        MarginalModel.posterior_mean,
        MarginalModel.score,
        MarginalModel.score_derivative,
        MarginalModel.count,
        fit_marginal,
    ],
    hypotheses={r"t > 0": None, r"x > 0": lambda x: x > 0},
)
class MarginalModelling:
    @exact(1e-12, over=rows("process, scale, t", CASES))
    def a_straight_line_is_the_conjugate_oracle(posterior_mean, process, scale, t):
        x = np.asarray([0.01, 0.5, 3.0, 20.0])
        b, rho = float(process.decay(t)) * scale, float(process.rho(t))
        got = posterior_mean(MarginalModel(process, t, (0.0, 1.0), (b / (b + 2.0 * rho),), 0.0, 0), x)
        return got, conjugate_posterior(process, Gamma(0.5 * process.delta, scale), x, t).mean

    @property(1e-10, false_alarm=0.0)
    def equals_the_second_order_formula(
        posterior_mean,
        score,
        score_derivative,
        delta=st.floats(0.1, 10.0),
        t=st.floats(0.1, 3.0),
        slope=st.floats(0.1, 1.0),
        bend=st.floats(-0.02, 0.02),
        x=st.floats(0.05, 15.0),
    ):
        for process in (BESQ(delta), CIR(1.0, 0.25 * delta, 1.0)):
            model = MarginalModel(process, t, (0.0, 1.0, 2.0, 4.0), (slope, bend, -bend), 0.0, 0)
            s = score(model, x)
            want = tweedie.posterior_mean(process, x, t, s, score_derivative(model, x))
            # The second-order formula cancels terms up to 4 rho^2 x s^2 / q, which rounding is relative to.
            size = 1.0 + 4.0 * float(process.rho(t)) ** 2 * x * float(s) ** 2 / float(process.decay(t))
            yield f"{process}", float(posterior_mean(model, x)) / size, max(float(want), 0.0) / size

    @exact(1e-9, over=rows("process", (BESQ(1.2), CIR(1.0, 0.6, 1.0))))
    def the_spline_is_smooth_and_its_own_derivative(posterior_mean, score, score_derivative, count, process):
        """Score, its derivative and the count are of one function; the estimate is what they make by hand."""
        x, h = np.asarray([0.7, 2.3, 5.1, 12.0]), 1e-3
        model = MarginalModel(process, 0.8, (0.0, 1.0, 2.0, 4.0), (0.4, 0.02, -0.01), 0.0, 0)
        weights = ((1, 0.75), (2, -0.15), (3, 1.0 / 60.0))
        slope = sum(w * (score(model, x + k * h) - score(model, x - k * h)) for k, w in weights) / h
        yield "slope of the score", score_derivative(model, x), slope
        rho, nu = float(process.rho(0.8)), process.nu
        first, second = score(model, x) - nu / x + 0.5 / rho, slope + nu / x**2
        yield "count", count(model, x), x * first
        mean = 4.0 * rho**2 / float(process.decay(0.8)) * ((nu + 1.0) * first + x * (second + first**2))
        yield "estimate", posterior_mean(model, x), mean

    @exact(2e-3, over=rows("process, scale, t", CASES[1:3]))
    def the_fit_finds_the_line_from_quantiles(fit_marginal, posterior_mean, process, scale, t):
        # The quantiles of the marginal stand for infinitely many draws; bins and the last quantile take 1e-3.
        x = np.asarray([0.2, 1.0, 5.0])
        b, rho = float(process.decay(t)) * scale, float(process.rho(t))
        middles = (np.arange(20_000) + 0.5) / 20_000
        draws = (b + 2.0 * rho) * gammaincinv(0.5 * process.delta, middles)
        fit = fit_marginal(process, draws, t, knots=2)
        posterior = conjugate_posterior(process, Gamma(0.5 * process.delta, scale), x, t)
        return posterior_mean(fit, x), posterior.mean

    mutants = {
        "first order only": {MarginalModel.posterior_mean: first_order_only},
        "without curvature": {MarginalModel.posterior_mean: without_curvature},
        "scale of the noise once": wrong(
            MarginalModel.posterior_mean, lambda value, self: value / self.process.rho(self.t)
        ),
        "a score of another scale": wrong(MarginalModel.score, lambda value: 1.01 * value),
        "a derivative of another scale": wrong(MarginalModel.score_derivative, lambda value: 1.01 * value),
        "a count of another scale": wrong(MarginalModel.count, lambda value: 1.01 * value),
    }


@claim(
    "TWEEDIE-EB-4",
    "Tweedie's estimate is the Bayes estimate, and nothing does better",
    r"""
    X_0 \sim \Gamma(\tfrac\delta2, c): \qquad
    \hat m(x) = \frac{4\rho^2}{q}\Big(\tfrac{\delta}{2} \ell' + x\,\ell'^2\Big)
    = \frac{x c^2 + \delta t c (c + 2t)}{(c + 2t)^2} \text{ (BESQ)}, \qquad
    E\big[(X_0 - \hat m(X_t))\,\varphi(X_t)\big] = 0 \ \text{ for every } \varphi
    """,
    covers=[posterior_mean],
    hypotheses={r"t > 0": lambda t: t > 0, r"c > 0": lambda c: c > 0},
)
class BayesIsTweedie:
    """Orthogonality to every function of the observation characterises the posterior mean: the estimate
    m + f has the risk of m plus E f^2."""

    @property(1e-10, false_alarm=0.0)
    def equals_the_conjugate_mean(
        posterior_mean,
        delta=st.floats(0.1, 12.0),
        c=st.floats(0.05, 20.0),
        t=st.floats(0.05, 5.0),
        x=st.floats(0.01, 50.0),
    ):
        nu, scale = 0.5 * delta - 1.0, c + 2.0 * t
        got = posterior_mean(BESQ(delta), x, t, nu / x - 1.0 / scale, -nu / x**2)
        # Terms of size 4 t^2 nu^2 / x cancel.
        size = 1.0 + 4.0 * t**2 * nu**2 / x + x
        yield "BESQ", float(got) / size, (x * c**2 + delta * t * c * scale) / scale**2 / size

    @exact(1e-9)
    def the_error_is_orthogonal_to_the_observation(posterior_mean):
        for process, scale, t in CASES[1:]:
            x0, x, mass = joint(process, scale, t)
            law: Any = process.marginal(Gamma(0.5 * process.delta, scale), t)
            estimate = posterior_mean(process, x, t, law.score(x), -process.nu / x**2)
            for name, f in (("1", np.ones_like(x)), ("x", x), ("exp(-x)", np.exp(-x)), ("sin(x)", np.sin(x))):
                error = float(np.sum(mass * (x0[:, None] - estimate[None, :]) * f[None, :]))
                yield f"{process}, {name}", error, 0.0

    mutants = {
        "delta for 4 - delta": wrong(
            posterior_mean,
            lambda value, process, t: value - 2.0 * (2.0 - process.delta) * process.rho(t) / process.decay(t),
        ),
        "without s'": wrong(posterior_mean, score_prime=lambda score_prime: 0.0 * score_prime),
        "the unbiased estimate": wrong(
            posterior_mean, lambda process, x, t: unbiased_estimate(process, x, t)
        ),
    }
