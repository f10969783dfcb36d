r"""Why a run ends where it does, from the law of its state and from a point mass.

A run ends at N(a, b^2), and its error is the distance :math:`W_2 = |(a - m,\ b - \sqrt v)|` to the data.  On
the point mass it ends at :math:`\alpha_e m` with deviation :math:`\sigma_e`: the noise level at which it
really stops, hence the floor in closed form,

.. math:: W_2\big(N(\alpha_e m,\ \alpha_e^2 v + \sigma_e^2),\ N(m, v)\big).

On the way the point mass tells where the state is.  Schemes that follow a point mass exactly (DDIM, Euler's
method in sigma) leave a gap to the level at which the model is called only where two grids differ.  Other
schemes leave one that falls with the number of steps: that is their discretisation, and no disagreement.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .affine import Path, Vector

__all__ = [
    "MEAN",
    "SINGLE",
    "VARIANCE",
    "above",
    "describe",
    "disagrees",
    "distance",
    "floor",
    "gap",
    "last_jump",
]

# The data: neither centred nor of unit variance, which many errors leave alone.
MEAN: Final = 0.8
VARIANCE: Final = 0.25

# Tables of noise levels are often held in single precision: less than this is not an error.
SINGLE: Final = 1e-5
# Relative distance between where the point mass is and where the model is called.
_GAP = 1e-4
# How far sigma may be from the curve, of the way that it is from the model's; and rounding.
_CHANCE, _ROUNDED = 0.02, 1e-7
# What falls slower than this power of the number of steps is not of the discretisation.
_FALLS = 0.5


def distance(path: Path) -> float:
    """The error of the terminal law."""
    return math.hypot(float(path.mean[-1]) - MEAN, float(path.std[-1]) - math.sqrt(VARIANCE))


def floor(path: Path) -> float:
    """The error that the terminal noise level alone explains."""
    mean, std = _end(path)
    return math.hypot(mean - MEAN, std - math.sqrt(VARIANCE))


def above(path: Path, steady: bool) -> float:
    """The error without its floor."""
    mean, std = _end(path) if steady else (MEAN, math.sqrt(VARIANCE))
    return math.hypot(float(path.mean[-1]) - mean, float(path.std[-1]) - std)


def last_jump(path: Path) -> float:
    """What the denoiser loses in one step from the last level to the data: sqrt(v) - v / sqrt(v + (sigma/alpha)^2).

    It does not fall where the last level is that of a table.
    """
    alpha, sigma = float(path.alpha[-1]), float(path.sigma[-1])
    return math.sqrt(VARIANCE) - alpha * VARIANCE / math.hypot(alpha * math.sqrt(VARIANCE), sigma)


def disagrees(paths: dict[int, Path]) -> bool:
    """Whether a point mass is somewhere else than the model is told, and stays so with more steps.

    A call that does nothing is only a waste.
    """
    if other_grid(paths):
        return True
    gaps = _largest(paths)
    ends = {count: found for count, path in paths.items() if (found := floor(path)) > SINGLE}
    last = max(paths)
    return any(last in sizes and not _falling(sizes) for sizes in (gaps, ends))


def other_grid(paths: dict[int, Path]) -> bool:
    """Whether a point mass is first found at another time of its forward process than the model is told.

    On alpha^2 + sigma^2 = 1 and on alpha + sigma = 1 a state of a wrong scheme is not, but by chance, where there
    is little of the data in it: sigma has to be right far beyond what alpha is off.  On alpha = 1 every
    deterministic scheme is, and the gap must not fall with the number of steps.
    """
    path = next((each for each in paths.values() if len(_wrong(each))), None)
    if path is None:
        return False
    i = int(_wrong(path)[0])
    alpha, sigma = float(path.point_mean[i]) / MEAN, float(path.point_std[i])
    if np.all(np.abs(np.hypot(path.alpha, path.sigma) - 1.0) < 1e-6):
        expected = math.sqrt(max(1.0 - alpha**2, 0.0))
    elif np.all(np.abs(path.alpha + path.sigma - 1.0) < 1e-6):
        expected = 1.0 - alpha
    else:
        exploding = path.draws == 0 and bool(np.all(path.alpha == 1.0)) and abs(alpha - 1.0) < _GAP
        return exploding and not _falling(_largest(paths))
    return abs(sigma - expected) < _CHANCE * abs(expected - float(path.sigma[i])) + _ROUNDED


def describe(paths: dict[int, Path]) -> str:
    """What a point mass shows; empty where it is followed exactly."""
    parts = []
    last = paths[max(paths)]
    alpha, sigma = float(last.point_mean[-1]) / MEAN, float(last.point_std[-1])
    found = next((said for path in paths.values() if (said := gap(path))), "")
    if found:
        grids = " (another time of the same forward process: the grids differ)" if other_grid(paths) else ""
        parts.append(found.replace(", and", f"{grids}, and"))
    if floor(last) > SINGLE:
        parts.append(f"ends at alpha = {alpha:.4g}, sigma = {sigma:.3g} instead of 1, 0")
    if last.last_move <= 1e-12:
        parts.append("the last call does nothing")
    return "".join(f"; {part}" for part in parts)


def gap(path: Path) -> str:
    """The first call at another noise level than the state's, on the point mass; empty where there is none."""
    wrong = _wrong(path)
    if not len(wrong):
        return ""
    i = int(wrong[0])
    alpha, sigma = path.point_mean[i] / MEAN, path.point_std[i]
    return (
        f"after call {i} of {len(path.alpha)} a point mass is at alpha = {alpha:.4g}, sigma = {sigma:.4g}"
        f", and the model is called at {path.alpha[i]:.4g}, {path.sigma[i]:.4g}"
    )


def _end(path: Path) -> tuple[float, float]:
    """Mean and deviation of the law that the terminal noise level alone explains."""
    alpha, sigma = float(path.point_mean[-1]) / MEAN, float(path.point_std[-1])
    return alpha * MEAN, math.hypot(alpha * math.sqrt(VARIANCE), sigma)


def _gaps(path: Path) -> Vector:
    with np.errstate(all="ignore"):
        alpha, sigma = path.point_mean[: len(path.alpha)] / MEAN, path.point_std[: len(path.alpha)]
        size = np.hypot(path.alpha, path.sigma)
        return np.asarray(np.maximum(np.abs(alpha - path.alpha), np.abs(sigma - path.sigma)) / size)


def _wrong(path: Path) -> NDArray[np.intp]:
    """The calls at another noise level than the state's."""
    with np.errstate(all="ignore"):
        ratio = float(np.max(path.sigma / path.alpha))
    # Tables in single precision determine the data from a state of this noise no better than this.
    return np.flatnonzero(_gaps(path) > max(_GAP, 5e-7 * min(ratio, 1e5)))


def _largest(paths: dict[int, Path]) -> dict[int, float]:
    """The largest gap at each count that has one."""
    return {count: float(np.max(_gaps(path))) for count, path in paths.items() if len(_wrong(path))}


def _falling(sizes: dict[int, float]) -> bool:
    """Whether these fall from the first count to the last as a discretisation error does."""
    first, last = min(sizes), max(sizes)
    return last > first and sizes[last] < sizes[first] * (first / last) ** _FALLS
