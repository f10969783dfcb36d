"""Tests behind the claims: which of them touch which line, and whether one fails on an error.

pytest runs inside of the fork, on what is planted there.  What a test module does when it is imported, and
what fixtures do once for several tests, counts for every test of the file.
"""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any, final

from driftproof.validation.engine import Plan
from driftproof.validation.supervision import parcel
from driftproof.validation.workers import carried

from .forks import Tell, allow, forked
from .kept import Shelf
from .lines import Lines, recorded
from .loaded import HERE, Setting
from .reach import code_of, reached_by, runs
from .sites import Site

__all__ = ["Test", "Tests", "run_tests", "test_files", "tests_of"]

OPTIONS = ("-q", "--no-header", "--no-summary", "-p", "no:cacheprovider")


@final
@dataclass(frozen=True)
class Test:
    """A test that passes on the right code, by its node id, and the processor time that it took."""

    __test__ = False

    name: str
    seconds: float


@final
@dataclass(frozen=True)
class Tests:
    """Tests with the lines that they run.

    Attributes:
        limit: Seconds of processor time that tests may take for one error: those beyond are left out.
        unusable: The tests that fail on the right code.
    """

    touched: tuple[tuple[Test, Mapping[str, frozenset[int]]], ...] = ()
    limit: float = 60.0
    unusable: tuple[str, ...] = ()

    def touching(self, site: Site, at_import: bool) -> list[Test]:
        """The tests that run the lines of a site, or its module where imports run them; the cheapest first."""
        span = frozenset(range(site.line, site.last + 1))
        found = [
            (not lines.get(site.module, frozenset()) & span, test.seconds, test.name, test)
            for test, lines in self.touched
            if lines.get(site.module, frozenset()) & span or (at_import and site.module in lines)
        ]
        chosen, spent = list[Test](), 0.0
        for _, seconds, _, test in sorted(found, key=lambda item: item[:3]):
            spent += seconds
            if spent > self.limit and chosen:
                break
            chosen.append(test)
        return chosen


def test_files(paths: Sequence[str]) -> list[str]:
    """The files of tests of these files and folders.

    Raises:
        LookupError: A path is neither, or holds none.
    """
    found = dict[str, None]()
    for path in map(Path, paths):
        files = [path] if path.is_file() else sorted(path.rglob("test_*.py"))
        if not files:
            raise LookupError(f"mutate: {path} holds no file of tests")
        found |= dict.fromkeys(map(str, files))
    return list(found)


test_files.__test__ = False  # type: ignore[attr-defined]


def tests_of(
    files: Sequence[str],
    modules: Collection[str],
    setting: Setting,
    plan: Plan,
    *,
    limit: float,
    jobs: int,
    announce: Any = lambda file, done, total: None,
) -> Tests:
    """The tests of those of these files that can run these modules, and what they touch.

    What is kept of a file is believed while neither it nor what it reaches has changed; the others are recorded.
    """
    shelves = dict[str, Shelf]()
    for file in files:
        reach, helpers = reached_by(Path(file))
        if runs(reach, modules):
            about = [code_of(reach, Path(file), *helpers), sorted(setting.files.values())]
            shelves[file] = Shelf.named(plan, repr((file, about)))
    found = {file: kept for file, shelf in shelves.items() if (kept := shelf.read("tests")) is not None}
    unusable = list[str]()
    work = {file: parcel(_record, file, setting) for file in shelves if file not in found}
    for done, (file, account) in enumerate(carried(work, jobs, None, None), 1):
        if account.end == "returned":
            found[file] = account.result
            shelves[file].write("tests", account.result)
        else:
            unusable.append(f"{file}: {account.why}")
        announce(file, done, len(work))
    touched = []
    for file in sorted(found):
        for name, test in found[file]["tests"].items():
            lines: Lines = {module: set(numbers) for module, numbers in found[file]["common"].items()}
            for module, numbers in test["lines"].items():
                lines.setdefault(module, set()).update(numbers)
            if test["outcome"] == "passed":
                frozen = {module: frozenset(numbers) for module, numbers in lines.items()}
                touched.append((Test(name, test["seconds"]), frozen))
            elif test["outcome"] == "failed":
                unusable.append(f"{name} fails on the right code")
    return Tests(tuple(touched), limit, tuple(unusable))


def run_tests(tests: Sequence[Test], seconds: float, tell: Tell) -> None:
    """Run tests until one fails, in this fork; tells which, and what it said: an empty name is no test's failure."""
    import pytest

    first = _First()
    allow(seconds)
    tell(("begin", -1))
    try:
        status = int(pytest.main([*OPTIONS, "-x", *(test.name for test in tests)], plugins=[first]))
    except BaseException as error:  # noqa: BLE001  # pytest itself imports what is wrong
        status, first.detail = -1, f"{type(error).__name__}: {error}"
    tell(("tests", status, first.name or "collection", first.detail, first.passed))


@final
@dataclass(eq=False)  # pytest puts plugins into sets
class _First:
    """Notes the first failure."""

    name: str = ""
    detail: str = ""
    passed: int = 0

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name, self.detail = f"collection of {report.nodeid}", _last_line(report)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.passed += report.when == "call" and report.passed
        if report.failed and not self.name:
            self.name, self.detail = report.nodeid, _last_line(report)


@final
@dataclass
class _PerTest:
    """Records the lines of each test, and of what they share."""

    files: Mapping[str, str]
    common: Lines = field(default_factory=dict)
    tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    caches: list[Any] = field(default_factory=list)

    def hooks(self) -> Any:
        """The plugin: pytest is imported only where tests run."""
        import pytest

        record = self

        class Hooks:
            @pytest.hookimpl(wrapper=True)
            def pytest_collection(self) -> Generator[None, Any, Any]:
                with recorded(record.files) as lines:
                    result = yield
                record.share(lines)
                kind: Any = functools._lru_cache_wrapper
                record.caches = [item for item in gc.get_objects() if type(item) is kind]
                return result

            @pytest.hookimpl(wrapper=True)
            def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
                if fixturedef.scope == "function":
                    return (yield)
                with recorded(record.files) as lines:
                    result = yield
                record.share(lines)
                return result

            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_protocol(self, item: Any) -> Generator[None, Any, Any]:
                for cache in record.caches:  # no test lives on what another has cached
                    if cache.cache_info().currsize:
                        cache.cache_clear()
                begun = process_time()
                with recorded(record.files) as lines:
                    result = yield
                about = record.tests.setdefault(item.nodeid, {})
                about["lines"] = {module: sorted(numbers) for module, numbers in lines.items()}
                about["seconds"] = round(process_time() - begun, 3)
                return result

            def pytest_runtest_logreport(self, report: Any) -> None:
                about = record.tests.setdefault(report.nodeid, {})
                if report.failed or report.skipped or "outcome" not in about:
                    about["outcome"] = report.outcome if not hasattr(report, "wasxfail") else "xfailed"

        return Hooks()

    def share(self, lines: Lines) -> None:
        for module, numbers in lines.items():
            self.common.setdefault(module, set()).update(numbers)


def _record(file: str, setting: Setting) -> dict[str, Any]:
    HERE.load(setting)
    done = forked(lambda tell: tell(_recorded(file, setting)))
    if done.why or not done.messages:
        raise RuntimeError(done.why or "pytest reported nothing")
    result: dict[str, Any] = done.messages[0]
    return result


def _recorded(file: str, setting: Setting) -> dict[str, Any]:
    import pytest

    record = _PerTest(setting.files)
    os.environ.pop("PYTEST_ADDOPTS", None)
    pytest.main([*OPTIONS, file], plugins=[record.hooks()])
    return {
        "common": {module: sorted(numbers) for module, numbers in record.common.items()},
        "tests": {name: test for name, test in record.tests.items() if "lines" in test},
    }


def _last_line(report: Any) -> str:
    lines = [line for line in str(report.longrepr).splitlines() if line.startswith("E ")]
    return (lines[0] if lines else str(report.longrepr)[-200:]).strip()[:300]
