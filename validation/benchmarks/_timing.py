"""One clock for all benchmarks: what two calls cost, on a machine that others use too.

On a processor it is CPU time, of all threads and of finished children: another program's work does not enter, and
threads that wait for each other do.  On a GPU it is the time between two events around the call.  Calls are taken
in turn, begun by either, and the least counts: whatever disturbs a call adds to it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import Row

__all__ = ["compare", "one_thread", "row", "seconds"]

_ENOUGH, _MOST = 2.0, 50  # seconds of each comparison, and turns at most


def compare(name: str, ours: Callable[[], Any], peer: str, theirs: Callable[[], Any], note: str) -> Row:
    """One row of the table, on the processor."""
    spent = seconds({"ours": ours, "theirs": theirs})
    return row(name, spent["ours"], peer, spent["theirs"], note)


def row(name: str, ours: float, peer: str, theirs: float | None, note: str, **bytes: int) -> Row:
    """One row of the table, from seconds."""
    ratio = None if theirs is None else theirs / ours
    made = Row(name=name, ours_seconds=ours, peer=peer, peer_seconds=theirs, ratio=ratio, note=note)
    made.update(bytes)  # type: ignore[typeddict-item]  # the peaks of memory of a Row
    return made


def seconds(
    calls: Mapping[str, Callable[[], Any]], *, cuda: bool = False, repeats: int = 5
) -> dict[str, float]:
    """The least seconds of each call.

    Arguments:
        calls: What is called, by name.
        cuda: Whether they run on the GPU.
        repeats: Turns at least; short calls are given more.
    """
    clock = _between_events if cuda else _cpu
    for call in calls.values():
        call()  # warms up, and compiles
    spent: dict[str, list[float]] = {name: [] for name in calls}
    order, turn = list(calls), 0
    while turn < repeats or (turn < _MOST and sum(map(sum, spent.values())) < _ENOUGH):
        for name in order if turn % 2 else reversed(order):
            spent[name].append(clock(calls[name]))
        turn += 1
    return {name: min(each) for name, each in spent.items()}


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread in BLAS, OpenMP and torch: where a peer has one, or arrays are too small for more."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # of scikit-learn

    try:
        import torch
    except ImportError:
        with threadpool_limits(1):
            yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def _cpu(call: Callable[[], Any]) -> float:
    start = _spent()
    call()
    return _spent() - start


def _spent() -> float:
    """CPU seconds of this process and of its finished children."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _between_events(call: Callable[[], Any]) -> float:
    import torch

    start: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    end: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3
