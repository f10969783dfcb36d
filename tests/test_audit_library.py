"""The audit of a whole library, by command and by class: its documents, exit statuses and reproductions."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftproof import cli
from driftproof.validation.audits import Report, Row, audit_target, diffusers, running
from driftproof.validation.audits.severity import Severity, rank
from tests.audit_fields import DOCUMENT, FIELDS

pytest.importorskip("torch")
library: Any = pytest.importorskip("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore")


def test_options_are_read_from_the_source() -> None:
    found = [str(choice) for choice in diffusers.choices(library.DDIMScheduler)]
    assert {"prediction_type='v_prediction'", "timestep_spacing='linspace'", "clip_sample=False"} <= set(
        found
    )
    assert "step(eta=1.0)" in found
    orders = [str(choice) for choice in diffusers.choices(library.DPMSolverMultistepScheduler)]
    assert {"solver_order=3", "algorithm_type='sde-dpmsolver++'", "use_karras_sigmas=True"} <= set(orders)


def test_no_field_of_the_first_version_of_a_document_is_dropped() -> None:
    document = Report("toy", {}, [Row("toy", {}, "converges", "", "")]).to_json()
    assert set(document) >= DOCUMENT
    assert set(document["rows"][0]) >= FIELDS


def test_no_verdict_knows_a_class_by_name() -> None:
    folder = Path(inspect.getfile(diffusers)).parent
    names = {cls.__name__ for cls in diffusers.classes()}
    assert len(names) >= 40
    for file in folder.glob("*.py"):
        text = file.read_text()
        assert not [name for name in names if name in text], file


@pytest.mark.slow  # a class of fewer options, none of which clips, is audited by the command below
def test_a_class_is_audited_with_its_options() -> None:
    report = audit_target("diffusers:DDPMScheduler")
    severities = [row.severity for row in report.rows]
    assert severities == sorted(severities, key=rank)
    assert len(report.rows) >= 12
    assert {"nan", "converges", "unsupported"} <= set(severities)
    assert any(row.affine is False for row in report.rows)  # the default clips
    found = {str(dict(row.options)): row.severity for row in report.rows}
    assert found["{'clip_sample': False, 'timestep_spacing': 'trailing'}"] == "converges"
    assert found["{'clip_sample': False, 'variance_type': 'fixed_large_log'}"] == "nan"
    json.dumps(report.to_json(), allow_nan=False)
    for row in {row.severity: row for row in report.rows}.values():
        assert len(row.reproduction.splitlines()) <= 5
        exec(row.reproduction, {})  # noqa: S102  # the reproduction is the product here


def test_what_cannot_be_audited_says_why() -> None:
    (row,) = diffusers.rows(library.VQDiffusionScheduler, "diffusers.VQDiffusionScheduler")
    assert row.verdict.startswith("not supported, because it states no forward process")
    exec(row.reproduction, {})  # noqa: S102


@pytest.mark.slow(ci=True)
def test_the_command_writes_json_and_a_page(tmp_path: Path) -> None:
    out, page = tmp_path / "out.json", tmp_path / "page"
    arguments = [
        "audit",
        "diffusers:FlowMatchEulerDiscreteScheduler",
        "--json",
        str(out),
        "--html",
        str(page),
    ]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    document = json.loads(out.read_text())
    assert document["format"] == 2
    added = {"order_interval", "laws", "refused", "label_error", "confirmed"}
    assert all(FIELDS | added <= set(row) for row in document["rows"])
    rows = json.loads(out.read_text())["rows"]
    assert {"converges", "unsupported"} <= {row["severity"] for row in rows}
    assert sorted(rows, key=lambda row: rank(row["severity"])) == rows
    settled = [row for row in rows if row["severity"] == "converges"]
    assert len(settled) >= 6
    assert all(len(row["mean_error"]) == len(row["steps"]) >= 5 for row in settled)
    assert all(row["confirmed"] and max(row["steps"]) == 320 for row in settled)
    assert all(len(law["std_error"]) == len(row["steps"]) for row in settled for law in row["laws"].values())
    for row in {row["severity"]: row for row in rows}.values():
        exec(row["reproduction"], {})  # noqa: S102  # the reproduction is the product here
    text = next(page.glob("*.html")).read_text()
    assert "<th>std error</th>" in text
    assert "five lines that show it" in text


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("tests.planted_schedulers:FixedStep", "--fast"), 1, ""),
        # Each starts a process, as the one above does.
        pytest.param(
            ("tests.planted_schedulers:FixedStep", "--fast", "--fail-on", "nan"),
            0,
            "",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("tests.toy_schedulers:Toy", "--documented", "reverse_kl"),
            2,
            "are for losses",
            marks=pytest.mark.slow,
        ),
        (("diffusers", "--documented", "reverse_kl"), 2, "are for losses"),
        (("diffusers", "--only", "NoScheduler"), 2, "no scheduler NoScheduler"),
        (("tests.toy_schedulers:Toy", "--only", "DDIMScheduler"), 2, "--only chooses among"),
        (("tests.toy_schedulers:Toy", "--fail-on", "worse"), 2, "--fail-on is one of nan, diverges"),
    ],
)
def test_the_exit_status_is_that_of_the_severity(
    arguments: tuple[str, ...], status: int, told: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["driftproof", "audit", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == status
    assert told in capsys.readouterr().err


@pytest.mark.slow(ci=True)
def test_a_library_is_audited_by_class_in_processes(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = [
        "audit",
        "diffusers",
        "--only",
        "VQDiffusionScheduler",
        "--only",
        "FlowMatchHeunDiscreteScheduler",
    ]
    done = CliRunner().invoke(
        cli.app, [*arguments, "--fast", "--jobs", "2", "--fail-on", "nan", "--json", str(out)]
    )
    assert done.exit_code in (0, 1), done.output
    assert "[2/2]" in done.stderr
    assert "converges  diffusers.FlowMatchHeunDiscreteScheduler(): converges, order 2.0" in done.stderr
    assert {row["object"] for row in json.loads(out.read_text())["rows"]} == {
        "diffusers.VQDiffusionScheduler", "diffusers.FlowMatchHeunDiscreteScheduler",
    }  # fmt: skip


@pytest.mark.slow(ci=True)
def test_a_class_without_a_verdict_keeps_what_it_had_told() -> None:
    report, why = running.library(["VQDiffusionScheduler"], jobs=1, timeout=1e-3)
    assert "no end within" in why
    assert report.rows[-1].verdict.startswith("no verdict")


@pytest.fixture(scope="module")
def everything() -> Any:
    return audit_target("diffusers")


@pytest.mark.slow
@pytest.mark.parametrize("severity", Severity)
@pytest.mark.parametrize("end", [0, -1])
def test_a_reproduction_in_a_fresh_interpreter_prints_the_verdict(
    everything: Any, severity: str, end: int
) -> None:
    """The worst and the least of each severity; a remedy is found by trying options, and not by five lines."""
    found = [row for row in everything.rows if row.severity == severity]
    if not found:
        pytest.skip(f"no setting of the installed diffusers is {severity}")
    row = found[end]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", row.reproduction], capture_output=True, text=True, check=True
    )
    printed = done.stdout
    if severity == "unsupported":
        # The verdict quotes the first 200 characters of an error, which is printed here with its type.
        assert row.reason.split(": ")[-1][:60] in " ".join(printed.split()), printed
    else:
        # Five lines make all calls of the longest runs, of which an audit of a library makes some.
        assert row.verdict.split(";")[0] in printed, printed


@pytest.mark.slow
def test_the_installed_diffusers(everything: Any) -> None:
    report = everything
    json.dumps(report.to_json(), allow_nan=False)
    settled = [row for row in report.rows if row.severity != "unsupported"]
    assert len(settled) >= 300
    assert len({row.object for row in settled}) >= 25
    assert all(row.verdict and row.reason and row.reproduction for row in report.rows)
    severities = [row.severity for row in report.rows]
    assert severities == sorted(severities, key=rank)
    found = {(row.object, str(dict(row.options))): row.severity for row in report.rows}
    linspace = "{'clip_sample': False, 'timestep_spacing': 'linspace'}"
    large = "{'clip_sample': False, 'variance_type': 'fixed_large_log'}"
    assert found["diffusers.DDIMScheduler", linspace] == "mismatch"
    assert found["diffusers.DDPMScheduler", large] == "nan"
