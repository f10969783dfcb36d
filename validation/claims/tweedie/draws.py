r"""Draws and marginals of every law and process, without chance.

A *rule* stands in for the source of random numbers: each call of a sampler gets the nodes of a quadrature on
an axis of its own, Gauss's for normal and gamma draws, every count of some mass for Poisson draws, and the
middles of equal strata for uniform ones.  What the sampler returns on all combinations, with the products of
the weights, *is* its law, as far as polynomials of low degree can tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
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
from driftproof.theory.laws.base import ElementwiseLaw
from driftproof.theory.laws.bridges import SquaredBesselBridge
from driftproof.theory.laws.gamma_mixed import GammaMixedChi2
from driftproof.validation import Thing, claim, exact
from driftproof.validation.evidence.base import Labelled

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


def expectations(law: Any, sizes: tuple[int, ...]) -> list[float]:
    """E X, E X^2 and E X^3 of the draws of a law, by a rule with an axis for each of its random numbers."""
    rule = Rule(sizes)
    draws = law.sample((math.prod(sizes),), rule)
    if rule.calls != len(sizes):
        raise ValueError(f"{type(law).__name__} drew {rule.calls} times")
    return [float(np.sum(np.ravel(rule.weights) * draws**k)) for k in (1, 2, 3)]


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


def of_kind(kind: type, change: Any) -> Any:
    """``expectations`` of laws that are changed where they are of a kind."""
    return lambda law, sizes: expectations(change(law) if isinstance(law, kind) else law, sizes)


@claim(
    "TWEEDIE-DRAW-1",
    paper="tweedie",
    title="Every law draws from its density",
    statement=r"""
    E X^k = \sum_i w_i\,\texttt{draw}(\text{nodes}_i)^k, \; k \le 3; \qquad
    \texttt{draw} = m + R^\top z, \quad R^\top R = C \text{ on } \mathbb R^d
    """,
    vouches=[
        Normal.draw,
        LogNormal.draw,
        Gamma.draw,
        NoncentralChi2.draw,
        GammaMixedChi2.draw,
        SquaredBesselBridge.draw,
        ElementwiseLaw.sample,
        Mixture.sample,
        Discrete.sample,
        Gaussian.sample,
        GaussianMixture.sample,
    ],
    hypotheses=[r"\text{bridges: from 0, where no rejection is needed}"],
)
class Draws:
    """What tests by chance can see to a part in a hundred: here to rounding, by quadratures that are exact
    for the polynomials at hand."""

    thing = staticmethod(expectations)

    @exact(tolerance=1e-12)
    def three_moments_by_gauss_rules(thing: Thing) -> Iterator[Labelled]:
        for label, law, sizes, want in cases():
            got = thing(law, sizes)
            yield label, np.asarray(got) / want, np.ones(3)

    @exact(tolerance=1e-13)
    def gaussian_draws_are_affine(thing: Thing) -> Iterator[Labelled]:
        mean, cov = affine_map(Gaussian(MEANS[0], COVS[0]).sample((3,), Given(CORNERS)))
        yield "Gaussian, mean", mean, MEANS[0]
        yield "Gaussian, covariance", cov, COVS[0]
        law = GaussianMixture([0.25, 0.75], MEANS, COVS)
        for k, level in enumerate((0.249999, 0.25)):  # on both sides of the first weight
            mean, cov = affine_map(law.sample((3,), Given(CORNERS, np.full(3, level))))
            yield f"component {k}, mean", mean, MEANS[k]
            yield f"component {k}, covariance", cov, COVS[k]

    mutants = {
        "variance for the deviation": of_kind(Normal, lambda law: Normal(law.loc, law.scale**2)),
        "median for the mean": of_kind(
            LogNormal, lambda law: LogNormal(law.loc - 0.5 * law.scale**2, law.scale)
        ),
        "rate for scale": of_kind(Gamma, lambda law: Gamma(law.shape, 1.0 / law.scale)),
        "Poisson rate nc": of_kind(
            NoncentralChi2, lambda law: NoncentralChi2(law.df, 2.0 * law.nc, law.scale)
        ),
        "noncentrality for its half": of_kind(
            GammaMixedChi2, lambda law: GammaMixedChi2(law.df, law.shape, 2.0 * law.mixing, law.scale)
        ),
        "weights in the wrong order": of_kind(
            Mixture, lambda law: Mixture(law.weights[::-1].copy(), law.components)
        ),
        "atoms alike": of_kind(Discrete, lambda law: Discrete(law.atoms)),
        "one part in 10^9": lambda law, sizes: [m * (1.0 + 1e-9) for m in expectations(law, sizes)],
    }
