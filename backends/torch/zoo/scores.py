"""What a trained model scores, beside what is trivial and what is best possible."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from driftproof._namespace import UnmetHypothesis

__all__ = ["Score", "bootstrapped", "share"]

Values = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Score:
    """One number of an evaluation.

    Arguments:
        name: The measured quantity, and on how much it is measured.
        value: The number.
        low, high: Its 95 % interval.
        baseline: The score of something trivial, and
        trivial: what that is.
        factor: The factor by which a trained model must beat it, > 1: the larger over the smaller; 0 for a number that
            is only reported.
        floor: The score of the data themselves, in the same way; NaN where nothing is measured.
        higher: Whether more is better.
    """

    name: str
    value: float
    low: float
    high: float
    baseline: float
    trivial: str
    factor: float
    floor: float = math.nan
    higher: bool = False

    @property
    def reached(self) -> float:
        """The factor by which the baseline is beaten."""
        better, worse = (self.value, self.baseline) if self.higher else (self.baseline, self.value)
        return better / worse if worse > 0.0 else math.inf

    @property
    def ok(self) -> bool:
        """Whether it is beaten by the required factor."""
        return self.reached >= self.factor

    def to_json(self) -> dict[str, Any]:
        """Its fields; a NaN, which JSON has not, is null."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Score:
        """The score of a card."""
        given: dict[str, Any] = {key: math.nan if value is None else value for key, value in fields.items()}
        return cls(**given)


def share(hits: Values) -> tuple[float, float, float]:
    """The share of ones and its 95 % interval (Wilson), which never is a point.

    Example:
        >>> [round(x, 3) for x in share(np.ones(100))]
        [1.0, 0.963, 1.0]
    """
    n, p, z = len(hits), float(np.mean(hits)), 1.96
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))  # p, whatever rounds


def bootstrapped(
    statistic: Callable[..., float], *samples: Values, rng: np.random.Generator, replicates: int = 100
) -> tuple[float, float, float]:
    """A statistic of samples and its 95 % interval: 1.96 standard deviations of what resampled rows give.

    A percentile interval would be off: distances of resamples are larger than those of samples.

    Raises:
        UnmetHypothesis: Fewer than two rows in a sample.
    """
    if min(map(len, samples)) < 2:
        raise UnmetHypothesis("bootstrapped", "two rows or more in each sample", f"{[*map(len, samples)]}")
    value = statistic(*samples)
    drawn = [statistic(*(x[rng.integers(len(x), size=len(x))] for x in samples)) for _ in range(replicates)]
    half = 1.96 * float(np.std(drawn, ddof=1))
    return value, value - half, value + half
