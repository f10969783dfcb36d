"""Laws on finitely many atoms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from array_api_compat import device

from driftproof._namespace import Array, UnmetHypothesis, boundary, checked, holds, require
from driftproof._random import Rng, source
from driftproof.theory.special.elementary import log_or_minus_infinity, log_sum_exp, xlogy
from driftproof.theory.special.quadrature import still

from .base import AbstractLaw, size
from .mixture import check_weights, draw_index

__all__ = ["Discrete"]


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
        if weights.ndim != 1:
            raise UnmetHypothesis("Discrete", "weights of shape (K,)", f"shape {tuple(weights.shape)}")
        check_weights(xp, "Discrete", weights)
        if weights.shape[0] != atoms.shape[0]:
            got = f"{atoms.shape[0]} atoms, {weights.shape[0]} weights"
            raise UnmetHypothesis("Discrete", "one weight an atom", got)
        self._keep(atoms=atoms, weights=weights)

    @property
    def parameters(self) -> Mapping[str, Array]:
        return self._as_given(atoms=self.atoms, weights=self.weights)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return ()

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.atoms.shape[1:])

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

    def log_prob(self, x: Array, strict: bool = False) -> Array:
        """Log-mass at ``x``: minus infinity beside the atoms, which ``strict`` refuses."""
        xp, down, (x, atoms, w) = boundary("Discrete", x=x, **self.parameters)
        on_line = atoms.ndim == 1
        if not on_line and x.shape[-1:] != atoms.shape[1:]:
            raise UnmetHypothesis("Discrete", f"x (..., {atoms.shape[1]})", f"x of shape {tuple(x.shape)}")
        hit = x[..., None] == atoms if on_line else xp.all(x[..., None, :] == atoms, axis=-1)
        if strict and not holds(xp.all(xp.any(hit & (w > 0), axis=-1))):
            raise UnmetHypothesis("Discrete.log_prob", "x is an atom", f"x of shape {tuple(x.shape)}")
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

    def sample(self, shape: int | tuple[int, ...], rng: Rng) -> Array:
        xp, down, (atoms, w) = boundary("Discrete", atoms=self.atoms, weights=self.weights)
        shape = size("Discrete", shape)
        like = xp.zeros(shape, dtype=w.dtype, device=device(w))
        index = draw_index(xp, w, source(rng, like=w).uniform(like))
        picked = xp.take(atoms, xp.reshape(index, (-1,)), axis=0)
        return still(self._drawn(down, xp.reshape(picked, (*shape, *atoms.shape[1:]))))

    def _log_mass(self, method: str, x: Array, counts: Callable[[Array, Array], Array]) -> Array:
        xp, down, (x, atoms, w) = boundary("Discrete", x=x, **self.parameters)
        self._require_line(method)
        here = counts(atoms, x[..., None])
        total = xp.sum(xp.where(here, w, xp.zeros_like(w)), axis=-1)
        # Beyond the last atom that has a weight it is 1, whatever the sum of the weights rounds to.
        every = xp.all(here | (w == 0), axis=-1)
        return down.wide(log_or_minus_infinity(xp, xp.where(every, xp.ones_like(total), total)))

    def _quantile(self, name: str, level: Array) -> Array:
        """The first atom, in their order, up to which there is enough: at the ends the first and last one with a weight."""
        xp, down, (level, atoms, w) = boundary("Discrete", **{name: level}, **self.parameters)
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
