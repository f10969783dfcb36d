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

__all__ = ["CONFIRMED", "SAME", "Candidate", "Fit", "direction", "fitted", "fixed_fits", "reduced", "units"]

Vector = NDArray[np.float64]

# The thresholds of the audit of losses, all relative to the largest entry of a gradient in double precision.
# A naive formula loses six digits of sixteen near gJSD's ends, and a fit as many as its step of differences.
SAME, CONFIRMED = 1e-9, 1e-8
# What cancels in a sum of terms of size one leaves this, absolutely.
_FLOOR, _FLOORED = 1e-14, 1e-6
# Where all is saturated nothing is left to tell: entries are measured in no less than this share of the largest.
_LEAST = 1e-10
# In place of what overflows.
_HUGE = 1e100
# Fits go from the best starts, so many evaluations at first, and on where the cost is promising by then.
_STARTS, _EVALUATIONS, _PROMISING = 2, (12, 40), 1e-4


@final
@dataclass(frozen=True)
class Fit:
    """An objective beside a gradient.

    Arguments:
        objective: The objective.
        scale: The factor that fits best.
        error: The largest error that remains, relative to the gradient.
        holds: Whether that is rounding.
        gradient: The gradient of the objective, without the factor.
    """

    objective: Objective
    scale: float
    error: float
    holds: bool
    gradient: Vector


@final
@dataclass(frozen=True)
class Candidate:
    """An objective under a reduction, with the factor found at the first points."""

    objective: Objective
    reduction: str
    scale: float

    @property
    def exact(self) -> bool:
        """Whether the factor is 1."""
        return abs(self.scale - 1.0) <= 1e-9

    @property
    def rank(self) -> tuple[bool, bool]:
        """Its place among fits: first those without a factor, then those whose reduction needs no mention."""
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


def asked(form: Form, roles: tuple[str, ...]) -> list[Point]:
    """The first points, in as few batches as their gradients allow."""
    points = first(form, roles)
    return [stacked(points)] if form in ("logits", "logp", "sampled") else points


@cache
def _table(form: Form, roles: tuple[str, ...]) -> tuple[tuple[Objective, Vector], ...]:
    """The fixed objectives with their gradients at the first points."""
    points = asked(form, roles)
    return tuple((each, direction(each, points)[0]) for each in catalogue(form, roles))


def units(gradient: Vector, form: Form, roles: tuple[str, ...]) -> Vector:
    """The units of the entries of a gradient.

    Of preferences, the largest entry at the same point: where margins saturate, gradients are small, and they
    tell as much as the others.  Otherwise the largest of all.
    """
    points = asked(form, roles) if form == "preference" else ()
    sizes = [sum(leaf.numel() for leaf in point.leaves.values()) for point in points] or [gradient.size]
    blocks = np.split(gradient, np.cumsum(sizes)[:-1])
    largest = [np.full(block.size, np.max(np.abs(block))) for block in blocks]
    whole = float(np.max(np.abs(gradient)))
    return np.maximum(np.concatenate(largest), max(_LEAST * whole, _FLOOR))


def fixed_fits(
    gradient: Vector, form: Form, roles: tuple[str, ...], also: Sequence[Objective] = ()
) -> list[Fit]:
    """Every fixed objective beside a gradient at the first points; the factor is 1 where that fits."""
    table = [*_table(form, roles), *((each, direction(each, asked(form, roles))[0]) for each in also)]
    measured_in = units(gradient, form, roles)
    return [_beside(gradient, objective, of, measured_in) for objective, of in table]


def _beside(gradient: Vector, objective: Objective, of: Vector, measured_in: Vector) -> Fit:
    floor = _FLOOR / float(np.min(measured_in))
    left, right = gradient / measured_in, np.nan_to_num(of / measured_in, posinf=_HUGE, neginf=-_HUGE)

    def fit(scale: float) -> Fit:
        error = float(np.max(np.abs(left - scale * right)))
        return Fit(objective, scale, error, error <= SAME + min(floor, _FLOORED), of)

    plain = fit(1.0)
    square = float(right @ right)
    if plain.holds or square <= 0.0:
        return plain
    return fit(float(left @ right) / square)


def fitted(gradient: Vector, wanted: Sequence[Family], form: Form, roles: tuple[str, ...]) -> list[Fit]:
    """The families that a gradient belongs to: those nearest at their starts are fitted first.

    Once one fits, the others are only asked at its parameters: Hinton's loss beside the divergence without
    its factor.
    """
    points, measured_in = asked(form, roles), units(gradient, form, roles)
    searches = [_Search(gradient, family, points, measured_in) for family in wanted]
    for search in sorted(searches, key=lambda each: each.start):
        found = search.run()
        if found is None or not found.holds:
            continue
        alike = [
            each
            for each in searches
            if each is not search and each.family.free.keys() == search.family.free.keys()
        ]
        others = [each.at(found.objective.parameters) for each in alike]
        return [found, *(each for each in others if each is not None and each.holds)]
    return []


class _Search:
    """Parameters of one family for one gradient, by least squares; the factor is projected out."""

    def __init__(self, gradient: Vector, family: Family, points: list[Point], measured_in: Vector) -> None:
        self.family, self._gradient, self._points, self._units = family, gradient, points, measured_in
        self._norm = float(np.linalg.norm(gradient / measured_in))
        self._scale: float | None = None
        starts = [list(each) for each in itertools.product(*(free.starts for free in family.free.values()))]
        self._starts = sorted(starts, key=lambda each: float(np.linalg.norm(self._residual(each))))[:_STARTS]
        self.start = float(np.linalg.norm(self._residual(self._starts[0])))

    def at(self, parameters: Mapping[str, float]) -> Fit | None:
        """The fit at given parameters; None out of bounds."""
        try:
            objective = self.family.at(**parameters)
        except ValueError:
            return None
        return _beside(self._gradient, objective, direction(objective, self._points)[0], self._units)

    def run(self) -> Fit | None:
        """The best fit; at parameters of six digits where these fit as exactly."""
        from scipy.optimize import least_squares

        low, high = ([getattr(free, end) for free in self.family.free.values()] for end in ("low", "high"))
        best: Any = None
        # Beyond a kink only the factor tells the parameter, so there it is that of a reduction.
        batch = next(iter(self._points[0].leaves.values())).shape[0]
        scales = (1.0, 1.0 / batch) if self.family.kinked else (None,)
        for scale, start in itertools.product(scales, self._starts):
            self._scale = scale
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
        fits = [
            self.at(dict(zip(self.family.free, values, strict=True)))
            for values in ([float(f"{x:.6g}") for x in exactly], exactly)
        ]
        return next((fit for fit in fits if fit is not None and fit.holds), fits[-1])

    def _residual(self, values: Sequence[float] | Vector, /) -> Vector:
        bounds = self.family.free.values()
        inside = [min(max(float(x), free.low), free.high) for x, free in zip(values, bounds, strict=True)]
        objective = self.family.at(**dict(zip(self.family.free, inside, strict=True)))
        left, right = self._gradient / self._units, direction(objective, self._points)[0] / self._units
        right = np.nan_to_num(right, posinf=_HUGE, neginf=-_HUGE)
        square = float(right @ right)
        scale = float(left @ right) / square if square > 0.0 else 0.0
        scale = scale if self._scale is None else self._scale
        return np.nan_to_num((left - scale * right) / self._norm, nan=1.0, posinf=1.0, neginf=1.0)


def reduced(fit: Fit, gradient: Vector, form: Form, roles: tuple[str, ...]) -> Iterator[Candidate]:
    """A fit under every reduction: at the first points they differ by a factor only."""
    points, measured_in = first(form, roles), units(gradient, form, roles)
    for reduction in reductions(form):
        of, _ = direction(fit.objective, points, reduction)
        yield Candidate(fit.objective, reduction, _beside(gradient, fit.objective, of, measured_in).scale)
