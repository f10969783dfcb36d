r"""Learning the threshold of a sampler: the exact gradient, and what estimators of groups make of it.

A policy :math:`\pi_\phi = \mathrm{softmax}(\phi)` chooses a threshold g for a prompt; g is worth
:math:`Q(g) = E[r - \lambda\,\mathrm{NFE} \mid g]`:

.. math:: J(\phi) = \sum_g \pi_\phi(g)\, Q(g), \qquad \partial_{\phi_g} J = \pi_\phi(g)\,(Q(g) - J)

A group of G draws with its own mean as baseline has :math:`\frac{G-1}G` of this in expectation.  Divided by the standard
deviation of the group it is another direction: each coordinate changes by a factor of its own.  Derived here.
"""

from __future__ import annotations

import math
from typing import Literal

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public, still

__all__ = ["group_gradient", "threshold_gradient"]

_MOST_GROUPS = 20_000


def _same_arms(xp: Namespace, *, logits: Array, values: Array, **_: object) -> None:
    if not logits.ndim or logits.shape != values.shape:
        got = f"shapes {tuple(logits.shape)} and {tuple(values.shape)}"
        raise UnmetHypothesis("threshold gradients", "logits and values of one shape (..., n)", got)


@public(wide=True, check=_same_arms)
def threshold_gradient(xp: Namespace, logits: Array, values: Array) -> Array:
    r"""The gradient of the expected value in the logits of the policy.

    .. math:: \partial_{\phi_g} J = \pi_\phi(g)\,(Q(g) - J)

    Arguments:
        logits: :math:`\phi`, shape (..., n).
        values: Q of each threshold, shape (..., n).

    Returns:
        Array of shape (..., n), with sum 0.

    Claims: DIFFPO-THRESHOLD-1

    Example:
        >>> threshold_gradient([0.0, 0.0], [1.0, 3.0]).tolist()
        [-0.5, 0.5]
    """
    p = _softmax(xp, logits)
    return p * (values - xp.sum(p * values, axis=-1, keepdims=True))


def _small_groups(xp: Namespace, *, logits: Array, values: Array, size: int, **_: object) -> None:
    _same_arms(xp, logits=logits, values=values)
    if size < 2:
        raise UnmetHypothesis("group_gradient", "a group of at least 2", f"size = {size}")
    count = math.comb(size + logits.shape[-1] - 1, size)
    if count > _MOST_GROUPS:
        raise UnmetHypothesis("group_gradient", f"at most {_MOST_GROUPS} kinds of groups", f"{count}")


@public(wide=True, check=_small_groups, ridge="> 0")
def group_gradient(
    xp: Namespace,
    logits: Array,
    values: Array,
    size: int = 6,
    scale: Literal["none", "leave_one_out", "std"] = "none",
    ridge: float = 1e-4,
) -> Array:
    r"""The expectation of the estimator from groups, by enumeration of what a group may hold.

    .. math:: E\Big[\frac1G \sum_j A_j\,\nabla_\phi \log \pi_\phi(g_j)\Big], \qquad A_j =
        Q_j - \bar Q, \quad \frac{G}{G-1}(Q_j - \bar Q), \quad \frac{Q_j - \bar Q}{\mathrm{std}(Q) + \epsilon}

    Arguments:
        logits, values: As for :func:`threshold_gradient`; the value of a threshold is not random.
        size: G >= 2.
        scale: ``"none"``: the group mean is the baseline; ``"leave_one_out"``: the mean of the others is;
            ``"std"``: divided by the standard deviation of the group, with G - 1, as GRPO has it.
        ridge: :math:`\epsilon > 0` of ``"std"``.

    Returns:
        Array of shape (..., n).

    Raises:
        UnmetHypothesis: size < 2, or more than 20,000 kinds of groups.

    Claims: DIFFPO-THRESHOLD-1

    Example:
        >>> group_gradient([0.0, 0.0], [1.0, 3.0], size=2).tolist()
        [-0.25, 0.25]
    """
    p = _softmax(xp, logits)
    arms, total = p.shape[-1], xp.zeros_like(p)
    for counts in _compositions(size, arms):
        ways = math.factorial(size) / math.prod([math.factorial(m) for m in counts])
        chance = ways * xp.ones_like(p[..., 0])
        for g, m in enumerate(counts):
            if m:
                chance = chance * p[..., g] ** m
        mean = sum(m * values[..., g] for g, m in enumerate(counts)) / size
        gap = [values[..., g] - mean for g in range(arms)]
        square = sum(m * gap[g] ** 2 for g, m in enumerate(counts))
        if scale == "leave_one_out":
            gap = [size / (size - 1.0) * one for one in gap]
        elif scale == "std":
            varied = square > 0.0
            deviation = xp.sqrt(xp.where(varied, square, xp.ones_like(square)) / (size - 1.0))
            gap = [xp.where(varied, one / (deviation + ridge), xp.zeros_like(one)) for one in gap]
        weighted = [m * gap[g] for g, m in enumerate(counts)]
        direction = xp.stack([weighted[g] - p[..., g] * sum(weighted) for g in range(arms)], axis=-1)
        total = total + chance[..., None] * direction / size
    return total


def _softmax(xp: Namespace, logits: Array) -> Array:
    e = xp.exp(logits - still(xp.max(logits, axis=-1, keepdims=True)))
    return e / xp.sum(e, axis=-1, keepdims=True)


def _compositions(total: int, parts: int) -> list[list[int]]:
    """All ways to write a number as an ordered sum of nonnegative parts."""
    if parts == 1:
        return [[total]]
    return [[first, *rest] for first in range(total + 1) for rest in _compositions(total - first, parts - 1)]
