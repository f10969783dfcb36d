"""Work in a process of its own, which can be ended at any time.

What blocks in C hears no signal handler, and what exits takes its process along.  So such work is done by a
:class:`Child` and supervised from outside: it returns, it raises, it dies, or its limit ends it.  Each of
these is reported, with the messages that the work itself had sent before.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, Literal, final

from .telling import said

__all__ = ["Account", "Child", "imported", "over", "parcel", "serve", "supervised"]

START = 300.0  # seconds for a child to start and to import what its work needs, from a slow disk
LARGEST = 2**30  # bytes of a message; what announces more is no message
_LENGTH = struct.Struct("!Q")
_POOLS = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMBA", "NUMEXPR")

# For a fresh interpreter: the path comes first, since the rest is found by it.
_BOOT = (
    "import sys; _, channel, lifeline, *sys.path[:] = sys.argv; "
    "from driftproof.validation.supervision import serve; serve(int(channel), int(lifeline))"
)

End = Literal["returned", "raised", "unreceived", "died", "limit"]
Tell = Callable[[Any], None]


@final
@dataclass(frozen=True)
class Account:
    """How a piece of work ended.

    Attributes:
        end: ``unreceived`` is work that a fresh process could not unpickle, mostly for an import that fails.
        why: What ended it, in one line; empty where it returned.
        result: Its result, or the exception that it raised where that can be pickled.
        messages: What it had sent until then.
        seconds: How long it took.
    """

    end: End
    why: str = ""
    result: Any = None
    messages: tuple[Any, ...] = ()
    seconds: float = 0.0


def parcel(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bytes:
    """Work for a child; what no import finds goes by value.

    A function that takes ``tell`` may send messages of its progress by it; they outlive what ends it.
    """
    import cloudpickle

    return pickle.dumps((list(sys.path), cloudpickle.dumps((function, args, kwargs))))


def supervised(work: bytes, limit: float | None = None, *, once: bool = False) -> Account:
    """Have work from :func:`parcel` done by the child of this thread, and wait for its end.

    Arguments:
        once: In a child of its own, which ends with it.
    """
    child: Child = Child() if once else _OF_THREAD.__dict__.setdefault("child", Child())
    child.begin(work, limit)
    try:
        while child.account is None:
            over([child])
        return child.account
    finally:
        if once or child.account is None:  # ctrl-C: nobody waits for it any more
            child.close()


_OF_THREAD = threading.local()


def imported(module: str) -> None:
    """Import a module: what a child tries before its supervisor does it in turn."""
    importlib.import_module(module)


def over(children: Collection[Child]) -> list[Child]:
    """Wait for news of these children at work; those whose work is over, which may be none."""
    patience = min((child.patience for child in children if child.account is None), default=0.0)
    listening = [child.fileno() for child in children if child.account is None]
    wait(listening, None if patience == float("inf") else patience)
    return [child for child in children if child.over()]


@final
class Child:
    """A process that does one piece of work after another.

    It starts with its first work, and anew after an end.  It leads a process group of its own: ctrl-C on a
    terminal reaches the supervisor alone, and whatever the child has started ends with it.
    """

    def __init__(self) -> None:
        self.account: Account | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._seasoned = False

    def begin(self, work: bytes, limit: float | None = None) -> None:
        """Give it work; the limit, in seconds, counts from when the work has been unpickled."""
        self._work, self._limit, self.account = work, limit, None
        self._sent: list[Any] = []
        self._heard = bytearray()
        self._since = time.monotonic()
        self._deadline = self._since + START
        try:
            if self._process is None or self._process.poll() is not None:
                self._start()
            self._channel.settimeout(START)
            self._channel.sendall(_LENGTH.pack(len(work)) + work)
            self._channel.settimeout(0.0)
        except OSError as error:
            self._close_with("died", f"its process took no work: {said(error)}")

    def fileno(self) -> int:
        """Readable when there is news."""
        return self._channel.fileno()

    @property
    def patience(self) -> float:
        """Seconds until its limit."""
        return max(0.0, self._deadline - time.monotonic())

    def over(self) -> bool:
        """Take in what it has said; whether its work is over."""
        if self.account is None:
            self._listen()
        if self.account is None and self.patience == 0.0:
            self._close_with("limit", f"no end within {self._deadline - self._since:.6g} s")
        return self.account is not None

    def close(self) -> None:
        """End its process, and what that has started, at once."""
        if self._process is None:
            return
        process, self._process = self._process, None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        self._channel.close()
        self._lifeline.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)

    def _start(self) -> None:
        self.close()
        self._channel, theirs = socket.socketpair()
        read, write = os.pipe()
        self._lifeline = open(write, "wb", buffering=0)  # noqa: SIM115  # held as long as the child
        self._seasoned = False
        with theirs, open(read, "rb", buffering=0):
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), str(read), *sys.path],
                stdin=subprocess.DEVNULL,
                stdout=2,  # standard output is for results, whatever the work prints
                env={f"{pool}_NUM_THREADS": "1" for pool in _POOLS} | os.environ,
                pass_fds=(theirs.fileno(), read),
                process_group=0,
            )

    def _listen(self) -> None:
        try:
            while self.account is None:
                heard = self._channel.recv(1 << 20)
                if not heard:
                    return self._mourn()
                self._heard += heard
                for kind, value in self._messages():
                    self._take(kind, value)
        except BlockingIOError:
            pass
        except OSError:
            self._mourn()
        except Exception as error:  # noqa: BLE001  # what it wrote into the channel is no message of ours
            self._close_with("died", f"its process answered with what is no answer: {said(error)}")
        return None

    def _messages(self) -> Iterator[tuple[str, Any]]:
        while len(self._heard) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._heard)
            if length > LARGEST:
                raise ValueError(f"a message of {length} bytes")
            if len(self._heard) < (end := _LENGTH.size + length):
                return
            message = bytes(self._heard[_LENGTH.size : end])
            del self._heard[:end]
            yield pickle.loads(message)

    def _take(self, kind: str, value: Any) -> None:
        if kind == "received":
            self._since = time.monotonic()
            self._deadline = self._since + (float("inf") if self._limit is None else self._limit)
        elif kind == "sent":
            self._sent.append(value)
        else:
            self._seasoned = True
            why, result = value
            self._conclude(kind, why, result)  # type: ignore[arg-type]

    def _mourn(self) -> None:
        """Its channel is closed: it is dead, or as good as."""
        assert self._process is not None
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return self._close_with("died", "its process closed its channel")
        if self._seasoned:  # an alarm or a thread of what it did before may have ended it: once more, alone
            self.close()
            return self.begin(self._work, self._limit)
        return self._close_with("died", f"its process {_fate(status)}")

    def _close_with(self, end: End, why: str) -> None:
        self.close()
        self._conclude(end, why)

    def _conclude(self, end: End, why: str, result: Any = None) -> None:
        self.account = Account(end, why, result, tuple(self._sent), time.monotonic() - self._since)


def _fate(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"was ended by signal {-status}"


def serve(channel: int, lifeline: int) -> None:
    """What a child does: one piece of work after another, until its supervisor is gone."""
    _hold(lifeline)
    line, owner = socket.socket(fileno=channel), os.getpid()

    def send(kind: str, value: Any = None) -> None:
        message = pickle.dumps((kind, value))
        if os.getpid() != owner:
            os._exit(0)  # a fork that the work has made came out of it too, and has no say
        try:
            line.sendall(_LENGTH.pack(len(message)) + message)
        except OSError:  # nobody listens any more
            os._exit(1)

    while work := _receive(line):
        _do(work, send)
    os._exit(0)  # threads that the work has left behind must not keep it


def _do(work: bytes, send: Callable[..., None]) -> None:
    try:
        path, content = pickle.loads(work)
        sys.path.extend(entry for entry in path if entry not in sys.path)
        function, args, kwargs = pickle.loads(content)
    except BaseException as error:  # noqa: BLE001  # its supervisor hears of it
        return send("unreceived", (said(error), None))
    send("received")
    try:
        if "tell" in inspect.signature(function).parameters:
            kwargs["tell"] = lambda value: send("sent", value)
        result = function(*args, **kwargs)
        send("returned", ("", result))
    except BaseException as error:  # noqa: BLE001  # its supervisor hears of it
        send("raised", (said(error), _portable(error)))
    return None


def _portable(error: BaseException) -> BaseException | None:
    try:
        copy = pickle.loads(pickle.dumps(error))
        return copy if isinstance(copy, BaseException) else None
    except BaseException:  # noqa: BLE001  # the exceptions of others pickle as they like
        return None


def _receive(line: socket.socket) -> bytes:
    """The next message; nothing once the supervisor has closed its end."""
    head = line.recv(_LENGTH.size, socket.MSG_WAITALL)
    if len(head) < _LENGTH.size:
        return b""
    return line.recv(_LENGTH.unpack(head)[0], socket.MSG_WAITALL)


def _hold(lifeline: int) -> None:
    """End this process group once the supervisor is gone, even by ``kill -9``: its end of the pipe closes."""
    import fcntl

    if hasattr(fcntl, "F_SETSIG"):  # the kernel does it, whatever holds the interpreter
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    else:
        threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()


def _watch(lifeline: int) -> None:
    with contextlib.suppress(OSError):
        os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)
