"""What cannot run because a package is not installed is skipped, with its reason, and is no failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from driftproof.validation import Thing, benchmarks, drawn, exact, missing, property, run
from driftproof.validation.missing import absent, lacking
from driftproof.validation.progress import verdict
from driftproof.validation.registry import LoadFailure, Registry
from driftproof.validation.reporting.page import _banner
from tests.claim_maker import negated, outcome, table

REASON = "nonesuch is not installed; pip install 'driftproof[hub]'"


@pytest.fixture(autouse=True)
def nonesuch(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra has a package that is nowhere installed."""
    monkeypatch.setattr(missing, "_extras", lambda: {"nonesuch": "hub", "numpy": "hub"})


@exact(tolerance=1e-12)
def elsewhere(thing: Thing) -> Any:
    import nonesuch.part  # type: ignore[import-not-found]  # noqa: F401

    return 0.0, 0.0


@property(tolerance=1e-12)
def drawn_elsewhere(thing: Thing, x: float = drawn(st.floats(0.0, 1.0))) -> Any:
    return elsewhere.function(thing)


def failing(name: str, kind: type[Exception] = ModuleNotFoundError) -> Exception:
    return kind(f"No module named {name!r}", name=name)


class TestReasons:
    def test_the_extra_that_has_a_package_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert lacking("nonesuch.part") == REASON
        monkeypatch.undo()
        assert lacking("transformers.models").endswith("pip install 'driftproof[hub]'")
        assert lacking("torch").endswith("pip install 'driftproof[torch]'")
        assert lacking("nonesuch").endswith("pip install nonesuch")

    def test_only_an_optional_dependency_that_is_missing_is_a_reason(self) -> None:
        assert absent(failing("nonesuch.part")) == REASON
        assert absent(failing("misspelt")) is None, "no extra has it"
        assert absent(failing("numpy.misspelt")) is None, "it is installed, and something else is wrong"
        assert absent(failing("nonesuch", ImportError)) is None, "a name that it lacks"
        assert absent(ValueError("nonesuch")) is None

    def test_so_is_what_was_raised_from_it(self) -> None:
        try:
            raise ImportError("expected nonesuch >= 2") from failing("nonesuch")
        except ImportError as error:
            assert absent(error) == REASON


class TestEngine:
    @pytest.mark.parametrize("evidence", [elsewhere, drawn_elsewhere])
    def test_evidence_is_skipped(self, evidence: Any) -> None:
        found = outcome(table, evidence, mutants={"sign": negated, "far": lambda x: x * x + (x < 0)})
        assert (found.status, found.ok) == ("conditional", True)
        assert [e.state for e in found.evidence] == ["holds", "skipped"]
        assert found.evidence[1].detail == REASON
        assert [m.caught for m in found.mutants] == [True, None]
        assert found.mutants[1].detail == REASON

    def test_a_claim_of_which_nothing_runs_is_no_failure(self) -> None:
        for expect in ("verified", "refuted"):
            found = outcome(elsewhere, expect=expect)
            assert (found.status, found.ok) == ("conditional", True)

    def test_what_was_tried_still_counts(self) -> None:
        assert outcome(table, elsewhere, thing=abs).status == "refuted"
        survivor = {"sign": negated, "same": lambda x: x * x}

        @exact(tolerance=1e-12, requires="nonesuch")
        def declared(thing: Thing) -> Any:
            raise AssertionError("must not run")

        assert outcome(table, declared, mutants=survivor).status == "conditional"
        assert not outcome(table, mutants=survivor).ok

    def test_a_misspelt_import_stays_an_error(self) -> None:
        @exact(tolerance=1e-12)
        def misspelt(thing: Thing) -> Any:
            import numpyy  # type: ignore[import-not-found]  # noqa: F401

        found = outcome(misspelt)
        assert (found.status, found.ok) == ("error", False)
        assert "numpyy" in found.evidence[0].detail


class TestRunners:
    def test_a_module_of_claims_is_skipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        registry = Registry(loaded=True)
        (tmp_path / "needing.py").write_text("import nonesuch\n")
        (tmp_path / "broken.py").write_text("import numpyy\n")
        package = "toy.claims"
        for name in ("toy", package):
            made = type(sys)(name)
            made.__path__ = [str(tmp_path)]
            monkeypatch.setitem(sys.modules, name, made)
        registry._import_below(package, [str(tmp_path)])
        broken, needing = registry.failures
        assert needing == LoadFailure("needing", "toy.claims.needing", REASON, skipped=True)
        assert not broken.skipped
        found = run(["needing"], registry=registry)
        assert found.ok
        assert [claim.status for claim in found.claims] == ["conditional"]
        assert f"skipped: 1 piece of evidence: {REASON}" in verdict(found)
        assert not run(["broken"], registry=registry).ok

    def test_a_report_does_not_say_that_it_holds(self) -> None:
        settled = [outcome(table), outcome(table, elsewhere), outcome(elsewhere)]
        claims = [{**found.to_json(), "caught": 0} for found in settled]
        budget = {"false_alarms": 1e-6, "spent": 0.0}
        run = {"interrupted": False, "budget": budget, "seed": 0, "effort": "quick", "seconds": 1.0}
        told = _banner({**run, "uncovered": []}, claims)["headline"]
        assert told == "2 claims hold, 1 of them on part of their evidence; 1 could not be tried here"

    def test_a_benchmark_is_skipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        row = {"name": "f", "ours_seconds": 1.0, "peer": "none", "peer_seconds": None, "ratio": None}
        (tmp_path / "timed_here.py").write_text(f"def run():\n    return [{row!r}]\n")
        (tmp_path / "timed_without.py").write_text("def run():\n    import nonesuch\n")
        (tmp_path / "misspelt.py").write_text("def run():\n    import numpyy\n")
        monkeypatch.setattr(benchmarks, "__path__", [str(tmp_path)])
        told: list[str] = []
        assert benchmarks.benchmark(["timed_here", "timed_without"], told.append) == [row]
        assert f"skipped timed_without: {REASON}" in told
        for names in (["timed_without"], ["timed_here", "misspelt"]):
            with pytest.raises(ModuleNotFoundError):
                benchmarks.benchmark(names)

    @pytest.mark.slow
    def test_pytest_skips_it_and_says_why(self, tmp_path: Path) -> None:
        (tmp_path / "conftest.py").write_text(PYTEST)
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "pytest",
                    "-p",
                    "no:cacheprovider",
                    "-rs",
                    "--claims",
                    "OPD-LINEAR-1",
                ),
                *("--claims-timeout", "0"),  # torch is hidden from the process of pytest alone
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert "4 skipped" in done.stdout
        assert done.stdout.count("torch is not installed; pip install 'driftproof[torch]'") >= 2


PYTEST = """
import importlib.util

find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "torch" else find(name, *more)
"""
