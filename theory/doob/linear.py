r"""Events of one or two linear functionals: half-spaces, slabs and the intersection of two half-spaces.

Under :math:`N(M, C)` a functional :math:`n \cdot x` is normal, so that a slab is an interval of a normal law,

.. math:: P = \Phi(z_h) - \Phi(z_l), \qquad z = \frac{\text{level} - n \cdot M}{\sqrt{n^\top C n}}, \qquad
    \nabla_M \log P = \frac{E[Z \mid z_l < Z < z_h]}{\sqrt{n^\top C n}}\,n,

and two functionals have the bivariate law of their correlation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from driftproof._capabilities import arrays
from driftproof._checks import require_number
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked, require
from driftproof.theory.processes.posterior import matvec
from driftproof.theory.special.elementary import sqrt_or_zero
from driftproof.theory.special.normal import log_ndtr

from .arcs import log_bivariate_ndtr
from .events import AbstractEvent, Measured, normal_rows, require_interior, require_spread, summed
from .intervals import interval

__all__ = ["Orthant", "Slab", "half_space"]

HALF_LOG_TAU = 0.5 * math.log(2.0 * math.pi)


@final
@dataclass(frozen=True, eq=False)
@checked(low="in [-inf, inf]", high="in [-inf, inf]")
class Slab(AbstractEvent):
    r"""The points whose linear functional lies between two levels, :math:`l \le n \cdot x \le h`.

    The functional is what is of interest: a coordinate, or the sum of the last k days, n = (0, ..., 0, 1, ..., 1).
    Its length matters not beside the levels.  With one level infinite it is a half-space: :func:`half_space`.

    Arguments:
        normal: n, shape (d,), not 0.
        low, high: Levels l < h; one or both may be infinite.

    Raises:
        UnmetHypothesis: n = 0 or not finite; l >= h: the event has no interior.

    Claims: DOOB-EVENT-1, DOOB-EVENT-2

    Example:
        >>> Slab([0.0, 1.0, 1.0], low=-1.0, high=1.0).contains([5.0, 0.25, 0.5]).tolist()
        True
    """

    normal: Array
    low: float = -float("inf")
    high: float = float("inf")

    def __post_init__(self) -> None:
        object.__setattr__(self, "normal", normal_rows("Slab", "normal", self.normal, 1))
        require_interior("Slab", self.low < self.high, f"low = {self.low!r}, high = {self.high!r}")

    @property
    def parameters(self) -> Mapping[str, Array]:
        return {"normal": self.normal}

    @property
    def dimension(self) -> int:
        return int(self.normal.shape[0])

    def membership(self, xp: Namespace, x: Array) -> Array:
        value = xp.sum(x * self.normal, axis=-1)
        return (value >= self.low) & (value <= self.high)

    def inside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        low, high, spread = self.standardised(xp, mean, cov)
        log_p, z = interval(xp, low, high)
        return log_p, (z / spread)[..., None] * self.normal

    def outside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        low, high, spread = self.standardised(xp, mean, cov)
        ends = [(-xp.inf + 0.0 * spread, low)] * (self.low > -float("inf"))
        ends += [(high, xp.inf + 0.0 * spread)] * (self.high < float("inf"))
        if not ends:
            return -xp.inf + 0.0 * spread, 0.0 * mean
        tails = [interval(xp, *pair) for pair in ends]
        parts = [(log_p, (z / spread)[..., None] * self.normal) for log_p, z in tails]
        return summed(xp, parts)

    def standardised(self, xp: Namespace, mean: Array, cov: Array) -> tuple[Array, Array, Array]:
        """Kernel: both levels in standard units of the functional, and its deviation."""
        centre = xp.sum(mean * self.normal, axis=-1)
        spread = xp.sqrt(xp.sum(matvec(xp, cov, self.normal) * self.normal, axis=-1))
        require_spread(xp, "Slab", spread)
        return (self.low - centre) / spread, (self.high - centre) / spread, spread


@arrays()
def half_space(normal: Array, level: float, *, below: bool = False) -> Slab:
    r"""The points whose linear functional is at least a level, or at most.

    .. math:: n \cdot x \ge b, \qquad \text{below:} \quad n \cdot x \le b

    Arguments:
        normal: n, shape (d,), not 0.
        level: b, a finite number.
        below: Whether the functional is at most b.

    Claims: DOOB-EVENT-1

    Example:
        >>> half_space([2.0], 1.0).contains([[0.25], [0.75]]).tolist()
        [False, True]
    """
    require_number("half_space", "level", level, "finite")
    return Slab(normal, high=level) if below else Slab(normal, low=level)


@final
@dataclass(frozen=True, eq=False)
@checked
class Orthant(AbstractEvent):
    r"""The points at which two linear functionals are at least their levels, :math:`n_i \cdot x \ge b_i`.

    Under a law that correlates them its probability is not the product of two.

    Arguments:
        normals: :math:`n_1, n_2`, shape (2, d), not 0.
        levels: :math:`b_1, b_2`, shape (2,), finite.

    Raises:
        UnmetHypothesis: A normal is 0; shapes do not match.

    Claims: DOOB-EVENT-1, DOOB-EVENT-2

    Example:
        >>> Orthant([[1.0, 0.0], [1.0, 1.0]], [0.0, 1.0]).contains([[2.0, 0.0], [2.0, -2.0]]).tolist()
        [True, False]
    """

    normals: Array
    levels: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "normals", normal_rows("Orthant", "normals", self.normals, 2))
        xp, _, (levels, _) = boundary("Orthant", levels=self.levels, normals=self.normals)
        require(xp, "Orthant", "levels", levels, "finite")
        if tuple(levels.shape) != (2,) or self.normals.shape[0] != 2:
            got = f"shapes {tuple(self.normals.shape)}, {tuple(levels.shape)}"
            raise UnmetHypothesis("Orthant", "normals (2, d) and levels (2,)", got)
        object.__setattr__(self, "levels", levels)

    @property
    def parameters(self) -> Mapping[str, Array]:
        return {"normals": self.normals, "levels": self.levels}

    @property
    def dimension(self) -> int:
        return int(self.normals.shape[1])

    def membership(self, xp: Namespace, x: Array) -> Array:
        return xp.all(x @ xp.matrix_transpose(self.normals) >= self.levels, axis=-1)

    def inside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        z, spread, rho = self._standardised(xp, mean, cov)
        return self._quadrant(xp, z[..., 0], z[..., 1], rho, 1.0, 1.0, spread)

    def outside(self, xp: Namespace, mean: Array, cov: Array) -> Measured:
        # The first functional is too small; or it is not, and the second one is.
        z, spread, rho = self._standardised(xp, mean, cov)
        log_p, mean_of = interval(xp, -xp.inf + 0.0 * rho, -z[..., 0])
        first = log_p, (mean_of / spread[..., 0])[..., None] * self.normals[0, :]
        return summed(xp, [first, self._quadrant(xp, z[..., 0], -z[..., 1], -rho, 1.0, -1.0, spread)])

    def _quadrant(
        self, xp: Namespace, a: Array, b: Array, rho: Array, of_a: float, of_b: float, spread: Array
    ) -> Measured:
        """log Phi_2 and its gradient in the mean, with the signs of the two normals."""
        log_p = log_bivariate_ndtr.kernel(xp, a, b, rho)
        left = sqrt_or_zero(xp, (1.0 - rho) * (1.0 + rho))
        some = left > 0
        width = xp.where(some, left, xp.ones_like(left))

        def slope(z: Array, other: Array) -> Array:
            given = other - rho * z
            # Parallel functionals: the other one follows, or does not.
            far = xp.where(given >= 0, xp.zeros_like(given), -xp.inf)
            log_q = xp.where(some, log_ndtr.kernel(xp, given / width), far)
            return xp.exp(-0.5 * z * z - HALF_LOG_TAU + log_q - log_p)

        first = (of_a * slope(a, b) / spread[..., 0])[..., None] * self.normals[0, :]
        return log_p, first + (of_b * slope(b, a) / spread[..., 1])[..., None] * self.normals[1, :]

    def _standardised(self, xp: Namespace, mean: Array, cov: Array) -> tuple[Array, Array, Array]:
        joint = self.normals @ cov @ xp.matrix_transpose(self.normals)
        spread = xp.sqrt(xp.linalg.diagonal(joint))
        require_spread(xp, "Orthant", spread)
        rho = joint[..., 0, 1] / (spread[..., 0] * spread[..., 1])
        rho = xp.where(rho > 1.0, 1.0, xp.where(rho < -1.0, -1.0, rho))
        return (mean @ xp.matrix_transpose(self.normals) - self.levels) / spread, spread, rho
