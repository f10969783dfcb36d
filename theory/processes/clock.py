r"""Deterministic time changes: a process runs at the rate of its clock.

.. math:: \tilde X_t = X_{\Lambda(t)}, \qquad \Lambda(t) = \int_0^t \beta(u)\,du

The changed process has the coefficients :math:`\beta(t)\,b` and :math:`\beta(t)\,a`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

from driftproof._namespace import Array, UnmetHypothesis, checked

__all__ = ["Clock", "Identity", "LinearClock"]


class Clock(Protocol):
    """A time change with its rate."""

    def time(self, t: Array) -> Array:
        """Operational time."""

    def rate(self, t: Array) -> Array:
        """Derivative of the operational time."""


@final
@dataclass(frozen=True, slots=True)
class Identity:
    """Calendar time.

    Example:
        >>> Identity().time(2.5)
        2.5
    """

    def time(self, t: Array) -> Array:
        return t

    def rate(self, t: Array) -> Array:
        return 0.0 * t + 1.0


@final
@dataclass(frozen=True, slots=True)
@checked
class LinearClock:
    r"""The clock of a noise schedule whose rate grows linearly.

    .. math:: \beta(t) = \beta_0 + (\beta_1 - \beta_0)\,t/T, \qquad
        \Lambda(t) = \beta_0 t + (\beta_1-\beta_0)\,t^2/2T

    Arguments:
        beta_min: Rate at t = 0, > 0.
        beta_max: Rate at t = T, > 0.
        T: Horizon, > 0.

    Example:
        >>> LinearClock(1.0, 3.0, 2.0).time(2.0)
        4.0
    """

    beta_min: float
    beta_max: float
    T: float

    def __post_init__(self) -> None:
        for name in ("beta_min", "beta_max", "T"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise UnmetHypothesis("LinearClock", f"{name} > 0", f"{name} = {getattr(self, name)!r}")

    def time(self, t: Array) -> Array:
        return t * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) / self.T * t)

    def rate(self, t: Array) -> Array:
        return self.beta_min + (self.beta_max - self.beta_min) / self.T * t
