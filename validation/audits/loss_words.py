"""A finding about a loss in words: what it descends, how often, how its terms are reduced, how it rounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .losses import Finding

__all__ = ["REDUCED", "sentence"]

REDUCED = {
    "": "",
    "sum": "",
    "mean": ", averaged over its terms",
    "sequence_mean": ", averaged over each sequence and then over the sequences",
    "batch_mean": ", summed over tokens and averaged over the batch",
    "padded_mean": ", divided by all positions, the masked ones too",
    "element_mean": ", divided by the number of positions and by the size of the vocabulary",
    "vocabulary_mean": ", divided by the size of the vocabulary",
}
# Closer than this, relatively, and not the same: more likely a constant inside than another objective.
_CLOSE = 1e-4
# Rounding beyond so many spacings of the coarsest precision is cancellation.
_SPACINGS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_CANCELS = 64.0


def sentence(found: Finding) -> str:
    """The verdict in one line."""
    if found.random is not None:
        return _random(found)
    if found.rivals:
        return f"not settled: {found.coarsest} does not tell {' from '.join(found.rivals)}"
    return _descended(found) + _value(found) + _rounding(found)


def _descended(found: Finding) -> str:
    if found.failed:
        return f"descends {found.failed}" if not found.failed.startswith("on ") else found.failed
    if not found.matches:
        near = f"; nearest: {found.said} (cosine {found.cosine:.4f})"
        sine = math.sqrt(max(0.0, 1.0 - found.cosine**2))
        if 0.0 < sine < _CLOSE and found.error < _CLOSE:
            near += f", {found.error:.1e} off, which is more than rounding: is there a constant inside?"
        return f"descends no objective of the catalogue{near}"
    how = REDUCED[found.reduction]
    if found.nearest == "zero":
        return f"descends {found.said}"
    if math.isclose(found.scale, 1.0, rel_tol=1e-9):
        return f"descends {found.said}{how}"
    return f"{'descends' if found.scale > 0.0 else 'ascends'} {abs(found.scale):.6g} times {found.said}{how}"


def _value(found: Finding) -> str:
    return f"; its value is {found.described}" if found.described else ""


def _rounding(found: Finding) -> str:
    spacing = _SPACINGS.get(found.coarsest, 0.25)
    if not found.matches or found.coarsest == "float64":
        return ""
    if found.rounding > _CANCELS * spacing:
        return (
            f", but its {found.coarsest} arithmetic cancels: {found.rounding:.1e} of the gradient is rounding"
        )
    if found.coarsest != "float32":
        return f", within its own rounding ({found.coarsest} inside: {found.rounding:.1e} of the gradient)"
    return ""


def _random(found: Finding) -> str:
    assert found.random is not None
    size = float(np.max(np.abs(found.random.mean)))
    wide = float(np.max(found.random.deviation)) / size
    drew = f"is random ({', '.join(found.draws)}): its gradient spreads by {wide:.2g} of its size"
    if found.matches:
        seen = found.tolerance / size
        return (
            f"{drew}; its mean over {found.random.calls} calls is not told from {found.said}, to {seen:.1%}"
        )
    return (
        f"{drew}; its mean over {found.random.calls} calls is none of the objectives; nearest: {found.said} "
        f"(off by {found.error / size:.1%})"
    )
