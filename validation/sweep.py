r"""A fixed sweep of the domain that Hypothesis would draw from: its corners, then points that fill it.

With k parameters the first sixteen points are corners: any three of up to
seven parameters take each of their eight combinations of ends (an orthogonal array of strength 3).  The others are Halton points, each coordinate on the linear or on the logarithmic scale of its
range, in all combinations, so that the many decades next to 0 are seen as well as its bulk.

No seed moves them.  The sweep is a backend of Hypothesis, and so serves every strategy.

References:
    | On the efficiency of certain quasi-random sequences of points (Halton, 1960), https://doi.org/10.1007/BF01386213
    | Alternative backends for Hypothesis, https://hypothesis.readthedocs.io/en/latest/extras.html
"""

from __future__ import annotations

import math
import sys
from typing import Any, ClassVar, final

from hypothesis.internal.conjecture import providers

__all__ = ["BACKEND", "CORNERS", "Sweep", "register"]

BACKEND = "driftproof-sweep"
CORNERS = 16
FAR = 2**31  # where a strategy of integers has no end
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)


def register() -> None:
    """Make the backend known to Hypothesis."""
    providers.AVAILABLE_PROVIDERS.setdefault(BACKEND, f"{__name__}.{Sweep.__name__}")


@final
class Sweep(providers.PrimitiveProvider):
    """Points in a fixed order; the parameters of a point are numbered as they are asked for."""

    lifetime: ClassVar[Any] = "test_function"

    def __init__(self, conjecturedata: Any, /) -> None:
        super().__init__(conjecturedata)
        self._point, self._parameter = -1, 0

    def per_test_case_context_manager(self) -> Any:
        self._point, self._parameter = self._point + 1, 0
        return super().per_test_case_context_manager()

    def draw_boolean(self, p: float = 0.5, **_: Any) -> bool:
        self._parameter += 1
        return self._filling() < p  # at the corners too: a list that is always continued has no end

    def draw_integer(self, min_value: int | None = None, max_value: int | None = None, **_: Any) -> int:
        self._parameter += 1
        low = min_value if min_value is not None else min(-FAR, (max_value or 0) - FAR)
        high = max_value if max_value is not None else max(FAR, (min_value or 0) + FAR)
        if self._point < CORNERS:
            return high if self._upper() else low
        return min(high, low + int(self._filling() * (high - low + 1)))

    def draw_float(
        self,
        *,
        min_value: float = -math.inf,
        max_value: float = math.inf,
        allow_nan: bool = True,
        smallest_nonzero_magnitude: float = 5e-324,
        **_: Any,
    ) -> float:
        self._parameter += 1
        if self._point < CORNERS:
            return max_value if self._upper() else min_value
        u, least = self._filling(), smallest_nonzero_magnitude
        low, high = max(min_value, -sys.float_info.max), min(max_value, sys.float_info.max)
        if self._walsh(self._point, 8 + self._parameter):
            drawn = _logarithmic(u, low, high, least)
        else:
            drawn = (1.0 - u) * low + u * high
        if abs(drawn) < least:
            drawn = 0.0 if low <= 0.0 <= high else math.copysign(least, low + high)
        return min(max(drawn, low), high)

    def draw_string(self, intervals: Any, *, min_size: int = 0, max_size: int = 2**20, **_: Any) -> str:
        size = self.draw_integer(min_size, min(max_size, min_size + 8))
        return "".join(chr(intervals[self._index(len(intervals))]) for _ in range(size))

    def draw_bytes(self, min_size: int = 0, max_size: int = 2**20, **_: Any) -> bytes:
        size = self.draw_integer(min_size, min(max_size, min_size + 8))
        return bytes(self._index(256) for _ in range(size))

    def _index(self, size: int) -> int:
        self._parameter += 1
        return int(self._filling() * size)

    def _upper(self) -> bool:
        """The end of this parameter at this corner: a Hadamard matrix of order 8, then its complement."""
        row, folded = self._point % 8, self._point >= 8
        return self._walsh(row, 1 + (self._parameter - 1) % 7) != folded

    @staticmethod
    def _walsh(a: int, b: int) -> bool:
        return (a & b).bit_count() % 2 == 1

    def _filling(self) -> float:
        """The Halton sequence; beyond its tabled bases the bases recur, turned by the golden ratio."""
        turn, base = divmod(self._parameter - 1, len(_PRIMES))
        return math.fmod(_radical_inverse(self._point + 1, _PRIMES[base]) + turn * 0.6180339887498949, 1.0)


def _radical_inverse(n: int, base: int) -> float:
    inverse, unit = 0.0, 1.0 / base
    while n:
        n, digit = divmod(n, base)
        inverse += digit * unit
        unit /= base
    return inverse


def _logarithmic(u: float, low: float, high: float, least: float) -> float:
    """The point at ``u`` on the logarithmic scale of the range; on each side of 0, if it holds 0."""
    if low < 0.0 < high:
        return (
            -_logarithmic(1.0 - 2.0 * u, 0.0, -low, least)
            if u < 0.5
            else _logarithmic(2.0 * u - 1.0, 0.0, high, least)
        )
    if high <= 0.0:
        return -_logarithmic(1.0 - u, -high, -low, least)
    near = max(low, least)
    return math.exp((1.0 - u) * math.log(near) + u * math.log(high)) if high > near else high
