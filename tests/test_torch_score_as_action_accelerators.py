"""Score as action under accelerators that change the precision or the scale of a loss."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from driftproof import UnmetHypothesis
from driftproof.backends.torch.pretrained.config import Lora, PipelineModel
from driftproof.backends.torch.rl.policies import load_policy
from driftproof.backends.torch.rl.rewards import JPEGReward
from driftproof.backends.torch.rl.sampler import Sampling
from driftproof.backends.torch.score_as_action.config import CriticChoice
from driftproof.backends.torch.score_as_action.critics import NetworkCritic
from driftproof.backends.torch.score_as_action.trainer import ActorCriticTrainer
from tests.actor_critics import BUDGET, trainer_of


def test_the_reference_is_rounded_as_the_model_is():
    """Without adapters the reference is a copy: in mixed precision, too, nothing has been learnt at the start."""
    AcceleratorState._reset_state(True)
    try:
        model = PipelineModel(
            kind="stable_diffusion", lora=Lora(2, 2, ("to_q", "to_v")), side=16, prompts=("cat", "dog")
        )
        policy = load_policy(model, Sampling(4), JPEGReward(), torch.device("cpu"))
        policy.denoiser.network.unload_lora()
        policy.denoiser.network.requires_grad_(True)
        times = policy.sampler.timesteps.double() / 1000.0
        critic = NetworkCritic(CriticChoice(width=4, steps=3, batch=16), policy.task.shape[0], 8, times)
        trainer = ActorCriticTrainer(
            policy.denoiser,
            critic,
            policy.sampler,
            policy.task,
            replace(BUDGET, prompts=2),
            "ppo",
            accelerator=Accelerator(cpu=True, mixed_precision="bf16"),
        )
        samples = trainer.samples(0, torch.Generator().manual_seed(0), torch.tensor([0, 1]))
        assert float(samples.done.recorded["kl"].abs().max()) == 0.0
    finally:
        AcceleratorState._reset_state(True)


def test_an_accelerator_that_scales_the_loss_is_refused():
    """Unscaled critics and an actor whose loss is divided by 4 would be another algorithm."""
    GradientState._reset_state()
    try:
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
        with pytest.raises(UnmetHypothesis, match="micro batches accumulate"):
            trainer_of("advantage", accelerator=accelerator)
    finally:
        GradientState._reset_state()


def test_a_scaler_deals_with_overflow_itself(monkeypatch):
    """In float16 an infinite gradient means: skip this step and scale less.  Without a scaler it is an error."""
    trainer, _, _ = trainer_of("advantage")
    monkeypatch.setattr(trainer.accelerator, "clip_grad_norm_", lambda *_: torch.tensor(float("inf")))
    with pytest.raises(FloatingPointError, match="the gradient of epoch 0 is inf"):
        trainer.train()
    monkeypatch.setattr(trainer.accelerator, "scaler", SimpleNamespace(scale=lambda loss: loss))
    assert len(trainer.train().rows) == BUDGET.epochs
