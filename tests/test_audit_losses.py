"""The audit of losses from practice: what they are, how they round and draw, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from driftproof import UnmetHypothesis, cli
from driftproof.validation import audit
from driftproof.validation.audits import forms, losses
from driftproof.validation.audits.arithmetic import beside
from driftproof.validation.audits.planted_losses import Planted, drawn, tally

torch = pytest.importorskip("torch")

from tests import planted_losses as written

F = torch.nn.functional


def kl(a: Any, b: Any) -> Any:
    return (a.exp() * (a - b)).sum()


def law(x: Any) -> Any:
    return x.log_softmax(-1)


def dpo(policy_chosen_logps: Any, policy_rejected_logps: Any, reference_chosen_logps: Any, reference_rejected_logps: Any, beta: float = 0.1) -> Any:  # fmt: skip
    h = policy_chosen_logps - policy_rejected_logps - (reference_chosen_logps - reference_rejected_logps)
    return -F.logsigmoid(beta * h), (beta * policy_chosen_logps).detach(), None


class TestForms:
    @pytest.mark.parametrize(
        ("loss", "form"),
        [
            (lambda student_logits, teacher_logits: 0, "logits"),
            (lambda logits, teacher_logits: 0, "logits"),
            (lambda student_logits, teacher_logits, token_ids: 0, "sampled"),
            (lambda logp, ref_logp: 0, "logp"),
            (lambda log_probs, teacher_log_probs, old_log_probs: 0, "logp"),
            (lambda chosen_logps, rejected_logps: 0, "preference"),
            (dpo, "preference"),
            (lambda log_probs, old_log_probs, advantages, response_mask: 0, "policy"),
            (lambda logits, labels, loss_weights: 0, "tokens"),
        ],
    )
    def test_names_tell_the_form(self, loss: Any, form: str) -> None:
        assert forms.form_of(loss) == form

    @pytest.mark.parametrize(
        "loss", [lambda a, b: 0, lambda logits: 0, lambda logits, logits2: 0, lambda chosen_logps, x: 0, max]
    )
    def test_what_names_do_not_tell_is_refused(self, loss: Any) -> None:
        with pytest.raises(UnmetHypothesis, match="otherwise say form="):
            forms.form_of(loss)

    @pytest.mark.slow(ci=True)
    def test_a_form_that_is_said_takes_arguments_by_position_or_any(self) -> None:
        assert audit(lambda a, b: 0.5 * (a - b) ** 2, form="logp", documented="reverse_kl").agrees
        assert audit(lambda *x: 0.5 * (x[0] - x[1]) ** 2, form="logp", documented="reverse_kl").agrees
        with pytest.raises(UnmetHypothesis, match="each required parameter"):
            audit(lambda a, b, c, d, e, f, g: a, form="policy")
        with pytest.raises(ValueError, match="expected a form among"):
            audit(lambda a, b: a, form="kind")  # type: ignore[arg-type]

    def test_arguments_are_passed_at_every_call(self) -> None:
        row = audit(dpo, arguments={"beta": 0.25}, documented="dpo(0.25)")
        assert row.agrees and row.options == {"beta": 0.25}

    def test_an_unknown_objective_is_refused_with_those_there_are(self) -> None:
        with pytest.raises(LookupError, match=r"no objective 'dqo'.*likelihood"):
            audit(dpo, documented="dqo")


class TestPractice:
    def test_hintons_loss_is_named_with_its_factor(self) -> None:
        def loss(student_logits: Any, teacher_logits: Any, power: int = 2) -> Any:
            return 3.0**power * kl(law(teacher_logits / 3), law(student_logits / 3))

        row = audit(loss, documented="hinton(temperature=3)")
        assert row.agrees and row.verdict.startswith("descends Hinton's loss: T^2 times forward KL(q||p)")
        short = audit(loss, arguments={"power": 1}, documented="hinton(temperature=3)")
        assert short.agrees is False
        assert short.verdict.startswith("descends 0.333333 times Hinton's loss")

    def test_half_precision_is_judged_beside_double(self) -> None:
        def loss(student_logits: Any, teacher_logits: Any) -> Any:
            return kl(law(student_logits.bfloat16()).float(), law(teacher_logits.bfloat16()).float())

        found = losses.identify(loss, also=("reverse_kl",))
        assert "reverse_kl" in found.matches and found.coarsest == "bfloat16"
        assert 2.0**-9 < found.rounding < 2.0**-3
        assert "within its own rounding (bfloat16 inside" in found.text
        assert audit(loss, documented="reverse_kl").agrees

    def test_cancellation_is_not_called_rounding(self) -> None:
        """A common constant of 1e6 leaves float32 a sixteenth: nothing of the gradient is right."""

        def loss(student_logits: Any, teacher_logits: Any) -> Any:
            return kl(law((student_logits + 1e6).float()).double(), law(teacher_logits))

        row = audit(loss, documented="reverse_kl")
        assert "float32 arithmetic cancels" in row.verdict

    @pytest.mark.slow(ci=True)
    def test_a_loss_that_draws_is_random_with_its_mean(self) -> None:
        def noisy(student_logits: Any, teacher_logits: Any) -> Any:
            return kl(law(student_logits), law(teacher_logits)) * (1.0 + 0.02 * torch.randn(()))

        before = torch.get_rng_state()
        row = audit(noisy, documented="reverse_kl")
        assert torch.equal(before, torch.get_rng_state())
        assert row.verdict.startswith("is random (randn): its gradient spreads by 0.0")
        assert "not told from reverse KL(p||q)" in row.verdict and row.agrees

        class Dropped(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.dropout = torch.nn.Dropout(0.3)
                self.scale = torch.nn.Parameter(torch.ones(()))

            def forward(self, student_logits: Any, teacher_logits: Any) -> Any:
                return self.scale * kl(law(self.dropout(student_logits)), law(teacher_logits))

        row = audit(Dropped(), documented="reverse_kl")
        assert row.agrees is False and "is none of the objectives" in row.verdict
        still = audit(Dropped().eval(), documented="reverse_kl")
        assert still.agrees and "1 learnable numbers" in still.reason

    @pytest.mark.slow(ci=True)
    def test_a_loss_with_a_memory_is_no_function(self) -> None:
        seen: list[float] = []

        def loss(student_logits: Any, teacher_logits: Any) -> Any:
            seen.append(0.0)
            return kl(law(student_logits), law(teacher_logits)) * (1.0 + len(seen))

        assert "a generator of its own, or its own history" in audit(loss).verdict

    def test_a_value_that_is_another_objective_is_named(self) -> None:
        row = audit(lambda logp, teacher_logp: (teacher_logp - logp).exp() - 1 - (teacher_logp - logp))
        assert row.verdict == "descends forward KL(q||p); its value is reverse KL(p||q)"
        detached = audit(
            lambda student_logits, teacher_logits: kl(law(student_logits).detach(), law(teacher_logits))
            + (law(student_logits) * (law(student_logits) - law(teacher_logits)).detach()
               * law(student_logits).exp().detach()).sum(),
        )  # fmt: skip
        assert "its value is" in detached.verdict

    @pytest.mark.slow(ci=True)
    def test_a_good_verdict_is_confirmed_elsewhere(self) -> None:
        def at_five(student_logits: Any, teacher_logits: Any) -> Any:
            return kl(law(student_logits), law(teacher_logits)) * student_logits.shape[-1] / 5.0

        row = audit(at_five, documented="reverse_kl")
        assert row.agrees is False
        assert "1.4 times its sum on 7 tokens" in row.verdict

        def confident(student_logits: Any, teacher_logits: Any) -> Any:
            logp = law(student_logits).clamp(min=-6.0)
            return kl(logp, law(teacher_logits))

        row = audit(confident, documented="reverse_kl")
        assert row.agrees is False and "not on 7 tokens, confident" in row.verdict

    def test_what_cannot_be_called_elsewhere_says_so(self) -> None:
        def five(student_logits: Any, teacher_logits: Any) -> Any:
            return kl(law(student_logits.reshape(5)), law(teacher_logits.reshape(5)))

        row = audit(five, documented="reverse_kl")
        assert row.agrees and "cannot be called on 7 tokens" in row.reason

    def test_a_hinge_without_its_reference_is_seen_where_it_saturates(self) -> None:
        def loss(
            chosen_logps: Any, rejected_logps: Any, ref_chosen_logps: Any, ref_rejected_logps: Any
        ) -> Any:
            return (1.0 - 0.0227 * (chosen_logps - rejected_logps)).relu().sum()

        assert audit(loss, documented="hinge(0.0227)").agrees is False

    def test_a_mean_is_told_from_a_sum_and_a_wrong_denominator_from_both(self) -> None:
        def loss(how: str) -> Any:
            def call(logits: Any, labels: Any) -> Any:
                each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
                return {"sum": each.sum(), "mean": each.sum() / (labels != -100).sum(), "all": each.mean()}[
                    how
                ]

            return call

        assert audit(loss("sum"), documented="sft/sum").agrees
        assert audit(loss("sum"), documented="sft/mean").agrees is False
        assert audit(loss("mean"), documented="sft").agrees
        row = audit(loss("all"), documented="sft")
        assert row.agrees is False and "the masked ones too" in row.verdict

    @pytest.mark.slow(ci=True)
    def test_an_epsilon_inside_is_suspected(self) -> None:
        def loss(student_logits: Any, teacher_logits: Any) -> Any:
            p, q = student_logits.softmax(-1), teacher_logits.softmax(-1)
            return (q * ((q + 1e-8).log() - (p + 1e-8).log())).sum()

        assert "is there a constant inside?" in audit(loss).verdict


class TestArithmetic:
    def test_casts_factories_and_parameters_become_double(self) -> None:
        layer = torch.nn.Linear(3, 3).to(torch.bfloat16)
        x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) / 7.0
        with beside(double=True) as seen:
            out = layer(x.bfloat16()).float() + torch.ones(3)
        want = x @ layer.weight.double().T + layer.bias.double() + 1.0
        np.testing.assert_allclose(out.detach().numpy(), want.detach().numpy(), rtol=1e-15)
        assert seen.coarsest == "bfloat16" and layer.weight.dtype == torch.bfloat16

    def test_without_double_nothing_changes(self) -> None:
        x = torch.tensor([0.1, 0.2], dtype=torch.float64)
        with beside(double=False) as seen:
            out = x.float().exp()
        assert torch.equal(out, x.float().exp()) and seen.dtypes == {"float32"}

    def test_draws_are_counted_and_the_process_is_left_alone(self) -> None:
        state = torch.get_rng_state()
        with beside(double=False, seed=3) as seen:
            first = torch.rand(2), F.dropout(torch.ones(4)), F.dropout(torch.ones(4), training=False)
        with beside(double=False, seed=3):
            again = torch.rand(2), F.dropout(torch.ones(4))
        assert torch.equal(state, torch.get_rng_state())
        assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
        assert len(seen.draws) == 2


@pytest.mark.slow(ci=True)
def test_the_command_says_not_as_documented_by_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs.py").write_text(
        "import torch\n"
        "def loss(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps):\n"
        "    h = chosen_logps - rejected_logps - ref_chosen_logps + ref_rejected_logps\n"
        "    return -torch.nn.functional.logsigmoid(0.2 * h).mean()\n"
        "def vague(x, y):\n    return x - y\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    run = CliRunner().invoke
    assert run(cli.app, ["audit", "pairs:loss", "--documented", "dpo(0.1)"]).exit_code == 1
    assert isinstance(run(cli.app, ["audit", "pairs:vague"]).exception, UnmetHypothesis)
    assert (
        run(cli.app, ["audit", "pairs:vague", "--form", "logp", "--documented", "reverse_kl"]).exit_code == 1
    )
    assert isinstance(run(cli.app, ["audit", "pairs:vague", "--form", "kind"]).exception, ValueError)


@pytest.mark.slow(ci=True)
def test_planted_errors_are_found_and_right_losses_pass() -> None:
    """A few of a seed: the whole is slow."""
    found = tally(drawn(7, each=1)[::12])
    assert found.missed == () and found.refused == ()


@pytest.mark.slow
def test_planted_errors_of_two_seeds() -> None:
    """3214006637 was drawn by the system after the thresholds were fixed."""
    for seed in (1, 3214006637):
        found = tally(drawn(seed))
        assert found.planted >= 100 and found.right >= 30
        assert found.missed == () and found.refused == ()


def by_hand(every: int = 1) -> list[Planted]:
    """The written losses; their form is read from the names of their parameters."""
    both = ((written.RIGHT, True), (written.PLANTED, False))
    return [
        Planted(name, forms.form_of(loss), loss, said, right)
        for losses, right in both
        for name, loss, said in losses[::every]
    ]


def test_some_written_losses() -> None:
    """A few of those below."""
    found = tally(by_hand(22))
    assert (found.right, found.planted) == (2, 2)
    assert found.missed == () and found.refused == ()


@pytest.mark.slow
def test_sensitivity_and_specificity_on_written_losses(capsys: pytest.CaptureFixture[str]) -> None:
    """At least thirty of each, beside those that are drawn."""
    found = tally(by_hand())
    with capsys.disabled():
        print(
            f"\nwritten, planted: {found.planted - len(found.missed)} of {found.planted}",
            *found.missed,
            sep="\n  ",
        )
        print(
            f"written, right: {found.right - len(found.refused)} of {found.right}", *found.refused, sep="\n  "
        )
    assert found.planted >= 30 and found.right >= 30
    assert found.sensitivity == found.specificity == 1.0
