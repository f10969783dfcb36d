"""The global state of a process, which evidence may set for itself and must not leave to the next."""

from __future__ import annotations

import decimal
import gc
import locale
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import mpmath
import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

__all__ = ["DIGITS", "restored", "surroundings"]

DIGITS = 50  # mpmath's working precision in evidence

Restore = Callable[[], object]


@contextmanager
def surroundings() -> Iterator[list[warnings.WarningMessage]]:
    """Fifty digits for mpmath, one thread for BLAS (sums then repeat exactly), warnings kept; all restored."""
    with (
        restored(),
        warnings.catch_warnings(record=True) as caught,
        mpmath.workdps(DIGITS),
        threadpool_limits(1),
        np.printoptions(precision=17, threshold=20),
    ):
        warnings.simplefilter("default")
        yield caught


@contextmanager
def restored() -> Iterator[None]:
    """Whatever the body sets globally, of what can be set back, is set back."""
    with ExitStack() as stack:
        for state in (_numpy, _python, _process, _signals, _torch):
            for restore in state():
                stack.callback(_quietly, restore)
        yield


def _quietly(restore: Restore) -> None:
    with suppress(Exception):  # a directory that is gone, for instance, cannot be returned to
        restore()


def _numpy() -> Iterator[Restore]:
    errors, call, drawn = np.geterr(), np.geterrcall(), np.random.get_state()  # noqa: NPY002
    yield lambda: np.seterr(**errors)
    yield lambda: np.seterrcall(call)
    yield lambda: np.random.set_state(drawn)  # noqa: NPY002


def _python() -> Iterator[Restore]:
    drawn, context, depth = random.getstate(), decimal.getcontext().copy(), sys.getrecursionlimit()
    streams, collects = (sys.stdin, sys.stdout, sys.stderr), gc.isenabled()
    yield lambda: random.setstate(drawn)
    yield lambda: decimal.setcontext(context)
    yield lambda: sys.setrecursionlimit(depth)
    yield lambda: _streams(*streams)
    yield gc.enable if collects else gc.disable


def _streams(stdin: Any, stdout: Any, stderr: Any) -> None:
    sys.stdin, sys.stdout, sys.stderr = stdin, stdout, stderr


def _process() -> Iterator[Restore]:
    path, environment, spoken = list(sys.path), dict(os.environ), locale.setlocale(locale.LC_ALL)
    yield lambda: _items(sys.path, path)
    yield lambda: _entries(os.environ, environment)
    yield lambda: locale.setlocale(locale.LC_ALL, spoken)
    with suppress(OSError):  # this process may stand in a directory that is gone
        here = os.getcwd()
        yield lambda: os.chdir(here)


def _items(now: MutableSequence[str], before: list[str]) -> None:
    if now != before:
        now[:] = before


def _entries(now: MutableMapping[str, str], before: dict[str, str]) -> None:
    for name in [name for name in now if name not in before]:
        del now[name]
    now.update({name: value for name, value in before.items() if now.get(name) != value})


def _signals() -> Iterator[Restore]:
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may set them
    handlers = {number: signal.getsignal(number) for number in _CATCHABLE}
    yield lambda: _handlers(handlers)
    if hasattr(signal, "setitimer") and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0):
        yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.0)  # an alarm would ring in the next


_CATCHABLE = [signal.SIGINT, signal.SIGTERM, *([signal.SIGALRM] if hasattr(signal, "SIGALRM") else [])]


def _handlers(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _torch() -> Iterator[Restore]:
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_default_dtype"):  # absent, or just being imported
        return
    dtype, threads, grad = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    same, drawn, precision = (
        _deterministic(torch),
        torch.get_rng_state(),
        torch.get_float32_matmul_precision(),
    )
    yield lambda: torch.set_default_dtype(dtype)
    yield lambda: torch.set_num_threads(threads)
    yield lambda: torch.set_grad_enabled(grad)
    yield lambda: _set_deterministic(torch, *same)
    yield lambda: torch.set_rng_state(drawn)
    yield lambda: torch.set_float32_matmul_precision(precision)
    if getattr(torch, "get_default_device", None) is not None:
        device = torch.get_default_device()
        if str(device) != str(torch.device("cpu")):
            yield lambda: torch.set_default_device(device)
        else:
            yield lambda: torch.set_default_device(None)


def _deterministic(torch: Any) -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _set_deterministic(torch: Any, mode: bool, warn_only: bool) -> None:
    # Setting it imports torch's compiler: three seconds of processor time in every process.
    if _deterministic(torch) != (mode, warn_only):
        torch.use_deterministic_algorithms(mode, warn_only=warn_only)
