"""The adapters of real classes: against the pipelines of diffusers, under their samplers, in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

import diffusers
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file

from driftproof import UnmetHypothesis
from driftproof.backends.torch.reward_gap import (
    FluxDenoiser,
    JPEGReward,
    SD3Denoiser,
    UNetDenoiser,
)
from driftproof.backends.torch.reward_gap.config import (
    Budget,
    Lora,
    PipelineModel,
    Sampling,
)
from driftproof.backends.torch.reward_gap.denoisers import reference_of
from driftproof.backends.torch.reward_gap.methods import DDPOTrainer, MixGRPOTrainer
from driftproof.backends.torch.reward_gap.pipelines import load_policy, save_adapter
from driftproof.backends.torch.reward_gap.sampler import Sampler, log_prob
from driftproof.backends.torch.reward_gap.small import small_parts
from driftproof.backends.torch.reward_gap.trajectories import rollout
from driftproof.backends.torch.schedulers import GDDIMScheduler
from driftproof.numerics.reward_gap import Window, paired_gap
from driftproof.numerics.samplers import flow_sde_moments, gddim_moments, step_log_prob

KINDS = ("stable_diffusion", "stable_diffusion_3", "flux")
LORA = Lora(4, 4, ("to_q", "to_v"))
GUIDANCE = {"stable_diffusion": 5.0, "stable_diffusion_3": 4.5, "flux": 3.5}
PROMPTS = ("a cat", "a dog")


def model(kind: str, **change) -> PipelineModel:
    return PipelineModel(
        **{"kind": kind, "lora": LORA, "guidance": GUIDANCE[kind], "prompts": PROMPTS, **change}
    )


def policy(kind: str, steps: int = 4, eta: float = 1.0, sampler: str = "gddim", **change):
    return load_policy(
        model(kind, **change), Sampling(steps, eta, sampler), JPEGReward(), torch.device("cpu"), seed=0
    )


def latents(pipe, seed: int = 1):
    return torch.randn(2, *pipe.task.shape, generator=torch.Generator().manual_seed(seed))


# -- the rollout is the pipeline's own loop


def theirs(kind: str, pipe, start, steps: int):
    """The latents that the pipeline of diffusers ends with, run with its own deterministic scheduler."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        parts = small_parts(model(kind), PROMPTS, torch.device("cpu"))
    network, rows = pipe.denoiser.network, pipe.task.conditions
    common = {"num_inference_steps": steps, "output_type": "latent", "guidance_scale": GUIDANCE[kind]}
    nothing = {"tokenizer": None, "text_encoder": None}
    if kind == "stable_diffusion":
        scheduler = diffusers.DDIMScheduler.from_config(parts.scheduler_config, clip_sample=False)
        options = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        made = diffusers.StableDiffusionPipeline(
            parts.vae, unet=network, scheduler=scheduler, **nothing, **options
        )
        embeds = {"prompt_embeds": rows["prompt"], "negative_prompt_embeds": rows["negative"]}
        made.vae_scale_factor = 2
    elif kind == "stable_diffusion_3":
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(parts.scheduler_config)
        nothing |= dict.fromkeys(("text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3"))
        made = diffusers.StableDiffusion3Pipeline(network, scheduler, parts.vae, **nothing)
        embeds = {"prompt_embeds": rows["prompt"], "negative_prompt_embeds": rows["negative"]}
        embeds["pooled_prompt_embeds"] = rows["pooled"]
        embeds["negative_pooled_prompt_embeds"] = rows["negative_pooled"]
    else:
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(parts.scheduler_config)
        nothing |= {"text_encoder_2": None, "tokenizer_2": None}
        made = diffusers.FluxPipeline(scheduler, parts.vae, transformer=network, **nothing)
        embeds = {"prompt_embeds": rows["prompt"], "pooled_prompt_embeds": rows["pooled"]}
        b, c, h, w = start.shape
        start = made._pack_latents(start, b, c, h, w)
    made.set_progress_bar_config(disable=True)
    with torch.no_grad():
        end = made(latents=start, height=16, width=16, **embeds, **common).images
    return made._unpack_latents(end, 16, 16, made.vae_scale_factor) if kind == "flux" else end


@pytest.mark.parametrize("kind", KINDS)
def test_the_deterministic_rollout_is_the_pipeline(kind: str) -> None:
    """Guidance, packing, position ids, units of time and the shifted grid, all at once."""
    pipe = policy(kind)
    start = latents(pipe)
    done = rollout(
        pipe.denoiser, pipe.sampler, ("ode",) * 4, start, pipe.task.conditions, lambda i: pytest.fail("drawn")
    )
    assert done.log_probs.shape == (2, 0)
    expected = theirs(kind, pipe, start, 4)
    assert torch.allclose(done.end, expected, atol=2e-5), float((done.end - expected).abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_a_stochastic_rollout_has_the_densities_of_its_steps(kind: str) -> None:
    """Every step against the kernels of the samplers, from the model's own outputs."""
    flow = kind != "stable_diffusion"
    pipe = policy(kind, eta=0.7, sampler="flow_sde" if flow else "gddim")
    sampler, scheduler = pipe.sampler, pipe.sampler.scheduler
    kinds = sampler.kinds(range(1, 4))
    assert kinds[0] == "ode"
    start = latents(pipe)
    generator = torch.Generator().manual_seed(5)
    noise = [torch.randn(start.shape, generator=generator) for _ in range(4)]
    done = rollout(pipe.denoiser, sampler, kinds, start, pipe.task.conditions, lambda i: noise[i])
    for place, i in enumerate(done.stochastic):
        x, t = done.states[i], sampler.timesteps[i].expand(2)
        with torch.no_grad():
            output = pipe.denoiser(x, t, pipe.task.conditions)
        if flow:
            times = scheduler.sigmas[i], scheduler.sigmas[i + 1]
            mean, std = flow_sde_moments(x, output, *times, 2.0**0.5 * 0.7)
        else:
            levels = scheduler.alphas_cumprod[sampler.timesteps].tolist()
            levels.append(float(scheduler.final_alpha_cumprod))
            (a, b), (c, d) = ((v**0.5, (1.0 - v) ** 0.5) for v in levels[i : i + 2])
            mean, std = gddim_moments(x, output, a, b, c, d, 0.7)
        assert torch.allclose(done.states[i + 1], mean + std * noise[i], atol=1e-5)
        assert torch.allclose(
            done.log_probs[:, place], step_log_prob(done.states[i + 1], mean, std), rtol=1e-4
        )


def test_batches_hold_every_stochastic_step_once() -> None:
    pipe = policy("stable_diffusion")
    kinds = pipe.sampler.kinds([1, 3])
    start = latents(pipe)
    done = rollout(
        pipe.denoiser, pipe.sampler, kinds, start, pipe.task.conditions, lambda i: torch.randn_like(start)
    )
    seen = []
    for pairs in done.batches(torch.tensor([1, 0]), 3, torch.Generator().manual_seed(0)):
        assert len(pairs.rows) <= 3
        seen += list(zip(pairs.rows.tolist(), pairs.steps.tolist(), pairs.places.tolist(), strict=True))
    assert sorted(seen) == [(0, 1, 0), (0, 3, 1), (1, 1, 0), (1, 3, 1)]


def test_a_rollout_in_chunks_is_the_rollout() -> None:
    pipe = policy("stable_diffusion")
    start = latents(pipe)
    ends = [
        rollout(
            pipe.denoiser,
            pipe.sampler,
            ("ode",) * 4,
            start,
            pipe.task.conditions,
            lambda i: start,
            chunk=chunk,
        ).end
        for chunk in (1, 2)
    ]
    assert torch.allclose(*ends, atol=1e-6)


# -- adapters


def test_guidance_needs_its_negatives() -> None:
    pipe = policy("stable_diffusion")
    x, t = latents(pipe), torch.tensor([501, 501])
    with pytest.raises(UnmetHypothesis, match=r"guidance = 5\.0 without negative"):
        pipe.denoiser(x, t, {"prompt": pipe.task.conditions["prompt"]})


def test_guidance_extrapolates_from_the_negative() -> None:
    network = torch.nn.Module()
    network.forward = lambda x, t, encoder_hidden_states, return_dict: (encoder_hidden_states + 0.0 * x,)
    rows = {"prompt": torch.tensor([[3.0]]), "negative": torch.tensor([[1.0]])}
    for weight, expected in ((1.0, 3.0), (5.0, 11.0), (0.0, 1.0)):
        denoiser = UNetDenoiser(network, "epsilon", weight)
        assert denoiser(torch.zeros(1, 1), torch.zeros(1), rows).tolist() == [[expected]]


def test_flux_wants_even_sides() -> None:
    pipe = policy("flux")
    with pytest.raises(UnmetHypothesis, match="even"):
        pipe.denoiser(torch.zeros(2, 4, 7, 8), torch.zeros(2), pipe.task.conditions)


def test_a_flow_model_under_a_noise_schedule_is_refused() -> None:
    pipe, other = policy("stable_diffusion_3"), policy("stable_diffusion")
    with pytest.raises(UnmetHypothesis, match="predicts 'flow_prediction', the scheduler takes 'epsilon'"):
        DDPOTrainer(pipe.denoiser, other.sampler, pipe.task, Budget(1, 2), accelerator=Accelerator(cpu=True))


def test_the_step_of_flow_grpo_needs_a_flow() -> None:
    with pytest.raises(UnmetHypothesis, match="flow_prediction, for flow_sde"):
        policy("stable_diffusion", sampler="flow_sde")


def test_a_window_on_the_last_step_of_a_flow_alone_is_refused() -> None:
    pipe = policy("flux", steps=3)
    assert pipe.sampler.kinds([1, 2]) == ("ode", "sde", "ode")
    with pytest.raises(UnmetHypothesis, match="some step of the window has noise"):
        pipe.sampler.kinds([2])


def test_a_scheduler_that_clips_is_refused() -> None:
    scheduler = GDDIMScheduler(clip_sample=True)
    scheduler.set_timesteps(4)
    with pytest.raises(UnmetHypothesis, match="clip_sample is off"):
        Sampler(scheduler, 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_is_the_network_without_its_adapter(kind: str) -> None:
    pipe = policy(kind)
    reference = reference_of(pipe.denoiser)
    x, t, rows = latents(pipe), pipe.sampler.timesteps[1].expand(2), pipe.task.conditions
    with torch.no_grad():
        before = pipe.denoiser(x, t, rows)
        assert torch.equal(reference(x, t, rows), before)
        for name, weight in pipe.denoiser.named_parameters():
            if weight.requires_grad:
                assert "lora" in name
                weight.add_(0.1)
        assert not torch.allclose(pipe.denoiser(x, t, rows), before, atol=1e-4)
        assert torch.equal(reference(x, t, rows), before)


@pytest.mark.parametrize("change", ["adapters that do something", "another trained weight", "no adapter"])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_reference_is_the_model_as_it_was(change: str, precision: str) -> None:
    """Without training their divergence is exactly 0, in the precision of training too; then it stays put."""
    pipe = policy("stable_diffusion", steps=3)
    network = pipe.denoiser.network
    if change == "no adapter":
        network.unload_lora()
        network.requires_grad_(True)
    elif change == "another trained weight":
        network.conv_in.requires_grad_(True)
    else:
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if "lora_B" in name:
                    weight.fill_(0.1)
    budget = Budget(epochs=1, prompts=2, group=2, micro_batch=6, beta=1e-3, learning_rate=1e-12, pairs=2)
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    trainer = DDPOTrainer(pipe.denoiser, pipe.sampler, pipe.task, budget, accelerator=accelerator)
    x, t, rows = latents(pipe), pipe.sampler.timesteps[1].expand(2), pipe.task.conditions
    before = trainer.reference(x, t, rows)
    with torch.no_grad():
        assert torch.equal(trainer.denoiser(x, t, rows), before)
        for weight in trainer.weights.values():
            weight.add_(0.1)
        assert not torch.allclose(trainer.denoiser(x, t, rows), before, atol=1e-3)
    assert torch.equal(trainer.reference(x, t, rows), before)
    AcceleratorState._reset_state()


def test_accelerators_that_scale_the_loss_are_refused() -> None:
    pipe = policy("stable_diffusion")
    GradientState._reset_state()
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
    with pytest.raises(UnmetHypothesis, match="micro batches accumulate"):
        DDPOTrainer(pipe.denoiser, pipe.sampler, pipe.task, Budget(1, 2), accelerator=accelerator)
    GradientState._reset_state()


def test_a_sampler_keeps_its_grid_where_the_pipeline_sets_another() -> None:
    scheduler = GDDIMScheduler(shift=3.0)
    scheduler.set_timesteps(6)
    for kind in ("gddim", "flow_sde"):
        sampler, other = Sampler(scheduler, 0.5, kind), Sampler(scheduler, 0.5, kind)
        before = sampler.stds(0.5)
        scheduler.set_timesteps(3)
        assert other.stds(0.5) == before
        scheduler.set_timesteps(6)


@pytest.mark.parametrize("kind", ["gddim", "flow_sde"])
def test_steps_of_states_in_half_precision_are_computed_in_single(kind: str) -> None:
    scheduler = GDDIMScheduler(shift=3.0)
    scheduler.set_timesteps(6)
    sampler = Sampler(scheduler, 0.5, kind)
    x, out = (torch.randn(2, 3, generator=torch.Generator().manual_seed(k)).bfloat16() for k in (0, 1))
    steps = torch.tensor([1, 4])
    low, high = (sampler.moments(o, steps, v, 0.5) for o, v in ((out, x), (out.float(), x.float())))
    for got, want in zip(low, high, strict=True):
        assert got.dtype == torch.float32
        assert torch.equal(got, want)


# -- training real classes


@pytest.mark.parametrize("kind", KINDS)
def test_every_pipeline_trains_and_resumes(kind: str, tmp_path: Path) -> None:
    budget = Budget(
        epochs=3,
        prompts=2,
        group=2,
        updates=2,
        micro_batch=5,
        learning_rate=1e-2,
        beta=1e-3,
        ratio="mean",
        pairs=2,
    )

    def train(epochs: int, path: Path):
        pipe = policy(kind, steps=3, eta=0.5)
        options = {"accelerator": Accelerator(cpu=True)}
        numbers = Budget(**{**{f: getattr(budget, f) for f in budget.__slots__}, "epochs": epochs})
        if kind == "stable_diffusion":
            trainer = DDPOTrainer(pipe.denoiser, pipe.sampler, pipe.task, numbers, **options)
        else:
            window = Window(size=2, every=1)
            trainer = MixGRPOTrainer(
                pipe.denoiser, pipe.sampler, pipe.task, numbers, stochastic=window, **options
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
    save_adapter(pipe.denoiser, model(kind), tmp_path / "lora")
    saved = load_file(tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    prefix = "unet." if kind == "stable_diffusion" else "transformer."
    assert saved
    assert all(name.startswith(prefix) and "lora" in name for name in saved)


@pytest.mark.parametrize("method", [DDPOTrainer, MixGRPOTrainer])
def test_rewards_are_compared_within_their_prompt(method) -> None:
    """A prompt that is worth 100 more is no reason to take its steps again."""
    pipe = policy("stable_diffusion")
    budget = Budget(epochs=1, prompts=2, group=2, least=2, pairs=2)
    trainer = method(pipe.denoiser, pipe.sampler, pipe.task, budget, accelerator=Accelerator(cpu=True))
    found = trainer.advantages(torch.tensor([1.0, 3.0, 101.0, 107.0]), torch.tensor([0, 0, 1, 1]))
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
    assert float(error) / size < budget.clip / 100.0


@pytest.mark.parametrize("ratio", ["sum", "mean"])
def test_the_gradient_is_that_of_flow_grpo(ratio: str) -> None:
    """From the formulae of the paper: advantages in groups, the density of its step, its divergence of a step."""
    pipe, a, beta = policy("stable_diffusion_3", steps=4, eta=0.5, sampler="flow_sde"), 0.5 * 2.0**0.5, 1.0
    options = {"advantage_clip": 0.0, "baseline": "group", "max_grad_norm": 1e9, "learning_rate": 1e-30}
    budget = Budget(epochs=1, prompts=2, group=3, micro_batch=4, beta=beta, ratio=ratio, pairs=2, **options)
    task = replace(pipe.task, reward=lambda images, prompts: images.mean(dim=(1, 2, 3)))
    trainer = MixGRPOTrainer(
        pipe.denoiser,
        pipe.sampler,
        task,
        budget,
        accelerator=Accelerator(cpu=True),
        stochastic=Window(2, every=1),
    )
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # away from the reference
        for name, weight in trainer.weights.items():
            if "lora_B" in name:
                weight.normal_(0.0, 1.0, generator=generator)
    seen, updates = [], trainer._updates

    def spied(epoch, done, advantages, condition):
        seen.append((done, condition))
        return updates(epoch, done, advantages, condition)

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
    save_adapter(pipe.denoiser, model(kind, lora=lora), tmp_path)
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
        epochs=30, prompts=64, micro_batch=128, learning_rate=1e-2, least=8, ratio="mean", pairs=2
    )
    DDPOTrainer(pipe.denoiser, pipe.sampler, pipe.task, budget, accelerator=Accelerator(cpu=True)).train()
    gain = paired_gap(rewards(), before, level=1.0 - 1e-4)
    assert gain.low > 0.0, str(gain)


def test_adapters_are_denoisers() -> None:
    network = SimpleNamespace(config=SimpleNamespace(guidance_embeds=False))
    module = torch.nn.Module()
    module.config = network.config
    assert UNetDenoiser(torch.nn.Module()).prediction == "epsilon"
    assert SD3Denoiser(torch.nn.Module()).prediction == "flow_prediction"
    flux = FluxDenoiser(module, guidance=2.0)
    assert (flux.told, flux.guidance) == (None, 2.0)
