r"""The cosine law: what a grid does to a Gaussian, exactly, for any number of steps.

Data :math:`N(0, s^2)` at the noise level :math:`\sigma` has the standard deviation :math:`\sqrt{s^2+\sigma^2}`, the
length of the vector :math:`w = (s, \sigma)`.  One step of Euler on the probability flow
:math:`dx/d\sigma = \sigma x/(s^2+\sigma^2)` multiplies the state by :math:`w_k \cdot w_{k+1} / |w_k|^2`, the flow
itself by :math:`|w_{k+1}|/|w_k|`.  So a step loses the cosine of the angle between the two vectors, and a grid

.. math:: \frac{\mathrm{std}_N}{\mathrm{std}} = \prod_k \cos(\omega_k - \omega_{k+1}), \qquad
    \omega = \arctan\frac{\sigma}{s}

The same holds for DDIM on :math:`x_t = \alpha_t x_0 + \sigma_t z`, hence for Euler on a linear flow, with
:math:`w = (\alpha_t s, \sigma_t)`.  The angles need not be ordered.

Symbols:
    grid: Noise levels :math:`\sigma_0, \dots, \sigma_N \ge 0` in the order in which they are visited, (..., N + 1).
    s: Standard deviation of the data, > 0, shape (...).

References:
    | Tangent law for Gaussian data (Sun, Poor & Zhang, 2026), https://arxiv.org/abs/2601.13602
    | Elucidating the design space of diffusion-based generative models (Karras et al., 2022), algorithm 1
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    holds,
    public,
)

__all__ = ["Solver", "check_levels", "euler_ratio", "grid_w2", "std_error"]

Solver: TypeAlias = Literal["euler", "heun"]


def check_levels(subject: str) -> Any:
    """The check that there is a step and, where ``alpha`` comes, that no level is without both data and noise."""

    def check(xp: Namespace, *, grid: Array, alpha: Array | None = None, **_: Any) -> None:
        if grid.ndim == 0 or grid.shape[-1] < 2:
            raise UnmetHypothesis(subject, "grid (..., N + 1) with N >= 1", f"shape {tuple(grid.shape)}")
        if alpha is not None and not holds(xp.all(grid + alpha > 0.0)):
            raise UnmetHypothesis(subject, "alpha + sigma > 0", "both vanish at a level")

    return check


@public(
    wide=True, check=check_levels("euler_ratio"), grid="in [0, inf)", s="in (0, inf)", alpha="in [0, inf)"
)
def euler_ratio(xp: Namespace, grid: Array, s: Array, alpha: Array | None = None) -> Array:
    r"""The standard deviation that Euler's method arrives at, over the exact one.

    .. math:: \prod_{k=0}^{N-1} \cos(\omega_k - \omega_{k+1}), \qquad \omega_k = \arctan\frac{\sigma_k}{\alpha_k s}

    Arguments:
        grid, s: Symbols of the module.
        alpha: Signal levels :math:`\alpha_k \ge 0` with the shape of ``grid``: the steps are those of DDIM, for a
            linear flow those of Euler in t with :math:`\alpha = 1 - t, \sigma = t`.  None: all 1, Euler in
            :math:`\sigma`.

    Returns:
        The ratio, shape (...), in [0, 1]; 0 where a step goes from pure noise to data.

    Raises:
        UnmetHypothesis: Fewer than two levels, or one without data and noise.

    Claims: ART-COSINE-1, ART-FLOW-1

    Example:
        >>> round(float(euler_ratio([1.0, 0.0], 1.0)) ** 2, 15)  # an eighth of a turn
        0.5
    """
    return xp.prod(_sine(xp, grid, s, alpha)[1], axis=-1)


@public(wide=True, check=check_levels("std_error"), grid="in [0, inf)", s="in (0, inf)")
def std_error(xp: Namespace, grid: Array, s: Array, solver: Solver = "euler") -> Array:
    r"""The relative error of the standard deviation at the end of a grid, with its sign and without cancellation.

    .. math:: \text{Euler: } \prod_k \cos\delta_k - 1, \qquad
        \text{Heun: } \prod_k \Big[1 + (1-\cos\delta_k)\,\frac{\frac12(1-\cos\delta_k) - \sin\delta_k \tan\omega_{k+1}}
        {\cos\delta_k + \sin\delta_k\tan\omega_{k+1}}\Big] - 1, \qquad \delta_k = \omega_{k+1} - \omega_k

    On centred data of one standard deviation its size times the exact deviation is the Wasserstein distance.

    Arguments:
        grid, s: Symbols of the module.
        solver: ``"euler"``, or ``"heun"``: the trapezoidal step, with Euler's own to the level 0, as EDM has it.

    Returns:
        The error, shape (...): negative for Euler, positive for Heun on a grid that falls.

    Raises:
        UnmetHypothesis: Fewer than two levels.

    Claims: ART-COSINE-1, ART-HEUN-1, ART-CONSTANT-1

    Example:
        >>> float(std_error([1.0, 0.0], 1.0)) == float(std_error([1.0, 0.0], 1.0, "heun"))
        True
        >>> abs(float(std_error([2.0, 1.0], 1.0, "heun")) - (0.65 * 2.5**0.5 - 1.0)) < 1e-15
        True
    """
    losses = _euler_losses(xp, grid, s, None)
    if solver == "heun":
        losses = xp.where(grid[..., 1:] > 0.0, _heun_losses(xp, grid, s), losses)
    return _composed(xp, losses)


@public(wide=True, check=check_levels("grid_w2"), grid="in [0, inf)", scales="in (0, inf)")
def grid_w2(xp: Namespace, grid: Array, scales: Array, solver: Solver = "euler") -> Array:
    r"""The Wasserstein distance that a grid leaves on a centred Gaussian of several scales.

    .. math:: W_2 = \Big[\sum_i (s_i^2 + \sigma_N^2)\,e_i^2\Big]^{1/2}

    with the relative error :math:`e_i` of :func:`std_error` on each principal axis: both laws have the same axes.

    Arguments:
        grid: Noise levels (N + 1,).
        scales: Standard deviations :math:`s_i > 0` of the data, (d,).
        solver: As in :func:`std_error`.

    Returns:
        The distance to the law at the last level, a scalar array.

    Raises:
        UnmetHypothesis: Fewer than two levels.

    Claims: ART-SCALES-1

    Example:
        >>> float(grid_w2([1.0, 1.0], [1.0, 2.0]))
        0.0
    """
    error = std_error.kernel(xp, grid[None, :], scales, solver)
    end = grid[-1]
    return xp.sqrt(xp.sum((scales * scales + end * end) * error * error))


def _sine(xp: Namespace, grid: Array, s: Array, alpha: Array | None) -> tuple[Array, Array]:
    """Sine and cosine of the angle from each level to the next, by the cross and the dot product."""
    data = s[..., None] * (xp.ones_like(grid) if alpha is None else alpha)
    length = xp.sqrt(data * data + grid * grid)
    a, b, p, q = grid[..., :-1], grid[..., 1:], data[..., :-1], data[..., 1:]
    scale = length[..., :-1] * length[..., 1:]
    cross = s[..., None] * (b - a) if alpha is None else p * (b - a) + a * (p - q)
    return cross / scale, (p * q + a * b) / scale


def _euler_losses(xp: Namespace, grid: Array, s: Array, alpha: Array | None) -> Array:
    """cos(delta) - 1 of every step, by the half angle."""
    sine, cosine = _sine(xp, grid, s, alpha)
    return -sine * sine / (1.0 + cosine)


def _heun_losses(xp: Namespace, grid: Array, s: Array) -> Array:
    """The relative error of every step of Heun."""
    sine, cosine = _sine(xp, grid, s, None)
    versine = sine * sine / (1.0 + cosine)
    tangent = grid[..., 1:] / s[..., None]
    # cos(delta) + sin(delta) tan(omega), which may cancel, is the ratio of the lengths.
    length = xp.sqrt(s[..., None] ** 2 + grid * grid)
    return versine * (0.5 * versine - sine * tangent) * (length[..., :-1] / length[..., 1:])


def _composed(xp: Namespace, losses: Array) -> Array:
    """The product of 1 + loss over the last axis, less 1: no digit of a small error is lost."""
    total = xp.zeros_like(losses[..., 0])
    for k in range(losses.shape[-1]):
        total = total + losses[..., k] + total * losses[..., k]
    return total
