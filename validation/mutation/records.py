"""Which evidence touches which line: every piece alone, in a fork, so that none lives on what another has cached.

The records are kept under the identity of the claim: what changes in the code or the claim makes them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

from driftproof.validation.statements import Claim, reference
from driftproof.validation.supervision import parcel
from driftproof.validation.workers import carried

from .forks import forked
from .kept import Shelf
from .lines import Lines, recorded
from .loaded import HERE, Piece, Setting, imports, run
from .sites import Site

__all__ = ["Records", "Touched", "records"]


@final
@dataclass(frozen=True)
class Touched:
    """A piece of evidence and the lines that it runs, by the name of the module."""

    piece: Piece
    lines: Mapping[str, frozenset[int]]


@final
@dataclass(frozen=True)
class Records:
    """The evidence that can tell, and what it touches.

    Attributes:
        evidence: The evidence that holds on the right code.
        imports: The lines that imports run.
        libraries: The modules of others that a bare process imports.
        unusable: Evidence that does not hold anyway, and claims that no other process finds.
    """

    evidence: tuple[Touched, ...]
    imports: Mapping[str, frozenset[int]]
    libraries: tuple[str, ...]
    unusable: tuple[str, ...] = ()

    def at_import(self, site: Site) -> bool:
        """Whether some import runs a line of the site: its value may then be held anywhere."""
        return not site.function or bool(self.imports.get(site.module, frozenset()) & _span(site))

    def touching(self, site: Site, users: Sequence[str] = ()) -> list[Piece]:
        """The evidence that runs the lines of a site, the cheapest first.

        Where imports run them, what is made of them may be used by any function of the module, or where its
        name is read: evidence that touches the module or ``users`` comes behind.
        """
        span, places = _span(site), {site.module, *users}
        near, far = list[Piece](), list[Piece]()
        for touched in self.evidence:
            if touched.lines.get(site.module, frozenset()) & span:
                near.append(touched.piece)
            elif self.at_import(site) and places & touched.lines.keys():
                far.append(touched.piece)
        return [*sorted(near, key=_seconds), *sorted(far, key=_seconds)]


def records(
    claims: Sequence[Claim],
    setting: Setting,
    shelf: Callable[[Sequence[Claim]], Shelf],
    *,
    jobs: int,
    timeout: float | None,
    announce: Callable[[str, int, int], object] = lambda claim, done, total: None,
) -> Records:
    """The records of these claims: those that are kept, and the others made.

    Raises:
        RuntimeError: The modules cannot even be imported anew.
    """
    found = dict[str, Any]()
    usable = {made.id: where for made in claims if (where := reference(made))}
    unusable = [
        f"{made.id}: only the process that made it finds it" for made in claims if made.id not in usable
    ]
    shelves = {made.id: shelf([made]) for made in claims}
    whole = shelf(claims)
    found = {id: kept for id in usable if (kept := shelves[id].read("record"))}
    imported = whole.read("imports")
    work = {} if imported else {"": parcel(_imports, setting)}
    work |= {id: parcel(_record, where, setting) for id, where in usable.items() if id not in found}
    for done, (id, account) in enumerate(carried(work, jobs, None, timeout), 1):
        if account.end != "returned":
            if not id:
                raise RuntimeError(f"mutate: imports cannot be recorded: {account.why}")
            unusable.append(f"{id}: {account.why}")
        elif id:
            found[id] = account.result
            shelves[id].write("record", account.result)
        else:
            imported = account.result
            whole.write("imports", imported)
        announce(id or "imports", done, len(work))
    evidence = []
    for id in sorted(found):
        for item in found[id]:
            piece = Piece(**{**item["piece"], "where": tuple(item["piece"]["where"])})
            if piece.state == "holds":
                evidence.append(Touched(piece, _frozen(item["lines"])))
            elif piece.state not in ("skipped", "left out"):
                unusable.append(f"{piece} {piece.state} on the right code")
    return Records(tuple(evidence), _frozen(imported["lines"]), tuple(imported["libraries"]), tuple(unusable))


def _imports(setting: Setting) -> dict[str, Any]:
    done = forked(lambda tell: tell(imports(setting)))
    if done.why or not done.messages:
        raise RuntimeError(done.why)
    lines, libraries = done.messages[0]
    return {"lines": _plain(lines), "libraries": libraries}


def _record(where: tuple[str, str], setting: Setting) -> list[dict[str, Any]]:
    """Each piece of evidence of a claim, run in a fork of its own."""
    from driftproof.validation.statements import referred

    HERE.load(setting)
    claim = referred(*where)
    HERE.require([item.requires for item in claim.evidence])
    found = []
    for item in claim.evidence:
        piece = Piece(claim.id, where, item.name, item.requires)
        done = forked(lambda tell, piece=piece: tell(_run(piece, setting)))  # type: ignore[misc]
        state, lines = done.messages[0] if done.messages else ("crashed", {})
        kept = Piece(claim.id, where, item.name, item.requires, state, round(done.seconds, 3))
        found.append({"piece": asdict(kept), "lines": lines})
    return found


def _run(piece: Piece, setting: Setting) -> tuple[str, dict[str, list[int]]]:
    with recorded(setting.files) as lines:
        state, _ = run(piece, setting)
    return state, _plain(lines)


def _plain(lines: Lines) -> dict[str, list[int]]:
    return {module: sorted(numbers) for module, numbers in lines.items()}


def _frozen(lines: Mapping[str, Sequence[int]]) -> dict[str, frozenset[int]]:
    return {module: frozenset(numbers) for module, numbers in lines.items()}


def _span(site: Site) -> frozenset[int]:
    return frozenset(range(site.line, site.last + 1))


def _seconds(piece: Piece) -> float:
    return piece.seconds
