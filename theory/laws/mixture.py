r"""Finite mixtures of an elementwise law."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked, holds, require
from driftproof._random import Rng, source
from driftproof.theory.special.elementary import (
    log_complement,
    log_mean_exp,
    shares,
    weighed,
)
from driftproof.theory.special.quadrature import still

from .base import AbstractLaw, size
from .elementwise import ElementwiseLaw
from .matrices import constant
from .tails import between, log_levels, on_level, solve

__all__ = ["Mixture", "check_weights", "draw_index", "require_rows"]


@final
@dataclass(frozen=True, eq=False)
@checked
class Mixture(AbstractLaw):
    r"""A finite mixture of one elementwise family.

    .. math:: p(x) = \sum_k w_k\, p_k(x), \qquad
        s(x) = \sum_k P(k \mid x)\, s_k(x), \quad P(k \mid x) \propto w_k\, p_k(x)

    Arguments:
        weights: Weights :math:`w_k \ge 0`, shape (K,), with sum 1; or (..., K), a mixture for each row.
        components: A law whose parameters carry the K components on their last axis, rows before it.

    Raises:
        UnmetHypothesis: The weights are negative or do not sum to 1.

    Claims: TWEEDIE-DRAW-1, TWEEDIE-MARGINAL-1, SPECIAL-LAWS-1, SPECIAL-LAWS-2

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
        require_rows("Mixture", weights=tuple(weights.shape), components=self.components.batch_shape)
        if self.components.batch_shape[-1:] not in ((), (1,), tuple(weights.shape[-1:])):
            got = f"weights {tuple(weights.shape)}, components {self.components.batch_shape}"
            raise UnmetHypothesis("Mixture", "as many weights as components on the last axis", got)
        self._keep(weights=weights)

    @property
    def parameters(self) -> Mapping[str, Array]:
        return {**self._as_given(weights=self.weights), **self.components.parameters}

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(tuple(self.weights.shape), self.components.batch_shape)[:-1]

    @property
    def mean(self) -> Array:
        xp, down, (w, mean) = boundary("Mixture", weights=self.weights, mean=self.components.mean)
        return down.wide(xp.sum(w * mean, axis=-1))

    @property
    def variance(self) -> Array:
        parts = {"mean": self.components.mean, "variance": self.components.variance}
        xp, down, (w, mean, variance) = boundary("Mixture", **self._as_given(weights=self.weights), **parts)
        center = xp.sum(w * mean, axis=-1)[..., None]
        gap = xp.where(xp.isinf(mean), xp.inf, mean - center)  # an infinite mean leaves no difference
        spread = variance + gap * gap
        return down.wide(xp.sum(weighed(xp, w, spread), axis=-1))

    def log_prob(self, x: Array, strict: bool = False) -> Array:
        xp, down, _, w, logs = self._parts(x, strict)
        return down.wide(log_mean_exp(xp, w, logs))

    def score(self, x: Array) -> Array:
        posterior = self.responsibilities(x)
        xp, down, (x, posterior, *_) = boundary("Mixture", x=x, posterior=posterior, **self.parameters)
        scores = self.components.score(x[..., None])
        # A component that cannot have drawn x has no say, however steep it is there.
        return down(xp.sum(weighed(xp, posterior, scores), axis=-1))

    def responsibilities(self, x: Array) -> Array:
        """Posterior probabilities P(k | x) of points in the support, shape x.shape + (K,)."""
        xp, down, x, w, logs = self._parts(x, strict=True)
        # At 0 all densities of the half-line may be 0, or infinite; their ratios have limits there.
        if self.components.support == ">= 0":
            endless = (x == 0) & xp.isinf(log_mean_exp(xp, w, logs))
            if holds(xp.any(endless)):
                beside = xp.full_like(x, float(xp.finfo(x.dtype).smallest_normal))
                *_, logs = self._parts(xp.where(x == 0, beside, x), strict=True)
        return down.wide(shares(xp, w, logs))

    def log_cdf(self, x: Array) -> Array:
        return self._tails(x)[0]

    def log_sf(self, x: Array) -> Array:
        return self._tails(x)[1]

    def icdf(self, p: Array) -> Array:
        return self._quantile("p", p)

    def isf(self, q: Array) -> Array:
        return self._quantile("q", q)

    def sample(self, shape: int | tuple[int, ...], rng: Rng) -> Array:
        xp, down, (w, *_) = boundary("Mixture", **self.parameters)
        noise, batch = source(rng, like=w), self.batch_shape
        like = xp.zeros((*size("Mixture", shape), *batch), dtype=w.dtype, device=device(w))
        index = draw_index(xp, w, noise.uniform(like))
        picked = self.components.beside(w=w).take(xp, index, batch, w.shape[-1])
        arrays = picked.parameters
        _, _, values = boundary("Mixture", **arrays)
        return still(self._drawn(down, picked.draw(xp, noise, like, *picked._merge(arrays, values))))

    def _tails(self, x: Array) -> tuple[Array, Array]:
        _, _, (x, *_) = boundary("Mixture", x=x, **self.parameters)
        parts = {
            "lower": self.components.log_cdf(x[..., None]),
            "upper": self.components.log_sf(x[..., None]),
        }
        xp, down, (w, lower, upper) = boundary("Mixture", **self._as_given(weights=self.weights), **parts)
        lower, upper = log_mean_exp(xp, w, lower), log_mean_exp(xp, w, upper)
        less = lower <= upper  # the larger one has more digits as a complement
        rest = log_complement(xp, xp.where(less, lower, upper))
        return down.wide(xp.where(less, lower, rest)), down.wide(xp.where(less, rest, upper))

    def _quantile(self, name: str, level: Array) -> Array:
        """Between the least and the largest quantile of the components, on a scale that suits them."""
        xp, down, (level, w, *_) = boundary("Mixture", **{name: level}, **self.parameters)
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
        found = solve(  # without derivatives, which on_level brings: those of a bracket may be no numbers
            xp,
            lambda u: self._tails(point(u)),
            lambda u: self.log_prob(point(u)) + log_slope(u),
            still(log_p),
            still(log_q),
            start=0.5 * one,
            low=zero,
            high=xp.where(apart, one, zero),
        )
        found = still(found)
        known = (log_p == -xp.inf) | (log_q == -xp.inf) | (low == -xp.inf) | (high == xp.inf)
        known = known | (low == 0) & (found < 1e-6)  # it underflows
        x = xp.where(apart, point(found), xp.where(known, one, low))
        half = xp.full_like(low, math.log(0.5))
        log_p, log_q = xp.where(known, half, log_p), xp.where(known, half, log_q)
        unit = still(x if self.components.support != "finite" else self.std + xp.zeros_like(x))
        x = on_level(xp, self._tails(x), self.log_prob(x), x, unit, log_p, log_q)
        return down(xp.where(known, low, x))

    def _parts(self, x: Array, strict: bool) -> tuple[Namespace, Any, Array, Array, Array]:
        xp, down, (x, w, *_) = boundary("Mixture", x=x, **self.parameters)
        return xp, down, x, w, self.components.log_prob(x[..., None], strict)


def require_rows(subject: str, **shapes: tuple[int, ...]) -> None:
    """Raise unless the shapes of batches can be broadcast together."""
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UnmetHypothesis(subject, "rows that fit together", got) from None


def check_weights(xp: Namespace, subject: str, weights: Array) -> None:
    """Raise unless ``weights`` has shape (..., K), is nonnegative and sums to 1 over its last axis."""
    if weights.ndim == 0 or 0 in weights.shape:
        raise UnmetHypothesis(subject, "weights of shape (..., K), K >= 1", f"shape {tuple(weights.shape)}")
    require(xp, subject, "weights", weights, ">= 0")
    away = xp.abs(xp.sum(constant(weights), axis=-1) - 1.0)
    if not holds(xp.all(away <= 64.0 * float(xp.finfo(weights.dtype).eps))):
        totals = xp.reshape(xp.sum(constant(weights), axis=-1), (-1,))
        worst = float(totals[int(xp.argmax(xp.reshape(away, (-1,))))])
        raise UnmetHypothesis(subject, "weights sum to 1", f"sum = {worst!r}")


def draw_index(xp: Namespace, weights: Array, uniform: Array) -> Array:
    """Index of the component in which each uniform draw falls, by inversion; weights (*batch, K), draws (..., *batch)."""
    edges = xp.cumulative_sum(weights, axis=-1)
    if weights.ndim == 1:
        index = xp.searchsorted(edges, xp.reshape(uniform, (-1,)), side="right")
    else:
        index = xp.reshape(xp.sum(xp.astype(edges <= uniform[..., None], xp.int64), axis=-1), (-1,))
    index = xp.minimum(index, xp.asarray(weights.shape[-1] - 1, dtype=index.dtype, device=device(index)))
    return xp.reshape(index, tuple(uniform.shape))
