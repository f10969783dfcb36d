"""Laws of one real variable: a family states its mathematics in kernels, pure functions of the parameters."""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np
from array_api_compat import device

from driftproof._blocks import elementwise
from driftproof._checks import inside
from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    boundary,
    explain,
    holds,
    require,
    require_broadcastable,
)
from driftproof._random import Rng, Source, source
from driftproof._tracing import settled
from driftproof.theory.special.quadrature import still

from .base import AbstractLaw, size, unknown
from .tails import log_levels, on_level

__all__ = ["ElementwiseLaw", "rows_at"]


class ElementwiseLaw(AbstractLaw):
    """A law of one real variable whose parameters are scalars or arrays.

    A family states its mathematics in four kernels, pure functions of the parameters, that compiled
    code may call directly: ``log_density``, ``score_function``, ``moments`` and ``draw``.
    """

    support: ClassVar[str] = "finite"
    integers: ClassVar[bool] = False  # whether only these of the support are drawn

    @staticmethod
    @abstractmethod
    def log_density(xp: Namespace, x: Array, *parameters: Any) -> Array:
        """Log-density at ``x``."""

    @staticmethod
    @abstractmethod
    def score_function(xp: Namespace, x: Array, *parameters: Any) -> Array:
        """Derivative in ``x`` of the log-density."""

    @staticmethod
    @abstractmethod
    def moments(xp: Namespace, *parameters: Any) -> tuple[Array, Array]:
        """Mean and variance."""

    @staticmethod
    @abstractmethod
    def draw(xp: Namespace, noise: Source, like: Array, *parameters: Any) -> Array:
        """One draw for every element of ``like``."""

    # -- kernels of families that have them

    pathwise: ClassVar[bool] = False  # whether a draw has derivatives in the parameters

    @classmethod
    def log_tails(cls, xp: Namespace, x: Array, *parameters: Any) -> tuple[Array, Array]:
        """Logarithms of P(X <= x) and P(X > x), at any x: the smaller one in all of its digits."""
        raise unknown(cls, "log_cdf", "the distribution function is known")

    @classmethod
    def quantile(cls, xp: Namespace, log_p: Array, log_q: Array, *parameters: Any) -> Array:
        """The point with these tails."""
        raise unknown(cls, "icdf", "quantiles are known")

    @classmethod
    def entropy_function(cls, xp: Namespace, *parameters: Any) -> Array:
        """Entropy in nats."""
        raise unknown(cls, "entropy", "a closed form is known")

    # What stays a Python number when it comes as one: it selects an algorithm, not a value.
    static: ClassVar[frozenset[str]] = frozenset()

    @property
    def parameters(self) -> Mapping[str, Array]:
        values = {
            name: value
            for name, value in self._fields().items()
            if not (name in self.static and isinstance(value, int | float))
        }
        return self._as_given(**values)

    @property
    def mean(self) -> Array:
        return self._evaluate(lambda xp, *p: self.moments(xp, *p)[0])

    @property
    def variance(self) -> Array:
        return self._evaluate(lambda xp, *p: self.moments(xp, *p)[1])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(*(np.shape(value) for value in self._fields().values()))

    @property
    def has_rsample(self) -> bool:
        return self.pathwise or ("log_tails" in vars(type(self)) and not self.integers)

    def log_prob(self, x: Array, strict: bool = False) -> Array:
        if strict:
            return self._evaluate(self._density_in_support, x)
        return self._evaluate(self._density_anywhere, x, domain="in [-inf, inf]")

    def score(self, x: Array) -> Array:
        return self._evaluate(self.score_function, x, wide=False)

    def log_cdf(self, x: Array) -> Array:
        return self._evaluate(lambda xp, x, *p: self.log_tails(xp, x, *p)[0], x, domain="in [-inf, inf]")

    def log_sf(self, x: Array) -> Array:
        return self._evaluate(lambda xp, x, *p: self.log_tails(xp, x, *p)[1], x, domain="in [-inf, inf]")

    def icdf(self, p: Array) -> Array:
        def kernel(xp: Namespace, p: Array, *parameters: Any) -> Array:
            return self.quantile(xp, *log_levels(xp, p), *parameters)

        return self._evaluate(kernel, p, wide=False, domain="in [0, 1]", point="p")

    def isf(self, q: Array) -> Array:
        def kernel(xp: Namespace, q: Array, *parameters: Any) -> Array:
            log_q, log_p = log_levels(xp, q)
            return self.quantile(xp, log_p, log_q, *parameters)

        return self._evaluate(kernel, q, wide=False, domain="in [0, 1]", point="q")

    def entropy(self) -> Array:
        return self._evaluate(self.entropy_function)

    def sample(self, shape: int | tuple[int, ...], rng: Rng) -> Array:
        return still(self._drawn_with(shape, rng, lambda xp, draws, *p: draws))

    def rsample(self, shape: int | tuple[int, ...], rng: Rng) -> Array:
        if not self.has_rsample:
            raise unknown(type(self), "rsample", "draws have derivatives in the parameters")

        def kernel(xp: Namespace, draws: Array, *parameters: Any) -> Array:
            if self.pathwise:
                return draws
            x = still(draws)
            tails = self.log_tails(xp, x, *parameters)
            unit = xp.abs(x)  # of laws on the half-line, which are those whose draws have no path
            return on_level(xp, tails, self.log_density(xp, x, *parameters), x, unit, *map(still, tails))

        return self._drawn_with(shape, rng, kernel)

    def _density_in_support(self, xp: Namespace, x: Array, *parameters: Any) -> Array:
        if self.integers and not holds(xp.all(x == xp.floor(x))):
            raise UnmetHypothesis(type(self).__name__, "x is an integer", f"x of shape {tuple(x.shape)}")
        return self.log_density(xp, x, *parameters)

    def _density_anywhere(self, xp: Namespace, x: Array, *parameters: Any) -> Array:
        good = inside(x, self.support) & (xp.abs(x) < xp.inf)
        if settled(xp.all(good)):
            return self.log_density(xp, x, *parameters)
        # Elsewhere the density is asked at a point that is likely: its derivatives are numbers, times 0.
        likely = still(self.moments(xp, *parameters)[0])
        likely = xp.where(inside(likely, self.support) & (xp.abs(likely) < xp.inf), likely, 1.0)
        return xp.where(good, self.log_density(xp, xp.where(good, x, likely), *parameters), -xp.inf)

    def _drawn_with(self, shape: int | tuple[int, ...], rng: Rng, then: Callable[..., Array]) -> Array:
        arrays = self.parameters
        xp, down, values = boundary(type(self).__name__, **arrays)
        noise = source(rng)
        xp, values = noise.adopt(xp, values)
        batch = tuple(xp.broadcast_arrays(*values)[0].shape)
        like = xp.zeros(
            (*size(type(self).__name__, shape), *batch), dtype=values[0].dtype, device=device(values[0])
        )
        parameters = self._merge(arrays, values)
        return self._drawn(down, then(xp, self.draw(xp, noise, like, *parameters), *parameters))

    def take(self, xp: Namespace, index: Array, batch: tuple[int, ...], count: int) -> Self:
        """The laws picked by ``index`` (..., *batch) among ``count`` on the last axis: components of a mixture."""
        arrays = self.parameters
        _, _, values = boundary(type(self).__name__, **arrays)
        picked = {
            key: value
            if value.ndim == 0
            else rows_at(xp, xp.broadcast_to(value, (*value.shape[:-1], count)), index, batch)
            for key, value in zip(arrays, values, strict=True)
        }
        return type(self)(**{name: picked.get(name, value) for name, value in self._fields().items()})

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _names(type(self))}

    def _merge(self, names: Iterable[str], values: Iterable[Array]) -> list[Any]:
        """All fields in their order, those of ``names`` as the arrays that they were brought to."""
        known = dict(zip(names, values, strict=True))
        return [known.get(name, value) for name, value in self._fields().items()]

    def _evaluate(
        self,
        kernel: Callable[..., Array],
        *points: Array,
        wide: bool = True,
        domain: str | None = None,
        point: str = "x",
    ) -> Array:
        name = type(self).__name__
        given = {point: points[0]} if points else {}
        arrays = self.parameters
        xp, down, values = boundary(name, **given, **arrays)
        if points:
            require(xp, name, point, values[0], self.support if domain is None else domain)
        try:
            parameters = self._merge(arrays, values[len(points) :])
            result = elementwise(kernel)(xp, *values[: len(points)], *parameters)
        except (ValueError, RuntimeError) as error:
            explain(name, dict(zip((*given, *arrays), values, strict=True)), error)
            raise
        return down.wide(result) if wide else down(result)

    def _require(self, **domains: str) -> None:
        """Raise unless every parameter lies in its domain (finite where none is given)."""
        name = type(self).__name__
        values = self._fields()
        xp, _, arrays = boundary(name, **values)
        require_broadcastable(name, **dict(zip(values, arrays, strict=True)))
        for key, value in zip(values, arrays, strict=True):
            require(xp, name, key, value, domains.get(key, "finite"))
            require(xp, name, key, value, "finite")
        lists = {key for key in values if isinstance(values[key], Sequence)}
        self._keep(**{key: value for key, value in zip(values, arrays, strict=True) if key in lists})


@functools.cache
def _names(law: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(law))


def rows_at(xp: Namespace, values: Array, index: Array, batch: tuple[int, ...], axes: int = 0) -> Array:
    """Of values (*batch, K, ...), with ``axes`` axes behind K, those of ``index`` (..., *batch); unbatched ones serve all."""
    cut = values.ndim - axes
    rest = tuple(values.shape[cut:])
    if cut > 1:
        count = values.shape[cut - 1]
        values = xp.reshape(xp.broadcast_to(values, (*batch, count, *rest)), (-1, *rest))
        starts = count * xp.arange(math.prod(batch), dtype=index.dtype, device=device(index))
        index = index + xp.reshape(starts, batch)
    picked = xp.take(values, xp.reshape(index, (-1,)), axis=0)
    return xp.reshape(picked, (*index.shape, *rest))
