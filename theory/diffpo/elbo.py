r"""The evidence lower bound of masked diffusion, in its three forms.

With sigma a uniformly random order, t uniform on [0, 1] and every token masked with probability t, or k uniform on
:math:`\{1, \dots, L\}` and a uniform mask of k tokens,

.. math:: \mathrm{ELBO}(x) = E_\sigma \sum_j \log p(x_{\sigma(j)} \mid x_{\sigma(<j)})
    = E_{t, m}\, \frac1t \sum_{i \in m} \log p(x_i \mid z_m)
    = E_{k, m}\, \frac Lk \sum_{i \in m} \log p(x_i \mid z_m)

All three are :math:`\sum_k c_k/k` for the mean :math:`c_k` of the sum over a uniform mask of k tokens.  Below the
likelihood of the random order lies

.. math:: \log \pi(x) - \mathrm{ELBO}(x) = \mathrm{KL}\big(\mathrm{Unif}(\sigma) \,\|\, \pi(\sigma \mid x)\big) \ge 0,

which is 0 for all x exactly if the conditionals are consistent.  Derived here.

Results have the shape (...), unless a function states another one.

Symbols:
    mean: :math:`c_k` for k = 1, ..., L, shape (..., L).
    nodes: How many Gauss-Legendre nodes, >= 1.
    denoiser: The denoiser, of length at most 16.
    x: Sequences, integers of shape (..., L).
"""

from __future__ import annotations

import math
from typing import Literal

import array_api_compat
import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked, public

from .likelihood import require_enumerable, subsets
from .states import Denoiser, Tokens, evaluated, picked, sequences, taken

__all__ = ["count_elbo", "elbo", "elbo_profile", "elbo_weight", "mask_moments", "quadrature_elbo"]


@arrays()
@checked
def elbo(denoiser: Denoiser, x: Tokens, form: Literal["orders", "time", "count"] = "orders") -> Array:
    r"""The exact evidence lower bound, by any of its three forms.

    Arguments:
        denoiser, x: Symbols of the module.
        form: ``"orders"``: the mean over orders, by dynamic programming over sets; ``"time"``: the integral over the
            masking probability, by as many Gauss nodes as make it exact; ``"count"``: the sum over numbers of masks.

    Claims: DIFFPO-ELBO-1, DIFFPO-ELBO-2

    Example:
        >>> from driftproof.theory.diffpo import PolyaDenoiser
        >>> urn = PolyaDenoiser(1.0, 1.0, 3)
        >>> [bool(abs(elbo(urn, [1, 1, 0], f) + math.log(12.0)) < 1e-12) for f in ("orders", "time", "count")]
        [True, True, True]
    """
    x = sequences("elbo", denoiser, x)
    if form == "orders":
        return _over_orders(denoiser, x)
    mean, _ = mask_moments(denoiser, x)
    return count_elbo(mean) if form == "count" else quadrature_elbo(mean, (denoiser.length + 1) // 2)


def _over_orders(denoiser: Denoiser, x: np.ndarray) -> Array:
    """E(S), the mean over orders of what is left: E(S) = mean over i outside of S of log p(x_i | z_S) + E(S + i)."""
    length = denoiser.length
    require_enumerable("elbo", length)
    flat, shown = x.reshape(-1, length), subsets(length)
    sizes, place = shown.sum(axis=-1), np.zeros(2**length, dtype=np.int64)
    table: Array = None
    for size in range(length - 1, -1, -1):
        rows = np.flatnonzero(sizes == size)
        xp, log_p = evaluated("elbo", denoiser, np.where(shown[rows], flat[:, None], denoiser.vocabulary))
        device = array_api_compat.device(log_p)
        if table is None:
            table = xp.zeros((len(flat), 1), dtype=log_p.dtype, device=device)
        masked = np.nonzero(~shown[rows])[1].reshape(len(rows), length - size)  # the positions that are left
        token = xp.reshape(picked(xp, log_p, flat[:, None]), (-1,))
        base = (np.arange(len(flat))[:, None] * len(rows) + np.arange(len(rows)))[..., None] * length
        next_set = place[rows[:, None] | 2**masked] + (np.arange(len(flat)) * table.shape[1])[:, None, None]
        total = taken(xp, token, (base + masked).reshape(-1)) + taken(xp, table, next_set.reshape(-1))
        place[rows] = table.shape[1] + np.arange(len(rows))
        level = xp.mean(xp.reshape(total, (len(flat), len(rows), length - size)), axis=-1)
        table = xp.concat([table, level], axis=1)
    return xp.reshape(table[:, -1], x.shape[:-1])


@arrays()
@checked
def mask_moments(denoiser: Denoiser, x: Tokens, reference: Denoiser | None = None) -> tuple[Array, Array]:
    r"""Mean and mean square of the log-probability of what a mask hides, by the number of masked tokens.

    .. math:: c_k = E_{|m| = k} \sum_{i \in m} \log p(x_i \mid z_m), \qquad
        q_k = E_{|m| = k} \Big(\sum_{i \in m} \log p(x_i \mid z_m)\Big)^2

    Everything that an estimator of the ELBO from one mask does, in mean and variance, follows from them.

    Arguments:
        denoiser, x: Symbols of the module.
        reference: If given, the sums are of :math:`\log p - \log p_{ref}` under the same masks.

    Returns:
        Both moments for k = 1, ..., L, shape (..., L).

    Raises:
        UnmetHypothesis: The reference has another length or vocabulary.

    Claims: DIFFPO-ELBO-1, DIFFPO-VAR-1, DIFFPO-CRN-1

    Example:
        >>> from driftproof.theory.diffpo import TabularDenoiser
        >>> mean, square = mask_moments(TabularDenoiser(np.zeros((9, 2, 2))), [0, 1])
        >>> np.round(mean / math.log(2.0), 12).tolist(), np.round(square / math.log(2.0) ** 2, 12).tolist()
        ([-1.0, -2.0], [1.0, 4.0])
    """
    subject, length = "mask_moments", denoiser.length
    x = sequences(subject, denoiser, x)
    require_enumerable(subject, length)
    if reference is not None and (reference.length, reference.vocabulary) != (length, denoiser.vocabulary):
        got = f"L = {reference.length}, V = {reference.vocabulary}"
        raise UnmetHypothesis(subject, "the reference has the length and vocabulary of the denoiser", got)
    flat, shown = x.reshape(-1, length), subsets(length)
    hidden = length - shown.sum(axis=-1)
    means, squares = [], []
    for size in range(1, length + 1):
        rows = np.flatnonzero(hidden == size)
        z = np.where(shown[rows], flat[:, None], denoiser.vocabulary)
        xp, log_p = evaluated(subject, denoiser, z)
        token = picked(xp, log_p, flat[:, None])
        if reference is not None:
            token = token - picked(xp, evaluated(subject, reference, z)[1], flat[:, None])
        masked = xp.asarray(~shown[rows], device=array_api_compat.device(log_p))
        total = xp.sum(xp.where(masked, token, xp.zeros_like(token)), axis=-1)
        means.append(xp.mean(total, axis=-1))
        squares.append(xp.mean(total * total, axis=-1))
    shape = (*x.shape[:-1], length)
    return xp.reshape(xp.stack(means, axis=-1), shape), xp.reshape(xp.stack(squares, axis=-1), shape)


@public(wide=True)
def count_elbo(xp: Namespace, mean: Array) -> Array:
    r"""The ELBO from the means by number of masked tokens: k is uniform, and L/k its weight.

    .. math:: \mathrm{ELBO} = \frac1L \sum_{k=1}^L \frac Lk\, c_k

    Arguments:
        mean: Symbols of the module.

    Claims: DIFFPO-ELBO-1, DIFFPO-ELBO-3

    Example:
        >>> float(count_elbo([-1.0, -2.0]))
        -2.0
    """
    length = mean.shape[-1]
    weights = [1.0 / k for k in range(1, length + 1)]
    return xp.sum(mean * _constant(xp, weights, mean), axis=-1)


@public(wide=True, t="in [0, 1]")
def elbo_profile(xp: Namespace, mean: Array, t: Array) -> Array:
    r"""The integrand of the ELBO in the masking probability: a polynomial of degree L - 1.

    .. math:: g(t) = \frac1t E_{m \sim \mathrm{Bernoulli}(t)^L} \sum_{i \in m} \log p(x_i \mid z_m)
        = \sum_{k=1}^L \binom Lk t^{k-1} (1-t)^{L-k} c_k, \qquad \int_0^1 g = \mathrm{ELBO}

    Arguments:
        mean: Symbols of the module.
        t: Masking probabilities in [0, 1], shape (...); :math:`g(0) = L c_1`.

    Claims: DIFFPO-QUAD-1, DIFFPO-ELBO-3

    Example:
        >>> elbo_profile([[-1.0, -2.0]] * 3, [0.0, 0.5, 1.0]).tolist()
        [-2.0, -2.0, -2.0]
    """
    length = mean.shape[-1]
    k = _constant(xp, [float(k) for k in range(1, length + 1)], mean)
    binomial = _constant(xp, _log_binomials(length)[1:], mean)
    inside = (t > 0.0) & (t < 1.0)
    safe = xp.where(inside, t, 0.5 * xp.ones_like(t))[..., None]
    weights = xp.exp(binomial + (k - 1.0) * xp.log(safe) + (length - k) * xp.log1p(-safe))
    middle = xp.sum(weights * mean, axis=-1)
    ends = xp.where(t <= 0.0, length * mean[..., 0], mean[..., -1])
    return xp.where(inside, middle, ends)


@public(wide=True)
def quadrature_elbo(xp: Namespace, mean: Array, nodes: int = 2) -> Array:
    r"""The integral over the masking probability by Gauss-Legendre quadrature.

    .. math:: \sum_{n=1}^N w_n\, g(t_n) = \mathrm{ELBO} \quad\text{if}\quad 2N - 1 \ge L - 1

    Semi-deterministic estimators take one mask at each node; with fewer than L/2 nodes they estimate this, which is not
    the ELBO and need not lie below the likelihood.

    Arguments:
        mean, nodes: Symbols of the module.

    Raises:
        UnmetHypothesis: nodes < 1.

    References:
        | Improving reasoning for diffusion language models via group diffusion policy optimization (GDPO, 2025)

    Claims: DIFFPO-QUAD-1

    Example:
        >>> round(float(quadrature_elbo([-1.0, -2.0, -6.0], 2)), 12), round(float(count_elbo([-1.0, -2.0, -6.0])), 12)
        (-4.0, -4.0)
    """
    times, weights = gauss_nodes("quadrature_elbo", nodes)
    total = xp.zeros_like(mean[..., 0])
    for t, w in zip(times, weights, strict=True):
        total = total + w * elbo_profile.kernel(xp, mean, xp.full_like(total, t))
    return total


@public(wide=True, survival="in (0, 1)", decay="> 0")
def elbo_weight(xp: Namespace, survival: Array, decay: Array) -> Array:
    r"""The weight of the masked cross-entropy under any schedule of survival.

    .. math:: w = \frac{-\dot\alpha}{1 - \alpha} = \frac{\dot\sigma}{e^\sigma - 1}, \qquad \alpha = e^{-\sigma}

    For :math:`\alpha = 1 - t` it is 1/t, and for :math:`\alpha = 1 - (1 - \epsilon) t` as well.

    Arguments:
        survival: :math:`\alpha`, the probability that a token is not masked, in (0, 1).
        decay: :math:`-\dot\alpha > 0`.

    Returns:
        Elementwise.

    Claims: DIFFPO-ELBO-3

    Example:
        >>> float(elbo_weight(0.75, 1.0))
        4.0
    """
    return decay / (1.0 - survival)


def gauss_nodes(subject: str, nodes: int) -> tuple[list[float], list[float]]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    if nodes < 1:
        raise UnmetHypothesis(subject, "nodes >= 1", f"nodes = {nodes}")
    times, weights = [], []
    for n in range(nodes):  # in plain numbers, which a compiler takes for constants
        x = -math.cos(math.pi * (n + 0.75) / (nodes + 0.5))
        for _ in range(6):  # Newton's method is done after three or four
            before, value = 1.0, x
            for k in range(2, nodes + 1):
                before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
            slope = nodes * (x * value - before) / (x * x - 1.0)
            x = x - value / slope
        times.append(0.5 * (x + 1.0))
        weights.append(1.0 / ((1.0 - x * x) * slope * slope))
    return times, weights


def _log_binomials(length: int) -> list[float]:
    """log binom(L, k) for k = 0, ..., L."""
    return [math.log(math.comb(length, k)) for k in range(length + 1)]


def _constant(xp: Namespace, values: list[float], like: Array) -> Array:
    return xp.asarray(values, dtype=like.dtype, device=array_api_compat.device(like))
