"""What the losses ask of their arguments: one mask of zeros and ones, equal shapes, a positive temperature, a finite loss."""

from __future__ import annotations

import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis

__all__ = ["require_finite", "require_mask", "require_temperature", "require_vocabulary"]


def require_mask(subject: str, mask: Tensor, shape: torch.Size) -> Tensor:
    """The mask as booleans; labels with -100, fractions and shapes that would broadcast are refused."""
    if mask.shape != shape:
        got = f"shapes {tuple(mask.shape)} and {tuple(shape)}"
        raise UnmetHypothesis(subject, "the mask has one element for each token", got)
    keep = mask != 0
    if mask.dtype != torch.bool and not bool(((mask == 1) | ~keep).all()):
        got = f"values from {mask.min().item():g} to {mask.max().item():g}"
        raise UnmetHypothesis(subject, "the mask holds zeros and ones", got)
    return keep


def require_temperature(subject: str, temperature: float) -> None:
    if not 0.0 < temperature < float("inf"):
        raise UnmetHypothesis(subject, "temperature > 0", f"temperature = {temperature!r}")


def require_vocabulary(subject: str, student: int, teacher: int) -> None:
    if student != teacher:
        got = f"{student} and {teacher} tokens"
        raise UnmetHypothesis(subject, "student and teacher share a vocabulary", got)


def require_finite(subject: str, total: Tensor) -> None:
    """Raise for an infinite divergence, which has no gradient, and for NaN."""
    if not bool(torch.isfinite(total)):
        hypothesis = (
            "the divergence is finite (the teacher excludes no token of the student, or the divergence is bounded, "
            "as jsd and tv are, and states and logits are numbers)"
        )
        raise UnmetHypothesis(subject, hypothesis, f"{float(total)}")
