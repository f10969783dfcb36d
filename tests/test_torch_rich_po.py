"""Diffusion-DPO on torch: the exact optimum, ties, designs, the alarm, and runs that are resumed."""

from __future__ import annotations

import math
import signal
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for needed in ("accelerate", "diffusers", "peft", "transformers"):
    pytest.importorskip(needed)

from torch import nn

from driftproof import UnmetHypothesis
from driftproof.backends.torch.kit.identity import OtherRun
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.stop import TrainingInterrupted
from driftproof.backends.torch.rich_po import (
    DisplacementWarning,
    GaussianPairs,
    GaussianSource,
    Noising,
    Objective,
    PreferenceTrainer,
    ReachWarning,
    ShiftedGaussian,
    compare,
    drawn,
    population_optimum,
)
from driftproof.backends.torch.rich_po.gaussian import noising_of
from driftproof.backends.torch.schedulers import GDDIMScheduler

pytestmark = pytest.mark.filterwarnings("ignore::driftproof.backends.torch.rich_po.DisplacementWarning")

MODEL = GaussianPairs((0.3, -0.2), ((1.3, 0.4), (0.4, 0.5)), (0.7, -0.9), (0.95, 0.6, 0.3))
DPO = Objective(0.7)
PLAN = Plan(
    max_steps=12, train_batch_size=16, learning_rate=0.05, warmup_steps=2, save_steps=5, ema_decay=0.9
)


def trainer(
    objective: Objective = DPO, plan: Plan = PLAN, model: GaussianPairs = MODEL, **options: Any
) -> PreferenceTrainer:
    return PreferenceTrainer(
        ShiftedGaussian(model), GaussianSource(model), noising_of(model), objective, plan, **options
    )


def shift_of(made: PreferenceTrainer) -> np.ndarray[Any, Any]:
    return made.weights["shift"].detach().numpy().copy()


def gradients(model: GaussianPairs, objective: Objective, shift: Any, batches: int, rows: int) -> Any:
    """Those of the trainer's own loss at a shift, of independent batches."""
    denoiser, reference = ShiftedGaussian(model), ShiftedGaussian(model).requires_grad_(False)
    with torch.no_grad():
        denoiser.shift.copy_(torch.as_tensor(np.asarray(shift)))
    generator, noising, found = torch.Generator().manual_seed(0), noising_of(model), []
    for _ in range(batches):
        batch = drawn(generator, GaussianSource(model).draw(generator, rows), noising, objective)
        losses = compare(denoiser, reference, batch, noising, objective, model.prediction).losses
        found.append(torch.autograd.grad(losses.mean(), denoiser.shift)[0])
    return torch.stack(found).numpy()


# -- the exact optimum


@pytest.mark.parametrize(
    ("prediction", "shared_noise"), [("epsilon", True), ("v_prediction", False), ("flow_prediction", True)]
)
def test_the_gradient_vanishes_at_the_exact_optimum_and_nowhere_near(
    prediction: str, shared_noise: bool
) -> None:
    """Six standard errors of 24 batches, a false alarm of 4e-6 for each of 6 numbers; the batches are always the same."""
    model, objective = replace(MODEL, prediction=prediction), Objective(0.7, shared_noise=shared_noise)
    optimum = population_optimum(model, objective)
    for shift, zero in ((optimum, True), (0.5 * optimum, False)):
        found = gradients(model, objective, shift, 24, 1000)
        error = found.std(axis=0, ddof=1) / math.sqrt(len(found))
        assert (np.abs(found.mean(axis=0)) < 6.0 * error).all() == zero


@pytest.mark.slow(ci=True)
def test_training_ends_at_the_exact_optimum() -> None:
    plan = Plan(
        max_steps=600,
        train_batch_size=1024,
        learning_rate=0.05,
        warmup_steps=20,
        ema_decay=0.98,
        max_grad_norm=1e3,
    )
    for model in (MODEL, replace(MODEL, prediction="flow_prediction", flips=0.2)):
        made = trainer(plan=plan, model=model)
        made.train()
        optimum = population_optimum(model, Objective(0.7))
        # Seeds differ by 0.02 with this budget; no label, no direction and no factor is within 0.1.
        assert np.abs(shift_of(made) - optimum).max() < 0.1
        assert np.linalg.norm(optimum - 0.7 * population_optimum(model, Objective(0.7))) > 0.3


def test_the_theory_refuses_what_it_does_not_cover() -> None:
    for objective in (
        Objective(0.7, loss="ipo"),
        Objective(0.7, sft=0.1),
        Objective(0.7, shared_time=False),
        Objective(0.7, times="logit-normal"),
    ):
        with pytest.raises(UnmetHypothesis, match="population optimum"):
            population_optimum(MODEL, objective)


# -- the loss


def batch_of(objective: Objective, rows: int = 6, wins: float = 1.0) -> Any:
    generator = torch.Generator().manual_seed(1)
    chosen, rejected, sure, condition = GaussianSource(MODEL).draw(generator, rows)
    return drawn(generator, (chosen, rejected, wins * sure, condition), noising_of(MODEL), objective)


def models(prediction: str = "epsilon") -> tuple[ShiftedGaussian, ShiftedGaussian]:
    model = replace(MODEL, prediction=prediction)
    moved = ShiftedGaussian(model)
    with torch.no_grad():
        moved.shift.add_(0.5)
    return moved, ShiftedGaussian(model).requires_grad_(False)


def test_the_loss_is_that_of_squared_errors_written_out() -> None:
    objective = Objective(5000.0, "salesforce")
    batch, noising = batch_of(objective), noising_of(MODEL)
    moved, reference = models()
    errors = {}
    for who, x, t, noise in (
        ("w", batch.chosen, batch.times[0], batch.noise[0]),
        ("l", batch.rejected, batch.times[1], batch.noise[1]),
    ):
        alpha, sigma = noising.levels(t, x)
        for name, network in (("", moved), ("ref", reference)):
            errors[who + name] = (network(alpha * x + sigma * noise, t, {}) - noise).square().mean(dim=1)
    inside = -0.5 * 5000.0 * ((errors["w"] - errors["wref"]) - (errors["l"] - errors["lref"]))
    found = compare(moved, reference, batch, noising, objective, "epsilon")
    torch.testing.assert_close(found.losses, -nn.functional.logsigmoid(inside))
    torch.testing.assert_close(found.seen["winner error"], errors["w"])
    torch.testing.assert_close(found.seen["winner reach"], 2.0 * errors["wref"])
    torch.testing.assert_close(found.seen["loser before"], errors["lref"])
    assert found.seen["accuracy"].tolist() == (inside > 0).double().tolist()


def test_one_beta_serves_every_prediction() -> None:
    losses = {}
    for prediction in ("epsilon", "v_prediction"):
        objective = Objective(0.7)
        batch = batch_of(objective)
        found = compare(*models(prediction), batch, noising_of(MODEL), objective, prediction)
        losses[prediction] = torch.stack([found.losses, found.seen["winner reach"]])
        own = compare(
            *models(prediction), batch, noising_of(MODEL), replace(objective, errors="prediction"), prediction
        )
        assert torch.allclose(own.losses, found.losses) == (prediction == "epsilon")
    torch.testing.assert_close(losses["epsilon"], losses["v_prediction"])


@pytest.mark.parametrize("loss", ["dpo", "ipo", "hinge", "dpop", "sppo", "robust", "clamped"])
def test_a_tie_is_the_mean_of_both_orders(loss: Any) -> None:
    objective, noising = Objective(0.7, loss=loss, penalty=2.0 * (loss == "dpop")), noising_of(MODEL)
    tied, sure = batch_of(objective, wins=0.5), batch_of(objective)
    turned = replace(
        sure, chosen=sure.rejected, rejected=sure.chosen, times=sure.times.flip(0), noise=sure.noise.flip(0)
    )
    found, one, other = (compare(*models(), b, noising, objective, "epsilon") for b in (tied, sure, turned))
    torch.testing.assert_close(found.losses, 0.5 * (one.losses + other.losses))
    assert found.seen["accuracy"].tolist() == [0.5] * 6
    if loss == "dpo":
        # At the reference, a tie has no gradient.
        moved = models()[1].requires_grad_(True)
        compare(moved, models()[1], tied, noising, objective, "epsilon").losses.sum().backward()
        assert moved.shift.grad.abs().max() < 1e-12


@pytest.mark.parametrize(
    ("shared_time", "shared_noise"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_designs_share_what_they_say(shared_time: bool, shared_noise: bool) -> None:
    batch = batch_of(Objective(0.7, shared_time=shared_time, shared_noise=shared_noise), rows=64)
    assert bool((batch.times[0] == batch.times[1]).all()) == shared_time
    assert bool((batch.noise[0] == batch.noise[1]).all()) == shared_noise
    part = batch.rows(slice(3, 7))
    assert torch.equal(part.noise[1], batch.noise[1, 3:7]) and torch.equal(part.times[0], batch.times[0, 3:7])


def test_a_clamp_stops_the_gradient_and_is_announced() -> None:
    objective = Objective(10.0, loss="clamped", clip=0.01)
    (said,) = objective.announced(2, 10.0)
    assert "[0.5981, 0.7981]" in said
    moved, reference = models()
    with torch.no_grad():
        moved.shift.add_(50.0)
    found = compare(moved, reference, batch_of(objective), noising_of(MODEL), objective, "epsilon")
    found.losses.sum().backward()
    assert found.seen["outside"].tolist() == [1.0] * 6 and moved.shift.grad.abs().max() == 0.0
    assert (found.losses >= 0.5981 - 1e-4).all() and (found.losses <= 0.7981 + 1e-4).all()


def test_beta_is_announced_in_units_that_can_be_compared() -> None:
    said = [
        Objective(beta, script).announced(16384, 12.1)[0]
        for beta, script in ((5000.0, "salesforce"), (2500.0, "diffusers-sd"))
    ]
    assert all("is 0.1526 per summed squared error" in line and "0.0252 per nat" in line for line in said)


def test_an_unreachable_margin_is_told() -> None:
    with pytest.warns(ReachWarning, match=r"takes all of the winner's error \(1\) and 4 more"):
        assert Objective(0.1, loss="ipo").check_reach(1, 1.0) == 4.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Objective(2500.0, "diffusers-sd", "ipo").check_reach(16384, 16384.0) == 0.0
        assert Objective(0.1).check_reach(1, 1.0) == 0.0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"loss": "ipo", "smoothing": 0.1}, "smoothing = 0"),
        ({"loss": "dpo", "penalty": 0.1}, "penalty = 0"),
        ({"loss": "clamped", "sft": 0.1}, "sft = 0"),
        ({"loss": "clamped", "script": "salesforce"}, "no other script's beta"),
        ({"beta": 0.0}, "beta > 0"),
        ({"smoothing": 0.5}, "smoothing"),
    ],
)
def test_what_a_loss_does_not_have_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UnmetHypothesis, match=says):
        Objective(**{"beta": 0.7, **options})


# -- the noise times


def test_the_noise_times_are_those_of_the_scheduler() -> None:
    noising = Noising.of(GDDIMScheduler(num_train_timesteps=10, rescale_betas_zero_snr=True))
    assert len(noising.alpha) == 9, "no data is left at the last time"
    torch.testing.assert_close(noising.alpha**2 + noising.sigma**2, torch.ones(9))
    flow = Noising.of(
        GDDIMScheduler(num_train_timesteps=10, prediction_type="flow_prediction"), "logit-normal"
    )
    torch.testing.assert_close(flow.alpha + flow.sigma, torch.ones(10))
    torch.testing.assert_close(flow.timesteps, 10.0 * flow.sigma)
    counts = torch.bincount(flow.draw(torch.Generator().manual_seed(0), 20000), minlength=10) / 20000
    edges = torch.logit(torch.linspace(0, 1, 11).double())
    want = torch.special.ndtr(edges).diff()
    assert (counts - want).abs().max() < 6 * 0.5 / math.sqrt(20000)  # six standard errors at most
    with pytest.raises(UnmetHypothesis, match="sigma > 0"):
        Noising(torch.ones(2), torch.zeros(2), torch.arange(2))


# -- runs


def test_a_run_that_was_stopped_is_the_run_that_was_not(tmp_path: Path) -> None:
    whole = trainer()
    rows = whole.train()
    made = trainer(checkpoint=tmp_path / "x.safetensors")
    advance = made.advance

    def stopped(step: int) -> float:
        if step == 7:
            signal.raise_signal(signal.SIGTERM)
        return advance(step)

    made.advance = stopped  # type: ignore[method-assign]
    with pytest.raises(TrainingInterrupted):
        made.train()
    again = trainer(checkpoint=tmp_path / "x.safetensors")
    assert again.train() == rows
    assert shift_of(again).tobytes() == shift_of(whole).tobytes()
    with pytest.raises(OtherRun, match=r"objective.beta: 0.7 there, 0.8 here"):
        trainer(Objective(0.8), checkpoint=tmp_path / "x.safetensors").train()
    with pytest.raises(OtherRun, match=r"source.w\[?.*there"):
        trainer(model=replace(MODEL, w=(1.0, 1.0)), checkpoint=tmp_path / "x.safetensors").train()


def test_other_noise_times_are_another_run(tmp_path: Path) -> None:
    parts = ShiftedGaussian(MODEL), GaussianSource(MODEL)
    plan, place = replace(PLAN, max_steps=1), tmp_path / "x.safetensors"
    trainer(plan=plan, checkpoint=place).train()
    other = Noising(torch.tensor([0.2, 0.1]), torch.tensor([0.9, 0.99]), torch.arange(2))
    with pytest.raises(OtherRun, match=r"noising\.levels"):
        PreferenceTrainer(*parts, other, DPO, plan, checkpoint=place).train()


def test_parts_of_a_batch_make_the_same_step() -> None:
    whole, parts = trainer(), trainer(at_once=5)
    for one, other in zip(whole.train(), parts.train(), strict=True):
        assert one.keys() == other.keys() and one == pytest.approx(other, rel=1e-6)
    np.testing.assert_allclose(shift_of(whole), shift_of(parts), rtol=1e-9)


@pytest.mark.slow(ci=True)
def test_the_alarm_of_displaced_winners_is_raised_once() -> None:
    plan = replace(PLAN, max_steps=60, train_batch_size=64)
    with pytest.warns(DisplacementWarning, match="winners' errors are") as told:
        rows = trainer(plan=plan).train()
    assert len(told) == 1
    assert sum(row["winner error"] for row in rows[-20:]) > 1.1 * sum(
        row["winner before"] for row in rows[-20:]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", DisplacementWarning)
        trainer(Objective(0.7, sft=5.0), plan=plan).train()  # far above the threshold of RICH-PO-SFT-1


def test_what_is_not_finite_spoils_nothing() -> None:
    made = trainer()
    before = shift_of(made)
    made.source = type(
        "Broken",
        (),
        {"draw": lambda self, g, n: (torch.full((n, 2), math.nan), torch.zeros(n, 2), torch.ones(n), {})},
    )()
    with pytest.raises(FloatingPointError, match="the loss of step 0 is nan; nothing was updated"):
        made.advance(0)
    assert shift_of(made).tobytes() == before.tobytes()


def test_a_model_without_weights_to_train_is_refused() -> None:
    with pytest.raises(UnmetHypothesis, match="some weights require gradients"):
        PreferenceTrainer(
            ShiftedGaussian(MODEL).requires_grad_(False),
            GaussianSource(MODEL),
            noising_of(MODEL),
            Objective(0.7),
            PLAN,
        )
