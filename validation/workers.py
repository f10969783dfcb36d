"""Where claims are settled: this process, worker processes, or a cluster.

A worker may die (out of memory, a crash below Python), or fail to import what a claim needs: neither may
take the run along.  Claims then are settled one at a time, so that the one that did it is told, and is
an error.
"""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import joblib

from .engine import Plan, settle
from .outcomes import ClaimOutcome
from .registry import Claim, reference, referred

__all__ = ["deaf_workers", "hushed_feeder", "settled_by_workers"]


def settled_by_workers(
    claims: Sequence[Claim], plan: Plan, jobs: int, cluster: str | None = None
) -> Generator[ClaimOutcome]:
    """Outcomes as they come.

    Arguments:
        jobs: Worker processes; 1 stays in this process, -1 takes every core.
        cluster: ``"dask://HOST:PORT"`` or ``"ray"``.
    """
    if cluster is None and (jobs == 1 or len(claims) < 2):
        for claim in claims:
            yield settle(claim, plan)
        return
    left = {claim.id: claim for claim in claims}
    with _backend(cluster, jobs), hushed_feeder(), warnings.catch_warnings():
        # When ctrl-C ends a run, joblib warns that tasks were lost: that is what was asked for.
        warnings.filterwarnings("ignore", message=r"\d+ tasks which")
        try:
            for outcome in _together(claims, plan):
                del left[outcome.id]
                yield outcome
        except Exception:  # noqa: BLE001  # a worker is lost, whatever the backend calls that
            for claim in left.values():
                yield _alone(claim, plan)


def _together(claims: Sequence[Claim], plan: Plan) -> Iterator[ClaimOutcome]:
    options: dict[str, Any] = {"batch_size": 1, "pre_dispatch": "all"}
    try:
        parallel = joblib.Parallel(return_as="generator_unordered", **options)
    except ValueError:  # ray's backend gives lists only
        parallel = joblib.Parallel(**options)
    with deaf_workers():
        task = joblib.delayed(_settle)
        outcomes = parallel(
            [task(reference(claim) or claim, _lost(claim), plan, sys.path) for claim in claims]
        )
    yield from outcomes


def _alone(claim: Claim, plan: Plan) -> ClaimOutcome:
    try:
        return next(iter(_together([claim], plan)))
    except Exception as error:  # noqa: BLE001  # as above
        return _lost(claim, f"its worker died: {type(error).__name__}")


def _settle(
    told: tuple[str, str] | Claim, lost: ClaimOutcome, plan: Plan, path: Sequence[str]
) -> ClaimOutcome:
    """Settle a claim that is told by reference, so that an import that fails here is told in turn."""
    # A worker may have been started before the caller could import the claim.
    sys.path.extend(entry for entry in path if entry not in sys.path)
    try:
        claim = told if isinstance(told, Claim) else referred(*told)
    except Exception as error:  # noqa: BLE001  # whatever that import raises
        why = f"its module does not import in a worker: {type(error).__name__}: {error}"
        return replace(lost, evidence=(replace(lost.evidence[0], detail=why),))
    return settle(claim, plan)


def _lost(claim: Claim, why: str = "") -> ClaimOutcome:
    known = {"statement": claim.statement, "vouches": claim.vouches, "expect": claim.expect}
    return ClaimOutcome.crashed(claim.id, claim.paper, claim.title, why, **known)


@contextmanager
def hushed_feeder() -> Iterator[None]:
    """Ctrl-C empties the queue under loky's thread that feeds the workers: its KeyError is no news."""
    told = threading.excepthook

    def tell(args: threading.ExceptHookArgs) -> None:
        feeder = args.thread is not None and args.thread.name == "ExecutorManagerThread"
        if not (feeder and args.exc_type is KeyError):
            told(args)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = told


@contextmanager
def deaf_workers() -> Iterator[None]:
    """Processes started here ignore ctrl-C: the run ends them, they need not complain one by one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _backend(cluster: str | None, jobs: int) -> AbstractContextManager[Any]:
    if cluster is None:
        return joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1)
    if cluster.startswith("dask://"):
        return _dask(cluster.removeprefix("dask://"))
    if cluster == "ray":
        return _ray()
    raise ValueError(f"run: expected a cluster dask://HOST:PORT or ray, got {cluster!r}")


@contextmanager
def _dask(address: str) -> Iterator[None]:
    distributed = _optional("distributed", "cluster")
    with distributed.Client(f"tcp://{address}"), joblib.parallel_config("dask", n_jobs=-1):
        yield


@contextmanager
def _ray() -> Iterator[None]:
    ray = _optional("ray", "cluster")
    ray.init(address="auto", ignore_reinit_error=True)
    importlib.import_module("ray.util.joblib").register_ray()
    with joblib.parallel_config("ray", n_jobs=-1):
        yield


def _optional(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"run: {module} is not installed; pip install 'driftproof[{extra}]'") from error
