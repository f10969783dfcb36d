r"""Tractable likelihoods that stand for the true one: mean field, two times, and what they cost.

*Mean field* scores every token from the state in which all are masked; *two times* scores what is revealed after
evaluation tau from the state that was there by then:

.. math:: \log \hat\pi_{MF}(x) = \sum_i \log p(x_i \mid z_0), \qquad
    \log \hat\pi_{2MF, \tau}(x) = \sum_{t \le \tau} \log p(x_{U_t} \mid z_0) + \sum_{t > \tau} \log p(x_{U_t} \mid z_\tau)

Along a state-determined path both are laws.  For a fixed order and a consistent denoiser

.. math:: \mathrm{KL}(\pi \| \hat\pi_{MF}) - \mathrm{KL}(\pi \| \hat\pi_{2MF, \tau})
    = \sum_{t > \tau} I(x_{U_t}; z_\tau) \ge 0

and rewards in an interval of length R differ by at most :math:`R\,\mathrm{TV}`.  The constants of the theorems of the
paper were not available to us; derived here.

References:
    | DiFFPO: Training diffusion LLMs to reason fast and furious via reinforcement learning
      (Zhao, Liang, Tang, Yao & Kallus, 2025), https://arxiv.org/abs/2510.02212
"""

from __future__ import annotations

import array_api_compat
import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked, public

from .likelihood import path
from .samplers import Sampler
from .states import Denoiser, Tokens, evaluated, picked, sequences

__all__ = ["mean_field", "surrogate_bound", "two_mean_field"]


@arrays()
@checked
def mean_field(denoiser: Denoiser, x: Tokens) -> Array:
    r"""Every token from the state in which all are masked.

    .. math:: \log \hat\pi_{MF}(x) = \sum_i \log p(x_i \mid z_0)

    Arguments:
        denoiser: The denoiser; with a prompt, :class:`Prompted`.
        x: Sequences, integers of shape (..., L).

    Returns:
        Array of shape (...).

    Claims: DIFFPO-MF-1, DIFFPO-MF-2

    Example:
        >>> from driftproof.theory.diffpo import PolyaDenoiser
        >>> round(float(np.exp(mean_field(PolyaDenoiser(1.0, 1.0, 3), [1, 1, 0]))), 15)
        0.125
    """
    x = sequences("mean_field", denoiser, x)
    xp, log_p = evaluated("mean_field", denoiser, np.full_like(x, denoiser.vocabulary))
    return xp.sum(picked(xp, log_p, x), axis=-1)


@arrays()
@checked
def two_mean_field(denoiser: Denoiser, sampler: Sampler, x: Tokens, tau: int) -> Array:
    r"""Tokens of the first tau evaluations from the masked state, the others from the state after them.

    Arguments:
        denoiser: The denoiser.
        sampler: A state-determined sampler, whose path to x says what was there when.
        x: Sequences, integers of shape (..., L).
        tau: How many evaluations have passed, >= 0; at 0, and where the path is over by then, this is the mean field.

    Returns:
        Array of shape (...).

    Raises:
        UnmetHypothesis: tau < 0, or the sampler has a choice.

    Claims: DIFFPO-MF-1, DIFFPO-MF-2

    Example:
        >>> from driftproof.theory.diffpo import LeftToRight, PolyaDenoiser
        >>> urn = PolyaDenoiser(1.0, 1.0, 3)
        >>> round(float(np.exp(two_mean_field(urn, LeftToRight(), [1, 1, 0], tau=1))), 15) == round(1 / 9, 15)
        True
    """
    subject = "two_mean_field"
    if tau < 0:
        raise UnmetHypothesis(subject, "tau >= 0", f"tau = {tau}")
    x = sequences(subject, denoiser, x)
    early = path(denoiser, sampler, x).step <= tau
    xp, first = evaluated(subject, denoiser, np.full_like(x, denoiser.vocabulary))
    _, second = evaluated(subject, denoiser, np.where(early, x, denoiser.vocabulary))
    mixed = [picked(xp, first, x), picked(xp, second, x)]
    known = xp.asarray(early, device=array_api_compat.device(first))
    return xp.sum(xp.where(known, *mixed), axis=-1)


@public(wide=True, kl=">= 0", span=">= 0")
def surrogate_bound(xp: Namespace, kl: Array, span: float | Array = 1.0) -> Array:
    r"""How far the expected reward of a policy is from that of its surrogate, at most.

    .. math:: |J(\pi) - J(\hat\pi)| \le R\,\mathrm{TV}(\pi, \hat\pi)
        \le R \min\Big(\sqrt{\tfrac12 \mathrm{KL}(\pi \| \hat\pi)},\; \sqrt{1 - e^{-\mathrm{KL}(\pi \| \hat\pi)}}\Big)

    The first is Pinsker's inequality, the second Bretagnolle's and Huber's, which never says more than R.  With
    KL(surrogate | policy) it holds as well.

    Arguments:
        kl: The divergence in nats, >= 0; infinite where the supports differ.
        span: R, the length of an interval that holds all rewards, >= 0.

    Returns:
        The bound, elementwise.

    References:
        | Introduction to nonparametric estimation (Tsybakov, 2009), lemmas 2.5 and 2.6

    Claims: DIFFPO-BOUND-1

    Example:
        >>> float(surrogate_bound(0.02)), float(surrogate_bound(1000.0, 3.0))
        (0.1, 3.0)
    """
    some = kl > 0.0
    small = some & (kl < 1.0)  # from there on the second is the smaller one
    one = xp.ones_like(kl)
    pinsker = xp.where(small, xp.sqrt(0.5 * xp.where(small, kl, one)), one)
    huber = xp.sqrt(-xp.expm1(-xp.where(some, kl, one)))
    return span * xp.where(some, xp.minimum(pinsker, huber), xp.zeros_like(kl))
