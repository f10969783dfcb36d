"""Trainers on trained models: the reward rises, the loss falls, and the images still are digits."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
for needed in ("accelerate", "diffusers", "peft", "transformers"):
    pytest.importorskip(needed)

from driftproof import UnmetHypothesis
from driftproof.backends.torch import pretrained
from driftproof.backends.torch.adjoint import FlowTrainer, Matching
from driftproof.backends.torch.adjoint.models import prepared
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.pretrained.config import Lora, PipelineModel
from driftproof.backends.torch.pretrained.digits import caption, thickness
from driftproof.backends.torch.pretrained.loader import load_parts
from driftproof.backends.torch.rl.rewards import RewardChoice, ThicknessReward, make_reward
from driftproof.backends.torch.trainers import DDPOConfig, DDPOTrainer, Task

PROMPTS = tuple(caption(digit, 1, 1) for digit in range(10))
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
REWARD = ThicknessReward(3.0)  # the images of the zoo have a thickness of about 2
SIT = PipelineModel(
    "sit",
    Lora(8, 8, (*TARGETS, "proj_out_2")),
    name="zoo:mnist-sit",
    vae="zoo:mnist-vae",
    labels=tuple(range(10)),
)


def rises(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether paired numbers rise by five standard errors of their difference: by chance once in 10^6."""
    change = (after - before).double()
    return bool(change.mean() > 5.0 * change.std() / len(change) ** 0.5)


def noise_and_prompts(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """States that no training has begun with, and each prompt equally often."""
    generator = torch.Generator().manual_seed(12345)
    return torch.randn(count, 4, 8, 8, generator=generator), torch.arange(count) % 10


# -- what is loaded


@pytest.mark.slow(ci=True)
def test_a_recipe_names_a_model_of_the_zoo() -> None:
    lora = Lora(2, 2, TARGETS)
    made = load_parts(
        PipelineModel("stable_diffusion", lora, name="zoo:mnist-sd", prompts=PROMPTS[:2], guidance=3.0),
        torch.device("cpu"),
    )
    assert made.shape == (4, 8, 8) and set(made.conditions) == {"prompt", "negative"}
    flow = load_parts(SIT, torch.device("cpu"))
    assert flow.shape == (4, 8, 8) and flow.scheduler_config is None
    with pytest.raises(UnmetHypothesis, match="kind is that of zoo:mnist-sd, 'stable_diffusion'"):
        load_parts(
            PipelineModel("flux2", lora, name="zoo:mnist-sd", side=32, prompts=PROMPTS), torch.device("cpu")
        )


def test_the_reward_is_best_at_its_target() -> None:
    bars = torch.zeros(3, 3, 200, 40)
    for row, width in enumerate((1, 3, 6)):
        bars[row, :, 2:198, 5 : 5 + width] = 1.0
    made = make_reward(RewardChoice("thickness", target=float(thickness(bars)[1])), torch.device("cpu"))
    rewards = made(bars, ["", "", ""])
    assert rewards.argmax() == 1 and float(rewards[1]) == 0.0
    with pytest.raises(UnmetHypothesis, match="target > 0"):
        RewardChoice("thickness", target=0.0)


# -- what is trained


@pytest.mark.slow
def test_ddpo_raises_the_reward_of_a_trained_model(tmp_path: Path) -> None:
    pipe = pretrained.zoo("mnist-sd")
    task = Task.from_pipeline(pipe, PROMPTS, REWARD)
    arguments = DDPOConfig(
        output_dir=str(tmp_path),
        max_steps=25,
        num_inference_steps=8,
        guidance_scale=1.0,
        per_device_train_batch_size=64,
        per_device_rollout_batch_size=64,
        learning_rate=2e-3,
        lora_rank=8,
        save_steps=0,
    )
    trainer = DDPOTrainer(pipe, task, arguments)
    noise, prompts = noise_and_prompts(100)
    before = trainer.images(prompts, noise)
    log = trainer.train()
    after = trainer.images(prompts, noise)
    assert rises(REWARD(before, PROMPTS), REWARD(after, PROMPTS))
    rewards = torch.tensor(log.column("reward"))
    assert float(rewards[-5:].mean()) > float(rewards[:5].mean())
    classes = pretrained.zoo("mnist-classifier")(after).argmax(dim=1)
    assert float((classes == prompts).double().mean()) > 0.5, "thicker, and still the digits asked for"


@pytest.mark.slow
def test_adjoint_matching_lowers_its_loss_on_a_trained_model() -> None:
    made = prepared(SIT, 10, REWARD, torch.device("cpu"), bound=100.0)
    plan = Plan(max_steps=25, train_batch_size=20, learning_rate=3e-3, warmup_steps=3, ema_decay=0.8)
    trainer = FlowTrainer(made.flow, made.task, made.times, Matching(lam=0.1, chosen=4), plan)
    noise, prompts = noise_and_prompts(40)
    before = trainer.evaluate(noise, prompts)
    trainer.train()
    after = trainer.evaluate(noise, prompts)
    assert rises(-before.losses, -after.losses)
    assert rises(before.rewards, after.rewards)
    assert rises(-before.costs, -after.costs), "what is minimised: control and reward together"
    images = made.task.decode(trainer.sample(noise, prompts))
    classes = pretrained.zoo("mnist-classifier")(images).argmax(dim=1)
    assert float((classes == prompts).double().mean()) > 0.5
