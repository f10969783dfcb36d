"""The audit of losses: what is planted is found, what is unknown is called unknown."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftproof import cli
from driftproof.validation import audit
from driftproof.validation.audits import audit_target, losses
from tests.audit_fields import FIELDS

torch = pytest.importorskip("torch")


def kl(a: Any, b: Any) -> Any:
    """KL of two laws given by logits."""
    a, b = a.log_softmax(-1), b.log_softmax(-1)
    return (a.exp() * (a - b)).sum()


def reverse(student_logits: Any, teacher_logits: Any) -> Any:
    return kl(student_logits, teacher_logits)


def forward(student_logits: Any, teacher_logits: Any) -> Any:
    return kl(teacher_logits, student_logits)


def mixed(student_logits: Any, teacher_logits: Any, beta: float = 0.1) -> Any:
    p, q = student_logits.softmax(-1), teacher_logits.softmax(-1)
    m = (1 - beta) * p + beta * q
    return beta * (q * (q / m).log()).sum() + (1 - beta) * (p * (p / m).log()).sum()


def swapped(student_logits: Any, teacher_logits: Any) -> Any:
    return mixed(student_logits, teacher_logits, beta=0.9)


def unnormalized(student_logits: Any, teacher_logits: Any) -> Any:
    return (teacher_logits.softmax(-1) * (teacher_logits - student_logits)).sum()


def k1(logp: Any, teacher_logp: Any) -> Any:
    return logp - teacher_logp


def k2(logp: Any, teacher_logp: Any) -> Any:
    return 0.5 * (logp - teacher_logp) ** 2


def k3(logp: Any, teacher_logp: Any) -> Any:
    return torch.expm1(teacher_logp - logp) - (teacher_logp - logp)


def k1_reward(logp: Any, teacher_logp: Any) -> Any:
    return (logp - teacher_logp).detach() * logp


def k3_reward(logp: Any, teacher_logp: Any) -> Any:
    return k3(logp, teacher_logp).detach() * logp


def forward_reward(logp: Any, teacher_logp: Any) -> Any:
    u = (teacher_logp - logp).exp()
    return (u * u.log()).detach() * logp


def weighted(logp: Any, teacher_logp: Any, behaviour_logp: Any) -> Any:
    return (logp - behaviour_logp).exp() * k3(logp, teacher_logp)


def gathering(student_logits: Any, teacher_logits: Any, tokens: Any) -> Any:
    logp, logq = (x.log_softmax(-1).gather(-1, tokens[..., None]) for x in (student_logits, teacher_logits))
    return k2(logp, logq)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    ("loss", "objective"),
    [
        (reverse, "reverse_kl"),
        (forward, "forward_kl"),
        (mixed, "gjsd(0.1)"),
        (swapped, "gjsd(0.9)"),
        (k1, "zero"),
        (k2, "reverse_kl"),
        (k3, "forward_kl"),
        (k1_reward, "reverse_kl"),
        (k3_reward, "stop_gradient(k3)"),
        (forward_reward, "stop_gradient(forward_kl)"),
        (weighted, "reverse_kl"),
        (gathering, "reverse_kl"),
    ],
)
def test_a_loss_of_known_nature_is_recognised(loss: Any, objective: str) -> None:
    finding = losses.identify(loss)
    assert objective in finding.matches
    assert finding.scale == 1.0
    assert finding.error <= 1e-14


def test_a_planted_factor_is_measured_and_its_sign_is_told() -> None:
    finding = losses.identify(lambda logp, teacher_logp: -3.0 * k3(logp, teacher_logp))
    assert "forward_kl" in finding.matches
    assert finding.scale == pytest.approx(-3.0, rel=1e-12)
    assert finding.text.startswith("ascends 3 times forward KL")


@pytest.mark.slow(ci=True)
def test_a_loss_that_does_not_normalise_is_no_objective() -> None:
    finding = losses.identify(unnormalized)
    assert finding.matches == ()
    assert finding.text.startswith("descends no objective")


@pytest.mark.slow(ci=True)
def test_a_sum_of_two_objectives_is_unknown_and_not_the_larger_one() -> None:
    finding = losses.identify(lambda student_logits, teacher_logits: 
        reverse(student_logits, teacher_logits) + 1e-6 * forward(student_logits, teacher_logits))  # fmt: skip
    assert finding.matches == ()
    assert finding.nearest == "reverse_kl"


@pytest.mark.slow(ci=True)
def test_off_policy_tokens_need_the_ratio() -> None:
    assert "reverse_kl" in losses.identify(weighted, off_policy=True).matches
    assert losses.identify(k3, off_policy=True).matches == ()


def test_single_precision_is_settled_to_single_precision() -> None:
    finding = losses.identify(reverse, dtype="float32")
    assert finding.dtype == "float32"
    assert "reverse_kl" in finding.matches
    assert 0.0 < finding.error <= 1e-6


def test_what_rounding_hides_is_not_settled() -> None:
    """gJSD within 1e-6 of 0 is not told from the multiple of forward KL that it is, nor from nothing, by noise."""
    noise = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0]) * 4e-7

    def loss(student_logits: Any, teacher_logits: Any) -> Any:
        return (student_logits.float() * noise).sum()

    assert losses.identify(loss).matches == ()


def test_a_row_says_whether_the_documentation_is_met() -> None:
    said = "minimises reverse KL"
    met = audit(reverse, documented="reverse_kl", quote=said)
    missed = audit(forward, documented="reverse_kl", quote=said)
    silent = audit(forward)
    assert (met.agrees, missed.agrees, silent.agrees) == (True, False, None)
    assert met.verdict == "descends reverse KL(p||q), as documented"
    assert missed.verdict == "descends forward KL(q||p); documented: reverse KL(p||q)"
    assert said in missed.reason


def test_a_divergence_outside_of_the_catalogue_can_be_documented() -> None:
    row = audit(lambda student_logits, teacher_logits: mixed(student_logits, teacher_logits, 0.3),
                documented="gjsd(0.3)")  # fmt: skip
    assert row.agrees


def test_bad_input_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="student_logits, teacher_logits"):
        audit(lambda a, b: a - b)
    with pytest.raises(ValueError, match="gradient of the loss is finite"):
        audit(lambda logp, teacher_logp: logp * float("nan"))
    with pytest.raises(TypeError, match="expected a loss"):
        audit(3)
    with pytest.raises(LookupError, match="no target"):
        audit_target("tlr")
    with pytest.raises(LookupError, match="nope"):
        audit_target("driftproof:nope")


@pytest.mark.slow(ci=True)
def test_the_command_audits_a_loss_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_losses.py").write_text(
        "def loss(logp, teacher_logp):\n    return 0.5 * (logp - teacher_logp) ** 2\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    run = CliRunner().invoke
    options = [
        "audit",
        "my_losses:loss",
        "--documented",
        "reverse_kl",
        "--json",
        "out.json",
        "--html",
        "page",
    ]
    done = run(cli.app, options)
    assert done.exit_code == 0, done.output
    assert "descends reverse KL" in done.output
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert set(row) >= FIELDS
    assert "as documented" in (tmp_path / "page" / "audit-my_losses.loss.html").read_text()
    assert run(cli.app, ["audit", "my_losses:loss", "--documented", "forward_kl"]).exit_code == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_installed_trl() -> None:
    pytest.importorskip("trl")
    report = audit_target("trl")
    json.dumps(report.to_json(), allow_nan=False)
    settled = [row for row in report.rows if row.matches]
    assert len(settled) >= 40
    assert all(row.verdict and row.reason and row.reproduction for row in report.rows)
    assert all(len(row.reproduction.splitlines()) <= 5 for row in report.rows)
    for row in {row.object: row for row in settled}.values():  # one of each: the printed lines run
        exec(row.reproduction, {})  # noqa: S102  # the reproduction is the product here
