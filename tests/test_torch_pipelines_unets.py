"""The five lines for UNets of two kinds more: Stable Diffusion XL, and pixels without a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytest.importorskip("transformers")

import diffusers

from driftproof import UnmetHypothesis
from driftproof.backends.torch.pretrained.lora import load_adapter
from driftproof.backends.torch.pretrained.unets import PixelDenoiser
from driftproof.backends.torch.trainers import (
    AdjointMatchingConfig,
    AdjointMatchingTrainer,
    DDPOConfig,
    DDPOTrainer,
    Task,
)
from tests.pipeline_trainers import PROMPTS, brightness, weights
from tests.saved_pipelines import saved, small_pipeline

STEPS = 5
ROUNDING = 10 * STEPS * torch.finfo(torch.float32).eps  # some ten of float32 a step
PIPELINES: dict[str, tuple[Any, Any]] = {
    "stable_diffusion_xl": (diffusers.StableDiffusionXLPipeline, PROMPTS),
    "unconditional": (diffusers.DDPMPipeline, ""),
}


def trainer_of(pipe: Any, prompts: Any, folder: Path, *, sizes: Any = None, **changes: Any) -> DDPOTrainer:
    numbers = {"max_steps": 2, "num_inference_steps": STEPS, "learning_rate": 1e-2, **changes}
    task = Task.from_pipeline(pipe, prompts, brightness, **(sizes or {}))
    return DDPOTrainer(
        pipe, task, DDPOConfig(output_dir=str(folder), per_device_train_batch_size=4, **numbers)
    )


def noise_of(trainer: DDPOTrainer) -> torch.Tensor:
    return torch.randn(1, *trainer.task.shape, generator=torch.Generator().manual_seed(0))


def without_clipping(pipe: Any) -> Any:
    return diffusers.DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)


@torch.no_grad()
def image(pipe: Any, noise: torch.Tensor, sizes: Any) -> torch.Tensor:
    """What diffusers makes of some noise without stochasticity, for the second prompt where there is one."""
    scheduler = without_clipping(pipe)
    if isinstance(pipe, diffusers.StableDiffusionXLPipeline):
        pipe.scheduler = scheduler
        pipe.set_progress_bar_config(disable=True)
        options = {"latents": noise, "num_inference_steps": STEPS, "output_type": "pt", **(sizes or {})}
        found: torch.Tensor = pipe(prompt=PROMPTS[1], **options).images
        return found
    scheduler.set_timesteps(STEPS)
    x = noise
    for t in scheduler.timesteps:
        x = scheduler.step(pipe.unet(x, t).sample, t, x).prev_sample
    return (0.5 * x + 0.5).clamp(0.0, 1.0)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("stable_diffusion_xl", None),
        ("stable_diffusion_xl", {"height": 24, "width": 16}),
        ("unconditional", None),
    ],
)
def test_five_lines(kind: str, sizes: Any, tmp_path: Path) -> None:
    """A fresh pipeline with the adapter makes the image of the trained policy; SDXL's with guidance, as is its default."""
    pipeline, prompts = PIPELINES[kind]
    folder = saved(kind, tmp_path / "pipeline")
    trainer = trainer_of(pipeline.from_pretrained(folder), prompts, tmp_path / "out", sizes=sizes)
    trainer.train()
    trainer.save_pretrained(tmp_path / "adapter")
    noise = noise_of(trainer)
    own = trainer.images(torch.tensor([len(trainer.task.prompts) - 1]), noise)
    fresh = pipeline.from_pretrained(folder)
    before = image(fresh, noise, sizes)
    if kind == "unconditional":
        load_adapter(fresh.unet, tmp_path / "adapter")
    else:
        fresh.load_lora_weights(tmp_path / "adapter")
    after = image(fresh, noise, sizes)
    assert own.shape == after.shape
    assert float((after - own).abs().max()) < ROUNDING
    assert float((after - before).abs().max()) > 2 * ROUNDING


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("kind", PIPELINES)
def test_a_training_goes_on_bit_for_bit(kind: str, tmp_path: Path) -> None:
    prompts = PIPELINES[kind][1]
    whole = trainer_of(small_pipeline(kind), prompts, tmp_path / "whole", save_steps=1)
    rows = whole.train().rows
    trainer_of(small_pipeline(kind), prompts, tmp_path / "parts", save_steps=1, max_steps=1).train()
    resumed = trainer_of(small_pipeline(kind), prompts, tmp_path / "parts", save_steps=1)
    assert resumed.train(resume_from_checkpoint=True).rows == rows
    expected = weights(whole)
    assert all(torch.equal(w, expected[name]) for name, w in weights(resumed).items())


def test_sizes_and_both_encoders_are_conditions_of_sdxl() -> None:
    pipe = small_pipeline("stable_diffusion_xl")
    task = Task.from_pipeline(pipe, PROMPTS, brightness, height=24, width=16)
    assert task.shape == (4, 12, 8)
    assert task.conditions["time_ids"].tolist() == [[24.0, 16.0, 0.0, 0.0, 24.0, 16.0]] * 2
    prompt, negative, pooled, negative_pooled = pipe.encode_prompt(list(PROMPTS))
    for name, want in (
        ("prompt", prompt),
        ("negative", negative),
        ("pooled", pooled),
        ("negative_pooled", negative_pooled),
    ):
        assert torch.equal(task.conditions[name], want)
    assert not negative.any()  # as the published configuration has it
    pipe.register_to_config(force_zeros_for_empty_prompt=False)
    other = Task.from_pipeline(pipe, PROMPTS, brightness).conditions
    assert torch.equal(other["negative"], pipe.encode_prompt(list(PROMPTS))[1])
    assert other["negative"].any()


def test_clipping_is_left_out_with_a_word(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    pipe = small_pipeline("unconditional")
    assert pipe.scheduler.config.clip_sample
    with caplog.at_level("WARNING", logger="driftproof"):
        trainer_of(pipe, "", tmp_path)
    assert "clip_sample of the pipeline's scheduler is left out" in caplog.text


def test_what_is_refused_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    """PEFT has no methods for this class of diffusers: the adapter is taken off again all the same."""
    pipe = small_pipeline("unconditional")
    names = set(pipe.unet.state_dict())
    with pytest.raises(UnmetHypothesis, match="the pipeline is a flow"):
        args = AdjointMatchingConfig(output_dir=str(tmp_path))
        AdjointMatchingTrainer(pipe, Task.from_pipeline(pipe, "", brightness), args)
    assert set(pipe.unet.state_dict()) == names
    trainer_of(pipe, "", tmp_path)


def wider(pipe: Any) -> Any:
    unet = diffusers.UNet2DModel.from_config(pipe.unet.config, out_channels=6)
    return diffusers.DDPMPipeline(unet, pipe.scheduler)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda pipe: Task.from_pipeline(pipe, PROMPTS, brightness), "2 prompts for a DDPMPipeline"),
        (lambda pipe: Task.from_pipeline(pipe, "", brightness, height=8), "images are 16 x 16 .8 x 16"),
        (lambda pipe: trainer_of(pipe, "", Path("x"), guidance_scale=5.0), "guidance_scale is not set"),
        (lambda pipe: trainer_of(wider(pipe), "", Path("x")), "as many channels out as in"),
        (lambda pipe: PixelDenoiser(wider(pipe).unet), "its variance is learned"),
    ],
)
def test_what_an_unconditional_pipeline_cannot_do(call: Any, words: str) -> None:
    with pytest.raises(UnmetHypothesis, match=words):
        call(small_pipeline("unconditional"))


def test_an_adapter_of_another_network_is_refused(tmp_path: Path) -> None:
    trainer = trainer_of(small_pipeline("stable_diffusion_xl"), PROMPTS, tmp_path)
    trainer.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ValueError, match="expected one of UNet2DModel"):
        load_adapter(small_pipeline("unconditional").unet, tmp_path / "adapter")
