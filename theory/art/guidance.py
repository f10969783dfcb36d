r"""Guidance on Gaussian data: another velocity, hence another stiffness, and another best grid.

With the data :math:`N(0, s^2)`, of which the condition leaves :math:`N(0, c^2)`, classifier-free guidance of weight w
follows :math:`F = \sigma g\,x` with

.. math:: g = \frac{1-w}{s^2+\sigma^2} + \frac w{c^2+\sigma^2}, \qquad
    \frac{x(b)}{x(a)} = \Big(\frac{s^2+b^2}{s^2+a^2}\Big)^{\frac{1-w}2} \Big(\frac{c^2+b^2}{c^2+a^2}\Big)^{\frac w2}

The flow is linear, so that a relative error stays what it is: equal shares of :math:`\sqrt{\ddot x/x}` are the best
grid of many steps, as long as :math:`\ddot x/x` keeps its sign.  At the highest levels it has that of
:math:`(1-w)s^2 + wc^2`: above :math:`w = s^2/(s^2-c^2)` it changes, and errors of both signs may cancel.

Symbols:
    s, condition: Standard deviations of the data without and with the condition, > 0.
    weight: w; 1 is the conditional model alone.

References:
    | Classifier-free diffusion guidance (Ho & Salimans, 2022), https://arxiv.org/abs/2207.12598, eq. (6) with 1 + w for w
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, public

from .cosine import check_levels

__all__ = ["guided_ratio", "guided_stiffness"]


@public(
    wide=True,
    check=check_levels("guided_ratio"),
    grid="in [0, inf)",
    s="in (0, inf)",
    condition="in (0, inf)",
    weight="finite",
)
def guided_ratio(xp: Namespace, grid: Array, s: Array, condition: Array, weight: Array) -> Array:
    r"""The factor of a deviation under Euler's method with guidance, over that of the guided flow.

    .. math:: \prod_k \frac{1 + (\sigma_{k+1}-\sigma_k)\,\sigma_k\,g(\sigma_k)}{x(\sigma_{k+1})/x(\sigma_k)}

    Arguments:
        grid: Noise levels (..., N + 1), >= 0, in the order in which they are visited.
        s, condition, weight: Symbols of the module, shape (...).

    Returns:
        The ratio, shape (...); below 0 where a step overshoots the mean.

    Raises:
        UnmetHypothesis: Fewer than two levels.

    Claims: ART-GUIDANCE-1

    Example:
        >>> round(float(guided_ratio([1.0, 0.0], 5.0, 1.0, 1.0)) ** 2, 12)  # weight 1: the cosine law
        0.5
    """
    a, b = grid[..., :-1], grid[..., 1:]
    w, data, given = weight[..., None], s[..., None] ** 2, condition[..., None] ** 2
    slope = (1.0 - w) / (data + a * a) + w / (given + a * a)
    without = ((data + b * b) / (data + a * a)) ** (0.5 * (1.0 - w))
    with_it = ((given + b * b) / (given + a * a)) ** (0.5 * w)
    return xp.prod((1.0 + (b - a) * a * slope) / (without * with_it), axis=-1)


@public(sigma="in [0, inf)", s="in (0, inf)", condition="in (0, inf)", weight="finite")
def guided_stiffness(xp: Namespace, sigma: Array, s: Array, condition: Array, weight: Array) -> Array:
    r"""The relative acceleration under guidance: twice what a unit step of Euler loses, with its sign.

    .. math:: \frac{\ddot x}x = 2\sum_i \frac{w_i s_i^2}{v_i^2} - \sum_i \frac{w_i}{v_i} \sum_i \frac{w_i s_i^2}{v_i},
        \qquad v_i = s_i^2 + \sigma^2, \quad w = (1-w, w)

    At w = 1 it is :math:`c^2/(c^2+\sigma^2)^2`, the square of the density of equal angles.

    Arguments:
        sigma: Noise levels, >= 0, shape (...).
        s, condition, weight: Symbols of the module.

    Returns:
        The relative acceleration, shape (...); below 0 at high levels where :math:`(1-w)s^2 + wc^2 < 0`.

    Claims: ART-GUIDANCE-1

    Example:
        >>> float(guided_stiffness(1.0, 2.0, 1.0, 1.0)), float(guided_stiffness(0.0, 2.0, 1.0, 3.0))
        (0.25, 2.5)
    """
    noise = sigma * sigma
    data, given = s * s, condition * condition
    u, v = data + noise, given + noise
    u_weight, v_weight = 1.0 - weight, weight
    # No term is larger than the result is at high levels: nothing cancels but what has both signs.
    local = 2.0 * (u_weight * data / u**2 + v_weight * given / v**2)
    return local - (u_weight / u + v_weight / v) * (u_weight * data / u + v_weight * given / v)
