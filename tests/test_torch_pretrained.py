"""The adapters of real classes: against the pipelines of diffusers, under their samplers, in training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

import diffusers
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from driftproof import UnmetHypothesis
from driftproof.backends.torch.pretrained.denoisers import reference_of
from driftproof.backends.torch.pretrained.small import small_parts
from driftproof.backends.torch.pretrained.unets import UNetDenoiser
from driftproof.backends.torch.reward_gap import (
    FluxDenoiser,
    SD3Denoiser,
)
from driftproof.backends.torch.reward_gap.config import (
    Budget,
)
from driftproof.backends.torch.reward_gap.methods import DDPO
from driftproof.backends.torch.rl.sampler import Sampler
from driftproof.backends.torch.rl.times import RecordedSteps, Samples
from driftproof.backends.torch.rl.trainer import RolloutTrainer
from driftproof.backends.torch.rl.trajectories import log_probs, rollout
from driftproof.backends.torch.schedulers import GDDIMScheduler
from driftproof.numerics.samplers import flow_sde_moments, gddim_moments, step_log_prob
from tests.small_pipelines import GUIDANCE, KINDS, PROMPTS, latents, model, policy

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
    assert not done.recorded
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
    done = rollout(
        pipe.denoiser, sampler, kinds, start, pipe.task.conditions, lambda i: noise[i], (log_probs,)
    )
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
            done.recorded["log_probs"][:, place], step_log_prob(done.states[i + 1], mean, std), rtol=1e-4
        )


def test_batches_hold_every_stochastic_step_once() -> None:
    pipe = policy("stable_diffusion")
    kinds = pipe.sampler.kinds([1, 3])
    start, rows = latents(pipe), pipe.task.conditions
    done = rollout(pipe.denoiser, pipe.sampler, kinds, start, rows, lambda i: torch.randn_like(start))
    samples = Samples(done, rows, torch.arange(2), slice(None), torch.zeros(2), pipe.sampler)
    seen, generator = [], torch.Generator().manual_seed(0)
    for batch in RecordedSteps().batches(samples, torch.tensor([1, 0]), 3, generator, first=True):
        assert len(batch.rows) <= 3
        assert torch.equal(batch.x, done.states[batch.steps, batch.rows])
        assert torch.equal(batch.after, done.states[batch.steps + 1, batch.rows])
        seen += list(zip(batch.rows.tolist(), batch.steps.tolist(), batch.places.tolist(), strict=True))
    assert sorted(seen) == [(0, 1, 0), (0, 3, 1), (1, 1, 0), (1, 3, 1)]


def test_a_rollout_in_chunks_is_the_rollout() -> None:
    """To the rounding of the network, whose matrix products depend on the number of rows."""
    pipe = policy("stable_diffusion")
    pipe.denoiser.network.double()
    start = latents(pipe).double()
    conditions = {name: rows.double() for name, rows in pipe.task.conditions.items()}
    whole, parts = (
        rollout(
            pipe.denoiser, pipe.sampler, ("ode",) * 4, start, conditions, lambda i: start, chunk=chunk
        ).end
        for chunk in (None, 1)
    )
    # Four steps of a network of depth about 100: each rounds by eps of the largest number or so.
    assert (parts - whole).abs().max() <= 400 * torch.finfo(whole.dtype).eps * whole.abs().max()


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_chunks_take_the_rows_in_order(chunk: int) -> None:
    """Bit for bit, with a model whose rows do not depend on each other: what chunking itself owns."""
    sampler = policy("stable_diffusion").sampler
    generator = torch.Generator().manual_seed(0)
    start, shift = torch.randn(5, 4, 2, 2, generator=generator), torch.randn(5, 1, 1, 1, generator=generator)

    given = []

    def elementwise(x, t, condition):
        given.append(len(x))
        return 0.1 * x + condition["shift"] * t.reshape(-1, 1, 1, 1) / 1000.0

    whole, parts = (
        rollout(
            elementwise,
            sampler,
            ("ode",) * 4,
            start,
            {"shift": shift},
            lambda i: pytest.fail("drawn"),
            chunk=size,
        )
        for size in (None, chunk)
    )
    assert torch.equal(parts.states, whole.states)
    assert max(given[4:]) == chunk


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
        RolloutTrainer(
            DDPO(Budget(1, 2)), pipe.denoiser, other.sampler, pipe.task, accelerator=Accelerator(cpu=True)
        )


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
    with pytest.raises(UnmetHypothesis, match="clip_sample is not set"):
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


@pytest.mark.slow(ci=True)
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
    budget = Budget(
        epochs=1,
        prompts=2,
        num_generations=2,
        per_device_train_batch_size=6,
        per_device_rollout_batch_size=6,
        beta=1e-3,
        learning_rate=1e-12,
        pairs=2,
    )
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    trainer = RolloutTrainer(DDPO(budget), pipe.denoiser, pipe.sampler, pipe.task, accelerator=accelerator)
    x, t, rows = latents(pipe), pipe.sampler.timesteps[1].expand(2), pipe.task.conditions
    before = trainer.policies("reference", x, t, rows)
    with torch.no_grad():
        assert torch.equal(trainer.denoiser(x, t, rows), before)
        for weight in trainer.weights.values():
            weight.add_(0.1)
        assert not torch.allclose(trainer.denoiser(x, t, rows), before, atol=1e-3)
    assert torch.equal(trainer.policies("reference", x, t, rows), before)
    AcceleratorState._reset_state()


def test_accelerators_that_scale_the_loss_are_refused() -> None:
    pipe = policy("stable_diffusion")
    GradientState._reset_state()
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
    with pytest.raises(UnmetHypothesis, match="micro batches accumulate"):
        RolloutTrainer(DDPO(Budget(1, 2)), pipe.denoiser, pipe.sampler, pipe.task, accelerator=accelerator)
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


def test_adapters_are_denoisers() -> None:
    network = SimpleNamespace(config=SimpleNamespace(guidance_embeds=False))
    module = torch.nn.Module()
    module.config = network.config
    assert UNetDenoiser(torch.nn.Module()).prediction == "epsilon"
    assert SD3Denoiser(torch.nn.Module()).prediction == "flow_prediction"
    flux = FluxDenoiser(module, guidance=2.0)
    assert (flux.embedded, flux.guidance) == (None, 2.0)
