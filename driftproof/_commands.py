"""What commands share: the user's modules of claims, signals, and files that are written whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

__all__ = [
    "LIMIT",
    "Json",
    "claims_registry",
    "console",
    "fail",
    "is_stdout",
    "require_device",
    "require_ours",
    "require_torch",
    "require_writable",
    "stoppable",
    "warn_of_failures",
    "write_json",
    "written",
]

LIMIT = 600.0  # seconds for a claim or an audit, by default

Json = Annotated[
    Path | None,
    typer.Option("--json", dir_okay=False, help="Write the results to this file; - is standard output."),
]


def claims_registry(modules: list[str] | None, timeout: float = LIMIT) -> Any:
    from .validation.registry import REGISTRY

    if modules:
        sys.path.insert(0, os.getcwd())  # modules beside the user, as with python -m
    for module in modules or ():
        _imported_here(module, timeout)
    return REGISTRY.load()


def _imported_here(module: str, timeout: float) -> None:
    """Import a module of the user: first elsewhere, since what exits or hangs would take this process along."""
    import importlib

    from .validation.missing import absent
    from .validation.registry import REGISTRY, LoadFailure
    from .validation.supervision import imported, parcel, supervised

    account = supervised(parcel(imported, module), timeout, once=True)
    if isinstance(account.result, ImportError) and (why := absent(account.result)):
        REGISTRY.failures.append(LoadFailure(module, module, why, skipped=True))
        return
    if account.end != "returned":
        missing = isinstance(account.result, ModuleNotFoundError | SyntaxError)
        fail(f"--module {module}: {account.why}", 2 if missing else 3)
    importlib.import_module(module)


@contextmanager
def stoppable() -> Iterator[Callable[[], int]]:
    """SIGTERM and SIGHUP end the body as ctrl-C does; gives the exit status of the signal."""
    by = signal.SIGINT

    def stop(number: int, _: object) -> NoReturn:
        nonlocal by
        by = signal.Signals(number)
        raise KeyboardInterrupt

    others = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    # What the caller has chosen to ignore (nohup) stays ignored.
    before = {n: signal.signal(n, stop) for n in others if signal.getsignal(n) is signal.SIG_DFL}
    try:
        yield lambda: 128 + by
    except KeyboardInterrupt:
        raise typer.Exit(128 + by) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def written() -> Iterator[None]:
    """What cannot be written is an error, not wrong input."""
    try:
        yield
    except OSError as error:
        fail(f"cannot write the results: {error}", 3)


def warn_of_failures(registry: Any, names: list[str] | None) -> None:
    failures = registry.selected_failures(names or ())
    for failure in failures:
        typer.echo(f"{failure.module} does not import: {failure.reason}", err=True)
    if not all(failure.skipped for failure in failures):
        raise typer.Exit(3)


def require_torch(command: str) -> None:
    from .validation.missing import installed, lacking

    if not installed("torch"):
        raise ValueError(f"{command}: {lacking('torch')}")


def require_device(command: str, device: str) -> None:
    """Find out before the work, and in one line, that a device is not there."""
    import torch

    ways = (RuntimeError, AssertionError, NotImplementedError)  # in each of them torch says it
    try:
        torch.zeros((), device=device).item()
    except ways as error:
        why = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise ValueError(f"{command}: --device {device} is not usable here: {why}") from error


def require_writable(file: Path | None, folder: Path | None = None) -> None:
    """Find out before the work, not after it, that its results cannot be kept."""
    for place in (folder, file.parent if file and not is_stdout(file) else None):
        if place is None:
            continue
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"cannot write below {place}: {error.strerror}") from error
        if not os.access(place, os.W_OK):
            raise PermissionError(f"cannot write below {place}: permission denied")


def require_ours(file: Path | None, kind: str) -> None:
    """Find out before the work that its document would take the place of something else."""
    if file is not None and not is_stdout(file):
        from .validation.documents import require_ours

        require_ours(file, kind)


def is_stdout(file: Path | None) -> bool:
    return file == Path("-")


def write_json(file: Path | None, document: Any) -> None:
    if file is None:
        return
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    if is_stdout(file):
        typer.echo(text, nl=False)
        return
    from .validation.journal import write_atomically

    write_atomically(file, text)


def console(to_stderr: bool = False) -> Any:
    from rich.console import Console

    stream = sys.stderr if to_stderr else sys.stdout
    # Off a terminal rich assumes 80 columns and cuts cells: give tables the room that they need.
    return Console(file=stream) if stream.isatty() else Console(file=stream, width=200)


def fail(message: str, status: int = 2) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise SystemExit(status)
