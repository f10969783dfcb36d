r"""Preference losses without a reference model, in the log-probabilities of the answers themselves.

.. math::
    \text{SimPO} &= -\log\sigma\big(\beta(\bar l_w - \bar l_l) - \gamma\big), &
    \text{SLiC} &= (m - l_w + l_l)_+ - \lambda\,l_w, \\
    \text{CPO} &= -\log\sigma\big(\beta(l_w - l_l)\big) - \lambda\,l_w, &
    \text{ORPO} &= -\bar l_w - \lambda\log\sigma\Big(\mathrm{logit}\,e^{\bar l_w} - \mathrm{logit}\,e^{\bar l_l}\Big)

SimPO and ORPO take the mean log-probability of a token, :math:`\bar l`, SLiC and CPO the sum.  Densities of diffusion models can exceed
1: ORPO's odds do not exist there.

All return the loss of each pair.  They raise :class:`UnmetHypothesis` for shapes that differ, ORPO's also for a
log-probability that is not negative.

Symbols:
    chosen, rejected: Log-probabilities, one shape.
    sft: :math:`\lambda \ge 0`.

References:
    | SimPO (Meng et al., 2024), https://arxiv.org/abs/2405.14734
    | SLiC-HF (Zhao et al., 2023), https://arxiv.org/abs/2305.10425
    | Contrastive preference optimization (Xu et al., 2024), https://arxiv.org/abs/2401.08417
    | ORPO: monolithic preference optimization without reference model (Hong et al., 2024)
"""

from __future__ import annotations

from collections.abc import Callable

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    holds,
    public,
    require,
)
from driftproof.theory.special.elementary import log_complement, softplus

from .losses import positive_part, require_pairs

__all__ = ["log_odds_ratio_loss", "orpo_loss", "simpo_loss", "slic_loss"]


@public(wide=True, check=require_pairs("simpo_loss"), beta="> 0", sft=">= 0")
def simpo_loss(
    xp: Namespace, chosen: Array, rejected: Array, beta: float, gamma: float = 0.0, sft: float = 0.0
) -> Array:
    r"""SimPO; CPO with gamma = 0, sums for means, and a weight of the likelihood.

    .. math:: -\log\sigma\big(\beta(l_w - l_l) - \gamma\big) - \lambda\,l_w

    Arguments:
        chosen, rejected: Symbols of the module; means per token for SimPO.
        beta: Scale, > 0.
        gamma: Margin :math:`\gamma` in units of the logit; published tables often give gamma / beta.
        sft: Symbols of the module.

    Claims: RICH-PO-LOSS-3

    Example:
        >>> round(float(simpo_loss(-1.0, -2.0, 2.0, 2.0)), 6)
        0.693147
    """
    loss = softplus(xp, gamma - beta * (chosen - rejected))
    return loss - sft * chosen if sft else loss


@public(wide=True, check=require_pairs("slic_loss"), margin="> 0", sft=">= 0")
def slic_loss(xp: Namespace, chosen: Array, rejected: Array, margin: float, sft: float = 0.0) -> Array:
    r"""SLiC: the hinge of the log-probabilities, with the likelihood of the chosen answer beside it.

    .. math:: (m - l_w + l_l)_+ - \lambda\,l_w

    Arguments:
        chosen, rejected, sft: Symbols of the module.
        margin: m > 0, in nats.

    Claims: RICH-PO-LOSS-3

    Example:
        >>> float(slic_loss(-1.0, -1.5, 1.0)), float(slic_loss(-1.0, -4.0, 1.0, 0.25))
        (0.5, 0.25)
    """
    loss = positive_part(xp, margin - (chosen - rejected))
    return loss - sft * chosen if sft else loss


def _require_probabilities(subject: str) -> Callable[..., None]:
    pairs = require_pairs(subject)

    def check(xp: Namespace, **given: Array) -> None:
        pairs(xp, **given)
        for name in ("chosen", "rejected"):
            if not holds(xp.all(given[name] < 0)):
                got = f"up to {float(xp.max(given[name])):.6g}: a density has no odds"
                raise UnmetHypothesis(subject, f"{name} < 0", got)
            require(xp, subject, name, given[name], "finite")

    return check


@public(wide=True, check=_require_probabilities("log_odds_ratio_loss"))
def log_odds_ratio_loss(xp: Namespace, chosen: Array, rejected: Array) -> Array:
    r"""The term of ORPO that compares: minus the log-sigmoid of the log of the odds ratio.

    .. math:: -\log\sigma\Big(\log\frac{p_w}{1 - p_w} - \log\frac{p_l}{1 - p_l}\Big), \qquad p = e^{\bar l}

    Arguments:
        chosen, rejected: Symbols of the module, means per token, < 0.

    Claims: RICH-PO-LOSS-3

    Example:
        >>> round(float(log_odds_ratio_loss(-1.0, -1.0)), 6)
        0.693147
    """
    return softplus(xp, _log_odds(xp, rejected) - _log_odds(xp, chosen))


@public(wide=True, check=_require_probabilities("orpo_loss"), weight=">= 0")
def orpo_loss(xp: Namespace, chosen: Array, rejected: Array, weight: float) -> Array:
    r"""ORPO: the likelihood of the chosen answer, and the odds ratio.

    .. math:: -\bar l_w + \lambda\,\mathrm{softplus}\big(\mathrm{logit}\,p_l - \mathrm{logit}\,p_w\big)

    Arguments:
        chosen, rejected: As for :func:`log_odds_ratio_loss`.
        weight: :math:`\lambda \ge 0`.

    Claims: RICH-PO-LOSS-3

    Example:
        >>> float(orpo_loss(-1.5, -1.0, 0.0))
        1.5
    """
    return -chosen + weight * log_odds_ratio_loss.kernel(xp, chosen, rejected)


def _log_odds(xp: Namespace, logp: Array) -> Array:
    """log p - log(1 - p)."""
    return logp - log_complement(xp, logp)
