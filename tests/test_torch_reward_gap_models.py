"""The adapters against the pipelines of diffusers, the rewards, the recipes, and whole runs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

import diffusers
import numpy as np
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from driftproof import UnmetHypothesis
from driftproof.backends.torch.recipe import RecipeError
from driftproof.backends.torch.reward_gap import (
    AestheticReward,
    CLIPReward,
    FluxDenoiser,
    JPEGReward,
    SD3Denoiser,
    UNetDenoiser,
    main,
)
from driftproof.backends.torch.reward_gap.config import (
    Budget,
    Lora,
    PipelineModel,
    RewardChoice,
    Sampling,
    load_recipe,
    packaged,
)
from driftproof.backends.torch.reward_gap.denoisers import reference_of
from driftproof.backends.torch.reward_gap.experiment import make_reward
from driftproof.backends.torch.reward_gap.methods import DDPOTrainer, MixGRPOTrainer
from driftproof.backends.torch.reward_gap.pipelines import load_policy, save_adapter
from driftproof.backends.torch.reward_gap.rewards import checked, load_head
from driftproof.backends.torch.reward_gap.sampler import Sampler
from driftproof.backends.torch.reward_gap.small import small_parts
from driftproof.backends.torch.reward_gap.trajectories import rollout
from driftproof.backends.torch.schedulers import GDDIMScheduler
from driftproof.numerics.reward_gap import Window, paired_gap
from driftproof.numerics.samplers import flow_sde_moments, gddim_moments, step_log_prob

CPU = Accelerator(cpu=True)
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
        DDPOTrainer(pipe.denoiser, other.sampler, pipe.task, Budget(1, 2), accelerator=CPU)


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
        options = {"accelerator": CPU}
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
    DDPOTrainer(pipe.denoiser, pipe.sampler, pipe.task, budget, accelerator=CPU).train()
    gain = paired_gap(rewards(), before, level=1.0 - 1e-4)
    assert gain.low > 0.0, str(gain)


# -- rewards


def test_jpeg_size_is_that_of_the_file() -> None:
    from PIL import Image

    images = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    images[1] = 0.5
    rewards = JPEGReward()(images, [""] * 3)
    for image, reward in zip(images, rewards.tolist(), strict=True):
        pixels = (image.permute(1, 2, 0).numpy() * 255.0).round().astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="JPEG", quality=95)
        assert reward == pytest.approx(-len(buffer.getvalue()) / 1000.0)
    assert rewards[1] > rewards[0]
    assert torch.equal(JPEGReward(sign=1.0)(images, [""] * 3), -rewards)
    with pytest.raises(UnmetHypothesis, match="quality"):
        JPEGReward(quality=0)


def small_clip():
    from transformers import CLIPConfig, CLIPModel

    text = {"vocab_size": 12, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "max_position_embeddings": 6, "eos_token_id": 11}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 8, "patch_size": 4}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=5))


def letters(prompts, **_):
    ids = torch.tensor([[1 + len(prompt) % 9, 2, 3, 11] for prompt in prompts])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_the_clip_reward_is_the_cosine_of_the_model() -> None:
    clip = small_clip()
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    rewards = CLIPReward(clip, letters)(images, ["cat", "horse"])
    mean, std = (
        torch.tensor(v)[:, None, None]
        for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    with torch.no_grad():
        output = clip(pixel_values=(images - mean) / std, **letters(["cat", "horse"]))
    expected = output.logits_per_image.diagonal() / clip.logit_scale.exp()
    assert torch.allclose(rewards, expected, atol=1e-5)
    assert CLIPReward(clip, letters)(torch.rand(2, 3, 20, 12), ["cat", "horse"]).shape == (2,)


def test_the_aesthetic_head_comes_from_safetensors(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(4, 5, generator=generator), torch.randn(1, 4, generator=generator)
    layers = {"layers.0.weight": first, "layers.0.bias": torch.zeros(4)}
    layers |= {"layers.2.weight": second, "layers.2.bias": torch.ones(1)}
    save_file(layers, tmp_path / "head.safetensors")
    reward = AestheticReward(small_clip(), load_head(tmp_path / "head.safetensors"))
    images = torch.rand(2, 3, 8, 8, generator=generator)
    from driftproof.backends.torch.reward_gap.rewards import _image_features

    features = _image_features(small_clip().eval(), images)
    assert torch.allclose(reward(images, ["", ""]), (features @ first.T @ second.T)[:, 0] + 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"0.weight": (1, 5)}, "weights and biases"),
        ({"0.weight": (4, 5), "0.bias": (4,), "2.weight": (1, 3), "2.bias": (1,)}, "takes 3 features"),
        ({"0.weight": (2, 5), "0.bias": (2,)}, "expected one score"),
    ],
)
def test_heads_that_do_not_fit_are_refused(tmp_path: Path, tensors, message: str) -> None:
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / "head.safetensors")
    with pytest.raises(ValueError, match=message):
        load_head(tmp_path / "head.safetensors")


def test_a_reward_may_be_any_program() -> None:
    assert checked(lambda images, prompts: [1, 2], torch.zeros(2, 3), ["", ""]).tolist() == [1.0, 2.0]
    with pytest.raises(FloatingPointError, match="inf for 'b'"):
        checked(lambda images, prompts: [1.0, float("inf")], torch.zeros(2, 3), ["a", "b"])


# -- recipes and whole runs

FOLDER = packaged()[0].parent


def test_the_recipes_of_published_models_say_what_users_know() -> None:
    ddpo = load_recipe(FOLDER / "ddpo-sd15.toml", smoke=False)[0]
    assert ddpo.pipeline is not None
    assert (ddpo.sampling.steps, ddpo.sampling.eta, ddpo.pipeline.guidance) == (50, 1.0, 5.0)
    assert (ddpo.budget.clip, ddpo.budget.advantage_clip, ddpo.budget.learning_rate) == (1e-4, 5.0, 3e-4)
    flow = load_recipe(FOLDER / "flow-grpo-sd3.toml", smoke=False)[0]
    assert 2.0**0.5 * flow.sampling.eta == pytest.approx(0.7, rel=1e-12)
    assert flow.window.size == 0
    mix = load_recipe(FOLDER / "mixgrpo-flux.toml", smoke=False)[0]
    assert 0 < mix.window.size < mix.sampling.steps
    for path in FOLDER.glob("*.toml"):
        recipe = load_recipe(path, smoke=True)[0]
        assert recipe.pipeline is None or recipe.pipeline.name == ""


GAUSSIAN = """
title = "Toy"
method = "mixgrpo"
seeds = [0, 1]
window = { size = 2, every = 1 }
[gaussian]
[sampling]
steps = 4
[budget]
epochs = 4
prompts = 2
group = 8
micro_batch = 1000
scale = false
beta = 0.1
kl = "path"
pairs = 8
"""


@pytest.mark.parametrize(
    ("old", "new", "error", "match"),
    [
        ("[gaussian]", "", UnmetHypothesis, "gaussian"),
        ('method = "mixgrpo"', 'method = "ppo"', RecipeError, "expected one of"),
        ("seeds = [0, 1]", "seeds = [1, 1]", UnmetHypothesis, "distinct"),
        ("size = 2", "size = -2", UnmetHypothesis, "size >= 0"),
        ("epochs = 4", "epochs = 4\nlr = 1", RecipeError, "unknown key 'lr'"),
        ("[gaussian]", "[gaussian]\nvariance = -1.0", UnmetHypothesis, "variance > 0"),
        ('kl = "path"', 'kl = "k3"', RecipeError, "expected one of"),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused(
    tmp_path: Path, old: str, new: str, error: type[Exception], match: str
) -> None:
    assert old in GAUSSIAN
    (tmp_path / "toy.toml").write_text(GAUSSIAN.replace(old, new), encoding="utf-8")
    with pytest.raises(error, match=match):
        load_recipe(tmp_path / "toy.toml", smoke=False)


@pytest.mark.parametrize("wrong", [{"prompts": ()}, {"prompt_file": "both.txt"}])
def test_prompts_come_from_one_place(wrong) -> None:
    with pytest.raises(UnmetHypothesis, match="prompts or a prompt_file"):
        model("flux", **wrong)


def test_prompts_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a cat\n\n  a dog \n", encoding="utf-8")
    pipe = policy("flux", prompts=(), prompt_file=str(tmp_path / "prompts.txt"))
    assert pipe.task.prompts == ("a cat", "a dog")
    (tmp_path / "prompts.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(UnmetHypothesis, match="a prompt on some line"):
        policy("flux", prompts=(), prompt_file=str(tmp_path / "prompts.txt"))


def test_missing_files_are_told_before_anything_is_loaded(tmp_path: Path) -> None:
    text = (FOLDER / "mixgrpo-flux.toml").read_text(encoding="utf-8").split("[smoke]")[0]
    (tmp_path / "flux.toml").write_text(text.replace("prompts.txt", "no-such-file.txt"), encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="no-such-file"):
        main(tmp_path / "flux.toml", smoke=False, out=tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="aesthetic head: no file"):
        make_reward(RewardChoice(kind="aesthetic", head="no-such-file.safetensors"), torch.device("cpu"))
    with pytest.raises(UnmetHypothesis, match="head names a safetensors file"):
        RewardChoice(kind="aesthetic")
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_report(tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(GAUSSIAN, encoding="utf-8")
    main(tmp_path / "toy.toml", smoke=False, out=tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["paper"] == "reward_gap"
    assert [row[0] for row in report["tables"][0]["rows"]] == [
        "before",
        "trained, 2 seeds",
        "exact optimum of the N steps",
        "optimum of infinitely many steps",
    ]
    assert [row[0] for row in report["tables"][1]["rows"]] == ["0", "4"]
    assert report["figures"][0]["svg"].startswith("<svg")
    assert list((tmp_path / "out").glob(".*")) == []


@pytest.mark.parametrize("name", ["mixgrpo-flux.toml", "flow-grpo-sd3.toml"])
def test_the_smoke_of_a_published_recipe_needs_no_download(tmp_path: Path, name: str) -> None:
    main(FOLDER / name, smoke=True, out=tmp_path)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [row[0] for row in report["tables"][0]["rows"]] == ["0", "3", "6"]
    assert (tmp_path / "checkpoints" / "lora" / "pytorch_lora_weights.safetensors").is_file()


def test_adapters_are_denoisers() -> None:
    network = SimpleNamespace(config=SimpleNamespace(guidance_embeds=False))
    module = torch.nn.Module()
    module.config = network.config
    assert UNetDenoiser(torch.nn.Module()).prediction == "epsilon"
    assert SD3Denoiser(torch.nn.Module()).prediction == "flow_prediction"
    flux = FluxDenoiser(module, guidance=2.0)
    assert (flux.told, flux.guidance) == (None, 2.0)
