"""Timing two things in one run so that the ratio means something on a busy machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from . import Row

__all__ = ["compare", "interleaved"]


def compare(
    name: str, ours: Callable[[], Any], peer: str, theirs: Callable[[], Any], note: str, repeats: int = 5
) -> Row:
    """One row of the table."""
    seconds, peer_seconds = interleaved(ours, theirs, repeats)
    return Row(
        name=name,
        ours_seconds=seconds,
        peer=peer,
        peer_seconds=peer_seconds,
        ratio=peer_seconds / seconds,
        note=note,
    )


def interleaved(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int = 5) -> tuple[float, float]:
    """Median seconds of two calls, taken in turn, so that a busy machine slows both."""
    ours(), theirs()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for call, kept in zip((ours, theirs), seconds, strict=True):
            start = time.perf_counter()
            call()
            kept.append(time.perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])
