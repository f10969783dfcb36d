"""The other side of every comparison: generators as textbooks print them, gradients by differences at 60 digits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import mpmath as mp
import numpy as np
from numpy.typing import NDArray

from driftproof.theory.divergences import FDivergence, get

__all__ = [
    "GENERATORS",
    "NAMES",
    "PAIRS",
    "divergences",
    "expected",
    "gradient",
    "log_softmax",
    "of_one_function",
    "pair_divergence",
    "pairs",
]

Floats: TypeAlias = NDArray[np.float64]
Function: TypeAlias = Callable[[Any], Any]


def _blend(weight: float) -> Function:
    return lambda u: mp.mpf(weight) * u + 1 - mp.mpf(weight)


def _gjsd(beta: float) -> Function:
    b, m = mp.mpf(beta), _blend(beta)
    return lambda u: b * u * mp.log(u / m(u)) - (1 - b) * mp.log(m(u))


def _alpha(a: float) -> Function:
    k = mp.mpf(a)
    return lambda u: (u**k - 1 - k * (u - 1)) / (k * (k - 1))


GENERATORS: dict[str, Function] = {
    "reverse_kl": lambda u: -mp.log(u),
    "forward_kl": lambda u: u * mp.log(u),
    "alpha(-1.5)": _alpha(-1.5),
    "alpha(0.3)": _alpha(0.3),
    "alpha(2.5)": _alpha(2.5),
    "pearson": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (u - 1) ** 2 / u,
    "hellinger": lambda u: (mp.sqrt(u) - 1) ** 2,
    "jsd": lambda u: (u * mp.log(u) - (1 + u) * mp.log((1 + u) / 2)) / 2,
    "gjsd(0.1)": _gjsd(0.1),
    "gjsd(0.9)": _gjsd(0.9),
    "normalized_gjsd(0.3)": lambda u: _gjsd(0.3)(u) / (mp.mpf(0.3) * (1 - mp.mpf(0.3))),
    "skew_kl(0.2)": lambda u: u * mp.log(u / _blend(0.2)(u)),
    "skew_rkl(0.2)": lambda u: -mp.log(_blend(0.2)(u)),
    "jeffreys": lambda u: (u - 1) * mp.log(u),
    "le_cam": lambda u: (u - 1) ** 2 / (u + 1),
}


def divergences() -> list[tuple[FDivergence, Function]]:
    """Each divergence of the library beside its printed generator."""
    return [(get(name), f) for name, f in GENERATORS.items()]


def log_softmax(logits: Any) -> Floats:
    """Log-probabilities over the last axis."""
    z = np.asarray(logits, dtype=np.float64)
    z = z - z.max(-1, keepdims=True)
    result: Floats = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return result


NAMES = ("reverse_kl", "forward_kl", "jsd", "hellinger", "alpha(2.5)", "skew_kl(0.2)")

# Logits of a student and a teacher: near each other, apart, peaked against flat, and almost equal.
PAIRS: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = (
    ((0.3, -0.2, 0.9, -1.0), (0.1, 0.4, 0.2, -0.6)),
    ((2.0, -1.5, 0.3, 0.0), (-1.0, 1.2, 0.8, -2.0)),
    ((6.0, 0.0, 0.0, -3.0), (0.0, 0.0, 0.0, 0.0)),
    ((0.5, -0.5, 0.2, 0.1), (0.5, -0.5, 0.2, 0.1001)),
)


def pair_divergence(f: Function, student: Any, teacher: Any) -> Any:
    """D_f from logits, as printed, in mpmath."""
    p, q = _softmax(student), _softmax(teacher)
    return mp.fsum(a * f(b / a) for a, b in zip(p, q, strict=True))


def gradient(objective: Callable[[list[Any]], Any], logits: Any) -> list[Any]:
    """Central differences with a step of 1e-18 at 60 digits: right to about 1e-34."""
    step = mp.mpf(10) ** -18
    result = []
    with mp.workdps(60):
        point = [mp.mpf(float(z)) for z in logits]
        for i in range(len(point)):
            up, down = list(point), list(point)
            up[i], down[i] = point[i] + step, point[i] - step
            result.append((objective(up) - objective(down)) / (2 * step))
    return result


def pairs() -> Iterator[tuple[Floats, Floats]]:
    """Log-probabilities of the student and the teacher of each pair."""
    for student, teacher in PAIRS:
        yield log_softmax(student), log_softmax(teacher)


def expected(logp: Floats, weights: Floats) -> Floats:
    """Sum over tokens of p(a) w(a) grad log p(a), in the logits: what sampling averages to."""
    p = np.exp(logp)
    result: Floats = p * weights - p * np.sum(p * weights)
    return result


def _softmax(logits: Any) -> list[Any]:
    weights = [mp.exp(mp.mpf(z) if isinstance(z, float) else z) for z in logits]
    total = mp.fsum(weights)
    return [w / total for w in weights]


def of_one_function(f: FDivergence, deltas: Floats) -> Iterator[tuple[str, Any, Any]]:
    """Slope, curvature and advantage against differences of sixth order of the value, away from its kinks."""
    weights = ((1, 0.75), (2, -0.15), (3, 1.0 / 60.0))
    u, h = np.exp(deltas), 2e-3 * np.exp(deltas)
    slope, bend = (
        sum(w * (part(u + k * h) - part(u - k * h)) for k, w in weights) / h for part in (f.f, f.df)
    )
    yield f"slope of {f.name}", f.df(u), slope
    yield f"curvature of {f.name}", f.d2f(u), bend
    yield f"advantage of {f.name}", f.advantage(deltas), u * f.df(u) - f.f(u) - f.df(1.0)
