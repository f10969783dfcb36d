"""The journal: each settled claim in a file of its own, written whole or not at all."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import final

from .. import __version__
from .engine import Plan
from .outcomes import ClaimOutcome
from .registry import Claim

__all__ = ["Journal", "write_atomically"]


@final
@dataclass(frozen=True)
class Journal:
    """Outcomes of one plan and one state of the source, in the user's cache directory.

    ``DRIFTPROOF_CACHE`` overrides the directory.  Where nothing can be written, nothing is kept.
    """

    directory: Path

    @classmethod
    def of(cls, plan: Plan) -> Journal:
        """The journal of runs that would give the same outcomes as this plan."""
        state = f"{__version__}\n{plan!r}\n{_source()}"
        return cls(_cache() / "journal" / sha256(state.encode()).hexdigest()[:16])

    def find(self, claim: Claim) -> ClaimOutcome | None:
        """The outcome of this claim, if its module has not changed since."""
        try:
            kept = json.loads((self.directory / f"{claim.id}.json").read_text(encoding="utf-8"))
            return ClaimOutcome.from_json(kept["outcome"]) if kept["source"] == _source_of(claim) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, outcome: ClaimOutcome, claim: Claim) -> None:
        """Write one outcome."""
        kept = {"source": _source_of(claim), "outcome": outcome.to_json(pictures=True)}
        with contextlib.suppress(OSError):  # a read-only home must not fail a run
            write_atomically(self.directory / f"{outcome.id}.json", json.dumps(kept))

    def clear(self) -> None:
        """Forget all: the run is complete."""
        shutil.rmtree(self.directory, ignore_errors=True)


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


def _cache() -> Path:
    if own := os.environ.get("DRIFTPROOF_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # no home directory
        return (Path(base) if base else Path.home() / ".cache") / "driftproof"
    return Path(tempfile.gettempdir()) / "driftproof"


def _source() -> str:
    """A digest of the library: an outcome speaks of the code that it was found with."""
    digest = sha256()
    for layer in ("theory", "numerics", "backends", "validation"):
        spec = importlib.util.find_spec(f"driftproof.{layer}")
        for place in spec.submodule_search_locations or () if spec else ():
            for file in sorted(Path(place).resolve().rglob("*.py")):
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _source_of(claim: Claim) -> str:
    try:
        source = inspect.getsource(sys.modules[claim.module])
    except (KeyError, OSError, TypeError):
        return ""
    return sha256(source.encode()).hexdigest()
