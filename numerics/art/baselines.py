r"""Grids that are in use: powers, logarithms, shifts, and published lists.

=========================== ===========================================================================
grid                        levels
=========================== ===========================================================================
uniform, EDM, log-SNR       equal steps of :math:`\sigma^{1/\rho}`, rho = 1, 7, infinity (:func:`rho_grid`)
the shift of flow models    uniform times with the odds of the *noise* multiplied (:func:`shifted_grid`)
cosine (iDDPM)              :func:`driftproof.theory.art.tangent_grid` for unit data
AYS                         published lists (``AYS_LEVELS``), other lengths by :func:`resample_levels`
=========================== ===========================================================================

EDM's code makes n levels and appends 0, so that its n steps end there: ``rho_grid(n - 1, ...)`` and a 0.

References:
    | Elucidating the design space of diffusion-based generative models (Karras et al., 2022), eq. (5)
    | Align your steps (Sabour, Fidler & Kreis, 2024), https://arxiv.org/abs/2404.14507, with its lists at
      https://research.nvidia.com/labs/toronto-ai/AlignYourSteps/howto.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
from array_api_compat import device

from driftproof._arguments import checked
from driftproof._capabilities import arrays
from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    holds,
    public,
)
from driftproof.numerics._samples import Floats

__all__ = ["AYS_LEVELS", "resample_levels", "rho_grid", "shifted_grid"]

# Ten steps each: eleven noise levels sigma/alpha, the last one small and not 0.
AYS_LEVELS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "stable-diffusion-1.5": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
        "stable-diffusion-xl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
        "stable-video-diffusion": (700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
    }
)  # fmt: skip


def _falls(xp: Namespace, *, n: int, sigma_min: Array, sigma_max: Array, rho: float, **_: Any) -> None:
    if n < 1:
        raise UnmetHypothesis("rho_grid", "n >= 1", f"n = {n}")
    if not holds(xp.all(sigma_min < sigma_max)):
        raise UnmetHypothesis("rho_grid", "sigma_min < sigma_max", "a range that does not fall")
    if rho == float("inf") and not holds(xp.all(sigma_min > 0.0)):
        raise UnmetHypothesis("rho_grid", "sigma_min > 0 for rho = inf", "the level 0 has no logarithm")


@public(check=_falls, sigma_min="in [0, inf)", sigma_max="in (0, inf)", rho="in (0, inf]")
def rho_grid(xp: Namespace, n: int, sigma_min: Array, sigma_max: Array, rho: float = 7.0) -> Array:
    r"""Equal steps of a power of the level: Karras' grid, the uniform one, and equal steps of log-SNR.

    .. math:: \sigma_k = \Big(\tfrac{n-k}n\,\sigma_{max}^{1/\rho} + \tfrac kn\,\sigma_{min}^{1/\rho}\Big)^\rho, \qquad
        \rho = \infty:\; \sigma_k = \sigma_{max}^{1-k/n}\,\sigma_{min}^{k/n}

    Arguments:
        n: Number of steps, >= 1.
        sigma_min, sigma_max: The last and the first level, 0 <= sigma_min < sigma_max, shape (...).
        rho: > 0: 1 is uniform, 7 is EDM's, infinity is equal steps of the logarithm, as of DPM-Solver.

    Returns:
        Levels (..., n + 1), falling, the ends exact.

    Raises:
        UnmetHypothesis: n < 1, a range that does not fall, or the logarithm of 0.

    Claims: ART-BASELINE-1

    Example:
        >>> rho_grid(2, 1.0, 16.0, 2.0).tolist(), rho_grid(2, 1.0, 16.0, float("inf")).tolist()
        ([16.0, 6.25, 1.0], [16.0, 4.0, 1.0])
    """
    k = xp.arange(n + 1, dtype=sigma_max.dtype, device=device(sigma_max))
    low, high = sigma_min[..., None], sigma_max[..., None]
    if rho == float("inf"):
        levels = high * (low / high) ** (k / n)
    else:
        levels = ((n - k) / n * high ** (1.0 / rho) + k / n * low ** (1.0 / rho)) ** rho
    zero = xp.zeros_like(levels)
    return xp.where(k == 0.0, high + zero, xp.where(k == float(n), low + zero, levels))


@public(shift="in (0, inf)")
def shifted_grid(xp: Namespace, n: int, shift: Array) -> Array:
    r"""The times of flow models: uniform, with the odds of the noise multiplied.

    .. math:: t_k = \frac{m\,u_k}{1 + (m-1)\,u_k}, \qquad \frac{t_k}{1-t_k} = m\,\frac{u_k}{1-u_k}, \quad u_k = \tfrac{n-k}n

    On :math:`N(0, s^2)` the best shift is s itself, for every n; 1/s would be right if t counted data.

    Arguments:
        n: Number of steps, >= 1.
        shift: m > 0 (of diffusers' ``FlowMatchEulerDiscreteScheduler``), shape (...).

    Returns:
        Times (..., n + 1), from 1, noise, to 0, data.

    Raises:
        UnmetHypothesis: n < 1.

    Claims: ART-SHIFT-1

    Example:
        >>> shifted_grid(2, 3.0).tolist()
        [1.0, 0.75, 0.0]
    """
    if n < 1:
        raise UnmetHypothesis("shifted_grid", "n >= 1", f"n = {n}")
    k = xp.arange(n + 1, dtype=shift.dtype, device=device(shift))
    m = shift[..., None]
    return m * (n - k) / (k + m * (n - k))


@arrays("numpy")
@checked
def resample_levels(levels: Sequence[float], n: int) -> Floats:
    r"""A list of levels for another number of steps: linear in the logarithm of its positive levels, then 0 if it was last.

    A final 0 has no logarithm, and whatever number stands in for it (0.001, 0.01) moves every level between.

    Arguments:
        levels: Levels that fall, at least two of them > 0; the last may be 0.
        n: Number of steps, >= 1; >= 2 for a list that ends at 0.

    Returns:
        Levels (n + 1,).

    Raises:
        UnmetHypothesis: Levels that do not fall, or too few of them or steps.

    Claims: ART-AYS-1

    Example:
        >>> resample_levels([16.0, 1.0, 0.0], 3).round(12).tolist()
        [16.0, 4.0, 1.0, 0.0]
    """
    ends = len(levels) > 0 and levels[-1] == 0.0
    positive = levels[:-1] if ends else levels
    if len(positive) < 2 or not all(a > b > 0.0 for a, b in pairwise(positive)):
        raise UnmetHypothesis(
            "resample_levels", "levels > 0 that fall, at least two", f"levels = {list(levels)[:4]}"
        )
    count = n if ends else n + 1
    if count < 2:
        raise UnmetHypothesis("resample_levels", "n >= 2, or n >= 1 without a final 0", f"n = {n}")
    old, new = np.linspace(0.0, 1.0, len(positive)), np.linspace(0.0, 1.0, count)
    made: Floats = np.exp(np.interp(new, old, np.log(positive)))
    made[0], made[-1] = positive[0], positive[-1]
    return np.append(made, 0.0) if ends else made
