"""What a campaign keeps between runs: small documents in the user's cache, of one identity of code and claims."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from driftproof._identity import digest
from driftproof.validation.engine import Plan
from driftproof.validation.journal import Journal, identity_of, write_atomically
from driftproof.validation.statements import Claim

__all__ = ["Shelf"]


@final
@dataclass(frozen=True)
class Shelf:
    """A folder of documents; where nothing can be written, or nothing is known of the code, nothing is kept."""

    folder: Path | None

    @classmethod
    def of(cls, plan: Plan, claims: Sequence[Claim], *circumstances: str) -> Shelf:
        """The shelf of these claims, of all code that they run on, of the plan and of what else counts."""
        speaks_of, journal = identity_of(claims, plan), Journal.of(plan).directory
        if speaks_of is None or journal is None:
            return cls(None)
        return cls(journal.with_name(f"mutate-{digest(repr((speaks_of, circumstances)))}"))

    def read(self, name: str) -> Any:
        """A document, or None."""
        if self.folder is not None:
            with contextlib.suppress(OSError, ValueError):
                return json.loads((self.folder / f"{digest(name)}.json").read_text(encoding="utf-8"))
        return None

    def write(self, name: str, document: Any) -> None:
        """Keep a document."""
        if self.folder is not None:
            with contextlib.suppress(OSError):  # a read-only home must not fail a campaign
                write_atomically(self.folder / f"{digest(name)}.json", json.dumps(document))
