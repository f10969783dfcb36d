r"""How sure a denoiser is of a position: from untempered logits, in float32 at least, with a rule for ties.

A temperature T multiplies every gap of logits by 1/T, so that in half precision sure positions become equally sure: the
tempered confidence of two tokens rounds to 1 in bfloat16 from a gap of :math:`T \log 511` on, .6236 at T = .1, and the
leftmost of many positions is taken, whatever the model says.

Symbols:
    logits: The denoiser's logits, before any temperature, shape (..., L, V).
"""

from __future__ import annotations

from typing import Literal

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

__all__ = ["certainty", "tied_gap"]


def _require_two_tokens(xp: Namespace, *, logits: Array, **_: object) -> None:
    if not logits.ndim or logits.shape[-1] < 2:
        raise UnmetHypothesis("certainty", "logits (..., L, V) with V >= 2", f"{tuple(logits.shape)}")


@public(wide=True, check=_require_two_tokens)
def certainty(
    xp: Namespace, logits: Array, by: Literal["confidence", "margin", "entropy"] = "confidence"
) -> Array:
    r"""A number for each position that is larger the surer the denoiser is.

    .. math:: \max_v \log p_v, \qquad p_{(1)} - p_{(2)}, \qquad \sum_v p_v \log p_v

    The confidence is a logarithm: near 1 a probability cannot tell what its logarithm does.

    Arguments:
        logits: Symbols of the module.
        by: ``"confidence"``, ``"margin"`` or (minus the) ``"entropy"``.

    Returns:
        Array of shape (..., L); sort it stably, so that ties go to the left.

    Claims: DIFFPO-CONFIDENCE-1

    Example:
        >>> from math import log
        >>> certainty([[0.0, 0.0], [log(3.0), 0.0]], "margin").tolist()
        [0.0, 0.5]
    """
    gap = logits - xp.max(logits, axis=-1, keepdims=True)
    # The largest term is 1: the others are added to it last.
    top = gap >= 0.0
    count = xp.sum(xp.astype(top, gap.dtype), axis=-1)
    rest = xp.sum(xp.where(top, xp.zeros_like(gap), xp.exp(gap)), axis=-1)
    log_mass = xp.log1p((count - 1.0) + rest)
    match by:
        case "confidence":
            return xp.max(gap, axis=-1) - log_mass
        case "margin":
            ascending = xp.sort(gap, axis=-1)
            top_two = ascending[..., -1] - ascending[..., -2]
            return -xp.expm1(-top_two) * xp.exp(ascending[..., -1] - log_mass)
        case "entropy":
            finite = gap > -xp.inf
            log_p = xp.where(finite, gap, xp.zeros_like(gap)) - log_mass[..., None]
            return xp.sum(xp.where(finite, xp.exp(log_p) * log_p, xp.zeros_like(gap)), axis=-1)


@public(temperature="> 0", wide=True)
def tied_gap(xp: Namespace, temperature: Array, bits: int = 8) -> Array:
    r"""The gap of two logits from which on the tempered confidence rounds to 1.

    .. math:: \Delta = T \log(2^{b+1} - 1)

    Arguments:
        temperature: T > 0.
        bits: b, of the significand: 8 of bfloat16, 11 of half, 24 of single precision.

    Returns:
        Elementwise: below 1 the numbers are :math:`2^{-b}` apart, and what is at most half of that from 1 becomes 1.

    Raises:
        UnmetHypothesis: bits < 1.

    Claims: DIFFPO-CONFIDENCE-1

    Example:
        >>> round(float(tied_gap(0.1)), 4)
        0.6236
    """
    if bits < 1:
        raise UnmetHypothesis("tied_gap", "bits >= 1", f"bits = {bits}")
    return temperature * xp.log(xp.full_like(temperature, 2.0 ** (bits + 1) - 1.0))
