r"""Losses of reinforcement learning for masked diffusion, from log-probabilities and advantages.

Each is a plain function of arrays; its gradient in ``log_p`` is what matters.  Ratios to what was recorded at the rollout
are data: nothing flows through ``log_old``, ``log_behaviour`` or the advantages.

A loss is a number of shape ().

Symbols:
    log_p: Log-probabilities of tokens under the policy that is trained, shape (B, T).
    log_old: The same surrogate at the parameters that rolled out, shape (B, T).
    advantages: One for each sequence, shape (B,).
    mask: 1 at tokens of the completion, 0 elsewhere, shape (B, T).
    clip: :math:`\epsilon \ge 0`, of the ratio :math:`\rho = p / p_{old}` to :math:`[1 - \epsilon, 1 + \epsilon]`.

References:
    | d1: Scaling reasoning in diffusion large language models via reinforcement learning (Zhao et al., 2025),
      https://arxiv.org/abs/2504.12216
    | DiFFPO: Training diffusion LLMs to reason fast and furious via reinforcement learning
      (Zhao, Liang, Tang, Yao & Kallus, 2025), https://arxiv.org/abs/2510.02212 (the start of its loss was visible to us)
"""

from __future__ import annotations

import math
from typing import Any, Literal

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public, still
from driftproof.numerics.opd import group_mean, leave_one_out

from .ratios import clipped, kept, log_ratio, require_batch

__all__ = [
    "diffpo_loss",
    "diffu_grpo_loss",
    "group_advantages",
    "joint_loss",
    "sampler_loss",
    "sequence_loss",
    "wd1_loss",
]


def _require_sequences(xp: Namespace, **given: Any) -> None:
    shapes = {
        name: tuple(value.shape)
        for name in ("log_p", "log_old", "advantages", "log_choice", "lengths")
        if (value := given.get(name)) is not None
    }
    if len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 1:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UnmetHypothesis("loss", "one number for each sequence, shape (B,)", got)


@public(wide=True)
def group_advantages(
    xp: Namespace,
    rewards: Array,
    baseline: Literal["group_mean", "leave_one_out"] = "leave_one_out",
    standardise: bool = False,
    ridge: float = 1e-4,
) -> Array:
    r"""Advantages of the samples of one prompt.

    .. math:: A_i = r_i - \bar r, \qquad A_i = r_i - \frac1{G-1}\sum_{j \ne i} r_j = \frac{G}{G-1}(r_i - \bar r), \qquad
        \frac{A_i}{\mathrm{std}(r) + \epsilon}

    d1 as coded has the first, without the division.

    Arguments:
        rewards: Rewards of G samples, less the cost of their evaluations, shape (..., G).
        baseline: The mean of the group, or of the others, which leaves the expected gradient as it is.
        standardise: Divide by the standard deviation of the group, with G - 1.
        ridge: :math:`\epsilon \ge 0`.

    Returns:
        Array of shape (..., G), with sum 0.

    Raises:
        UnmetHypothesis: G < 2.

    Claims: DIFFPO-LOSS-1

    Example:
        >>> group_advantages([1.0, 2.0, 6.0]).tolist()
        [-3.0, -1.5, 4.5]
    """
    if not rewards.ndim or rewards.shape[-1] < 2:
        got = f"shape {tuple(rewards.shape)}"
        raise UnmetHypothesis("group_advantages", "at least 2 samples of a prompt, (..., G)", got)
    subtracted = leave_one_out if baseline == "leave_one_out" else group_mean
    advantages = rewards - subtracted.kernel(xp, rewards)
    if not standardise:
        return advantages
    gap = rewards - xp.mean(rewards, axis=-1, keepdims=True)
    square = xp.sum(gap * gap, axis=-1, keepdims=True) / (rewards.shape[-1] - 1.0)
    unequal = xp.max(rewards, axis=-1, keepdims=True) > xp.min(rewards, axis=-1, keepdims=True)
    varied = unequal & (square > 0.0)  # the mean of equal numbers is another one by rounding
    deviation = xp.sqrt(xp.where(varied, square, xp.ones_like(square)))
    return xp.where(varied, advantages / (deviation + ridge), xp.zeros_like(advantages))


@public(wide=True, check=require_batch, clip=">= 0", beta=">= 0", differentiates=("log_p",))
def diffu_grpo_loss(
    xp: Namespace,
    log_p: Array,
    log_old: Array,
    advantages: Array,
    mask: Array,
    clip: float = 0.5,
    beta: float = 0.0,
    log_ref: Array | None = None,
) -> Array:
    r"""d1's loss: the clipped ratio of every token, and k3 to a reference.

    .. math:: -\frac{1}{\sum m} \sum_{b,t} m_{bt} \Big( \min\big(\rho A,\; \mathrm{clip}(\rho) A\big)
        - \beta\,(e^{d} - d - 1) \Big), \qquad d = \log p_{ref} - \log p

    With per-token log-probabilities of :func:`coupled_log_probs` it is the loss of coupled GRPO.

    Arguments:
        log_p, log_old, advantages, mask, clip: Symbols of the module.
        beta: Weight of the divergence, >= 0.
        log_ref: Log-probabilities of the reference policy, shape (B, T); needed if beta > 0.

    Raises:
        UnmetHypothesis: Shapes differ, a sequence has no token, or the reference is missing.

    Claims: DIFFPO-LOSS-1

    Example:
        >>> round(float(diffu_grpo_loss([[-1.0, -1.0]], [[-1.0, -2.0]], [2.0], [[1.0, 1.0]])), 12)
        -2.5
    """
    value = clipped(xp, log_ratio(xp, mask, log_p, log_old), advantages[:, None], clip)
    if beta > 0.0:
        if log_ref is None:
            raise UnmetHypothesis("diffu_grpo_loss", "log_ref where beta > 0", "None")
        d = log_ratio(xp, mask, log_ref, log_p)
        value = value - beta * (xp.expm1(d) - d)
    return -xp.sum(kept(xp, mask, value)) / xp.sum(mask)


@public(wide=True, check=_require_sequences, differentiates=("log_p",))
def wd1_loss(xp: Namespace, log_p: Array, advantages: Array) -> Array:
    r"""wd1's loss: weighted log-likelihood without a ratio.

    .. math:: -\sum_i \mathrm{softmax}(A)_i \log p_i + \sum_i \mathrm{softmax}(-A)_i \log p_i

    Arguments:
        log_p: Log-probabilities of whole sequences under the surrogate, shape (B,).
        advantages: Symbols of the module; as coded, the softmax is over the batch.

    Claims: DIFFPO-LOSS-1

    Example:
        >>> from math import log
        >>> round(float(wd1_loss([-1.0, -3.0], [log(3.0), 0.0])), 12)
        -1.0
    """
    return xp.sum((_softmax(xp, -advantages) - _softmax(xp, advantages)) * log_p)


@public(wide=True, check=_require_sequences, clip=">= 0", differentiates=("log_p",), lengths="> 0")
def sequence_loss(
    xp: Namespace,
    log_p: Array,
    log_old: Array,
    advantages: Array,
    clip: float = 0.2,
    lengths: Array | None = None,
) -> Array:
    r"""GDPO's loss: one clipped ratio for each sequence, of estimates of the ELBO.

    .. math:: -\frac1B \sum_b \min\big(\rho_b A_b,\; \mathrm{clip}(\rho_b) A_b\big), \qquad
        \rho_b = \exp\Big(\frac{\widehat{\mathrm{ELBO}} - \widehat{\mathrm{ELBO}}_{old}}{n_b}\Big)

    Arguments:
        log_p, log_old: Estimates for whole sequences with common masks, shape (B,).
        advantages, clip: Symbols of the module.
        lengths: :math:`n_b`, for the ratio a token; 1 unless given.

    Claims: DIFFPO-LOSS-1

    Example:
        >>> from math import log
        >>> round(float(sequence_loss([log(2.0)], [0.0], [1.0], clip=0.2)), 12)
        -1.2
    """
    gap = log_p - log_old if lengths is None else (log_p - log_old) / lengths
    return -xp.mean(clipped(xp, gap, advantages, clip))


@public(wide=True, check=require_batch, clip=">= 0", cap="in (0, inf]", differentiates=("log_p",))
def diffpo_loss(
    xp: Namespace,
    log_p: Array,
    log_old: Array,
    log_behaviour: Array,
    advantages: Array,
    mask: Array,
    cap: float = 2.0,
    clip: float = 0.2,
) -> Array:
    r"""DiFFPO's loss of the model: a surrogate policy, trained off-policy from true rollouts.

    .. math:: -\frac1B \sum_b \frac{1}{|o_b|} \sum_t m_{bt}\,
        \min\Big(C, \frac{\hat p_{old}}{p_{behaviour}}\Big)\, \min\big(\rho A,\; \mathrm{clip}(\rho) A\big), \qquad
        \rho = \frac{\hat p}{\hat p_{old}}

    The first factor corrects, token by token and up to C, for rollouts that were drawn from the true conditionals and not
    from the surrogate.

    Arguments:
        log_p: Log-probabilities of the surrogate, for instance :func:`two_times_log_probs`, shape (B, T).
        log_old: Those of the surrogate at the parameters that rolled out, with the same tau, shape (B, T).
        log_behaviour: Those recorded by the rollout, shape (B, T).
        advantages, mask, clip: Symbols of the module.
        cap: C > 0; infinite truncates nothing.

    Claims: DIFFPO-LOSS-2

    Example:
        >>> one = [[1.0, 1.0]]
        >>> from math import log
        >>> behaviour = [[-1.0 - log(8.0), -1.0 + log(2.0)]]
        >>> round(float(diffpo_loss([[-1.0, -1.0]], [[-1.0, -1.0]], behaviour, [1.0], one)), 12)
        -1.25
    """
    excess = log_ratio(xp, mask, log_old, log_behaviour)
    weight = xp.exp(xp.minimum(excess, xp.full_like(excess, math.log(cap))))
    value = weight * clipped(xp, log_ratio(xp, mask, log_p, log_old), advantages[:, None], clip)
    each = xp.sum(kept(xp, mask, value), axis=-1) / xp.sum(mask, axis=-1)
    return -xp.mean(each)


@public(wide=True, check=_require_sequences, differentiates=("log_choice",))
def sampler_loss(xp: Namespace, log_choice: Array, advantages: Array) -> Array:
    r"""The loss of the sampler: the score function of the thresholds that were chosen.

    .. math:: -\frac1B \sum_b A_b \log \pi_\phi(g_b)

    Arguments:
        log_choice: Log-probability of the threshold of each rollout, shape (B,).
        advantages: Advantages of the rewards less the cost of the evaluations, shape (B,).

    Claims: DIFFPO-LOSS-3

    Example:
        >>> float(sampler_loss([-1.0, -2.0], [1.0, -1.0]))
        -0.5
    """
    return -xp.mean(advantages * log_choice)


def _require_joint(xp: Namespace, **given: Any) -> None:
    require_batch(xp, **given)
    if given["log_choice"].shape != given["advantages"].shape:
        got = f"log_choice {tuple(given['log_choice'].shape)}"
        raise UnmetHypothesis("joint_loss", "log_choice and advantages of one shape (B,)", got)


@public(
    wide=True,
    check=_require_joint,
    clip=">= 0",
    cap="in (0, inf]",
    weight=">= 0",
    differentiates=("log_p", "log_choice"),
)
def joint_loss(
    xp: Namespace,
    log_p: Array,
    log_old: Array,
    log_behaviour: Array,
    log_choice: Array,
    advantages: Array,
    mask: Array,
    cap: float = 2.0,
    clip: float = 0.2,
    weight: float = 1.0,
) -> Array:
    r"""Model and sampler together: one set of rollouts, one set of advantages.

    .. math:: \mathcal L_{model}(\theta) + w\,\mathcal L_{sampler}(\phi)

    Arguments:
        log_p, log_old, log_behaviour, advantages, mask, cap, clip: As for :func:`diffpo_loss`.
        log_choice: As for :func:`sampler_loss`.
        weight: w >= 0.

    Claims: DIFFPO-LOSS-3

    Example:
        >>> one = [[0.0]], [[0.0]], [[0.0]]
        >>> float(joint_loss(*one, [-2.0], [1.0], [[1.0]]))
        1.0
    """
    model = diffpo_loss.kernel(xp, log_p, log_old, log_behaviour, advantages, mask, cap, clip)
    return model + weight * sampler_loss.kernel(xp, log_choice, advantages)


def _softmax(xp: Namespace, logits: Array) -> Array:
    e = xp.exp(logits - still(xp.max(logits, axis=-1, keepdims=True)))
    return e / xp.sum(e, axis=-1, keepdims=True)
