r"""Churned sampling (EDM) on Gaussian data: the law at the end, for any amount of noise that is added.

.. math:: \hat\sigma_k = (1 + \gamma_k)\,\sigma_k, \qquad
    v_{k+1} = \big(v_k + S^2(\hat\sigma_k^2 - \sigma_k^2)\big)\Big(\frac{s^2 + \hat\sigma_k\sigma_{k+1}}
    {s^2 + \hat\sigma_k^2}\Big)^2

Noise is added up to a higher level, and an Euler step goes down from there.  :math:`S` is ``S_noise``.

References:
    | Elucidating the design space of diffusion-based generative models (Karras et al., 2022), algorithm 2
"""

from __future__ import annotations

import math
from typing import Any

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

__all__ = ["churn_rates", "churned_ratio"]

_MOST = math.sqrt(2.0) - 1.0  # the noise is at most doubled in variance


@public(grid="in [0, inf)", s_churn="in [0, inf]", s_min="in [0, inf]", s_max="in [0, inf]")
def churn_rates(
    xp: Namespace, grid: Array, s_churn: float, s_min: float = 0.0, s_max: float = math.inf
) -> Array:
    r"""How far EDM raises the noise before each step.

    .. math:: \gamma_k = \begin{cases}\min(S_{churn}/N,\; \sqrt2 - 1) & S_{min} \le \sigma_k \le S_{max}\\
        0 & \text{else}\end{cases}

    A minimum: with ``s_churn`` = 0 the sampler is deterministic.

    Arguments:
        grid: Noise levels (..., N + 1).
        s_churn: >= 0.
        s_min, s_max: The range of levels that are churned.

    Returns:
        Rates (..., N).

    Raises:
        UnmetHypothesis: s_churn < 0, or fewer than two levels.

    Claims: ART-CHURN-1

    Example:
        >>> churn_rates([80.0, 1.0, 0.0], 0.5, s_max=50.0).tolist()
        [0.0, 0.25]
    """
    if grid.ndim == 0 or grid.shape[-1] < 2:
        raise UnmetHypothesis("churn_rates", "grid (..., N + 1) with N >= 1", f"shape {tuple(grid.shape)}")
    at = grid[..., :-1]
    rate = min(s_churn / at.shape[-1], _MOST)
    return xp.where((at >= s_min) & (at <= s_max), xp.full_like(at, rate), xp.zeros_like(at))


def _steps(xp: Namespace, *, grid: Array, gamma: Array, **_: Any) -> None:
    if grid.ndim == 0 or grid.shape[-1] < 2 or gamma.shape[-1:] != (grid.shape[-1] - 1,):
        got = f"shapes {tuple(grid.shape)} and {tuple(gamma.shape)}"
        raise UnmetHypothesis("churned_ratio", "grid (..., N + 1) and gamma (..., N), N >= 1", got)


@public(wide=True, check=_steps, grid="in [0, inf)", s="in (0, inf)", gamma="in [0, inf)")
def churned_ratio(xp: Namespace, grid: Array, s: Array, gamma: Array, s_noise: float = 1.0) -> Array:
    r"""The standard deviation at the end of churned Euler, over the exact one.

    Arguments:
        grid: Noise levels (..., N + 1).
        s: Standard deviation of the data, > 0, shape (...).
        gamma: :math:`\gamma_k \ge 0`, (..., N), as of :func:`churn_rates`.
        s_noise: Factor of the added noise; above 1 it makes up for variance that is lost.

    Returns:
        The ratio, shape (...); with gamma = 0 that of :func:`driftproof.theory.art.euler_ratio`.

    Raises:
        UnmetHypothesis: Shapes that do not match.

    Claims: ART-CHURN-1

    Example:
        >>> round(float(churned_ratio([1.0, 0.0], 1.0, [0.0])) ** 2, 15)
        0.5
    """
    data = s * s
    v = data + grid[..., 0] ** 2
    for k in range(gamma.shape[-1]):
        a, b = grid[..., k], grid[..., k + 1]
        up = a * (1.0 + gamma[..., k])
        added = s_noise * s_noise * a * a * gamma[..., k] * (2.0 + gamma[..., k])
        v = (v + added) * ((data + up * b) / (data + up * up)) ** 2
    return xp.sqrt(v / (data + grid[..., -1] ** 2))
