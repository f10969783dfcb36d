r"""ART-RL: the parts of its actor-critic, as functions of paths of a clock.

A policy acts in K steps of length h with speeds :math:`a_k = \mu(t_k, \psi_k) + \sqrt{\lambda/Q(\psi_k)}\,z_k`, the clock moves by
:math:`\psi_{k+1} = \psi_k + h\,a_k`, and a step earns :math:`-h(Q(\psi_k)a_k^2 + \gamma a_k)`.

* The critic: V is the function with :math:`E\sum_k \xi_k\delta_k = 0` for all test processes :math:`\xi`, where
  :math:`\delta_k` is the increment of V and what was earned (:func:`solve_moments`).
* The actor: :math:`\partial_{\mu_k}J = E[z_k\sqrt{Q(\psi_k)/\lambda}\;\delta_k]` (:func:`actor_gradient`).

Both are exact at a given h for the problem in K steps, whose value differs from that of the continuous one by O(h).

Symbols:
    psi: Positions (B, K + 1).
    speed, noise: Speeds a and the standard normal draws z behind them, (B, K).
    stiffness: Q along the path, (B, K), > 0.
    dt: h > 0.

References:
    | ART: adaptive reparameterized time (Huang, Tang & Zhou, 2026), https://arxiv.org/abs/2607.02137
      (the criterion and the moment conditions as its abstract and breakdowns of it give them)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from driftproof._capabilities import arrays
from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    boundary,
    checked,
    holds,
    public,
)

__all__ = [
    "ClockPaths",
    "Mean",
    "Stiffness",
    "actor_gradient",
    "clock_rollout",
    "clock_td_errors",
    "solve_moments",
]

Stiffness: TypeAlias = Callable[[Array], Array]
Mean: TypeAlias = Callable[[float, Array], Array]


@final
@dataclass(frozen=True, slots=True)
@checked
class ClockPaths:
    """Paths of a clock: ``psi`` (B, K + 1), ``speed``, ``noise`` and ``stiffness`` (B, K)."""

    psi: Array
    speed: Array
    noise: Array
    stiffness: Array


@arrays()
def clock_rollout(
    stiffness: Stiffness, mean: Mean, noise: Array, horizon: float, exploration: float
) -> ClockPaths:
    r"""Paths of a clock under a Gaussian policy.

    .. math:: \psi_{k+1} = \psi_k + \frac TK\Big(\mu(t_k, \psi_k) + \sqrt{\lambda/Q(\psi_k)}\,z_k\Big)

    Arguments:
        stiffness: Q, elementwise, > 0 wherever the clock may go.
        mean: :math:`\mu`, of a time, a number, and positions (B,), to speeds (B,).
        noise: z, (B, K): standard normal draws.
        horizon: T > 0.
        exploration: :math:`\lambda \ge 0`.

    Returns:
        The paths, from :math:`\psi_0 = 0`.

    Raises:
        UnmetHypothesis: Shapes that do not match, T <= 0, lambda < 0, or a stiffness that is not > 0 and finite on a path.

    Claims: ART-CRITIC-1, ART-ACTOR-1

    Example:
        >>> paths = clock_rollout(lambda psi: 0.0 * psi + 4.0, lambda t, psi: 0.0 * psi + 1.0, [[1.0, -1.0]], 1.0, 1.0)
        >>> paths.speed.tolist(), paths.psi.tolist()
        ([[1.5, 0.5]], [[0.0, 0.75, 1.0]])
    """
    xp, _, (noise,) = boundary("clock_rollout", noise=noise)
    if noise.ndim != 2 or 0 in noise.shape:
        raise UnmetHypothesis("clock_rollout", "noise (B, K)", f"shape {tuple(noise.shape)}")
    if not (0.0 < horizon < math.inf and 0.0 <= exploration < math.inf):
        got = f"horizon = {horizon!r}, exploration = {exploration!r}"
        raise UnmetHypothesis("clock_rollout", "horizon > 0 and exploration >= 0", got)
    steps = noise.shape[1]
    dt = horizon / steps
    psi = [xp.zeros_like(noise[:, 0])]
    speeds, met = [], []
    for k in range(steps):
        q = stiffness(psi[-1])
        if not holds(xp.all((q > 0.0) & xp.isfinite(q))):
            raise UnmetHypothesis("clock_rollout", "Q > 0 and finite on the path", f"at step {k} it is not")
        speeds.append(mean(k * dt, psi[-1]) + xp.sqrt(exploration / q) * noise[:, k])
        psi.append(psi[-1] + dt * speeds[-1])
        met.append(q)
    return ClockPaths(xp.stack(psi, axis=1), xp.stack(speeds, axis=1), noise, xp.stack(met, axis=1))


def _shapes(subject: str, **wanted: str) -> Callable[..., None]:
    """The check that arrays have the shapes of words over B, K, M = K + 1 and p."""

    def check(xp: Namespace, **given: Any) -> None:
        sizes: dict[str, int] = {}
        for name, word in wanted.items():
            shape = tuple(given[name].shape)
            good = len(shape) == len(word) and 0 not in shape
            for letter, size in zip(word, shape, strict=False):
                letter, size = ("K", size - 1) if letter == "M" else (letter, size)
                good = good and sizes.setdefault(letter, size) == size
            if not good:
                expected = ", ".join(f"{k} ({', '.join(w.replace('M', '1'))})" for k, w in wanted.items())
                got = ", ".join(f"{k} {tuple(given[k].shape)}" for k in wanted)
                raise UnmetHypothesis(subject, expected.replace("1", "K + 1"), got)

    return check


@public(
    wide=True,
    check=_shapes("clock_td_errors", values="BM", speed="BK", stiffness="BK"),
    values="finite",
    speed="finite",
    stiffness="> 0",
    dt="> 0",
)
def clock_td_errors(
    xp: Namespace, values: Array, speed: Array, stiffness: Array, dt: float, multiplier: float = 0.0
) -> Array:
    r"""Temporal differences of a value along paths of a clock.

    .. math:: \delta_k = V_{k+1} - V_k - h\,(Q_k a_k^2 + \gamma\,a_k)

    Arguments:
        values: V along the paths, (B, K + 1); the last column is what the end is worth.
        speed, stiffness, dt: Symbols of the module.
        multiplier: :math:`\gamma`.

    Returns:
        (B, K).

    Raises:
        UnmetHypothesis: Shapes that do not match.

    Claims: ART-CRITIC-1, ART-ACTOR-1

    Example:
        >>> clock_td_errors([[5.0, 7.0]], [[2.0]], [[3.0]], 0.5, multiplier=1.0).tolist()
        [[-5.0]]
    """
    return values[:, 1:] - values[:, :-1] - dt * (stiffness * speed * speed + multiplier * speed)


@public(
    wide=True,
    check=_shapes("solve_moments", features="BKp", errors="BK", terminal="B"),
    features="finite",
    errors="finite",
    terminal="finite",
)
def solve_moments(xp: Namespace, features: Array, errors: Array, terminal: Array) -> Array:
    r"""The critic that the moment conditions identify, linear in its features.

    .. math:: E\sum_k \phi_k\,\big(\phi_{k+1}^\top w - \phi_k^\top w + \delta^0_k\big) = 0, \qquad
        \phi_K^\top w := \text{what the end is worth}

    Arguments:
        features: :math:`\phi_k` before every step, (B, K, p).
        errors: :math:`\delta^0`, the temporal differences of the value 0: minus what was earned, (B, K).
        terminal: Values at the end, (B,).

    Returns:
        w, (p,).

    Raises:
        UnmetHypothesis: Shapes that do not match, or features that depend on each other on these paths.

    Claims: ART-CRITIC-1

    Example:
        >>> solve_moments([[[1.0, 0.0], [0.0, 1.0]]], [[-1.0, -2.0]], [10.0]).tolist()
        [7.0, 8.0]
    """
    after = features[:, 1:, :]
    last = features[:, -1, :]
    paths, width = features.shape[0], features.shape[2]
    kept = xp.reshape(features[:, :-1, :], (-1, width))
    step = xp.reshape(features[:, :-1, :] - after, (-1, width))
    matrix = (xp.matrix_transpose(kept) @ step + xp.matrix_transpose(last) @ last) / paths
    earned = xp.sum(features * errors[..., None], axis=1) + last * terminal[:, None]
    return xp.linalg.solve(matrix, xp.sum(earned, axis=0)[:, None] / paths)[:, 0]


@public(
    wide=True,
    check=_shapes("actor_gradient", errors="BK", noise="BK", stiffness="BK"),
    errors="finite",
    noise="finite",
    stiffness="> 0",
    exploration="> 0",
)
def actor_gradient(xp: Namespace, errors: Array, noise: Array, stiffness: Array, exploration: float) -> Array:
    r"""The gradient of the criterion in the mean speeds, by the score of the policy.

    .. math:: \partial_{\mu_k} J = E\Big[\frac{a_k-\mu_k}{\lambda/Q_k}\,\delta_k\Big]
        = E\Big[z_k\sqrt{Q_k/\lambda}\;\delta_k\Big]

    Arguments:
        errors: Temporal differences of the critic, (B, K).
        noise, stiffness: Symbols of the module.
        exploration: :math:`\lambda > 0`.

    Returns:
        (K,).

    Raises:
        UnmetHypothesis: Shapes that do not match.

    Claims: ART-ACTOR-1

    Example:
        >>> actor_gradient([[3.0], [-1.0]], [[1.0], [-1.0]], [[4.0], [4.0]], 1.0).tolist()
        [4.0]
    """
    return xp.mean(noise * xp.sqrt(stiffness / exploration) * errors, axis=0)
