"""Where claims, or pieces of them, are settled: in children of this process, on a cluster, or in this process itself.

A child settles, and a supervisor waits for its verdict: whatever a claim does, it cannot take the run along
(see :mod:`~driftproof.validation.supervision`).  A cluster only carries: each of its workers supervises a
child of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from .engine import Piece, Plan, concluded, evaluate_claim, run_evidence, try_mutant
from .outcomes import ClaimOutcome, EvidenceOutcome, MutantOutcome
from .statements import Claim, reference
from .supervision import Account, Child, over, parcel, supervised
from .telling import said

__all__ = ["carried", "evidence_outcome", "mutant_outcome", "require_cluster", "settled_by_workers"]

KeyT = TypeVar("KeyT")
PieceT = TypeVar("PieceT", EvidenceOutcome, MutantOutcome)


def settled_by_workers(
    claims: Sequence[Claim],
    plan: Plan,
    jobs: int = 1,
    cluster: str | None = None,
    timeout: float | None = None,
) -> Generator[ClaimOutcome]:
    """Outcomes as they come.

    Arguments:
        jobs: Processes; -1 takes every core.  One job without a limit stays in this process.
        cluster: ``"dask://HOST:PORT"`` or ``"ray"``.
        timeout: Seconds for a claim.
    """
    if cluster is None and timeout is None and (jobs == 1 or len(claims) < 2):
        yield from (_here(claim, plan) for claim in claims)
        return
    sent, stuck = dict[Claim, bytes](), list[tuple[Claim, str]]()
    for claim in claims:
        try:
            sent[claim] = _parcel(evaluate_claim, claim, plan)
        except Exception as error:  # noqa: BLE001  # pickles fail in many ways
            stuck.append((claim, said(error)))
    for claim, account in carried(sent, jobs, cluster, timeout):
        if account.end == "returned":
            yield account.result
        elif account.end == "unreceived" and reference(claim) is None and cluster is None:
            stuck.append((claim, account.why))
        else:
            why = "its module does not import in a worker: " if account.end == "unreceived" else ""
            yield concluded(claim, account.messages, f"{why}{account.why}", account.seconds)
    for claim, why in stuck:
        yield _stuck(claim, plan, why, timeout)


def require_cluster(cluster: str | None) -> None:
    """Raise ValueError for a cluster that is none, or that needs what is not installed."""
    needed = {"ray": "ray", None: None, "dask": "distributed"}
    kind = "dask" if cluster is not None and cluster.startswith("dask://") else cluster
    if kind not in needed:
        raise ValueError(f"run: expected a cluster dask://HOST:PORT or ray, got {cluster!r}")
    if (module := needed[kind]) and importlib.util.find_spec(module) is None:
        raise ValueError(f"run: {module} is not installed; pip install 'driftproof[cluster]'")


def evidence_outcome(claim: Claim, name: str, plan: Plan, timeout: float) -> EvidenceOutcome | Account:
    """One piece of evidence, in the child of this thread, or here without a limit; how it ended, where it has no outcome."""
    return _by_worker(_evidence, claim, name, plan, timeout)


def mutant_outcome(claim: Claim, name: str, plan: Plan, timeout: float) -> MutantOutcome | Account:
    """One planted error, as :func:`evidence_outcome` has it."""
    return _by_worker(_mutant, claim, name, plan, timeout)


def _by_worker(
    function: Callable[[Claim, str, Plan], PieceT], claim: Claim, name: str, plan: Plan, timeout: float
) -> PieceT | Account:
    if not timeout:
        return function(claim, name, plan)
    try:
        account = supervised(_parcel(function, claim, name, plan), timeout)
    except Exception as error:  # noqa: BLE001  # pickles fail in many ways
        account = Account("unreceived", said(error))
    if account.end == "unreceived" and reference(claim) is None:
        _warn_that_it_stays(claim, account.why)
        return function(claim, name, plan)
    result: PieceT | Account = account.result if account.end == "returned" else account
    return result


def _evidence(claim: Claim, name: str, plan: Plan) -> EvidenceOutcome:
    return run_evidence(claim, next(item for item in claim.evidence if item.name == name), claim.things, plan)


def _mutant(claim: Claim, name: str, plan: Plan) -> MutantOutcome:
    return try_mutant(claim, name, plan)


def _parcel(function: Callable[..., object], claim: Claim, *args: object) -> bytes:
    module = sys.modules.get(claim.module)
    with _by_value(module) if module and reference(claim) is None else contextlib.nullcontext():
        return parcel(function, claim, *args)


@contextmanager
def _by_value(module: Any) -> Iterator[None]:
    """Functions of a module that other processes cannot import travel as their code."""
    import cloudpickle

    from driftproof._identity import specification

    if module.__name__ == "__main__" or specification(module.__name__) is not None:
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def carried(
    sent: Mapping[KeyT, bytes], jobs: int, cluster: str | None, timeout: float | None
) -> Iterator[tuple[KeyT, Account]]:
    """Pieces of work, from :func:`~driftproof.validation.supervision.parcel`, with how each ended, as they end."""
    if cluster is None:
        return _by_children(sent, jobs, timeout)
    if cluster == "ray":
        return _on_ray(sent, timeout)
    return _on_dask(sent, cluster.removeprefix("dask://"), timeout)


def _by_children(
    sent: Mapping[KeyT, bytes], jobs: int, timeout: float | None
) -> Iterator[tuple[KeyT, Account]]:
    todo = deque(sent.items())
    idle = [Child() for _ in range(min(_count(jobs), len(sent)))]
    busy: dict[Child, KeyT] = {}
    try:
        while todo or busy:
            while todo and idle:
                key, work = todo.popleft()
                child = idle.pop()
                busy[child] = key
                child.begin(work, timeout)
            for child in over(busy):
                assert child.account is not None
                yield busy.pop(child), child.account
                idle.append(child)
    finally:
        for child in (*idle, *busy):
            child.close()


def _count(jobs: int) -> int:
    if jobs > 0:
        return jobs
    import joblib

    return max(1, joblib.cpu_count() + 1 + jobs)


def _on_dask(
    sent: Mapping[KeyT, bytes], address: str, timeout: float | None
) -> Iterator[tuple[KeyT, Account]]:
    distributed: Any = importlib.import_module("distributed")
    with distributed.Client(f"tcp://{address}") as client:
        waiting = {client.submit(supervised, work, timeout, pure=False): key for key, work in sent.items()}
        for future in distributed.as_completed(list(waiting)):
            key = waiting.pop(future)
            yield key, future.result() if future.status == "finished" else _lost(future.exception())


def _on_ray(sent: Mapping[KeyT, bytes], timeout: float | None) -> Iterator[tuple[KeyT, Account]]:
    ray: Any = importlib.import_module("ray")
    ray.init(address="auto", ignore_reinit_error=True)
    task = ray.remote(max_retries=1)(supervised)
    waiting = {task.remote(work, timeout): key for key, work in sent.items()}
    while waiting:
        (reference, *_), _ = ray.wait(list(waiting))
        key = waiting.pop(reference)
        try:
            yield key, ray.get(reference)
        except ray.exceptions.RayError as error:
            yield key, _lost(error)


def _lost(error: BaseException) -> Account:
    return Account("died", f"its worker died: {said(error).splitlines()[0]}")


def _stuck(claim: Claim, plan: Plan, why: str, timeout: float | None) -> ClaimOutcome:
    """A claim that no other process understands: settled here, where a limit ends Python code only."""
    _warn_that_it_stays(claim, why)
    return _here(claim, plan, timeout)


def _warn_that_it_stays(claim: Claim, why: str) -> None:
    warnings.warn(
        f"{claim.id} is settled in the process of the run, where no limit ends what blocks in C; "
        f"it cannot be sent to another: {why.splitlines()[0]}",
        stacklevel=3,
    )


def _here(claim: Claim, plan: Plan, timeout: float | None = None) -> ClaimOutcome:
    found, start = list[Piece](), time.perf_counter()
    try:
        with _alarm(timeout):
            return evaluate_claim(claim, plan, found.append)
    except _OutOfTime as error:
        return concluded(claim, found, str(error), time.perf_counter() - start)


class _OutOfTime(KeyboardInterrupt):
    """The limit of a claim that is settled here: it passes through the engine as ctrl-C does."""


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise _OutOfTime(f"no end within {seconds:.6g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
