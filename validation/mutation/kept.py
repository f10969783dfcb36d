"""The store of a campaign between runs: small documents in the user's cache, of one identity of code and claims.

What is kept of a claim speaks of the modules that it reaches: an edit elsewhere leaves it valid, so that a
campaign after an edit records little anew.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from driftproof._identity import digest, identity
from driftproof.validation.engine import Plan
from driftproof.validation.journal import Journal, write_atomically
from driftproof.validation.statements import Claim

from .reach import code_of, reached

__all__ = ["Shelf"]


@final
@dataclass(frozen=True)
class Shelf:
    """A folder of documents; where nothing can be written, or nothing is known of the code, nothing is kept."""

    folder: Path | None

    @classmethod
    def of(cls, plan: Plan, claims: Sequence[Claim], *circumstances: str) -> Shelf:
        """The shelf of these claims, of all code that they run on, of the plan and of what else counts."""
        modules = dict.fromkeys(claim.module for claim in claims)
        if identity(*modules) is None:  # a claim of a notebook: nobody can tell whether it has changed
            return cls(None)
        about = [code_of(module) for module in map(reached, modules)], [claim.id for claim in claims]
        return cls.named(plan, repr((about, repr(plan), circumstances)))

    @classmethod
    def named(cls, plan: Plan, identity: str) -> Shelf:
        """The shelf of whatever has this identity."""
        journal = Journal.of(plan).directory
        return cls(journal and journal.with_name(f"mutate-{digest(identity)}"))

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
