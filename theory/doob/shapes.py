r"""Boxes and balls: events for normal laws that are independent, or isotropic.

.. math:: P(l \le X \le h) = \prod_i P(l_i \le X_i \le h_i), \qquad
    1 - \prod_i p_i = \sum_i (1 - p_i) \prod_{j < i} p_j

The second sum is by the first coordinate that is out, and has no cancellation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from driftproof._checks import require_number
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked, require
from driftproof.theory.laws.matrices import constant
from driftproof.theory.special.elementary import sqrt_or_zero

from .balls import log_ball, log_ball_slope
from .events import AbstractEvent, Measured, require_interior, require_spread, summed
from .intervals import interval

__all__ = ["Ball", "Box"]


@final
@dataclass(frozen=True, eq=False)
@checked
class Box(AbstractEvent):
    r"""A product of intervals, :math:`l_i \le x_i \le h_i`, for normal laws with independent coordinates.

    Arguments:
        low, high: Levels, shape (d,), l_i < h_i; they may be infinite.

    Raises:
        UnmetHypothesis: An interval without interior; where a probability is needed, a covariance that is not
            diagonal, under which it is no product.

    Claims: DOOB-EVENT-1, DOOB-EVENT-2

    Example:
        >>> Box([0.0, 0.0], [1.0, 2.0]).contains([0.5, 3.0]).tolist()
        False
    """

    low: Array
    high: Array

    def __post_init__(self) -> None:
        xp, _, (low, high) = boundary("Box", low=self.low, high=self.high)
        if low.ndim != 1 or low.shape != high.shape or not low.shape[0]:
            raise UnmetHypothesis(
                "Box", "low and high (d,)", f"shapes {tuple(low.shape)}, {tuple(high.shape)}"
            )
        require_interior("Box", bool(xp.all(low < high)), "low >= high in a coordinate")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def parameters(self) -> Mapping[str, Array]:
        return {"low": self.low, "high": self.high}

    @property
    def dimension(self) -> int:
        return int(self.low.shape[0])

    def membership(self, xp: Namespace, x: Array) -> Array:
        return xp.all((x >= self.low) & (x <= self.high), axis=-1)

    def inside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        low, high, spread = self.standardised(xp, mean, cov)
        logs, z = interval(xp, low, high)
        return xp.sum(logs, axis=-1), z / spread

    def outside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        # The first coordinate that is out: all before it are in.
        low, high, spread = self.standardised(xp, mean, cov)
        logs, z = interval(xp, low, high)
        never = xp.inf + 0.0 * spread
        tails = [interval(xp, -never, low), interval(xp, high, never)]
        out, slope = summed(xp, [(log_p, mean_of[..., None]) for log_p, mean_of in tails])
        slope = slope[..., 0]
        before = xp.cumulative_sum(logs, axis=-1) - logs
        eye = xp.eye(self.dimension, dtype=mean.dtype, device=getattr(mean, "device", None))
        earlier = xp.tril(xp.ones_like(eye), k=-1)
        gradients = (earlier * z[..., None, :] + eye * slope[..., None, :]) / spread[..., None, :]
        parts = [(before[..., i] + out[..., i], gradients[..., i, :]) for i in range(self.dimension)]
        return summed(xp, parts)

    def standardised(self, xp: Namespace, mean: Array, cov: Array) -> tuple[Array, Array, Array]:
        """Kernel: both levels of each coordinate in standard units, and its deviation."""
        variance = xp.linalg.diagonal(cov)
        eye = xp.eye(self.dimension, dtype=cov.dtype, device=getattr(cov, "device", None))
        numbers = constant(cov)  # a check reads numbers
        rest, size = float(xp.max(xp.abs(numbers * (1.0 - eye)))), float(xp.max(constant(variance)))
        if rest > 64.0 * float(xp.finfo(cov.dtype).eps) * size:
            raise UnmetHypothesis("Box", "the coordinates are independent", f"a covariance of {rest:.3g}")
        spread = xp.sqrt(variance)
        require_spread(xp, "Box", spread)
        return (self.low - mean) / spread, (self.high - mean) / spread, spread


@final
@dataclass(frozen=True, eq=False)
@checked(radius="> 0")
class Ball(AbstractEvent):
    r"""The points at most a radius from a centre, :math:`|x - c| \le R`, for isotropic normal laws.

    Arguments:
        centre: c, shape (d,).
        radius: R > 0, finite.

    Raises:
        UnmetHypothesis: R <= 0; where a probability is needed, a covariance that is no multiple of the identity,
            under which the distance has no such law.

    Claims: DOOB-EVENT-1, DOOB-EVENT-2

    Example:
        >>> Ball([0.0, 0.0], 5.0).contains([[3.0, 4.0], [4.0, 4.0]]).tolist()
        [True, False]
    """

    centre: Array
    radius: float

    def __post_init__(self) -> None:
        xp, _, (centre,) = boundary("Ball", centre=self.centre)
        require(xp, "Ball", "centre", centre, "finite")
        if centre.ndim != 1 or not centre.shape[0]:
            raise UnmetHypothesis("Ball", "centre (d,)", f"shape {tuple(centre.shape)}")
        require_number("Ball", "radius", self.radius, "in (0, inf)")
        object.__setattr__(self, "centre", centre)

    @property
    def parameters(self) -> Mapping[str, Array]:
        return {"centre": self.centre}

    @property
    def dimension(self) -> int:
        return int(self.centre.shape[0])

    def membership(self, xp: Namespace, x: Array) -> Array:
        return xp.sum((x - self.centre) ** 2, axis=-1) <= self.radius**2

    def inside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        return self._measured(xp, mean, cov, False)

    def outside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        return self._measured(xp, mean, cov, True)

    def _measured(self, xp: Namespace, mean: Array, cov: Array, outside: bool) -> Measured:
        variance = xp.linalg.diagonal(cov)[..., 0]
        eye = xp.eye(self.dimension, dtype=cov.dtype, device=getattr(cov, "device", None))
        size = constant(variance)
        rest = float(xp.max(xp.abs(constant(cov) - size[..., None, None] * eye)))
        if rest > 64.0 * float(xp.finfo(cov.dtype).eps) * float(xp.max(size)):
            raise UnmetHypothesis("Ball", "the covariance is a multiple of I", f"off by {rest:.3g}")
        spread = xp.sqrt(variance)
        require_spread(xp, "Ball", spread)
        away = mean - self.centre
        distance = sqrt_or_zero(xp, xp.sum(away * away, axis=-1))
        radius, far = self.radius / spread, distance / spread
        slope = log_ball_slope(xp, radius, far, self.dimension, outside) / spread
        length = xp.where(distance > 0, distance, xp.ones_like(distance))
        return log_ball.kernel(xp, radius, far, self.dimension, outside), (slope / length)[..., None] * away
