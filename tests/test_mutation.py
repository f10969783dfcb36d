"""Errors drawn at random: how they are planted, what notices them, and what a campaign says of it."""

from __future__ import annotations

import functools
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from driftproof.validation.mutation import Campaign, Rate, Site, mutate
from driftproof.validation.mutation.attempts import _judged
from driftproof.validation.mutation.drawing import sites_of
from driftproof.validation.mutation.forks import Fork, allow, forked
from driftproof.validation.mutation.found import Tried
from driftproof.validation.mutation.lines import recorded
from driftproof.validation.mutation.loaded import Piece
from driftproof.validation.mutation.reach import code_of, reached, reached_by, reread, runs
from driftproof.validation.mutation.records import Records, Touched
from driftproof.validation.mutation.swap import functions_of, swapped
from driftproof.validation.mutation.testing import Test, run_tests
from driftproof.validation.registry import Registry
from tests.mutable_toy import KERNELS, project


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a package of a user, with claims and tests."""
    with project(tmp_path_factory.mktemp("project")) as name:
        yield name


@pytest.fixture(scope="module")
def toys(toy: str) -> Registry:
    registry: Registry = importlib.import_module(f"{toy}.claims").TOYS
    return registry


def live(toy: str) -> tuple[Any, list[FunctionType]]:
    module = importlib.import_module(f"{toy}.kernels")
    return module, functions_of([module.__file__])[module.__file__]


def site_of(toy: str, operator: str, before: str, nth: int = 0) -> Site:
    made = sites_of([f"{toy}.kernels"])
    return [s for s in made if s.operator == operator and s.before == before][nth]


class TestSwap:
    def test_whoever_holds_the_function_holds_the_wrong_one(self, toy: str) -> None:
        module, functions = live(toy)
        partial, held = functools.partial(module.wrapped, 2.0), module.HELD["wrapped"]

        def work(tell: Callable[[Any], None]) -> None:
            swapped(site_of(toy, "sign", "y + x"), functions)
            tell([module.wrapped(2.0), partial(), held(2.0)])

        done = forked(work)
        assert done.messages == ([2.0, 2.0, 2.0],)
        assert module.wrapped(2.0) == 6.0  # nothing is left behind

    def test_a_line_that_no_function_has_is_an_error(self, toy: str) -> None:
        _, functions = live(toy)
        with pytest.raises(RuntimeError, match="no live function"):
            swapped(site_of(toy, "constant", "3.0"), functions)


class TestForks:
    def test_what_was_told_before_the_end_stays(self) -> None:
        def work(tell: Callable[[Any], None]) -> None:
            tell("first")
            os._exit(7)

        done = forked(work)
        assert done.messages == ("first",)
        assert done.why == "exited with status 7" and not done.ours

    def test_processor_time_is_limited(self) -> None:
        def work(tell: Callable[[Any], None]) -> None:
            allow(0.0)
            while True:
                pass

        done = forked(work)
        assert done.slow and not done.ours

    def test_an_exception_is_the_fault_of_the_harness(self) -> None:
        def work(tell: Callable[[Any], None]) -> None:
            raise ValueError("ours")

        assert forked(work).ours and "ours" in forked(work).why


@pytest.mark.slow(ci=True)
def test_tests_run_beside_a_conftest(tmp_path: Path) -> None:
    """pytest then leaves plugins out by their sets, for what the conftest does not speak of."""
    (tmp_path / "conftest.py").write_text("def pytest_collectreport(report): pass")
    (tmp_path / "test_one.py").write_text("def test_one(): assert True")
    one = Test(f"{tmp_path / 'test_one.py'}::test_one", 0.1)
    done = forked(lambda tell: run_tests([one], 30.0, tell))
    assert [told[1] for told in done.messages if told[0] == "tests"] == [0], done.messages


def test_lines_are_recorded_and_only_of_the_files(toy: str) -> None:
    module, _ = live(toy)
    start = KERNELS.splitlines().index("def clipped(x: float) -> float:") + 1
    with recorded({module.__file__: "mine"}) as lines:
        module.clipped(2.0)
    assert lines == {"mine": {start + 2, start + 3}}
    with recorded({module.__file__: "mine"}) as lines:
        module.clipped(0.0)
    assert lines == {"mine": {start + 2, start + 4}}


class TestRecords:
    """Which evidence runs for which error, and in which order."""

    SITE = Site("m", "m.py", 5, 0, 1, 6, "sign", "-x", "x", "f")

    def records(self, imports: set[int]) -> Records:
        touched = [
            Touched(Piece("A", ("a", "A"), "slow", seconds=2.0), {"m": frozenset({6})}),
            Touched(Piece("A", ("a", "A"), "fast", seconds=1.0), {"m": frozenset({4, 5})}),
            Touched(Piece("A", ("a", "A"), "elsewhere", seconds=0.5), {"m": frozenset({9})}),
            Touched(Piece("A", ("a", "A"), "user", seconds=0.1), {"user": frozenset({1})}),
        ]
        return Records(tuple(touched), {"m": frozenset(imports)}, ())

    def test_evidence_that_runs_the_lines_the_cheapest_first(self) -> None:
        known = self.records(imports={1, 9})
        assert [piece.name for piece in known.touching(self.SITE)] == ["fast", "slow"]

    def test_what_imports_run_may_be_held_by_the_module_and_by_who_reads_it(self) -> None:
        known = self.records(imports={5})
        assert known.at_import(self.SITE)
        names = [piece.name for piece in known.touching(self.SITE, users=["user"])]
        assert names == ["fast", "slow", "user", "elsewhere"]


class TestJudgement:
    """What becomes of an error, from what its fork told."""

    PIECE = Piece("A-1", ("a", "A"), "exact", state="holds")

    def fate(self, *told: Any, why: str = "", slow: bool = False, ours: bool = False) -> str:
        return _judged(Fork(told, why, slow, ours, 0.0), [self.PIECE]).status

    def test_fates(self) -> None:
        begin = ("begin", 0)
        assert self.fate(begin, ("end", 0, "holds", "")) == "survived"
        assert self.fate(begin, ("end", 0, "breaks", "")) == "killed"
        assert self.fate(begin, ("end", 0, "crashed", "")) == "killed"
        assert self.fate(begin, why="ended by SIGSEGV") == "killed"
        assert self.fate(begin, why="ended by SIGXCPU", slow=True) == "timeout"
        assert self.fate(begin, why="ended by SIGKILL", ours=True) == "error"  # perhaps for want of memory
        assert self.fate(why="RuntimeError: no live function", ours=True) == "error"
        assert self.fate(why="exited with status 1") == "error"  # before any evidence ran


def test_claims_reach_what_they_import(toy: str) -> None:
    claims = "driftproof.validation.claims.opd.gradients"
    assert {"driftproof.theory.opd.exact", "driftproof.theory.opd"} <= reached(claims)
    assert not {name for name in reached(claims) if name.startswith("driftproof.theory.adjoint")}
    assert f"{toy}.kernels" in reached(f"{toy}.claims")
    assert "driftproof.validation.registry" in reached(f"{toy}.claims")


@pytest.mark.slow(ci=True)
def test_tests_reach_what_they_and_their_helpers_import(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("from driftproof.theory import laws")
    (tmp_path / "conftest.py").write_text("import os")
    test = tmp_path / "test_one.py"
    test.write_text(
        'from helper import laws\nimport driftproof.theory.opd\nMODULE = "driftproof.numerics.rates"\n'
    )
    found, helpers = reached_by(test)
    assert {
        "driftproof.theory.laws.normal",
        "driftproof.theory.opd.exact",
        "driftproof.numerics.rates",
    } <= found
    assert not runs(found, {"driftproof.theory.adjoint.discrete"})
    assert [file.name for file in helpers] == ["conftest.py", "helper.py"]
    everything, _ = reached_by(Path(__file__).with_name("test_inventory.py"))
    assert runs(everything, {"driftproof.theory.adjoint.discrete"})  # it goes over the inventory


def test_a_record_is_believed_while_what_it_reaches_stays(tmp_path: Path) -> None:
    file, found = tmp_path / "test_one.py", reached("driftproof.theory.laws")
    file.write_text("")
    before = code_of(found, file)
    assert before == code_of(found, file)
    assert before != code_of(found - {"driftproof.theory.laws.normal"}, file)
    assert before != code_of(found)


def test_an_edit_is_seen_also_in_a_folder_that_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").mkdir()
    kernels, test = tmp_path / "plain" / "kernels.py", tmp_path / "test_one.py"
    kernels.write_text("ONE = 1")
    test.write_text("from plain import kernels")
    monkeypatch.syspath_prepend(str(tmp_path))
    reread()
    before = code_of(reached_by(test)[0], test)
    kernels.write_text("ONE = 2")
    reread()
    assert before != code_of(reached_by(test)[0], test)


@pytest.fixture(scope="module")
def campaign(toy: str, toys: Registry) -> Campaign:
    """Every kind of fate at once."""
    kinds = {
        "held": site_of(toy, "sign", "y + x"),
        "constant": site_of(toy, "constant", "3.0"),
        "table": site_of(toy, "off-by-one=+1", "3"),
        "default": site_of(toy, "default=2", "0.0"),
        "uncovered": site_of(toy, "strictness", "x > 1.0"),
        "equivalent": site_of(toy, "factor=2", "0.0 * abs(x)"),
    }
    return mutate(replay=[site.key for site in kinds.values()], registry=toys, timeout=300.0)


class TestCampaign:
    @pytest.mark.slow(ci=True)
    def test_fates(self, campaign: Campaign) -> None:
        fates = {one.site.before: one.attempt.status for one in campaign.tried}
        assert fates == {
            "y + x": "killed",
            "3.0": "killed",  # a constant that a table made of it holds, too
            "3": "survived",  # the table is longer, and nobody looks
            "0.0": "killed",  # a default
            "x > 1.0": "not covered",
            "0.0 * abs(x)": "equivalent",
        }
        assert not campaign.errors and not campaign.unusable
        assert campaign.whole == Rate(3, 5)

    @pytest.mark.slow(ci=True)
    def test_kills_name_their_evidence(self, campaign: Campaign) -> None:
        by = {one.site.before: one.attempt.by for one in campaign.tried}
        assert by["y + x"] == "TOY-CUBE-1 others"
        assert by["0.0"] == "TOY-CUBE-1 at_points"

    @pytest.mark.slow(ci=True)
    def test_document(self, campaign: Campaign) -> None:
        document = json.loads(json.dumps(campaign.to_json()))
        assert document["rates"]["all"]["all"][:2] == [3, 5]
        assert {mutant["status"] for mutant in document["mutants"]} == {
            "killed",
            "survived",
            "not covered",
            "equivalent",
        }
        assert all(
            mutant["replay"].startswith("driftproof mutate --replay ") for mutant in document["mutants"]
        )

    @pytest.mark.slow(ci=True)
    def test_tests_come_behind_the_claims(self, toy: str, toys: Registry, campaign: Campaign) -> None:
        keys = [one.site.key for one in campaign.of_status("not covered")]
        keys.append(site_of(toy, "constant", "1.0", nth=1).key)
        found = mutate(replay=keys, tests=["test_clips.py"], registry=toys, timeout=300.0)
        by = {one.site.before: one.attempt for one in found.tried}
        assert by["1.0"].status == "killed" and by["1.0"].by.endswith("::test_clips")
        assert by["x > 1.0"].status == "survived"  # clipped(1.0) is 1.0 by both branches: no test can tell
        assert by["x > 1.0"].tried == 1

    @pytest.mark.slow(ci=True)
    def test_a_campaign_goes_on_where_it_was(self, toy: str, toys: Registry) -> None:
        def stop(tried: Tried, done: int) -> None:
            if done == 1:
                raise KeyboardInterrupt

        options: dict[str, Any] = {"count": 3, "seed": 1, "registry": toys, "timeout": 300.0}
        part = mutate([f"{toy}.kernels"], announce=stop, **options)
        assert part.interrupted and part.status == 130 and len(part.tried) == 1
        whole = mutate([f"{toy}.kernels"], resume=True, **options)
        assert len(whole.tried) == 3
        assert set(map(repr, part.tried)) < set(map(repr, whole.tried))  # with the same processor times

    def test_wrong_input(self, toy: str, toys: Registry) -> None:
        for wrong in ({"count": 0}, {"seed": -1}, {"at_least": 2.0}, {"jobs": 0}):
            with pytest.raises(ValueError, match="mutate: expected"):
                mutate([f"{toy}.kernels"], registry=toys, **wrong)  # type: ignore[arg-type]
        with pytest.raises(LookupError, match="can be planted"):
            mutate(replay=[f"{toy}/kernels.py:1:0-1:sign"], registry=toys)


@pytest.mark.slow
def test_what_finds_no_end_is_noticed(toy: str, toys: Registry) -> None:
    found = mutate(replay=[site_of(toy, "sign", "n - 1.0").key], registry=toys, timeout=300.0)
    assert [one.attempt.status for one in found.tried] == ["timeout"]
    assert found.whole == Rate(1, 1) and found.status == 0


@pytest.mark.slow
def test_the_command(toy: str) -> None:
    command = [sys.executable, "-m", "driftproof", "mutate", f"{toy}.kernels", "--module", f"{toy}.claims"]
    done = subprocess.run(
        [*command, "--count", "3", "--json", "-", "--jobs", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    document = json.loads(done.stdout)
    assert document["format"] == 1 and document["count"] == 3
    assert "noticed" in done.stderr
    wrong = subprocess.run([*command[:4], "nowhere"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "no module and no paper is called 'nowhere'" in wrong.stderr


@pytest.mark.slow
def test_a_fixed_sample_of_the_library() -> None:
    """The harness never fails on the library, and a replay has the same fate."""
    found = mutate("numerics.transfer.curves", count=6, seed=15, jobs=2, timeout=600.0)
    assert not found.errors and not found.unusable
    assert not found.of_status("error")
    killed = found.of_status("killed")
    assert killed, str(found)  # by claims alone; the rate itself is a measurement, and no test
    again = mutate(replay=[killed[0].site.key], timeout=600.0)
    assert [one.attempt.by for one in again.tried] == [killed[0].attempt.by]
