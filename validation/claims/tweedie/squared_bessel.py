r"""Squared Bessel and CIR noise: the first formula is a Bessel ratio, the second needs the score's slope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy as sp
from hypothesis import strategies as st

from driftproof.theory.processes import BESQ, CIR, AbstractProcess
from driftproof.theory.processes.squared_bessel import AbstractSquaredBessel
from driftproof.theory.tweedie import conditional_score, posterior_mean
from driftproof.theory.tweedie.symbolic import bessel_eigenfunction, second_order_formula
from driftproof.validation import Thing, boundary, claim, drawn, exact, property, raises, symbolic
from driftproof.validation.mutants import altered, arguments
from driftproof.validation.symbols import on_symbols, unchecked

from . import textbook
from .cases import ATOMS, BESQS, CIRS, ROUNDING, WEIGHTS, corners, measured
from .textbook import Posterior

__all__ = ["BesselMean", "BesselScore", "CirMean", "CirScore"]

X, X0, T, DELTA, KAPPA, THETA, SIGMA = sp.symbols("x x_0 t delta kappa theta sigma", positive=True)
P = sp.Function("p")(X)


def _score_gap(
    thing: Thing, process: AbstractSquaredBessel, x0: float, x: float, t: float, label: str
) -> Any:
    """Measured by the largest of the three terms of the score: they cancel where x is near q x_0.

    A rounding of delta moves nu by as much, even where nu is 0; and the ratio has a pole at nu = -1, so
    that a rounding of nu counts 1/(nu + 1) times.
    """
    nu, _, rho = textbook.scales(process, t)
    got, want = thing(process, x0, x, t), textbook.conditional_score(process, x, x0, t)
    pull = abs(want - nu / x + 1 / (2 * rho))
    size = (1 + abs(nu)) / x + 1 / (2 * rho) + pull * (1 + 1 / (nu + 1))
    return measured(label, got, want, size)


def size_of_terms(process: AbstractProcess, x: float, t: float, s: Any, ds: Any) -> Any:
    """What is added up in the second formula: the terms cancel where the noise is small."""
    nu, decay, rho = textbook.scales(process, t)
    gap = abs(2 - 2 * nu)
    curvature = 4 * rho**2 * x * (s**2 + abs(ds))
    return (x + gap * rho + (4 * rho * x + 2 * rho**2 * gap) * abs(s) + curvature) / decay


def _mean_gap(thing: Thing, given: Posterior) -> Any:
    process, x, t, s, ds = given.process, given.x, given.t, given.score, given.score_prime
    label, got = f"{process}, x = {x:g}, t = {t:g}", thing(process, x, t, float(s), float(ds))
    return measured(label, got, given.mean(), size_of_terms(process, x, t, s, ds))


def _operator(p: Any, nu: Any, decay: Any, rho: Any) -> Any:
    """p times the posterior mean, as the operator 4 rho^2 (x D^2 + (nu + 1) D) on the tilted density."""
    tilt = X**nu * sp.exp(-X / (2 * rho))
    tilted = p / tilt
    return 4 * rho**2 * tilt * (X * sp.diff(tilted, X, 2) + (nu + 1) * sp.diff(tilted, X)) / decay


def _mean(thing: Thing, process: Any, p: Any) -> Any:
    score = sp.diff(p, X) / p
    return on_symbols(thing, process, X, T, score, sp.diff(score, X))


@claim(
    "TWEEDIE-BESQ-1",
    paper="tweedie",
    title="First formula under squared Bessel noise",
    statement=r"""
        \partial_x \log p_t(x \mid x_0) = \frac\nu x - \frac1{2t}
            + \frac1{2t}\sqrt{\frac{x_0}x}\,R_\nu\Big(\frac{\sqrt{x x_0}}t\Big)
        \;\Rightarrow\; E\Big[\sqrt{X_0/x}\,R_\nu\Big(\frac{\sqrt{x X_0}}t\Big) \,\Big|\, X_t = x\Big]
            = 2 t\,s(x, t) + 1 - \frac{2\nu t}x, \qquad R_\nu = I_{\nu+1}/I_\nu""",
    hypotheses=[r"dX = \delta\,dt + 2\sqrt X\,dB, \; \delta > 0", r"X_0 \geq 0", r"x > 0, \; t > 0"],
    vouches=[conditional_score, BESQ],
)
class BesselScore:
    @exact(tolerance=ROUNDING)
    def derivative_of_the_textbook_density(thing: Thing) -> Iterator[Any]:
        for label, process, x0, x, t in corners(BESQS):
            yield _score_gap(thing, process, x0, x, t, label)

    @exact(tolerance=ROUNDING, scale=0.0)
    def finite_at_the_boundary_in_dimension_two(thing: Thing) -> Iterator[Any]:
        """There the singular term is absent: the score at 0 is x_0/4t^2 - 1/2t."""
        for x0, t in ((0.0, 1.0), (1.0, 0.25), (3.0, 1e3)):
            yield f"x0 = {x0}, t = {t}", thing(BESQ(2.0), x0, 0.0, t), x0 / (4 * t * t) - 1 / (2 * t)

    @property(tolerance=ROUNDING, examples=60, false_alarm=0.0)
    def at_drawn_points(
        thing: Thing,
        delta: float = drawn(st.floats(0.01, 60.0)),
        x0: float = drawn(st.floats(0.0, 1e3)),
        x: float = drawn(st.floats(1e-6, 1e3)),
        t: float = drawn(st.floats(1e-3, 1e2)),
    ) -> Any:
        return _score_gap(thing, BESQ(delta), x0, x, t, "")

    mutants = {
        "without nu/x": altered(
            conditional_score, lambda kernel, xp, p, x0, x, t: kernel(xp, p, x0, x, t) - p.nu / x
        ),
        "swapped ends": arguments(conditional_score, lambda p, x0, x, t: (p, x, x0, t)),
        "order nu + 1 in the ratio": altered(
            conditional_score,
            lambda kernel, xp, p, x0, x, t: kernel(xp, BESQ(p.delta + 2.0), x0, x, t) - 1.0 / x,
        ),
    }


@claim(
    "TWEEDIE-CIR-1",
    paper="tweedie",
    title="First formula under CIR noise",
    statement=r"""
        \partial_x \log p_t(x \mid x_0) = \frac\nu x - \frac1{2\rho}
            + \frac1{2\rho}\sqrt{\frac{q x_0}x}\,R_\nu\Big(\frac{\sqrt{q x x_0}}\rho\Big), \qquad
        q = e^{-\kappa t}, \; \rho = \frac{\sigma^2(1-q)}{4\kappa}, \; \nu = \frac{2\kappa\theta}{\sigma^2} - 1""",
    hypotheses=[
        r"dX = \kappa(\theta - X)\,dt + \sigma\sqrt X\,dB, \; \kappa, \theta, \sigma > 0",
        r"X_0 \geq 0",
        r"x > 0, \; t > 0",
    ],
    vouches=[conditional_score, CIR],
)
class CirScore:
    """The Feller condition is not needed: the second process of the corners violates it."""

    @exact(tolerance=ROUNDING)
    def derivative_of_the_textbook_density(thing: Thing) -> Iterator[Any]:
        for label, process, x0, x, t in corners(CIRS):
            yield _score_gap(thing, process, x0, x, t, label)

    @property(tolerance=ROUNDING, examples=60, false_alarm=0.0)
    def at_drawn_points(
        thing: Thing,
        kappa: float = drawn(st.floats(1e-4, 3.0)),
        theta: float = drawn(st.floats(0.01, 3.0)),
        sigma: float = drawn(st.floats(0.5, 3.0)),
        x0: float = drawn(st.floats(0.0, 50.0)),
        x: float = drawn(st.floats(1e-6, 50.0)),
        t: float = drawn(st.floats(1e-3, 5.0)),
    ) -> Any:
        return _score_gap(thing, CIR(kappa, theta, sigma), x0, x, t, "")

    @boundary()
    def needs_positive_parameters(thing: Thing) -> Iterator[Any]:
        for kappa, theta, sigma in ((0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, 0.0)):
            yield raises(ValueError, CIR, kappa, theta, sigma)
        yield raises(ValueError, conditional_score, CIRS[0], -1.0, 1.0, 1.0)

    mutants = {
        "without decay": altered(
            conditional_score,
            lambda kernel, xp, p, x0, x, t: kernel(xp, p, x0 / p.decay_rho(xp, t)[0], x, t),
        ),
        "scale of a squared Bessel process": altered(
            conditional_score, lambda kernel, xp, p, x0, x, t: kernel(xp, BESQ(p.delta), x0, x, t)
        ),
        "without nu/x": altered(
            conditional_score, lambda kernel, xp, p, x0, x, t: kernel(xp, p, x0, x, t) - p.nu / x
        ),
    }


@claim(
    "TWEEDIE-BESQ-2",
    paper="tweedie",
    title="Posterior mean under squared Bessel noise",
    statement=r"""
        E[X_0 \mid X_t = x] = x + (4-\delta)t + \big[4tx + 2t^2(4-\delta)\big]\,s + 4t^2 x\,(s^2 + \partial_x s)
        = \frac{4t^2}x\,E[N(N+\nu) \mid X_t = x]""",
    hypotheses=[r"dX = \delta\,dt + 2\sqrt X\,dB, \; \delta > 0", r"X_0 \geq 0", r"x > 0, \; t > 0"],
    vouches=[posterior_mean, second_order_formula, bessel_eigenfunction],
)
class BesselMean:
    r"""Times p the right side is a linear operator L of p; each transition is its eigenfunction, with the
    eigenvalue :math:`x_0`; so on a mixture of transitions it is :math:`p\,E[X_0 \mid x]`."""

    @symbolic()
    def is_an_operator_on_the_tilted_density(thing: Thing) -> Any:
        process = unchecked(BESQ, delta=DELTA)
        return P * _mean(thing, process, P), _operator(P, DELTA / 2 - 1, 1, T)

    @symbolic()
    def transitions_are_eigenfunctions(thing: Thing) -> dict[str, Any]:
        return {"eigenfunction": bessel_eigenfunction(), "derivation": second_order_formula()}

    @symbolic()
    def exact_in_dimension_three(thing: Thing) -> Any:
        r"""There :math:`p_t(x \mid x_0) \propto e^{-(x+x_0)/2t} \sinh(\sqrt{x x_0}/t)`."""
        p = sp.exp(-X / (2 * T)) * sp.sinh(sp.sqrt(X * X0) / T)
        return sp.simplify(_mean(thing, unchecked(BESQ, delta=sp.Integer(3)), p)), X0

    @exact(tolerance=ROUNDING)
    def three_atoms_at_fifty_digits(thing: Thing) -> Iterator[Any]:
        for process in BESQS:
            for t in (1e-6, 1.0, 1e3):
                for x in (1e-12, 1.0, 1e8):
                    yield _mean_gap(thing, Posterior(process, ATOMS, WEIGHTS, x, t))

    @property(tolerance=ROUNDING, examples=40, false_alarm=0.0)
    def at_drawn_points(
        thing: Thing,
        delta: float = drawn(st.floats(0.1, 20.0)),
        atom: float = drawn(st.floats(0.0, 10.0)),
        weight: float = drawn(st.floats(0.01, 0.99)),
        x: float = drawn(st.floats(1e-3, 1e2)),
        t: float = drawn(st.floats(1e-2, 10.0)),
    ) -> Any:
        return _mean_gap(thing, Posterior(BESQ(delta), (1.0, atom), (1.0 - weight, weight), x, t))

    mutants = {
        "3 - delta": altered(
            posterior_mean, lambda kernel, xp, p, x, t, s, ds: kernel(xp, p, x, t, s, ds) - t - 2 * t**2 * s
        ),
        "without the squared score": arguments(
            posterior_mean, lambda p, x, t, s, ds: (p, x, t, s, ds - s**2)
        ),
        "sign of the curvature": arguments(posterior_mean, lambda p, x, t, s, ds: (p, x, t, s, -ds)),
        "Gaussian formula": altered(posterior_mean, lambda kernel, xp, p, x, t, s, ds: x + 4 * t * x * s),
    }


@claim(
    "TWEEDIE-CIR-2",
    paper="tweedie",
    title="Posterior mean under CIR noise",
    statement=r"""
        E[X_0 \mid X_t = x] = e^{\kappa t}\Big\{x + (4-\delta)\rho
            + \big[4\rho x + 2\rho^2(4-\delta)\big]\,s + 4\rho^2 x\,(s^2 + \partial_x s)\Big\}""",
    hypotheses=[
        r"dX = \kappa(\theta - X)\,dt + \sigma\sqrt X\,dB, \; \kappa, \theta, \sigma > 0",
        r"X_0 \geq 0",
        r"x > 0, \; t > 0",
    ],
    vouches=[posterior_mean],
)
class CirMean:
    @symbolic()
    def is_an_operator_on_the_tilted_density(thing: Thing) -> Any:
        process = unchecked(CIR, kappa=KAPPA, theta=THETA, sigma=SIGMA)
        decay = sp.exp(-KAPPA * T)
        rho = SIGMA**2 * (1 - decay) / (4 * KAPPA)
        nu = 2 * KAPPA * THETA / SIGMA**2 - 1
        return P * _mean(thing, process, P), _operator(P, nu, decay, rho)

    @exact(tolerance=ROUNDING)
    def three_atoms_at_fifty_digits(thing: Thing) -> Iterator[Any]:
        for process in CIRS:
            for t in (1e-6, 1.0, 5.0):
                for x in (1e-12, 1.0, 1e8):
                    yield _mean_gap(thing, Posterior(process, ATOMS, WEIGHTS, x, t))

    @property(tolerance=ROUNDING, examples=40, false_alarm=0.0)
    def at_drawn_points(
        thing: Thing,
        kappa: float = drawn(st.floats(1e-3, 3.0)),
        theta: float = drawn(st.floats(0.05, 3.0)),
        sigma: float = drawn(st.floats(0.5, 2.0)),
        atom: float = drawn(st.floats(0.0, 10.0)),
        x: float = drawn(st.floats(1e-3, 20.0)),
        t: float = drawn(st.floats(1e-2, 2.0)),
    ) -> Any:
        return _mean_gap(thing, Posterior(CIR(kappa, theta, sigma), (1.0, atom), (0.5, 0.5), x, t))

    @boundary()
    def where_nothing_but_roundings_is_left(thing: Thing) -> Iterator[Any]:
        """The stationary law, whose posterior mean is that of the data: exp(-kappa t) divides a rounding."""
        for t in (40.0, 700.0):
            x, shape = np.asarray([0.3, 1.0, 2.7]), 2.0
            score, slope = (shape - 1.0) / x - 2.0, -(shape - 1.0) / x**2
            yield raises(ValueError, thing, CIR(1.0, 1.0, 1.0), x, t, score, slope)

    mutants = {
        "without growth": altered(
            posterior_mean,
            lambda kernel, xp, p, x, t, s, ds: p.decay_rho(xp, t)[0] * kernel(xp, p, x, t, s, ds),
        ),
        "scale of a squared Bessel process": altered(
            posterior_mean, lambda kernel, xp, p, x, t, s, ds: kernel(xp, BESQ(p.delta), x, t, s, ds)
        ),
        "without the squared score": arguments(
            posterior_mean, lambda p, x, t, s, ds: (p, x, t, s, ds - s**2)
        ),
    }
