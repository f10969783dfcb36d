"""What every law answers: mean, variance, log-density, score and draws."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from array_api_compat import is_array_api_obj, is_torch_array

from driftproof._checks import check_of
from driftproof._namespace import Array, Down, UnmetHypothesis, boundary, require
from driftproof._random import Rng
from driftproof._results import is_array
from driftproof.theory.special.elementary import sqrt_or_zero

__all__ = ["AbstractLaw", "remembering", "size", "unknown", "widened"]

_INTEGER: Any = check_of(int)

LawT = TypeVar("LawT", bound="AbstractLaw")


class AbstractLaw(ABC):
    """A probability law on the real line or on R^d.

    ``sample(shape, rng)`` has shape ``shape`` + ``batch_shape`` + ``event_shape``, as in torch.distributions; an
    integer is a shape too, as in scipy.stats.  Laws are equal by value: of one family, with parameters of the same
    shapes and numbers.  They have no hash, since arrays may change.

    Quantiles are called ``icdf`` as in torch: it is the ``ppf`` of scipy.stats, as ``log_prob`` is its ``logpdf``.  The
    logarithms of both tails have no other limit than the dtype.  Draws of ``rsample`` have derivatives in the
    parameters: of normal laws along the path, of gamma and chi-square laws along the level, an implicit
    reparametrisation.

    Half precision is computed in float32.  Draws and scores follow the caller; log-densities, means and variances
    stay float32.  A law that a process or a theorem makes keeps its parameters in float32 and remembers the dtype
    that it draws in.
    """

    _half: Any = None  # of draws, where it is not the dtype of the parameters
    _lists: frozenset[str] = frozenset()  # parameters that came as lists, beside no array

    def remember(self, dtype: Any) -> Self:
        """The same law, which draws in this half precision."""
        object.__setattr__(self, "_half", dtype)
        return self

    def _drawn(self, down: Down, draws: Array) -> Array:
        return down(draws) if self._half is None else down.xp.astype(draws, self._half)

    def _keep(self, **arrays: Array) -> None:
        """Parameters as the arrays that they were brought to; lists beside no array are noted."""
        if arrays and not any(is_array(value) for value in self.parameters.values()):
            object.__setattr__(self, "_lists", frozenset(arrays))
        for name, value in arrays.items():
            object.__setattr__(self, name, value)

    def _as_given(self, **arrays: Array) -> dict[str, Array]:
        """Parameters for a boundary: lists again, where they came so, which follow the arrays beside them."""
        return {name: v.tolist() if name in self._lists else v for name, v in arrays.items()}

    def beside(self, **arrays: Array) -> Self:
        """The law with what came as lists in the namespace, dtype and device of these arrays."""
        made = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        laws = {name: v.beside(**arrays) for name, v in made.items() if isinstance(v, AbstractLaw)}
        if not self._lists and all(made[name] is law for name, law in laws.items()):
            return self
        _, _, values = boundary(type(self).__name__, **arrays, **self.parameters)
        moved = dict(zip((*arrays, *self.parameters), values, strict=True))
        made = {name: moved[name] if name in self._lists else v for name, v in made.items()}
        return type(self)(**{**made, **laws}).remember(self._half)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))  # type: ignore[arg-type]
        return all(_equal(ours, theirs) for ours, theirs in pairs)

    __hash__ = None  # type: ignore[assignment]  # what has no hash says so like this

    @property
    @abstractmethod
    def parameters(self) -> Mapping[str, Array]:
        """The parameters of the law by name, which carry its namespace, dtype and device.

        A law that is made of lists alone keeps them as lists, which follow the arrays that they meet.
        """

    @property
    @abstractmethod
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of the laws that the parameters make together: () of a single one."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one draw: () on the line, (d,) on R^d."""
        return ()

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

    @property
    def has_rsample(self) -> bool:
        """Whether draws have derivatives in the parameters (:meth:`rsample`)."""
        return False

    @abstractmethod
    def log_prob(self, x: Array, strict: bool = False) -> Array:
        """Logarithm of the density (or of the mass) at ``x``: minus infinity outside of the support.

        With ``strict`` a point outside of the support is refused, as a parameter outside of its domain always is.
        """

    @abstractmethod
    def score(self, x: Array) -> Array:
        """Gradient in ``x`` of the log-density, of points in the support."""

    @abstractmethod
    def sample(self, shape: int | tuple[int, ...], rng: Rng) -> Array:
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

    def rsample(self, shape: int | tuple[int, ...], rng: Rng) -> Array:
        """Draws with derivatives in the parameters; those of :meth:`sample` have none."""
        raise self._unknown("rsample", "draws have derivatives in the parameters")

    def _unknown(self, method: str, hypothesis: str) -> UnmetHypothesis:
        return unknown(type(self), method, hypothesis)


def unknown(law: type, method: str, hypothesis: str) -> UnmetHypothesis:
    """The error for what a family of laws does not have."""
    return UnmetHypothesis(f"{law.__name__}.{method}", hypothesis, f"not for {law.__name__} laws")


def size(subject: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    """The shape of draws, of which an integer is one axis, as numpy and scipy take it.

    Example:
        >>> size("example", 3), size("example", (2, 3)), size("example", ())
        ((3,), (2, 3), ())
    """
    axes = shape if isinstance(shape, Sequence) and not isinstance(shape, str | bytes) else (shape,)
    lengths = tuple(_INTEGER(subject, "shape", length) for length in axes)
    if any(length < 0 for length in lengths):
        raise UnmetHypothesis(subject, "shape >= 0", f"shape = {shape!r}")
    return lengths


def _equal(ours: Any, theirs: Any) -> bool:
    """Whether two parameters are the same law, or of one shape with the same numbers, whatever holds these."""
    if isinstance(ours, AbstractLaw) or isinstance(theirs, AbstractLaw):
        return bool(ours == theirs)
    return np.array_equal(_numbers(ours), _numbers(theirs))


def _numbers(value: Any) -> Any:
    return np.asarray(value.detach().cpu().double() if is_torch_array(value) else value)


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
        data_law = data_law.beside(t=t) if is_array(t) else data_law
        half = down.like(data_law).half
        return (
            method(self, data_law, t) if half is None else method(self, widened(data_law), t).remember(half)
        )

    return call
