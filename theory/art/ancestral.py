r"""Euler ancestral (eta = 1) on Gaussian data: the variance that each step loses, and what arrives at the end.

A step from a to b draws from the posterior with the predicted data point in the place of the data,

.. math:: x_b = \frac{s^2 + b^2}{s^2 + a^2}\,x_a + \frac ba\sqrt{a^2 - b^2}\;Z .

On :math:`N(0, s^2)` it leaves the variance too small by
:math:`s^2(a^2-b^2)^2 / (a^2(s^2+a^2))`, and later steps multiply this by the squares of their factors, a telescoping
product.  So the final deficit is a *sum* over the steps, whatever the grid: for the deterministic sampler only the
logarithm is one.
"""

from __future__ import annotations

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    holds,
    public,
)

__all__ = ["ancestral_deficit", "ancestral_deficits"]


def _falls(xp: Namespace, *, grid: Array, **_: Array) -> None:
    if grid.ndim == 0 or grid.shape[-1] < 2:
        raise UnmetHypothesis(
            "ancestral_deficit", "grid (..., N + 1) with N >= 1", f"shape {tuple(grid.shape)}"
        )
    if not holds(xp.all(grid[..., 1:] <= grid[..., :-1])) or not holds(xp.all(grid[..., :-1] > 0.0)):
        hypothesis = "the levels fall, and only the last may be 0"
        raise UnmetHypothesis(
            "ancestral_deficit", hypothesis, "a level is above the one before it, or 0 too early"
        )


@public(wide=True, check=_falls, grid="in [0, inf)", s="in (0, inf)")
def ancestral_deficit(xp: Namespace, grid: Array, s: Array) -> Array:
    r"""The share of the variance that Euler ancestral loses on a grid.

    .. math:: \sum_k \frac{s^2(\sigma_k^2-\sigma_{k+1}^2)^2}{\sigma_k^2(s^2+\sigma_k^2)}
        \cdot \frac{s^2+\sigma_N^2}{(s^2+\sigma_{k+1}^2)^2}

    It starts from the exact law at the first level.

    Arguments:
        grid: Noise levels (..., N + 1) that fall; the last may be 0.
        s: Standard deviation of the data, > 0, shape (...).

    Returns:
        One less the ratio of the variances, shape (...), in [0, 1].

    Raises:
        UnmetHypothesis: Levels that rise, or 0 before the last.

    Claims: ART-ANCESTRAL-1, ART-ANCESTRAL-2

    Example:
        >>> float(ancestral_deficit([1.0, 0.0], 1.0))  # one step ends at the predicted data
        0.5
    """
    end = grid[..., -1]
    terms = ancestral_deficits.kernel(xp, grid[..., :-1], grid[..., 1:], s[..., None], end[..., None])
    return xp.sum(terms, axis=-1)


def _ordered(xp: Namespace, *, a: Array, b: Array, end: Array, **_: Array) -> None:
    if not holds(xp.all((end <= b) & (b <= a))):
        raise UnmetHypothesis(
            "ancestral_deficits", "end <= b <= a", "a step that rises, or ends below the last level"
        )


@public(wide=True, check=_ordered, a="in (0, inf)", b="in [0, inf)", s="in (0, inf)", end="in [0, inf)")
def ancestral_deficits(xp: Namespace, a: Array, b: Array, s: Array, end: Array) -> Array:
    r"""The contribution of one step to :func:`ancestral_deficit`: a cost for dynamic programming.

    .. math:: \frac{s^2(a^2-b^2)^2}{a^2(s^2+a^2)} \cdot \frac{s^2+\sigma_N^2}{(s^2+b^2)^2}

    Arguments:
        a, b: Levels before and after the step, a >= b, a > 0, any shapes that fit.
        s: Standard deviation of the data, > 0.
        end: The last level :math:`\sigma_N` of the grid, 0 <= end <= b.

    Returns:
        The share of the variance, elementwise.

    Raises:
        UnmetHypothesis: Not end <= b <= a.

    Claims: ART-ANCESTRAL-1, ART-PROGRAM-1

    Example:
        >>> float(ancestral_deficits(2.0, 1.0, 1.0, 0.0))
        0.1125
    """
    data, before, after = s * s, s * s + a * a, s * s + b * b
    lost = (a - b) * (a + b) / a
    return data * (lost / after) ** 2 * ((data + end * end) / before)
