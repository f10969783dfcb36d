"""The engine: every piece of evidence must hold on the thing, and some must break on each mutant.

A crash is never a verdict: on the thing it makes the claim an error, on a mutant it kills nothing
(unless the evidence declares the exception by ``breaks_on``).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import io
import math
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, final

import mpmath
import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from .evidence.base import Effort, Evidence, Setting, Thing, Verdict
from .evidence.chance import share
from .outcomes import ClaimOutcome, EvidenceOutcome, FigureOutcome, MutantOutcome
from .registry import Claim, Picture

__all__ = ["Plan", "examine", "prosecute", "settle"]

DIGITS = 50  # mpmath's working precision in evidence

# mpmath's precision, the warning filters and Hypothesis are global to a process, and a worker of a
# cluster may run several tasks in threads: one claim at a time.
_ONE_AT_A_TIME = threading.RLock()


@final
@dataclass(frozen=True)
class Plan:
    """What all claims of a run share.

    Arguments:
        seed: Everything random derives from it.
        effort: How much may be spent.
        weight: Total weight of the statistical evidence of the registry, selected or not.
        figures: Whether figures are drawn.
    """

    seed: int = 0
    effort: Effort = Effort.NORMAL
    weight: float = 1.0
    figures: bool = False

    def rng(self, *names: str) -> np.random.Generator:
        """A generator of its own for each tuple of names, the same in every process and order."""
        digest = sha256("::".join(names).encode()).digest()
        words = np.frombuffer(digest, dtype=np.uint32)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, *map(int, words)])))

    def alpha(self, evidence: Evidence) -> float | None:
        """The share of the error budget of this evidence."""
        return share(evidence.weight, self.weight) if evidence.weight else None


def settle(claim: Claim, plan: Plan) -> ClaimOutcome:
    """Try all evidence on the thing, then evidence on each mutant until some breaks."""
    start = time.perf_counter()
    with _ONE_AT_A_TIME:
        evidence = tuple(examine(claim, item, claim.thing, plan) for item in claim.evidence)
        sound = [
            item for item, found in zip(claim.evidence, evidence, strict=True) if found.state != "crashed"
        ]
        mutants = tuple(prosecute(claim, name, mutant, plan, sound) for name, mutant in claim.mutants.items())
        figures = tuple(_draw(claim, picture, plan) for picture in claim.figures) if plan.figures else ()
    return ClaimOutcome(
        id=claim.id,
        paper=claim.paper,
        title=claim.title,
        statement=claim.statement,
        hypotheses=tuple(claim.hypotheses),
        vouches=claim.vouches,
        status=_status(evidence, mutants),
        expect=claim.expect,
        evidence=evidence,
        mutants=mutants,
        figures=figures,
        notes=claim.notes,
        seconds=time.perf_counter() - start,
    )


def _status(evidence: tuple[EvidenceOutcome, ...], mutants: tuple[MutantOutcome, ...]) -> str:
    states = {item.state for item in evidence}
    killed = {mutant.killed for mutant in mutants}
    if "crashed" in states:
        return "error"
    if "breaks" in states:
        return "refuted"
    if "undecided" in states or "holds" not in states or False in killed:
        return "open"  # evidence that a planted error survives settles nothing
    if "skipped" in states or None in killed:
        return "conditional"
    return "verified"


def prosecute(
    claim: Claim, name: str, mutant: Thing, plan: Plan, evidence: list[Evidence] | None = None
) -> MutantOutcome:
    """Try evidence on a mutant, the cheapest rung first, until some breaks.

    Arguments:
        evidence: What is tried, where some of the claim's evidence crashes on the thing already.
    """
    start = time.perf_counter()
    sound = claim.evidence if evidence is None else evidence
    untried, crashes = len(claim.evidence) - len(sound), []
    for item in sorted(sound, key=lambda e: e.kind.rung):
        found = examine(claim, item, mutant, plan, hunting=True)
        if found.ok is False:
            detail = found.counterexample or found.detail
            return MutantOutcome(name, True, item.name, detail, time.perf_counter() - start)
        untried += found.state in ("skipped", "left out")
        if found.state == "crashed":
            crashes.append(f"{item.name} crashed: {found.detail.splitlines()[0]}")
    detail = "; ".join(crashes) or ("some evidence was not tried" if untried else "all evidence holds on it")
    return MutantOutcome(name, None if untried else False, None, detail, time.perf_counter() - start)


def examine(
    claim: Claim, evidence: Evidence, thing: Thing, plan: Plan, *, hunting: bool = False
) -> EvidenceOutcome:
    """Try one piece of evidence on one thing.

    Arguments:
        hunting: On a mutant: examples that crash are passed over, counterexamples are not shrunk.
    """
    start = time.perf_counter()
    blank = EvidenceOutcome(evidence.name, evidence.kind.name, None, "left out", alpha=plan.alpha(evidence))
    if not plan.effort.covers(evidence.effort):
        return replace(blank, detail=f"needs effort {evidence.effort.value}")
    if evidence.requires and importlib.util.find_spec(evidence.requires) is None:
        return replace(blank, state="skipped", detail=f"{evidence.requires} is not installed")
    trial = _Trial(claim, evidence, thing, plan, hunting)
    with _surroundings(evidence) as caught:
        try:
            verdict = trial.verdict()
        except evidence.breaks_on as error:
            verdict = Verdict(False, math.inf, math.inf, detail=f"raised {type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001  # a crash of any kind is reported, and is never a verdict
            outcome = replace(blank, state="crashed", detail=_told(error))
            return replace(outcome, counterexample=trial.shown, seconds=time.perf_counter() - start)
    return replace(
        blank,
        ok=verdict.ok,
        state={True: "holds", False: "breaks", None: "undecided"}[verdict.ok],
        error=verdict.error,
        tolerance=verdict.tolerance,
        detectable=verdict.detectable,
        p_value=verdict.p_value,
        n=verdict.n,
        examples=trial.count if evidence.drawn else None,
        counterexample=trial.shown if verdict.ok is False else None,
        detail=verdict.detail,
        warnings=tuple(dict.fromkeys(f"{w.category.__name__}: {w.message}" for w in caught)),
        seconds=time.perf_counter() - start,
    )


@contextmanager
def _surroundings(evidence: Evidence) -> Iterator[list[warnings.WarningMessage]]:
    """Fifty digits for mpmath, one thread for BLAS (sums then repeat exactly), warnings kept."""
    if evidence.requires:
        importlib.import_module(evidence.requires)
    with (
        warnings.catch_warnings(record=True) as caught,
        mpmath.workdps(DIGITS),
        threadpool_limits(1),
        np.printoptions(precision=17, threshold=20),
    ):
        warnings.simplefilter("default")
        yield caught


class _Broken(Exception):
    """The evidence broke on this example: carries the verdict through Hypothesis."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict


class _Trial:
    """One piece of evidence on one thing: calls it, once or on each example that Hypothesis draws."""

    def __init__(self, claim: Claim, evidence: Evidence, thing: Thing, plan: Plan, hunting: bool) -> None:
        self.claim, self.evidence, self.thing, self.plan, self.hunting = claim, evidence, thing, plan, hunting
        self.count = 0
        self.shown: str | None = None
        self._held: list[Verdict] = []

    def verdict(self) -> Verdict:
        kind = self.evidence.kind
        if not self.evidence.drawn:
            return kind.conclude([self._once({})])
        try:
            self._on_examples()
        except _Broken as broken:
            return broken.verdict
        if not self._held:
            raise RuntimeError("crashed on every example")
        self.shown = None
        return kind.conclude(self._held)

    def _once(self, example: dict[str, Any]) -> Verdict:
        names = (self.claim.id, self.evidence.name)
        rng, alpha = self.plan.rng(*names), self.plan.alpha(self.evidence) or 0.0
        given = {"rng": rng, "alpha": alpha, "n": self.plan.effort.samples(self.evidence.n or 1)}
        wanted = {name: given[name] for name in self.evidence.wants}
        returned = self.evidence.function(self.thing, **wanted, **example)
        return self.evidence.kind.judge(returned, Setting(alpha, self.plan.rng(*names, "judge")))

    def _on_examples(self) -> None:
        from .examples import search

        def body(example: dict[str, Any]) -> None:
            self.count += 1
            self.shown = ", ".join(f"{name} = {_brief(value)}" for name, value in example.items())
            try:
                verdict = self._once(example)
            except self.evidence.breaks_on as error:
                why = f"raised {type(error).__name__}: {error}"
                raise _Broken(Verdict(False, math.inf, math.inf, detail=why)) from error
            except Exception:
                if self.hunting:
                    return  # a mutant that crashes here may still be wrong elsewhere
                raise
            if verdict.ok is False:
                raise _Broken(verdict)
            self._held.append(verdict)

        search(
            body,
            strategies=self.evidence.drawn,
            predicates=[] if self.evidence.kind.name == "boundary" else _predicates(self.claim),
            examples=self.plan.effort.examples(self.evidence.examples),
            seed=int(self.plan.rng(self.claim.id, self.evidence.name, "examples").integers(2**63)),
            shrink=not self.hunting,
        )


def _predicates(claim: Claim) -> list[Any]:
    return [predicate for predicate in claim.hypotheses.values() if predicate is not None]


def _draw(claim: Claim, picture: Picture, plan: Plan) -> FigureOutcome:
    # Imported here: drawing costs half a second, and most runs draw nothing.
    from .drawing import svg

    try:
        rng = plan.rng(claim.id, picture.name)
        given = {"rng": rng}
        wanted = {k: v for k, v in given.items() if k in inspect.signature(picture.function).parameters}
        return FigureOutcome(picture.name, picture.caption, svg(picture.function, claim.thing, **wanted))
    except Exception as error:  # noqa: BLE001  # a figure is no evidence: its failure is shown and settles nothing
        return FigureOutcome(picture.name, picture.caption, None, _told(error))


def _brief(value: object, limit: int = 400) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def _told(error: BaseException) -> str:
    """The exception in one line, then where it came from, without directories."""
    told = io.StringIO()
    print(f"{type(error).__name__}: {error}".strip(), file=told)
    for frame in traceback.extract_tb(error.__traceback__)[-3:]:
        name = frame.filename.replace("\\", "/").rsplit("/", 1)[-1]
        print(f"{name}:{frame.lineno} in {frame.name}: {frame.line}", file=told)
    return told.getvalue().strip()
