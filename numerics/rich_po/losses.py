r"""Preference losses in the log-ratios of a chosen and a rejected answer, term by term: reductions are the caller's.

With :math:`u = \log\pi(y) - \log\pi_{ref}(y)` of the chosen (w) and the rejected (l) answer and :math:`h = u_w - u_l`,

.. math::
    \text{DPO} &= -(1-\epsilon)\log\sigma(\beta h) - \epsilon\log\sigma(-\beta h), &
    \text{robust} &= \tfrac{-(1-\epsilon)\log\sigma(\beta h) + \epsilon\log\sigma(-\beta h)}{1-2\epsilon}, \\
    \text{IPO} &= (h - \tfrac1{2\tau})^2, & \text{hinge} &= (1 - \beta h)_+, \\
    \text{DPOP} &= -\log\sigma\big(\beta(h - \lambda(-u_w)_+)\big), &
    \text{SPPO} &= (u_w - \tfrac1{2\beta})^2 + (u_l + \tfrac1{2\beta})^2

Each may be given an SFT term, :math:`-\lambda\,u_w`, which differs from :math:`-\lambda\log\pi(y_w)` by the reference's constant.
A tie is a pair of weight 1/2 on either side: ``dpo_loss(..., smoothing=0.5)``, or the mean of both orders of another loss.

Of a diffusion model the log-ratio is that of :func:`driftproof.numerics.rich_po.denoising_ratio`.

Losses of pairs return the loss of each pair, and raise :class:`UnmetHypothesis` for shapes that differ.

Symbols:
    chosen, rejected: Log-ratios :math:`u_w` and :math:`u_l` in nats, one shape.
    beta: Strength of the KL penalty, > 0.
    sft: Weight of the SFT term, >= 0.

References:
    | Direct preference optimization (Rafailov et al., 2023), https://arxiv.org/abs/2305.18290
    | A general theoretical paradigm to understand learning from human preferences (Azar et al., 2023)
    | Provably robust DPO (Chowdhury et al., 2024), https://arxiv.org/abs/2403.00409
    | Smaug: fixing failure modes of preference optimisation with DPO-positive (Pal et al., 2024)
    | Self-play preference optimization (Wu et al., 2024), https://arxiv.org/abs/2405.00675
"""

from __future__ import annotations

from collections.abc import Callable

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.theory.special.elementary import logistic, softplus

__all__ = [
    "dpo_loss",
    "dpop_loss",
    "hinge_loss",
    "ipo_loss",
    "kto_loss",
    "require_pairs",
    "robust_dpo_loss",
    "sppo_loss",
]


def require_pairs(subject: str) -> Callable[..., None]:
    """The check that both answers of each pair are there: a loss of (n,) with (n, 1) would be (n, n)."""

    def check(xp: Namespace, *, chosen: Array, rejected: Array, **_: Array) -> None:
        if chosen.shape != rejected.shape:
            got = f"shapes {tuple(chosen.shape)}, {tuple(rejected.shape)}"
            raise UnmetHypothesis(subject, "chosen and rejected of one shape", got)

    return check


@public(wide=True, check=require_pairs("dpo_loss"), beta="> 0", smoothing="in [0, 0.5]", sft=">= 0")
def dpo_loss(
    xp: Namespace,
    chosen: Array,
    rejected: Array,
    beta: float,
    smoothing: float = 0.0,
    sft: float = 0.0,
) -> Array:
    r"""Direct preference optimisation; with smoothed labels, conservative DPO.

    .. math:: -(1-\epsilon)\log\sigma(\beta h) - \epsilon\log\sigma(-\beta h) - \lambda\,u_w

    Arguments:
        chosen, rejected, beta, sft: Symbols of the module.
        smoothing: :math:`\epsilon` in [0, 1/2]; 1/2 is a tie.

    Claims: RICH-PO-LOSS-1, RICH-PO-LOSS-2

    Example:
        >>> round(float(dpo_loss(1.0, 1.0, 0.1)), 6), float(dpo_loss(1e4, 0.0, 1.0))
        (0.693147, 0.0)
    """
    h = beta * (chosen - rejected)
    loss = softplus(xp, -h)
    if smoothing:
        loss = (1.0 - smoothing) * loss + smoothing * softplus(xp, h)
    return loss - sft * chosen if sft else loss


@public(wide=True, check=require_pairs("robust_dpo_loss"), beta="> 0", flips="in [0, 0.5)", sft=">= 0")
def robust_dpo_loss(
    xp: Namespace, chosen: Array, rejected: Array, beta: float, flips: float, sft: float = 0.0
) -> Array:
    r"""DPO whose mean over flipped labels is the loss of the true ones.

    .. math:: \frac{-(1-\epsilon)\log\sigma(\beta h) + \epsilon\log\sigma(-\beta h)}{1 - 2\epsilon} - \lambda\,u_w

    It is not bounded from below: a pair that is seen once, with a label that is never flipped back, is pushed without end.

    Arguments:
        chosen, rejected, beta, sft: Symbols of the module.
        flips: Probability :math:`\epsilon < 1/2` that a label is flipped.

    Claims: RICH-PO-LOSS-1, RICH-PO-LOSS-2

    Example:
        >>> round(float(robust_dpo_loss(1.0, 1.0, 0.1, 0.1)), 6)
        0.693147
    """
    h = beta * (chosen - rejected)
    loss = softplus(xp, -h)
    if flips:
        loss = ((1.0 - flips) * loss - flips * softplus(xp, h)) / (1.0 - 2.0 * flips)
    return loss - sft * chosen if sft else loss


@public(wide=True, check=require_pairs("ipo_loss"), tau="> 0", sft=">= 0")
def ipo_loss(xp: Namespace, chosen: Array, rejected: Array, tau: float, sft: float = 0.0) -> Array:
    r"""Identity preference optimisation: regression of the margin on a constant.

    .. math:: \Big(h - \frac1{2\tau}\Big)^2 - \lambda\,u_w

    Arguments:
        chosen, rejected, sft: Symbols of the module.
        tau: :math:`\tau > 0`, what scripts call beta; for squared errors see :func:`driftproof.theory.rich_po.summed_beta`:
            the margin that it sets must be one that the winner's error can give
            (:func:`driftproof.theory.rich_po.loser_growth` is 0).

    Claims: RICH-PO-LOSS-1, RICH-PO-LOSS-2

    Example:
        >>> float(ipo_loss(2.0, 1.0, 0.25))
        1.0
    """
    loss = (chosen - rejected - 0.5 / tau) ** 2
    return loss - sft * chosen if sft else loss


@public(wide=True, check=require_pairs("hinge_loss"), beta="> 0", sft=">= 0")
def hinge_loss(xp: Namespace, chosen: Array, rejected: Array, beta: float, sft: float = 0.0) -> Array:
    r"""The hinge of the margin: SLiC with a reference.

    .. math:: (1 - \beta h)_+ - \lambda\,u_w

    Arguments:
        chosen, rejected, beta, sft: Symbols of the module.

    Claims: RICH-PO-LOSS-1, RICH-PO-LOSS-2

    Example:
        >>> float(hinge_loss(2.0, 1.0, 0.25)), float(hinge_loss(9.0, 1.0, 0.25))
        (0.75, 0.0)
    """
    loss = positive_part(xp, 1.0 - beta * (chosen - rejected))
    return loss - sft * chosen if sft else loss


@public(wide=True, check=require_pairs("dpop_loss"), beta="> 0", penalty=">= 0", sft=">= 0")
def dpop_loss(
    xp: Namespace, chosen: Array, rejected: Array, beta: float, penalty: float, sft: float = 0.0
) -> Array:
    r"""DPO-positive: the margin is charged for winners that fall below the reference.

    .. math:: -\log\sigma\big(\beta(h - \lambda_p(-u_w)_+)\big) - \lambda\,u_w

    Arguments:
        chosen, rejected, beta, sft: Symbols of the module.
        penalty: :math:`\lambda_p \ge 0`.

    Claims: RICH-PO-LOSS-1

    Example:
        >>> float(dpop_loss(-1.0, -3.0, 1.0, 2.0)) == float(dpo_loss(0.0, 0.0, 1.0))
        True
    """
    loss = softplus(xp, -beta * (chosen - rejected - penalty * positive_part(xp, -chosen)))
    return loss - sft * chosen if sft else loss


@public(wide=True, check=require_pairs("sppo_loss"), beta="> 0", sft=">= 0")
def sppo_loss(xp: Namespace, chosen: Array, rejected: Array, beta: float, sft: float = 0.0) -> Array:
    r"""Self-play preference optimisation of a pair: each log-ratio is regressed on its own target.

    .. math:: \Big(u_w - \frac1{2\beta}\Big)^2 + \Big(u_l + \frac1{2\beta}\Big)^2 - \lambda\,u_w

    Arguments:
        chosen, rejected, beta, sft: Symbols of the module; :math:`\eta = 1/\beta` in the paper.

    Claims: RICH-PO-LOSS-1, RICH-PO-LOSS-2

    Example:
        >>> float(sppo_loss(1.0, -1.0, 0.5)), float(sppo_loss(0.0, 0.0, 0.5))
        (0.0, 2.0)
    """
    loss = (chosen - 0.5 / beta) ** 2 + (rejected + 0.5 / beta) ** 2
    return loss - sft * chosen if sft else loss


@public(wide=True, beta="> 0", kl=">= 0")
def kto_loss(xp: Namespace, ratio: Array, sign: Array, kl: Array, beta: float) -> Array:
    r"""Kahneman-Tversky optimisation: one answer at a time, good or bad, against a point of reference.

    .. math:: 1 - \sigma\big(\pm\beta(u - z_0)\big), \qquad z_0 = KL(\pi \| \pi_{ref}) \ge 0

    The point of reference is the mean log-ratio of answers that the *policy* draws, and is not differentiated.  The mean over
    the other half of the pairs, which scripts call ``kto_pair``, is none: it may be negative.

    Arguments:
        ratio: Log-ratios u, any shape.
        sign: 1 for a desirable answer, -1 for an undesirable one, of the shape of ``ratio``; or a weight times that sign,
            which multiplies the loss.
        kl: :math:`z_0`, in nats, >= 0, shape ().
        beta: Symbols of the module.

    Returns:
        The loss of each answer.

    Raises:
        UnmetHypothesis: A point of reference below 0.

    References:
        | KTO: model alignment as prospect theoretic optimization (Ethayarajh et al., 2024)

    Claims: RICH-PO-KTO-1

    Example:
        >>> float(kto_loss(0.5, 1.0, 0.5, 0.1)), float(kto_loss(0.5, -3.0, 0.5, 0.1))
        (0.5, 1.5)
    """
    gain = beta * (ratio - kl)
    return xp.abs(sign) * logistic(xp, xp.where(sign > 0, -gain, gain))


def positive_part(xp: Namespace, x: Array) -> Array:
    """x where it is positive, else 0; the derivative at 0 is 0, as torch has it for relu."""
    return xp.where(x > 0, x, xp.zeros_like(x))
