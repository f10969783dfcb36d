r"""Distillation losses on log-probabilities: plain functions with the shapes of transformers.

The weights of the tokens are those of :func:`driftproof.numerics.opd.token_weights`, the same lines that
the claims verify on enumerated policies; autograd sees :math:`\sum_n \mathrm{detach}(w_n) \log p(y_n)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import array_api_compat.torch as xp
import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.numerics.opd import Mode, Reduction, diagnostics, token_weights
from driftproof.theory.divergences import FDivergence, get
from driftproof.theory.opd import divergence

from .boundary import require_finite, require_mask, require_temperature, require_vocabulary

__all__ = ["OPDLoss", "full_vocabulary_loss", "opd_loss"]


@final
@dataclass(frozen=True)
class OPDLoss:
    """A loss to call ``backward`` on, and the figures to log beside it.

    ``loss`` has the gradient of the estimator; its *value* is a surrogate without meaning.  ``metrics``
    holds detached scalars, among them the estimated divergence per token.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


def opd_loss(
    logp: Tensor,  # (B, T) log-probability of each sampled token under the student, with gradient
    teacher_logp: Tensor,  # (B, T) the same under the teacher
    mask: Tensor,  # (B, T) 1 at completion tokens
    *,
    divergence: str | FDivergence = "reverse_kl",
    mode: Mode = "centered",
    clip: float | None = 20.0,
    behaviour_logp: Tensor | None = None,  # (B, T) under the policy that sampled
    baseline: Tensor | None = None,
    gamma: float = 0.0,
    reduction: Reduction = "token",
    num_items_in_batch: Tensor | int | None = None,
    temperature: float = 1.0,
) -> OPDLoss:
    r"""The sampled-token loss of on-policy distillation, with the exact gradient of any f-divergence.

    Arguments:
        logp: Log-probabilities of the sampled tokens under the student, shape (B, T), with gradient.
        teacher_logp: The same under the teacher, shape (B, T); -inf where it excludes the token.
        mask: 1 at tokens of the completion, shape (B, T).
        divergence: A name of :func:`driftproof.theory.divergences.names`, or a divergence.
        mode: ``centered`` (exact), ``plus`` (exact, more variance), ``sg`` (biased, what most code does).
        clip: Largest absolute log-ratio, taken before the exponential.
        behaviour_logp: Log-probabilities under the policy that sampled; needed if its temperature was
            not 1 or its weights are stale.
        baseline: Subtracted from the advantages, broadcastable with (B, T).
        gamma: Discount of what a token does to later tokens; 0 freezes the states.
        reduction: ``token``, ``sequence`` or ``sum``.
        num_items_in_batch: Tokens of the global batch, as transformers passes it; replaces ``reduction``
            by their sum over this number.
        temperature: Sampling temperature of the rollouts.

    Returns:
        The loss and its metrics (``divergence``, ``clip_fraction``, ``sign_agreement``,
        ``effective_sample_size``, ``kl``).

    Raises:
        UnmetHypothesis: Sampling temperature other than 1 without ``behaviour_logp``; NaN or mismatched
            shapes; a mask of other values than 0 and 1, labels with -100 among them.

    References:
        | OPD+: Rethinking the advantage design for on-policy distillation
          (Zhao, Chen, Lin, Winata, Yao & Tang, 2026), https://arxiv.org/abs/2606.01039

    Claims: OPD-TOKEN-1, OPD-ADVANTAGE-1

    Example:
        >>> logp = torch.tensor([[-1.0, -2.0]], requires_grad=True)
        >>> opd_loss(logp, torch.tensor([[-0.5, -2.0]]), torch.ones(1, 2)).loss.backward()
        >>> logp.grad.tolist()
        [[-0.25, -0.0]]
    """
    f = get(divergence) if isinstance(divergence, str) else divergence
    require_temperature("opd_loss", temperature)
    if temperature != 1.0 and behaviour_logp is None:
        hypothesis = "behaviour_logp is given where the sampling temperature is not 1"
        raise UnmetHypothesis("opd_loss", hypothesis, f"temperature = {temperature!r}")
    # Ratios and exponentials in single precision at least, whatever the model computes in.
    student, teacher = (_lift(x) for x in (logp.detach(), teacher_logp.detach()))
    inside = require_mask("opd_loss", mask, logp.shape)
    keep = inside.to(student.dtype)
    behaviour = None if behaviour_logp is None else _lift(behaviour_logp.detach())
    if not bool(inside.any()):
        # A rank whose completions are all masked must still take part in the backward pass.
        return OPDLoss(loss=(logp * 0.0).nan_to_num().sum(), metrics={})
    weights = token_weights(
        student,
        teacher,
        keep,
        f,
        mode=mode,
        clip=clip,
        behaviour=behaviour,
        baseline=baseline,
        gamma=gamma,
        reduction="sum" if num_items_in_batch is not None else reduction,
    )
    if num_items_in_batch is not None:
        weights = weights / num_items_in_batch
    loss = (weights * torch.where(inside, _lift(logp), torch.zeros_like(weights))).sum()
    metrics = diagnostics(student, teacher, keep, f, clip=clip, behaviour=behaviour)
    delta = torch.where(inside, teacher - student, torch.zeros_like(student))
    near = delta if clip is None else delta.clamp(-clip, clip)
    metrics["divergence"] = (torch.where(inside, f.value(xp, near), 0.0 * near)).sum() / keep.sum()
    return OPDLoss(loss, metrics)


def full_vocabulary_loss(
    logits: Tensor,  # (B, T, V) student, with gradient
    teacher_logits: Tensor,  # (B, T, V)
    mask: Tensor,  # (B, T)
    *,
    divergence: str | FDivergence = "reverse_kl",
    temperature: float = 1.0,
    num_items_in_batch: Tensor | int | None = None,
) -> Tensor:
    r"""The divergence over the whole vocabulary, from logits: exact, and as large as the logits.

    The naive form; :func:`linear_opd_loss` gives the same numbers in the memory of a chunk.

    Arguments:
        logits: Student logits, shape (B, T, V), with gradient.
        teacher_logits: Teacher logits, shape (B, T, V).
        mask: 1 at tokens of the completion, shape (B, T).
        divergence: A name or a divergence.
        temperature: Softmax temperature of both.
        num_items_in_batch: Tokens of the global batch; None averages over this batch.

    Returns:
        Scalar loss, the mean divergence per token.

    Raises:
        UnmetHypothesis: Shapes or vocabularies differ, temperature <= 0, a mask of other values than 0 and 1,
            or an infinite divergence.

    Example:
        >>> logits = torch.zeros(1, 2, 3, requires_grad=True)
        >>> float(full_vocabulary_loss(logits, torch.zeros(1, 2, 3), torch.ones(1, 2)).detach())
        0.0
    """
    f, subject = get(divergence) if isinstance(divergence, str) else divergence, "full_vocabulary_loss"
    require_temperature(subject, temperature)
    require_vocabulary(subject, logits.shape[-1], teacher_logits.shape[-1])
    if logits.shape != teacher_logits.shape:
        got = f"shapes {tuple(logits.shape)} and {tuple(teacher_logits.shape)}"
        raise UnmetHypothesis(subject, "logits of one shape (B, T, V)", got)
    keep = require_mask(subject, mask, logits.shape[:-1])
    logp, logq = (torch.log_softmax(_lift(x[keep]) / temperature, dim=-1) for x in (logits, teacher_logits))
    total = per_token_divergence(logp, logq, f).sum()
    require_finite(subject, total.detach())
    return total / (keep.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)


def per_token_divergence(logp: Tensor, logq: Tensor, f: FDivergence) -> Tensor:
    """The kernel of the theory on torch: shape (..., V) to (...)."""
    return divergence.kernel(xp, logp, logq, f)


def _lift(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
