r"""Baselines: what may be subtracted from an advantage without changing the expected gradient.

A baseline that does not depend on the sampled token is free, because :math:`E_p[\nabla \log p] = 0`.  The
mean of a group of G samples of one state *does* depend on them: it shrinks the expected gradient by the
factor :math:`1 - 1/G`.  The mean of the others does not.

Symbols:
    advantages: Advantages of G independent samples of each state, shape (..., G).
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

__all__ = ["group_mean", "leave_one_out", "optimal_baseline"]


@public(wide=True)
def leave_one_out(xp: Namespace, advantages: Array) -> Array:
    r"""Mean advantage of the other samples of the same state: an unbiased baseline.

    .. math:: b_i = \frac{1}{G-1} \sum_{j \ne i} A_j

    Arguments:
        advantages: Symbols of the module.

    Returns:
        Baselines of shape (..., G).

    Raises:
        UnmetHypothesis: G < 2.

    Claims: OPD-BASELINE-1

    Example:
        >>> leave_one_out([1.0, 2.0, 6.0]).tolist()
        [4.0, 3.5, 1.5]
    """
    count = advantages.shape[-1]
    if count < 2:
        raise UnmetHypothesis("leave_one_out", "at least 2 samples of a state", f"G = {count}")
    return (xp.sum(advantages, axis=-1, keepdims=True) - advantages) / (count - 1.0)


@public(wide=True)
def group_mean(xp: Namespace, advantages: Array) -> Array:
    r"""Mean advantage of all samples of the same state: shrinks the gradient by 1 - 1/G.

    Arguments:
        advantages: Symbols of the module.

    Returns:
        Baselines of shape (..., G), all equal.

    Claims: OPD-BASELINE-1

    Example:
        >>> group_mean([1.0, 2.0, 6.0]).tolist()
        [3.0, 3.0, 3.0]
    """
    return xp.mean(advantages, axis=-1, keepdims=True) + xp.zeros_like(advantages)


@public(wide=True)
def optimal_baseline(xp: Namespace, logp: Array, advantages: Array) -> Array:
    r"""The constant that minimises the variance of the single-sample estimator, by enumeration.

    .. math:: b^* = \frac{E_p[A\,|e_a - p|^2]}{E_p\,|e_a - p|^2}, \qquad
        |e_a - p|^2 = 1 - 2 p_a + \sum_b p_b^2

    Arguments:
        logp: Log-probabilities of the student, shape (..., V).
        advantages: Advantage of every token, shape (..., V).

    Returns:
        Array of shape (...).

    Claims: OPD-BASELINE-1

    Example:
        >>> from math import log
        >>> round(float(optimal_baseline([log(0.5), log(0.5)], [1.0, 3.0])), 14)
        2.0
    """
    p = xp.exp(logp)
    length = 1.0 - 2.0 * p + xp.sum(p * p, axis=-1, keepdims=True)
    return xp.sum(p * advantages * length, axis=-1) / xp.sum(p * length, axis=-1)
