"""What every law answers: mean, variance, log-density, score and draws."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from array_api_compat import device, is_array_api_obj

from driftproof._blocks import elementwise
from driftproof._namespace import Array, Down, Namespace, boundary, explain, require, require_broadcastable
from driftproof._random import Rng, Source, source

__all__ = ["AbstractLaw", "ElementwiseLaw", "remembering", "widened"]

LawT = TypeVar("LawT", bound="AbstractLaw")


class AbstractLaw(ABC):
    """A probability law on the real line or on R^d.

    ``sample(shape, rng)`` has shape ``shape`` + batch shape of the parameters (+ ``(d,)`` for a law
    on R^d), as in torch.distributions.

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

    @abstractmethod
    def log_prob(self, x: Array) -> Array:
        """Logarithm of the density (or of the mass) at ``x``."""

    @abstractmethod
    def score(self, x: Array) -> Array:
        """Gradient in ``x`` of the log-density."""

    @abstractmethod
    def sample(self, shape: tuple[int, ...], rng: Rng) -> Array:
        """Draws; ``rng`` is a numpy or torch generator or an integer seed."""


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

    def sample(self, shape: tuple[int, ...], rng: Rng) -> Array:
        arrays = self.parameters
        xp, down, values = boundary(type(self).__name__, **arrays)
        noise = source(rng)
        xp, values = noise.adopt(xp, values)
        batch = tuple(xp.broadcast_arrays(*values)[0].shape)
        like = xp.zeros((*shape, *batch), dtype=values[0].dtype, device=device(values[0]))
        return self._drawn(down, self.draw(xp, noise, like, *self._merge(values)))

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

    def _evaluate(self, kernel: Callable[..., Array], *points: Array, wide: bool = True) -> Array:
        name = type(self).__name__
        given = {"x": points[0]} if points else {}
        xp, down, values = boundary(name, **given, **self.parameters)
        if points:
            require(xp, name, "x", values[0], self.support)
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
