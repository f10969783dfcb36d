r"""Noised data: the marginal of every process for every kind of data, and the law at which CIR stays.

The other side is the data law, pushed through the textbook's transition: by Laplace transforms on the half-line,

.. math:: E e^{-l X_t} = (1 + 2 l \rho)^{-\delta/2}\; E e^{-l' X_0}, \qquad l' = \frac{l q}{1 + 2 l \rho},

by convolutions on the line and for logarithms, and by sums over atoms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import mpmath
import numpy as np
from scipy import stats

from driftproof.theory.laws import (
    Discrete,
    Gamma,
    Gaussian,
    GaussianMixture,
    LogNormal,
    Mixture,
    NoncentralChi2,
    Normal,
)
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, AbstractProcess, Flow, LinearClock
from driftproof.theory.processes.gaussian import AbstractGaussianProcess
from driftproof.theory.processes.squared_bessel import AbstractSquaredBessel
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook
from .cases import ROUNDING, measured
from .quadrature import half_line, line

__all__ = ["Marginals"]

CLOCK = LinearClock(0.5, 2.0, 3.0)
SQUARED = (BESQ(0.5), BESQ(5.0, CLOCK), CIR(2.0, 0.0625, 1.0), CIR(0.5, 3.0, 1.5, CLOCK))
GAUSSIAN: tuple[AbstractProcess, ...] = (VP(0.1, 8.0, 2.0), VE(0.1, 5.0, 2.0), Flow())
GEOMETRIC: tuple[AbstractProcess, ...] = (GBM(0.3, 0.8), GBM(0.05, 0.2, CLOCK))
WEIGHTS = (0.25, 0.625, 0.125)
TIMES = (0.1, 0.8)
Transform = Callable[[float], float]


def gamma(shape: float, scale: float) -> Transform:
    return lambda l: (1.0 + l * scale) ** -shape


def noncentral(df: float, nc: float, scale: float) -> Transform:
    return lambda l: (
        (1.0 + 2.0 * l * scale) ** (-0.5 * df) * np.exp(-l * scale * nc / (1.0 + 2.0 * l * scale))
    )


def mixed(parts: list[Transform]) -> Transform:
    return lambda l: sum(w * part(l) for w, part in zip(WEIGHTS, parts, strict=True))


def on_the_half_line(delta: float) -> Iterator[tuple[str, Any, Transform]]:
    """Data laws beside their Laplace transforms; gamma data are conjugate if their shape is delta / 2."""
    scales = (0.5, 1.0, 2.0)
    for name, shape in (("conjugate gamma", 0.5 * delta), ("gamma", 1.7)):
        yield name, Gamma(shape, 0.7), gamma(shape, 0.7)
        yield (
            f"mixture of {name}",
            Mixture(WEIGHTS, Gamma(shape, scales)),
            mixed([gamma(shape, c) for c in scales]),
        )
    yield "noncentral", NoncentralChi2(delta, 1.2, 0.4), noncentral(delta, 1.2, 0.4)
    parts = [noncentral(delta, nc, 0.4) for nc in (0.0, 1.0, 6.0)]
    yield "mixture of noncentral", Mixture(WEIGHTS, NoncentralChi2(delta, [0.0, 1.0, 6.0], 0.4)), mixed(parts)


def on_the_line() -> Iterator[tuple[list[tuple[float, float, float]], Any, Any]]:
    """Weights, means and deviations; and the mixture (or the law alone) for a family of laws."""
    yield [(1.0, 0.4, 0.6)], (0.4, 0.6), None
    yield (
        list(zip(WEIGHTS, (-1.0, 0.4, 2.0), (0.6, 0.3, 1.0), strict=True)),
        ([-1.0, 0.4, 2.0], [0.6, 0.3, 1.0]),
        WEIGHTS,
    )


def of(family: Any, parameters: Any, weights: Any) -> Any:
    law = family(*parameters)
    return law if weights is None else Mixture(weights, law)


def convolved(parts: Any, factor: float, shift: float, variance: float, y: Any) -> Any:
    """The density at y of factor Y + shift + noise, by the trapezoidal rule over each part of the law of Y."""
    total = np.zeros_like(y)
    for weight, loc, scale in parts:
        nodes, w = line(loc, scale, step=1 / 32)
        mass = weight * w * stats.norm.pdf(nodes, loc, scale)
        total = total + stats.norm.pdf(y[:, None], factor * nodes + shift, variance**0.5) @ mass
    return total


def evenly(law: Any) -> Any:
    return Mixture(np.full(3, 1.0 / 3.0), law.components) if isinstance(law, Mixture) else law


@claim(
    "TWEEDIE-MARGINAL-1",
    "Marginals of noised data, and the law at which CIR stays",
    r"""
    p_t(x) = \int p_t(x \mid x_0)\,p_0(dx_0) \text{ for data that are gamma, noncentral, (log)normal, Gaussian,
    discrete, or mixtures}; \qquad
    \text{CIR: } \Gamma(\tfrac\delta2, \tfrac{\sigma^2}{2\kappa}) \text{ is stationary}
    """,
    covers={
        "squared_bessel": AbstractSquaredBessel.marginal,
        "gaussian": AbstractGaussianProcess.marginal,
        "geometric": GBM.marginal,
        "stationary": CIR.stationary,
    },
    hypotheses=[r"t > 0", r"X_0 \text{ in the state space}"],
)
class Marginals:
    @exact(1e-12, over=grid(process=SQUARED, t=TIMES))
    def laplace_transforms_on_the_half_line(squared_bessel, process, t):
        """The rounding of 800 nodes, as for the transitions."""
        _, decay, rho = (float(part) for part in textbook.scales(process, t))
        for name, data, transform in on_the_half_line(process.delta):
            law = squared_bessel(process, data, t)
            x, w = half_line(float(law.mean), largest=1e3)
            p = w * np.exp(law.log_prob(x))
            for l in (0.0, 0.4, 3.0):
                spread = 1.0 + 2.0 * l * rho
                want = spread ** (-0.5 * process.delta) * transform(l * decay / spread)
                yield f"{name}, l = {l}", np.sum(p * np.exp(-l * x)), want

    @exact(1e-12, over=grid(rows("t", TIMES), rows("parts, parameters, weights", lambda: on_the_line())))
    def convolutions_on_the_line(gaussian, geometric, t, parts, parameters, weights):
        y = np.asarray([-1.3, 0.2, 1.9])
        for process in GAUSSIAN:
            alpha, variance = (float(part) for part in textbook.levels(process, t))
            law = gaussian(process, of(Normal, parameters, weights), t)
            yield f"{process}", np.exp(law.log_prob(y)), convolved(parts, alpha, 0.0, variance, y)
        for process in GEOMETRIC:
            shift, variance = (float(part) for part in textbook.levels(process, t))
            law = geometric(process, of(LogNormal, parameters, weights), t)
            want = convolved(parts, 1.0, shift, variance, y)
            yield f"{process}", np.exp(law.log_prob(np.exp(y)) + y), want

    @exact(ROUNDING)
    def sums_over_atoms(squared_bessel, gaussian, geometric):
        atoms = (0.125, 0.5, 3.0)
        for marginal, processes in (
            (squared_bessel, SQUARED),
            (gaussian, GAUSSIAN),
            (geometric, GEOMETRIC),
        ):
            for process, t in product(processes, TIMES):
                law = marginal(process, Discrete(atoms, WEIGHTS), t)
                for x in (0.2, 1.5):
                    terms = [textbook.density(process, x, a, t) for a in atoms]
                    want = mpmath.log(mpmath.fsum(w * p for w, p in zip(WEIGHTS, terms, strict=True)))
                    size = 1 + max(abs(mpmath.log(p)) for p in terms)
                    yield measured(f"{process}, x = {x}, t = {t}", law.log_prob(x), want, size)

    @exact(ROUNDING)
    def coordinates_of_vectors(gaussian):
        """Covariances are diagonal here, so that each component is a product; noise is added to every axis."""
        means, squares = ((0.5, -1.0), (2.0, 0.25), (-1.0, 1.5)), ((0.25, 1.0), (0.5, 0.5), (2.0, 0.125))
        x, covs = (0.3, 0.7), [np.diag(part) for part in squares]
        for process in GAUSSIAN:
            for t in TIMES:
                alpha, variance = textbook.levels(process, t)

                def part(k: int, noise: bool, a: Any = alpha, v: Any = variance) -> Any:
                    spreads = [mpmath.sqrt((a**2 * s if noise else 0) + v) for s in squares[k]]
                    return mpmath.fprod(
                        mpmath.npdf(y, a * m, s) for y, m, s in zip(x, means[k], spreads, strict=True)
                    )

                laws = {
                    "Gaussian": (Gaussian(means[0], covs[0]), [(1.0, part(0, True))]),
                    "mixture": (
                        GaussianMixture(WEIGHTS, means, np.stack(covs)),
                        [(w, part(k, True)) for k, w in enumerate(WEIGHTS)],
                    ),
                    "atoms": (Discrete(means, WEIGHTS), [(w, part(k, False)) for k, w in enumerate(WEIGHTS)]),
                }
                for name, (data, terms) in laws.items():
                    got = gaussian(process, data, t).log_prob(np.asarray(x))
                    want = mpmath.log(mpmath.fsum(w * p for w, p in terms))
                    size = 1 + max(abs(mpmath.log(p)) for _, p in terms)
                    yield measured(f"{process}, {name}, t = {t}", got, want, size)

    @exact(
        1e-12,
        over=rows("kappa, theta, sigma", ((2.0, 0.0625, 1.0), (1.0, 1.0, 1.0), (0.5, 3.0, 1.5))),
    )
    def the_stationary_law_stays(squared_bessel, stationary, kappa, theta, sigma):
        x, process = np.asarray([0.05, 0.4, 3.0]), CIR(kappa, theta, sigma)
        law = stationary(process)
        # No flux: b p = (a p)' / 2.
        yield "score", law.score(x), (2.0 * kappa * (theta - x) - sigma**2) / (sigma**2 * x)
        yield "mean and variance", [law.mean, law.variance], [theta, 0.5 * sigma**2 * theta / kappa]
        late = [textbook.log_density(process, float(y), 0.7, 60.0 / kappa) for y in x]
        yield "long after", law.log_prob(x), late
        yield "noised", squared_bessel(process, law, 0.3).log_prob(x), law.log_prob(x)

    refuses = [
        (AbstractSquaredBessel.marginal, BESQ(1.0), Normal(0.0, 1.0), 0.5),
        (AbstractGaussianProcess.marginal, VP(), Gamma(1.0, 1.0), 0.5),
        (AbstractSquaredBessel.marginal, BESQ(1.0), NoncentralChi2(2.0, 1.0, 1.0), 0.5),
    ]

    mutants = {
        "a little later": wrong(AbstractSquaredBessel.marginal, t=lambda t: t * (1.0 + 1e-9)),
        "weights alike": wrong(GBM.marginal, lambda value: evenly(value)),
        "atoms alone": wrong(
            AbstractGaussianProcess.marginal,
            data_law=lambda data_law: (
                Discrete(data_law.atoms) if isinstance(data_law, Discrete) else data_law
            ),
        ),
        "twice the stationary scale": wrong(
            CIR.stationary, lambda value: Gamma(value.shape, 2.0 * value.scale)
        ),
        "stationary of shape delta": wrong(
            CIR.stationary, lambda value: Gamma(2.0 * value.shape, 0.5 * value.scale)
        ),
    }
