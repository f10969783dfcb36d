"""The result of a run: frozen, picklable, and the JSON document of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, final

from .documents import stamped

__all__ = ["ClaimOutcome", "EvidenceOutcome", "FigureOutcome", "MutantOutcome", "Run"]


@final
@dataclass(frozen=True)
class EvidenceOutcome:
    """One piece of evidence, tried on one thing.

    Attributes:
        ok: It holds; None where it was not tried or not decided.
        state: ``holds``, ``breaks``, ``undecided``, ``crashed``, ``skipped`` (a missing dependency) or
            ``left out`` (beyond the effort of the run).
        error, tolerance: The measured and the allowed error, in the units of the kind.
        detectable: For statistical evidence, the smallest effect that it would have seen.
        alpha: Its share of the error budget; it breaks if ``p_value`` is below.
        n: How many numbers were compared or drawn.
        examples: How many examples Hypothesis drew.
        counterexample: The smallest one found.
    """

    name: str
    kind: str
    ok: bool | None
    state: str
    error: float | None = None
    tolerance: float | None = None
    detectable: float | None = None
    p_value: float | None = None
    alpha: float | None = None
    n: int | None = None
    examples: int | None = None
    counterexample: str | None = None
    detail: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)


@final
@dataclass(frozen=True)
class MutantOutcome:
    """A planted error: whether some evidence broke on it, and which.

    ``caught`` is None where none broke but some could not be tried in this run, or crashed: then the mutant
    is ``unsettled``.
    """

    name: str
    caught: bool | None
    caught_by: str | None = None
    detail: str = ""
    unsettled: bool = False
    seconds: float = field(default=0.0, compare=False)

    @property
    def fate(self) -> str:
        """``caught``; ``unsettled`` where evidence could not be tried or crashed on it; or ``survives``."""
        return "caught" if self.caught else "unsettled" if self.caught is None else "survives"


@final
@dataclass(frozen=True)
class FigureOutcome:
    """A figure as SVG text, or the reason why there is none."""

    name: str
    caption: str
    svg: str | None = None
    detail: str = ""


@final
@dataclass(frozen=True)
class ClaimOutcome:
    """A claim, settled."""

    id: str
    paper: str
    title: str
    statement: str
    hypotheses: tuple[str, ...]
    covers: tuple[str, ...]
    status: str
    expect: str
    evidence: tuple[EvidenceOutcome, ...]
    mutants: tuple[MutantOutcome, ...]
    figures: tuple[FigureOutcome, ...] = field(default=(), compare=False)
    notes: str = ""
    seconds: float = field(default=0.0, compare=False)

    @classmethod
    def crashed(cls, id: str, paper: str, title: str, detail: str, **known: Any) -> ClaimOutcome:
        """The outcome of a claim that could not even be tried: an error, with this reason."""
        return cls.untried(id, paper, title, detail, "crashed", **known)

    @classmethod
    def untried(
        cls, id: str, paper: str, title: str, detail: str, state: str = "skipped", **known: Any
    ) -> ClaimOutcome:
        """The outcome of a claim that was not tried, for this reason: conditional, or an error if it crashed."""
        lost = EvidenceOutcome("all", "exact", None, state, detail=detail)
        status = "error" if state == "crashed" else "conditional"
        blank: dict[str, Any] = {
            "statement": "",
            "hypotheses": (),
            "covers": (),
            "mutants": (),
            "expect": "verified",
        }
        return cls(id, paper, title, status=status, evidence=(lost,), **{**blank, **known})

    @property
    def ok(self) -> bool:
        """The status is the expected one, or part could not be tried, and no mutant survived."""
        skipped = any(item.state == "skipped" for item in self.evidence)
        partly = self.status == "conditional" and (skipped or self.expect == "verified")
        return (self.status == self.expect or partly) and not any(
            mutant.caught is False for mutant in self.mutants
        )

    @property
    def settled(self) -> bool:
        """There is a verdict, good or bad: nothing crashed, and what is undecided is expected to be."""
        survivors = any(mutant.caught is False for mutant in self.mutants)
        return self.status != "error" and (self.status != "open" or self.expect == "open" or survivors)

    def to_json(self, *, pictures: bool = False) -> dict[str, Any]:
        """Plain data for JSON; figures by name only, unless with their ``pictures``."""
        data = {**_plain(asdict(self)), "ok": self.ok}
        if not pictures:
            for drawn in data["figures"]:
                del drawn["svg"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ClaimOutcome:
        """The inverse of :meth:`to_json`, without what JSON leaves out."""
        parts = {"evidence": EvidenceOutcome, "mutants": MutantOutcome, "figures": FigureOutcome}
        made = _fields(cls, data)
        for name, part in parts.items():
            made[name] = tuple(part(**_fields(part, item)) for item in data[name])
        return cls(**made)


@final
@dataclass(frozen=True)
class Run:
    """All claims of one run, with what is needed to replay it.

    Attributes:
        identity: A digest of the claims, the code that they ran on, versions, seed and effort: a run of another
            identity may find otherwise.  None where some of the code has no file.
    """

    version: str
    seed: int
    effort: str
    claims: tuple[ClaimOutcome, ...]
    budget: float
    registered: int
    uncovered: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict, compare=False)
    interrupted: bool = False
    identity: str | None = field(default=None, compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def status(self) -> int:
        """The exit status: 0 all is as expected, 1 all is settled but not as expected, 3 something is unsettled."""
        if self.interrupted or not all(claim.settled for claim in self.claims):
            return 3
        return 0 if self.ok else 1

    @property
    def ok(self) -> bool:
        """Every claim is as expected and nothing is missing."""
        return not self.interrupted and all(claim.ok for claim in self.claims)

    @property
    def spent(self) -> float:
        """The false-alarm probability that this run spent: at most :attr:`budget`."""
        shares = (e.alpha or 0.0 for claim in self.claims for e in claim.evidence if e.ok is not None)
        return math.fsum(shares)

    def to_json(self) -> dict[str, Any]:
        """The document that ``driftproof verify --json`` writes."""
        content = {
            "version": self.version,
            "seed": self.seed,
            "effort": self.effort,
            "ok": self.ok,
            "interrupted": self.interrupted,
            "budget": {"false_alarms": self.budget, "spent": self.spent},
            "registered": self.registered,
            "uncovered": list(self.uncovered),
            "versions": dict(self.versions),
            "identity": self.identity,
            "seconds": round(self.seconds, 3),
            "claims": [claim.to_json() for claim in self.claims],
        }
        return stamped("verify", content)


def _plain(value: Any) -> Any:
    """JSON has no infinity and no NaN: they are written as the strings ``inf``, ``-inf`` and ``nan``."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: round(v, 4) if key == "seconds" else _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _fields(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    made = {f.name: data[f.name] for f in fields(cls) if f.name in data}
    for name, value in made.items():
        if name in _NUMBERS and isinstance(value, str):
            made[name] = float(value)
        elif isinstance(value, list):
            made[name] = tuple(value)
    return made


_NUMBERS = {"error", "tolerance", "detectable", "p_value", "alpha"}
