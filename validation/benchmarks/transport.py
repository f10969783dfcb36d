"""Transport maps beside POT: what our checks, extensions and exact errors cost on top of its solvers.

The peer's side is the least code that gives the same images of the samples.  The plans are POT's on both
sides; a ratio below 1 is overhead.  The affine map is arithmetic of each side's own.

Seconds are CPU seconds of this process, the least of several turns that begin with either side: a few percent
of overhead are less than what a busy machine does to a clock, or to a median.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ...numerics.transport import fit_assignment, fit_entropic, fit_gaussian
from . import Row

__all__ = ["run"]

ROWS, WIDTH, SECONDS = 800, 16, 12.0


def run() -> list[Row]:
    """Assignment, entropic and affine maps between two samples in dimension 16."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, WIDTH))
    y = rng.standard_normal((ROWS, WIDTH)) @ rng.standard_normal((WIDTH, WIDTH)) / 4.0 + 1.0
    epsilon = 0.05 * float(np.mean(np.sum((x - y) ** 2, axis=1)))
    return [_assignment(x, y), _entropic(x, y, epsilon), _affine(np.tile(x, (50, 1)), np.tile(y, (50, 1)))]


def _assignment(x: Any, y: Any) -> Row:
    import ot

    def peer() -> Any:
        weights = np.full(len(x), 1.0 / len(x))
        plan = ot.emd(weights, weights, ot.dist(x, y), numItermax=1_000_000)
        return (plan @ y) / weights[:, None]

    note = _gap(fit_assignment(x, y).images, peer())
    return _compare(
        f"fit_assignment, m = {len(x)}", lambda: fit_assignment(x, y), "POT: dist, emd", peer, note
    )


def _entropic(x: Any, y: Any, epsilon: float) -> Row:
    import ot

    def peer() -> Any:
        weights = np.full(len(x), 1.0 / len(x))
        plan = ot.bregman.sinkhorn_log(
            weights, weights, ot.dist(x, y), epsilon, numItermax=10_000, stopThr=1e-6
        )
        return (plan @ y) / weights[:, None]

    fitted = fit_entropic(x, y, epsilon, debias=False)
    return _compare(
        f"fit_entropic, m = {len(x)}",
        lambda: fit_entropic(x, y, epsilon, debias=False),
        "POT: dist, sinkhorn_log",
        peer,
        f"{fitted.iterations} iterations; {_gap(fitted(x), peer())}",
    )


def _affine(x: Any, y: Any) -> Row:
    import ot

    def peer() -> Any:
        a, b = ot.gaussian.empirical_bures_wasserstein_mapping(x, y, reg=0.0)
        return x @ a + b

    return _compare(
        f"fit_gaussian and its images, m = {len(x)}",
        lambda: fit_gaussian(x, y)(x),
        "POT: empirical_bures_wasserstein_mapping",
        peer,
        _gap(fit_gaussian(x, y)(x), peer()),
    )


def _compare(name: str, ours: Callable[[], Any], peer: str, theirs: Callable[[], Any], note: str) -> Row:
    spent: dict[Any, list[float]] = {ours: [], theirs: []}
    turn, began = 0, time.process_time()
    while turn < 8 or time.process_time() - began < SECONDS:
        turn += 1
        for call in (ours, theirs) if turn % 2 else (theirs, ours):
            start = time.process_time()
            call()
            spent[call].append(time.process_time() - start)
    seconds, peer_seconds = (min(spent[call][1:]) for call in (ours, theirs))  # the first warms up
    return Row(
        name=name,
        ours_seconds=seconds,
        peer=peer,
        peer_seconds=peer_seconds,
        ratio=peer_seconds / seconds,
        note=note,
    )


def _gap(ours: Any, theirs: Any) -> str:
    return f"images differ by at most {np.max(np.abs(ours - theirs)):.0e}"
