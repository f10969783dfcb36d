"""A campaign: errors are drawn, planted one by one, and what notices them is counted.

First the claims see all of them.  Only files of tests that can reach an error which no claim notices are run to
learn which test touches which line, and only those tests then see it.

Every error that has been tried is kept at once, under the identity of all code, claims and versions: a
campaign that was killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import final

from driftproof.validation.engine import Plan
from driftproof.validation.evidence.base import Effort
from driftproof.validation.registry import REGISTRY, Registry
from driftproof.validation.statements import Claim
from driftproof.validation.supervision import Account, parcel
from driftproof.validation.workers import carried

from .attempts import Attempt, by_claims, by_others
from .drawing import drawn, module_of, named, replayed, sites_of
from .found import Campaign, Tried
from .kept import Shelf
from .loaded import Piece, Setting
from .reach import planting, reached, reread
from .records import Records, records
from .sites import Site
from .swap import text
from .testing import Tests, test_files, tests_of

__all__ = ["mutate"]

Announce = Callable[[Tried, int], object]


def mutate(
    names: str | Sequence[str] = (),
    *,
    count: int = 60,
    seed: int = 0,
    replay: Sequence[str] = (),
    tests: Sequence[str] = (),
    test_seconds: float = 60.0,
    effort: str = "quick",
    at_least: float = 1.0,
    jobs: int = 1,
    timeout: float | None = None,
    resume: bool = False,
    registry: Registry = REGISTRY,
    recording: Callable[[str, int, int], object] = lambda claim, done, total: None,
    announce: Announce = lambda tried, done: None,
) -> Campaign:
    """Plant errors at random in these modules, and see what the claims notice.

    Arguments:
        names: Modules, packages and papers; theory and numerics unless given.
        count: How many errors, >= 1; a larger count continues the same draw.
        seed: The seed of the draw. The claims keep their own seed, 0.
        replay: Keys of errors to try instead, as the report prints them.
        tests: Files and folders of tests, for pytest: those that touch a line run where no claim notices.
        test_seconds: The processor time that tests may take for one error.
        at_least: The share that must be noticed for the exit status 0.
        timeout: Seconds of the clock for an error; what evidence may take is limited by processor time besides.
        resume: Take what an earlier campaign on the same code has tried.
        recording: Called for each claim whose coverage is recorded, with its id, how many are done, and of how many.
        announce: Called for each error that has been tried, with it and how many so far.

    Raises:
        LookupError: No module, paper or error has one of the names.
        ValueError: No error to plant, a negative seed, a share outside of [0, 1], or an unknown effort.
    """
    if count < 1 or seed < 0 or not 0.0 <= at_least <= 1.0:
        raise ValueError(
            f"mutate: expected count >= 1, seed >= 0 and a share in [0, 1], got {count}, {seed}, {at_least}"
        )
    if jobs == 0:
        raise ValueError("mutate: expected jobs >= 1, or -1 for every core, got 0")
    began = time.perf_counter()
    reread()
    registry.load() if registry is REGISTRY else None
    plan = Plan(0, Effort(effort), registry.weight or 1.0)
    modules = (
        list(dict.fromkeys(map(module_of, replay)))
        if replay
        else named([names] if isinstance(names, str) else names)
    )
    candidates = sites_of(modules)
    chosen = replayed(candidates, replay) if replay else drawn(candidates, count, seed)
    if not chosen:
        raise ValueError(f"mutate: no error can be planted in {', '.join(modules)}")
    universe = _universe(modules)
    planted = {site.module for site in chosen}
    claims = [made for made in registry.claims.values() if planted & reached(made.module)]
    files = test_files(tests) if tests else []
    made = tuple(dict.fromkeys(claim.module for claim in claims))
    setting = Setting(plan.seed, plan.effort.value, plan.weight, {text(m)[0]: m for m in universe}, made)

    def shelf(about: Sequence[Claim]) -> Shelf:
        return Shelf.of(plan, about, *universe)

    errors, done, interrupted = list[str](), dict[str, Attempt](), False
    known, work = None, None
    ready = began
    try:
        known = records(claims, setting, shelf, jobs=jobs, timeout=timeout, announce=recording)
        ready = time.perf_counter()

        def mapped(modules: Collection[str]) -> Tests:
            return tests_of(files, modules, setting, plan, limit=test_seconds, jobs=jobs, announce=recording)

        work = _Work(chosen, known, mapped, setting, shelf(claims), jobs, timeout)
        for site, result in work.results(resume):
            if isinstance(result, str):
                errors.append(result)
                continue
            done[site.key] = result
            announce(Tried(site, result), len(done))
    except KeyboardInterrupt:
        interrupted = True
    return Campaign(
        seed=None if replay else seed,
        count=len(chosen),
        possible=len(candidates),
        places=len({site.place for site in candidates}),
        tried=tuple(Tried(site, done[site.key]) for site in chosen if site.key in done),
        effort=plan.effort.value,
        tests=tuple(tests),
        unusable=(*known.unusable, *work.unusable) if known and work else (),
        errors=tuple(errors),
        at_least=at_least,
        interrupted=interrupted,
        seconds=time.perf_counter() - began,
        recording=ready - began + (work.mapping if work else 0.0),
    )


@final
@dataclass
class _Work:
    """The two passes: claims, then tests and the search for what is equivalent.

    Attributes:
        mapping: Seconds of the clock that the tests' lines took.
    """

    chosen: Sequence[Site]
    known: Records
    tests_of: Callable[[Collection[str]], Tests]
    setting: Setting
    shelf: Shelf
    jobs: int
    timeout: float | None
    mapping: float = 0.0
    unusable: tuple[str, ...] = ()

    def results(self, resume: bool) -> Iterator[tuple[Site, Attempt | str]]:
        """The errors as they have been tried; a line for one that has come to no end."""
        left = dict[Site, Attempt]()
        for site, result in self._tried(self.chosen, self._by_claims, lambda site: "", resume):
            if not isinstance(result, str) and result.status in ("survived", "not covered"):
                left[site] = result
            else:
                yield site, result
        if not left:
            return
        began = time.perf_counter()
        tests = self.tests_of({site.module for site in left})
        self.mapping, self.unusable = time.perf_counter() - began, tests.unusable
        touching = {site: tests.touching(site, self.known.at_import(site)) for site in left}

        def work(site: Site) -> bytes:
            pieces, *rest = self._circumstances(site)
            return parcel(by_others, site, left[site], pieces, touching[site], self.setting, *rest)

        names = {site: f" behind claims {[test.name for test in found]}" for site, found in touching.items()}
        yield from self._tried(list(left), work, names.__getitem__, resume)

    def _tried(
        self,
        sites: Sequence[Site],
        work: Callable[[Site], bytes],
        name: Callable[[Site], str],
        resume: bool,
    ) -> Iterator[tuple[Site, Attempt | str]]:
        """One pass: what is kept of it under these names, and the others."""
        todo = []
        for site in sites:
            if resume and (kept := self.shelf.read(_kept_as(site, name))):
                yield site, Attempt(**kept)
            else:
                todo.append(site)
        # What is imported anew starts from a bare process, which a loaded one no longer is: these come first.
        todo.sort(key=lambda site: not self.known.at_import(site))
        keyed = {site.key: site for site in todo}
        sent = {key: work(site) for key, site in keyed.items()}
        with contextlib.closing(_closed(carried(sent, self.jobs, None, self.timeout))) as accounts:
            for key, account in accounts:
                site = keyed[key]
                if account.end == "returned":
                    result: Attempt = account.result
                elif account.end == "limit":
                    result = Attempt("timeout", "the clock", account.why, seconds=account.seconds)
                else:
                    yield site, f"{key}: {account.why}"
                    continue
                if result.status != "error":
                    self.shelf.write(_kept_as(site, name), asdict(result))
                yield site, result

    def _by_claims(self, site: Site) -> bytes:
        pieces, *rest = self._circumstances(site)
        return parcel(by_claims, site, pieces, self.setting, *rest)

    def _circumstances(self, site: Site) -> tuple[list[Piece], bool, Sequence[str]]:
        """The evidence that touches a site, whether imports run it, and what a process imports for that."""
        at_import = self.known.at_import(site)
        users = _users(site, self.setting.files) if at_import and site.name else ()
        libraries = self.known.libraries if at_import else ()
        return self.known.touching(site, users), at_import, libraries


def _kept_as(site: Site, name: Callable[[Site], str]) -> str:
    return f"{site.key}{name(site)} {planting()}"


def _closed(accounts: Iterator[tuple[str, Account]]) -> Generator[tuple[str, Account]]:
    yield from accounts


def _universe(modules: Sequence[str]) -> tuple[str, ...]:
    """The modules whose lines are recorded: ours without the torch shell unless that is named, and yours as named."""
    shell = any(module.startswith("driftproof.backends") for module in modules)
    sides = ("theory", "numerics", *(("backends",) if shell else ()))
    ours = named(sides) if any(map(_is_ours, modules)) else []
    return tuple(dict.fromkeys(module for module in (*ours, *modules) if _has_functions(module)))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "driftproof"


def _has_functions(module: str) -> bool:
    return "def " in text(module)[1]


def _users(site: Site, files: Mapping[str, str]) -> list[str]:
    """The modules whose text has the name that a statement binds."""
    word = re.compile(rf"\b{re.escape(site.name)}\b")
    return [module for module in files.values() if word.search(text(module)[1])]
