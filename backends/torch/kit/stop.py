"""When and why a run ends early: SIGINT, SIGTERM, SIGHUP, or a limit on its wall-clock time.

A loop reads the request between two steps, saves, and raises :class:`TrainingInterrupted`; the command ends
with the status that a shell gives to that signal, or with 75 (EX_TEMPFAIL of sysexits.h: try again) for the
limit.  What a scheduler sends is not raised at once: a step that is cut in two is lost.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Self, final

from driftproof._namespace import UnmetHypothesis

__all__ = [
    "LIMIT",
    "STATUSES",
    "Interruption",
    "Session",
    "TrainingInterrupted",
    "extending",
    "session",
    "this_session",
]

# Exit statuses: 128 + the number of the signal, as shells have it.
STATUSES = {
    number: 128 + number
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if (number := getattr(signal, name, None))
}
LIMIT = 75


@final
@dataclass(frozen=True, slots=True)
class Session:
    """The requests of a command to every run in it.

    Arguments:
        extend: A checkpoint of a shorter run may be made longer.
        deadline: The ``time.monotonic()`` after which runs save and stop.
    """

    extend: bool = False
    deadline: float = math.inf


_SESSION: ContextVar[Session | None] = ContextVar("session", default=None)


def this_session() -> Session:
    """The session around the caller; by default one without limits."""
    return _SESSION.get() or Session()


@contextmanager
def session(*, extend: bool = False, stop_after: float | None = None) -> Iterator[Session]:
    """Runs inside may extend checkpoints, and stop ``stop_after`` seconds from now.

    Raises:
        UnmetHypothesis: A limit that is not positive.

    Example:
        >>> with session(extend=True):
        ...     this_session().extend
        True
        >>> this_session().extend
        False
    """
    if stop_after is not None and not stop_after > 0.0:
        raise UnmetHypothesis("train", "stop_after > 0 seconds", f"stop_after = {stop_after!r}")
    token = _SESSION.set(Session(extend, math.inf if stop_after is None else time.monotonic() + stop_after))
    try:
        yield this_session()
    finally:
        _SESSION.reset(token)


@contextmanager
def extending(extend: bool) -> Iterator[None]:
    """The session around the caller, in which runs may extend checkpoints or not; its limit stays."""
    token = _SESSION.set(replace(this_session(), extend=extend))
    try:
        yield
    finally:
        _SESSION.reset(token)


class TrainingInterrupted(KeyboardInterrupt):
    """A run was asked to stop; everything up to ``step`` is in ``path``.

    Arguments:
        step: Steps done.
        path: Where they are, or None.
        status: The exit status that the command ends with: 130, 143, 129, or 75.
        unit: The unit of progress: ``step`` or ``epoch``.
    """

    def __init__(self, step: int, path: Path | None, status: int = 130, unit: str = "step") -> None:
        kept = f"saved in {path}; the same command goes on from there" if path else "nothing was saved"
        cause = {130: ""} | {
            code: f"{signal.Signals(n).name}: " for n, code in STATUSES.items() if code != 130
        }
        cause[LIMIT] = "the time is over: "
        super().__init__(f"{cause[status]}stopped after {unit} {step}; {kept}")
        self.step, self.path, self.status = step, path, status


@final
class Interruption:
    """Turns the first signal into a request that a loop reads between two steps.

    A second ctrl-C is obeyed at once; schedulers repeat their signals, so those are heard once.  A signal that
    was ignored before, as under ``nohup``, is still ignored.  Outside of the main thread, where Python allows no
    signal handlers, only the limit of the session counts.

    Example:
        >>> with Interruption() as request:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     request.asked
        143
    """

    def __init__(self) -> None:
        self.deadline = this_session().deadline
        self.status = 0
        self.previous: dict[int, Any] = {}

    @property
    def asked(self) -> int:
        """The exit status to end with; 0 while no stop was requested."""
        if not self.status and time.monotonic() >= self.deadline:
            self.status = LIMIT
        return self.status

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STATUSES:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self.previous[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.status and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.status:
            self.status = STATUSES[number]
            # Not print: a handler may run inside of another write to the same buffer.
            again = "; ctrl-C again to stop now" if number == signal.SIGINT else ""
            with suppress(OSError):  # a terminal that is gone is why SIGHUP came
                os.write(2, f"\nstopping after this step{again}\n".encode())
