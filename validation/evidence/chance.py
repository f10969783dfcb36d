r"""Statistical evidence: every p-value spends from one error budget.

A whole run raises a false alarm with probability at most ``1e-6``.  Each piece of statistical
evidence of the registry gets the share

.. math:: \alpha_i = 10^{-6}\, w_i / \textstyle\sum_j w_j

whether or not the others are selected; several p-values of one piece share its part equally
(Bonferroni).  A p-value below its share breaks the evidence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Unpack, final

from .base import AbstractKind, Common, Decorator, Setting, Verdict, decorator, worst

__all__ = ["FALSE_ALARMS", "Statistic", "share", "statistical"]

FALSE_ALARMS = 1e-6


@final
@dataclass(frozen=True)
class Statistic:
    """The outcome of one test.

    Arguments:
        p_value: Probability, under the statement, of what was seen or worse.
        detectable: The smallest effect that the test would have seen with probability 0.999.
        effect: The effect that was seen, in the same units.
        n: Number of draws.
        label: What was tested, where one piece of evidence tests several things.
    """

    p_value: float
    detectable: float
    effect: float
    n: int
    label: str = ""


def share(weight: float, total: float) -> float:
    """The part of the error budget of evidence of this weight among evidence of that total weight.

    Example:
        >>> f"{share(1.0, 4.0):.2e}"
        '2.50e-07'
    """
    # A trifle less, so that rounding cannot bring the sum of all shares above the budget.
    return FALSE_ALARMS * (1 - 1e-12) * weight / total


@final
@dataclass(frozen=True)
class Statistical(AbstractKind):
    """A test at the level of its share of the budget."""

    weight: float
    name: str = "statistical"
    rung: int = 6

    def judge(self, returned: Any, setting: Setting) -> Verdict:
        several = [returned] if isinstance(returned, Statistic) else returned
        several = list(several) if isinstance(several, Iterable) else []
        if not several or not all(isinstance(s, Statistic) for s in several):
            raise TypeError("statistical evidence: expected Statistic(...) or several")
        level = setting.alpha / len(several)
        return worst(self._one(s, level) for s in several)

    def _one(self, s: Statistic, level: float) -> Verdict:
        p = float(s.p_value)
        if p < 0 or p > 1 or math.isnan(float(s.detectable)):
            raise ValueError(f"statistical evidence: p = {p!r}, detectable = {s.detectable!r}")
        label = f"{s.label}: " if s.label else ""
        effect, detectable = abs(float(s.effect)), float(s.detectable)
        if math.isnan(p) or math.isnan(effect):
            return Verdict(False, math.inf, math.inf, detectable, f"{label}p is NaN", s.n, detectable, 0.0)
        stress = level / p if p > 0 else math.inf
        detail = f"{label}p = {p:.3g} against {level:.3g}"
        return Verdict(p >= level, stress, effect, detectable, detail, s.n, detectable, p)


def statistical(*, weight: float = 1.0, **common: Unpack[Common]) -> Decorator:
    """A test whose false-alarm rate is its share, by ``weight``, of the run's error budget."""
    if not (weight > 0 and math.isfinite(weight)):
        raise ValueError(f"statistical: weight must be positive and finite, got {weight!r}")
    return decorator(Statistical(weight), common)
