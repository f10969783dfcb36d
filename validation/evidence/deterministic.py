"""Kinds without chance: exact, parity, property, bound, rate and boundary."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack, final

import numpy as np

from driftproof.validation.mutants import Wrong

from .base import AbstractKind, Common, Decorator, Setting, Verdict, decorator, labelled, summed, worst
from .comparison import compare

__all__ = ["Raised", "Rate", "bound", "boundary", "exact", "parity", "property", "raises", "rate"]

ULP = 2.0**-52


@final
@dataclass(frozen=True)
class Comparison(AbstractKind):
    """Two independent computations of one number agree: error <= tolerance, everywhere."""

    name: str
    rung: int
    tolerance: float
    scale: float

    def judge(self, returned: Any, setting: Setting) -> Verdict:
        return summed(setting.needed(self._one(*triple) for triple in labelled(returned)))

    def _one(self, label: str, got: Any, want: Any) -> Verdict:
        gap = compare(got, want, self.scale)
        detail = f"{label}: {gap.detail}" if label else gap.detail
        stress = _ratio(gap.error, self.tolerance)
        return Verdict(gap.error <= self.tolerance, stress, gap.error, self.tolerance, detail, gap.count)


def exact(tolerance: float, *, scale: float = 1.0, **common: Unpack[Common]) -> Decorator:
    """Two computations agree to ``tolerance`` relative to ``max(|want|, scale)``."""
    return decorator(Comparison("exact", 1, float(tolerance), scale), common)


def parity(tolerance: float = 8 * ULP, *, scale: float = 0.0, **common: Unpack[Common]) -> Decorator:
    """Two backends agree: by default to 8 ulp of float64, and only where torch is installed."""
    common.setdefault("requires", "torch")
    return decorator(Comparison("parity", 2, float(tolerance), scale), common)


def property(tolerance: float, *, scale: float = 1.0, **common: Unpack[Common]) -> Decorator:
    """Two computations agree on everything that Hypothesis draws; a counterexample is shrunk."""
    return decorator(Comparison("property", 5, float(tolerance), scale), common)


@final
@dataclass(frozen=True)
class Bound(AbstractKind):
    """A value never exceeds its bound, and comes near enough for the bound to say something."""

    tight: float
    slack: float
    name: str = "bound"
    rung: int = 3

    def judge(self, returned: Any, setting: Setting) -> Verdict:
        return summed(setting.needed(self._one(*triple) for triple in labelled(returned)))

    def _one(self, label: str, value: Any, bound: Any) -> Verdict:
        v, b = np.broadcast_arrays(np.asarray(value, dtype=float), np.asarray(bound, dtype=float))
        if v.size == 0:
            raise TypeError("evidence: a bound was tested on nothing")
        if (b < 0).any():
            raise ValueError("evidence: a bound must be >= 0; state it for a nonnegative quantity")
        with np.errstate(all="ignore"):
            ratio = np.where(b > 0, v / np.where(b > 0, b, 1.0), np.where(v > 0, np.inf, 0.0))
        ratio = np.where(np.isnan(v) | np.isnan(b), np.inf, ratio)
        most = float(np.max(ratio))
        where = int(np.argmax(ratio))
        detail = f"{label + ': ' if label else ''}value {v.flat[where]:.6g}, bound {b.flat[where]:.6g}"
        return Verdict(most <= 1.0 + self.slack, most, most, 1.0, detail, int(v.size))

    def conclude(self, verdicts: Sequence[Verdict]) -> Verdict:
        last = summed(verdicts)
        if last.ok and last.stress < self.tight:
            detail = f"vacuous: value / bound never exceeds {last.stress:.3g} (wanted {self.tight:.3g})"
            return replace(last, ok=False, detail=detail)
        return last


def bound(*, tight: float = 1e-3, slack: float = 1e-12, **common: Unpack[Common]) -> Decorator:
    """``value <= bound`` up to rounding (``slack``); the largest ratio must reach ``tight``."""
    return decorator(Bound(tight, slack), common)


@final
@dataclass(frozen=True)
class Rate:
    """Measured local orders against the theoretical one, and the leading constant against the exact one.

    Arguments:
        orders: Local orders between successive levels, for instance log2(e_h / e_{h/2}).
        expected: The theoretical order.
        margin: Largest deviation of a local order.
        constant: Measured leading constant, for instance e_h / h^p on the finest level.
        expected_constant: The exact one.
        constant_margin: Largest relative deviation of the constant.
    """

    orders: Sequence[float]
    expected: float
    margin: float
    constant: float | None = None
    expected_constant: float | None = None
    constant_margin: float = 0.05


@final
@dataclass(frozen=True)
class RateKind(AbstractKind):
    """Local orders and the leading constant: a band around a slope alone lets wrong schemes pass."""

    name: str = "rate"
    rung: int = 4

    def judge(self, returned: Any, setting: Setting) -> Verdict:
        rates = [returned] if isinstance(returned, Rate) else list(returned)
        if not rates or not all(isinstance(r, Rate) for r in rates):
            raise TypeError("rate evidence: expected Rate(...) or several")
        return worst(part for rate in rates for part in self._parts(rate))

    def _parts(self, rate: Rate) -> list[Verdict]:
        orders = [float(order) for order in rate.orders]
        if not orders:
            raise TypeError("rate evidence: no local orders")
        shown = f"orders {', '.join(f'{o:.3f}' for o in orders)} (theory {rate.expected:g})"
        if rate.constant is not None:
            shown += f"; constant {rate.constant:.5g}"
        if rate.expected_constant is not None:
            shown += f" (exact {rate.expected_constant:.5g})"
        error = _or_infinite(max(abs(order - rate.expected) for order in orders))
        error = math.inf if any(math.isnan(order) for order in orders) else error
        parts = [_within(error, rate.margin, shown)]
        if (rate.constant is None) != (rate.expected_constant is None):
            raise TypeError("rate evidence: a constant needs its exact value, and the other way round")
        if rate.constant is not None and rate.expected_constant is not None:
            gap = compare(float(rate.constant), float(rate.expected_constant), 0.0)
            parts.append(_within(gap.error, rate.constant_margin, shown))
        return parts


def rate(**common: Unpack[Common]) -> Decorator:
    """A convergence rate: local orders and the leading constant, see :class:`Rate`."""
    return decorator(RateKind(), common)


@final
@dataclass(frozen=True)
class Raised:
    """Whether a call raised the exception that it must raise."""

    label: str
    ok: bool
    detail: str


def raises(exception: type[Exception], call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Raised:
    """Call, and tell whether that raised ``exception``; other exceptions pass through as crashes.

    A planted error of values checks nothing, which is no answer to the question whether it notices a wrong
    value: the function that it was made of is called in its place.

    Example:
        >>> raises(ZeroDivisionError, lambda x: 1 / x, 0).ok
        True
    """
    label = f"raises {exception.__name__}"
    call = call.right if isinstance(call, Wrong) else call
    try:
        call(*args, **kwargs)
    except exception as error:
        return Raised(label, True, f"{label}: {error}")
    return Raised(label, False, f"nothing was raised where {exception.__name__} must be")


@final
@dataclass(frozen=True)
class Boundary(AbstractKind):
    """Without a hypothesis the statement fails: the two sides differ, or the call is refused.

    The error is the needed gap over the one found: below 1 where the sides differ enough.
    """

    tolerance: float
    scale: float
    name: str = "boundary"
    rung: int = 2

    def judge(self, returned: Any, setting: Setting) -> Verdict:
        if isinstance(returned, Raised):
            return self._refused(returned)
        if isinstance(returned, tuple):
            return summed(setting.needed(self._one(*triple) for triple in labelled(returned)))
        items = list(returned)
        refused = [self._refused(item) for item in items if isinstance(item, Raised)]
        rest = [item for item in items if not isinstance(item, Raised)]
        differ = [self._one(*triple) for triple in labelled(rest)] if rest or not refused else []
        return summed(refused + differ)

    def _refused(self, raised: Raised) -> Verdict:
        error = 0.0 if raised.ok else math.inf
        return Verdict(raised.ok, error, error, 1.0, raised.detail, 1)

    def _one(self, label: str, got: Any, want: Any) -> Verdict:
        gap = compare(got, want, self.scale)
        # A NaN or a difference of shape says nothing about the statement: only a finite gap counts.
        error = _ratio(self.tolerance, gap.error) if 0 < gap.error < math.inf else math.inf
        prefix = f"{label}: " if label else ""
        detail = f"{prefix}{gap.detail}: differs by {gap.error:.3g} (must exceed {self.tolerance:.3g})"
        return Verdict(error < 1.0, error, error, 1.0, detail, gap.count)


def boundary(tolerance: float = 1e-3, *, scale: float = 1.0, **common: Unpack[Common]) -> Decorator:
    """Where a hypothesis is dropped, the two sides differ by more than ``tolerance``, or :func:`raises`."""
    return decorator(Boundary(float(tolerance), scale), common)


def _within(error: float, tolerance: float, detail: str) -> Verdict:
    return Verdict(error <= tolerance, _ratio(error, tolerance), error, tolerance, detail)


def _ratio(error: float, tolerance: float) -> float:
    if tolerance > 0:
        return error / tolerance
    return math.inf if error > 0 else 0.0


def _or_infinite(error: float) -> float:
    return math.inf if math.isnan(error) else error
