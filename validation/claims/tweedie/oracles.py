r"""Oracles: data whose marginal and posterior are known in closed form, against integrals over the data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, final

import mpmath
import numpy as np
from mpmath import mpf

from driftproof.theory.laws import AbstractLaw, Discrete, Gamma, LogNormal, Mixture, NoncentralChi2, Normal
from driftproof.theory.processes import BESQ, CIR, AbstractProcess
from driftproof.theory.processes.squared_bessel import AbstractSquaredBessel
from driftproof.theory.tweedie import (
    conditional_score,
    conjugate_posterior,
    gamma_posterior_moment,
    posterior_mean,
    posterior_weights,
)
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook
from .cases import ATOMS, CIRS, GAUSSIANS, GBMS, ROUNDING, WEIGHTS, measured
from .quadrature import half_line, line
from .squared_bessel import size_of_terms
from .textbook import Posterior

__all__ = ["ConjugatePosterior", "FisherIdentity", "KummerOracle"]

# The rounding of 800 nodes, each a log-density exponentiated: 100 units of the exponent.
QUADRATURE = 1e-12


@final
@dataclass(frozen=True, eq=False)
class Oracle:
    """Data whose noised law is known, with nodes and weights for averages over the data."""

    name: str
    process: AbstractProcess
    data: AbstractLaw
    nodes: Any
    weights: Any
    points: tuple[float, ...]
    times: tuple[float, ...] = (0.3, 0.9)

    def cases(self) -> Iterator[tuple[float, float]]:
        """Each point at each time."""
        return product(self.points, self.times)


@cache
def _oracles() -> tuple[Oracle, ...]:
    return tuple(_listed())


@cache
def _joint(oracle: Oracle, x: float, t: float) -> Any:
    """Data density times transition density, at the nodes."""
    return oracle.weights * np.exp(oracle.process.transition(oracle.nodes, t).log_prob(x))


def _listed() -> Iterator[Oracle]:
    """Every kind of data whose marginal the library knows, under every kind of noise."""
    two = Mixture([0.25, 0.75], Normal([-1.0, 2.0], [0.5, 1.0]))
    for gaussian in GAUSSIANS:
        for normal in (Normal(-1.0, 2.0), two):
            yield _continuous(gaussian, normal, line(0.0, 2.0, step=1 / 64), (-0.7, 1.3))
        yield _atoms(gaussian, (-1.0, 0.25, 3.0), (-0.7, 1.3))
    pair = Mixture([0.5, 0.5], LogNormal([0.0, 1.0], [0.3, 0.6]))
    for gbm in GBMS:
        for lognormal in (LogNormal(0.2, 0.5), pair):
            u, w = line(0.4, 0.6)
            yield _continuous(gbm, lognormal, (np.exp(u), w * np.exp(u)), (0.4, 2.5))
        yield _atoms(gbm, (0.5, 1.25, 3.0), (0.4, 2.5))
    for bessel in (BESQ(0.5), BESQ(2.0), BESQ(9.0), *CIRS):
        shape = 0.5 * bessel.delta
        for data, largest in (
            (Gamma(shape, 0.8), 100.0),
            (Mixture([0.5, 0.5], Gamma(shape, [0.3, 1.2])), 100.0),
            (NoncentralChi2(bessel.delta, 1.5, 0.6), 100.0),
            (Gamma(1.7, 0.9), 100.0),  # of another shape: Kummer's function
        ):
            yield _continuous(bessel, data, half_line(largest=largest), (0.2, 3.0))
        yield _atoms(bessel, ATOMS, (0.2, 3.0))


def _continuous(process: AbstractProcess, data: AbstractLaw, rule: Any, points: tuple[float, ...]) -> Oracle:
    nodes, weights = rule
    parts = f"{type(process).__name__}, {_named(data)}"
    return Oracle(parts, process, data, nodes, weights * np.exp(data.log_prob(nodes)), points)


def _atoms(process: AbstractProcess, atoms: tuple[float, ...], points: tuple[float, ...]) -> Oracle:
    name = f"{type(process).__name__}, atoms"
    return Oracle(name, process, Discrete(atoms, WEIGHTS), np.asarray(atoms), np.asarray(WEIGHTS), points)


def _named(data: AbstractLaw) -> str:
    return f"mixture of {_named(data.components)}" if isinstance(data, Mixture) else type(data).__name__


@claim(
    "TWEEDIE-FISHER-1",
    "The Fisher identity on every oracle",
    r"""s(x, t) = \partial_x \log p_t(x)
        = E\big[\partial_x \log p_t(x \mid X_0) \,\big|\, X_t = x\big]""",
    covers=[conditional_score, posterior_weights],
    hypotheses=[r"t > 0", r"x \text{ inside of the state space}"],
)
class FisherIdentity:
    """The left side is the score of the marginal in closed form, the right side an average over the data
    with the transition density of the library (TWEEDIE-LAW-1 and TWEEDIE-PROCESS-1 vouch for that)."""

    @exact(ROUNDING)
    def posterior_weights_at_fifty_digits(conditional_score, posterior_weights):
        """With the weights of the library the average of targets is the differentiated textbook density."""
        for process, atoms in ((GBMS[0], (0.5, 1.25, 3.0)), (BESQ(1.0), ATOMS), (CIRS[1], ATOMS)):
            for x in (0.2, 3.0):
                given = Posterior(process, atoms, WEIGHTS, x, 0.5)
                targets = conditional_score(process, np.asarray(atoms), x, 0.5)
                got = posterior_weights(process, Discrete(atoms, WEIGHTS), x, 0.5) @ targets
                size = max(1.0, float(np.max(np.abs(targets))))
                yield measured(f"{type(process).__name__}, x = {x}", got, given.score, size)

    @exact(QUADRATURE)
    def averages_over_the_data(conditional_score):
        for oracle in _oracles():
            for x, t in oracle.cases():
                marginal, joint = oracle.process.marginal(oracle.data, t), _joint(oracle, x, t)
                label, total = f"{oracle.name}, x = {x}, t = {t}", np.sum(joint)
                target = conditional_score(oracle.process, oracle.nodes, x, t)
                size = max(1.0, float(np.sum(joint * np.abs(target)) / total))
                got = np.sum(joint * target) / total
                yield measured(f"score, {label}", got, marginal.score(x), size)
                yield f"density, {label}", total / np.exp(marginal.log_prob(x)), 1.0

    mutants = {
        "sign": wrong(conditional_score, lambda value: -value),
        "swapped ends": wrong(conditional_score, x0=lambda x: x, x=lambda x0: x0),
        "half the time": wrong(conditional_score, t=lambda t: 0.5 * t),
    }


@claim(
    "TWEEDIE-ORACLE-1",
    "Gamma data of any shape: Kummer's function",
    r"""
        E[X_0^k \mid X_t = x] = \Big(\frac{2\rho w}q\Big)^k\,\frac{\Gamma(\alpha+k)}{\Gamma(\alpha)}\,
        \frac{{}_1F_1(\alpha+k;\,\nu+1;\,w y)}{{}_1F_1(\alpha;\,\nu+1;\,w y)}, \qquad
        w = \frac{q c}{q c + 2\rho}, \quad y = \frac x{2\rho}""",
    covers=[gamma_posterior_moment, AbstractSquaredBessel.marginal],
    hypotheses=[r"X_0 \sim \Gamma(\alpha, c)", r"\alpha > 0, \; \alpha + k > 0", r"\delta > 0, \; t > 0"],
)
class KummerOracle:
    @exact(ROUNDING, scale=0.0, over=rows("process", (BESQ(1.0), CIRS[1])))
    def quadrature_with_the_textbook_density(gamma_posterior_moment, process):
        want = _textbook_integral(process, 1.0) / _textbook_integral(process, 0.0)
        return gamma_posterior_moment(process, 1.5, 0.5, 1.7, 0.9, 1.0), want

    @exact(QUADRATURE, scale=0.0)
    def quadrature_over_the_data(gamma_posterior_moment):
        for process in (BESQ(0.5), BESQ(3.0), BESQ(9.0), *CIRS[1:]):
            for shape, scale in ((0.4, 2.0), (1.7, 0.9), (6.0, 0.25)):
                a, w = half_line(scale * max(shape, 1.0), largest=100.0)
                prior = w * np.exp((shape - 1.0) * np.log(a) - a / scale)
                for x, t in ((0.2, 0.5), (5.0, 0.5), (1.0, 4.0)):
                    joint = prior * np.exp(process.transition(a, t).log_prob(x))
                    for k in (1.0, 2.0, 0.5, -0.25):
                        want = np.sum(joint * a**k) / np.sum(joint)
                        label = f"{process}, shape = {shape}, x = {x}, t = {t}, k = {k}"
                        yield label, gamma_posterior_moment(process, x, t, shape, scale, k), want

    @exact(
        ROUNDING,
        over=grid(rows("process", (BESQ(1.0), BESQ(3.0), CIRS[1])), rows("x, t", ((0.2, 0.5), (1.0, 4.0)))),
    )
    def second_formula_on_its_marginal(gamma_posterior_moment, marginal, process, x, t):
        """The posterior mean by the score of the marginal and its derivative, a ratio of Kummer's."""
        s, ds = _kummer_score(process, x, t, 1.7, 0.9)
        want = posterior_mean(process, x, t, float(s), float(ds))
        got = gamma_posterior_moment(process, x, t, 1.7, 0.9, 1.0)
        yield measured("mean", got, want, size_of_terms(process, x, t, s, ds))
        yield "score", marginal(process, Gamma(1.7, 0.9), t).score(x), s

    refuses = [
        (gamma_posterior_moment, BESQ(1.0), 1.0, 1.0, 0.5, 1.0, -0.5),
        (gamma_posterior_moment, BESQ(1.0), 1.0, 1.0, -1.0, 1.0, 1.0),
    ]

    mutants = {
        "rate for scale": wrong(gamma_posterior_moment, scale=lambda scale: 1.0 / scale),
        "without the rising factorial": wrong(
            gamma_posterior_moment, lambda value, shape, k: value * math.gamma(shape) / math.gamma(shape + k)
        ),
        "shape not raised": wrong(
            gamma_posterior_moment,
            lambda process, x, t, shape, scale, k: (
                gamma_posterior_moment(process, x, t, shape, scale, 1e-9)
                * gamma_posterior_moment(process, 0.0 * x, t, shape, scale, k)
            ),
        ),
    }


@cache
def _textbook_integral(process: BESQ | CIR, order: float) -> Any:
    """The integral of a^order over data of shape 1.7 and scale 0.9, seen at 1.5 after 0.5: 20 digits."""

    def joint(a: Any) -> Any:
        prior = a ** (mpf(1.7) - 1 + order) * mpmath.exp(-a / mpf(0.9))
        return prior * textbook.density(process, 1.5, a, 0.5)

    with mpmath.workdps(20):
        return mpmath.quad(joint, [0, 2, 12, 60])


def _kummer_score(process: Any, x: float, t: float, shape: float, scale: float) -> tuple[Any, Any]:
    """Score and slope of the marginal x^nu e^{-x/2 rho} 1F1(alpha; nu + 1; w y), differentiated."""
    nu, decay, rho = textbook.scales(process, t)
    w = decay * scale / (decay * scale + 2 * rho)

    def log_density(y: Any) -> Any:
        return (
            nu * mpmath.log(y) - y / (2 * rho) + mpmath.log(mpmath.hyp1f1(shape, nu + 1, w * y / (2 * rho)))
        )

    return mpmath.diff(log_density, mpf(x)), mpmath.diff(log_density, mpf(x), 2)


@claim(
    "TWEEDIE-ORACLE-2",
    "Conjugate data: the posterior is a law of the same process",
    r"""
        X_0 \sim \Gamma(\tfrac\delta2, c) \;\Rightarrow\; q X_0 \mid x \sim r\,\chi'^2_\delta(y/r), \quad
        b = q c, \; r = \frac{\rho b}{b+2\rho}, \; y = x\Big(\frac b{b+2\rho}\Big)^2""",
    covers=[conjugate_posterior],
    hypotheses=[
        r"\text{normal data, Gaussian noise; lognormal data, GBM; } \Gamma(\delta/2) \text{ data, BESQ or CIR}"
    ],
)
class ConjugatePosterior:
    @exact(QUADRATURE, over=grid(rows("process, data, nodes, x", lambda: _conjugate()), t=(0.3, 0.9)))
    def bayes_rule(conjugate_posterior, process, data, nodes, x, t):
        """log prior + log likelihood - log evidence, at the nodes: as functions of the data."""
        law = conjugate_posterior(process, data, x, t)
        evidence = process.marginal(data, t).log_prob(x)
        want = data.log_prob(nodes) + process.transition(nodes, t).log_prob(x) - evidence
        return law.log_prob(nodes), want

    @exact(ROUNDING, over=grid(process=(BESQ(0.5), BESQ(3.0), *CIRS)))
    def mean_is_tweedies(conjugate_posterior, process):
        """On conjugate data the score is linear in 1/x, so that its slope is known."""
        scale, x, t = 0.8, 1.3, 0.6
        nu, decay, rho = textbook.scales(process, t)
        s, ds = nu / x - 1 / (decay * scale + 2 * rho), -nu / mpf(x) ** 2
        want = posterior_mean(process, x, t, float(s), float(ds))
        law = conjugate_posterior(process, Gamma(0.5 * process.delta, scale), x, t)
        yield measured("mean", law.mean, want, size_of_terms(process, x, t, s, ds))
        b = decay * scale
        y, r = x * (b / (b + 2 * rho)) ** 2, rho * b / (b + 2 * rho)
        yield "variance", law.variance, (4 * y * r + 2 * process.delta * r**2) / decay**2

    refuses = [(conjugate_posterior, BESQ(3.0), Gamma(2.0, 1.0), 1.0, 1.0)]

    mutants = {
        "prior and noise swapped": wrong(conjugate_posterior, t=lambda t: 1.0 / t),
        "seen point not shrunk": wrong(conjugate_posterior, x=lambda x: 2.0 * x),
        "posterior is the prior": wrong(conjugate_posterior, lambda data_law: data_law),
    }


def _conjugate() -> Iterator[tuple[AbstractProcess, Any, Any, float]]:
    nodes = np.asarray([0.05, 0.4, 1.0, 3.0, 9.0])
    for gaussian in GAUSSIANS:
        yield gaussian, Normal(-1.0, 2.0), np.log(nodes), 0.7
    for gbm in GBMS:
        yield gbm, LogNormal(0.2, 0.5), nodes, 0.7
    for bessel in (BESQ(0.5), BESQ(2.0), BESQ(9.0), *CIRS):
        yield bessel, Gamma(0.5 * bessel.delta, 0.8), nodes, 0.7
