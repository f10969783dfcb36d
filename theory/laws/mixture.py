r"""Finite mixtures of an elementwise law, and laws on finitely many atoms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked, holds, require
from driftproof._random import Rng, source
from driftproof.theory.special.elementary import (
    log_complement,
    log_mean_exp,
    log_or_minus_infinity,
    log_sum_exp,
    shares,
    weighed,
    xlogy,
)
from driftproof.theory.special.quadrature import still

from .base import AbstractLaw, ElementwiseLaw
from .matrices import constant
from .tails import between, log_levels, on_level, solve

__all__ = ["Discrete", "Mixture"]


@final
@dataclass(frozen=True, eq=False)
@checked
class Mixture(AbstractLaw):
    r"""A finite mixture of one elementwise family.

    .. math:: p(x) = \sum_k w_k\, p_k(x), \qquad
        s(x) = \sum_k P(k \mid x)\, s_k(x), \quad P(k \mid x) \propto w_k\, p_k(x)

    Arguments:
        weights: Weights :math:`w_k \ge 0`, shape (K,), with sum 1.
        components: A law whose parameters carry the K components on their last axis.

    Raises:
        UnmetHypothesis: The weights are negative or do not sum to 1.

    Claims: TWEEDIE-DRAW-1, TWEEDIE-MARGINAL-1

    Example:
        >>> from driftproof.theory.laws import Normal
        >>> float(Mixture([0.5, 0.5], Normal([-1.0, 1.0], 1.0)).variance)
        2.0
    """

    weights: Array
    components: ElementwiseLaw

    def __post_init__(self) -> None:
        xp, down, (weights, *_) = boundary("Mixture", **self.parameters)
        down(self)  # remembers half precision
        check_weights(xp, "Mixture", weights)
        object.__setattr__(self, "weights", weights)

    @property
    def parameters(self) -> Mapping[str, Array]:
        return {"weights": self.weights, **self.components.parameters}

    @property
    def mean(self) -> Array:
        xp, down, (w, mean) = boundary("Mixture", weights=self.weights, mean=self.components.mean)
        return down.wide(xp.sum(w * mean, axis=-1))

    @property
    def variance(self) -> Array:
        parts = {"mean": self.components.mean, "variance": self.components.variance}
        xp, down, (w, mean, variance) = boundary("Mixture", weights=self.weights, **parts)
        center = xp.sum(w * mean, axis=-1)[..., None]
        gap = xp.where(xp.isinf(mean), xp.inf, mean - center)  # an infinite mean leaves no difference
        spread = variance + gap * gap
        return down.wide(xp.sum(weighed(xp, w, spread), axis=-1))

    def log_prob(self, x: Array) -> Array:
        xp, down, _, w, logs = self._parts(x)
        return down.wide(log_mean_exp(xp, w, logs))

    def score(self, x: Array) -> Array:
        posterior = self.responsibilities(x)
        xp, down, (x, posterior) = boundary("Mixture", x=x, posterior=posterior)
        scores = self.components.score(x[..., None])
        # A component that cannot have drawn x has no say, however steep it is there.
        return down(xp.sum(weighed(xp, posterior, scores), axis=-1))

    def responsibilities(self, x: Array) -> Array:
        """Posterior probabilities P(k | x), shape x.shape + (K,)."""
        xp, down, x, w, logs = self._parts(x)
        # At 0 all densities of the half-line may be 0, or infinite; their ratios have limits there.
        if self.components.support == ">= 0":
            endless = (x == 0) & xp.isinf(log_mean_exp(xp, w, logs))
            if bool(xp.any(endless)):
                beside = xp.full_like(x, float(xp.finfo(x.dtype).smallest_normal))
                *_, logs = self._parts(xp.where(x == 0, beside, x))
        return down.wide(shares(xp, w, logs))

    def log_cdf(self, x: Array) -> Array:
        return self._tails(x)[0]

    def log_sf(self, x: Array) -> Array:
        return self._tails(x)[1]

    def icdf(self, p: Array) -> Array:
        return self._quantile("p", p)

    def isf(self, q: Array) -> Array:
        return self._quantile("q", q)

    def sample(self, shape: tuple[int, ...], rng: Rng) -> Array:
        xp, down, (w,) = boundary("Mixture", weights=self.weights)
        noise = source(rng, like=w)
        like = xp.zeros(shape, dtype=w.dtype, device=device(w))
        index = draw_index(xp, w, noise.uniform(like))
        picked = self.components.take(xp, index)
        _, _, values = boundary("Mixture", **picked.parameters)
        return still(self._drawn(down, picked.draw(xp, noise, like, *picked._merge(values))))

    def _tails(self, x: Array) -> tuple[Array, Array]:
        parts = {
            "lower": self.components.log_cdf(x[..., None]),
            "upper": self.components.log_sf(x[..., None]),
        }
        xp, down, (w, lower, upper) = boundary("Mixture", weights=self.weights, **parts)
        lower, upper = log_mean_exp(xp, w, lower), log_mean_exp(xp, w, upper)
        less = lower <= upper  # the larger one has more digits as a complement
        rest = log_complement(xp, xp.where(less, lower, upper))
        return down.wide(xp.where(less, lower, rest)), down.wide(xp.where(less, rest, upper))

    def _quantile(self, name: str, level: Array) -> Array:
        """Between the least and the largest quantile of the components, on a scale that suits them."""
        xp, down, (level, w) = boundary("Mixture", **{name: level}, weights=self.weights)
        require(xp, "Mixture", name, level, "in [0, 1]")
        invert = self.components.icdf if name == "p" else self.components.isf
        _, _, (w, parts) = boundary("Mixture", weights=w, parts=still(invert(level[..., None])))
        low = xp.min(xp.where(w > 0, parts, xp.inf), axis=-1)
        high = xp.max(xp.where(w > 0, parts, -xp.inf), axis=-1)
        logs = log_levels(xp, level + xp.zeros_like(low))
        log_p, log_q = logs if name == "p" else logs[::-1]
        apart = (low < high) & (low > -xp.inf) & (high < xp.inf)
        one, zero = xp.ones_like(low), xp.zeros_like(low)
        ends = xp.where(apart, low, one), xp.where(apart, high, 2.0 * one)
        point, log_slope = between(xp, *ends, positive=self.components.support != "finite")
        found = solve(
            xp,
            lambda u: self._tails(point(u)),
            lambda u: self.log_prob(point(u)) + log_slope(u),
            still(log_p),
            still(log_q),
            start=0.5 * one,
            low=zero,
            high=xp.where(apart, one, zero),
        )
        known = (log_p == -xp.inf) | (log_q == -xp.inf) | (low == -xp.inf) | (high == xp.inf)
        known = known | (low == 0) & (found < 1e-6)  # it underflows
        x = xp.where(apart, point(found), xp.where(known, one, low))
        half = xp.full_like(low, math.log(0.5))
        log_p, log_q = xp.where(known, half, log_p), xp.where(known, half, log_q)
        unit = still(x if self.components.support != "finite" else self.std + xp.zeros_like(x))
        x = on_level(xp, self._tails(x), self.log_prob(x), x, unit, log_p, log_q)
        return down(xp.where(known, low, x))

    def _parts(self, x: Array) -> tuple[Namespace, Any, Array, Array, Array]:
        xp, down, (x, w) = boundary("Mixture", x=x, weights=self.weights)
        return xp, down, x, w, self.components.log_prob(x[..., None])


@final
@dataclass(frozen=True, eq=False)
@checked
class Discrete(AbstractLaw):
    r"""A law on finitely many atoms: data sets, tilted measures, oracles by enumeration.

    .. math:: P(X = a_k) = w_k

    Arguments:
        atoms: Atoms, shape (K,) on the line or (K, d) in R^d.
        weights: Weights, shape (K,), with sum 1; uniform if left out.

    Raises:
        UnmetHypothesis: Weights are negative or do not sum to 1, or there is no atom.

    Claims: TWEEDIE-DRAW-1, TWEEDIE-MARGINAL-1

    Example:
        >>> float(Discrete([0.0, 1.0], [0.75, 0.25]).variance)
        0.1875
    """

    atoms: Array
    weights: Array = None

    def __post_init__(self) -> None:
        xp, down, (atoms,) = boundary("Discrete", atoms=self.atoms)
        down(self)  # remembers half precision
        if atoms.ndim not in (1, 2) or atoms.shape[0] == 0:
            raise UnmetHypothesis("Discrete", "atoms of shape (K,) or (K, d), K >= 1", f"shape {atoms.shape}")
        weights = self.weights
        if weights is None:
            count = atoms.shape[0]
            weights = xp.full((count,), 1.0 / count, dtype=atoms.dtype, device=device(atoms))
        _, _, (atoms, weights) = boundary("Discrete", atoms=atoms, weights=weights)
        check_weights(xp, "Discrete", weights)
        if weights.shape[0] != atoms.shape[0]:
            got = f"{atoms.shape[0]} atoms, {weights.shape[0]} weights"
            raise UnmetHypothesis("Discrete", "one weight an atom", got)
        object.__setattr__(self, "atoms", atoms)
        object.__setattr__(self, "weights", weights)

    @property
    def parameters(self) -> Mapping[str, Array]:
        return {"atoms": self.atoms, "weights": self.weights}

    @property
    def mean(self) -> Array:
        return self._expect(self.atoms)

    @property
    def variance(self) -> Array:
        return self._expect((self.atoms - self.mean) ** 2)

    @property
    def cov(self) -> Array:
        """Covariance matrix, shape (d, d), of a law on R^d."""
        centred = self.atoms - self.mean
        return (centred * self.weights[:, None]).T @ centred

    def log_prob(self, x: Array) -> Array:
        """Log-mass at ``x``: minus infinity beside the atoms."""
        xp, down, (x, atoms, w) = boundary("Discrete", x=x, atoms=self.atoms, weights=self.weights)
        on_line = atoms.ndim == 1
        hit = x[..., None] == atoms if on_line else xp.all(x[..., None, :] == atoms, axis=-1)
        return down.wide(log_sum_exp(xp, xp.where(hit, log_or_minus_infinity(xp, w), -xp.inf)))

    def score(self, x: Array) -> Array:
        raise UnmetHypothesis("Discrete.score", "the law has a density", "a law on finitely many atoms")

    def log_cdf(self, x: Array) -> Array:
        return self._log_mass("log_cdf", x, lambda atom, x: atom <= x)

    def log_sf(self, x: Array) -> Array:
        return self._log_mass("log_sf", x, lambda atom, x: atom > x)

    def icdf(self, p: Array) -> Array:
        return self._quantile("p", p)

    def isf(self, q: Array) -> Array:
        return self._quantile("q", q)

    def entropy(self) -> Array:
        xp, down, (w,) = boundary("Discrete", weights=self.weights)
        return down.wide(-xp.sum(xlogy(xp, w, w)))

    def sample(self, shape: tuple[int, ...], rng: Rng) -> Array:
        xp, down, (atoms, w) = boundary("Discrete", atoms=self.atoms, weights=self.weights)
        like = xp.zeros(shape, dtype=w.dtype, device=device(w))
        index = draw_index(xp, w, source(rng, like=w).uniform(like))
        picked = xp.take(atoms, xp.reshape(index, (-1,)), axis=0)
        return still(self._drawn(down, xp.reshape(picked, (*shape, *atoms.shape[1:]))))

    def _log_mass(self, method: str, x: Array, counts: Callable[[Array, Array], Array]) -> Array:
        xp, down, (x, atoms, w) = boundary("Discrete", x=x, atoms=self.atoms, weights=self.weights)
        self._require_line(method)
        here = counts(atoms, x[..., None])
        total = xp.sum(xp.where(here, w, xp.zeros_like(w)), axis=-1)
        # Beyond the last atom that has a weight it is 1, whatever the sum of the weights rounds to.
        every = xp.all(here | (w == 0), axis=-1)
        return down.wide(log_or_minus_infinity(xp, xp.where(every, xp.ones_like(total), total)))

    def _quantile(self, name: str, level: Array) -> Array:
        """The first atom, in their order, up to which there is enough: at the ends the first and last one with a weight."""
        xp, down, (level, atoms, w) = boundary(
            "Discrete", **{name: level}, atoms=self.atoms, weights=self.weights
        )
        self._require_line("icdf" if name == "p" else "isf")
        require(xp, "Discrete", name, level, "in [0, 1]")
        order = xp.argsort(atoms)
        atoms, w = xp.take(atoms, order), xp.take(w, order)
        if name == "p":
            enough = xp.cumulative_sum(w) >= level[..., None]
        else:  # what lies above each atom, summed from the far end
            above = xp.flip(xp.cumulative_sum(xp.flip(w))) - w
            enough = above <= level[..., None]
        within = enough & (w > 0)
        last = xp.max(xp.where(w > 0, atoms, -xp.inf))
        found = xp.min(xp.where(within, atoms, xp.inf), axis=-1)
        return down(xp.where(found < xp.inf, found, last))

    def _require_line(self, method: str) -> None:
        if self.atoms.ndim != 1:
            raise UnmetHypothesis(
                f"Discrete.{method}", "atoms of shape (K,)", f"shape {tuple(self.atoms.shape)}"
            )

    def _expect(self, values: Array) -> Array:
        xp, _, (values, w) = boundary("Discrete", values=values, weights=self.weights)
        return xp.sum(values * xp.reshape(w, (-1,) + (1,) * (values.ndim - 1)), axis=0)


def check_weights(xp: Namespace, subject: str, weights: Array) -> None:
    """Raise unless ``weights`` has shape (K,), is nonnegative and sums to 1."""
    if weights.ndim != 1 or weights.shape[0] == 0:
        raise UnmetHypothesis(subject, "weights of shape (K,), K >= 1", f"shape {tuple(weights.shape)}")
    require(xp, subject, "weights", weights, ">= 0")
    total = xp.sum(constant(weights))
    if not holds(xp.abs(total - 1.0) <= 64.0 * float(xp.finfo(weights.dtype).eps)):
        raise UnmetHypothesis(subject, "weights sum to 1", f"sum = {float(total)!r}")


def draw_index(xp: Namespace, weights: Array, uniform: Array) -> Array:
    """Index of the component in which each uniform draw falls, by inversion."""
    edges = xp.cumulative_sum(weights)
    index = xp.searchsorted(edges, xp.reshape(uniform, (-1,)), side="right")
    index = xp.minimum(index, xp.asarray(weights.shape[0] - 1, dtype=index.dtype, device=device(index)))
    return xp.reshape(index, tuple(uniform.shape))
