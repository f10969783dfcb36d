"""The adapters of real classes in training: resumed, compared with flow_grpo, saved, learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

import diffusers
from accelerate import Accelerator
from safetensors.torch import load_file

from driftproof.backends.torch.pretrained.config import Lora
from driftproof.backends.torch.pretrained.lora import save_adapter
from driftproof.backends.torch.reward_gap.config import Budget
from driftproof.backends.torch.reward_gap.methods import DDPO, MixGRPO
from driftproof.backends.torch.rl.sampler import log_prob
from driftproof.backends.torch.rl.trainer import RolloutTrainer
from driftproof.backends.torch.rl.trajectories import rollout
from driftproof.numerics.reward_gap import Window, paired_gap
from tests.small_pipelines import KINDS, latents, policy


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("kind", KINDS)
def test_every_pipeline_trains_and_resumes(kind: str, tmp_path: Path) -> None:
    budget = Budget(
        epochs=3,
        prompts=2,
        num_generations=2,
        steps_per_generation=2,
        per_device_train_batch_size=5,
        per_device_rollout_batch_size=5,
        learning_rate=1e-2,
        beta=1e-3,
        ratio="mean",
        pairs=2,
    )

    def train(epochs: int, path: Path):
        pipe = policy(kind, steps=3, eta=0.5)
        options = {"accelerator": Accelerator(cpu=True)}
        numbers = replace(budget, epochs=epochs)
        if kind == "stable_diffusion":
            trainer = RolloutTrainer(DDPO(numbers), pipe.denoiser, pipe.sampler, pipe.task, **options)
        else:
            window = Window(size=2, every=1)
            trainer = RolloutTrainer(
                MixGRPO(numbers, window), pipe.denoiser, pipe.sampler, pipe.task, **options
            )
        before = {name: p.detach().clone() for name, p in trainer.weights.items()}
        return pipe, trainer.train(path), before

    pipe, log, before = train(3, tmp_path / "a.safetensors")
    assert log.epochs == 3
    moved = [not torch.equal(p, before[n]) for n, p in pipe.denoiser.named_parameters() if p.requires_grad]
    assert any(moved)
    again, second, _ = train(3, tmp_path / "a.safetensors")
    assert second.rows == log.rows
    for (_, one), (_, other) in zip(
        pipe.denoiser.named_parameters(), again.denoiser.named_parameters(), strict=True
    ):
        assert torch.equal(one, other)
    save_adapter(pipe.network, tmp_path / "lora")
    saved = load_file(tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    prefix = "unet." if kind == "stable_diffusion" else "transformer."
    assert saved
    assert all(name.startswith(prefix) and "lora" in name for name in saved)


@pytest.mark.parametrize("method", [DDPO, MixGRPO])
def test_rewards_are_compared_within_their_prompt(method) -> None:
    """A prompt that is worth 100 more is no reason to take its steps again."""
    pipe = policy("stable_diffusion")
    budget = Budget(epochs=1, prompts=2, num_generations=2, min_count=2, pairs=2)
    trainer = RolloutTrainer(
        method(budget), pipe.denoiser, pipe.sampler, pipe.task, accelerator=Accelerator(cpu=True)
    )
    found = trainer.method.advantages(torch.tensor([1.0, 3.0, 101.0, 107.0]), torch.tensor([0, 0, 1, 1]))
    root = 2.0**0.5  # n / (n - 1) over the standard deviation of two
    assert found.tolist() == pytest.approx([-root, root, -root, root], rel=1e-6)


def test_clip_ranges_are_wider_than_what_log_ratios_are_rounded_to() -> None:
    """At the size of Stable Diffusion, with the numbers of a budget that names none."""
    budget = Budget(epochs=1, prompts=1)
    generator = torch.Generator().manual_seed(0)
    mean, noise = (torch.randn(8, 4, 64, 64, generator=generator) for _ in range(2))
    single, std = mean + 0.3 * noise, torch.tensor(0.3)
    rounded = log_prob(single, mean, std)
    error = (rounded - log_prob(single.double(), mean.double(), std.double())).abs().max()
    size = mean[0].numel() if budget.ratio == "mean" else 1
    assert float(error) / size < budget.clip_range / 100.0


@pytest.mark.parametrize("ratio", ["sum", "mean"])
def test_the_gradient_is_that_of_flow_grpo(ratio: str) -> None:
    """From the formulae of the paper: advantages in groups, the density of its step, its divergence of a step."""
    pipe, a, beta = policy("stable_diffusion_3", steps=4, eta=0.5, sampler="flow_sde"), 0.5 * 2.0**0.5, 1.0
    options = {"advantage_clip": 0.0, "baseline": "group", "max_grad_norm": 1e9, "learning_rate": 1e-30}
    budget = Budget(
        epochs=1,
        prompts=2,
        num_generations=3,
        per_device_train_batch_size=4,
        per_device_rollout_batch_size=4,
        beta=beta,
        ratio=ratio,
        pairs=2,
        **options,
    )
    task = replace(pipe.task, reward=lambda images, prompts: images.mean(dim=(1, 2, 3)))
    trainer = RolloutTrainer(
        MixGRPO(budget, Window(2, every=1)),
        pipe.denoiser,
        pipe.sampler,
        task,
        accelerator=Accelerator(cpu=True),
    )
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # away from the reference
        for name, weight in trainer.weights.items():
            if "lora_B" in name:
                weight.normal_(0.0, 1.0, generator=generator)
    seen, updates = [], trainer._updates

    def spied(epoch, samples, signal):
        seen.append((samples.done, samples.condition))
        return updates(epoch, samples, signal)

    trainer._updates = spied
    trainer.train()
    got = torch.cat([weight.grad.flatten() for weight in trainer.weights.values()])
    ((done, rows),) = seen
    assert done.kinds == ("sde", "sde", "ode", "ode")
    first, second = rows["prompt"].reshape(2, 3, -1)  # three rows of each prompt, side by side
    assert torch.equal(first, first[:1].expand_as(first)) and torch.equal(
        second, second[:1].expand_as(second)
    )
    assert not torch.equal(first, second)
    groups = task.rewards(done.end, torch.arange(6) // 3).reshape(2, 3)
    advantages = (groups - groups.mean(dim=1, keepdim=True)) / groups.std(dim=1, keepdim=True)
    loss, sigmas = 0.0, pipe.sampler.scheduler.sigmas.tolist()
    for i in (0, 1):
        (t, s), x = sigmas[i : i + 2], done.states[i]
        level, dt = a * (t / (1.0 - (t if t < 1.0 else s))) ** 0.5, t - s
        times = pipe.sampler.timesteps[i].expand(6)
        v = pipe.denoiser(x, times, rows)
        pipe.denoiser.network.disable_adapters()
        v0 = pipe.denoiser(x, times, rows).detach()
        pipe.denoiser.network.enable_adapters()
        mean = x - (v + level**2 / (2.0 * t) * (x + (1.0 - t) * v)) * dt
        logp = torch.distributions.Normal(mean, level * dt**0.5).log_prob(done.states[i + 1])
        kl = dt / 2.0 * (level * (1.0 - t) / (2.0 * t) + 1.0 / level) ** 2 * (v - v0) ** 2
        loss = loss - (advantages.flatten() * logp.sum(dim=(1, 2, 3)) - beta * kl.sum(dim=(1, 2, 3))).sum()
    want = torch.cat([g.flatten() for g in torch.autograd.grad(loss / 12.0, list(trainer.weights.values()))])
    assert float((got - want).norm() / want.norm()) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_adapter_is_loaded_at_its_strength(kind: str, tmp_path: Path) -> None:
    """With alpha four times the rank, by the loaders of diffusers alone."""
    lora = Lora(4, 16, ("to_q", "to_v"))
    pipe, fresh = policy(kind, lora=lora), policy(kind, lora=lora)
    x, t, rows = latents(pipe), pipe.sampler.timesteps[1].expand(2), pipe.task.conditions
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        base = pipe.denoiser(x, t, rows)
        for name, weight in pipe.denoiser.named_parameters():
            if "lora_B" in name:
                weight.normal_(0.0, 0.3, generator=generator)
        expected = pipe.denoiser(x, t, rows)
    save_adapter(pipe.network, tmp_path)
    network = fresh.denoiser.network
    network.unload_lora()
    if kind == "stable_diffusion":
        loader = diffusers.StableDiffusionPipeline
        weights, alphas = loader.lora_state_dict(tmp_path)
        loader.load_lora_into_unet(weights, alphas, network)
    elif kind == "stable_diffusion_3":
        loader = diffusers.StableDiffusion3Pipeline
        loader.load_lora_into_transformer(loader.lora_state_dict(tmp_path), network)
    else:
        loader = diffusers.FluxPipeline
        loader.load_lora_into_transformer(loader.lora_state_dict(tmp_path), None, network)
    with torch.no_grad():
        assert torch.allclose(fresh.denoiser(x, t, rows), expected, atol=1e-5)
    assert not torch.allclose(expected, base, atol=1e-3)


@pytest.mark.slow
def test_ddpo_makes_the_images_of_a_small_unet_compress_better() -> None:
    """One interval over 32 paired noises at 1 - 1e-4, of the reward after less the reward before."""
    lora = Lora(8, 32, ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "conv_out"))
    pipe = policy("stable_diffusion", guidance=1.0, lora=lora)
    start = torch.randn(32, *pipe.task.shape, generator=torch.Generator().manual_seed(9))
    prompts = torch.arange(32) % 2

    def rewards():
        rows = pipe.task.condition(prompts)
        end = rollout(pipe.denoiser, pipe.sampler, ("ode",) * 4, start, rows, lambda i: start).end
        return pipe.task.rewards(end, prompts)

    before = rewards()
    budget = Budget(
        epochs=30,
        prompts=64,
        per_device_train_batch_size=128,
        per_device_rollout_batch_size=128,
        learning_rate=1e-2,
        least=8,
        ratio="mean",
        pairs=2,
    )
    RolloutTrainer(
        DDPO(budget), pipe.denoiser, pipe.sampler, pipe.task, accelerator=Accelerator(cpu=True)
    ).train()
    gain = paired_gap(rewards(), before, level=1.0 - 1e-4)
    assert gain.low > 0.0, str(gain)
