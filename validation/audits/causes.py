r"""What a point mass shows of a run: where its state really is, and where the model is called.

A point mass ends at :math:`\alpha_e m` with deviation :math:`\sigma_e`: the noise level at which a run really
stops, hence the floor in closed form, :math:`W_2\big(N(\alpha_e m,\ \alpha_e^2 v + \sigma_e^2),\ N(m, v)\big)`.
Schemes that follow a point mass exactly (DDIM, Euler's method in sigma) leave a gap to the level at which the
model is called only where two grids differ.  Other schemes leave one that falls with the number of steps: that is
their discretisation, and no disagreement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .affine import DATA, LAWS, POINT, Law, Path, Vector
from .thresholds import HELD

__all__ = [
    "above",
    "alone",
    "end_law",
    "falling",
    "floor_of",
    "gap",
    "jumps_to_data",
    "largest_gaps",
    "last_jump",
    "other_grid",
    "parted",
    "rounded_times",
    "wrong_calls",
]


def end_law(path: Path, law: Law) -> tuple[float, float]:
    """Mean and deviation that the terminal noise level alone explains."""
    alpha, sigma = (float(each) for each in path.point[-1])
    return alpha * law.mean, math.hypot(alpha * law.std, sigma)


def floor_of(path: Path) -> float:
    """The error that the terminal noise level alone explains."""
    mean, std = end_law(path, DATA)
    return math.hypot(mean - DATA.mean, std - DATA.std)


def last_jump(path: Path, law: Law = DATA) -> float:
    """The loss of the denoiser in one step from the last level to the data: sqrt(v) - v / sqrt(v + (sigma/alpha)^2).

    It does not fall where the last level is that of a table.
    """
    alpha, sigma = float(path.alpha[-1]), float(path.sigma[-1])
    return law.std - alpha * law.variance / math.hypot(alpha * law.std, sigma)


def jumps_to_data(paths: Mapping[int, Path]) -> bool:
    """Whether every run jumps to the denoised state from one and the same level, which more steps do not bring down.

    Then the errors of all counts have what :func:`last_jump` says in common.
    """
    ratios = [float(path.sigma[-1] / path.alpha[-1]) for path in paths.values() if path.alpha[-1] > 0.0]
    same = len(ratios) == len(paths) and max(ratios) - min(ratios) <= HELD.gap * max(ratios)
    return same and all(max(map(abs, path.point[-1] - (1.0, 0.0))) <= HELD.gap for path in paths.values())


def above(path: Path, steady: bool, jumps: bool) -> Vector:
    """The errors without their limit, mean and deviation of each law with a spread, in units of the law.

    The limit is the law that the end level explains where that is steady, without what the last step loses.
    """
    found = []
    for i, law in enumerate(LAWS):
        if i == POINT:
            continue
        mean, std = end_law(path, law) if steady else (law.mean, law.std)
        std -= last_jump(path, law) if jumps else 0.0
        found += [(path.mean[-1, i] - mean) / law.std, (path.std[-1, i] - std) / law.std]
    return np.array(found) * DATA.std


def wrong_calls(path: Path) -> NDArray[np.intp]:
    """The calls at another noise level than the state's."""
    with np.errstate(all="ignore"):
        ratio = float(np.max(path.sigma / path.alpha))
    # Tables in single precision determine the data from a state of this noise no better than this.
    return np.flatnonzero(_gaps(path) > max(HELD.gap, 5e-7 * min(ratio, 1e5)))


def gap(path: Path) -> dict[str, float]:
    """The first call at another noise level than the state's; empty where there is none."""
    wrong = wrong_calls(path)
    if not len(wrong):
        return {}
    i = int(wrong[0])
    alpha, sigma = path.point[i]
    return {
        "call": i, "calls": len(path.alpha), "alpha": float(alpha), "sigma": float(sigma),
        "told_alpha": float(path.alpha[i]), "told_sigma": float(path.sigma[i]),
    }  # fmt: skip


def other_grid(paths: Mapping[int, Path]) -> bool:
    """Whether a point mass is first found at another time of its forward process than the label says.

    On alpha^2 + sigma^2 = 1 and on alpha + sigma = 1 a state of a wrong scheme is not, but by chance, where there
    is little of the data in it: sigma has to be right far beyond what alpha is off.  On alpha = 1 every
    deterministic scheme is, and the gap must not fall with the number of steps.
    """
    path = next((each for each in paths.values() if len(wrong_calls(each))), None)
    if path is None:
        return False
    i = int(wrong_calls(path)[0])
    alpha, sigma = (float(each) for each in path.point[i])
    if np.all(np.abs(np.hypot(path.alpha, path.sigma) - 1.0) < 1e-6):
        expected = math.sqrt(max(1.0 - alpha**2, 0.0))
    elif np.all(np.abs(path.alpha + path.sigma - 1.0) < 1e-6):
        expected = 1.0 - alpha
    else:
        exploding = path.draws == 0 and bool(np.all(path.alpha == 1.0)) and abs(alpha - 1.0) < HELD.gap
        return exploding and not falling(largest_gaps(paths))
    return abs(sigma - expected) < HELD.chance * abs(expected - float(path.sigma[i])) + HELD.rounded


def alone(path: Path) -> tuple[int, ...]:
    """The calls after which a point mass is elsewhere, though it was not before, where these are few.

    A call is judged by itself: from the level at which it starts it must lead to the level of the next.  A scheme
    that is not exact on a point mass is inexact at most calls.
    """
    calls = len(path.alpha)
    if calls < HELD.few_from:
        return ()
    with np.errstate(all="ignore"):
        alpha, sigma = _leads(path)
        off = np.maximum(np.abs(alpha - path.alpha[1:]), np.abs(sigma - path.sigma[1:]))
        off = np.maximum(off / np.hypot(path.alpha[1:], path.sigma[1:]) - path.blur[1:], 0.0)
    wrong = np.flatnonzero(off > HELD.gap)
    few = 0 < len(wrong) <= HELD.few * calls and float(np.max(off)) > HELD.alone
    return tuple(int(i) + 1 for i in wrong) if few else ()


def parted(paths: Mapping[int, Path]) -> dict[int, float]:
    """The counts at which the state leaves the levels of its calls, though with fewer steps it does not, and how far."""
    gaps = largest_gaps(paths)
    exact = min((n for n in paths if n > 1 and n not in gaps), default=None)
    return {} if exact is None else {n: size for n, size in gaps.items() if size > HELD.alone and exact < n}


def rounded_times(path: Path, steps: int) -> bool:
    """Whether timesteps that are rounded to integers explain where a point mass is.

    The number of steps does not divide that of the training, and each call, judged by itself, leads at most one training
    step away from the label of the next, on the curve of the forward process.
    """
    clock = path.clock
    if clock is None or clock.trained % steps == 0 or not path.finite or len(path.alpha) < 2:
        return False
    if np.any(path.labels != np.round(path.labels)):
        return False
    with np.errstate(all="ignore"):
        alpha, sigma = _leads(path)
        off = clock.off(path.labels[1:], sigma / alpha)
        length = np.hypot(alpha, sigma) / np.hypot(path.alpha[1:], path.sigma[1:])
    return bool(np.all(np.abs(off) <= 1.0 + HELD.gap) and np.all(np.abs(length - 1.0) <= HELD.gap))


def largest_gaps(paths: Mapping[int, Path]) -> dict[int, float]:
    """The largest gap at each count that has one."""
    return {count: float(np.max(_gaps(path))) for count, path in paths.items() if len(wrong_calls(path))}


def falling(sizes: Mapping[int, float]) -> bool:
    """Whether these fall from the first count to the last as a discretisation error does."""
    first, last = min(sizes), max(sizes)
    return last > first and sizes[last] < sizes[first] * (first / last) ** HELD.discretises


def _leads(path: Path) -> tuple[Vector, Vector]:
    """The level (alpha, sigma) to which each call but the last leads a point mass from the level at which it is made."""
    mean, std = path.point[:, 0], path.point[:, 1]
    noise = np.maximum(std[1:] ** 2 - (path.gain * std[:-1]) ** 2, 0.0)  # what the call itself has added
    alpha = mean[1:-1] - path.gain[:-1] * (mean[:-2] - path.alpha[:-1])
    sigma = np.sqrt((path.gain[:-1] * path.sigma[:-1]) ** 2 + noise[:-1])
    return alpha, sigma


def _gaps(path: Path) -> Vector:
    with np.errstate(all="ignore"):
        off = np.abs(path.point[: len(path.alpha)] - np.stack([path.alpha, path.sigma], axis=1))
        return np.maximum(np.max(off, axis=1) / np.hypot(path.alpha, path.sigma) - path.blur, 0.0)
