"""The command line: exit statuses, documents, and errors of one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftproof import _training, cli
from driftproof.validation import benchmarks
from driftproof.validation.journal import write_atomically

TESTS = Path(__file__).parent

CLAIMS = """
from toy_claims import TOYS, negated, square
from driftproof.validation import claim, exact
from driftproof.validation.registry import REGISTRY

REGISTRY.claims.update(TOYS.claims)
REGISTRY.loaded = True  # the toys alone: to import all claims takes seconds

def table(thing):
    return thing(3.0), 9.0

@claim("TOY-WEAK-1", paper="toyweak", statement="", covers={"thing": square})
class Weak:
    table = exact(tolerance=0.0)(table)
    mutants = {"sign": negated, "elsewhere": lambda x: x * x + (x < 0)}

@claim("TOY-FALSE-1", paper="toyfalse", statement="", covers={"thing": negated})
class False_:
    table = exact(tolerance=0.0)(table)
    mutants = {"one": abs, "two": round}

@claim("TOY-CRASH-1", paper="toycrash", statement="", covers={"thing": lambda x: 1 / 0})
class Crash:
    table = exact(tolerance=0.0)(table)
    mutants = {"one": abs, "two": round}
"""

# Read by every interpreter that starts, also by those that settle claims.
WITHOUT = """
import importlib.machinery, os, sys

class Without(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] == os.environ["WITHOUT"]:
            return None
        return super().find_spec(name, path, target)

sys.meta_path[:] = [Without if f is importlib.machinery.PathFinder else f for f in sys.meta_path]
"""


def without(missing: str, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where a package is not installed."""
    (directory / "sitecustomize.py").write_text(WITHOUT)
    path = os.pathsep.join([str(directory), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "driftproof", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path, "WITHOUT": missing},
        capture_output=True,
        text=True,
        check=False,
    )


def driftproof(directory: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command line in a process of its own, with the toy claims at hand."""
    (directory / "toy_module.py").write_text(CLAIMS)
    path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "DRIFTPROOF_CACHE": str(directory / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "driftproof", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


class TestVerify:
    @pytest.mark.slow(ci=True)
    def test_success_writes_the_document_and_the_page(self, tmp_path: Path) -> None:
        code, out, err = driftproof(
            tmp_path, "verify", "toy", "--module", "toy_module", "--jobs", "1", "--json", "deep/out.json",
            "--html", "report", "--seed", "5", "--quick",
        )  # fmt: skip
        assert code == 0, out + err
        assert "2 verified; 4 of 4 planted errors caught" in out and "[2/2] TOY-SQUARE-" in err
        document = json.loads((tmp_path / "deep" / "out.json").read_text())
        assert document["seed"] == 5 and document["effort"] == "quick" and document["ok"] is True
        assert 0 < document["budget"]["spent"] <= document["budget"]["false_alarms"] == 1e-6
        for claim in document["claims"]:
            assert {"id", "paper", "statement", "status", "evidence", "mutants", "seconds"} <= set(claim)
            for evidence in claim["evidence"]:
                assert {"kind", "error", "tolerance", "detectable", "ok"} <= set(evidence)
            assert all({"name", "caught"} <= set(mutant) for mutant in claim["mutants"])
        assert str(tmp_path) not in json.dumps(document), "no path of this machine"
        assert json.loads((tmp_path / "report" / "verify.json").read_text())["claims"] == document["claims"]
        assert "TOY-SQUARE-1" in (tmp_path / "report" / "index.html").read_text()
        (tmp_path / "report" / "index.html").unlink()
        assert driftproof(tmp_path, "report", "report")[0] == 0
        assert (tmp_path / "report" / "index.html").exists()

    @pytest.mark.slow(ci=True)
    @pytest.mark.parametrize(
        ("claims", "status", "told"),
        [
            (
                ("TOY-WEAK-1", "TOY-FALSE-1"),
                1,
                (
                    "mutant 'elsewhere' survives: all evidence holds on it",
                    "table (exact) breaks: -9.0 against 9.0",
                ),
            ),
            (("TOY-CRASH-1",), 3, ("table (exact) crashed: ZeroDivisionError: division by zero",)),
        ],
    )
    def test_failure(
        self, tmp_path: Path, claims: tuple[str, ...], status: int, told: tuple[str, ...]
    ) -> None:
        code, out, _ = driftproof(tmp_path, "verify", *claims, "--module", "toy_module")
        assert code == status
        for words in told:
            assert words in out

    @pytest.mark.slow(ci=True)
    @pytest.mark.parametrize(
        ("text", "status", "told"),
        [
            ("def (", 2, "SyntaxError: invalid syntax (bad_module.py, line 1)"),
            ("import nowhere", 2, "No module named 'nowhere'"),
            ("1 / 0", 3, "ZeroDivisionError: division by zero"),
            ("import sys; sys.exit(0)", 3, "SystemExit: 0"),
            ("import os; os._exit(0)", 3, "its process exited with status 0"),
            ("import time; time.sleep(100)", 3, "no end within"),
        ],
    )
    def test_a_module_that_cannot_be_imported(
        self, text: str, status: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        (tmp_path / "bad_module.py").write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        limit = "1" if "sleep" in text else "60"
        arguments = ["driftproof", "verify", "--module", "bad_module", "--timeout", limit]
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.setattr("driftproof.validation.supervision.START", 20.0)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert (ended.value.code, out, len(err.splitlines())) == (status, "", 1)
        assert err.startswith("error: --module bad_module: ") and told in err

    @pytest.mark.slow(ci=True)
    def test_results_that_cannot_be_written(self, tmp_path: Path) -> None:
        code, _, err = driftproof(
            tmp_path, "verify", "TOY-SQUARE-1", "--module", "toy_module", "--json", "/dev/full"
        )
        assert code == 3 and "error: cannot write the results" in err and "Traceback" not in err
        assert list((tmp_path / "cache").rglob("TOY-SQUARE-1.json")), "what was settled is not lost"

    def test_what_is_in_the_way_of_a_page_is_refused_before_the_work(self, tmp_path: Path) -> None:
        (tmp_path / "page" / "index.html").mkdir(parents=True)
        code, out, err = driftproof(
            tmp_path, "verify", "TOY-SQUARE-1", "--module", "toy_module", "--html", "page"
        )
        assert code == 2 and "index.html" in err and "Traceback" not in err
        assert "verified" not in out + err

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["verify", "TWEEDIE-CIR-99"], "did you mean TWEEDIE-CIR"),
            (["verify", "tweedie", "--quick", "--full"], "exclude each other"),
            (["verify", "--module", "nowhere"], "No module named 'nowhere'"),
            (["verify", "tweedie", "--cluster", "slurm"], "dask://HOST:PORT or ray"),
            (["verify", "--seed", "-1"], "seed"),
            (["train", "astrology", "--smoke"], "there is no recipe for 'astrology'"),
            (["train", "../x", "--smoke"], "there is no recipe"),
            (["train", "tweedie", "--config", "missing.toml"], "missing.toml"),
            (["report", "missing"], "missing"),
            (["bench", "nothing"], "there is no nothing"),
            (["verify", "tweedie", "--jobs", "0"], "expected jobs >= 1"),
            (["train", "schedulers", "--smoke"], "no recipe for 'schedulers'; there are tweedie, opd"),
            (["train", "statistics", "--smoke"], "no recipe for 'statistics'"),
            (["verify", "--json", "/dev/null/x"], "cannot write below /dev/null"),
            (["verify", "--html", "/dev/null/x"], "cannot write below /dev/null/x"),
            (["audit", "trl", "--json", "/dev/null/x"], "cannot write below /dev/null"),
            (["bench", "special", "--json", "/dev/null/x"], "cannot write below /dev/null"),
            (["train", "tweedie", "--smoke", "--out", "/dev/null/x"], "cannot write below /dev/null/x"),
        ],
    )
    def test_wrong_input(
        self,
        arguments: list[str],
        told: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["driftproof", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert ended.value.code == 2 and not out
        assert told in " ".join(err.replace("│", " ").split())

    @pytest.mark.slow(ci=True)
    def test_json_to_standard_output_is_json_alone(self, tmp_path: Path) -> None:
        arguments = ["verify", "toy", "--module", "toy_module", "--jobs", "1", "--json"]
        code, out, err = driftproof(tmp_path, *arguments, "-")
        assert code == 0 and json.loads(out)["ok"] is True
        assert "planted errors caught" in err and not (tmp_path / "-").exists()

    @pytest.mark.slow(ci=True)
    def test_what_is_no_file_is_written_to_and_not_replaced(self, tmp_path: Path) -> None:
        file, link = tmp_path / "file", tmp_path / "link"
        link.symlink_to(file)
        write_atomically(link, "text")
        assert link.is_symlink() and file.read_text() == "text"
        arguments = ["verify", "toy", "--module", "toy_module", "--jobs", "1", "--json"]
        assert driftproof(tmp_path, *arguments, "/dev/null")[0] == 0
        assert Path("/dev/null").is_char_device()

    @pytest.mark.slow(ci=True)
    @pytest.mark.parametrize(
        ("missing", "arguments", "told"),
        [
            (
                "transformers",
                ["train", "opd"],
                "transformers is not installed; pip install 'driftproof[hub]'",
            ),
            pytest.param("diffusers", ["train", "reward_gap"], "expected diffusers", marks=pytest.mark.slow),
            pytest.param("torch", ["train", "opd"], "torch is not installed", marks=pytest.mark.slow),
            ("torch", ["audit", "diffusers"], "torch is not installed"),
            ("torch", ["bench", "fista"], "torch is not installed; pip install 'driftproof[torch]'"),
        ],
    )
    def test_a_package_that_is_missing_is_named(
        self, tmp_path: Path, missing: str, arguments: list[str], told: str
    ) -> None:
        pytest.importorskip("torch")
        pytest.importorskip("diffusers")
        extra = ["--smoke", "--out", "out"] if arguments[0] == "train" else []
        done = without(missing, tmp_path, *arguments, *extra)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        assert told in done.stderr.splitlines()[-1]

    @pytest.mark.slow(ci=True)
    def test_verify_skips_what_needs_a_package_that_is_missing(self, tmp_path: Path) -> None:
        (tmp_path / "needing.py").write_text("import torch\n")
        arguments = ["OPD-LINEAR-1", "CONVENTION-DTYPE-1", "needing", "--module", "needing", "--quick"]
        done = without("torch", tmp_path, "verify", *arguments, "--jobs", "1", "--json", "out.json")
        assert done.returncode == 0, done.stdout + done.stderr
        reason = "torch is not installed; pip install 'driftproof[torch]'"
        assert f"skipped: 3 pieces of evidence: {reason}" in done.stdout
        found = json.loads((tmp_path / "out.json").read_text())
        assert found["ok"] is True
        assert {claim["id"]: claim["status"] for claim in found["claims"]} == {
            "OPD-LINEAR-1": "conditional",
            "CONVENTION-DTYPE-1": "conditional",
            "needing": "conditional",
        }
        told = {e["detail"] for c in found["claims"] for e in c["evidence"] if e["state"] == "skipped"}
        assert told == {reason}


AUDITED = """
import os, sys, time

def exits(logp, teacher_logp):
    sys.exit(0)

def dies(logp, teacher_logp):
    os._exit(0)

def hangs(logp, teacher_logp):
    time.sleep(100)
"""


class TestAudit:
    @pytest.mark.slow(ci=True)
    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("exits", "SystemExit: 0"),
            ("dies", "its process exited with status 0"),
            ("hangs", "no end within 1 s"),
        ],
    )
    def test_an_object_without_a_verdict(
        self, name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        pytest.importorskip("torch")
        (tmp_path / f"audited_{name}.py").write_text(AUDITED)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        target, limit = f"audited_{name}:{name}", "1" if name == "hangs" else "100"
        monkeypatch.setattr(
            sys, "argv", ["driftproof", "audit", target, "--json", "out.json", "--timeout", limit]
        )
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 3
        assert capfd.readouterr().err.splitlines()[-1] == f"error: {target}: {told}"
        (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
        assert row["verdict"] == f"no verdict: {told}" and row["object"] == target


class TestOthers:
    @pytest.mark.slow(ci=True)
    def test_claims(self, tmp_path: Path) -> None:
        code, out, _ = driftproof(tmp_path, "claims", "toy", "TOY-WEAK-1", "--module", "toy_module")
        assert code == 0 and "3 claims" in out and "TOY-WEAK-1" in out and "statistical" in out

    def test_help_is_quick_and_loads_nothing_heavy(self) -> None:
        code = (
            "import sys, driftproof.cli\n"
            "heavy = {'torch', 'sympy', 'scipy', 'matplotlib', 'hypothesis', 'joblib', 'mpmath'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
        start = time.perf_counter()
        done = CliRunner().invoke(cli.app, ["--help"])
        assert done.exit_code == 0 and "verify" in done.output and time.perf_counter() - start < 2.0

    def test_version(self) -> None:
        assert CliRunner().invoke(cli.app, ["--version"]).output == f"driftproof {cli.__version__}\n"


class TestBench:
    ROWS = (
        {"name": "f", "ours_seconds": 0.01, "peer": "scipy", "peer_seconds": 0.02, "ratio": 2.0, "note": "n"},
    )
    ALONE = ({"name": "g", "ours_seconds": 2.5e-6, "peer": "none", "peer_seconds": None, "ratio": None},)

    def test_rows_are_collected_printed_and_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = tmp_path / "benchmarks"
        package.mkdir()
        (package / "one.py").write_text(f"def run():\n    return list({self.ROWS!r})\n")
        (package / "two.py").write_text(f"def run():\n    return list({self.ALONE!r})\n")
        monkeypatch.setattr(benchmarks, "__path__", [str(package)])
        out = tmp_path / "rows.json"
        done = CliRunner().invoke(cli.app, ["bench", "--json", str(out)])
        assert done.exit_code == 0, done.output
        assert "2.00x" in done.output and "10.00 ms" in done.output and "2.50 µs" in done.output
        assert json.loads(out.read_text())["rows"] == [*self.ROWS, *self.ALONE]
        assert benchmarks.benchmark(["two"]) == list(self.ALONE)

    def test_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(LookupError, match="there is no nothing"):
            benchmarks.benchmark(["nothing"])


class TestTrain:
    def test_the_recipe_is_called(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("torch")
        called: list[Any] = []
        recipe = type(sys)("driftproof.backends.torch.toy")
        recipe.main = lambda *arguments: called.append(arguments)  # type: ignore[attr-defined]
        recipe.__spec__ = type("Spec", (), {"name": recipe.__name__})()  # type: ignore[assignment]
        monkeypatch.setitem(sys.modules, recipe.__name__, recipe)
        monkeypatch.setattr(_training, "_papers", lambda: ["toy"])
        done = CliRunner().invoke(cli.app, ["train", "toy", "--smoke", "--out", str(tmp_path)])
        assert done.exit_code == 0, done.output
        assert called == [(None, True, tmp_path, ())]

    def test_without_torch_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import importlib.util

        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
        done = CliRunner().invoke(cli.app, ["train", "tweedie", "--smoke"])
        assert done.exit_code == 1 and "pip install 'driftproof[torch]'" in str(done.exception)
