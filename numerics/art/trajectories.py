r"""Grids from the trajectories of a many-step run: GITS's costs, and the recursion of optimal stepsizes.

A teacher goes through states :math:`x_0, \dots, x_M` at fine levels, with slopes :math:`F_i = F(x_i, \sigma_i)`.

* GITS: a long step of Euler from the *teacher's* state i misses the teacher's state j by a distance
  (:func:`departures`); the sum along a grid is minimised by :func:`.programming.best_subgrid`.
* Optimal stepsizes: of all *students* that reach level j in k steps keep the one nearest to the teacher
  (:func:`nearest_subgrid`).  Its own states are followed, so that errors are carried; it is optimal where the nearest
  student stays the nearest, as it does on a Gaussian, and a heuristic elsewhere.

References:
    | On the trajectory regularity of ODE-based diffusion sampling (Chen et al., 2024), https://arxiv.org/abs/2405.11326
    | Optimal stepsize for diffusion sampling (Pei et al., 2025), https://arxiv.org/abs/2503.21774 (by its abstract)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from driftproof._capabilities import arrays
from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    boundary,
    holds,
    public,
)

from .stiffness import Velocity

__all__ = ["departures", "nearest_subgrid"]


def _teacher(subject: str) -> Callable[..., None]:
    """The check of a teacher's run, and of gains at its levels."""

    def check(xp: Namespace, *, states: Array, levels: Array, **others: Any) -> None:
        slopes, gain = others.get("slopes"), others.get("gain")
        if states.ndim != 3 or 0 in states.shape or states.shape[0] < 2:
            raise UnmetHypothesis(subject, "states (M, B, d), M >= 2", f"shape {tuple(states.shape)}")
        for name, value, shape in (
            ("levels", levels, states.shape[:1]),
            ("slopes", slopes, states.shape),
            ("gain", gain, states.shape[:1]),
        ):
            if value is not None and tuple(value.shape) != tuple(shape):
                got = f"shape {tuple(value.shape)}"
                raise UnmetHypothesis(subject, f"{name} has the shape {tuple(shape)} of states", got)
        if not holds(xp.all(levels[1:] < levels[:-1])):
            raise UnmetHypothesis(subject, "levels fall", "a level is not below the one before it")

    return check


@public(
    wide=True,
    check=_teacher("departures"),
    states="finite",
    slopes="finite",
    levels="finite",
    gain="in [0, inf)",
)
def departures(
    xp: Namespace, states: Array, slopes: Array, levels: Array, gain: Array | None = None
) -> Array:
    r"""How far one step of Euler from each state of a teacher is from each later one.

    .. math:: C_{ij} = g_j \sqrt{E\,|x_i + (\sigma_j-\sigma_i) F_i - x_j|^2}

    Arguments:
        states: The teacher's states, (M, B, d).
        slopes: Its slopes :math:`dx/d\sigma` there, (M, B, d).
        levels: Decreasing levels, (M,).
        gain: g, (M,): what the flow multiplies an error at each level by until the end.  None: 1, as in GITS.

    Returns:
        Costs (M, M) for :func:`.programming.best_subgrid`, 0 below the diagonal and on it.

    Raises:
        UnmetHypothesis: Shapes that do not match, or levels that do not fall.

    Claims: ART-TRAJECTORY-1

    Example:
        >>> departures([[[4.0]], [[1.0]], [[0.0]]], [[[2.0]], [[1.0]], [[0.0]]], [2.0, 1.0, 0.0]).tolist()  # x = sigma^2
        [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    ahead = levels[None, :] - levels[:, None]
    reached = states[:, None, :, :] + ahead[:, :, None, None] * slopes[:, None, :, :]
    square = xp.mean(xp.sum((reached - states[None, :, :, :]) ** 2, axis=-1), axis=-1)
    later = (ahead < 0.0) & (square > 0.0)  # the root of 0 has no derivative
    found = xp.where(later, xp.sqrt(xp.where(later, square, xp.ones_like(square))), xp.zeros_like(square))
    return found if gain is None else found * gain


@arrays()
def nearest_subgrid(velocity: Velocity, states: Array, levels: Array, n: int) -> tuple[list[int], float]:
    r"""n steps of Euler among fine levels by the recursion of optimal stepsizes.

    .. math:: x^{(k)}_j = \text{nearest to } x_j \text{ among } x^{(k-1)}_i + (\sigma_j-\sigma_i)\,F(x^{(k-1)}_i, \sigma_i), \; i < j

    Arguments:
        velocity: F, a function of states (B, d) and a level, a scalar array; called at most (n - 1)(M - 2) + 1 times.
        states: The teacher's states, (M, B, d), from the first level to the last.
        levels: Decreasing levels, (M,).
        n: Number of steps, 1 <= n < M.

    Returns:
        The indices of the n + 1 levels, and the root mean square distance of the student from the teacher at the end.

    Raises:
        UnmetHypothesis: Shapes that do not match, levels that do not fall, too few of them, or a velocity that is not
            finite.

    Claims: ART-TRAJECTORY-1

    Example:
        >>> import numpy as np
        >>> teacher = np.asarray([[[4.0]], [[1.0]], [[0.0]]])  # x = sigma^2
        >>> nearest_subgrid(lambda x, t: 2.0 * x / t, teacher, np.asarray([2.0, 1.0, 0.0]), 2)
        ([0, 1, 2], 0.0)
    """
    xp, _, (states, levels) = boundary("nearest_subgrid", states=states, levels=levels)
    _teacher("nearest_subgrid")(xp, states=states, levels=levels)
    last = states.shape[0] - 1
    if not 1 <= n <= last:
        raise UnmetHypothesis("nearest_subgrid", "1 <= n < M", f"n = {n}, M = {last + 1}")
    reached: dict[int, tuple[Array, list[int]]] = {0: (states[0, ...], [0])}
    distance = 0.0
    for k in range(1, n + 1):
        slopes = {i: _slope(xp, velocity, x, levels[i]) for i, (x, _) in reached.items()}
        following: dict[int, tuple[Array, list[int]]] = {}
        for j in [last] if k == n else range(k, last - (n - k) + 1):
            nearest = float("inf")
            for i, (x, path) in reached.items():
                if i >= j:
                    continue
                student = x + (levels[j] - levels[i]) * slopes[i]
                far = float(xp.sqrt(xp.mean(xp.sum((student - states[j, ...]) ** 2, axis=-1))))
                if far < nearest:
                    nearest, following[j] = far, (student, [*path, j])
            distance = nearest
        reached = following
    return reached[last][1], distance


def _slope(xp: Namespace, velocity: Velocity, x: Array, level: Array) -> Array:
    slope = velocity(x, level)
    if tuple(slope.shape) != tuple(x.shape) or not holds(xp.all(xp.isfinite(slope))):
        got = f"shape {tuple(slope.shape)}, or NaN or infinity in it, at the level {float(level)!r}"
        raise UnmetHypothesis("nearest_subgrid", "the velocity is finite, with the shape of the state", got)
    return slope
