r"""What a training calls as it goes on, in the shape of transformers: its callbacks serve unchanged.

==================  =======================================================================
``on_train_begin``  before the first step, or the first one after a resumption
``on_step_end``     after every step
``on_log``          where numbers are logged: ``logs``
``on_save``         after a checkpoint was written
``on_train_end``    after the last step, or where a callback requested a stop
==================  =======================================================================

Each is called in all processes as ``callback.on_step_end(args, state, control, **kwargs)``.  Setting
``control.should_training_stop`` ends the training after the step, saved; ``control.should_save`` saves.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from accelerate.tracking import GeneralTracker, get_available_trackers  # type: ignore[import-untyped]
from accelerate.utils import LoggerType  # type: ignore[import-untyped]

from driftproof._namespace import UnmetHypothesis

from .distributed import any_process

__all__ = ["Callbacks", "TrainerCallback", "TrainerControl", "TrainerState", "trackers_of"]

logger = logging.getLogger("driftproof")


@final
@dataclass
class TrainerState:
    """Where a training stands.

    Arguments:
        max_steps: Steps in all.
        global_step: Steps done.
        log_history: The logged numbers, a mapping for each time, with its ``step``.
        is_world_process_zero: Whether this is the process that writes.
    """

    max_steps: int
    global_step: int = 0
    log_history: list[dict[str, float]] = field(default_factory=list)
    is_world_process_zero: bool = True


@final
@dataclass
class TrainerControl:
    """The requests of a callback, which sets them: to stop after this step, or to save."""

    should_training_stop: bool = False
    should_save: bool = False


class TrainerCallback:
    """Base of callbacks: each of the events does nothing, see :mod:`.callbacks`."""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Before the first step."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """After a step."""

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Where numbers are logged: ``kwargs["logs"]``."""

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """After a checkpoint was written."""

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """After the last step."""


@final
class Callbacks:
    """The callbacks of a run, and their requests.

    Arguments:
        listeners: Called in this order.
        args: The first argument of every call.
        accelerator: Processes, and trackers.
        model: Given to every call by this name.
        unit: Steps that a step of the loop counts for.
        logging_steps: Steps between two logs.
    """

    def __init__(
        self,
        listeners: Sequence[Any],
        args: Any,
        accelerator: Accelerator,
        model: Any = None,
        *,
        unit: int = 1,
        logging_steps: int = 1,
    ) -> None:
        own = [_Log(), *([_Trackers(accelerator)] if accelerator.log_with else [])]
        self.listeners, self.args, self.accelerator, self.model = [*own, *listeners], args, accelerator, model
        self.unit, self.logging_steps = unit, logging_steps
        self.control, self.state = TrainerControl(), TrainerState(0)

    def begin(self, done: int, length: int, logged: Callable[[int], Mapping[str, float]]) -> None:
        """The loop begins after ``done`` of ``length`` of its steps; ``logged(i)`` gives the numbers of step i."""
        due = [i for i in range(done) if self._due(i + 1, length)]
        history = [{"step": (i + 1) * self.unit, **logged(i)} for i in due]
        main = bool(self.accelerator.is_main_process)
        self.state = TrainerState(length * self.unit, done * self.unit, history, main)
        self.control = TrainerControl()
        self._call("on_train_begin")

    def step(self, done: int, length: int, numbers: Mapping[str, float]) -> None:
        """A step of the loop was done."""
        self.state.global_step = done * self.unit
        self._call("on_step_end")
        if self._due(done, length):
            self.state.log_history.append({"step": self.state.global_step, **numbers})
            self._call("on_log", logs=dict(numbers))

    def asked(self) -> tuple[bool, bool]:
        """Whether to stop, and whether to save: the same answers in all processes."""
        stop = any_process(self.accelerator, self.control.should_training_stop)
        return stop, any_process(self.accelerator, self.control.should_save)

    def saved(self) -> None:
        """A checkpoint was written."""
        self.control.should_save = False
        self._call("on_save")

    def end(self) -> None:
        """The loop is over."""
        self._call("on_train_end")

    def _due(self, done: int, length: int) -> bool:
        before, now = (done - 1) * self.unit // self.logging_steps, done * self.unit // self.logging_steps
        return now > before or done == length

    def _call(self, event: str, **extra: Any) -> None:
        for listener in self.listeners:
            getattr(listener, event)(self.args, self.state, self.control, model=self.model, **extra)


@final
class _Log(TrainerCallback):
    """To the logger of this library."""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            logger.info("training from step %d to %d", state.global_step, state.max_steps)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            shown = ", ".join(f"{name} {value:.4g}" for name, value in kwargs["logs"].items())
            logger.info("step %d of %d: %s", state.global_step, state.max_steps, shown)

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            logger.info("saved after step %d", state.global_step)


@final
class _Trackers(TrainerCallback):
    """To the trackers of accelerate."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        config = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in dataclasses.asdict(args).items()
        }
        self.accelerator.init_trackers(args.run_name or "driftproof", config)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.accelerator.log(dict(kwargs["logs"]), step=state.global_step)

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        for tracker in self.accelerator.trackers:
            tracker.finish()  # not end_training, which also ends the group of processes


def trackers_of(report_to: Any) -> list[Any]:
    """The trackers of accelerate by name; one of its ``GeneralTracker`` serves, too.  "none" is none of them.

    Raises:
        UnmetHypothesis: A name that accelerate does not know.
        ModuleNotFoundError: A tracker that is not installed; accelerate would leave it out without a word.
    """
    given = [report_to] if isinstance(report_to, str | GeneralTracker) else list(report_to)
    known = [str(name) for name in LoggerType.list() if str(name) != "all"]
    available = [str(name) for name in get_available_trackers()]
    chosen = [tracker for tracker in given if tracker != "none"]
    for name in chosen:
        if isinstance(name, GeneralTracker):
            continue
        if name not in known:
            hypothesis = f"report_to is none or among {', '.join(known)}"
            raise UnmetHypothesis("trainer", hypothesis, f"report_to = {report_to!r}")
        if name not in available:
            raise ModuleNotFoundError(f"report_to = {name!r}: {name} is not installed (pip install {name})")
    return chosen
