r"""Token weights: the whole estimator, up to the automatic differentiation of log-probabilities.

Every estimator here descends :math:`\sum_n w_n \nabla \log p(y_n)` with

.. math:: w_n = -\frac{\rho_n}{Z}\,\Big(A_n - b_n - \sum_{m>n} \gamma^{m-n} f(u_m)\Big), \qquad
    \rho_n = \frac{p(y_n)}{\mu(y_n)}

where :math:`\mu` is the policy that sampled (on-policy: :math:`\rho = 1`) and Z the reduction.  The loss of
an automatic-differentiation library is :math:`\sum_n \mathrm{detach}(w_n) \log p(y_n)`.

Symbols:
    f: The divergence.

References:
    | OPD+: Rethinking the advantage design for on-policy distillation
      (Zhao, Chen, Lin, Winata, Yao & Tang, 2026), https://arxiv.org/abs/2606.01039 (derived here)
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, known, public
from driftproof.theory.divergences import FDivergence

from .advantages import Mode, advantage, discounted_future

__all__ = ["Reduction", "diagnostics", "normalizer", "token_weights"]

Reduction: TypeAlias = Literal["token", "sequence", "sum"]


def _require_token(xp: Namespace, mask: Array, **_: object) -> None:
    if known(xp.any((mask != 0) & (mask != 1))):
        got = f"values from {float(xp.min(mask)):g} to {float(xp.max(mask)):g}"
        raise UnmetHypothesis("token weights", "the mask holds zeros and ones", got)
    if not holds(xp.any(mask > 0)):
        raise UnmetHypothesis("token weights", "the mask leaves a token", f"shape {tuple(mask.shape)}")


def _require_batch(
    xp: Namespace, logp: Array, logq: Array, mask: Array, clip: float | None, **_: object
) -> None:
    if logp.ndim != 2 or not (logp.shape == logq.shape == mask.shape):
        got = f"shapes {tuple(logp.shape)}, {tuple(logq.shape)}, {tuple(mask.shape)}"
        raise UnmetHypothesis("token weights", "logp, logq and mask of one shape (B, T)", got)
    _require_token(xp, mask)
    real = mask > 0
    for name, values, allowed in (("logp", logp, False), ("logq", logq, clip is not None)):
        bad = real & ~xp.isfinite(values)
        if not allowed and known(xp.any(bad)):
            count = int(xp.sum(xp.astype(bad, xp.int64)))
            hypothesis = f"{name} is finite at every sampled token" + (
                ", or clip is set" if name == "logq" else ""
            )
            raise UnmetHypothesis("token weights", hypothesis, f"{count} infinite")


# A mask says which tokens count: the weights, and the figures below, jump where it becomes 0.
@public(wide=True, check=_require_batch, differentiates=("logp", "logq", "behaviour", "baseline"))
def token_weights(
    xp: Namespace,
    logp: Array,
    logq: Array,
    mask: Array,
    f: FDivergence,
    mode: Mode = "centered",
    clip: float | None = 20.0,
    behaviour: Array | None = None,
    baseline: Array | None = None,
    gamma: float = 0.0,
    reduction: Reduction = "token",
) -> Array:
    r"""Descent weights of the log-probabilities of sampled tokens.

    Arguments:
        logp: Log-probability of each sampled token under the current student, shape (B, T).
        logq: The same under the teacher, shape (B, T); -inf where the teacher excludes the token.
        mask: 1 at tokens of the completion, 0 elsewhere, shape (B, T).
        f: Symbols of the module.
        mode: See :mod:`advantages`.
        clip: Largest absolute log-ratio; None clips nothing.
        behaviour: Log-probability under the policy that sampled, with its temperature and truncation,
            shape (B, T); None says that the current student sampled at temperature 1.
        baseline: Subtracted from the advantage, broadcastable with (B, T).
        gamma: Discount of the effect on later tokens, in [0, 1]; 0 freezes the states.
        reduction: ``token`` (mean over all tokens), ``sequence`` (mean over sequences of the mean over
            tokens) or ``sum``.

    Returns:
        Weights of shape (B, T), 0 at masked tokens.

    Raises:
        UnmetHypothesis: The mask has other values than 0 and 1, or leaves no token; shapes differ; gamma outside
            of [0, 1].

    Claims: OPD-TOKEN-1, OPD-GAMMA-1

    Example:
        >>> from driftproof.theory import divergences
        >>> one = [[1.0, 1.0]]
        >>> token_weights([[-1.0, -2.0]], [[-0.5, -2.0]], one, divergences.get("reverse_kl")).tolist()
        [[-0.25, -0.0]]
    """
    if not 0.0 <= gamma <= 1.0:
        raise UnmetHypothesis("token_weights", "gamma in [0, 1]", f"gamma = {gamma!r}")
    real = mask > 0
    zero = xp.zeros_like(logp)
    delta = xp.where(real, logq, zero) - xp.where(real, logp, zero)
    total = advantage.kernel(xp, delta, f, mode, clip)
    if baseline is not None:
        total = total - baseline
    if gamma > 0.0:
        near = delta if clip is None else xp.clip(delta, -clip, clip)
        cost = xp.where(real, f.value(xp, near), zero)
        total = total - discounted_future.kernel(xp, cost, gamma)
    if behaviour is not None:
        total = total * xp.exp(xp.where(real, logp - behaviour, zero))
    return -xp.where(real, total, zero) * normalizer.kernel(xp, mask, reduction)


@public(wide=True, check=_require_token)
def normalizer(xp: Namespace, mask: Array, reduction: Reduction = "token") -> Array:
    r"""The factor of each token: 1/Z of the reduction.

    .. math:: \text{token: } \frac{1}{\sum_{bt} m_{bt}}, \qquad
        \text{sequence: } \frac{1}{B_+ \sum_t m_{bt}}, \qquad \text{sum: } 1

    ``sequence`` averages over the :math:`B_+` sequences that have a token; empty ones count for nothing.

    Arguments:
        mask: 1 at tokens that count, shape (B, T).
        reduction: ``"token"``, ``"sequence"`` or ``"sum"``.

    Returns:
        Array of shape (B, 1), or (1, 1).

    Raises:
        UnmetHypothesis: An unknown reduction.

    Claims: OPD-TOKEN-1

    Example:
        >>> normalizer([[1.0, 1.0], [1.0, 0.0]], "sequence").tolist()
        [[0.25], [0.5]]
    """
    lengths = xp.sum(mask, axis=-1, keepdims=True)
    one = xp.ones_like(lengths)
    filled = lengths > 0
    match reduction:
        case "token":
            return 1.0 / xp.sum(lengths, axis=0, keepdims=True)
        case "sequence":
            rows = xp.sum(xp.where(filled, one, 0.0 * one), axis=0, keepdims=True)
            return xp.where(filled, 1.0 / (rows * xp.where(filled, lengths, one)), 0.0 * one)
        case "sum":
            return one
    raise UnmetHypothesis("normalizer", "reduction is token, sequence or sum", repr(reduction))


@public(wide=True, check=_require_batch, differentiates=("logp", "logq", "behaviour"))
def diagnostics(
    xp: Namespace,
    logp: Array,
    logq: Array,
    mask: Array,
    f: FDivergence,
    clip: float | None = 20.0,
    behaviour: Array | None = None,
) -> dict[str, Array]:
    r"""Figures to log beside a loss: what clipping, the stop-gradient and staleness do.

    Arguments:
        logp, logq, mask, behaviour: As for :func:`token_weights`.
        f: Symbols of the module.
        clip: Largest absolute log-ratio.

    Returns:
        ``clip_fraction`` of the tokens; ``sign_agreement``, the share of tokens whose stop-gradient
        advantage has the sign of the exact one; ``effective_sample_size`` of the importance ratios, as a
        share of the tokens; ``kl``, the mean of :math:`-\delta`.

    Claims: OPD-DIAGNOSTICS-1

    Example:
        >>> from driftproof.theory import divergences
        >>> rows = diagnostics([[-9.0, -2.0]], [[-1.0, -2.5]], [[1.0, 1.0]], divergences.get("jsd"), clip=6.0)
        >>> float(rows["clip_fraction"])
        0.5
    """
    real = mask > 0
    count = xp.sum(xp.astype(real, logp.dtype))
    zero = xp.zeros_like(logp)

    def share(values: Array) -> Array:
        return xp.sum(xp.where(real, values, zero)) / count

    delta = xp.where(real, logq, zero) - xp.where(real, logp, zero)
    near = delta if clip is None else xp.clip(delta, -clip, clip)
    agree = -f.value(xp, near) * f.centred(xp, near) >= 0
    ratio = xp.ones_like(logp) if behaviour is None else xp.exp(xp.where(real, logp - behaviour, zero))
    weight = xp.where(real, ratio, zero)
    return {
        "clip_fraction": share(xp.astype(near != delta, logp.dtype)),
        "sign_agreement": share(xp.astype(agree, logp.dtype)),
        "effective_sample_size": xp.sum(weight) ** 2 / (xp.sum(weight * weight) * count),
        "kl": share(-near),
    }
