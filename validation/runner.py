"""Run claims: in this process, in processes of their own, or on a cluster; nothing settled is lost.

One task is one claim.  Every claim that was asked for comes out with a verdict or as an error that says why
there is none.  Every settled claim is journalled at once, so that a run that was killed can be resumed, and
an interrupted one still reports what it had.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from driftproof import __version__
from driftproof._identity import versions
from driftproof._namespace import public_functions

from .engine import Plan, concluded
from .evidence.base import Effort
from .evidence.chance import FALSE_ALARMS
from .journal import Journal, identity_of
from .outcomes import ClaimOutcome, Run
from .progress import Progress, Silent
from .registry import REGISTRY, LoadFailure, Registry, walk
from .statements import Claim
from .telling import said
from .workers import require_cluster, settled_by_workers

__all__ = ["run", "uncovered"]


def run(
    names: str | Sequence[str] = (),
    *,
    effort: str = "normal",
    seed: int = 0,
    jobs: int = 1,
    figures: bool = False,
    cluster: str | None = None,
    timeout: float | None = None,
    resume: bool = False,
    registry: Registry = REGISTRY,
    progress: Progress | None = None,
    deliver: Callable[[Run], object] = lambda done: None,
) -> Run:
    """Settle the claims of these papers and ids; all registered claims for no names.

    Arguments:
        names: Papers and ids of claims, or one; a trailing ``*`` matches any rest of an id.
        effort: ``"quick"``, ``"normal"`` or ``"full"``.
        seed: Everything random derives from it: the same seed gives the same outcomes, for any ``jobs``.
        jobs: Processes; -1 takes every core.
        figures: Draw the claims' figures.
        cluster: ``"dask://HOST:PORT"`` or ``"ray"``: settle on that cluster instead.
        timeout: Seconds for a claim: what has no verdict by then is an error of it.  Without a limit one
            job stays in this process, where a debugger works, and where a claim that exits below Python or
            blocks takes the run along; with a limit every claim is settled in a process that can be ended.
        resume: Take what an interrupted run of the same seed, effort and source has settled.
        progress: Called with each settled claim.
        deliver: Called with the run before its journal is deleted: what it writes is on disk first.

    Returns:
        The run; ``run.interrupted`` says whether ctrl-C ended it early, ``run.status`` how a command would exit.

    Raises:
        LookupError: No paper and no claim has one of the names.
        ValueError: An unknown effort or cluster, a negative seed, no jobs, or no time.
    """
    names = [names] if isinstance(names, str) else names
    if seed < 0:
        raise ValueError(f"run: expected a seed >= 0, got {seed}")
    if jobs == 0:
        raise ValueError("run: expected jobs >= 1, or -1 for every core, got 0")
    if timeout is not None and not 0.0 < timeout < math.inf:
        raise ValueError(f"run: expected a timeout > 0 seconds, or None, got {timeout}")
    require_cluster(cluster)
    start = time.perf_counter()
    registry.load() if registry is REGISTRY else None
    claims = registry.select(names)
    plan = Plan(seed, Effort(effort), registry.weight or 1.0, figures)
    journal = Journal.of(plan)
    settled = {made.id: found for made in claims if (found := journal.find(made))} if resume else {}
    progress = progress or Silent()
    interrupted, lost = False, "the run ended without it"
    with progress:
        progress.begin(len(claims), len(settled))
        try:
            todo = sorted((made for made in claims if made.id not in settled), key=_costly_first)
            with closing(settled_by_workers(todo, plan, jobs, cluster, timeout)) as outcomes:
                for outcome in outcomes:
                    settled[outcome.id] = outcome
                    journal.keep(outcome, registry.claims[outcome.id])
                    progress.settled(outcome)
        except KeyboardInterrupt:
            interrupted = True
        except Exception as error:  # noqa: BLE001  # a cluster is gone, a process does not start
            lost = said(error)
    failed = [_not_loaded(failure) for failure in registry.selected_failures(names)]
    if not interrupted:
        settled |= {made.id: concluded(made, (), lost) for made in claims if made.id not in settled}
    done = Run(
        version=__version__,
        seed=seed,
        effort=plan.effort.value,
        claims=(*failed, *(settled[made.id] for made in claims if made.id in settled)),
        budget=FALSE_ALARMS,
        registered=len(registry.claims),
        uncovered=uncovered(registry),
        versions=versions(),
        identity=identity_of(claims, plan),
        interrupted=interrupted,
        seconds=time.perf_counter() - start,
    )
    deliver(done)
    if done.status != 3:
        journal.clear()
    return done


def _costly_first(made: Claim) -> int:
    # Claims with Monte Carlo last longest: started last, one of them would run alone at the end.
    return -sum(evidence.n or 0 for evidence in made.evidence)


def _not_loaded(failure: LoadFailure) -> ClaimOutcome:
    """A module that does not import hides claims, so it is reported as one."""
    id = failure.module.rsplit(".claims.", 1)[-1]
    if failure.skipped:
        return ClaimOutcome.untried(id, failure.paper, "This module of claims was skipped", failure.reason)
    return ClaimOutcome.crashed(id, failure.paper, "This module of claims does not import", failure.reason)


def uncovered(registry: Registry = REGISTRY) -> tuple[str, ...]:
    """The public functions of ``theory`` and ``numerics`` that no claim covers."""
    layers = ("driftproof.theory", "driftproof.numerics")
    broken = [module for layer in layers for module in walk(layer) if not _imports(module)]
    covered = {name for made in registry.claims.values() for name in made.covers}
    ours = {name for name in public_functions() if name.startswith(layers)}
    return (*sorted(ours - covered), *(f"{module} (does not import)" for module in broken))


def _imports(module: str) -> bool:
    try:
        importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  # whatever it is, an exit included, a report must not fail on it
        return False
    return True
