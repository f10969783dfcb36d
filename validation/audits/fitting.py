r"""Which objectives have a given gradient: up to one factor, at fixed or fitted parameters, under each reduction.

A candidate is an objective O, a reduction w and a factor c with :math:`g = c\,\nabla \sum_i w_i O_i` at the
first points, to :data:`SAME`.  It is confirmed where the same c holds at every other point that the loss can
be called at.  Parameters are fitted by least squares on the residual after the factor is projected out; a fit
counts if it is as exact as a fixed objective, and is confirmed with nothing left free.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from .forms import Form
from .objectives import CONVENTIONS, Family, Objective, catalogue, differentiated, reductions
from .points import Point, first, stacked

__all__ = ["CONFIRMED", "SAME", "Candidate", "Fit", "direction", "fitted", "fixed_fits", "reduced"]

Vector = NDArray[np.float64]

# The thresholds of the audit of losses, all relative to the largest entry of a gradient in double precision.
# A naive formula loses six digits of sixteen near gJSD's ends, and a fit as many as its step of differences.
SAME, CONFIRMED = 1e-9, 1e-8
# What cancels in a sum of terms of size one leaves this, absolutely.
_FLOOR = 1e-13
# Fits go from the best starts, so many evaluations at first, and on where the cost is promising by then.
_STARTS, _EVALUATIONS, _PROMISING = 2, (12, 40), 1e-4


@final
@dataclass(frozen=True)
class Fit:
    """An objective beside a gradient: the factor that fits best, and the largest error that remains."""

    objective: Objective
    scale: float
    error: float
    gradient: Vector  # of the objective, without the factor

    def holds(self, size: float, within: float = SAME) -> bool:
        """Whether the error is that of rounding."""
        return self.error <= within * size + _FLOOR


@final
@dataclass(frozen=True)
class Candidate:
    """An objective under a reduction, with the factor found at the first points."""

    objective: Objective
    reduction: str
    scale: float
    error: float

    @property
    def exact(self) -> bool:
        """Whether the factor is 1."""
        return abs(self.scale - 1.0) <= 1e-9

    @property
    def rank(self) -> tuple[bool, bool]:
        """What is said first: no factor, and a reduction that needs no mention."""
        return (not self.exact, self.reduction not in CONVENTIONS)


def direction(objective: Objective, points: Iterable[Point], reduction: str = "sum") -> tuple[Vector, Vector]:
    """Gradients end to end, and the values, one a point."""
    gradients, values = [], []
    for point in points:
        leaves = {role: x.detach().clone().requires_grad_() for role, x in point.leaves.items()}
        value = objective.value({**leaves, **point.rest}, reduction, point.vocabulary)
        gradients.append(differentiated(value, leaves))
        values.append(float(value.detach()))
    return np.concatenate(gradients), np.asarray(values)


@cache
def _table(form: Form, roles: tuple[str, ...]) -> tuple[tuple[Objective, Vector], ...]:
    """The fixed objectives with their gradients at the first points."""
    points = [stacked(first(form, roles))]
    return tuple((each, direction(each, points)[0]) for each in catalogue(form, roles))


def fixed_fits(
    gradient: Vector, form: Form, roles: tuple[str, ...], also: Sequence[Objective] = ()
) -> list[Fit]:
    """Every fixed objective beside a gradient at the first points; the factor is 1 where that fits."""
    table = [*_table(form, roles), *((each, direction(each, first(form, roles))[0]) for each in also)]
    return [_beside(gradient, objective, of) for objective, of in table]


def _beside(gradient: Vector, objective: Objective, of: Vector) -> Fit:
    size = float(np.max(np.abs(gradient)))
    plain = float(np.max(np.abs(gradient - of)))
    if plain <= SAME * size + _FLOOR:
        return Fit(objective, 1.0, plain, of)
    square = float(of @ of)
    scale = float(gradient @ of) / square if square > 0.0 else 0.0
    return Fit(objective, scale, float(np.max(np.abs(gradient - scale * of))), of)


def fitted(gradient: Vector, wanted: Sequence[Family], form: Form, roles: tuple[str, ...]) -> list[Fit]:
    """The families that a gradient belongs to: those nearest at their starts are fitted first.

    Once one fits, the others are only asked at its parameters: Hinton's loss beside the divergence without
    its factor.
    """
    point = stacked(first(form, roles))
    ordered = sorted((_Search(gradient, family, point) for family in wanted), key=lambda each: each.start)
    size = float(np.max(np.abs(gradient)))
    for search in ordered:
        found = search.run()
        if not found.holds(size):
            continue
        alike = [
            each
            for each in wanted
            if each is not search.family and each.free.keys() == search.family.free.keys()
        ]
        others = [_Search(gradient, each, point).at(found.objective.parameters) for each in alike]
        return [found, *(each for each in others if each is not None and each.holds(size))]
    return []


class _Search:
    """Parameters of one family for one gradient, by least squares; the factor is projected out."""

    def __init__(self, gradient: Vector, family: Family, point: Point) -> None:
        self.family, self._gradient, self._point = family, gradient, point
        self._norm = float(np.linalg.norm(gradient))
        starts = [list(each) for each in itertools.product(*(free.starts for free in family.free.values()))]
        self._starts = sorted(starts, key=lambda each: float(np.linalg.norm(self._residual(each))))[:_STARTS]
        self.start = float(np.linalg.norm(self._residual(self._starts[0])))

    def at(self, parameters: Mapping[str, float]) -> Fit | None:
        """The fit at given parameters; None out of bounds."""
        try:
            objective = self.family.at(**parameters)
        except ValueError:
            return None
        return _beside(self._gradient, objective, direction(objective, [self._point])[0])

    def run(self) -> Fit:
        """The best fit; at parameters of six digits where these fit as exactly."""
        from scipy.optimize import least_squares

        low, high = ([getattr(free, end) for free in self.family.free.values()] for end in ("low", "high"))
        best: Any = None
        for start in self._starts:
            for evaluations in _EVALUATIONS:
                found = least_squares(
                    self._residual, start, bounds=(low, high), x_scale=np.abs(start) + 1e-3, xtol=1e-15, ftol=1e-15,
                    gtol=1e-15, max_nfev=evaluations,
                )  # fmt: skip
                if not 1e-24 < found.cost < _PROMISING:
                    break
                start = list(found.x)
            best = found if best is None or found.cost < best.cost else best
            if best.cost < 1e-20:
                break
        exactly = [float(x) for x in best.x]
        for values in ([float(f"{x:.6g}") for x in exactly], exactly):
            fit = self.at(dict(zip(self.family.free, values, strict=True)))
            if fit is not None and fit.holds(float(np.max(np.abs(self._gradient)))):
                return fit
        return (
            fit
            if fit is not None
            else Fit(
                self.family.at(**dict(zip(self.family.free, exactly, strict=True))),
                0.0,
                self._norm,
                self._gradient,
            )
        )

    def _residual(self, values: Sequence[float]) -> Vector:
        bounds = self.family.free.values()
        inside = [min(max(float(x), free.low), free.high) for x, free in zip(values, bounds, strict=True)]
        objective = self.family.at(**dict(zip(self.family.free, inside, strict=True)))
        of, _ = direction(objective, [self._point])
        square = float(of @ of)
        scale = float(self._gradient @ of) / square if square > 0.0 else 0.0
        return np.nan_to_num((self._gradient - scale * of) / self._norm, nan=1.0, posinf=1.0, neginf=1.0)


def reduced(fit: Fit, gradient: Vector, form: Form, points: Sequence[Point]) -> Iterator[Candidate]:
    """A fit under every reduction: at the first points they differ by a factor only."""
    for reduction in reductions(form):
        of, _ = direction(fit.objective, points, reduction)
        found = _beside(gradient, fit.objective, of)
        yield Candidate(fit.objective, reduction, found.scale, found.error)
