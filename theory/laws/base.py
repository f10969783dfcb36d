"""What every law answers: mean, variance, log-density, score and draws."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from array_api_compat import device, is_array_api_obj

from driftproof._blocks import elementwise
from driftproof._namespace import (
    Array,
    Down,
    Namespace,
    UnmetHypothesis,
    boundary,
    explain,
    require,
    require_broadcastable,
)
from driftproof._random import Rng, Source, source
from driftproof.theory.special.elementary import sqrt_or_zero
from driftproof.theory.special.quadrature import still

from .tails import log_levels, on_level

__all__ = ["AbstractLaw", "ElementwiseLaw", "remembering", "widened"]

LawT = TypeVar("LawT", bound="AbstractLaw")


class AbstractLaw(ABC):
    """A probability law on the real line or on R^d.

    ``sample(shape, rng)`` has shape ``shape`` + batch shape of the parameters (+ ``(d,)`` for a law
    on R^d), as in torch.distributions.

    Quantiles are called ``icdf`` as there.  The logarithms of both tails have no other limit than the dtype; draws of
    ``rsample`` have derivatives in the parameters: of normal laws along the path, of gamma and chi-square laws along the
    level, an implicit reparametrisation.

    Half precision is computed in float32.  Draws and scores follow the caller; log-densities, means and variances
    stay float32.  A law that a process or a theorem makes keeps its parameters in float32 and remembers the dtype
    that it draws in.
    """

    _half: Any = None  # of draws, where it is not the dtype of the parameters

    def remember(self, dtype: Any) -> Self:
        """The same law, which draws in this half precision."""
        object.__setattr__(self, "_half", dtype)
        return self

    def _drawn(self, down: Down, draws: Array) -> Array:
        return down(draws) if self._half is None else down.xp.astype(draws, self._half)

    @property
    @abstractmethod
    def parameters(self) -> Mapping[str, Array]:
        """What defines the law, by name; it carries the namespace, dtype and device."""

    if TYPE_CHECKING:  # a parameter of some laws, so that it can't be a property here

        @property
        def mean(self) -> Array:
            """Expectation."""

    @property
    @abstractmethod
    def variance(self) -> Array:
        """Variance, coordinate by coordinate."""

    @property
    def std(self) -> Array:
        """Standard deviation, coordinate by coordinate."""
        xp, down, (variance,) = boundary(type(self).__name__, variance=self.variance)
        return down.wide(sqrt_or_zero(xp, variance))

    @abstractmethod
    def log_prob(self, x: Array) -> Array:
        """Logarithm of the density (or of the mass) at ``x``."""

    @abstractmethod
    def score(self, x: Array) -> Array:
        """Gradient in ``x`` of the log-density."""

    @abstractmethod
    def sample(self, shape: tuple[int, ...], rng: Rng) -> Array:
        """Draws; ``rng`` is a numpy or torch generator or an integer seed."""

    def log_cdf(self, x: Array) -> Array:
        """Logarithm of P(X <= x), at any x."""
        raise self._unknown("log_cdf", "the distribution function is known")

    def log_sf(self, x: Array) -> Array:
        """Logarithm of P(X > x), at any x."""
        raise self._unknown("log_sf", "the distribution function is known")

    def cdf(self, x: Array) -> Array:
        """P(X <= x)."""
        xp, down, (log,) = boundary(type(self).__name__, log=self.log_cdf(x))
        return down.wide(xp.exp(log))

    def sf(self, x: Array) -> Array:
        """P(X > x), the survival function."""
        xp, down, (log,) = boundary(type(self).__name__, log=self.log_sf(x))
        return down.wide(xp.exp(log))

    def icdf(self, p: Array) -> Array:
        """The quantile: the least x with P(X <= x) >= p, for p in [0, 1].  It differentiates once."""
        raise self._unknown("icdf", "quantiles are known")

    def isf(self, q: Array) -> Array:
        """The least x with P(X > x) <= q: for small q, where icdf(1 - q) has no digits left."""
        raise self._unknown("isf", "quantiles are known")

    def interval(self, level: Array) -> tuple[Array, Array]:
        """The interval of that probability, in (0, 1), with as much of it on either side."""
        xp, _, (level, *_) = boundary(type(self).__name__, level=level, **self.parameters)
        require(xp, type(self).__name__, "level", level, "in (0, 1)")
        outside = 0.5 * (1.0 - level)
        return self.icdf(outside), self.isf(outside)

    def entropy(self) -> Array:
        """Expectation of minus the log-density (or of minus the logarithm of the mass), in nats."""
        raise self._unknown("entropy", "a closed form is known")

    def rsample(self, shape: tuple[int, ...], rng: Rng) -> Array:
        """Draws with derivatives in the parameters; those of :meth:`sample` have none."""
        raise self._unknown("rsample", "draws have derivatives in the parameters")

    def _unknown(self, method: str, hypothesis: str) -> UnmetHypothesis:
        return unknown(type(self), method, hypothesis)


def unknown(law: type, method: str, hypothesis: str) -> UnmetHypothesis:
    """The error for what a family of laws does not have."""
    return UnmetHypothesis(f"{law.__name__}.{method}", hypothesis, f"not for {law.__name__} laws")


class ElementwiseLaw(AbstractLaw):
    """A law of one real variable whose parameters are scalars or arrays.

    A family states its mathematics in four kernels, pure functions of the parameters, that compiled
    code may call directly: ``log_density``, ``score_function``, ``moments`` and ``draw``.
    """

    support: ClassVar[str] = "finite"

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
        return {
            name: value
            for name, value in self._fields().items()
            if not (name in self.static and isinstance(value, int | float))
        }

    @property
    def mean(self) -> Array:
        return self._evaluate(lambda xp, *p: self.moments(xp, *p)[0])

    @property
    def variance(self) -> Array:
        return self._evaluate(lambda xp, *p: self.moments(xp, *p)[1])

    def log_prob(self, x: Array) -> Array:
        return self._evaluate(self.log_density, x)

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

    def sample(self, shape: tuple[int, ...], rng: Rng) -> Array:
        return still(self._drawn_with(shape, rng, lambda xp, draws, *p: draws))

    def rsample(self, shape: tuple[int, ...], rng: Rng) -> Array:
        def kernel(xp: Namespace, draws: Array, *parameters: Any) -> Array:
            if self.pathwise:
                return draws
            x = still(draws)
            tails = self.log_tails(xp, x, *parameters)
            unit = xp.abs(x)  # of laws on the half-line, which are those whose draws have no path
            return on_level(xp, tails, self.log_density(xp, x, *parameters), x, unit, *map(still, tails))

        return self._drawn_with(shape, rng, kernel)

    def _drawn_with(self, shape: tuple[int, ...], rng: Rng, then: Callable[..., Array]) -> Array:
        arrays = self.parameters
        xp, down, values = boundary(type(self).__name__, **arrays)
        noise = source(rng)
        xp, values = noise.adopt(xp, values)
        batch = tuple(xp.broadcast_arrays(*values)[0].shape)
        like = xp.zeros((*shape, *batch), dtype=values[0].dtype, device=device(values[0]))
        parameters = self._merge(values)
        return self._drawn(down, then(xp, self.draw(xp, noise, like, *parameters), *parameters))

    def take(self, xp: Namespace, index: Array) -> Self:
        """The law whose parameters are picked by ``index`` on their last axis: components of a mixture."""
        arrays = self.parameters
        _, _, values = boundary(type(self).__name__, **arrays)
        picked = {key: _pick(xp, value, index) for key, value in zip(arrays, values, strict=True)}
        return type(self)(**{name: picked.get(name, value) for name, value in self._fields().items()})

    def _fields(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def _merge(self, values: tuple[Array, ...]) -> list[Any]:
        known = dict(zip(self.parameters, values, strict=True))
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
        xp, down, values = boundary(name, **given, **self.parameters)
        if points:
            require(xp, name, point, values[0], self.support if domain is None else domain)
        try:
            result = elementwise(kernel)(xp, *values[: len(points)], *self._merge(values[len(points) :]))
        except (ValueError, RuntimeError) as error:
            explain(name, dict(zip((*given, *self.parameters), values, strict=True)), error)
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
            if isinstance(values[key], Sequence):
                object.__setattr__(self, key, value)


def widened(law: LawT) -> LawT:
    """The law with parameters of at least float32."""
    made = {}
    for field in fields(law):  # type: ignore[arg-type]  # laws are dataclasses
        value = getattr(law, field.name)
        if isinstance(value, AbstractLaw):
            value = widened(value)
        elif is_array_api_obj(value):
            _, _, (value,) = boundary(type(law).__name__, value=value)
        made[field.name] = value
    return type(law)(**made)


def remembering(method: Callable[..., LawT]) -> Callable[..., LawT]:
    """For ``method(process, data_law, t)``: computed in at least float32, the law draws in what the caller had."""

    @functools.wraps(method)
    def call(self: Any, data_law: Any, t: Any) -> LawT:
        if not isinstance(data_law, AbstractLaw):
            return method(self, data_law, t)
        _, down, _ = boundary(type(self).__name__, t=t, **data_law.parameters)
        half = down.like(data_law).half
        return (
            method(self, data_law, t) if half is None else method(self, widened(data_law), t).remember(half)
        )

    return call


def _pick(xp: Namespace, parameter: Array, index: Array) -> Array:
    if parameter.ndim == 0:
        return parameter
    if parameter.ndim == 1:
        flat = xp.take(parameter, xp.reshape(index, (-1,)), axis=0)
        return xp.reshape(flat, tuple(index.shape))
    kinds = xp.arange(parameter.shape[-1], dtype=index.dtype, device=device(index))
    chosen = xp.astype(index[..., None] == kinds, parameter.dtype)
    return xp.sum(chosen * parameter, axis=-1)
