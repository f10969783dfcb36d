"""Score as action on torch: gradients of the actors against exact ones, resuming, bad input."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from driftproof import UnmetHypothesis
from driftproof.backends.torch import score_as_action as package
from driftproof.backends.torch.kit import progress
from driftproof.backends.torch.kit.stop import TrainingInterrupted
from driftproof.backends.torch.rl.gaussian import GaussianModel
from driftproof.backends.torch.rl.sampler import Sampling
from driftproof.backends.torch.rl.times import RecordedSteps
from driftproof.backends.torch.score_as_action.config import (
    RECIPES,
    Budget,
    CriticChoice,
    Recipe,
)
from driftproof.backends.torch.score_as_action.gaussian import Exact, gaussian_parts
from driftproof.theory.processes import VP
from driftproof.theory.score_as_action import terminal_law
from tests.actor_critics import BETA, BUDGET, MODEL, give_exact_values, one_thread, trainer_of

__all__ = ["one_thread"]


def test_dynamic_programming_tends_to_the_optimum_in_continuous_time():
    law = terminal_law(VP(MODEL.decay, MODEL.decay, 1.0), MODEL.data, MODEL.reward, BETA)
    gaps = []
    for n in (50, 500):
        _, sampler, _ = gaussian_parts(MODEL, Sampling(n))
        best = Exact(MODEL, sampler, BETA).optimum()
        gaps.append(max(np.abs(best.mean - law.mean).max(), np.abs(best.cov - law.cov).max()))
    # The last step into the data has little noise and so little control; its length is 1 / N.
    assert gaps[1] < 0.2 * gaps[0] and gaps[1] < 0.02


@pytest.mark.slow(ci=True)
def test_no_neighbour_of_the_optimum_is_better():
    denoiser, sampler, _ = gaussian_parts(MODEL, Sampling(2))
    exact = Exact(MODEL, sampler, BETA)
    best = exact.optimum().objective
    # Climb by differences of the exact objective of the family: it ends at the optimum of dynamic programming.
    weights = torch.nn.utils.parameters_to_vector(denoiser.parameters()).detach()

    def objective(w):
        torch.nn.utils.vector_to_parameters(torch.as_tensor(w), denoiser.parameters())
        return -exact.of(denoiser).objective

    from scipy.optimize import minimize

    found = minimize(objective, weights.numpy(), method="BFGS", options={"maxiter": 40, "gtol": 1e-5})
    assert -found.fun <= best + 1e-12
    assert -found.fun == pytest.approx(best, abs=1e-6)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("actor", ["pathwise", "advantage", "ppo"])
def test_the_actor_ascends_the_exact_gradient(actor):
    """With the exact value function, the averaged gradient is that of the exact objective: z < 5 in all of 30 numbers
    (false alarm 2e-5); deviations of 6 standard errors, about 0.02 here, are seen with probability 0.84 each."""
    budget = replace(
        BUDGET,
        prompts=512,
        per_device_train_batch_size=1 << 20,
        per_device_rollout_batch_size=1 << 20,
        epochs=24,
    )
    trainer, denoiser, sampler = trainer_of(actor, budget)
    exact = Exact(MODEL, sampler, BETA)
    with torch.no_grad():
        denoiser.shift += 0.1
        denoiser.slope += 0.03 * torch.eye(2)
    give_exact_values(trainer.method.critic, denoiser, sampler)
    names = list(trainer.weights)
    draws = []
    for epoch in range(budget.epochs):
        generator = torch.Generator().manual_seed(epoch)
        prompts = torch.zeros(budget.rows, dtype=torch.long)
        samples = trainer.samples(0, generator, prompts)
        told = trainer.method.signal(samples)
        everything = RecordedSteps().batches(
            samples, prompts + torch.arange(budget.rows), 1 << 20, generator, first=True
        )
        loss = sum(trainer.method.loss(batch, samples, told).each.sum() for batch in everything)
        grads = torch.autograd.grad(-loss / budget.rows, [trainer.weights[n] for n in names])
        draws.append(torch.cat([g.flatten() for g in grads]).numpy())
    mean, error = np.mean(draws, axis=0), np.std(draws, axis=0, ddof=1) / np.sqrt(len(draws))
    want = []
    with torch.no_grad():
        for name in names:
            flat = trainer.weights[name].view(-1)
            for i in range(len(flat)):
                values = []
                for h in (1e-4, -2e-4):
                    flat[i] += h
                    values.append(exact.of(denoiser).objective)
                flat[i] += 1e-4
                want.append((values[0] - values[1]) / 2e-4)
    assert np.max(np.abs(mean - np.asarray(want)) / np.maximum(error, 1e-9)) < 6.0
    assert np.max(error) < 0.05 * np.max(np.abs(want))


@pytest.mark.parametrize("actor", ["pathwise", "advantage", "ppo"])
def test_killed_and_resumed_is_the_same_run(actor, tmp_path, monkeypatch):
    budget = replace(BUDGET, num_iterations=2 if actor == "ppo" else 1, steps_per_generation=2)
    whole, denoiser, _ = trainer_of(actor, budget)
    log = whole.train(tmp_path / "whole.safetensors")
    path = tmp_path / "killed.safetensors"
    killed, _, _ = trainer_of(actor, budget)
    with monkeypatch.context() as patch:
        calls = []

        def advance(self, loss):
            calls.append(loss)
            if len(calls) == 2:
                raise KeyboardInterrupt  # not between two epochs: what was saved is the epoch before

        patch.setattr(progress.Progress, "advance", advance)
        with pytest.raises(KeyboardInterrupt):
            killed.train(path)
    again, resumed, _ = trainer_of(actor, budget)
    rest = again.train(path)
    assert rest.rows == log.rows
    for name, value in denoiser.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    for name, value in whole.method.critic.state_dict().items():
        assert torch.equal(value, again.method.critic.state_dict()[name]), name
    other, _, _ = trainer_of(actor, replace(budget, beta=0.1))
    with pytest.raises(ValueError, match="another configuration"):
        other.train(path)


def test_a_signal_saves_and_says_so(tmp_path):
    trainer, _, _ = trainer_of("advantage")
    watch = lambda: os.kill(os.getpid(), signal.SIGTERM) or {}  # called after every epoch
    trainer.task = replace(trainer.task, watch=watch)
    with pytest.raises(TrainingInterrupted, match="SIGTERM: stopped after epoch 1; saved in") as stopped:
        trainer.train(tmp_path / "a.safetensors")
    assert stopped.value.status == 143
    assert (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize(
    ("call", "hypothesis"),
    [
        (lambda: trainer_of("advantage", eta=0.0), "eta > 0, as a deterministic step has no log-probability"),
        (lambda: trainer_of("ppo", eta=0.0), "eta > 0, as a deterministic step has no log-probability"),
        (
            lambda: trainer_of("pathwise", reward=lambda x, _: x.detach().sum(-1)),
            "the reward has a gradient",
        ),
        (
            lambda: trainer_of("advantage", replace(BUDGET, num_iterations=2)),
            "num_iterations = 1, but for ppo",
        ),
        (
            lambda: trainer_of("advantage", replace(BUDGET, steps_per_generation=7)),
            "processes times steps_per_generation divide the rows",
        ),
        (lambda: replace(BUDGET, beta=0.0), "beta > 0"),
        (lambda: replace(BUDGET, beta=-1.0), "beta > 0"),
        (lambda: replace(BUDGET, clip_range=1.0), "clip_range < 1"),
        (lambda: CriticChoice(memory=1.0), "memory < 1"),
        (lambda: CriticChoice(kind="quadratic"), "martingale loss and no skip"),
        (lambda: gaussian_parts(GaussianModel(c=(1.0,), Q=((1.0,),)), Sampling(4)), "one space"),
        (
            lambda: gaussian_parts(GaussianModel(cov=((1.0, 2.0), (2.0, 1.0))), Sampling(4)),
            "positive semi-definite",
        ),
        (
            lambda: Exact(
                GaussianModel(Q=((-90.0, 0.0), (0.0, 0.0))), gaussian_parts(MODEL, Sampling(4))[1], 0.1
            ).optimum(),
            "beta / std^2 - P",
        ),
        (lambda: Recipe("a", ("ppo",), Sampling(4), BUDGET), "a table [gaussian] or [pipeline]"),
        (lambda: Recipe("a", (), Sampling(4), BUDGET, gaussian=MODEL), "actors >= 1 items"),
        (lambda: CriticChoice(skip="linear"), "skip is one of"),
        (lambda: CriticChoice(loss="td"), "loss is one of"),
        (lambda: CriticChoice(steps=0), "steps > 0"),
        (lambda: Budget(epochs=1, prompts=1, lr_scheduler_type="linear"), "lr_scheduler_type is one of"),
        (lambda: trainer_of("reinforce"), "the actor is pathwise, advantage or ppo"),
        (
            lambda: gaussian_parts(GaussianModel(cov=((1.0, 1.0), (1.0, 1.0))), Sampling(steps=2, eta=1.0)),
            "cov is not singular",
        ),
    ],
)
def test_bad_input_names_the_hypothesis(call, hypothesis):
    with pytest.raises(UnmetHypothesis) as caught:
        call()
    assert hypothesis in str(caught.value)


def test_packaged_recipes_are_whole():
    for path in RECIPES.packaged():
        for smoke in (False, True):
            recipe, _ = RECIPES.load(path, smoke)
            assert recipe.budget.beta > 0


def test_main_writes_a_report(tmp_path):
    recipe = tmp_path / "tiny.toml"
    text = RECIPES.packaged()[0].read_text(encoding="utf-8").split("[smoke]")[0]
    text = text.replace("seeds = [0, 1, 2, 3, 4]", "seeds = [0, 1]").replace("epochs = 300", "epochs = 6")
    recipe.write_text(
        text.replace("prompts = 512", "prompts = 64").replace("steps = 10", "steps = 4"), encoding="utf-8"
    )
    package.main(recipe, smoke=False, out=tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["paper"] == "score_as_action" and len(report["tables"][0]["rows"]) == 6
    assert report["figures"][0]["svg"].startswith("<svg")
