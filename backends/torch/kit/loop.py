r"""One training loop for every trainer: through accelerate, exact to resume, clean to interrupt.

All randomness of step k is a function of (seed, k): a recipe *draws* the global batch, data and noise
together, from a generator that is seeded anew at each step, and every process keeps its rows.  So a run
that was killed and resumed is the run that was not, bit for bit, and two processes see the same losses
as one, up to the order of summation; no generator state has to be saved.  (What a module draws inside
of itself, dropout for instance, is a function of the seed, the step and the process.)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from .callbacks import Callbacks
from .progress import Progress
from .run import Resumed, Run
from .seeding import seed_step

__all__ = ["Work", "few_threads", "run_steps"]


class Work(Protocol):
    """The work of a run, step by step; a step is an epoch where the work says so."""

    def state(self) -> dict[str, Tensor]:
        """Named tensors that belong to a checkpoint, and that a resumption fills again."""
        ...

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Those whose states belong to it."""
        ...

    def history(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Tensors that grow with the run, and its record in JSON."""
        ...

    def resumed(self, found: Resumed) -> None:
        """Take back the history."""
        ...

    def logged(self, step: int) -> Mapping[str, float]:
        """The numbers of a step that was done."""
        ...

    def advance(self, step: int) -> float:
        """Do a step; what the progress bar shows of it.

        Raises:
            FloatingPointError: What the step would have spoiled is as it was.
        """
        ...


def run_steps(
    work: Work,
    run: Run,
    length: int,
    save_every: int,
    seed: int,
    title: str,
    callbacks: Callbacks | None = None,
) -> float:
    """Do the steps of a run that are left: resumed, shown, saved, and stopped between two of them; the seconds.

    What modules draw from the global generators, dropout for instance, is a function of the seed, the step and the
    process; outside they are what they were.

    Arguments:
        work: The work.
        run: Where it is saved; entered here.
        length: Steps in all.
        save_every: Steps between two checkpoints.
        seed: The seed of the global generators.
        title: The label of the progress bar.
        callbacks: Called as the run goes on; they may request to save, or to stop as if the run were over.

    Raises:
        TrainingInterrupted: A signal, or the limit of the session; raised between two steps, after saving.
        InUse: Another run has this checkpoint.
        OtherRun: The checkpoint belongs to another run; names the first field that differs.
        CheckpointError: The checkpoint is damaged, and there is no older one.
        OSError: A checkpoint cannot be written; the one before is still there.
    """
    accelerator = run.accelerator
    devices = [accelerator.device] if accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(devices), run:
        found = run.resume(work.state(), work.optimizers())
        done, seconds = 0, 0.0
        if found is not None:
            done, seconds = found.done, found.seconds
            work.resumed(found)
        if callbacks is not None:
            callbacks.begin(done, length, work.logged)
        started = time.perf_counter() - seconds
        with Progress(title, length, done, visible=accelerator.is_main_process) as progress:
            for step in range(done, length):
                seed_step(seed, step, accelerator.process_index, accelerator.device)
                progress.advance(work.advance(step))
                ended = due = False
                if callbacks is not None:
                    callbacks.step(step + 1, length, work.logged(step))
                    ended, due = callbacks.asked()
                stop = run.stop_asked()
                seconds = time.perf_counter() - started
                if stop or ended or due or (step + 1) % save_every == 0 or step + 1 == length:
                    series, record = work.history()
                    state, optimizers = work.state(), work.optimizers()
                    run.save(step + 1, state, optimizers, seconds=seconds, series=series, record=record)
                    if callbacks is not None and run.path is not None:
                        callbacks.saved()
                if stop:
                    raise run.interrupted(step + 1)
                if ended:
                    break
        if callbacks is not None:
            callbacks.end()
    return seconds


@contextmanager
def few_threads() -> Iterator[None]:
    """One CPU thread inside, unless ``OMP_NUM_THREADS`` says otherwise.

    Small networks gain nothing from more, and on a machine that is busy the threads wait for each other.
    """
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
