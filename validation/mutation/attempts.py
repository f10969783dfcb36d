"""One error, tried: it is planted in a fork, evidence runs until some notices, and the kill is confirmed.

A kill is believed only where the same evidence, in the same kind of process and without the error, gives the
verdict that is on record; otherwise the harness is wrong, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

from driftproof.validation.telling import brief, said

from .equivalence import equal_everywhere
from .forks import Fork, Tell, allow, forked, spent
from .loaded import HERE, Piece, Setting, run
from .sites import Site
from .swap import forget, import_wrong, swapped
from .testing import Test, run_tests

__all__ = ["Attempt", "Status", "by_claims", "by_others"]

Status = Literal["killed", "timeout", "survived", "not covered", "equivalent", "error"]
GRACE, PATIENCE = 20.0, 20.0  # seconds, and multiples of what the evidence takes on the right code


@final
@dataclass(frozen=True)
class Attempt:
    """The fate of a planted error.

    Attributes:
        status: A ``timeout`` is noticed, too.
        by: The place that noticed it: a claim and its evidence, a test, or ``import``.
        detail: Its message.
        tried: How many pieces of evidence and tests ran.
        seconds: The processor time of it all.
    """

    status: Status
    by: str = ""
    detail: str = ""
    tried: int = 0
    seconds: float = 0.0


def by_claims(
    site: Site, pieces: Sequence[Piece], setting: Setting, at_import: bool, libraries: Sequence[str]
) -> Attempt:
    """Plant one error, and run the evidence that touches it.

    Arguments:
        pieces: In the order in which they are tried.
        at_import: Whether imports run the line: see :mod:`~driftproof.validation.mutation.swap`.
        libraries: Modules of others that a process imports before it forks.
    """
    before = _ready(pieces, setting, at_import, libraries)
    found = _by_claims(site, pieces, setting, at_import)
    return replace(found, seconds=round(spent() - before, 3))


def by_others(
    site: Site,
    found: Attempt,
    pieces: Sequence[Piece],
    tests: Sequence[Test],
    setting: Setting,
    at_import: bool,
    libraries: Sequence[str],
) -> Attempt:
    """Plant one error that no claim notices, run the tests, and ask whether it changes anything.

    Arguments:
        found: The verdict of the claims.
    """
    before = _ready(pieces, setting, at_import, libraries) - found.seconds
    if tests:
        found = _by_tests(site, tests, setting, at_import, found.tried)
    if found.status == "survived" and not at_import and (equal := equal_everywhere(site, pieces, setting)):
        found = Attempt("equivalent", "", equal, found.tried)
    return replace(found, seconds=round(spent() - before, 3))


def _ready(pieces: Sequence[Piece], setting: Setting, at_import: bool, libraries: Sequence[str]) -> float:
    """Import what all forks need; the processor time from which an error counts."""
    HERE.bare(libraries) if at_import else HERE.load(setting)
    HERE.require([piece.requires for piece in pieces])
    return spent()


def _by_claims(site: Site, pieces: Sequence[Piece], setting: Setting, at_import: bool) -> Attempt:
    done = forked(lambda tell: _plant_and_try(site, pieces, setting, at_import, tell))
    found = _judged(done, pieces)
    if found.status in ("killed", "timeout") and not _confirmed(found, pieces, setting, at_import):
        return Attempt(
            "error", found.by, f"{found.by} does so without the error: {found.detail}", found.tried
        )
    return found


def _by_tests(site: Site, tests: Sequence[Test], setting: Setting, at_import: bool, tried: int) -> Attempt:
    done = forked(lambda tell: _plant_and_test(site, tests, setting, at_import, tell))
    result = next((message for message in done.messages if message[0] == "tests"), None)
    if done.ours or (result is None and ("begin", -1) not in done.messages):
        return Attempt("error", "", done.why, tried)
    if result is not None and result[1] == 0:
        return Attempt("survived", "", "", tried + result[4])
    name, detail, ran = (
        (result[2], result[3], result[4] + 1) if result else (f"{len(tests)} tests", done.why, 0)
    )
    alone = [test for test in tests if test.name == name] or tests
    control = forked(lambda tell: _plant_and_test(None, alone, setting, at_import, tell))
    passed = next((message[1] == 0 for message in control.messages if message[0] == "tests"), False)
    if not passed:
        return Attempt("error", name, f"{name} fails without the error: {detail}", tried + ran)
    return Attempt("timeout" if result is None and done.slow else "killed", name, detail, tried + ran)


def _plant_and_test(
    site: Site | None, tests: Sequence[Test], setting: Setting, at_import: bool, tell: Tell
) -> None:
    _plant(site, setting, at_import)
    run_tests(tests, PATIENCE * sum(test.seconds for test in tests) + GRACE, tell)


def _plant(site: Site | None, setting: Setting, at_import: bool) -> None:
    if at_import:
        forget(setting.roots)
        if site is not None:
            import_wrong(site)
    elif site is not None:
        swapped(site, HERE.functions[_file(site, setting)])


def _plant_and_try(
    site: Site | None, pieces: Sequence[Piece], setting: Setting, at_import: bool, tell: Tell
) -> None:
    _plant(site, setting, at_import)
    for number, piece in enumerate(pieces):
        tell(("begin", number))
        allow(PATIENCE * piece.seconds + GRACE)
        try:
            state, detail = run(piece, setting)
        except BaseException as error:  # noqa: BLE001  # the engine itself runs on what is wrong
            state, detail = "crashed", said(error)
        tell(("end", number, state, brief(detail, 300)))
        if state != piece.state:
            return


def _judged(done: Fork, pieces: Sequence[Piece]) -> Attempt:
    begun = [message[1] for message in done.messages if message[0] == "begin"]
    ended = [message for message in done.messages if message[0] == "end"]
    if done.ours or (done.why and not begun):
        return Attempt("error", "", done.why, len(ended))
    if len(begun) > len(ended):
        status: Status = "timeout" if done.slow else "killed"
        return Attempt(status, str(pieces[begun[-1]]), done.why, len(begun))
    if ended and ended[-1][2] != pieces[ended[-1][1]].state:
        _, number, state, detail = ended[-1]
        return Attempt("killed", str(pieces[number]), f"{state}: {detail}", len(ended))
    return Attempt("survived" if pieces else "not covered", "", "", len(ended))


def _confirmed(found: Attempt, pieces: Sequence[Piece], setting: Setting, at_import: bool) -> bool:
    """Whether the evidence that noticed holds in such a process without the error; asked once for each."""
    piece = next(piece for piece in pieces if str(piece) == found.by)
    if (known := HERE.controls.get((piece, at_import))) is not None:
        return known
    done = forked(lambda tell: _plant_and_try(None, [piece], setting, at_import, tell))
    holds = _judged(done, [piece]).status == "survived"
    HERE.controls[piece, at_import] = holds
    return holds


def _file(site: Site, setting: Setting) -> str:
    return next(file for file, module in setting.files.items() if module == site.module)
