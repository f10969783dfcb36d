"""The engine: every piece of evidence must hold on what is under test, and some must break on each mutant.

A mutant of a function meets the evidence that takes this function, and no other.  A crash of any kind, an
exit included, is never a verdict: on what is under test it makes the claim an error, and a mutant on which
evidence crashes, and that none catches, is unsettled (unless the evidence declares the exception by
``breaks_on``).  Only ctrl-C passes through.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from .evidence.base import Evidence, Thing
from .missing import absent, installed, lacking
from .outcomes import ClaimOutcome, EvidenceOutcome, FigureOutcome, MutantOutcome
from .statements import Claim, Picture
from .surroundings import restored, surroundings
from .telling import brief, traced
from .trial import Plan, Trial

__all__ = ["Piece", "Plan", "concluded", "evaluate_claim", "run_evidence", "try_mutant"]

Piece: TypeAlias = EvidenceOutcome | MutantOutcome | FigureOutcome

# mpmath's precision, the warning filters and Hypothesis are global to a process, and threads may settle
# claims in the same one: one claim at a time.
_ONE_AT_A_TIME = threading.RLock()


def _unlock() -> None:
    """In a fork: the thread that held the lock was left behind."""
    global _ONE_AT_A_TIME
    _ONE_AT_A_TIME = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)


def evaluate_claim(
    claim: Claim, plan: Plan, tell: Callable[[Piece], object] = lambda piece: None
) -> ClaimOutcome:
    """Try all evidence on what is under test, then evidence on each mutant until some breaks.

    Arguments:
        tell: Called with each piece once it is known, so that these outlive what ends the rest.
    """
    start, found = time.perf_counter(), list[Piece]()
    with _ONE_AT_A_TIME:
        for piece in _pieces(claim, plan):
            tell(piece)
            found.append(piece)
    return concluded(claim, found, seconds=time.perf_counter() - start)


def _pieces(claim: Claim, plan: Plan) -> Iterator[Piece]:
    sound = []
    for item in claim.evidence:
        found = run_evidence(claim, item, claim.things, plan)
        sound += [item] if found.state != "crashed" else []
        yield found
    for name in claim.mutants:
        yield try_mutant(claim, name, plan, sound)
    for picture in claim.figures if plan.figures else ():
        yield _draw(claim, picture, plan)


def concluded(claim: Claim, found: Sequence[Piece], why: str = "", seconds: float = 0.0) -> ClaimOutcome:
    """The outcome of a claim from what was found, in order; ``why`` is the detail of the piece that is missing next."""
    evidence = tuple(piece for piece in found if isinstance(piece, EvidenceOutcome))
    mutants = tuple(piece for piece in found if isinstance(piece, MutantOutcome))
    reasons = itertools.chain([why], itertools.repeat("not reached"))
    evidence += tuple(
        EvidenceOutcome(item.name, item.kind.name, None, "crashed", detail=next(reasons))
        for item in claim.evidence[len(evidence) :]
    )
    mutants += tuple(
        MutantOutcome(name, None, detail=next(reasons), unsettled=True)
        for name in list(claim.mutants)[len(mutants) :]
    )
    figures = tuple(piece for piece in found if isinstance(piece, FigureOutcome))
    if why:
        lost = claim.figures[len(figures) :]
        figures += tuple(FigureOutcome(item.name, item.caption, None, next(reasons)) for item in lost)
    return ClaimOutcome(
        id=claim.id,
        paper=claim.paper,
        title=claim.title,
        statement=claim.statement,
        hypotheses=tuple(claim.hypotheses),
        covers=claim.covers,
        status=_status(evidence, mutants),
        expect=claim.expect,
        evidence=evidence,
        mutants=mutants,
        figures=figures,
        notes=claim.notes,
        seconds=seconds,
    )


def _status(evidence: tuple[EvidenceOutcome, ...], mutants: tuple[MutantOutcome, ...]) -> str:
    states = {item.state for item in evidence}
    caught = {mutant.caught for mutant in mutants}
    if "crashed" in states or any(mutant.unsettled for mutant in mutants):
        return "error"
    if "breaks" in states:
        return "refuted"
    if "undecided" in states or False in caught:
        return "open"  # evidence that a planted error survives settles nothing
    if "skipped" in states:
        return "conditional"
    if "holds" not in states:
        return "open"
    if None in caught:
        return "conditional"
    return "verified"


def try_mutant(
    claim: Claim, name: str, plan: Plan, evidence: Sequence[Evidence] | None = None
) -> MutantOutcome:
    """Try evidence on a mutant until some breaks: what no seed moves first, then the cheapest rung.

    Arguments:
        evidence: The evidence to try, where some of the claim's evidence crashes on what is under test already.
    """
    start = time.perf_counter()
    concerned = claim.concerned(name)
    sound = [item for item in concerned if evidence is None or item in evidence]
    untried, crashes, reasons = len(concerned) - len(sound), [], []
    for item in sorted(sound, key=lambda e: (e.seeded_on_mutants, e.kind.rung)):
        found = run_evidence(claim, item, claim.mutated(name), plan, hunting=True)
        if found.ok is False:
            detail = found.counterexample or found.detail
            return MutantOutcome(name, True, item.name, detail, seconds=time.perf_counter() - start)
        if found.state in ("skipped", "left out"):
            untried += 1
            reasons.append(found.detail)
        if found.state == "crashed":
            crashes.append(f"{item.name} crashed: {found.detail.splitlines()[0]}")
    details = [*crashes, *dict.fromkeys(reasons)]
    detail = "; ".join(details) or ("some evidence was not tried" if untried else "all evidence holds on it")
    return MutantOutcome(
        name,
        None if untried or crashes else False,
        detail=detail,
        unsettled=bool(crashes),
        seconds=time.perf_counter() - start,
    )


def run_evidence(
    claim: Claim,
    evidence: Evidence,
    things: Mapping[str, Thing],
    plan: Plan,
    *,
    hunting: bool = False,
    swept: bool = False,
) -> EvidenceOutcome:
    """Try one piece of evidence.

    Arguments:
        things: The objects under test, by name: ``claim.things``, or ``claim.mutated(name)``.
        hunting: On a mutant: examples that crash are passed over, counterexamples are not shrunk.
        swept: The domain of what is drawn was swept before; only what the seed draws is tried.
    """
    start = time.perf_counter()
    blank = EvidenceOutcome(evidence.name, evidence.kind.name, None, "left out", alpha=plan.alpha(evidence))
    if not plan.effort.covers(evidence.effort):
        return replace(blank, detail=f"needs effort {evidence.effort.value}")
    if evidence.requires and not installed(evidence.requires):
        return replace(blank, state="skipped", detail=lacking(evidence.requires))
    trial = Trial(claim, evidence, things, plan, hunting, swept)
    try:
        if evidence.requires:
            importlib.import_module(evidence.requires)
        with surroundings() as caught:
            verdict = trial.verdict()
            outcome = replace(
                blank,
                ok=verdict.ok,
                state={True: "holds", False: "breaks", None: "undecided"}[verdict.ok],
                error=_number(verdict.error),
                tolerance=_number(verdict.tolerance),
                detectable=_number(verdict.detectable),
                p_value=_number(verdict.p_value),
                n=None if verdict.n is None else int(verdict.n),
                examples=trial.count if evidence.drawn else None,
                counterexample=trial.shown if verdict.ok is False else None,
                detail=brief(verdict.detail),
                warnings=_messages(caught),
            )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # a crash of any kind is reported, and is never a verdict
        if reason := absent(error):
            outcome = replace(blank, state="skipped", detail=reason)
        else:
            outcome = replace(blank, state="crashed", detail=traced(error), counterexample=trial.shown)
    return replace(outcome, seconds=time.perf_counter() - start)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _messages(caught: Sequence[warnings.WarningMessage]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{w.category.__name__}: {brief(str(w.message))}" for w in caught))[:20]


def _draw(claim: Claim, picture: Picture, plan: Plan) -> FigureOutcome:
    # Imported here: drawing costs half a second, and most runs draw nothing.
    from .drawing import svg

    try:
        with restored():
            given = {**claim.things, "rng": plan.rng(claim.id, picture.name)}
            wanted = {k: v for k, v in given.items() if k in inspect.signature(picture.function).parameters}
            return FigureOutcome(picture.name, picture.caption, svg(picture.function, **wanted))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # a figure is no evidence: its failure is shown and settles nothing
        return FigureOutcome(picture.name, picture.caption, None, traced(error))
