"""Graphics processors to rent: memory and speed, by their makers' data sheets."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final, final

from driftproof._namespace import UnmetHypothesis

__all__ = ["GPUS", "Gpu", "gpu_of"]

GIB: Final = 2**30


@final
@dataclass(frozen=True, slots=True)
class Gpu:
    """A processor; speeds are those of dense products, without sparsity.

    Arguments:
        name: In one word.
        memory: Bytes that a program is given, which is a little less than is on the label.
        half: Operations a second in bfloat16 and float16, on tensor cores.
        single: In float32 without TF32, which torch leaves off.
        bandwidth: Bytes a second.
    """

    name: str
    memory: float
    half: float
    single: float
    bandwidth: float


# Name, GiB, TFLOP/s in bfloat16 and in float32, TB/s.
_SHEETS: Final = (
    ("h200", 139.8, 989.0, 67.0, 4.8),
    ("h100", 79.1, 989.0, 67.0, 3.35),  # SXM
    ("h100-pcie", 79.1, 756.0, 51.0, 2.0),
    ("a100-80", 79.1, 312.0, 19.5, 2.039),
    ("a100-40", 39.4, 312.0, 19.5, 1.555),
    ("l40s", 44.4, 362.0, 91.6, 0.864),
    ("a6000", 47.4, 154.8, 38.7, 0.768),
    ("a10g", 22.1, 70.0, 35.0, 0.6),
    ("rtx-4090", 23.5, 165.2, 82.6, 1.008),
    ("rtx-3090", 23.5, 71.0, 35.6, 0.936),
)
GPUS: Final = {
    name: Gpu(name, gib * GIB, half * 1e12, single * 1e12, wide * 1e12)
    for name, gib, half, single, wide in _SHEETS
}


def gpu_of(name: str) -> Gpu:
    """One of the table.

    Raises:
        UnmetHypothesis: It is not there; the nearest is told.

    Example:
        >>> gpu_of("h200").bandwidth
        4800000000000.0
    """
    if name.lower() in GPUS:
        return GPUS[name.lower()]
    near = difflib.get_close_matches(name.lower(), GPUS, 1, cutoff=0.4)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UnmetHypothesis("--gpu", f"one of {', '.join(GPUS)}", f"{name!r}{hint}")
