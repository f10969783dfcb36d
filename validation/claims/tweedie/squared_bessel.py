r"""Squared Bessel and CIR noise: the first formula is a Bessel ratio, the second needs the score's slope."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp
from hypothesis import strategies as st

from driftproof.theory.processes import BESQ, CIR, AbstractProcess
from driftproof.theory.processes.squared_bessel import AbstractSquaredBessel
from driftproof.theory.tweedie import conditional_score, posterior_mean
from driftproof.theory.tweedie.symbolic import bessel_eigenfunction, second_order_formula
from driftproof.validation import Thing, boundary, claim, exact, grid, property, raises, rows, symbolic
from driftproof.validation.mutants import wrong
from driftproof.validation.symbols import on_symbols, unchecked

from . import textbook
from .cases import ATOMS, BESQS, CIRS, ROUNDING, WEIGHTS, corners, scaled
from .textbook import Posterior

__all__ = ["BesselMean", "BesselScore", "CirMean", "CirScore"]

X, X0, T, DELTA, KAPPA, THETA, SIGMA = sp.symbols("x x_0 t delta kappa theta sigma", positive=True)
P = sp.Function("p")(X)


def _score_gap(score: Thing, process: AbstractSquaredBessel, x0: float, x: float, t: float) -> Any:
    """Measured by the largest of the three terms of the score: they cancel where x is near q x_0.

    A rounding of delta moves nu by as much, even where nu is 0; and the ratio has a pole at nu = -1, so
    that a rounding of nu counts 1/(nu + 1) times.
    """
    nu, _, rho = textbook.scales(process, t)
    got, want = score(process, x0, x, t), textbook.conditional_score(process, x, x0, t)
    pull = abs(want - nu / x + 1 / (2 * rho))
    size = (1 + abs(nu)) / x + 1 / (2 * rho) + pull * (1 + 1 / (nu + 1))
    return scaled(got, want, size)


def size_of_terms(process: AbstractProcess, x: float, t: float, s: Any, ds: Any) -> Any:
    """What is added up in the second formula: the terms cancel where the noise is small."""
    nu, decay, rho = textbook.scales(process, t)
    gap = abs(2 - 2 * nu)
    curvature = 4 * rho**2 * x * (s**2 + abs(ds))
    return (x + gap * rho + (4 * rho * x + 2 * rho**2 * gap) * abs(s) + curvature) / decay


def _mean_gap(posterior_mean: Thing, given: Posterior) -> Any:
    process, x, t, s, ds = given.process, given.x, given.t, given.score, given.score_prime
    got = posterior_mean(process, x, t, float(s), float(ds))
    return scaled(got, given.mean(), size_of_terms(process, x, t, s, ds))


def _operator(p: Any, nu: Any, decay: Any, rho: Any) -> Any:
    """p times the posterior mean, as the operator 4 rho^2 (x D^2 + (nu + 1) D) on the tilted density."""
    tilt = X**nu * sp.exp(-X / (2 * rho))
    tilted = p / tilt
    return 4 * rho**2 * tilt * (X * sp.diff(tilted, X, 2) + (nu + 1) * sp.diff(tilted, X)) / decay


def _mean(formula: Thing, process: Any, p: Any) -> Any:
    score = sp.diff(p, X) / p
    return on_symbols(formula, process, X, T, score, sp.diff(score, X))


@claim(
    "TWEEDIE-BESQ-1",
    "First formula under squared Bessel noise",
    r"""
        \partial_x \log p_t(x \mid x_0) = \frac\nu x - \frac1{2t}
            + \frac1{2t}\sqrt{\frac{x_0}x}\,R_\nu\Big(\frac{\sqrt{x x_0}}t\Big)
        \;\Rightarrow\; E\Big[\sqrt{X_0/x}\,R_\nu\Big(\frac{\sqrt{x X_0}}t\Big) \,\Big|\, X_t = x\Big]
            = 2 t\,s(x, t) + 1 - \frac{2\nu t}x, \qquad R_\nu = I_{\nu+1}/I_\nu""",
    covers=[conditional_score, BESQ],
    hypotheses=[r"dX = \delta\,dt + 2\sqrt X\,dB, \; \delta > 0", r"X_0 \geq 0", r"x > 0, \; t > 0"],
)
class BesselScore:
    @exact(ROUNDING, over=rows("label, process, x0, x, t", lambda: corners(BESQS)))
    def derivative_of_the_textbook_density(conditional_score, process, x0, x, t):
        return _score_gap(conditional_score, process, x0, x, t)

    @exact(ROUNDING, scale=0.0, over=rows("x0, t", ((0.0, 1.0), (1.0, 0.25), (3.0, 1e3))))
    def finite_at_the_boundary_in_dimension_two(conditional_score, BESQ, x0, t):
        """There the singular term is absent: the score at 0 is x_0/4t^2 - 1/2t."""
        return conditional_score(BESQ(2.0), x0, 0.0, t), x0 / (4 * t * t) - 1 / (2 * t)

    @property(ROUNDING, examples=60, false_alarm=0.0)
    def at_drawn_points(
        conditional_score,
        BESQ,
        delta=st.floats(0.01, 60.0),
        x0=st.floats(0.0, 1e3),
        x=st.floats(1e-6, 1e3),
        t=st.floats(1e-3, 1e2),
    ):
        return _score_gap(conditional_score, BESQ(delta), x0, x, t)

    mutants = {
        "without nu/x": wrong(conditional_score, lambda value, process, x: value - process.nu / x),
        "swapped ends": wrong(conditional_score, x0=lambda x: x, x=lambda x0: x0),
        "order nu + 1 in the ratio": wrong(
            conditional_score,
            lambda process, x0, x, t: conditional_score(BESQ(process.delta + 2.0), x0, x, t) - 1.0 / x,
        ),
    }


@claim(
    "TWEEDIE-CIR-1",
    "First formula under CIR noise",
    r"""
        \partial_x \log p_t(x \mid x_0) = \frac\nu x - \frac1{2\rho}
            + \frac1{2\rho}\sqrt{\frac{q x_0}x}\,R_\nu\Big(\frac{\sqrt{q x x_0}}\rho\Big), \qquad
        q = e^{-\kappa t}, \; \rho = \frac{\sigma^2(1-q)}{4\kappa}, \; \nu = \frac{2\kappa\theta}{\sigma^2} - 1""",
    covers=[conditional_score, CIR],
    hypotheses=[
        r"dX = \kappa(\theta - X)\,dt + \sigma\sqrt X\,dB, \; \kappa, \theta, \sigma > 0",
        r"X_0 \geq 0",
        r"x > 0, \; t > 0",
    ],
)
class CirScore:
    """The Feller condition is not needed: the second process of the corners violates it."""

    @exact(ROUNDING, over=rows("label, process, x0, x, t", lambda: corners(CIRS)))
    def derivative_of_the_textbook_density(conditional_score, process, x0, x, t):
        return _score_gap(conditional_score, process, x0, x, t)

    @property(ROUNDING, examples=60, false_alarm=0.0)
    def at_drawn_points(
        conditional_score,
        CIR,
        kappa=st.floats(1e-4, 3.0),
        theta=st.floats(0.01, 3.0),
        sigma=st.floats(0.5, 3.0),
        x0=st.floats(0.0, 50.0),
        x=st.floats(1e-6, 50.0),
        t=st.floats(1e-3, 5.0),
    ):
        return _score_gap(conditional_score, CIR(kappa, theta, sigma), x0, x, t)

    refuses = [
        (CIR, 0.0, 1.0, 1.0),
        (CIR, 1.0, -1.0, 1.0),
        (CIR, 1.0, 1.0, 0.0),
        (conditional_score, CIRS[0], -1.0, 1.0, 1.0),
    ]

    mutants = {
        "without decay": wrong(
            conditional_score, x0=lambda xp, process, x0, t: x0 / process.decay_rho(xp, t)[0]
        ),
        "scale of a squared Bessel process": wrong(
            conditional_score, process=lambda process: BESQ(process.delta)
        ),
        "without nu/x": wrong(conditional_score, lambda value, process, x: value - process.nu / x),
    }


@claim(
    "TWEEDIE-BESQ-2",
    "Posterior mean under squared Bessel noise",
    r"""
        E[X_0 \mid X_t = x] = x + (4-\delta)t + \big[4tx + 2t^2(4-\delta)\big]\,s + 4t^2 x\,(s^2 + \partial_x s)
        = \frac{4t^2}x\,E[N(N+\nu) \mid X_t = x]""",
    covers=[posterior_mean, second_order_formula, bessel_eigenfunction],
    hypotheses=[r"dX = \delta\,dt + 2\sqrt X\,dB, \; \delta > 0", r"X_0 \geq 0", r"x > 0, \; t > 0"],
)
class BesselMean:
    r"""Times p the right side is a linear operator L of p; each transition is its eigenfunction, with the
    eigenvalue :math:`x_0`; so on a mixture of transitions it is :math:`p\,E[X_0 \mid x]`."""

    @symbolic()
    def is_an_operator_on_the_tilted_density(posterior_mean):
        process = unchecked(BESQ, delta=DELTA)
        return P * _mean(posterior_mean, process, P), _operator(P, DELTA / 2 - 1, 1, T)

    @symbolic()
    def transitions_are_eigenfunctions(second_order_formula, bessel_eigenfunction):
        return {"eigenfunction": bessel_eigenfunction(), "derivation": second_order_formula()}

    @symbolic()
    def exact_in_dimension_three(posterior_mean):
        r"""There :math:`p_t(x \mid x_0) \propto e^{-(x+x_0)/2t} \sinh(\sqrt{x x_0}/t)`."""
        p = sp.exp(-X / (2 * T)) * sp.sinh(sp.sqrt(X * X0) / T)
        return sp.simplify(_mean(posterior_mean, unchecked(BESQ, delta=sp.Integer(3)), p)), X0

    @exact(ROUNDING, over=grid(process=BESQS, t=(1e-6, 1.0, 1e3), x=(1e-12, 1.0, 1e8)))
    def three_atoms_at_fifty_digits(posterior_mean, process, t, x):
        return _mean_gap(posterior_mean, Posterior(process, ATOMS, WEIGHTS, x, t))

    @property(ROUNDING, examples=40, false_alarm=0.0)
    def at_drawn_points(
        posterior_mean,
        delta=st.floats(0.1, 20.0),
        atom=st.floats(0.0, 10.0),
        weight=st.floats(0.01, 0.99),
        x=st.floats(1e-3, 1e2),
        t=st.floats(1e-2, 10.0),
    ):
        return _mean_gap(posterior_mean, Posterior(BESQ(delta), (1.0, atom), (1.0 - weight, weight), x, t))

    mutants = {
        "3 - delta": wrong(posterior_mean, lambda value, t, score: value - t - 2 * t**2 * score),
        "without the squared score": wrong(
            posterior_mean, score_prime=lambda score, score_prime: score_prime - score**2
        ),
        "sign of the curvature": wrong(posterior_mean, score_prime=lambda score_prime: -score_prime),
        "Gaussian formula": wrong(posterior_mean, lambda x, t, score: x + 4 * t * x * score),
    }


@claim(
    "TWEEDIE-CIR-2",
    "Posterior mean under CIR noise",
    r"""
        E[X_0 \mid X_t = x] = e^{\kappa t}\Big\{x + (4-\delta)\rho
            + \big[4\rho x + 2\rho^2(4-\delta)\big]\,s + 4\rho^2 x\,(s^2 + \partial_x s)\Big\}""",
    covers=[posterior_mean],
    hypotheses=[
        r"dX = \kappa(\theta - X)\,dt + \sigma\sqrt X\,dB, \; \kappa, \theta, \sigma > 0",
        r"X_0 \geq 0",
        r"x > 0, \; t > 0",
    ],
)
class CirMean:
    @symbolic()
    def is_an_operator_on_the_tilted_density(posterior_mean):
        process = unchecked(CIR, kappa=KAPPA, theta=THETA, sigma=SIGMA)
        decay = sp.exp(-KAPPA * T)
        rho = SIGMA**2 * (1 - decay) / (4 * KAPPA)
        nu = 2 * KAPPA * THETA / SIGMA**2 - 1
        return P * _mean(posterior_mean, process, P), _operator(P, nu, decay, rho)

    @exact(ROUNDING, over=grid(process=CIRS, t=(1e-6, 1.0, 5.0), x=(1e-12, 1.0, 1e8)))
    def three_atoms_at_fifty_digits(posterior_mean, process, t, x):
        return _mean_gap(posterior_mean, Posterior(process, ATOMS, WEIGHTS, x, t))

    @property(ROUNDING, examples=40, false_alarm=0.0)
    def at_drawn_points(
        posterior_mean,
        kappa=st.floats(1e-3, 3.0),
        theta=st.floats(0.05, 3.0),
        sigma=st.floats(0.5, 2.0),
        atom=st.floats(0.0, 10.0),
        x=st.floats(1e-3, 20.0),
        t=st.floats(1e-2, 2.0),
    ):
        return _mean_gap(posterior_mean, Posterior(CIR(kappa, theta, sigma), (1.0, atom), (0.5, 0.5), x, t))

    @boundary(over=grid(t=(40.0, 700.0)))
    def where_nothing_but_roundings_is_left(posterior_mean, t):
        """The stationary law, whose posterior mean is that of the data: exp(-kappa t) divides a rounding."""
        x, shape = np.asarray([0.3, 1.0, 2.7]), 2.0
        score, slope = (shape - 1.0) / x - 2.0, -(shape - 1.0) / x**2
        return raises(ValueError, posterior_mean, CIR(1.0, 1.0, 1.0), x, t, score, slope)

    mutants = {
        "without growth": wrong(
            posterior_mean, lambda value, xp, process, t: process.decay_rho(xp, t)[0] * value
        ),
        "scale of a squared Bessel process": wrong(
            posterior_mean, process=lambda process: BESQ(process.delta)
        ),
        "without the squared score": wrong(
            posterior_mean, score_prime=lambda score, score_prime: score_prime - score**2
        ),
    }
