"""The result of a campaign: rates with their intervals, and the errors that nothing noticed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, final

from driftproof import __version__
from driftproof._identity import versions
from driftproof.validation.documents import stamped

from .attempts import Attempt
from .drawing import folder_of
from .sites import Site

__all__ = ["Campaign", "Rate", "Tried"]

# What rates are given by.
_PARTS: dict[str, Callable[[Site], str]] = {
    "folder": lambda site: folder_of(site.module),
    "module": lambda site: site.file,
    "operator": lambda site: site.operator.partition("=")[0],
}


@final
@dataclass(frozen=True)
class Tried:
    """One error and what became of it."""

    site: Site
    attempt: Attempt

    @property
    def noticed(self) -> bool:
        """A test or a claim failed, or found no end."""
        return self.attempt.status in ("killed", "timeout")

    @property
    def counts(self) -> bool:
        """Whether it changes something, as far as is known, and has been tried."""
        return self.attempt.status not in ("equivalent", "error")

    @property
    def replay(self) -> str:
        """The command that tries it again."""
        return f"driftproof mutate --replay '{self.site.key}'"

    def to_json(self) -> dict[str, Any]:
        return {"key": self.site.key, **asdict(self.site), **asdict(self.attempt), "replay": self.replay}


@final
@dataclass(frozen=True)
class Rate:
    """The share that was noticed, with the Wilson interval of 95 %."""

    noticed: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        from scipy.stats import binomtest

        if not self.of:
            return 0.0, 1.0
        found = binomtest(self.noticed, self.of).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.noticed}/{self.of} = {self.noticed / max(1, self.of):.0%} [{low:.0%}, {high:.0%}]"


@final
@dataclass(frozen=True)
class Campaign:
    """All errors that were tried.

    Attributes:
        seed, count: The draw; None for a replay.
        possible: How many errors can be planted in the modules.
        places: How many places they have: what is drawn from.
        tests: Whether tests ran behind the claims.
        unusable: Evidence that cannot tell, since it does not hold on the right code either.
        errors: Work that came to no end.
        at_least: The share below which the exit status is 1.
    """

    seed: int | None
    count: int
    possible: int
    places: int
    tried: tuple[Tried, ...]
    effort: str = "quick"
    tests: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    at_least: float = 1.0
    interrupted: bool = False
    seconds: float = 0.0
    recording: float = field(default=0.0)

    @property
    def whole(self) -> Rate:
        """The rate over all modules."""
        return _rate(self.tried)

    def by(self, what: str) -> dict[str, Rate]:
        """The rates by ``folder``, ``module`` or ``operator``."""
        parts: Mapping[str, list[Tried]] = defaultdict(list)
        for one in self.tried:
            parts[_PARTS[what](one.site)].append(one)
        return {name: _rate(parts[name]) for name in sorted(parts)}

    @property
    def status(self) -> int:
        """The exit status: 0; 1 if too little was noticed; 3 after an error of the harness; 130 if interrupted."""
        if self.interrupted:
            return 130
        if self.errors or any(one.attempt.status == "error" for one in self.tried):
            return 3
        return 1 if self.whole.noticed < self.at_least * self.whole.of else 0

    def of_status(self, *statuses: str) -> list[Tried]:
        """The planted errors with one of these fates."""
        return [one for one in self.tried if one.attempt.status in statuses]

    def to_json(self) -> dict[str, Any]:
        """The document that ``driftproof mutate --json`` writes."""
        rates = {
            what: {name: [r.noticed, r.of, *r.interval] for name, r in self.by(what).items()}
            for what in _PARTS
        }
        content = {
            "version": __version__,
            **{k: v for k, v in asdict(self).items() if k != "tried"},
            "rates": {"all": {"all": [self.whole.noticed, self.whole.of, *self.whole.interval]}, **rates},
            "mutants": [one.to_json() for one in self.tried],
            "status": self.status,
            "versions": versions(),
        }
        return stamped("mutate", content)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for one in self.of_status("survived", "not covered"):
            yield f"{one.attempt.status}: {one.site}\n  {one.replay}"
        for one in self.of_status("equivalent"):
            yield f"equivalent: {one.site} ({one.attempt.detail})"
        for one in self.of_status("timeout"):
            yield f"timeout, counted as noticed: {one.site} by {one.attempt.by}"
        for one in self.of_status("error"):
            yield f"error of the harness: {one.site}: {one.attempt.detail}\n  {one.replay}"
        yield from (f"error: {error}" for error in self.errors)
        yield from (f"unusable: {item}" for item in self.unusable)
        for what in ("module", "folder"):
            yield from (f"{name:<44} {rate}" for name, rate in self.by(what).items())
        spent = [one.attempt.seconds for one in self.tried]
        each = f"; {sum(spent) / len(spent):.1f} s of processor time each" if spent else ""
        fates = ", ".join(
            f"{len(found)} {status}"
            for status in ("killed", "timeout", "survived", "not covered", "equivalent", "error")
            if (found := self.of_status(status))
        )
        yield f"noticed {self.whole} (Wilson, 95 %); {fates or 'nothing tried'}"
        if equivalent := len(self.of_status("equivalent")):
            every = Rate(self.whole.noticed, self.whole.of + equivalent)
            yield f"noticed {every} if what is called equivalent were not"
        yield (
            f"{len(self.tried)} of {self.count} errors, drawn from {self.places} places with {self.possible} errors"
            f"{each}; {self.seconds:.1f} s, {self.recording:.1f} s of them to record coverage"
        )
        if self.interrupted:
            yield "interrupted: continue with --resume"


def _rate(tried: Any) -> Rate:
    counted = [one for one in tried if one.counts]
    return Rate(sum(one.noticed for one in counted), len(counted))
