"""What a soak found, and the files of its finished seeds."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from driftproof import __version__
from driftproof._identity import versions

from .documents import stamped
from .engine import Plan
from .journal import Journal, identity_of, write_atomically
from .outcomes import ClaimOutcome
from .statements import Claim

__all__ = ["Flip", "Kept", "Soak", "Soaked"]


@final
@dataclass(frozen=True)
class Flip:
    """A verdict that is not the expected one.

    Attributes:
        what: The evidence, or the mutant.
        state: ``breaks``, ``crashed`` or ``undecided`` of evidence; ``survives`` of a mutant, or ``unsettled``
            where evidence crashes on it for reasons of its own.
        replay: The command that shows it again.
    """

    seed: int
    claim: str
    what: str
    state: str
    detail: str
    replay: str


@final
@dataclass(frozen=True)
class Soaked:
    """One seed: its flips, and the processor time that it took."""

    seed: int
    flips: tuple[Flip, ...]
    seconds: float

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Soaked:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(data["seed"], tuple(Flip(**flip) for flip in data["flips"]), data["seconds"])


@final
@dataclass(frozen=True)
class Soak:
    """What all seeds together say.

    Attributes:
        wanted: How many seeds were asked for.
        evidence, mutants: How many depend on the seed.
        expected: How many flips the declared probabilities allow under the seeds that are done.
        undeclared: Evidence that depends on the seed and does not declare its chances.
        errors: What could not be settled at all.
    """

    effort: str
    wanted: int
    seeds: tuple[Soaked, ...]
    evidence: int
    mutants: int
    expected: float
    undeclared: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def flips(self) -> tuple[Flip, ...]:
        """All flips, seed by seed."""
        return tuple(flip for done in self.seeds for flip in done.flips)

    @property
    def status(self) -> int:
        """The exit status: 0 without a flip, 1 with some, 3 after an error, 130 if interrupted."""
        return 130 if self.interrupted else 3 if self.errors else 1 if self.flips else 0

    def to_json(self) -> dict[str, Any]:
        """The document that ``driftproof soak --json`` writes."""
        seeds = [{"seed": done.seed, "cpu_seconds": round(done.seconds, 3)} for done in self.seeds]
        content = {
            "version": __version__,
            **{k: v for k, v in asdict(self).items() if k != "seeds"},
            "seeds": seeds,
            "flips": [asdict(flip) for flip in self.flips],
            "status": self.status,
            "versions": versions(),
        }
        return stamped("soak", content)

    def __str__(self) -> str:
        lines = [f"seed {f.seed}: {f.claim} {f.what} {f.state}: {f.detail}\n  {f.replay}" for f in self.flips]
        lines += [f"error: {error}" for error in self.errors]
        lines += [f"undeclared: {item}" for item in self.undeclared]
        later = [done.seconds for done in self.seeds[1:]]
        each = f", {sum(later) / len(later):.1f} s of processor time each" if later else ""
        lines.append(
            f"{len(self.flips)} flips under {len(self.seeds)} of {self.wanted} seeds ({self.expected:.1e} expected by "
            f"what is declared); {self.evidence} pieces of evidence and {self.mutants} mutants depend on the "
            f"seed{each}; {self.seconds:.1f} s"
        )
        lines += ["interrupted: continue with --resume"] * self.interrupted
        return "\n".join(lines)


@final
@dataclass(frozen=True)
class Kept:
    """Finished seeds on disk, one file each, of one identity: claims, code, versions, first seed and effort."""

    folder: Path | None

    @classmethod
    def of(cls, plan: Plan, claims: Sequence[Claim]) -> Kept:
        speaks_of, journal = identity_of(claims, plan), Journal.of(plan).directory
        return cls(journal.with_name(f"soak-{speaks_of}") if speaks_of and journal else None)

    def first(self) -> tuple[ClaimOutcome, ...] | None:
        """The claims as the first seed settled them."""
        data = self._read("first")
        return None if data is None else tuple(ClaimOutcome.from_json(claim) for claim in data["claims"])

    def keep_first(self, claims: Sequence[ClaimOutcome]) -> None:
        """Write the first seed."""
        self._write("first", {"claims": [claim.to_json() for claim in claims]})

    def seed(self, seed: int) -> Soaked | None:
        """A finished seed."""
        data = self._read(f"seed-{seed}")
        return None if data is None else Soaked.from_json(data)

    def keep_seed(self, done: Soaked) -> None:
        """Write one seed."""
        self._write(f"seed-{done.seed}", asdict(done))

    def _read(self, name: str) -> Any:
        if self.folder is None:
            return None
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    def _write(self, name: str, document: Any) -> None:
        if self.folder is None:
            return
        with contextlib.suppress(OSError):  # a read-only home must not fail a soak
            write_atomically(self.folder / f"{name}.json", json.dumps(document))
