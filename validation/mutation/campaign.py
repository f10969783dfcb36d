"""A campaign: errors are drawn, planted one by one, and what notices them is counted.

Every error that has been tried is kept at once, under the identity of all code, claims and versions: a
campaign that was killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import final

from driftproof.validation.engine import Plan
from driftproof.validation.evidence.base import Effort
from driftproof.validation.registry import REGISTRY, Registry
from driftproof.validation.statements import Claim
from driftproof.validation.supervision import Account, parcel
from driftproof.validation.workers import carried

from .attempts import Attempt, attempt
from .drawing import drawn, module_of, named, replayed, sites_of
from .found import Campaign, Tried
from .kept import Shelf
from .loaded import Setting
from .reach import reached
from .records import Records, records
from .sites import Site
from .swap import text
from .testing import Tests, tests_of

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
        seed: Of the draw. The claims keep their own seed, 0.
        replay: Keys of errors to try instead, as the report prints them.
        tests: Files and folders of tests, for pytest: those that touch a line run where no claim notices.
        test_seconds: The processor time that tests may take for one error.
        at_least: The share that must be noticed for the exit status 0.
        timeout: Seconds of the clock for an error; what evidence may take is limited by processor time besides.
        resume: Take what an earlier campaign on the same code has tried.
        recording: Is told of each claim whose coverage is recorded: its id, how many are done, and of how many.
        announce: Is told of each error that has been tried, and of how many so far.

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
    made = tuple(dict.fromkeys(claim.module for claim in claims))
    setting = Setting(plan.seed, plan.effort.value, plan.weight, {text(m)[0]: m for m in universe}, made)

    def shelf(about: Sequence[Claim]) -> Shelf:
        return Shelf.of(plan, about, *universe)

    errors, done, interrupted = list[str](), dict[str, Attempt](), False
    known, mapped = None, Tests()
    ready = began
    try:
        known = records(claims, setting, shelf, jobs=jobs, timeout=timeout, announce=recording)
        whole = shelf(claims)
        if tests:
            mapped = tests_of(
                tests, setting, whole, limit=test_seconds, jobs=jobs, timeout=None, announce=recording
            )
        ready = time.perf_counter()
        work = _Work(chosen, known, mapped, setting, whole)
        for site, result in work.results(jobs, timeout, resume):
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
        unusable=(*known.unusable, *mapped.unusable) if known else (),
        errors=tuple(errors),
        at_least=at_least,
        interrupted=interrupted,
        seconds=time.perf_counter() - began,
        recording=ready - began,
    )


@final
@dataclass(frozen=True)
class _Work:
    chosen: Sequence[Site]
    known: Records
    tests: Tests
    setting: Setting
    shelf: Shelf

    def results(self, jobs: int, timeout: float | None, resume: bool) -> Iterator[tuple[Site, Attempt | str]]:
        """The errors as they have been tried; a line for one that has come to no end."""
        todo = []
        for site in self.chosen:
            if resume and (kept := self.shelf.read(self._name(site))):
                yield site, Attempt(**kept)
            else:
                todo.append(site)
        # What is imported anew starts from a bare process, which a loaded one no longer is: these come first.
        todo.sort(key=lambda site: not self.known.at_import(site))
        sites = {site.key: site for site in todo}
        sent = {key: self._parcel(site) for key, site in sites.items()}
        with contextlib.closing(_closed(carried(sent, jobs, None, timeout))) as accounts:
            for key, account in accounts:
                if account.end == "returned":
                    result: Attempt = account.result
                elif account.end == "limit":
                    result = Attempt("timeout", "the clock", account.why, seconds=account.seconds)
                else:
                    yield sites[key], f"{key}: {account.why}"
                    continue
                if result.status != "error":
                    self.shelf.write(self._name(sites[key]), asdict(result))
                yield sites[key], result

    def _name(self, site: Site) -> str:
        return f"{site.key} {[test.name for test in self.tests.touching(site, self.known.at_import(site))]}"

    def _parcel(self, site: Site) -> bytes:
        at_import = self.known.at_import(site)
        users = _users(site, self.setting.files) if at_import and site.name else ()
        pieces = self.known.touching(site, users)
        libraries = self.known.libraries if at_import else ()
        tests = self.tests.touching(site, at_import)
        return parcel(attempt, site, pieces, tests, self.setting, at_import, libraries)


def _closed(accounts: Iterator[tuple[str, Account]]) -> Generator[tuple[str, Account]]:
    yield from accounts


def _universe(modules: Sequence[str]) -> tuple[str, ...]:
    """Whose lines are recorded: of ours theory and numerics, and the torch shell where it is asked for; of yours what is."""
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
