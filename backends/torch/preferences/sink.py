"""Where finished pairs go: each one is on the disk before the next begins, and none is there twice.

A pair is first a line of ``journal.jsonl``, with a digest, flushed to the disk; when enough have come they become
``pairs-000003.parquet``, written whole, and the journal is emptied.  A kill may tear the last line, or fall between the two
writes: a line whose pair a table already has is dropped.  So is a line that is torn or damaged, and what the journal was then is
kept in ``journal.damaged``.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, final

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import OtherRun
from driftproof.backends.torch.kit.lock import RunWarning, locked
from driftproof.backends.torch.kit.report import write_whole

from .table import COLUMNS, FAILED, schema

__all__ = ["BYTES", "PairSink"]

Row = Mapping[str, Any]

BYTES: Final = ("jpg_0", "jpg_1")


@final
class PairSink:
    """A folder of finished pairs, held for this process alone.

    Arguments:
        folder: Made where it is missing.
        made_with: The identity of the pairs' makers, as JSON: another one is refused.
        shard: Pairs of a table.

    Raises:
        InUse: On entering: another process writes there.
        OtherRun: The folder holds pairs that were made with something else.
    """

    def __init__(self, folder: Path, made_with: Mapping[str, Any], shard: int = 256) -> None:
        if shard < 1:
            raise UnmetHypothesis("PairSink", "shard >= 1", f"shard = {shard!r}")
        self.folder, self.shard, self.made_with = folder, shard, json.loads(json.dumps(dict(made_with)))
        self._journal = folder / "journal.jsonl"
        self._open: list[dict[str, Any]] = []
        self._states: dict[str, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(locked(self.folder))
            self._require_same()
            self._recover()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def done(self, key: str, *, retry: bool = False) -> bool:
        """Whether the job of this key is finished; with ``retry``, one that failed is not."""
        status = self._states.get(key)
        return status is not None and not (retry and status in FAILED)

    def counts(self) -> dict[str, int]:
        """How many jobs ended how."""
        found: dict[str, int] = {}
        for status in self._states.values():
            found[status] = found.get(status, 0) + 1
        return found

    def add(self, row: Row) -> None:
        """Keep a finished pair: when this returns, no kill can lose it.

        Raises:
            OSError: It cannot be written, for instance to a full disk; the pairs before are as they were.
            UnmetHypothesis: It has other columns than those of :mod:`.table`.
        """
        if row.keys() != COLUMNS.keys():
            got = f"these differ: {sorted(row.keys() ^ COLUMNS.keys())}"
            raise UnmetHypothesis("PairSink", "a pair has the columns of the table", got)
        line = _encoded(row)
        with self._journal.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, f"no room for a pair in {self._journal}")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)  # else the next pair would be a part of a torn line
                raise
        self._open.append(dict(row))
        self._states[row["key"]] = row["status"]
        if len(self._open) >= self.shard:
            self.compact()

    def compact(self) -> None:
        """Turn what the journal holds into a table."""
        if not self._open:
            return
        numbers = [
            int(file.stem[6:]) for file in self.folder.glob("pairs-*.parquet") if file.stem[6:].isdigit()
        ]
        number = max(numbers, default=-1) + 1  # one may be missing
        place = self.folder / f"pairs-{number:06d}.parquet"
        write_whole(place, _parquet(self._open))
        with place.open("rb") as file:
            os.fsync(file.fileno())  # before the journal forgets
        self._journal.write_bytes(b"")
        self._open = []

    def rows(self) -> Any:
        """All finished pairs as a ``datasets.Dataset``, those of the journal at the end; of a job done twice, the last."""
        from datasets import Dataset

        rows = [row for rows in self._tables() for row in rows] + self._open
        last = {row["key"]: row for row in rows}
        if not last:
            raise UnmetHypothesis("PairSink", "some pair is finished", f"none in {self.folder}")
        return Dataset.from_list(list(last.values()))

    # -- after a kill -------------------------------------------------------------------------------------

    def _require_same(self) -> None:
        place = self.folder / "pipeline.json"
        if place.exists():
            there = json.loads(place.read_text(encoding="utf-8"))
            for name in dict.fromkeys([*self.made_with, *there]):
                old, new = there.get(name), self.made_with.get(name)
                if old != new:
                    raise OtherRun(f"{self.folder} was made with another {name}: {old!r} there, {new!r} here")
        elif any(self.folder.glob("pairs-*.parquet")) or (
            self._journal.exists() and self._journal.stat().st_size
        ):
            raise OtherRun(f"{self.folder} holds pairs and no pipeline.json: nobody knows what made them")
        else:
            write_whole(place, json.dumps(self.made_with, indent=1, sort_keys=True).encode())

    def _recover(self) -> None:
        for leftover in self.folder.glob(".pairs-*.part"):
            leftover.unlink()
        written = set[tuple[str, str]]()
        for rows in self._tables():
            written |= {(row["key"], row["status"]) for row in rows}
            self._states |= {row["key"]: row["status"] for row in rows}
        content = self._journal.read_bytes() if self._journal.exists() else b""
        kept, lost = [], list[bytes]()
        for line in content.splitlines(keepends=True):
            row = _decoded(line)
            if row is None:
                lost.append(line)
            elif (row["key"], row["status"]) not in written:
                kept.append(row)
        if lost:
            damaged = self.folder / "journal.damaged"
            before = damaged.read_bytes() if damaged.exists() else b""
            write_whole(damaged, before + content)
            warnings.warn(
                f"{self._journal}: {sum(map(len, lost))} bytes are no finished pair; as it was, it is in {damaged}",
                RunWarning,
                stacklevel=3,
            )
        self._open = kept
        self._states |= {row["key"]: row["status"] for row in kept}
        if content:  # what is already in a table, and what was torn, goes
            write_whole(self._journal, b"".join(_encoded(row) for row in kept))

    def _tables(self) -> Iterator[list[dict[str, Any]]]:
        import pyarrow.parquet as pq  # type: ignore[import-untyped]  # ships no types

        for file in sorted(self.folder.glob("pairs-*.parquet")):
            yield pq.read_table(file).to_pylist()


def _encoded(row: Row) -> bytes:
    text = {k: base64.b64encode(v).decode() if k in BYTES else v for k, v in row.items()}
    body = json.dumps(text, sort_keys=True)
    return f"{_digest(body)} {body}\n".encode()


def _decoded(line: bytes) -> dict[str, Any] | None:
    """The row of a line; None where the line is torn or damaged."""
    digest, _, body = line.decode(errors="replace").partition(" ")
    if not body.endswith("\n") or digest != _digest(body[:-1]):
        return None
    found: dict[str, Any] = json.loads(body)
    return {k: base64.b64decode(v) if k in BYTES else v for k, v in found.items()}


def _digest(body: str) -> str:
    return blake2b(body.encode(), digest_size=8).hexdigest()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema()), buffer)
    return buffer.getvalue()
