"""Audits as a command runs them: each in a process of its own under a limit, and rows as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from driftproof.validation.supervision import Account, parcel, supervised
from driftproof.validation.workers import carried

from . import audit_target, libraries, versions
from .diffusers import classes, exported, sorted_rows
from .rows import Report, Row
from .severity import Severity

__all__ = ["audited", "library"]

Tell: TypeAlias = Callable[[str, Sequence[Row]], None]


def audited(
    target: str,
    asked: Mapping[str, Any],
    only: Sequence[str] = (),
    *,
    jobs: int = -1,
    fast: bool = False,
    timeout: float | None = None,
) -> tuple[Report, str]:
    """The report on a target of a command, and why something of it has no verdict; empty where all has one."""
    if target in ("diffusers", *libraries.LIBRARIES) and not any(asked.values()):
        return library(only, target=target, jobs=jobs, fast=fast, timeout=timeout, tell=_printed)
    if ":" not in target:  # what is no target says so
        return audit_target(target, **asked), ""
    return _one(target, {**asked, "fast": fast}, timeout)


def library(
    only: Sequence[str] = (),
    *,
    target: str = "diffusers",
    jobs: int = -1,
    fast: bool = False,
    timeout: float | None = None,
    tell: Any = None,
) -> tuple[Report, str]:
    """An installed library, worst first, and why something of it has no verdict; empty where all has one.

    Arguments:
        only: Names of its samplers; all unless given.
        target: ``"diffusers"``, or one of ``libraries.LIBRARIES``.
        jobs: Processes; -1 takes every core.
        fast: Leave out what confirms a verdict.
        timeout: Seconds for a sampler.
        tell: A context manager from the number of samplers to a function of the name and the rows of each.

    Raises:
        LookupError: There is no such sampler.
        ValueError: The library is not installed.
    """
    ours = target == "diffusers"
    names = [cls.__name__ for cls in classes()] if ours else libraries.names(target)
    unknown = [name for name in only if name not in names]
    if unknown:
        raise LookupError(f"audit: {target} has no {'scheduler' if ours else 'sampler'} {', '.join(unknown)}")
    work = {
        name: parcel(exported, name, fast) if ours else parcel(libraries.rows, target, name, fast)
        for name in (only or names)
    }
    rows: list[Row] = []
    lost: list[str] = []
    with (tell or _silent)(len(work)) as say:
        for name, account in carried(work, jobs, None, timeout):
            found, why = _settled(f"{target}.{name}", account)
            rows += found
            lost += [f"{name}: {why}"] if why else []
            say(name, found)
    return Report(target, versions(target, "torch"), sorted_rows(rows)), "; ".join(lost)


def _one(target: str, asked: Mapping[str, Any], timeout: float | None) -> tuple[Report, str]:
    """An object of the user, who may have put anything there, and why it has no verdict."""
    account = supervised(parcel(audit_target, target, **asked), timeout, once=True)
    if account.end == "returned":
        return account.result, ""
    if isinstance(account.result, ValueError | LookupError | TypeError | ImportError):
        raise account.result
    rows, why = _settled(target, account)
    return Report(target, versions(target.partition(".")[0].partition(":")[0]), rows), why


def _settled(name: str, account: Account) -> tuple[tuple[Row, ...], str]:
    """The rows of a process, and how it ended where that was not well: the rows sent until then stay."""
    if account.end == "returned":
        return account.result, ""
    reproduction = f"driftproof audit {name}"
    row = Row(
        name, {}, f"no verdict: {account.why}", account.why, reproduction, severity=Severity.UNSUPPORTED
    )
    return (*account.messages, row), account.why


@contextmanager
def _silent(total: int) -> Iterator[Tell]:
    yield lambda name, rows: None


@contextmanager
def _printed(total: int) -> Iterator[Tell]:
    """A function that prints each row on standard error: above a bar on a terminal, in plain lines elsewhere."""
    if not sys.stderr.isatty():
        count = 0

        def tell(name: str, rows: Sequence[Row]) -> None:
            nonlocal count
            count += 1
            print(f"[{count}/{total}] {name}: {len(rows)} settings", file=sys.stderr)
            for row in rows:
                print(f"  {_line(row)}", file=sys.stderr, flush=True)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("samplers"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("samplers", total=total)

        def advance(name: str, rows: Sequence[Row]) -> None:
            for row in rows:
                bar.console.print(_line(row), highlight=False, markup=False)
            bar.advance(task)

        yield advance


def _line(row: Row) -> str:
    options = ", ".join(f"{name}={value}" for name, value in row.options.items())
    return f"{row.severity}  {row.object}({options}): {row.verdict}"
