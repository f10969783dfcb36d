"""The protocol of a trainer of rollouts: three methods on two-parameter models, parts, groups, policies, forwards."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")

from accelerate import Accelerator
from torch import nn

from driftproof import UnmetHypothesis
from driftproof.backends.torch.rl.budget import RolloutBudget
from driftproof.backends.torch.rl.method import AbstractMethod, Losses, Objective
from driftproof.backends.torch.rl.sampler import Sampler
from driftproof.backends.torch.rl.task import Task
from driftproof.backends.torch.rl.times import FreshNoise
from driftproof.backends.torch.rl.trainer import RolloutTrainer
from driftproof.backends.torch.schedulers import GDDIMScheduler
from tests.rollout_methods import AWM, D3PO, DiffusionNFT, squares

ROOT = Path(__file__).parent.parent
BUDGET = RolloutBudget(
    epochs=3,
    prompts=32,
    num_generations=2,
    per_device_train_batch_size=1 << 20,
    per_device_rollout_batch_size=1 << 20,
    learning_rate=0.05,
    max_grad_norm=1e9,
)
TARGET = 0.7


class TwoParameters(nn.Module):
    """The flow of N(0, 1/2) with a gain and a shift that are learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.prediction, self.guidance = "flow_prediction", 1.0
        self.gain = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x, t, condition):
        t = (t / 1000.0).reshape(-1, 1)
        total = 0.5 * (1.0 - t) ** 2 + t**2
        return ((t - 0.5 * (1.0 - t)) / total + self.guidance * self.gain) * x + self.shift


def made(method, **options):
    scheduler = GDDIMScheduler(shift=1.0)
    scheduler.set_timesteps(5)
    task = Task((2,), lambda x, _: -((x - TARGET) ** 2).sum(dim=1), dtype=torch.float64)
    model = TwoParameters()
    sampler = Sampler(scheduler, 0.7, "flow_sde")
    return RolloutTrainer(method, model, sampler, task, accelerator=Accelerator(cpu=True), **options), model


def gradient(trainer, seed=0):
    """That of a whole rollout, by the method's own loss, and the rollout with its batches."""
    generator = torch.Generator().manual_seed(seed)
    prompts = torch.zeros(trainer.budget.rows, dtype=torch.long)
    samples = trainer.samples(0, generator, prompts)
    signal = trainer.method.signal(samples)
    rows = torch.arange(len(prompts))
    batches = list(trainer.method.times.batches(samples, rows, 1 << 20, generator, first=True))
    loss = sum(trainer.method.loss(batch, samples, signal).each.sum() for batch in batches)
    return torch.stack(torch.autograd.grad(loss, list(trainer.weights.values()))), samples, signal, batches


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_nft_begins_as_weighted_matching(beta: float) -> None:
    r"""At v = v_old its gradient is 2 beta (2 r - 1) (v - u) dv, from the definition of both halves."""
    trainer, model = made(DiffusionNFT(BUDGET, beta))
    got, _, r, (batch,) = gradient(trainer)
    v = model(batch.x, batch.t, {})
    slope = (v.detach() - (batch.noise - batch.clean)) * v
    expected = torch.autograd.grad(
        (2.0 * beta * (2.0 * r - 1.0)[:, None] * slope).sum(), list(model.parameters())
    )
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-10, atol=1e-10)
    assert float(r.min()) >= 0.0 and float(r.max()) <= 1.0
    pairs = r.reshape(-1, 2).sum(dim=1)
    torch.testing.assert_close(pairs, torch.ones_like(pairs))  # centred in every group


def test_awm_begins_as_advantage_weighted_matching() -> None:
    trainer, model = made(AWM(BUDGET))
    got, samples, advantages, batches = gradient(trainer)
    loss = sum(
        ((1.0 - b.t / 1000.0) * advantages[b.rows] * squares(model(b.x, b.t, {}) - (b.noise - b.clean))).sum()
        for b in batches
    )
    expected = torch.autograd.grad(loss, list(model.parameters()))
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-10, atol=1e-10)
    assert len(batches) == 2 and len(samples.done.states) == 1  # two draws; the ends alone were kept
    for batch in batches:  # a group shares times and noise
        torch.testing.assert_close(batch.t[::2], batch.t[1::2], rtol=0, atol=0)
        torch.testing.assert_close(batch.noise[::2], batch.noise[1::2], rtol=0, atol=0)


def test_d3po_begins_with_half_the_difference_of_scores() -> None:
    trainer, model = made(D3PO(BUDGET, beta=0.3))
    got, samples, sign, (batch,) = gradient(trainer)
    mean, std = trainer.sampler.moments(model(batch.x, batch.t, {}), batch.steps, batch.x, 0.7)
    logp = torch.distributions.Normal(mean, std).log_prob(batch.after).sum(dim=1)
    alternating = torch.tensor([1.0, -1.0]).repeat(len(logp) // 2)
    # each preference counts once: -log sigma(z) has the slope -1/2 at 0
    loss = -0.5 * 0.3 * (sign[batch.rows] * alternating * logp).sum()
    expected = torch.autograd.grad(loss, list(model.parameters()))
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-9, atol=1e-9)
    better = samples.rewards.reshape(-1, 2).argmax(dim=1)
    assert torch.equal(sign[::2] < 0, better == 1)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("method", [DiffusionNFT, AWM, D3PO])
def test_three_methods_learn_and_resume(method, tmp_path: Path) -> None:
    """The mean of the samples moves towards the target, and a finished run is taken back bit for bit."""
    budget = replace(BUDGET, epochs=20, prompts=128, steps_per_generation=2, learning_rate=0.03)
    trainer, model = made(method(budget))
    log = trainer.train(tmp_path / "run.safetensors")
    reward = log.column("reward")
    assert sum(reward[-3:]) / 3 > reward[0] + 0.2  # of 1.5 at the start
    again, twin = made(method(budget))
    assert again.train(tmp_path / "run.safetensors").rows == log.rows
    for ours, theirs in zip(again.state().values(), trainer.state().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert twin.gain.item() == model.gain.item()


def test_a_policy_has_its_own_weights_and_guidance() -> None:
    trainer, model = made(DiffusionNFT(BUDGET))
    x, t = torch.ones(1, 2, dtype=torch.float64), torch.tensor([500.0])
    before = trainer.policies("old", x, t, {})
    with torch.no_grad():
        model.gain.fill_(0.25)
    torch.testing.assert_close(trainer.policies("old", x, t, {}), before)
    torch.testing.assert_close(trainer.policies("current", x, t, {}) - before, torch.full_like(x, 0.25))
    twice = trainer.policies("current", x, t, {}, guidance=2.0)
    torch.testing.assert_close(twice - before, torch.full_like(x, 0.5))
    assert model.guidance == 1.0
    trainer.policies.move("old", 0.5)
    torch.testing.assert_close(trainer.policies("old", x, t, {}) - before, torch.full_like(x, 0.125))


class Baseline(AbstractMethod):
    """Two losses: the flow is pulled by the reward less a baseline, which is fitted to the reward every other update."""

    keep_states, times = False, FreshNoise()

    def __init__(self, budget):
        super().__init__(budget)
        self.level = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.calls = {"baseline": 0, "policy": 0}
        optimizer = torch.optim.SGD([self.level], lr=0.5)
        self.second = Objective("baseline", (self.level,), optimizer, self.fit, every=2)

    def signal(self, samples):
        return samples.rewards[samples.mine]

    def fit(self, batch, samples, signal):
        self.calls["baseline"] += 1
        return Losses((signal[batch.rows] - self.level) ** 2)

    def loss(self, batch, samples, signal):
        self.calls["policy"] += 1
        advantage = signal[batch.rows] - self.level.detach()
        output = self.setting.policies.trained(batch.x, batch.t, batch.condition)
        return Losses(advantage * squares(output - (batch.noise - batch.clean)))

    def objectives(self):
        return (self.second,)

    def tensors(self):
        return {"level": self.level}


def test_a_second_loss_has_its_own_weights_and_cadence(tmp_path: Path) -> None:
    budget = replace(BUDGET, epochs=1, steps_per_generation=4)
    trainer, _ = made(Baseline(budget))
    log = trainer.train(tmp_path / "run.safetensors")
    assert trainer.method.calls == {"baseline": 2, "policy": 4}
    # Each step with the rate 1/2 of a square goes all the way to the mean of its part.
    (rewards,) = log.column("reward")
    assert (
        trainer.method.level.item() == pytest.approx(rewards, abs=1.0) and trainer.method.level.item() < 0.0
    )
    again, _ = made(Baseline(budget))
    again.train(tmp_path / "run.safetensors")
    assert again.method.level.item() == trainer.method.level.item()


def test_groups_stay_whole_in_every_part() -> None:
    trainer, _ = made(
        D3PO(
            replace(
                BUDGET, steps_per_generation=4, per_device_train_batch_size=3, per_device_rollout_batch_size=3
            )
        )
    )
    parts = list(trainer._parts(torch.Generator().manual_seed(0)))
    assert sorted(torch.cat(parts).tolist()) == list(range(64))
    for rows in parts:
        pairs = rows.reshape(-1, 2)
        assert len(pairs) == 8 and torch.equal(pairs[:, 0] + 1, pairs[:, 1]) and not (pairs[:, 0] % 2).any()
    assert trainer._size == 2


@pytest.mark.parametrize("processes", [2, 4])
def test_the_parts_do_not_depend_on_the_processes(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, _ = made(AWM(replace(BUDGET, steps_per_generation=2)))
    alone = list(trainer._parts(torch.Generator().manual_seed(5)))
    found = [[] for _ in alone]
    for rank in range(processes):
        monkeypatch.setattr(type(trainer.accelerator), "num_processes", processes)
        monkeypatch.setattr(type(trainer.accelerator), "process_index", rank)
        for part, rows in zip(found, trainer._parts(torch.Generator().manual_seed(5)), strict=True):
            part += (rows + rank * (64 // processes)).tolist()
    assert [sorted(part) for part in found] == [sorted(part.tolist()) for part in alone]


def test_what_cannot_be_dealt_is_refused() -> None:
    with pytest.raises(UnmetHypothesis, match="steps_per_generation divide the rows, in groups of 2"):
        made(D3PO(replace(BUDGET, prompts=3, steps_per_generation=2)))


@pytest.mark.slow
def test_the_methods_have_the_types_of_the_protocol() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--explicit-package-bases", "tests/rollout_methods.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
