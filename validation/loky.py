"""What ctrl-C does to processes that joblib's loky has started."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["deaf_workers", "hushed_feeder"]


@contextmanager
def hushed_feeder() -> Iterator[None]:
    """Ctrl-C empties the queue under loky's thread that feeds the workers: its KeyError is no news."""
    told = threading.excepthook

    def tell(args: threading.ExceptHookArgs) -> None:
        feeder = args.thread is not None and args.thread.name == "ExecutorManagerThread"
        if not (feeder and args.exc_type is KeyError):
            told(args)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = told


@contextmanager
def deaf_workers() -> Iterator[None]:
    """Processes started here ignore ctrl-C: the run ends them, they need not complain one by one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
