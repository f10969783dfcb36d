r"""Estimators of a sequence's log-probability from the log-probabilities of masked tokens.

A trainer masks a completion, evaluates the network once, and has :math:`\log p(x_i \mid z_m)` for every i of the mask m.
What makes an estimate of the ELBO of these is a weight: :math:`1/t` if every token was masked with probability t,
:math:`L/k` if k tokens were.  Each is unbiased with masks drawn as it says, and biased with the other's.

Symbols:
    log_p: Log-probabilities of the true tokens at the masked state, shape (..., L).
    mask: 1 where a token was masked, 0 elsewhere, shape (..., L).
    real: 1 at tokens of the completion, 0 at padding, shape (..., L).
"""

from __future__ import annotations

from typing import Any

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    known,
    public,
)
from driftproof.theory.diffpo.elbo import gauss_nodes

__all__ = [
    "count_estimate",
    "coupled_log_probs",
    "semi_deterministic_estimate",
    "time_estimate",
    "two_times_log_probs",
]


def _require_masks(xp: Namespace, **given: Any) -> None:
    shapes = {name: tuple(v.shape) for name, v in given.items() if hasattr(v, "shape") and v.ndim}
    wide = {name: shapes[name] for name in ("log_p", "other", "mask", "real") if name in shapes}
    if not wide or len(set(wide.values())) > 1:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UnmetHypothesis("estimate", "log-probabilities and masks of one shape (..., L)", got)
    for name in ("mask", "real"):
        if name in given and known(xp.any((given[name] != 0.0) & (given[name] != 1.0))):
            raise UnmetHypothesis("estimate", f"{name} holds zeros and ones", "other numbers")


def _require_hidden(xp: Namespace, **given: Any) -> None:
    _require_masks(xp, **given)
    if known(xp.any(xp.sum(given["mask"] * given["real"], axis=-1) < 1.0)):
        raise UnmetHypothesis(
            "count_estimate", "every mask hides a token of the completion", "one hides none"
        )


@public(wide=True, t="in (0, 1]", check=_require_masks, differentiates=("log_p", "t"))
def time_estimate(xp: Namespace, log_p: Array, mask: Array, t: Array) -> Array:
    r"""The estimate with masking probability t.

    .. math:: \frac1t \sum_{i \in m} \log p(x_i \mid z_m)

    Arguments:
        log_p, mask: Symbols of the module; a token of the prompt, or of padding, is not masked.
        t: The probability with which each token was masked, in (0, 1], shape (...); not the share that was.

    Returns:
        Array of shape (...); 0 where nothing was masked.

    Claims: DIFFPO-ESTIMATE-1

    Example:
        >>> time_estimate([[-1.0, -3.0]], [[0.0, 1.0]], [0.5]).tolist()
        [-6.0]
    """
    return xp.sum(_where(xp, mask, log_p), axis=-1) / t


@public(wide=True, check=_require_hidden, differentiates=("log_p",))
def count_estimate(xp: Namespace, log_p: Array, mask: Array, real: Array) -> Array:
    r"""The estimate with k of L tokens masked, k uniform on 1, ..., L.

    .. math:: \frac Lk \sum_{i \in m} \log p(x_i \mid z_m)

    Arguments:
        log_p, mask, real: Symbols of the module; L and k count real tokens.

    Returns:
        Array of shape (...).

    Raises:
        UnmetHypothesis: A mask hides nothing.

    Claims: DIFFPO-ESTIMATE-1

    Example:
        >>> count_estimate([[-1.0, -3.0, -9.0]], [[0.0, 1.0, 0.0]], [[1.0, 1.0, 0.0]]).tolist()
        [-6.0]
    """
    hidden = mask * real
    weight = xp.sum(real, axis=-1) / xp.sum(hidden, axis=-1)
    return weight * xp.sum(_where(xp, hidden, log_p), axis=-1)


@public(wide=True, check=_require_masks, differentiates=("log_p",))
def semi_deterministic_estimate(xp: Namespace, log_p: Array, mask: Array) -> Array:
    r"""One mask at each of N Gauss-Legendre nodes.

    .. math:: \sum_{n=1}^N \frac{w_n}{t_n} \sum_{i \in m_n} \log p(x_i \mid z_{m_n}), \qquad
        P(i \in m_n) = t_n

    Its expectation is :func:`driftproof.theory.diffpo.quadrature_elbo`: the ELBO from N = L/2 on.

    Arguments:
        log_p, mask: Symbols of the module, shape (..., N, L), nodes in increasing order.

    Returns:
        Array of shape (...).

    Raises:
        UnmetHypothesis: There are fewer than two axes.

    Claims: DIFFPO-ESTIMATE-1

    Example:
        >>> semi_deterministic_estimate([[[-1.0, -3.0]]], [[[0.0, 1.0]]]).tolist()  # one node, at 1/2
        [-6.0]
    """
    if log_p.ndim < 2:
        got = f"shape {tuple(log_p.shape)}"
        raise UnmetHypothesis("semi_deterministic_estimate", "log_p has shape (..., N, L)", got)
    times, weights = gauss_nodes("semi_deterministic_estimate", log_p.shape[-2])
    sums = xp.sum(_where(xp, mask, log_p), axis=-1)
    terms = [w / t * sums[..., n] for n, (t, w) in enumerate(zip(times, weights, strict=True))]
    return sum(terms[1:], terms[0])


@public(wide=True, t="in (0, 1)", check=_require_masks, differentiates=("log_p", "other", "t"))
def coupled_log_probs(xp: Namespace, log_p: Array, other: Array, mask: Array, t: Array) -> Array:
    r"""Every token once, from a mask or from its complement.

    .. math:: \tfrac12 \Big( \frac{1[i \in m]}{t} \log p(x_i \mid z_m)
        + \frac{1[i \notin m]}{1 - t} \log p(x_i \mid z_{m^c}) \Big)

    With t uniform the sum over i is an unbiased estimate of the ELBO, and no token is without a gradient.

    Arguments:
        log_p: At the state masked by m, shape (..., L).
        other: At the state masked by its complement, shape (..., L).
        mask: m, of probability t.
        t: In (0, 1), shape (...).

    Returns:
        Array of shape (..., L).

    Claims: DIFFPO-ESTIMATE-1

    Example:
        >>> coupled_log_probs([[-1.0, -9.0]], [[-9.0, -3.0]], [[1.0, 0.0]], [0.5]).tolist()
        [[-1.0, -3.0]]
    """
    first, second = _where(xp, mask, log_p), _where(xp, 1.0 - mask, other)
    return 0.5 * (first / t[..., None] + second / (1.0 - t[..., None]))


def _require_steps(xp: Namespace, *, log_p: Array, other: Array, step: Array, tau: int) -> None:
    _require_masks(xp, log_p=log_p, other=other, mask=0.0 * step)
    if tau < 0:
        raise UnmetHypothesis("two_times_log_probs", "tau >= 0", f"tau = {tau}")


@public(wide=True, check=_require_steps, differentiates=("log_p", "other"), step=">= 0")
def two_times_log_probs(xp: Namespace, log_p: Array, other: Array, step: Array, tau: int) -> Array:
    r"""Two times: tokens revealed up to evaluation tau from the first state, the others from that after tau.

    .. math:: \log p(x_i \mid z_0) \;\text{ if revealed at } t \le \tau, \qquad
        \log p(x_i \mid z_\tau) \;\text{ if later}

    Arguments:
        log_p: With everything masked, shape (..., L).
        other: At the state after tau evaluations, shape (..., L).
        step: The evaluation, 1, 2, ..., at which the rollout revealed each token, shape (..., L).
        tau: Drawn uniformly from the evaluations of the rollout, >= 0.

    Returns:
        Array of shape (..., L).

    Claims: DIFFPO-ESTIMATE-1

    Example:
        >>> two_times_log_probs([[-1.0, -1.0]], [[-5.0, -5.0]], [[2.0, 1.0]], tau=1).tolist()
        [[-5.0, -1.0]]
    """
    return xp.where(step <= float(tau), log_p, other)


def _where(xp: Namespace, mask: Array, log_p: Array) -> Array:
    """Zero outside of a mask, whatever stands there."""
    return xp.where(mask > 0.0, log_p, xp.zeros_like(log_p))
