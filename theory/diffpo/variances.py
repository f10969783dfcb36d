r"""Mean and variance of the estimators of the ELBO, exactly, from the moments of masks.

An estimator draws masks m, by their number k of tokens or by a probability t, and weighs the log-probability of what they
hide.  With :math:`c_k` and :math:`q_k` its mean and mean square over uniform masks of k tokens,

.. math:: E\Big[\frac Lk \Sigma_m\Big] = \frac1L \sum_k \frac Lk c_k, \qquad
    E\Big[\Big(\frac Lk \Sigma_m\Big)^2\Big] = \frac1L \sum_k \Big(\frac Lk\Big)^2 q_k

and the same with binomial weights in t.  As the least time goes to 0, the second moment of :math:`\frac1t\Sigma_m`
grows like :math:`\log(1/\epsilon) \sum_i \log^2 p(x_i \mid x_{-i})`: at 0 it is infinite.  Derived here.

Each estimator's law is given by its mean and variance, of shape (...).

Symbols:
    mean, square: :math:`c_k` and :math:`q_k` for k = 1, ..., L, shape (..., L); of differences to a reference, they
        give the estimator of the difference under common masks.
"""

from __future__ import annotations

import math
from typing import Any

import array_api_compat

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

from .elbo import gauss_nodes

__all__ = ["count_moments", "quadrature_moments", "time_moments"]


def _moments_of_masks(xp: Namespace, *, mean: Array, square: Array, **_: Any) -> None:
    if not mean.ndim or mean.shape != square.shape:
        got = f"shapes {tuple(mean.shape)} and {tuple(square.shape)}"
        raise UnmetHypothesis("moments of estimators", "mean and square of one shape (..., L)", got)


def _require_draws(xp: Namespace, *, draws: int, masks: int, **rest: Any) -> None:
    _moments_of_masks(xp, **rest)
    if draws < 1 or masks < 1:
        raise UnmetHypothesis("count_moments", "draws >= 1 and masks >= 1", f"{draws}, {masks}")


@public(wide=True, check=_require_draws)
def count_moments(
    xp: Namespace, mean: Array, square: Array, draws: int = 1, masks: int = 1
) -> tuple[Array, Array]:
    r"""The estimator with uniform k and the weight L/k: unbiased, with a finite variance.

    .. math:: \mathrm{Var} = \frac1n \Big( \mathrm{Var}_k\big(\tfrac Lk c_k\big)
        + \frac1M E_k \tfrac{L^2}{k^2} (q_k - c_k^2) \Big)

    Of nM evaluations it is least at M = 1.

    Arguments:
        mean, square: Symbols of the module.
        draws: n independent k, >= 1.
        masks: M masks for each, >= 1.

    Claims: DIFFPO-VAR-1, DIFFPO-CRN-1

    Example:
        >>> [float(v) for v in count_moments([-1.0, -2.0], [1.0, 4.0])]
        [-2.0, 0.0]
    """
    length = mean.shape[-1]
    w = _row(xp, [length / k for k in range(1, length + 1)], mean)
    centre = xp.mean(w * mean, axis=-1, keepdims=True)
    between = xp.mean((w * mean - centre) ** 2, axis=-1)
    within = xp.mean(w * w * (square - mean * mean), axis=-1)
    return centre[..., 0], (between + within / masks) / draws


@public(wide=True, check=_moments_of_masks, least="in (0, 1)")
def time_moments(xp: Namespace, mean: Array, square: Array, least: float = 1e-3) -> tuple[Array, Array]:
    r"""The estimator with uniform t on [epsilon, 1], masks of probability t and the weight 1/t.

    .. math:: \frac1{1-\epsilon}\int_\epsilon^1 \sum_k \binom Lk t^{k-j} (1-t)^{L-k}\,dt\; (c_k \text{ or } q_k),
        \qquad j = 1, 2

    Arguments:
        mean, square: Symbols of the module.
        least: :math:`\epsilon` in (0, 1); what lies below is left out, a bias of either sign.

    Claims: DIFFPO-VAR-1

    Example:
        >>> centre, variance = time_moments([-1.0, -2.0], [1.0, 4.0], 0.01)
        >>> exact = 2.0 * (math.log(100.0) - 0.99) / 0.99
        >>> round(float(centre), 12), bool(abs(variance - exact) < 1e-12)
        (-2.0, True)
    """
    length = mean.shape[-1]
    # Incomplete beta functions of whole numbers are chances of a binomial number to be small.
    first = [chance / k for k, chance in enumerate(_below(length, least), 1)]
    second = [length * _reciprocal_integral(length, least)] + [
        length / (k * (k - 1.0)) * chance for k, chance in enumerate(_below(length - 1, least), 2)
    ]
    centre = xp.sum(mean * _row(xp, [f / (1.0 - least) for f in first], mean), axis=-1)
    total = xp.sum(square * _row(xp, [s / (1.0 - least) for s in second], mean), axis=-1)
    return centre, total - centre * centre


@public(wide=True, check=_moments_of_masks)
def quadrature_moments(xp: Namespace, mean: Array, square: Array, nodes: int = 2) -> tuple[Array, Array]:
    r"""The semi-deterministic estimator: one mask at each Gauss-Legendre node.

    .. math:: \mathrm{Var} = \sum_n w_n^2 \Big( \frac1{t_n^2} \sum_k \binom Lk t_n^k (1-t_n)^{L-k} q_k - g(t_n)^2 \Big)

    Arguments:
        mean, square: Symbols of the module.
        nodes: How many, >= 1; below L/2 the mean is not the ELBO.

    Raises:
        UnmetHypothesis: nodes < 1.

    Claims: DIFFPO-VAR-1

    Example:
        >>> centre, variance = quadrature_moments([-1.0, -2.0], [1.0, 4.0], 1)  # t = 1/2
        >>> float(centre), float(variance)
        (-2.0, 2.0)
    """
    length = mean.shape[-1]
    centre, variance = xp.zeros_like(mean[..., 0]), xp.zeros_like(mean[..., 0])
    for t, w in zip(*gauss_nodes("quadrature_moments", nodes), strict=True):
        binomial = [
            math.comb(length, k) * math.exp((k - 1) * math.log(t) + (length - k) * math.log1p(-t))
            for k in range(1, length + 1)
        ]
        g = xp.sum(mean * _row(xp, binomial, mean), axis=-1)
        second = xp.sum(square * _row(xp, binomial, mean), axis=-1) / t
        centre, variance = centre + w * g, variance + w * w * (second - g * g)
    return centre, variance


def _reciprocal_integral(length: int, least: float) -> float:
    """The integral of (1-t)^(L-1) / t from ``least`` to 1, without cancellation."""
    rest = 1.0 - least
    if length * least <= 0.5:
        return -math.log(least) - sum(rest**j / j for j in range(1, length))
    # What the logarithm leaves of its series.
    return sum(rest**j / j for j in range(length, length + math.ceil(40.0 / least)))


def _below(n: int, p: float) -> list[float]:
    """P(X < k) of a binomial number X of n, for k = 1, ..., n."""
    # From the likeliest number on by ratios of neighbours: nothing underflows that matters.
    mode = min(n, int((n + 1) * p))
    up, down = [1.0], []
    for j in range(mode, n):
        up.append(up[-1] * (n - j) * p / ((j + 1) * (1.0 - p)))
    last = 1.0
    for j in range(mode, 0, -1):
        last = last * j * (1.0 - p) / ((n - j + 1) * p)
        down.append(last)
    chances = [*reversed(down), *up]
    whole, total, found = sum(chances), 0.0, []
    for chance in chances[:n]:
        total += chance
        found.append(total / whole)
    return found


def _row(xp: Namespace, values: list[float], like: Array) -> Array:
    return xp.asarray(values, dtype=like.dtype, device=array_api_compat.device(like))
