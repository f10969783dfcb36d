"""The pytest plugin: claims as test nodes, and nothing without the option."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

WEAK = """
from toy_claims import TOYS, square, negated
from driftproof.validation import claim, exact, parity
from driftproof.validation.registry import REGISTRY

REGISTRY.claims.update(TOYS.claims)
REGISTRY.loaded = True  # the toys alone: to import all claims takes seconds

@claim("TOY-WEAK-1", paper="toy", statement="", covers={"thing": square})
class Weak:
    @exact(tolerance=0.0)
    def blind(thing):
        return 0.0, 0.0

    @exact(tolerance=0.0, effort="full")
    def long(thing):
        return 0.0, 0.0

    mutants = {"sign": negated, "crash": lambda x: 1 / 0}

@claim("TOY-FALSE-1", paper="toy", statement="", covers={"thing": negated}, expect="refuted")
class False_:
    @exact(tolerance=0.0)
    def is_even(thing):
        return thing(1.0), thing(-1.0)

    @exact(tolerance=0.0)
    def table(thing):
        return thing(3.0), 9.0

    mutants = {"one": square, "shift": lambda x: 9.5}

@claim("TOY-FALSE-2", paper="toy", statement="", covers={"thing": negated})
class Unexpected:
    @exact(tolerance=0.0)
    def table(thing):
        return thing(3.0), 9.0

    mutants = {"one": abs, "two": round}
"""

ENDS = """
import os, time
import weak_claims
from toy_claims import square
from driftproof.validation import claim, exact

@claim("TOY-ENDS-1", paper="toyends", statement="", covers={"thing": square})
class Ends:
    @exact(tolerance=0.0)
    def exits(thing):
        os._exit(0)

    @exact(tolerance=0.0)
    def blocks(thing):
        time.sleep(3600)

    @exact(tolerance=0.0)
    def holds(thing):
        return thing(3.0), 9.0

    mutants = {"one": abs, "two": round}
"""


def pytest_run(directory: Path, *options: str) -> tuple[int, str]:
    (directory / "weak_claims.py").write_text(WEAK)
    (directory / "ends_claims.py").write_text(ENDS)
    (directory / "test_ordinary.py").write_text("def test_ordinary(): pass\n")
    path = os.pathsep.join([str(TESTS), str(directory), *filter(None, sys.path)])
    ours = ["-p", "driftproof.validation.pytest_plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *ours, *options]
    done = subprocess.run(
        command,
        cwd=directory,
        # Of the plugins only those that are asked for: the others take a second to import.
        env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_without_the_option_nothing_changes(tmp_path: Path) -> None:
    code, out = pytest_run(tmp_path, "-v")
    assert code == 0 and "1 passed" in out and "claim[" not in out


def test_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import driftproof.validation.pytest_plugin\n"
        "heavy = {'hypothesis', 'sympy', 'mpmath', 'matplotlib', 'joblib', 'torch', 'typer', 'jinja2', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_piece_of_evidence_and_every_mutant_is_a_node(tmp_path: Path) -> None:
    code, out = pytest_run(tmp_path, "-p", "weak_claims", "--claims", "TOY-SQUARE-1", "-v")
    assert code == 0, out
    for node in ("equals_table", "is_even", "has_mean_one", "mutant sign", "mutant factor two"):
        assert f"claim[TOY-SQUARE-1::{node}] PASSED" in out
    assert "5 passed" in out and "test_ordinary" not in out


def test_files_that_are_named_are_collected_too(tmp_path: Path) -> None:
    code, out = pytest_run(
        tmp_path,
        "-p",
        "weak_claims",
        "--claims",
        "TOY-SQUARE-1",
        "test_ordinary.py",
        "-k",
        "ordinary or sign",
    )
    assert code == 0 and "2 passed" in out, out


@pytest.mark.slow(ci=True)
def test_failures_speak_for_themselves(tmp_path: Path) -> None:
    code, out = pytest_run(
        tmp_path, "-p", "weak_claims", "--claims", "TOY-WEAK-*", "--claims", "TOY-FALSE-*", "-rA"
    )
    assert code == 1
    assert "TOY-WEAK-1: the mutant 'sign' survives: all evidence holds on it" not in out, (
        "evidence was left out"
    )
    assert "SKIPPED" in out and "needs effort full" in out
    assert "XFAIL claim[TOY-FALSE-1::table] - refuted, as stated" in out
    assert "PASSED claim[TOY-FALSE-1::is_even]" in out
    assert "FAILED claim[TOY-FALSE-2::table]" in out
    assert "table (exact) breaks: -9.0 against 9.0\nerror 2, tolerance 0" in out
    assert "engine.py" not in out, "no traceback of the engine"
    code, out = pytest_run(tmp_path, "-p", "weak_claims", "--claims", "TOY-WEAK-1", "--claims-effort", "full")
    assert "the mutant 'sign' survives" in out and "the mutant 'crash' survives" in out and code == 1


@pytest.mark.slow(ci=True)
def test_what_exits_or_blocks_fails_its_node_and_no_other(tmp_path: Path) -> None:
    code, out = pytest_run(
        tmp_path,
        "-p",
        "ends_claims",
        "--claims",
        "TOY-ENDS-1",
        "--claims-timeout",
        "1",
        "-rA",
        "-k",
        "not mutant",
    )
    assert code == 1 and "1 passed" in out and "2 failed" in out, out
    assert "TOY-ENDS-1: exits has no verdict: its process exited with status 0" in out
    assert "TOY-ENDS-1: blocks has no verdict: no end within 1 s" in out


def test_unknown_claims_are_a_usage_error(tmp_path: Path) -> None:
    code, out = pytest_run(tmp_path, "-p", "weak_claims", "--claims", "TOY-SQUARE-7")
    assert code == pytest.ExitCode.USAGE_ERROR and "did you mean TOY-SQUARE" in out


@pytest.mark.slow
def test_nodes_are_spread_over_workers(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    code, out = pytest_run(
        tmp_path, "-p", "weak_claims", "--claims", "TOY-SQUARE-1", "-p", "xdist.plugin", "-n", "2"
    )
    assert code == 0 and "5 passed" in out, out
