r"""Advantages of sampled tokens: what multiplies :math:`\nabla \log p(y_n)` in every estimator.

With :math:`\delta_n = \log q(y_n) - \log p(y_n)` at a token that the student sampled, the ascent
advantage of :math:`-D_f` is

========== ====================================== =====================================================
mode       advantage                              expected direction
========== ====================================== =====================================================
centered   A_c(u) = u f' - f - f'(1)              the gradient, whatever the representation of f
plus       u f' - f                               the gradient; a constant more (no bias, more noise)
sg         -f(u)                                  the gradient of another function, the surrogate of f
pathwise   u f'                                   f differentiated inside of the loss; alone it is no gradient of D_f
========== ====================================== =====================================================

The log-ratio is clipped *before* it is exponentiated.  For ``centered`` the clipped estimator is again an
exact gradient: that of the divergence continued linearly outside of the clip.

References:
    | OPD+: Rethinking the advantage design for on-policy distillation
      (Zhao, Chen, Lin, Winata, Yao & Tang, 2026), https://arxiv.org/abs/2606.01039 (derived here)
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.theory.divergences import FDivergence

__all__ = ["Mode", "advantage", "discounted_future"]

Mode: TypeAlias = Literal["centered", "plus", "sg", "pathwise"]


@public(wide=True)
def advantage(
    xp: Namespace, delta: Array, f: FDivergence, mode: Mode = "centered", clip: float | None = 20.0
) -> Array:
    r"""Ascent advantage of sampled tokens for the divergence :math:`D_f(q\|p)`.

    Arguments:
        delta: :math:`\log q - \log p` at the sampled tokens, any shape; -inf where the teacher excludes
            the token.
        f: The divergence.
        mode: A row of the table above.
        clip: Largest absolute log-ratio, > 0; None clips nothing.

    Returns:
        Array of the shape of ``delta``.

    Raises:
        UnmetHypothesis: clip <= 0; an unknown mode; +inf, a token that the student cannot have sampled;
            an infinite advantage, when nothing is clipped.

    Claims: OPD-ADVANTAGE-1, OPD-CLIP-1

    Example:
        >>> from driftproof.theory import divergences
        >>> float(advantage(-100.0, divergences.get("reverse_kl"), clip=6.0))
        -6.0
    """
    if clip is not None:
        if not clip > 0:
            raise UnmetHypothesis("advantage", "clip > 0", f"clip = {clip!r}")
        delta = xp.clip(delta, -clip, clip)
    match mode:
        case "centered":
            return f.centred(xp, delta)
        case "plus":
            return f.centred(xp, delta) + f.slope(xp, xp.zeros_like(delta))
        case "sg":
            return -f.value(xp, delta)
        case "pathwise":
            return f.centred(xp, delta) + f.slope(xp, xp.zeros_like(delta)) + f.value(xp, delta)
    raise UnmetHypothesis("advantage", "mode is centered, plus, sg or pathwise", repr(mode))


@public(wide=True, gamma="in [0, 1]")
def discounted_future(xp: Namespace, cost: Array, gamma: Array) -> Array:
    r"""Discounted cost of the tokens that follow each token.

    .. math:: F_n = \sum_{m > n} \gamma^{m-n}\, c_m

    Arguments:
        cost: Per-token costs, 0 at masked tokens, shape (..., T).
        gamma: Discount in [0, 1], a number.

    Returns:
        Array of shape (..., T).

    Claims: OPD-GAMMA-1

    Example:
        >>> discounted_future([1.0, 2.0, 4.0], 0.5).tolist()
        [2.0, 2.0, 0.0]
    """
    length = cost.shape[-1]
    place = xp.arange(length, dtype=cost.dtype, device=device(cost))
    lag = place[:, None] - place[None, :]
    later = lag > 0
    weight = xp.where(later, gamma ** xp.where(later, lag, xp.ones_like(lag)), xp.zeros_like(lag))
    return cost @ weight
