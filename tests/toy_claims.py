"""Toy claims: what the engine must say of them is known beforehand."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from hypothesis import strategies as st

from driftproof.validation import Statistic, Thing, drawn, exact, figure, property, statistical
from driftproof.validation.registry import Registry

TOYS = Registry()
SLOW = Registry()
REALS = st.floats(-100.0, 100.0)


def square(x: Any) -> Any:
    return x * x


def negated(x: Any) -> Any:
    return -x * x


def doubled(x: Any) -> Any:
    return 2 * x * x


def test_of_mean(sample: np.ndarray, mean: float, sd: float) -> Statistic:
    n = sample.size
    z = (sample.mean() - mean) / (sd / math.sqrt(n))
    detectable = 8.5 * sd / math.sqrt(n)
    return Statistic(math.erfc(abs(z) / math.sqrt(2)), detectable, sample.mean() - mean, n)


class _Square:
    """The square of a number.

    It is its product with itself."""

    @exact(tolerance=1e-15)
    def equals_table(thing: Thing) -> Iterator[tuple[str, Any, Any]]:
        yield "3", thing(3.0), 9.0
        yield "array", thing(np.asarray([1.0, 2.0])), [1.0, 4.0]

    @property(tolerance=1e-15)
    def is_even(thing: Thing, x: float = drawn(REALS)) -> Any:
        return thing(x), thing(-x)

    @statistical(n=20_000)
    def has_mean_one(thing: Thing, rng: np.random.Generator, n: int) -> Any:
        return test_of_mean(thing(rng.standard_normal(n)), 1.0, math.sqrt(2.0))

    @figure
    def parabola(thing: Thing) -> Any:
        """The graph."""
        from matplotlib.figure import Figure

        drawing = Figure()
        grid = np.linspace(-1.0, 1.0)
        drawing.subplots().plot(grid, thing(grid))
        return drawing

    mutants: ClassVar = {"sign": negated, "factor two": doubled}


def _register(
    registry: Registry, id: str, base: type, name: str, module: str = __name__, tried: Any = square
) -> Any:
    cls = type(name, (), {**vars(base), "__module__": module, "__qualname__": name})
    return registry.claim(id, "Toy", r"f(x) = x^2", paper="toy", covers={"thing": tried})(cls)


SquareA = _register(TOYS, "TOY-SQUARE-1", _Square, "SquareA")
SquareB = _register(TOYS, "TOY-SQUARE-2", _Square, "SquareB")


def slow(x: Any) -> Any:
    # Long enough to be interrupted; a test that fails to do so must not hang for ever.
    time.sleep(float(os.environ.get("TOY_SECONDS", "60")))
    return x * x


def deadly(x: Any) -> Any:
    os._exit(3)


class _Slow:
    @exact(tolerance=1e-15)
    def equals_table(thing: Thing) -> Any:
        return thing(3.0), 9.0

    mutants: ClassVar = {"sign": negated, "factor two": doubled}


QuickA = _register(SLOW, "SLOW-QUICK-1", _Square, "QuickA")
QuickB = _register(SLOW, "SLOW-QUICK-2", _Square, "QuickB")
SlowA = _register(SLOW, "SLOW-SLOW-1", _Slow, "SlowA", tried=slow)
SlowB = _register(SLOW, "SLOW-SLOW-2", _Slow, "SlowB", tried=slow)
