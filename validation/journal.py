"""The journal: each settled claim in a file of its own, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from driftproof._identity import digest, identity

from .engine import Plan
from .outcomes import ClaimOutcome
from .statements import Claim

__all__ = ["Journal", "identity_of", "write_atomically"]


@final
@dataclass(frozen=True)
class Journal:
    """Outcomes of one plan, in the user's cache directory, each with the identity of what it speaks of.

    ``DRIFTPROOF_CACHE`` overrides the directory.  Where nothing can be written, nothing is kept.
    """

    plan: Plan
    directory: Path | None

    @classmethod
    def of(cls, plan: Plan) -> Journal:
        """The journal of runs of this plan."""
        cache = _cache()
        return cls(plan, cache / "journal" / digest(repr(plan)) if cache else None)

    def find(self, claim: Claim) -> ClaimOutcome | None:
        """The outcome of this claim, if neither it nor what it runs on has changed since."""
        speaks_of = identity_of([claim], self.plan)
        if self.directory is None or speaks_of is None:
            return None
        try:
            kept = json.loads((self.directory / f"{claim.id}.json").read_text(encoding="utf-8"))
            return ClaimOutcome.from_json(kept["outcome"]) if kept["identity"] == speaks_of else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, outcome: ClaimOutcome, claim: Claim) -> None:
        """Write one outcome; what is not settled is tried again by the next run, and not kept."""
        if self.directory is None or not outcome.settled:
            return
        kept = {"identity": identity_of([claim], self.plan), "outcome": outcome.to_json(pictures=True)}
        with contextlib.suppress(OSError):  # a read-only home must not fail a run
            write_atomically(self.directory / f"{outcome.id}.json", json.dumps(kept))

    def clear(self) -> None:
        """Forget all: the run is complete, and what it found is where it was asked for."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


def identity_of(claims: Sequence[Claim], plan: Plan) -> str | None:
    """The identity of a run: of its claims, all code that these run on, versions, seed and effort.

    None where a claim was made in no file: nobody can tell whether it has changed.
    """
    modules = dict.fromkeys(claim.module for claim in claims)
    return identity(*modules, claims=[claim.id for claim in claims], **asdict(plan))


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that a reader, or a kill, sees the whole file or the former one.

    What is no regular file (a pipe, ``/dev/stdout``) is written to; it would be replaced otherwise.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_text(text, encoding="utf-8")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _cache() -> Path | None:
    if own := os.environ.get("DRIFTPROOF_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # no home directory
        return (Path(base) if base else Path.home() / ".cache") / "driftproof"
    return _private(Path(tempfile.gettempdir()) / f"driftproof-{os.getuid()}")


def _private(place: Path) -> Path | None:
    """A folder where others may write, too: no link, ours, and closed to them; otherwise none."""
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        about = place.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077
    return place if ours else None
