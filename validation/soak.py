r"""Soak the claims in seeds: whatever depends on the seed is settled again under each of many fresh ones.

A *flip* is a verdict that is not the expected one: evidence that does not hold on the thing, or a planted
error that goes by.  Everything is settled once, under the first seed; under the others only

* the evidence that depends on the seed, on the thing, and
* the mutants that no other evidence catches.

What chance may do was declared beforehand: with false alarms :math:`\alpha_i` and misses :math:`\beta_j`, no
more than :math:`\sum_i \alpha_i + \sum_j \beta_j` flips are expected under one seed.  Every finished seed is
kept in a file of its own, so that a soak which was killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from .engine import Plan, run_evidence
from .evidence.base import Effort, Evidence
from .outcomes import ClaimOutcome
from .progress import Progress
from .registry import REGISTRY, Registry
from .runner import run
from .soaked import Flip, Kept, Soak, Soaked
from .statements import Claim, reference, referred
from .supervision import parcel
from .workers import carried

__all__ = ["Subject", "soak", "subject"]


@final
@dataclass(frozen=True)
class Subject:
    """The part of a claim that depends on the seed.

    Attributes:
        claim: The claim, or where an import finds it.
        evidence: Names of its evidence that is tried on the thing.
        mutants: Names of the mutants that only such evidence may catch.
        expected: The expected state of the evidence.
        chance: The probability of a flip under one seed, as declared.
    """

    claim: Claim | tuple[str, str]
    evidence: tuple[str, ...]
    mutants: tuple[str, ...]
    expected: Mapping[str, str]
    chance: float


def soak(
    names: str | Sequence[str] = (),
    *,
    seeds: int,
    start: int = 0,
    effort: str = "quick",
    jobs: int = 1,
    cluster: str | None = None,
    timeout: float | None = None,
    resume: bool = False,
    registry: Registry = REGISTRY,
    progress: Progress | None = None,
    announce: Callable[[Soaked, int], None] | None = None,
) -> Soak:
    """Settle the claims of these papers and ids under many seeds; see :func:`driftproof.validation.run`.

    Arguments:
        seeds: How many seeds, >= 1: ``start``, ``start + 1``, ...
        timeout: Seconds for a claim under the first seed, and for all of a further seed.
        resume: Take the seeds that an interrupted soak of the same claims and source has finished.
        progress: Called with the claims that are settled under the first seed.
        announce: Called for each further seed, with the :class:`Soaked` and the count so far.

    Raises:
        LookupError: No paper and no claim has one of the names.
        ValueError: Fewer than one seed, a negative one, an unknown effort or cluster.
    """
    if seeds < 1 or start < 0:
        raise ValueError(f"soak: expected seeds >= 1 from a start >= 0, got {seeds} from {start}")
    if jobs == 0:
        raise ValueError("soak: expected jobs >= 1, or -1 for every core, got 0")
    began = time.perf_counter()
    registry.load() if registry is REGISTRY else None
    claims = registry.select([names] if isinstance(names, str) else names)
    plan = Plan(start, Effort(effort), registry.weight or 1.0)
    kept = Kept.of(plan, claims)
    done: dict[int, Soaked] = {}
    settled = kept.first() if resume else None
    errors: list[str] = []
    interrupted = False
    if settled is None:
        first = run(
            [made.id for made in claims],
            effort=effort,
            seed=start,
            jobs=jobs,
            cluster=cluster,
            timeout=timeout,
            resume=resume,
            registry=registry,
            progress=progress,
        )
        settled, interrupted = first.claims, first.interrupted
        errors += [f"{claim.id}: {claim.title}" for claim in settled if claim.id not in registry.claims]
        if not interrupted and not errors:
            kept.keep_first(settled)
    outcomes = {claim.id: claim for claim in settled}
    known = [(made, outcomes[made.id]) for made in claims if made.id in outcomes]
    errors += [f"{made.id}: {found.evidence[0].detail}" for made, found in known if _is_lost(made, found)]
    flips = tuple(flip for made, found in known for flip in _first_flips(made, found, plan))
    done[start] = Soaked(start, flips, sum(found.seconds for _, found in known))
    subjects = [subject(made, found, plan) for made, found in known if not _is_lost(made, found)]
    subjects = [one for one in subjects if one.evidence or one.mutants]
    todo = []
    for seed in range(start + 1, start + seeds):
        if resume and (found := kept.seed(seed)):
            done[seed] = found
        else:
            todo.append(seed)
    if not interrupted:
        try:
            with contextlib.closing(_by_workers(subjects, plan, todo, jobs, cluster, timeout)) as results:
                for result in results:
                    if isinstance(result, str):
                        errors.append(result)
                        continue
                    done[result.seed] = result
                    kept.keep_seed(result)
                    if announce:
                        announce(result, len(done))
        except KeyboardInterrupt:
            interrupted = True
    return Soak(
        effort=plan.effort.value,
        wanted=seeds,
        seeds=tuple(done[seed] for seed in sorted(done)),
        evidence=sum(len(one.evidence) for one in subjects),
        mutants=sum(len(one.mutants) for one in subjects),
        expected=len(done) * sum(one.chance for one in subjects),
        undeclared=tuple(
            f"{made.id} {item.name} ({', '.join(item.undeclared)})"
            for made in claims
            for item in made.evidence
            if item.undeclared
        ),
        errors=tuple(errors),
        interrupted=interrupted,
        seconds=time.perf_counter() - began,
    )


def subject(claim: Claim, found: ClaimOutcome, plan: Plan) -> Subject:
    """The part of a claim, settled once, that depends on the seed."""
    states = {item.name: item.state for item in found.evidence}
    tried = [
        item for item in claim.evidence if item.seeded and states[item.name] not in ("skipped", "left out")
    ]
    movable = {item.name for item in tried if item.seeded_on_mutants}
    mutants = tuple(
        mutant.name
        for mutant in found.mutants
        if movable and (not mutant.caught or mutant.caught_by in movable)
    )
    alarms = sum(plan.alpha(item) or item.false_alarm or 0.0 for item in tried)
    misses = max((item.miss or 0.0 for item in tried), default=0.0) * len(mutants)
    return Subject(
        reference(claim) or claim,
        tuple(item.name for item in tried),
        mutants,
        {item.name: _expected(claim, states[item.name]) for item in tried},
        alarms + misses,
    )


def _expected(claim: Claim, state: str) -> str:
    # Where a claim is expected to fail, the first seed shows which evidence breaks.
    return "holds" if claim.expect == "verified" else state


def _is_lost(claim: Claim, found: ClaimOutcome) -> bool:
    """Whether the claim could not even be tried: then its outcome says nothing of its evidence."""
    return {item.name for item in found.evidence} != {item.name for item in claim.evidence}


def _first_flips(claim: Claim, found: ClaimOutcome, plan: Plan) -> Iterator[Flip]:
    """The flips of the first seed, where every piece and every mutant was tried."""
    if claim.expect == "verified":
        for item in found.evidence:
            if item.state in ("breaks", "crashed", "undecided"):
                yield _flip(claim, plan, item.name, item.state, item.counterexample or item.detail)
    for mutant in found.mutants:
        # A mutant that evidence could not be tried on is no flip where that evidence is missing here anyway.
        if mutant.caught is False or mutant.unsettled:
            yield _flip(claim, plan, f"mutant {mutant.name!r}", mutant.fate, mutant.detail)


def _try(subjects: Sequence[Subject], plan: Plan) -> Soaked:
    """All subjects under one seed."""
    begun = time.process_time()
    flips = tuple(flip for one in subjects for flip in _flips(one, plan))
    return Soaked(plan.seed, flips, time.process_time() - begun)


def _flips(one: Subject, plan: Plan) -> Iterator[Flip]:
    claim = one.claim if isinstance(one.claim, Claim) else referred(*one.claim)
    evidence = {item.name: item for item in claim.evidence}
    for name in one.evidence:
        found = run_evidence(claim, evidence[name], claim.things, plan, swept=True)
        if found.state != one.expected[name]:
            yield _flip(claim, plan, name, found.state, found.counterexample or found.detail)
    movable = [evidence[name] for name in one.evidence if evidence[name].seeded_on_mutants]
    for name in one.mutants:
        state, detail = _fate(claim, name, plan, movable)
        if state != "caught":
            yield _flip(claim, plan, f"mutant {name!r}", state, detail)


def _fate(claim: Claim, name: str, plan: Plan, evidence: Sequence[Evidence]) -> tuple[str, str]:
    """The fate of a mutant that all other evidence misses."""
    crashes = []
    concerned = [item for item in evidence if item in claim.concerned(name)]
    for item in sorted(concerned, key=lambda e: e.kind.rung):
        found = run_evidence(claim, item, claim.mutated(name), plan, hunting=True)
        if found.ok is False:
            return "caught", ""
        if found.state == "crashed":
            crashes.append(f"{item.name} crashed: {found.detail.splitlines()[0]}")
    return ("unsettled", "; ".join(crashes)) if crashes else ("survives", "all evidence holds on it")


def _flip(claim: Claim, plan: Plan, what: str, state: str, detail: str) -> Flip:
    effort = "" if plan.effort is Effort.NORMAL else f" --{plan.effort.value}"
    replay = f"driftproof verify {claim.id}{effort} --seed {plan.seed}"
    return Flip(plan.seed, claim.id, what, state, detail[:1000], replay)


def _by_workers(
    subjects: Sequence[Subject],
    plan: Plan,
    seeds: Sequence[int],
    jobs: int,
    cluster: str | None,
    timeout: float | None,
) -> Generator[Soaked | str]:
    """The seeds as they are finished; a line for one that is not."""
    plans = [replace(plan, seed=seed) for seed in seeds]
    if cluster is None and timeout is None and jobs == 1:
        yield from (_try(subjects, one) for one in plans)
        return
    sent = {one.seed: parcel(_try, subjects, one) for one in plans}
    for seed, account in carried(sent, jobs, cluster, timeout):
        yield account.result if account.end == "returned" else f"seed {seed}: {account.why}"
