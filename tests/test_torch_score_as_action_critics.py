"""Critics of score as action: least squares and small networks, with every skip, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from driftproof import UnmetHypothesis
from driftproof.backends.torch.pretrained.config import Lora
from driftproof.backends.torch.rl.statistics import PromptStatistics
from driftproof.backends.torch.score_as_action.config import (
    Budget,
)
from driftproof.backends.torch.score_as_action.critics import QuadraticCritic
from driftproof.backends.torch.score_as_action.trainer import ActorCriticTrainer
from tests.actor_critics import BUDGET, give_exact_values, network_of, one_thread, small_policy, trainer_of

__all__ = ["one_thread"]


def test_the_quadratic_critic_finds_the_value_function():
    trainer, denoiser, sampler = trainer_of(
        "advantage",
        replace(
            BUDGET, prompts=8192, per_device_train_batch_size=1 << 20, per_device_rollout_batch_size=1 << 20
        ),
    )
    exact = QuadraticCritic(2, sampler.n_steps, 0.9)
    give_exact_values(exact, denoiser, sampler)
    generator = torch.Generator().manual_seed(5)
    samples = trainer.samples(0, generator, torch.zeros(8192, dtype=torch.long))
    batch, rewards = trainer.method.signal(samples).batch, samples.rewards
    critic = trainer.method.critic
    critic.update(batch, torch.Generator(), trainer.accelerator)
    gap = (critic.values_on_path(batch) - exact.values_on_path(batch)).abs().mean()
    assert float(gap) < 0.05 * float(rewards.std())  # statistical error of 6 weights from 8192 paths: 0.02


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("skip", ["none", "constant", "learnable", "cos"])
@pytest.mark.parametrize("loss", ["martingale", "ctd"])
def test_a_small_unet_trains_and_resumes(skip, loss, tmp_path):
    budget = Budget(
        epochs=2,
        prompts=4,
        per_device_train_batch_size=8,
        per_device_rollout_batch_size=8,
        learning_rate=1e-3,
        beta=1e-3,
        normalise="prompt",
        standardise=True,
        min_count=2,
    )

    def made():
        policy = small_policy()
        torch.manual_seed(3)
        critic = network_of(policy, skip=skip, loss=loss)
        return ActorCriticTrainer(policy.denoiser, critic, policy.sampler, policy.task, budget, "ppo"), critic

    whole, critic = made()
    log = whole.train(tmp_path / "a.safetensors")
    assert all(np.isfinite(list(row.values())).all() for row in log.rows)
    assert any(bool((value != 0).any()) for name, value in whole.weights.items() if "lora_B" in name)
    resumed, learnt = made()
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    assert resumed.train(tmp_path / "b.safetensors").rows == log.rows
    for name, value in critic.state_dict().items():
        assert torch.equal(value, learnt.state_dict()[name]), name
    assert critic.skip.requires_grad is (skip == "learnable")


@pytest.mark.slow
@pytest.mark.parametrize(("actor", "skip"), [("pathwise", "none"), ("ppo", "constant")])
def test_a_small_unet_learns(actor, skip):
    """The objective on 64 fresh trajectories, the same before and after, rises by 5.5 standard errors: Student's
    false alarm is 4e-7, and a rise of 8 standard errors is seen with probability 0.99."""
    policy = small_policy(lora=Lora(4, 4, ("to_q", "to_k", "to_v", "to_out.0")))
    task = replace(policy.task, decode=lambda x: x, reward=lambda x, _: x.flatten(1).mean(dim=1))
    torch.manual_seed(0)
    critic = network_of(policy, skip=skip, width=8, steps=10, batch=128, learning_rate=1e-2)
    budget = Budget(
        epochs=10,
        prompts=32,
        per_device_train_batch_size=256,
        per_device_rollout_batch_size=256,
        learning_rate=2e-2,
        beta=1e-3,
        critic_warmup=1,
        max_grad_norm=1e9,
    )
    if actor == "ppo":
        budget = replace(budget, epochs=20, prompts=64, standardise=True)
    trainer = ActorCriticTrainer(policy.denoiser, critic, policy.sampler, task, budget, actor)
    before = trainer.method.evaluate(trainer, 64)
    trainer.train()
    rise = (trainer.method.evaluate(trainer, 64) - before).double()
    assert float(rise.mean()) > 5.5 * float(rise.std()) / 8.0


def test_the_skip_is_the_value_at_the_start():
    policy = small_policy()
    x, plug_in = torch.randn(3, 4, 8, 8), torch.tensor([1.0, 2.0, 3.0])
    steps, condition = torch.tensor([0, 1, 3]), {"prompt": torch.zeros(3, 4, 8)}
    for skip in ("constant", "learnable"):
        assert torch.equal(network_of(policy, skip=skip)(x, steps, plug_in, condition), plug_in)
    turned = network_of(policy, skip="cos")(x, steps, plug_in, condition)
    want = torch.cos(0.5 * torch.pi * policy.sampler.timesteps[steps] / 1000.0) * plug_in
    torch.testing.assert_close(turned, want.float())
    assert not bool(network_of(policy, skip="none")(x, steps, plug_in, condition).any())


def test_a_pathwise_actor_takes_no_skip():
    policy = small_policy()
    given = (policy.denoiser, network_of(policy), policy.sampler, policy.task, BUDGET, "pathwise")
    with pytest.raises(UnmetHypothesis, match="a critic without skip"):
        ActorCriticTrainer(*given)


def test_equal_rewards_of_a_prompt_stay_zero_in_double_precision():
    """Their deviation is 1e-17 by rounding: as a divisor it would turn nothing into one."""
    statistics = PromptStatistics(1, decay=0.9, min_count=2)
    rewards, prompts = torch.full((7,), 0.1, dtype=torch.float64), torch.zeros(7, dtype=torch.long)
    for _ in range(3):
        centre, scale = statistics.of_rows(rewards, prompts, slice(None))
        assert float(((rewards - centre) / scale).abs().max()) < 1e-15
