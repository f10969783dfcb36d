"""Numbers at the ends of every domain, and what a law or a step may answer to them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from driftproof import UnmetHypothesis

TINY, HUGE = 5e-324, 1.7e308
POSITIVE = (
    TINY,
    1e-310,
    2.3e-308,
    1e-300,
    1e-161,
    1e-154,
    1e-100,
    1e-30,
    2.3e-16,
    1e-8,
    0.3,
    1.0,
    1.0 + 2.3e-16,
)
POSITIVE += (3.0, 1e3, 1e8, 1e16, 1e100, 1e154, 1e155, 1e161, 1e300, HUGE)
NONNEGATIVE = (0.0, *POSITIVE)
REAL = (*(-x for x in reversed(POSITIVE)), *NONNEGATIVE)
# Shapes and degrees of freedom: of what a model may have.
SHAPES = (1e-8, 1e-3, 0.3, 1.0, 2.0 - 2.3e-16, 2.0, 3.0, 50.0, 1e4)
ORDERS = (-1.0 + 2.0**-53, -1.0 + 1e-10, -0.5, 0.0, 0.5, 3.0, 100.0, 1e5)
POINTS = {"finite": np.asarray(REAL), "> 0": np.asarray(POSITIVE), ">= 0": np.asarray(NONNEGATIVE)}

# Beyond, the square of a Bessel argument is no normal number: densities and moments say so by an error.
MODERATE = (1e-150, 1e150)


def grid(domains: dict[str, Sequence[float]], most: int) -> Iterator[dict[str, float]]:
    """The product of the domains, thinned evenly to about ``most`` points, its corners kept."""
    total = math.prod(len(domain) for domain in domains.values())
    stride = max(1, total // most)
    stride += stride > 1 and math.gcd(stride, math.prod({len(domain) for domain in domains.values()})) > 1
    corners = itertools.product(*((domain[0], domain[-1]) for domain in domains.values()))
    inner = itertools.islice(itertools.product(*domains.values()), 0, None, stride)
    for values in itertools.chain(corners, inner):
        yield dict(zip(domains, values, strict=True))


@dataclass
class Faults:
    """Counts tries and collects what went wrong."""

    tries: int = 0
    found: list[str] = field(default_factory=list)
    refused: int = 0

    def ask(self, label: str, function: Callable[[], Any]) -> np.ndarray | None:
        """The answer as numbers: a NaN, or an error that is neither an unmet hypothesis nor a run's own, is a fault."""
        self.tries += 1
        try:
            with np.errstate(all="ignore"):
                answer = np.asarray(function())
        except UnmetHypothesis as error:
            if error.hypothesis.startswith("the result has no NaN"):
                self.found.append(f"{label}: refuses its own NaN")
            self.refused += 1
            return None
        except FloatingPointError as error:
            if "values are not finite after" not in str(error):  # what a sampler's docstring says
                self.found.append(f"{label}: {error}")
            self.refused += 1
            return None
        except Exception as error:  # noqa: BLE001  # any other one is what is looked for
            self.found.append(f"{label}: {type(error).__name__}: {str(error)[:80]}")
            return None
        if np.isnan(answer).any():
            self.found.append(f"{label}: NaN")
            return None
        return answer

    def check(self, label: str, holds: bool) -> None:
        """One more statement that must hold."""
        if not holds:
            self.found.append(label)


def inside(draws: np.ndarray, support: str) -> bool:
    """Whether draws are in the closure of a support: the exact draw may underflow to its end, or overflow."""
    return support == "finite" or bool((draws >= 0).all())
