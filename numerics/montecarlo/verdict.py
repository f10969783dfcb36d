"""What a statistical check says: a p-value never comes without the effect that it would have seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, final, overload

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from driftproof._namespace import Array, UnmetHypothesis, boundary, checked

__all__ = ["POWER", "ErrorBudget", "Floats", "Verdict", "as_level", "as_samples"]

Floats: TypeAlias = NDArray[np.float64]
Name = TypeVar("Name")

# The detectable effect is the smallest one that is found with at least this probability.
POWER = 1 - 1e-3


@final
@dataclass(frozen=True, slots=True)
@checked(effect="in [-inf, inf]", detectable="in [-inf, inf]")
class Verdict:
    """The outcome of one statistical test.

    Arguments:
        test: The tested hypothesis, in words.
        p_value: Probability, under the hypothesis, of data at least as far from it.
        effect: The estimated deviation, in ``unit``.
        detectable: The smallest deviation in ``unit`` that this test, at this ``n`` and ``alpha``,
            detects with probability at least ``power``.
        unit: The unit of both.
        n: Draws used.
        alpha: The false-alarm rate that was spent.
        power: The detection probability behind ``detectable``.
        validity: ``"exact"``, ``"bound"`` (holds at every n, conservative), or the approximation made.

    Example:
        >>> verdict = Verdict("mean", 0.2, 0.01, 0.1, "sd", 1000, 1e-8, POWER, "exact")
        >>> verdict.rejects
        False
        >>> print(verdict)
        mean holds: p = 0.2, effect 0.01 sd; n = 1000 sees 0.1 sd (alpha = 1e-08, power = 0.999, exact)
    """

    test: str
    p_value: float
    effect: float
    detectable: float
    unit: str
    n: int
    alpha: float
    power: float
    validity: str

    @property
    def rejects(self) -> bool:
        """Whether the hypothesis is refuted at level ``alpha``."""
        return self.p_value <= self.alpha

    def __str__(self) -> str:
        return (
            f"{self.test} {'refuted' if self.rejects else 'holds'}: p = {self.p_value:.3g}, "
            f"effect {self.effect:.3g} {self.unit}; n = {self.n} sees {self.detectable:.3g} {self.unit} "
            f"(alpha = {self.alpha:.3g}, power = {self.power:.6g}, {self.validity})"
        )


@final
@dataclass(frozen=True, slots=True)
@checked
class ErrorBudget:
    """A total false-alarm probability, divided once over all the checks that spend it.

    By the union bound, checks run at the levels of :meth:`split` raise a false alarm in at most a
    fraction ``total`` of all runs, however dependent they are.

    Raises:
        UnmetHypothesis: ``total`` is not in (0, 1).

    Example:
        >>> ErrorBudget(1e-6).split({"mean": 1.0, "law": 3.0})
        {'mean': 2.5e-07, 'law': 7.5e-07}
    """

    total: float = 1e-6

    def __post_init__(self) -> None:
        as_level("ErrorBudget", "total", self.total)

    @overload
    def split(self, weights: Mapping[Name, float]) -> dict[Name, float]: ...

    @overload
    def split(self, weights: Sequence[float]) -> tuple[float, ...]: ...

    def split(self, weights: Mapping[Name, float] | Sequence[float]) -> dict[Name, float] | tuple[float, ...]:
        """Levels in proportion to positive weights; their sum never exceeds the total.

        Raises:
            UnmetHypothesis: No weight, or a weight that is not positive and finite.
        """
        values = list(weights.values() if isinstance(weights, Mapping) else weights)
        if not values:
            raise UnmetHypothesis("ErrorBudget.split", "at least one weight", "none")
        for value in values:
            if not (value > 0 and math.isfinite(value)):
                raise UnmetHypothesis(
                    "ErrorBudget.split", "weights are > 0 and finite", f"weight = {value!r}"
                )
        whole = math.fsum(values)
        levels = [self.total * (value / whole) for value in values]
        while math.fsum(levels) > self.total:  # rounding may overspend by an ulp; give that back
            levels = [math.nextafter(level, 0.0) for level in levels]
        return dict(zip(weights, levels, strict=True)) if isinstance(weights, Mapping) else tuple(levels)


def as_level(subject: str, name: str, level: float) -> float:
    """``level`` if it is a probability strictly between 0 and 1."""
    if not 0 < level < 1:
        raise UnmetHypothesis(subject, f"0 < {name} < 1", f"{name} = {level!r}")
    return float(level)


def as_samples(subject: str, ndim: int = 1, least: int = 2, **arrays: Array) -> tuple[Floats, ...]:
    """Draws of any namespace as finite float64 arrays on the host, of rank ``ndim`` and enough of them.

    Raises:
        TypeError: Integers, complex numbers, mixed namespaces.
        UnmetHypothesis: NaN, infinities, another rank, fewer than ``least`` draws.
    """
    _, _, values = boundary(subject, **arrays)
    hosts = []
    for name, value in zip(arrays, values, strict=True):
        host = _host(value)
        if host.ndim != ndim:
            raise UnmetHypothesis(subject, f"{name} has {ndim} dimension(s)", f"shape {host.shape}")
        if host.shape[0] < least:
            raise UnmetHypothesis(subject, f"at least {least} draws in {name}", f"shape {host.shape}")
        if not np.isfinite(host).all():
            raise UnmetHypothesis(subject, f"{name} is finite", f"{int((~np.isfinite(host)).sum())} infinite")
        hosts.append(host)
    return tuple(hosts)


def _host(values: Any) -> Floats:
    if array_api_compat.is_torch_array(values):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
