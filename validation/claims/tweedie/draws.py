r"""Draws and marginals of every law and process, without chance.

A *rule* stands in for the source of random numbers: each call of a sampler gets the nodes of a quadrature on
an axis of its own, Gauss's for normal and gamma draws, every count of some mass for Poisson draws, and the
middles of equal strata for uniform ones.  What the sampler returns on all combinations, with the products of
the weights, *is* its law, as far as polynomials of low degree can tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, final

import numpy as np
from scipy import stats
from scipy.special import roots_genlaguerre, roots_hermitenorm

from driftproof._random import Source
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
from driftproof.theory.laws.bridges import SquaredBesselBridge
from driftproof.theory.laws.elementwise import ElementwiseLaw
from driftproof.theory.laws.gamma_mixed import GammaMixedChi2
from driftproof.validation import Thing, claim, exact
from driftproof.validation.mutants import wrong

__all__ = ["Draws", "Rule"]

STRATA = 8  # the weights of the mixtures here are eighths
COUNTS = 60


@final
@dataclass
class Rule(Source):
    """A source whose k-th call draws the nodes of axis k; ``weights`` are those of all calls so far."""

    sizes: tuple[int, ...]
    weights: Any = field(init=False)
    calls: int = 0

    def __post_init__(self) -> None:
        self.weights = np.ones(self.sizes)

    def normal(self, like: Any) -> Any:
        nodes, weights = roots_hermitenorm(self._size(like))
        return self._along(nodes, weights / np.sum(weights), like)

    def uniform(self, like: Any) -> Any:
        n = self._size(like)
        return self._along((np.arange(n) + 0.5) / n, np.full(n, 1.0 / n), like)

    def poisson(self, rate: Any) -> Any:
        counts = self._axis(np.arange(self._size(rate), dtype=np.float64))
        return self._taken(np.broadcast_to(counts, self.sizes), stats.poisson.pmf(counts, self._grid(rate)))

    def gamma(self, shape: Any) -> Any:
        given, n = self._grid(shape), self._size(shape)
        draws, masses = np.zeros(self.sizes), np.zeros(self.sizes)
        at = self._axis(np.arange(n)) + np.zeros(self.sizes, dtype=int)
        for value in np.unique(given):
            nodes, weights = roots_genlaguerre(n, value - 1.0) if value > 0 else (np.zeros(n), np.ones(n))
            here = given == value
            draws[here], masses[here] = nodes[at[here]], (weights / np.sum(weights))[at[here]]
        return self._taken(draws, masses)

    def adopt(self, xp: Any, values: Any) -> Any:
        return xp, values

    def _size(self, like: Any) -> int:
        if np.size(like) != math.prod(self.sizes):
            raise ValueError(f"a rule of {self.sizes} for draws of {np.shape(like)}")
        return self.sizes[self.calls]

    def _grid(self, values: Any) -> Any:
        return np.broadcast_to(np.reshape(values, self.sizes), self.sizes)

    def _axis(self, values: Any) -> Any:
        shape = [1] * len(self.sizes)
        shape[self.calls] = self.sizes[self.calls]
        return np.reshape(values, shape)

    def _along(self, nodes: Any, weights: Any, like: Any) -> Any:
        self._size(like)
        return self._taken(np.broadcast_to(self._axis(nodes), self.sizes), self._axis(weights))

    def _taken(self, draws: Any, weights: Any) -> Any:
        self.weights = self.weights * weights
        self.calls += 1
        return np.ravel(draws)


def expectations(sample: Thing, law: Any, sizes: tuple[int, ...]) -> list[float]:
    """E X, E X^2 and E X^3 of the draws of a law, by a rule with an axis for each of its random numbers."""
    rule = Rule(sizes)
    draws = sample(law, (math.prod(sizes),), rule)
    if rule.calls != len(sizes):
        raise ValueError(f"{type(law).__name__} drew {rule.calls} times")
    return [float(np.sum(np.ravel(rule.weights) * draws**k)) for k in (1, 2, 3)]


def drawing(law: ElementwiseLaw, draw: Thing) -> Any:
    """The law, of which ``sample`` draws by ``draw``."""
    kind = type(type(law).__name__, (type(law),), {"draw": staticmethod(draw)})
    return kind(**{field.name: getattr(law, field.name) for field in fields(law)})  # type: ignore[arg-type]


def raw(cumulants: tuple[float, float, float]) -> list[float]:
    """Raw moments from cumulants."""
    k1, k2, k3 = cumulants
    return [k1, k2 + k1**2, k3 + 3.0 * k1 * k2 + k1**3]


def gammas(shape: float, scale: float) -> list[float]:
    """Raw moments of a gamma law."""
    return [scale, scale**2 * (shape + 1.0), scale**3 * (shape + 1.0) * (shape + 2.0)] * np.asarray(shape)


def mixed(weights: Any, parts: Any) -> Any:
    return np.asarray(weights) @ np.asarray(parts)


WEIGHTS = (0.25, 0.625, 0.125)


def cases() -> Iterator[tuple[str, Any, tuple[int, ...], Any]]:
    """Label, law, the sizes of its rule, and its raw moments as textbooks have them."""
    yield "normal", Normal(0.5, 2.0), (4,), raw((0.5, 4.0, 0.0))
    lognormal = [math.exp(k * 0.25 + 0.5 * (k * 0.5) ** 2) for k in (1, 2, 3)]
    yield "lognormal", LogNormal(0.25, 0.5), (40,), lognormal
    for shape in (0.3, 2.5):
        yield f"gamma, shape {shape}", Gamma(shape, 0.5), (4,), gammas(shape, 0.5)
    for df in (0.4, 1.0, 3.5):
        sizes = (4, 4) if df >= 1.0 else (COUNTS, 4)  # a shifted square and a gamma, or a count and a gamma
        cumulants = tuple(
            2.0**k * math.factorial(k) * (df + (k + 1) * 1.7) * 0.3 ** (k + 1) for k in range(3)
        )
        yield f"noncentral, df = {df}", NoncentralChi2(df, 1.7, 0.3), sizes, raw(cumulants)  # type: ignore[arg-type]
    for df, shape in ((0.4, 1.5), (3.0, 0.3)):
        # Given its half-noncentrality l, of moments m_k, the law is gamma with a Poisson count.
        m = gammas(shape, 0.4)
        d = 0.5 * df
        factorial = [m[0], m[1], m[2]]  # of the count: those of l
        rising = [
            d + factorial[0],
            d * (d + 1) + 2 * (d + 1) * factorial[0] + factorial[1],
            d * (d + 1) * (d + 2)
            + 3 * (d + 1) * (d + 2) * factorial[0]
            + 3 * (d + 2) * factorial[1]
            + factorial[2],
        ]
        want = [part * 0.6 ** (k + 1) for k, part in enumerate(rising)]
        yield f"gamma-mixed, df = {df}", GammaMixedChi2(df, shape, 0.4, 0.3), (4, COUNTS, 4), want
    normals = Mixture(WEIGHTS, Normal([-1.0, 0.5, 3.0], [0.5, 1.0, 0.25]))
    parts = [raw((m, s**2, 0.0)) for m, s in ((-1.0, 0.5), (0.5, 1.0), (3.0, 0.25))]
    yield "mixture of normals", normals, (STRATA, 4), mixed(WEIGHTS, parts)
    by_shape = Mixture(WEIGHTS, Gamma(1.5, [0.5, 1.0, 4.0]))
    yield (
        "mixture of gammas",
        by_shape,
        (STRATA, 4),
        mixed(WEIGHTS, [gammas(1.5, c) for c in (0.5, 1.0, 4.0)]),
    )
    atoms = np.asarray([-1.0, 0.5, 3.0])
    yield "atoms", Discrete(atoms, WEIGHTS), (STRATA,), [mixed(WEIGHTS, atoms**k) for k in (1, 2, 3)]
    for delta, mu, c in ((0.4, 0.0, 0.6), (3.0, 0.85, 0.6)):  # from 0: one noncentral chi-square
        cumulants = tuple(
            2.0**k * math.factorial(k) * (delta + (k + 1) * 2.0 * mu) * (0.5 * c) ** (k + 1) for k in range(3)
        )
        law = SquaredBesselBridge(delta, 0.0, mu, c)
        yield f"bridge from 0, delta = {delta}", law, (COUNTS, 4), raw(cumulants)  # type: ignore[arg-type]


@final
@dataclass
class Given(Source):
    """A source that draws the arrays that it was given."""

    normals: Any
    uniforms: Any = None

    def normal(self, like: Any) -> Any:
        return np.reshape(self.normals, like.shape)

    def uniform(self, like: Any) -> Any:
        return np.reshape(self.uniforms, like.shape)

    def gamma(self, shape: Any) -> Any:
        raise NotImplementedError

    def poisson(self, rate: Any) -> Any:
        raise NotImplementedError

    def adopt(self, xp: Any, values: Any) -> Any:
        return xp, values


CORNERS = np.asarray([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # of an affine map
COVS = np.asarray([[[2.0, 0.6], [0.6, 0.5]], [[1.0, -0.3], [-0.3, 4.0]]])
MEANS = np.asarray([[0.5, -1.0], [3.0, 2.0]])


def affine_map(draws: Any) -> tuple[Any, Any]:
    """Offset of an affine map of a standard normal vector, and the covariance that it makes."""
    return draws[0], (draws[1:] - draws[0]).T @ (draws[1:] - draws[0])


@claim(
    "TWEEDIE-DRAW-1",
    "Every law draws from its density",
    r"""
    E X^k = \sum_i w_i\,\texttt{draw}(\text{nodes}_i)^k, \; k \le 3; \qquad
    \texttt{draw} = m + R^\top z, \quad R^\top R = C \text{ on } \mathbb R^d
    """,
    covers={
        "normal": Normal.draw,
        "lognormal": LogNormal.draw,
        "gamma": Gamma.draw,
        "noncentral": NoncentralChi2.draw,
        "gamma_mixed": GammaMixedChi2.draw,
        "bridge": SquaredBesselBridge.draw,
        "elementwise": ElementwiseLaw.sample,
        "mixture": Mixture.sample,
        "discrete": Discrete.sample,
        "gaussian": Gaussian.sample,
        "gaussian_mixture": GaussianMixture.sample,
    },
    hypotheses=[r"\text{bridges: from 0, where no rejection is needed}"],
)
class Draws:
    """What tests by chance can see to a part in a hundred: here to rounding, by quadratures that are exact
    for the polynomials at hand."""

    @exact(1e-12)
    def three_moments_by_gauss_rules(
        normal, lognormal, gamma, noncentral, gamma_mixed, bridge, elementwise, mixture, discrete
    ):
        samples: dict[type, Any] = {Mixture: mixture, Discrete: discrete}
        draws: dict[type, Any] = {
            Normal: normal,
            LogNormal: lognormal,
            Gamma: gamma,
            NoncentralChi2: noncentral,
            GammaMixedChi2: gamma_mixed,
            SquaredBesselBridge: bridge,
        }
        for label, law, sizes, want in cases():
            if (kind := type(law)) in samples:
                got = expectations(samples[kind], law, sizes)
            else:
                got = expectations(elementwise, drawing(law, draws[kind]), sizes)
            yield label, np.asarray(got) / want, np.ones(3)

    @exact(1e-13)
    def gaussian_draws_are_affine(gaussian, gaussian_mixture):
        mean, cov = affine_map(gaussian(Gaussian(MEANS[0], COVS[0]), (3,), Given(CORNERS)))
        yield "Gaussian, mean", mean, MEANS[0]
        yield "Gaussian, covariance", cov, COVS[0]
        law = GaussianMixture([0.25, 0.75], MEANS, COVS)
        for k, level in enumerate((0.249999, 0.25)):  # on both sides of the first weight
            mean, cov = affine_map(gaussian_mixture(law, (3,), Given(CORNERS, np.full(3, level))))
            yield f"component {k}, mean", mean, MEANS[k]
            yield f"component {k}, covariance", cov, COVS[k]

    mutants = {
        "variance for the deviation": wrong(Normal.draw, scale=lambda scale: scale**2),
        "median for the mean": wrong(LogNormal.draw, loc=lambda loc, scale: loc - 0.5 * scale**2),
        "rate for scale": wrong(Gamma.draw, scale=lambda scale: 1.0 / scale),
        "Poisson rate nc": wrong(NoncentralChi2.draw, nc=lambda nc: 2.0 * nc),
        "noncentrality for its half": wrong(GammaMixedChi2.draw, mixing=lambda mixing: 2.0 * mixing),
        "weights in the wrong order": wrong(
            Mixture.sample, self=lambda self: Mixture(self.weights[::-1].copy(), self.components)
        ),
        "atoms alike": wrong(Discrete.sample, self=lambda self: Discrete(self.atoms)),
        "one part in 10^9": wrong(ElementwiseLaw.sample, lambda value: value * (1.0 + 1e-9)),
        "a bridge of another scale": wrong(SquaredBesselBridge.draw, lambda value: 1.1 * value),
        "a Gaussian of another scale": wrong(Gaussian.sample, lambda value: 1.01 * value),
        "a mixture of another scale": wrong(GaussianMixture.sample, lambda value: 1.01 * value),
    }
