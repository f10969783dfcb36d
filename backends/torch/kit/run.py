r"""A run: its file, and what may happen to it.

.. code-block:: python

    with Run(path, identity_of(plan=plan), accelerator) as run:
        found = run.resume(state, optimizers)          # None, or what was done; the tensors are put back in place
        for step in range(found.done if found else 0, plan.max_steps):
            ...
            stop = run.stop_asked()                    # by a signal or a limit, on any process
            if stop or due:
                run.save(step + 1, state, optimizers)
            if stop:
                raise run.interrupted(step + 1)

Two generations are kept, ``x.safetensors`` and ``x.previous.safetensors``.  Where the newer is damaged it is put
aside as ``x.damaged.safetensors``, and the run goes on from the older, with a warning: the steps between are the
same when they are done again.  One process writes; its successes and failures are those of all.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from accelerate.utils import gather, reduce  # type: ignore[import-untyped]
from torch import Tensor

from . import checkpoint as checkpoints
from .distributed import any_process
from .identity import Identity, OtherRun, differences, environment
from .lock import RunWarning, locked
from .stop import Interruption, TrainingInterrupted

__all__ = ["Resumed", "Run", "by_main", "everywhere", "held", "highest"]

T = TypeVar("T")

State = Mapping[str, Tensor]
Optimizers = Mapping[str, torch.optim.Optimizer]

NONE, NEWEST, OLDER = 0, 1, 2


@final
@dataclass(frozen=True)
class Resumed:
    """The part of a checkpoint beside the state.

    Arguments:
        done: Steps, or epochs.
        seconds: Spent on them.
        series: Tensors that grow with the run.
        record: JSON of the trainer.
    """

    done: int
    seconds: float = 0.0
    series: Mapping[str, Tensor] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)


@final
class Run:
    """A run with its file: locked, resumed, saved and stopped.

    Arguments:
        path: The newest checkpoint; None keeps nothing.
        identity: The identity of the run.
        accelerator: Devices and processes.
        unit: The unit of progress: ``step`` or ``epoch``.

    Raises:
        InUse: On entering: another run has this file.
    """

    def __init__(
        self, path: Path | None, identity: Identity, accelerator: Accelerator, unit: str = "step"
    ) -> None:
        self.path, self.identity, self.accelerator, self.unit = path, identity, accelerator, unit
        self.interruption = Interruption()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self.path is not None:
                stack.enter_context(held(self.path, self.accelerator, self.path))
            stack.enter_context(self.interruption)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # -- stop ---------------------------------------------------------------------------------------------

    def stop_asked(self) -> bool:
        """Whether a stop was requested in some process: the same answer in all of them."""
        return highest(self.accelerator, self.interruption.asked) > 0

    def interrupted(self, done: int) -> TrainingInterrupted:
        """The exception to raise after saving; in all processes together."""
        return TrainingInterrupted(
            done, self.path, highest(self.accelerator, self.interruption.asked), self.unit
        )

    # -- save and resume ----------------------------------------------------------------------------------

    def save(
        self,
        done: int,
        state: State,
        optimizers: Optimizers,
        *,
        seconds: float = 0.0,
        series: State | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint; the one before becomes the older generation.

        Arguments:
            done: Steps done.
            state: Named tensors that :meth:`resume` fills again.
            optimizers: Those whose states belong to it.
            seconds: Spent so far.
            series, record: As for :class:`Resumed`.

        Raises:
            OSError: It cannot be written, for instance to a full disk; both generations are as they were.
        """

        def write() -> int:
            assert self.path is not None
            tensors = {**state, **checkpoints.prefixed("series", series or {})}
            for name, optimizer in optimizers.items():
                tensors |= checkpoints.prefixed(name, checkpoints.optimizer_tensors(optimizer))
            scaler = self.accelerator.scaler  # only float16 has one
            metadata = {
                **self.identity.to_json(),
                "environment": self._environment(),
                "done": done,
                "seconds": seconds,
                "scaler": {} if scaler is None else scaler.state_dict(),
                "record": record or {},
                "names": sorted(tensors),
            }
            checkpoints.save(self.path, tensors, metadata, keep=True)
            return 0

        if self.path is not None:
            by_main(self.accelerator, write)

    def resume(self, state: State, optimizers: Optimizers) -> Resumed | None:
        """Put the newest good checkpoint back into these tensors and optimizers, if there is one.

        Everything is checked before anything is loaded: digests, the identity, names, shapes and types.

        Raises:
            OtherRun: It belongs to another run, or to other weights.
            CheckpointError: It is damaged, and so is the older one, or there is none.
        """
        path = self.path
        if path is None:
            return None
        older = checkpoints.previous_of(path)
        chosen = by_main(self.accelerator, lambda: self._choose(path, older, state, optimizers))
        if chosen == NONE:
            return None
        place = path if chosen == NEWEST else older
        return everywhere(self.accelerator, lambda: self._load(place, state, optimizers))

    def _choose(self, path: Path, older: Path, state: State, optimizers: Optimizers) -> int:
        if not path.exists() and not older.exists():
            return NONE
        try:
            if not path.exists():
                raise checkpoints.CheckpointError(f"checkpoint: {path} is gone")
            self._checked(path, state, optimizers)
            return NEWEST
        except checkpoints.CheckpointError as error:
            if not older.exists():
                hint = "there is no older one: remove it to start again"
                raise checkpoints.CheckpointError(f"{error}; {hint}") from None
            metadata = self._checked(older, state, optimizers)[1]
            if path.exists():
                aside = path.with_name(f"{path.stem}.damaged{path.suffix}")
                os.replace(path, aside)
            warnings.warn(
                f"{error}; going on from {older}, {self.unit} {metadata['done']}", RunWarning, stacklevel=2
            )
            return OLDER

    def _checked(
        self, path: Path, state: State, optimizers: Optimizers
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The content of a file that is whole, of this run, and fits."""
        tensors, metadata = checkpoints.load(path)
        if metadata.get("names") != sorted(tensors) or "law" not in metadata:
            raise checkpoints.CheckpointError(
                f"checkpoint: {path} is no checkpoint of a run, or lacks tensors"
            )
        self.identity.require(metadata, metadata["done"], path)
        groups = ("series", *optimizers)
        plain = {name: value for name, value in tensors.items() if name.split(".")[0] not in groups}
        try:
            checkpoints.require_like(plain, state, "")
            for name, optimizer in optimizers.items():
                checkpoints.require_optimizer(optimizer, checkpoints.under(name, tensors), name)
        except ValueError as error:
            raise OtherRun(f"{path} was made with other weights ({error})") from None
        return tensors, metadata

    def _load(self, path: Path, state: State, optimizers: Optimizers) -> Resumed:
        tensors, metadata = self._checked(path, state, optimizers)
        with torch.no_grad():
            for name, value in state.items():
                value.copy_(tensors[name])
        for name, optimizer in optimizers.items():
            checkpoints.restore_optimizer(optimizer, checkpoints.under(name, tensors))
        if self.accelerator.scaler is not None and metadata["scaler"]:
            self.accelerator.scaler.load_state_dict(metadata["scaler"])
        changed = differences(metadata["environment"], self._environment())
        if changed and self.accelerator.is_main_process:
            warnings.warn(f"{path} was made in another environment ({changed})", RunWarning, stacklevel=2)
        series = checkpoints.under("series", tensors)
        return Resumed(metadata["done"], metadata["seconds"], series, metadata["record"])

    def _environment(self) -> dict[str, str]:
        return environment(self.accelerator.device.type, self.accelerator.num_processes)


def highest(state: Any, status: int) -> int:
    """The largest exit status requested in any process; 0 where none was."""
    return int(gather(torch.tensor([float(status)], device=state.device)).max())


@contextmanager
def held(place: Path, state: Any, *files: Path) -> Iterator[None]:
    """A file, or a folder that exists, that process 0 locks for all; see :func:`.lock.locked`.

    Arguments:
        place: The file or folder that is locked.
        state: An Accelerator, or a PartialState.
        files: Those that are written under this lock: what killed writers of them left is removed.
    """
    with ExitStack() as stack:

        def acquire() -> int:
            place.parent.mkdir(parents=True, exist_ok=True)
            if stack.enter_context(locked(place)):  # else somebody may be writing
                for file in files:
                    checkpoints.clean(file)
            return 0

        by_main(state, acquire)
        yield


def by_main(state: Any, action: Callable[[], int]) -> int:
    """The result of process 0, in every process; its failure is raised in all.

    Arguments:
        state: An Accelerator, or a PartialState.
        action: Run by process 0.
    """
    number = everywhere(state, action if state.is_main_process else lambda: 0)
    return int(reduce(torch.tensor(float(number), device=state.device), reduction="sum"))


def everywhere(state: Any, action: Callable[[], T]) -> T:
    """A piece of work that every process does, or none: one that went on alone would wait for the others for ever.

    Raises:
        Exception: What the action raised here; an OSError where it failed elsewhere only.
    """
    failed = True
    try:
        result = action()
        failed = False
    finally:
        elsewhere = any_process(state, failed)
    if elsewhere:
        raise OSError("another process of this run failed; its message says why")
    return result
