"""What a training really takes: what torch's own allocator reports, from the making of its models to its end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from accelerate import Accelerator
from torch.profiler import ProfilerActivity, profile

from driftproof.backends.torch.rl.trainer import RolloutTrainer


def measured_peak(make: Callable[[Accelerator], RolloutTrainer[Any]]) -> int:
    """The high-water mark in bytes of the trainer's own run on this computer."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as found:
        trainer = make(Accelerator(cpu=True))
        trainer.train()
    results = found.profiler.kineto_results
    sizes = [(event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(size for _, size in sorted(sizes, key=lambda pair: pair[0])))
