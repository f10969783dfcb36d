r"""Losses over the evaluations of a rollout: every state that the sampler passed through, or a few of them.

*Traces* score what each evaluation revealed at the state that it revealed it from; *shrunk* traces take s evaluations
together, so that s = 1 is the path and s beyond its length the mean field.  *Drafts* score, at one evaluation, the tokens
that the model would put in for everything that is still masked, and have a reward of their own.

Symbols:
    log_p: Log-probabilities of tokens under the policy that is trained, shape (B, T).
    log_old: The same at the parameters that rolled out, shape (B, T).
    mask: 1 at tokens that count, 0 elsewhere, shape (B, T).
    step: The evaluation, 1, 2, ..., at which the rollout revealed each token, shape (B, T).
    shrink: s >= 1 evaluations are taken together.
    clip: :math:`\epsilon \ge 0`, of the ratio :math:`\rho = p / p_{old}` to :math:`[1 - \epsilon, 1 + \epsilon]`.

References:
    | Revolutionizing reinforcement learning framework for diffusion large language models (TraceRL; Wang et al., 2025),
      https://arxiv.org/abs/2509.06949; as coded in https://github.com/Gen-Verse/dLLM-RL
    | MDPO: Overcoming the training-inference divide of masked diffusion language models (He et al., 2025),
      https://arxiv.org/abs/2508.13148; as coded in https://github.com/autonomousvision/mdpo
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

from .ratios import clipped, kept, log_ratio, require_batch

__all__ = ["draft_advantages", "draft_loss", "trace_log_probs", "trace_loss"]


def _require_trace(xp: Namespace, *, log_p: Array, step: Array, shrink: int) -> None:
    if log_p.ndim < 2 or (*log_p.shape[:-2], log_p.shape[-1]) != tuple(step.shape):
        got = f"log_p {tuple(log_p.shape)}, step {tuple(step.shape)}"
        raise UnmetHypothesis("trace_log_probs", "log_p (..., K, T) and step (..., T)", got)
    _require_shrink("trace_log_probs", shrink)
    if step.shape[-1] and known(xp.any(step > float(log_p.shape[-2] * shrink))):
        got = f"a step {float(xp.max(step)):g}, K = {log_p.shape[-2]}, shrink = {shrink}"
        raise UnmetHypothesis(
            "trace_log_probs", "step <= K shrink, so that every evaluation has its state", got
        )


@public(wide=True, check=_require_trace, differentiates=("log_p",), step="in [1, inf)")
def trace_log_probs(xp: Namespace, log_p: Array, step: Array, shrink: int = 1) -> Array:
    r"""Every token from the state before the evaluations with which it was revealed.

    .. math:: \log p(x_i \mid z_{(j - 1)s}), \qquad j = \lceil t_i / s \rceil

    At s = 1 their sum is the log-probability of a state-determined path, with s beyond its length the mean field.

    Arguments:
        log_p: At the states after 0, s, 2s, ... evaluations, shape (..., K, T).
        step, shrink: Symbols of the module; shape (..., T).

    Returns:
        Array of shape (..., T).

    Raises:
        UnmetHypothesis: shrink < 1, or an evaluation without a state.

    Claims: DIFFPO-TRACE-1

    Example:
        >>> trace_log_probs([[-1.0, -2.0], [-5.0, -6.0]], [2.0, 1.0]).tolist()
        [-5.0, -2.0]
        >>> trace_log_probs([[-1.0, -2.0]], [2.0, 1.0], shrink=2).tolist()
        [-1.0, -2.0]
    """
    group = _group(xp, step, shrink)
    found = log_p[..., 0, :]
    for k in range(1, log_p.shape[-2]):
        found = xp.where(group == float(k), log_p[..., k, :], found)
    return found


def _require_trace_loss(xp: Namespace, **given: Any) -> None:
    require_batch(xp, **given)
    _require_shrink("trace_loss", given["shrink"])
    if given["step"].shape != given["log_p"].shape:
        got = f"step {tuple(given['step'].shape)}, log_p {tuple(given['log_p'].shape)}"
        raise UnmetHypothesis("trace_loss", "step and log_p of one shape (B, T)", got)


@public(
    wide=True,
    check=_require_trace_loss,
    clip=">= 0",
    beta=">= 0",
    step="in [1, inf)",
    differentiates=("log_p",),
)
def trace_loss(
    xp: Namespace,
    log_p: Array,
    log_old: Array,
    advantages: Array,
    step: Array,
    mask: Array,
    shrink: int = 1,
    clip: float = 0.2,
    beta: float = 0.0,
) -> Array:
    r"""TraceRL's loss of the policy: the mean over the states of all traces of the mean over what each revealed.

    .. math:: -\frac1N \sum_{b, j} \Big( \frac{1}{|U_{bj}|} \sum_{i \in U_{bj}} \min\big(\rho A,\; \mathrm{clip}(\rho) A\big)
        - \beta \sum_{i \in U_{bj}} (e^{d} - d - 1) \Big), \qquad d = \log p_{old} - \log p

    with :math:`U_{bj}` the tokens of the j-th s evaluations and N the number of those that are not empty.  As coded, the
    divergence is summed where the policy's term is averaged.  A token that was revealed with others counts less than one
    that was revealed alone.

    Arguments:
        log_p, log_old: Results of :func:`trace_log_probs`.
        advantages: One for each sequence, shape (B,).
        step, mask, shrink, clip: Symbols of the module.
        beta: Weight of the divergence from the policy that rolled out, >= 0.

    Returns:
        A number of shape ().

    Claims: DIFFPO-TRACE-1

    Example:
        >>> from math import log
        >>> now = [[log(0.5), log(0.5), log(0.25)]]
        >>> old = [[log(0.5), log(0.5), log(0.5)]]  # two tokens at once, then one
        >>> round(float(trace_loss(now, old, [1.0], [[1.0, 1.0, 2.0]], [[1.0, 1.0, 1.0]])), 12)
        -0.75
    """
    group = _group(xp, step, shrink)
    together = xp.astype(group[:, :, None] == group[:, None, :], log_p.dtype)
    count = xp.sum(together * mask[:, None, :], axis=-1)
    share = mask / xp.where(count > 0.0, count, xp.ones_like(count))
    states = xp.sum(share)
    value = clipped(xp, log_ratio(xp, mask, log_p, log_old), advantages[:, None], clip)
    d = log_ratio(xp, mask, log_old, log_p)
    divergence = xp.sum(xp.expm1(d) - d)
    return (beta * divergence - xp.sum(share * value)) / states


@public(wide=True, check=require_batch, clip=">= 0", beta=">= 0", differentiates=("log_p",))
def draft_loss(
    xp: Namespace,
    log_p: Array,
    log_old: Array,
    advantages: Array,
    mask: Array,
    clip: float = 0.2,
    beta: float = 0.0,
    log_ref: Array | None = None,
) -> Array:
    r"""MDPO's loss at one evaluation: of all tokens that it drafted, with the weight of the bound.

    .. math:: -\frac{1}{\sum_b k_b} \sum_b \Big( \frac{T}{k_b} \sum_{i \in m_b} \min\big(\rho A,\; \mathrm{clip}(\rho) A\big)
        - \frac{\beta}{2} \sum_{i \in m_b} (\log p_{ref} - \log p)^2 \Big)

    As coded, :math:`T / k_b` stands before what is divided by the number of masked tokens once more: over numbers of masks
    it is no gradient of the bound, for which either would do.

    Arguments:
        log_p, log_old: Log-probabilities of the draft, at the state before this evaluation.
        advantages: Those of this evaluation, one for each sequence, for instance a column of :func:`draft_advantages`.
        mask: 1 where that state is masked; :math:`k_b` in a row.
        clip: Symbols of the module.
        beta: Weight of the squared log-ratio to a reference, >= 0.
        log_ref: Log-probabilities of the reference policy, shape (B, T); needed if beta > 0.

    Returns:
        A number of shape ().

    Raises:
        UnmetHypothesis: Shapes differ, nothing is masked in a row, or the reference is missing.

    Claims: DIFFPO-DRAFT-1

    Example:
        >>> same = [[-1.0, -1.0, -1.0, -1.0]]
        >>> float(draft_loss(same, same, [1.0], [[1.0, 0.0, 1.0, 0.0]]))
        -2.0
    """
    weight = log_p.shape[1] / xp.sum(mask, axis=-1)
    value = clipped(xp, log_ratio(xp, mask, log_p, log_old), advantages[:, None], clip)
    total = -xp.sum(weight * xp.sum(kept(xp, mask, value), axis=-1))
    if beta > 0.0:
        if log_ref is None:
            raise UnmetHypothesis("draft_loss", "log_ref where beta > 0", "None")
        d = log_ratio(xp, mask, log_ref, log_p)
        total = total + 0.5 * beta * xp.sum(d * d)
    return total / xp.sum(mask)


def _require_drafts(xp: Namespace, *, rewards: Array, **_: object) -> None:
    if rewards.ndim < 2 or rewards.shape[-2] < 2 or rewards.shape[-1] < 1:
        got = f"shape {tuple(rewards.shape)}"
        raise UnmetHypothesis("draft_advantages", "rewards (..., G, S) with G >= 2 and S >= 1", got)


@public(wide=True, check=_require_drafts, ridge=">= 0")
def draft_advantages(xp: Namespace, rewards: Array, ridge: float = 1e-4) -> Array:
    r"""MDPO's advantages of drafts: what an evaluation added, and what came of it.

    .. math:: g_n = r_n - r_{n - 1} + \frac{1}{S - n} \sum_{u > n} r_u, \qquad
        A_n = \frac{g_n - \bar g_n}{\mathrm{std}(g_n) + \epsilon}

    with :math:`r_0 = 0`, :math:`r_S` in the place of the mean at the last evaluation, and mean and deviation over the group,
    evaluation by evaluation.

    Arguments:
        rewards: Rewards of the drafts of G samples of one prompt at S evaluations, shape (..., G, S).
        ridge: :math:`\epsilon \ge 0`; where all are equal the advantages are 0.

    Returns:
        Array of shape (..., G, S), with sum 0 over the group.

    Raises:
        UnmetHypothesis: G < 2, or there is no evaluation.

    Claims: DIFFPO-DRAFT-1

    Example:
        >>> draft_advantages([[0.0, 1.0], [0.0, 0.0]], ridge=0.0).round(6).tolist()
        [[0.707107, 0.707107], [-0.707107, -0.707107]]
    """
    evaluations = rewards.shape[-1]
    before = xp.concat([xp.zeros_like(rewards[..., :1]), rewards[..., :-1]], axis=-1)
    columns = []
    for n in range(evaluations):
        later = rewards[..., n + 1 :] if n + 1 < evaluations else rewards[..., n:]
        columns.append(xp.mean(later, axis=-1))
    value = rewards - before + xp.stack(columns, axis=-1)
    gap = value - xp.mean(value, axis=-2, keepdims=True)
    square = xp.sum(gap * gap, axis=-2, keepdims=True) / (rewards.shape[-2] - 1.0)
    unequal = xp.max(value, axis=-2, keepdims=True) > xp.min(value, axis=-2, keepdims=True)
    varied = unequal & (square > 0.0)  # the mean of equal numbers is another one by rounding
    deviation = xp.sqrt(xp.where(varied, square, xp.ones_like(square)))
    return xp.where(varied, gap / (deviation + ridge), xp.zeros_like(gap))


def _group(xp: Namespace, step: Array, shrink: int) -> Array:
    """0, 1, ...: the state by which an evaluation is scored."""
    return xp.floor((step - 1.0) / float(shrink))


def _require_shrink(subject: str, shrink: int) -> None:
    if shrink < 1:
        raise UnmetHypothesis(subject, "shrink >= 1", f"shrink = {shrink}")
