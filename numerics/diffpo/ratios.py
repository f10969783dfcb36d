"""What losses of clipped ratios share: shapes, ratios at real tokens, and where clipping holds them."""

from __future__ import annotations

from typing import Any

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    known,
)

__all__ = ["clipped", "kept", "log_ratio", "require_batch"]


def require_batch(xp: Namespace, **given: Any) -> None:
    """Raise unless log-probabilities and mask are (B, T), advantages (B,), and every sequence has a token."""
    shape = tuple(given["log_p"].shape)
    for name in ("log_old", "log_behaviour", "log_ref", "mask"):
        value = given.get(name)
        if value is not None and tuple(value.shape) != shape:
            got = f"{name} {tuple(value.shape)}, log_p {shape}"
            raise UnmetHypothesis("loss", "log-probabilities and mask of one shape (B, T)", got)
    if len(shape) != 2 or tuple(given["advantages"].shape) != shape[:1]:
        got = f"log_p {shape}, advantages {tuple(given['advantages'].shape)}"
        raise UnmetHypothesis("loss", "log_p (B, T) and advantages (B,)", got)
    mask = given["mask"]
    if known(xp.any((mask != 0.0) & (mask != 1.0))):
        raise UnmetHypothesis("loss", "the mask holds zeros and ones", "other numbers")
    if known(xp.any(xp.sum(mask, axis=-1) < 1.0)):
        raise UnmetHypothesis("loss", "every sequence has a token", "a row of the mask has none")


def clipped(xp: Namespace, log_rho: Array, advantages: Array, clip: float) -> Array:
    """The smaller of the ratio times the advantage, clipped or not."""
    ratio = xp.exp(xp.clip(log_rho, -80.0, 80.0))  # finite in single precision, so that 0 times it is 0
    return xp.minimum(ratio * advantages, xp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantages)


def log_ratio(xp: Namespace, mask: Array, log_p: Array, log_q: Array) -> Array:
    """A log-ratio at real tokens, and 0 at the others, whatever stands there."""
    return kept(xp, mask, log_p) - kept(xp, mask, log_q)


def kept(xp: Namespace, mask: Array, value: Array) -> Array:
    """The value at real tokens, and 0 at the others, with a gradient of 0."""
    return xp.where(mask > 0.0, value, xp.zeros_like(value))
