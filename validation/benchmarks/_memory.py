"""Peak memory of a call on torch: what the allocator held at most above what was there before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["peak_bytes"]


def peak_bytes(call: Callable[[], Any], cuda: bool) -> int:
    """The counter of CUDA, or the allocations and releases that torch's profiler records."""
    import torch

    if cuda:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        call()
    held = most = 0
    events: Any = profiler.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    for _, change in changes:
        held += change
        most = max(most, held)
    return most
