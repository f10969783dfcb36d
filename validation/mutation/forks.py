"""A piece of work in a fork of this process: it starts from all that is loaded here, and leaves nothing behind.

The messages of the fork come through a pipe as it sends them, so that they outlive it.  Limits are of processor
time and memory: on a busy machine a limit of the clock would end what is right.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

__all__ = ["Fork", "allow", "forked", "spent"]

MEMORY = 8 * 2**30  # bytes that a fork may take beyond what it starts with
_LENGTH = struct.Struct("!Q")
Tell = Callable[[Any], None]


@final
@dataclass(frozen=True)
class Fork:
    """How a fork ended.

    Attributes:
        messages: What it sent until then.
        why: What ended it early, in one line; empty where its work returned.
        slow: It went beyond its processor time.
        ours: What ended it is no doing of the work: an exception outside of evidence, or ``kill -9``.
        seconds: The processor time that it took.
    """

    messages: tuple[Any, ...]
    why: str
    slow: bool
    ours: bool
    seconds: float


def forked(work: Callable[[Tell], object]) -> Fork:
    """Do work in a fork, and wait for its end."""
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    before = spent()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _work(work, write)
    os.close(write)
    try:
        with open(read, "rb") as pipe:
            heard = _messages(pipe.read())
    finally:
        _, status = os.waitpid(pid, 0)
    seconds = spent() - before
    by, done = (
        os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        [m for kind, m in heard if kind == "sent"],
    )
    raised = next((m for kind, m in heard if kind == "raised"), "")
    if raised:
        return Fork(tuple(done), raised, False, True, seconds)
    if by:
        why = f"ended by {signal.Signals(by).name}"
        return Fork(tuple(done), why, by == signal.SIGXCPU, by == signal.SIGKILL, seconds)
    if not any(kind == "returned" for kind, _ in heard):
        return Fork(tuple(done), f"exited with status {os.WEXITSTATUS(status)}", False, False, seconds)
    return Fork(tuple(done), "", False, False, seconds)


def allow(seconds: float) -> None:
    """Let this process take so much more processor time before the kernel ends it."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))


def spent() -> float:
    """The processor time of this process and of its forks that have ended."""
    forks = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + forks.ru_utime + forks.ru_stime


def _work(work: Callable[[Tell], object], channel: int) -> None:
    owner = os.getpid()

    def send(kind: str, value: Any = None) -> None:
        if os.getpid() != owner:
            os._exit(0)  # a fork that the work has made has no say
        message = pickle.dumps((kind, value))
        message = _LENGTH.pack(len(message)) + message
        while message:
            message = message[os.write(channel, message) :]

    try:
        _limit()
        work(lambda value: send("sent", value))
        send("returned")
    except BaseException as error:  # noqa: BLE001  # its parent hears of it
        where = traceback.extract_tb(error.__traceback__)[-1]
        send("raised", f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})")
    finally:
        os._exit(0)


def _limit() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what evidence prints is no news
        os.dup2(null, stream)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError, ValueError):  # no /proc: the limit of memory is left out
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _messages(heard: bytes) -> list[tuple[str, Any]]:
    found, at = list[tuple[str, Any]](), 0
    while at + _LENGTH.size <= len(heard):
        (length,) = _LENGTH.unpack_from(heard, at)
        at += _LENGTH.size
        if at + length > len(heard):
            break  # it was ended while it sent this
        found.append(pickle.loads(heard[at : at + length]))
        at += length
    return found
