"""Progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Self, final

from .outcomes import ClaimOutcome, Run

if TYPE_CHECKING:
    from .mutation import Tried
    from .soaked import Soaked

__all__ = [
    "Bar",
    "Lines",
    "Progress",
    "Silent",
    "fitting",
    "mutants_told",
    "seeds_told",
    "summary",
    "verdict",
]


class Progress(ABC):
    """What is called as a run goes on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    @abstractmethod
    def begin(self, total: int, resumed: int) -> None:
        """The run settles ``total`` claims, ``resumed`` of which an earlier run has settled."""

    @abstractmethod
    def settled(self, outcome: ClaimOutcome) -> None:
        """One claim is settled."""

    @abstractmethod
    def end(self) -> None:
        """The run is over, complete or not."""


@final
class Silent(Progress):
    """Says nothing."""

    def begin(self, total: int, resumed: int) -> None: ...

    def settled(self, outcome: ClaimOutcome) -> None: ...

    def end(self) -> None: ...


@final
class Lines(Progress):
    """One plain line for each settled claim."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._count, self._total = stream, 0, 0

    def begin(self, total: int, resumed: int) -> None:
        self._count, self._total = resumed, total
        if resumed:
            self._say(f"resumed: {resumed} of {total} claims were settled before")

    def settled(self, outcome: ClaimOutcome) -> None:
        self._count += 1
        self._say(f"[{self._count}/{self._total}] {summary(outcome)}")

    def end(self) -> None: ...

    def _say(self, line: str) -> None:
        with suppress(OSError):  # nobody reads it any more: the run goes on
            print(line, file=self._stream, flush=True)


@final
class Bar(Progress):
    """A rich progress bar, below the lines of the settled claims."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("claims"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = RichProgress(*columns, console=Console(stderr=True))
        self._task: Any = None

    def begin(self, total: int, resumed: int) -> None:
        self._bar.start()
        self._task = self._bar.add_task("claims", total=total, completed=resumed)

    def settled(self, outcome: ClaimOutcome) -> None:
        colour = "green" if outcome.ok else "red"
        self._bar.console.print(
            f"[{colour}]{'✓' if outcome.ok else '✗'}[/] {summary(outcome)}", highlight=False
        )
        self._bar.advance(self._task)

    def end(self) -> None:
        self._bar.stop()


def fitting(stream: IO[str] | None = None) -> Progress:
    """A bar where standard error is a terminal, lines elsewhere."""
    stream = stream or sys.stderr
    return Bar() if stream.isatty() else Lines(stream)


@contextmanager
def seeds_told(total: int, stream: IO[str] | None = None) -> Iterator[Callable[[Soaked, int], None]]:
    """A function that reports each seed of a soak: a bar where standard error is a terminal, lines elsewhere."""
    with _counted("seeds", _seed, lambda done: bool(done.flips), stream) as tell:
        yield lambda done, count: tell(done, count, total)


@contextmanager
def mutants_told(
    total: int, stream: IO[str] | None = None
) -> Iterator[tuple[Callable[[str, int, int], None], Callable[[Tried, int], None]]]:
    """Functions that report each claim whose coverage is recorded, and each error that has been tried."""
    with (
        _counted("coverage", lambda id: f"lines of {id}", lambda id: False, stream) as recorded,
        _counted("errors", _mutant, lambda tried: tried.counts and not tried.noticed, stream) as tried,
    ):
        yield recorded, lambda one, count: tried(one, count, total)


@contextmanager
def _counted(
    unit: str, line: Callable[[Any], str], unexpected: Callable[[Any], bool], stream: IO[str] | None
) -> Iterator[Callable[[Any, int, int], None]]:
    """A function that reports one thing after another, and how many of how many are done."""
    stream = stream or sys.stderr
    if not stream.isatty():

        def tell(done: Any, count: int, total: int) -> None:
            with suppress(OSError):  # nobody reads it any more: the work goes on
                print(f"[{count}/{total}] {line(done)}", file=stream, flush=True)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = RichProgress(*columns, console=Console(file=stream))
    task = bar.add_task(unit, visible=False)  # until the first one is done

    def advance(done: Any, count: int, total: int) -> None:
        bar.start()
        if unexpected(done):
            bar.console.print(f"[red]✗[/] {line(done)}", highlight=False)
        bar.update(task, completed=count, total=total, visible=True)
        if count == total:
            bar.stop()  # what is counted next has a bar of its own

    try:
        yield advance
    finally:
        bar.stop()


def _seed(done: Soaked) -> str:
    flips = "; ".join(f"{flip.claim} {flip.what} {flip.state}" for flip in done.flips) or "no flip"
    return f"seed {done.seed}: {flips}  {done.seconds:.1f} s"


def _mutant(tried: Tried) -> str:
    found = tried.attempt
    by = f" by {found.by}" if found.by else ""
    return f"{found.status}{by}: {tried.site}  {found.seconds:.1f} s"


def summary(outcome: ClaimOutcome) -> str:
    """One claim in one line."""
    caught = sum(mutant.caught is True for mutant in outcome.mutants)
    holding = sum(evidence.ok is True for evidence in outcome.evidence)
    mark = "" if outcome.ok else f"  <-- unexpected (expected: {outcome.expect}, every planted error caught)"
    return (
        f"{outcome.id:<28} {outcome.status:<11} evidence {holding}/{len(outcome.evidence)}  "
        f"mutants {caught}/{len(outcome.mutants)}  {outcome.seconds:.1f} s{mark}"
    )


def verdict(run: Run) -> str:
    """A whole run in a few lines: what failed, with reasons, and the sum."""
    lines = []
    for claim in run.claims:
        if claim.ok:
            continue
        lines.append(f"{claim.id}: {claim.status} (expected {claim.expect})")
        for found in claim.evidence:
            if found.state in ("breaks", "crashed", "undecided"):
                lines.append(f"  {found.name} ({found.kind}) {found.state}: {found.detail}")
                lines.extend([f"    counterexample: {found.counterexample}"] if found.counterexample else [])
        lines.extend(f"  mutant {m.name!r} survives: {m.detail}" for m in claim.mutants if m.caught is False)
        lines.extend(f"  mutant {m.name!r} is unsettled: {m.detail}" for m in claim.mutants if m.unsettled)
    skipped = Counter(e.detail for claim in run.claims for e in claim.evidence if e.state == "skipped")
    lines.extend(f"skipped: {n} piece{'s' * (n != 1)} of evidence: {why}" for why, n in skipped.items())
    statuses = Counter(claim.status for claim in run.claims)
    caught = sum(mutant.caught is True for claim in run.claims for mutant in claim.mutants)
    planted = sum(len(claim.mutants) for claim in run.claims)
    counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common()) or "no claims"
    lines.append(
        f"{counts}; {caught} of {planted} planted errors caught; false-alarm budget {run.budget:.0e}, "
        f"spent {run.spent:.1e}; seed {run.seed}; {run.seconds:.1f} s"
    )
    if run.interrupted:
        lines.append("interrupted: continue with --resume")
    return "\n".join(lines)
