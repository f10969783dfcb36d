"""Run claims: in this process, in worker processes, or on a cluster; nothing settled is lost.

One task is one claim.  Every settled claim is journalled at once, so that a run that was killed can be
resumed, and an interrupted one still reports what it had.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import time
from collections.abc import Sequence
from contextlib import closing

from .. import __version__
from .._namespace import public_functions
from .engine import Plan
from .evidence.base import Effort
from .evidence.chance import FALSE_ALARMS
from .journal import Journal
from .outcomes import ClaimOutcome, Run
from .progress import Progress, Silent
from .registry import REGISTRY, Claim, LoadFailure, Registry, walk
from .workers import settled_by_workers

__all__ = ["run", "unvouched", "versions"]


def run(
    names: str | Sequence[str] = (),
    *,
    effort: str = "normal",
    seed: int = 0,
    jobs: int = 1,
    figures: bool = False,
    cluster: str | None = None,
    resume: bool = False,
    registry: Registry = REGISTRY,
    progress: Progress | None = None,
) -> Run:
    """Settle the claims of these papers and ids; all registered claims for no names.

    Arguments:
        names: Papers and ids of claims, or one; a trailing ``*`` matches any rest of an id.
        effort: ``"quick"``, ``"normal"`` or ``"full"``.
        seed: Everything random derives from it: the same seed gives the same outcomes, for any ``jobs``.
        jobs: Worker processes; 1 stays in this process, -1 takes every core.
        figures: Draw the claims' figures.
        cluster: ``"dask://HOST:PORT"`` or ``"ray"``: settle on that cluster instead.
        resume: Take what an interrupted run of the same seed, effort and source has settled.
        progress: Is told of each settled claim.

    Returns:
        The run; ``run.interrupted`` tells that ctrl-C ended it early.

    Raises:
        LookupError: No paper and no claim has one of the names.
        ValueError: An unknown effort or cluster, a negative seed, or no jobs.
    """
    names = [names] if isinstance(names, str) else names
    if seed < 0:
        raise ValueError(f"run: expected a seed >= 0, got {seed}")
    if jobs == 0:
        raise ValueError("run: expected jobs >= 1, or -1 for every core, got 0")
    start = time.perf_counter()
    registry.load() if registry is REGISTRY else None
    claims = registry.select(names)
    plan = Plan(seed, Effort(effort), registry.weight or 1.0, figures)
    journal = Journal.of(plan)
    settled = {made.id: found for made in claims if (found := journal.find(made))} if resume else {}
    progress = progress or Silent()
    interrupted = False
    with progress:
        progress.begin(len(claims), len(settled))
        try:
            todo = sorted((made for made in claims if made.id not in settled), key=_costly_first)
            with closing(settled_by_workers(todo, plan, jobs, cluster)) as outcomes:
                for outcome in outcomes:
                    settled[outcome.id] = outcome
                    journal.keep(outcome, registry.claims[outcome.id])
                    progress.settled(outcome)
        except KeyboardInterrupt:
            interrupted = True
    if not interrupted:
        journal.clear()
    failed = [_not_loaded(failure) for failure in registry.selected_failures(names)]
    return Run(
        version=__version__,
        seed=seed,
        effort=plan.effort.value,
        claims=(*failed, *(settled[made.id] for made in claims if made.id in settled)),
        budget=FALSE_ALARMS,
        registered=len(registry.claims),
        unvouched=unvouched(registry),
        versions=versions(),
        interrupted=interrupted,
        seconds=time.perf_counter() - start,
    )


def _costly_first(made: Claim) -> int:
    # Claims with Monte Carlo last longest: started last, one of them would run alone at the end.
    return -sum(evidence.n or 0 for evidence in made.evidence)


def _not_loaded(failure: LoadFailure) -> ClaimOutcome:
    """A module that does not import hides claims: it is an error of the run, never silence."""
    id = failure.module.rsplit(".claims.", 1)[-1]
    return ClaimOutcome.crashed(id, failure.paper, "This module of claims does not import", failure.reason)


def unvouched(registry: Registry = REGISTRY) -> tuple[str, ...]:
    """The public functions of ``theory`` and ``numerics`` that no claim vouches for."""
    layers = ("driftproof.theory", "driftproof.numerics")
    broken = [module for layer in layers for module in walk(layer) if not _imports(module)]
    vouched = {name for made in registry.claims.values() for name in made.vouches}
    ours = {name for name in public_functions() if name.startswith(layers)}
    return (*sorted(ours - vouched), *(f"{module} (does not import)" for module in broken))


def _imports(module: str) -> bool:
    try:
        importlib.import_module(module)
    except Exception:  # noqa: BLE001  # whatever it is, a report must not fail on it
        return False
    return True


def versions() -> dict[str, str]:
    """The versions that a replay needs."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("numpy", "scipy", "sympy", "mpmath", "hypothesis", "array-api-compat", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
