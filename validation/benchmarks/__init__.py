"""Benchmarks: ours beside what a user would pick instead, in one run, as ratios.

A peer is called as its makers would: by its fastest public call that gives the same answer, in the same precision,
to the same tolerance, with its data in the layout that it wants.  Rows where it is faster say so.

Each module of this package has a function ``run() -> list[Row]``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict

from driftproof.validation.missing import absent

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Row", "benchmark", "names", "table"]


class Row(TypedDict):
    """One comparison: ``ratio`` is the peer's time over ours, above 1 where ours is faster.

    ``peer_seconds`` and ``ratio`` are None where the peer is not installed or has no such thing.
    ``ours_bytes`` and ``peer_bytes`` are peaks of memory, where memory is compared.
    """

    name: str
    ours_seconds: float
    peer: str
    peer_seconds: float | None
    ratio: float | None
    note: NotRequired[str]
    ours_bytes: NotRequired[int]
    peer_bytes: NotRequired[int]


def names() -> list[str]:
    """The benchmarks that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def benchmark(selected: Sequence[str] = (), announce: Callable[[str], None] = lambda line: None) -> list[Row]:
    """Run the selected benchmarks, or all.

    A benchmark whose own packages are not installed is skipped, and its row says so.

    Raises:
        LookupError: There is no such benchmark.
        ImportError: No benchmark could run, or one does not import for another reason.
    """
    known = names()
    if unknown := [name for name in selected if name not in known]:
        raise LookupError(
            f"bench: there is no {', '.join(unknown)}; there are {', '.join(known) or 'none yet'}"
        )
    rows: list[Row] = []
    missing: ImportError | None = None
    for name in selected or known:
        announce(f"running {name}")
        try:
            rows.extend(importlib.import_module(f"{__name__}.{name}").run())
        except ImportError as error:
            if (reason := absent(error)) is None:
                raise
            missing = error
            announce(f"skipped {name}: {reason}")
    if missing is not None and not rows:
        raise missing
    return rows


def table(rows: Sequence[Row]) -> Table:
    """The rows as a table for a terminal."""
    from rich import box
    from rich.table import Table

    made = Table("benchmark", "ours", "peer", "peer's", "faster is", "note", box=box.SIMPLE_HEAD)
    for row in rows:
        ratio = row["ratio"]
        made.add_row(
            row["name"],
            _time(row["ours_seconds"]),
            row["peer"],
            _time(row["peer_seconds"]),
            "" if ratio is None else _faster(ratio),
            row.get("note", ""),
        )
    return made


def _faster(ratio: float) -> str:
    """Who is faster, and how many times; a tenth is within what a machine does to a benchmark.

    >>> _faster(3.21), _faster(0.5), _faster(1.04)
    ('ours, 3.21x', 'the peer, 2.00x', 'neither (1.04x)')
    """
    if 1.0 / 1.1 < ratio < 1.1:
        return f"neither ({ratio:.2f}x)"
    return f"ours, {ratio:.2f}x" if ratio > 1.0 else f"the peer, {1.0 / ratio:.2f}x"


def _time(seconds: float | None) -> str:
    """Seconds in a unit that reads well.

    >>> _time(0.0025), _time(None)
    ('2.50 ms', '')
    """
    if seconds is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds / size >= 100 else f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-9:.0f} ns"
