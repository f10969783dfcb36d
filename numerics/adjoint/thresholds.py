r"""A threshold of losses that remembers earlier batches.

.. math:: T_k = d\,T_{k-1} + (1 - d)\,q_k, \qquad T_0 = q_0

with :math:`q_k` the loss below which a share of batch k lies.  One batch of n losses can leave out none when the
share is above :math:`1 - 1/n`; a threshold of many can.
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

__all__ = ["running_threshold"]


def _losses(xp: Namespace, *, losses: Array, share: float, previous: Array | None, decay: float) -> None:
    subject = "running_threshold"
    if not 0.0 < share <= 1.0:
        raise UnmetHypothesis(subject, "share in (0, 1]", f"share = {share!r}")
    if not 0.0 <= decay < 1.0:
        raise UnmetHypothesis(subject, "decay in [0, 1)", f"decay = {decay!r}")
    if losses.ndim != 1 or not losses.shape[0]:
        raise UnmetHypothesis(subject, "losses (B,) of at least one", f"shape {tuple(losses.shape)}")
    if previous is not None and previous.ndim:
        raise UnmetHypothesis(subject, "previous is one number ()", f"shape {tuple(previous.shape)}")


@public(wide=True, check=_losses, losses="finite", previous="finite")
def running_threshold(
    xp: Namespace, losses: Array, share: float, previous: Array | None = None, decay: float = 0.9
) -> Array:
    r"""The threshold above which losses are left out, an exponential moving average over batches.

    .. math:: T = d\,T_{before} + (1 - d)\,q, \qquad q = \text{the } \lceil \text{share} \cdot B \rceil\text{-th smallest loss}

    The weights of the batches sum to 1 from the first one on: no correction of a start at zero is needed.  With
    much memory the share that stays of uniform losses is :math:`\lceil \text{share} \cdot B \rceil/(B + 1)`.

    Arguments:
        losses: Losses of one batch, shape (B,).
        share: The share of the batch below its quantile, in (0, 1].
        previous: Threshold before this batch, shape (); None for the first.
        decay: d in [0, 1); 0 is the quantile of the batch itself.

    Returns:
        Array of shape (); keep the samples with ``losses <= threshold``.

    Raises:
        UnmetHypothesis: A share outside of (0, 1], a decay outside of [0, 1), no losses.

    References:
        | Adjoint matching: fine-tuning flow and diffusion generative models with memoryless stochastic
          optimal control (Domingo-Enrich, Drozdzal, Karrer & Chen, 2025), https://arxiv.org/abs/2409.08861
          (the published program keeps such an average; what it does is derived here)

    Claims: ADJOINT-THRESHOLD-2

    Example:
        >>> first = running_threshold([3.0, 1.0, 9.0, 2.0], 0.75)
        >>> float(first), float(running_threshold([5.0, 7.0], 0.5, first, decay=0.5))
        (3.0, 4.0)
    """
    count = losses.shape[0]
    rank = min(count, max(1, -int(-share * count // 1)))
    quantile = xp.sort(losses, axis=0)[rank - 1]
    return quantile if previous is None else decay * previous + (1.0 - decay) * quantile
