"""Whole runs: workers, replay, interruption, resumption, clusters."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from driftproof._identity import library
from driftproof.validation import run
from driftproof.validation.engine import Plan, evaluate_claim
from driftproof.validation.evidence.base import Effort
from driftproof.validation.journal import Journal, write_atomically
from driftproof.validation.outcomes import ClaimOutcome
from driftproof.validation.progress import Progress
from driftproof.validation.registry import LoadFailure, Registry

TESTS = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRIFTPROOF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TESTS)  # workers import the toy claims by name
    return importlib.import_module("toy_claims")


class Watch(Progress):
    """Keeps the ids of settled claims; interrupts after ``patience`` of them."""

    def __init__(self, patience: int = 1000) -> None:
        self.ids: list[str] = []
        self.resumed, self.patience, self.ended = 0, patience, False

    def begin(self, total: int, resumed: int) -> None:
        self.total, self.resumed = total, resumed

    def settled(self, outcome: ClaimOutcome) -> None:
        self.ids.append(outcome.id)
        if len(self.ids) >= self.patience:
            raise KeyboardInterrupt

    def end(self) -> None:
        self.ended = True


class TestRun:
    def test_true_claims_pass(self, toys: Any) -> None:
        done = run(registry=toys.TOYS)
        assert done.ok and not done.interrupted
        assert [claim.id for claim in done.claims] == ["TOY-SQUARE-1", "TOY-SQUARE-2"]
        assert 0 < done.spent <= done.budget == 1e-6
        assert "numpy" in done.versions

    @pytest.mark.slow(ci=True)
    def test_the_same_seed_repeats_for_any_number_of_workers(self, toys: Any) -> None:
        alone, again, workers = (run(registry=toys.TOYS, jobs=jobs, seed=3) for jobs in (1, 1, 2))
        assert alone == again == workers
        p_values = [claim.evidence[2].p_value for claim in alone.claims]
        other = run(registry=toys.TOYS, seed=4)
        assert p_values != [claim.evidence[2].p_value for claim in other.claims]
        assert len(set(p_values)) == 2, "claims draw differently"

    def test_one_surviving_mutant_fails_the_run(self, toys: Any) -> None:
        registry = Registry()
        toys._register(registry, "TOY-SQUARE-1", toys._Square, "SquareA")
        weak = type("Weak", (), {**vars(toys._Slow), "mutants": {"a": lambda x: 9.0, "b": toys.negated}})
        registry.claim("TOY-WEAK-1", paper="toy", covers={"thing": toys.square})(weak)
        done = run(registry=registry)
        assert not done.ok and [claim.ok for claim in done.claims] == [True, False]

    def test_selection_lowers_what_is_spent(self, toys: Any) -> None:
        whole, part = run(registry=toys.TOYS), run(["TOY-SQUARE-2"], registry=toys.TOYS)
        assert part.spent == pytest.approx(whole.spent / 2)
        assert part.claims == whole.claims[1:], (
            "the share of a claim does not depend on the others' selection"
        )

    @pytest.mark.parametrize(
        ("names", "count"),
        [(["toy"], 2), (["TOY-*"], 2), (["TOY-SQUARE-1"], 1), (["TOY-SQUARE-1", "toy"], 2)],
    )
    def test_selection(self, toys: Any, names: list[str], count: int) -> None:
        assert len(toys.TOYS.select(names)) == count

    def test_unknown_names_suggest_known_ones(self, toys: Any) -> None:
        with pytest.raises(LookupError, match="'TOY-SQUARE-3'; did you mean TOY-SQUARE"):
            run(["TOY-SQUARE-3"], registry=toys.TOYS)

    def test_wrong_input(self, toys: Any) -> None:
        with pytest.raises(ValueError, match="seed >= 0"):
            run(registry=toys.TOYS, seed=-1)
        with pytest.raises(ValueError, match="effort"):
            run(registry=toys.TOYS, effort="heroic")
        with pytest.raises(ValueError, match="dask://HOST:PORT or ray"):
            run(registry=toys.TOYS, cluster="slurm")

    def test_a_module_that_does_not_import_is_an_error(self, toys: Any) -> None:
        registry = Registry(dict(toys.TOYS.claims), [LoadFailure("toy", "x.claims.toy.bad", "SyntaxError")])
        done = run(["toy"], registry=registry)
        assert not done.ok and done.claims[0].status == "error" and done.claims[0].id == "toy.bad"
        assert run(["TOY-SQUARE-1"], registry=registry).claims[0].status == "error"

    def test_load_keeps_what_imports(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "toypackage" / "claims"
        package.mkdir(parents=True)
        (tmp_path / "toypackage" / "__init__.py").touch()
        (package / "__init__.py").touch()
        (package / "bad.py").write_text("1 / 0\n")
        (package / "good.py").write_text("loaded = True\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        registry = Registry()
        registry._import_below("toypackage.claims", [str(package)])
        assert sys.modules["toypackage.claims.good"].loaded
        assert [(f.paper, f.reason) for f in registry.failures] == [
            ("bad", "ZeroDivisionError: division by zero (line 1 of <module>)")
        ]


class TestWorkers:
    def test_one_that_dies_takes_nothing_along(self, toys: Any) -> None:
        registry = Registry(dict(toys.TOYS.claims))
        doomed = type("Doomed", (), dict(vars(toys._Slow)))
        registry.claim("TOY-DEADLY-1", paper="toy", covers={"thing": toys.deadly})(doomed)
        done = run(registry=registry, jobs=2)
        assert [claim.status for claim in done.claims] == ["verified", "verified", "error"]
        assert done.claims[2].evidence[0].detail == "its process exited with status 3" and done.status == 3

    @pytest.mark.slow(ci=True)
    def test_what_no_import_finds_is_sent_by_value(self, toys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        here, registry = ModuleType("here_only"), Registry()
        monkeypatch.setitem(sys.modules, "here_only", here)
        monkeypatch.setenv("TOY_SECONDS", "0")
        here.A = toys._register(registry, "HERE-1", toys._Slow, "A", module="here_only")
        here.B = toys._register(registry, "HERE-2", toys._Slow, "B", module="here_only")
        with warnings.catch_warnings(action="error"):
            done = run(registry=registry, jobs=2)
        assert [claim.status for claim in done.claims] == ["verified", "verified"]
        assert done.identity is None, "nobody can tell what such code is"

    def test_what_a_worker_cannot_import(
        self, toys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "once_only.py").write_text("raise ZeroDivisionError('not twice')")
        monkeypatch.syspath_prepend(str(tmp_path))
        here, registry = ModuleType("once_only"), Registry()
        monkeypatch.setitem(sys.modules, "once_only", here)
        here.A = toys._register(registry, "ONCE-1", toys._Square, "A", module="once_only")
        done = run(registry=registry, timeout=60.0)
        told = "its module does not import in a worker: ZeroDivisionError: not twice"
        assert done.claims[0].evidence[0].detail == told and done.status == 3

    def test_what_cannot_be_sent_is_settled_here_and_said_to_be(
        self, toys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock, registry = threading.Lock(), Registry()  # no pickle holds a lock

        def locked(x: Any) -> Any:
            with lock:
                return x * x

        def asleep(x: Any) -> Any:
            with lock:
                time.sleep(60.0)

        for name, thing in (("LOCK-1", locked), ("LOCK-2", asleep)):
            made = type(name, (), dict(vars(toys._Slow)))
            registry.claim(name, paper="toy", covers={"thing": thing})(made)
        with pytest.warns(UserWarning, match="LOCK-[12] is settled in the process of the run"):
            done = run(registry=registry, timeout=1.0)
        assert [claim.status for claim in done.claims] == ["verified", "error"]
        assert done.claims[1].evidence[0].detail == "no end within 1 s"


class TestInterruption:
    @pytest.mark.slow(ci=True)
    @pytest.mark.parametrize("jobs", [1, 2])
    def test_keeps_what_was_settled(self, toys: Any, jobs: int) -> None:
        watch = Watch(patience=1)
        done = run(registry=toys.TOYS, jobs=jobs, progress=watch)
        assert done.interrupted and not done.ok and watch.ended
        assert [claim.id for claim in done.claims] == watch.ids

    def test_resume_settles_the_rest_only(self, toys: Any, own_cache: Path) -> None:
        first = run(registry=toys.TOYS, progress=Watch(patience=1))
        watch = Watch()
        done = run(registry=toys.TOYS, resume=True, progress=watch)
        assert watch.resumed == 1 and len(watch.ids) == 1 and done.ok
        assert first.claims[0] in done.claims and done == run(registry=toys.TOYS)
        assert not list(own_cache.rglob("*.json")), "a complete run leaves no journal"

    @pytest.mark.slow(ci=True)
    @pytest.mark.parametrize("changed", [{"seed": 1}, {"effort": "quick"}, {"resume": False}])
    def test_nothing_is_resumed_that_would_differ(self, toys: Any, changed: dict[str, Any]) -> None:
        run(registry=toys.TOYS, progress=Watch(patience=1))
        watch = Watch()
        run(registry=toys.TOYS, progress=watch, **{"resume": True, **changed})
        assert watch.resumed == 0

    def test_a_damaged_journal_is_not_believed(self, toys: Any, own_cache: Path) -> None:
        run(registry=toys.TOYS, progress=Watch(patience=1))
        (entry,) = own_cache.rglob("*.json")
        entry.write_text(entry.read_text()[:50])
        watch = Watch()
        assert run(registry=toys.TOYS, resume=True, progress=watch).ok and watch.resumed == 0

    def test_a_changed_claim_is_settled_again(self, toys: Any) -> None:
        plan, claim = Plan(), toys.TOYS.claims["TOY-SQUARE-1"]
        journal = Journal.of(plan)
        journal.keep(evaluate_claim(claim, plan), claim)
        (entry,) = journal.directory.glob("*.json")
        assert journal.find(claim) is not None
        kept = json.loads(entry.read_text())
        entry.write_text(json.dumps({**kept, "identity": "of another day"}))
        assert journal.find(claim) is None
        assert Journal.of(Plan(effort=Effort.FULL)).directory != journal.directory

    def test_without_a_writable_cache_nothing_is_kept(self, toys: Any, own_cache: Path) -> None:
        own_cache.write_text("a file where the folder should be")
        assert run(registry=toys.TOYS).ok

    @pytest.mark.slow(ci=True)
    @pytest.mark.parametrize(("jobs", "whole_group"), [("1", False), ("2", True)])
    def test_ctrl_c(self, tmp_path: Path, own_cache: Path, jobs: str, whole_group: bool) -> None:
        """A terminal interrupts the whole group of processes, ``kill -INT`` one of them."""
        process = start_slow(tmp_path, jobs)
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("[2/4]"):
                break
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert "continue with --resume" in out and "Traceback" not in err
        document = json.loads((tmp_path / "out.json").read_text())
        assert document["interrupted"] is True and document["ok"] is False
        assert {claim["id"] for claim in document["claims"]} == {"SLOW-QUICK-1", "SLOW-QUICK-2"}
        assert len(list(own_cache.rglob("SLOW-QUICK-*.json"))) == 2

    @pytest.mark.slow(ci=True)
    def test_a_kill_leaves_a_journal_to_resume(self, tmp_path: Path) -> None:
        source = library()
        process = start_slow(tmp_path, "1")
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("[2/4]"):
                break
        process.kill()
        process.communicate(timeout=30)
        assert not (tmp_path / "out.json").exists()
        done = start_slow(tmp_path, "1", "--resume", seconds="0")
        out, err = done.communicate(timeout=60)
        assert done.returncode == 0, out + err
        library.cache_clear()
        if library() != source:
            pytest.skip("the source was edited while this test ran: there is nothing to resume")
        assert "resumed: 2 of 4 claims" in err and "4 verified" in out


def start_slow(tmp_path: Path, jobs: str, *options: str, seconds: str = "60") -> subprocess.Popen[str]:
    code = (
        "import toy_claims; from driftproof.validation.registry import REGISTRY\n"
        "REGISTRY.claims.update(toy_claims.SLOW.claims)\n"
        "REGISTRY.loaded = True"
    )
    (tmp_path / "slow_claims.py").write_text(code)
    path = os.pathsep.join([TESTS, str(tmp_path), *filter(None, sys.path)])
    command = [sys.executable, "-m", "driftproof", "verify", "SLOW-*", "--module", "slow_claims"]
    command += ["--jobs", jobs, "--json", str(tmp_path / "out.json"), *options]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path, "TOY_SECONDS": seconds},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


class TestFiles:
    def test_written_whole_or_not_at_all(self, tmp_path: Path) -> None:
        target = tmp_path / "deep" / "file.txt"
        write_atomically(target, "one")
        with pytest.raises(UnicodeEncodeError):
            write_atomically(target, "two \udc80")
        assert target.read_text() == "one"
        assert list(target.parent.iterdir()) == [target], "no temporary file is left"


@pytest.fixture
def dask_cluster(toys: Any) -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address.replace("tcp://", "dask://")


class TestClusters:
    @pytest.mark.slow(ci=True)
    def test_dask(self, toys: Any, dask_cluster: str) -> None:
        assert run(registry=toys.TOYS, cluster=dask_cluster) == run(registry=toys.TOYS)

    def test_ray_is_asked_for_by_name(self, toys: Any) -> None:
        if importlib.util.find_spec("ray") is not None:
            pytest.skip("ray is installed")
        with pytest.raises(ValueError, match=r"ray is not installed; pip install 'driftproof\[cluster\]'"):
            run(registry=toys.TOYS, cluster="ray")


def test_one_name_needs_no_list() -> None:
    assert [claim.id for claim in run("CONVENTION-TIME-1", effort="quick").claims] == ["CONVENTION-TIME-1"]


@pytest.mark.slow(ci=True)
def test_evidence_that_leaves_torch_alone_loads_no_compiler() -> None:
    """Setting the determinism that is set imports torch's compiler: seconds in every worker, and in every fork."""
    pytest.importorskip("torch")
    text = """
import sys
import torch
from driftproof.validation.surroundings import restored
before = {name for name in sys.modules if name.startswith("torch._dynamo")}
with restored():
    pass
assert {name for name in sys.modules if name.startswith("torch._dynamo")} == before
with restored():
    torch.use_deterministic_algorithms(True, warn_only=True)
assert not torch.are_deterministic_algorithms_enabled()
"""
    subprocess.run([sys.executable, "-c", text], check=True)
