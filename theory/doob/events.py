r"""Events on which data are conditioned, and their probabilities under normal laws, in logarithms.

.. math:: \log P(X \in A), \qquad \nabla_M \log P(X \in A), \qquad X \sim N(M, C)

The derivative in the mean is all that guidance needs: :math:`E[X \mid A] = M + C\,\nabla_M \log P(A)`.  What an
event leaves out has a formula of its own, since 1 - P has no digits left where P is near 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    boundary,
    checked,
    holds,
    require,
    still,
)
from driftproof.theory.special.elementary import log_or_minus_infinity, log_sum_exp

__all__ = [
    "AbstractEvent",
    "Complement",
    "Measured",
    "lifted",
    "normal_rows",
    "require_interior",
    "require_spread",
    "summed",
]

# log P, shape (...), and its gradient in the mean, shape (..., d).
Measured: TypeAlias = tuple[Array, Array]


class AbstractEvent(ABC):
    """A set of points of R^d with an interior."""

    @property
    @abstractmethod
    def parameters(self) -> Mapping[str, Array]:
        """The arrays that define it, by name."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """d."""

    @abstractmethod
    def membership(self, xp: Namespace, x: Array) -> Array:
        """Kernel: whether the points x (..., d) lie in it."""

    @abstractmethod
    def inside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        """Kernel: log P(A) and its gradient in the mean under N(mean (..., d), cov (..., d, d))."""

    @abstractmethod
    def outside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        """Kernel: the same of the complement."""

    def contains(self, x: Array) -> Array:
        """Whether the points x (..., d) lie in the event: booleans, shape (...)."""
        name = f"{type(self).__name__}.contains"
        xp, _, (x, *_) = boundary(name, x=x, **self.parameters)
        if not x.ndim or x.shape[-1] != self.dimension:
            hypothesis = f"x (..., {self.dimension}), like the event"
            raise UnmetHypothesis(name, hypothesis, f"shape {tuple(x.shape)}")
        return self.membership(xp, x)

    def complement(self) -> AbstractEvent:
        """The complement of the event."""
        return Complement(self)


@final
@dataclass(frozen=True, eq=False)
@checked
class Complement(AbstractEvent):
    """The complement of an event.

    Claims: DOOB-EVENT-2

    Example:
        >>> from driftproof.theory.doob import Ball
        >>> Complement(Ball([0.0], 0.5)).contains([[0.0], [1.0]]).tolist()
        [False, True]
    """

    event: AbstractEvent

    @property
    def parameters(self) -> Mapping[str, Array]:
        return self.event.parameters

    @property
    def dimension(self) -> int:
        return self.event.dimension

    def membership(self, xp: Namespace, x: Array) -> Array:
        return ~self.event.membership(xp, x)

    def inside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        return self.event.outside(xp, mean, cov)

    def outside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        return self.event.inside(xp, mean, cov)

    def complement(self) -> AbstractEvent:
        return self.event


def summed(xp: Namespace, parts: list[Measured], signs: list[float] | None = None) -> Measured:
    """Kernel: the measure of a sum of disjoint parts, or of a signed one whose parts overlap."""
    logs = xp.stack([log_p for log_p, _ in parts], axis=-1)
    if signs is None:
        log_p = log_sum_exp(xp, logs)
        factors = [1.0] * len(parts)
    else:
        factors = signs
        top = still(xp.max(logs, axis=-1))
        top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
        total = sum(f * xp.exp(part - top) for f, (part, _) in zip(factors, parts, strict=True))
        log_p = top + log_or_minus_infinity(xp, total)
    some = xp.isfinite(log_p)
    gradient = 0.0 * parts[0][1]
    for factor, (part, slope) in zip(factors, parts, strict=True):
        share = xp.exp(part - xp.where(some, log_p, xp.zeros_like(log_p)))
        share = xp.where(some, share, xp.zeros_like(share))
        gradient = gradient + factor * share[..., None] * xp.where(share[..., None] > 0, slope, 0.0 * slope)
    return log_p, gradient


def normal_rows(subject: str, name: str, value: Array, axes: int) -> Array:
    xp, _, (value,) = boundary(subject, **{name: value})
    require(xp, subject, name, value, "finite")
    if value.ndim != axes or not value.shape[-1]:
        raise UnmetHypothesis(
            subject, f"{name} {('(d,)', '(2, d)')[axes - 1]}", f"shape {tuple(value.shape)}"
        )
    if not holds(xp.all(xp.any(value != 0, axis=-1))):
        raise UnmetHypothesis(subject, f"no {name} is 0", "a functional that is 0 everywhere")
    return value


def require_interior(subject: str, holds: bool, got: str) -> None:
    if not holds:
        hypothesis = "the event has an interior (a condition of probability 0 is a bridge, and has no h)"
        raise UnmetHypothesis(subject, hypothesis, got)


def require_spread(xp: Namespace, subject: str, spread: Array) -> None:
    if not holds(xp.all(spread > 0)):
        raise UnmetHypothesis(subject, "the law has a density along the event's functionals", "a spread of 0")


def lifted(event: AbstractEvent) -> dict[str, Any]:
    """The arrays of an event under names that no law has."""
    return {f"event.{name}": value for name, value in event.parameters.items()}
