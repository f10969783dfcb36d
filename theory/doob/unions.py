r"""Unions of events, by inclusion and exclusion.

.. math:: P\Big(\bigcup_i A_i\Big) = \sum_{\emptyset \ne S} (-1)^{|S| + 1} P\Big(\bigcap_{i \in S} A_i\Big)

A union is not convex, its h has more than one summit, and the intersections must be events whose probability is
known: parallel slabs, two half-spaces, boxes, and whatever does not meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import final

from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked
from driftproof.theory.laws.matrices import constant

from .events import AbstractEvent, Measured, summed
from .linear import Orthant, Slab
from .shapes import Ball, Box

__all__ = ["Union"]

_MOST = 8  # parts: a sum of 2^n terms loses n bits


@final
@dataclass(frozen=True, eq=False)
@checked
class Union(AbstractEvent):
    """The points that lie in one event at least.

    Arguments:
        parts: Two to eight events of one dimension.

    Raises:
        UnmetHypothesis: Parts of different dimensions, or two that meet in a set whose probability has no closed
            form here.

    Claims: DOOB-UNION-1

    Example:
        >>> from driftproof.theory.doob import half_space
        >>> either = Union([half_space([1.0], 1.0), half_space([1.0], -1.0, below=True)])
        >>> either.contains([[-2.0], [0.0], [2.0]]).tolist()
        [True, False, True]
    """

    parts: Sequence[AbstractEvent]

    def __post_init__(self) -> None:
        parts = tuple(self.parts)
        if not 2 <= len(parts) <= _MOST or not all(isinstance(part, AbstractEvent) for part in parts):
            raise UnmetHypothesis("Union", f"parts are two to {_MOST} events", f"{len(parts)} parts")
        sizes = sorted({part.dimension for part in parts})
        if len(sizes) > 1:
            raise UnmetHypothesis("Union", "the parts have one dimension", f"dimensions {sizes}")
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "_terms", _terms(parts))

    @property
    def parameters(self) -> Mapping[str, Array]:
        return {
            f"parts[{i}].{name}": value
            for i, part in enumerate(self.parts)
            for name, value in part.parameters.items()
        }

    @property
    def dimension(self) -> int:
        return self.parts[0].dimension

    def membership(self, xp: Namespace, x: Array) -> Array:
        found = self.parts[0].membership(xp, x)
        for part in self.parts[1:]:
            found = found | part.membership(xp, x)
        return found

    def inside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        terms: list[tuple[float, AbstractEvent]] = self._terms  # type: ignore[attr-defined]  # set once, frozen
        return summed(xp, [event.inside(xp, mean, cov) for _, event in terms], [sign for sign, _ in terms])

    def outside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        """1 - P, to the rounding of 1: what a union leaves out has no formula of its own."""
        log_p, slope = self.inside(xp, mean, cov)
        return summed(xp, [(0.0 * log_p, 0.0 * slope), (log_p, slope)], [1.0, -1.0])


def _terms(parts: Sequence[AbstractEvent]) -> list[tuple[float, AbstractEvent]]:
    """The signed intersections that are not empty."""
    found = []
    for size in range(1, len(parts) + 1):
        for chosen in combinations(parts, size):
            met: AbstractEvent | None = chosen[0]
            for part in chosen[1:]:
                met = None if met is None else _intersection(met, part)
            if met is not None:
                found.append((-1.0 if size % 2 == 0 else 1.0, met))
    return found


def _intersection(first: AbstractEvent, second: AbstractEvent) -> AbstractEvent | None:
    """Where two events meet; None where they have no interior in common."""
    match first, second:
        case Slab(), Slab():
            return _of_slabs(first, second)
        case Box(), Box():
            xp, _, (a, b, c, d) = boundary("Union", a=first.low, b=first.high, c=second.low, d=second.high)
            low, high = xp.maximum(a, c), xp.minimum(b, d)
            return Box(low, high) if bool(xp.all(low < high)) else None
        case Ball(), Ball():
            xp, _, (a, b) = boundary("Union", a=first.centre, b=second.centre)
            apart = float(constant(xp.sum((a - b) ** 2))) ** 0.5
            if apart >= first.radius + second.radius:
                return None
    kinds = f"{type(first).__name__} and {type(second).__name__}"
    known = "parts that meet are parallel slabs, two half-spaces or boxes"
    raise UnmetHypothesis("Union", known, f"{kinds} meet")


def _of_slabs(first: Slab, second: Slab) -> AbstractEvent | None:
    xp, _, (n, m) = boundary("Union", n=first.normal, m=second.normal)
    n_n, n_m, m_m = (float(constant(xp.sum(u * v))) for u, v in ((n, n), (n, m), (m, m)))
    if n_n * m_m - n_m * n_m <= 64.0 * float(xp.finfo(n.dtype).eps) * n_n * m_m:
        factor = n_m / m_m  # n = factor m
        ends = sorted((factor * second.low, factor * second.high))
        low, high = max(first.low, ends[0]), min(first.high, ends[1])
        return Slab(n, low, high) if low < high else None
    normals, levels = [], []
    for slab, normal in ((first, n), (second, m)):
        below = slab.low == -float("inf")
        if not below and slab.high < float("inf"):
            raise UnmetHypothesis("Union", "slabs that meet are parallel, or half-spaces", "two slabs cross")
        normals.append(-normal if below else normal)
        levels.append(-slab.high if below else slab.low)
    device = getattr(n, "device", None)
    return Orthant(xp.stack(normals), xp.asarray(levels, dtype=n.dtype, device=device))
