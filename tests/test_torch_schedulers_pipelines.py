"""GDDIMScheduler as a part of diffusers: configurations, whole pipelines, and what it refuses."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from driftproof import UnmetHypothesis
from driftproof.backends.torch.schedulers import GDDIMScheduler
from tests.tiny_pipelines import flux, stable_diffusion, stable_diffusion_3

SD = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- as a part of diffusers -----------------------------------------------------------------------------


def said(scheduler):
    return {name: value for name, value in scheduler.config.items() if not name.startswith("_")}


def test_configurations_come_back(tmp_path):
    for scheduler in (GDDIMScheduler(**SD, eta=0.7), GDDIMScheduler(shift=3.0, use_dynamic_shifting=True)):
        scheduler.save_pretrained(tmp_path)
        back = GDDIMScheduler.from_pretrained(tmp_path)
        assert said(back) == said(scheduler)
        twin = copy.deepcopy(back)
        twin.set_timesteps(5, mu=0.5)
        assert len(twin.timesteps) == 5 and back.num_inference_steps is None


def test_a_saved_pipeline_finds_the_scheduler_again(tmp_path):
    unet = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )
    diffusers.DDPMPipeline(unet, GDDIMScheduler(eta=0.7)).save_pretrained(tmp_path)
    pipe = diffusers.DDPMPipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe.scheduler, GDDIMScheduler) and pipe.scheduler.config.eta == 0.7
    assert pipe(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, 3)


@pytest.mark.slow(ci=True)
def test_stable_diffusion_runs_as_with_ddim(tmp_path):
    torch.manual_seed(0)
    pipe = stable_diffusion(diffusers.DDIMScheduler(**SD, clip_sample=False))
    pipe.set_progress_bar_config(disable=True)
    prompt = {"prompt_embeds": draw(1, 5, 16), "negative_prompt_embeds": draw(1, 5, 16, seed=1)}
    settings: dict[str, Any] = {"num_inference_steps": 4, "output_type": "latent", "height": 8, "width": 8}

    def latents(eta):
        generator = torch.Generator().manual_seed(7)
        return pipe(**prompt, **settings, eta=eta, generator=generator, guidance_scale=2.0).images

    theirs = latents(0.0), latents(1.0)
    pipe.scheduler = GDDIMScheduler.from_config(pipe.scheduler.config)
    for eta, want in zip((0.0, 1.0), theirs, strict=True):
        assert torch.allclose(latents(eta), want, rtol=1e-4, atol=1e-5)
    assert bool(torch.isfinite(latents(2.0)).all())  # where DDIM is NaN
    pipe.scheduler.save_pretrained(tmp_path)
    assert GDDIMScheduler.from_pretrained(tmp_path).config.beta_schedule == "scaled_linear"


def test_flow_pipelines_run_as_with_euler():
    torch.manual_seed(0)
    peer = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipe = stable_diffusion_3(peer)
    pipe.set_progress_bar_config(disable=True)
    prompt = {"prompt_embeds": draw(1, 5, 16), "pooled_prompt_embeds": draw(1, 16)}

    def latents():
        return pipe(
            **prompt,
            num_inference_steps=4,
            output_type="latent",
            height=8,
            width=8,
            guidance_scale=1.0,
            generator=torch.Generator().manual_seed(7),
        ).images

    want = latents()
    pipe.scheduler = GDDIMScheduler.from_config(peer.config)
    assert torch.allclose(latents(), want, rtol=1e-4, atol=1e-5)
    pipe.scheduler = GDDIMScheduler.from_config(peer.config, eta=0.7)
    assert not torch.allclose(latents(), want, rtol=1e-2)


def test_flux_runs_as_with_euler():
    torch.manual_seed(0)
    peer = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    pipe = flux(peer, channels=16)
    pipe.set_progress_bar_config(disable=True)
    prompt = {"prompt_embeds": draw(1, 5, 16), "pooled_prompt_embeds": draw(1, 16)}

    def latents():
        return pipe(
            **prompt,
            num_inference_steps=4,
            output_type="latent",
            height=8,
            width=8,
            generator=torch.Generator().manual_seed(7),
        ).images

    want = latents()
    pipe.scheduler = GDDIMScheduler.from_config(peer.config)
    assert torch.allclose(latents(), want, rtol=1e-4, atol=1e-5)


# -- bad input ------------------------------------------------------------------------------------------


def ready(**settings):
    scheduler = GDDIMScheduler(**(settings or SD))
    scheduler.set_timesteps(5)
    return scheduler


ONES = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GDDIMScheduler(**SD, eta=-1.0), "eta >= 0"),
        (lambda: GDDIMScheduler(**SD, prediction_type="flow_prediction"), "without betas"),
        (lambda: GDDIMScheduler(**SD, prediction_type="velocity"), "prediction_type is one of"),
        (lambda: GDDIMScheduler(prediction_type="epsilon", shift=3.0), "only flow_prediction has a shift"),
        (lambda: GDDIMScheduler(beta_schedule="cosine"), "beta_schedule is"),
        (lambda: GDDIMScheduler(**SD, thresholding=True), "thresholding is not set"),
        (lambda: GDDIMScheduler(shift=0.0), "shift > 0"),
        (lambda: GDDIMScheduler(shift=1.0, time_shift_type="cubic"), "time_shift_type"),
        (lambda: GDDIMScheduler(**SD, timestep_spacing="log").set_timesteps(5), "timestep_spacing is"),
        (lambda: GDDIMScheduler(**SD).set_timesteps(), "is given"),
        (lambda: GDDIMScheduler(**SD).set_timesteps(0), "1 <= num_inference_steps"),
        (lambda: GDDIMScheduler(**SD).set_timesteps(1001), "1 <= num_inference_steps"),
        (lambda: GDDIMScheduler(**SD).set_timesteps(timesteps=[5], sigmas=[1.0]), "timesteps and sigmas"),
        (lambda: GDDIMScheduler(**SD).set_timesteps(timesteps=[1, 5]), "timesteps decreases"),
        (lambda: GDDIMScheduler(**SD).set_timesteps(timesteps=[5, 5, 1]), "timesteps decreases"),
        (lambda: GDDIMScheduler(**SD).set_timesteps(timesteps=[1000, 5]), "<= 999"),
        (lambda: GDDIMScheduler(**SD).set_timesteps(timesteps=[]), "shape"),
        (lambda: GDDIMScheduler(**SD).set_timesteps(3, timesteps=[9, 5]), "num_inference_steps = 3"),
        (lambda: GDDIMScheduler(**SD).set_timesteps(sigmas=[float("nan"), 1.0]), "sigmas decreases"),
        (lambda: GDDIMScheduler(**SD).set_timesteps(sigmas=[0.0]), "sigmas > 0"),
        (lambda: GDDIMScheduler(**SD).set_timesteps(sigmas=[3.0, 1e-3]), "less noise"),
        (lambda: GDDIMScheduler(shift=1.0).set_timesteps(sigmas=[1.5, 0.5]), "sigmas <= 1"),
        (lambda: GDDIMScheduler(shift=1.0, use_dynamic_shifting=True).set_timesteps(5), "mu is given"),
        (
            lambda: GDDIMScheduler(**SD, rescale_betas_zero_snr=True).set_timesteps(timesteps=[999, 1]),
            "use v_prediction",
        ),
        (lambda: GDDIMScheduler(**SD).step(ONES, 1, ONES), "set_timesteps was called"),
        (lambda: ready().step(ONES, 2, ONES), "timestep is one of"),
        (lambda: ready().step(ONES, 1, ONES, eta=-0.1), "eta >= 0"),
        (lambda: ready().step(ONES, 1, ONES, eta=float("nan")), "eta >= 0"),
        (lambda: ready().step(ONES[:1], 1, ONES), r"\(1, 3\), expected \(2, 3\)"),
        (lambda: ready().step(ONES, 201, ONES, eta=1.0, noise=ONES[:1]), "noise has the shape"),
        (
            lambda: ready().step(ONES, 201, ONES, eta=1.0, noise=ONES, generator=torch.Generator()),
            "one of generator and noise",
        ),
        (lambda: ready().step(ONES, 201, ONES, return_log_prob=True), "std = 0.0"),
        (lambda: ready().step(ONES, 201, ONES, eta=1.0, prev_sample=ONES[:1]), "prev_sample has the shape"),
        (lambda: ready().step(ONES, torch.tensor([801, 601, 401]), ONES), "one a row"),
        (lambda: ready().add_noise(ONES, ONES, torch.tensor([-1, 3])), "0 <= timesteps <= 999"),
        (lambda: ready().add_noise(ONES, ONES, torch.tensor([1000, 3])), "0 <= timesteps <= 999"),
        (lambda: GDDIMScheduler(trained_betas=[0.1] * 10), "num_train_timesteps = 1000 values"),
        (lambda: GDDIMScheduler(10, trained_betas=[float("nan")] * 10), "0 < beta <= 1"),
        (lambda: GDDIMScheduler(beta_start=-1.0), "0 < beta_start"),
        (lambda: GDDIMScheduler(0), "num_train_timesteps >= 1"),
        (lambda: GDDIMScheduler(clip_sample=True, clip_sample_range=-1.0), "clip_sample_range > 0"),
        (
            lambda: GDDIMScheduler(shift=1.0, use_dynamic_shifting=True).set_timesteps(5, mu=float("nan")),
            "mu is finite",
        ),
        (
            lambda: ready(shift=1.0).step(
                ONES, ready(shift=1.0).timesteps[-1], ONES, 1.0, return_log_prob=True
            ),
            "the last step",
        ),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(UnmetHypothesis, match=words):
        call()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (diffusers.EDMEulerScheduler().config, "sigma_data is not set"),
        (diffusers.ScoreSdeVeScheduler().config, "sigma_min is not set"),
        (diffusers.IPNDMScheduler().config, "names its noise levels"),
        (diffusers.CogVideoXDDIMScheduler().config, "snr_shift_scale is 1"),
        (diffusers.EulerDiscreteScheduler(timestep_type="continuous").config, "timestep_type is discrete"),
        (diffusers.DPMSolverMultistepScheduler(use_lu_lambdas=True).config, "use_lu_lambdas is not set"),
        ({**SD, "use_karras_sigmas": True, "use_beta_sigmas": True}, "at most one of"),
    ],
)
def test_models_with_other_noise_levels_are_refused(config, words):
    """Read as a table of betas they would run, and draw noise."""
    with pytest.raises(UnmetHypothesis, match=words):
        GDDIMScheduler.from_config(config)


def test_pure_noise_has_no_spacing_by_noise_ratios():
    betas = {**SD, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    scheduler = GDDIMScheduler(**betas, prediction_type="v_prediction", use_karras_sigmas=True)
    with pytest.raises(UnmetHypothesis, match="no finite noise ratio"):
        scheduler.set_timesteps(5)


def test_a_refused_grid_leaves_the_one_before():
    scheduler = ready()
    before = scheduler.timesteps
    with pytest.raises(UnmetHypothesis):
        scheduler.set_timesteps(timesteps=[1, 5])
    assert scheduler.timesteps is before
    assert scheduler.step(ONES, int(before[0]), ONES)[0].shape == ONES.shape
    assert all(t > s for t, s in pairwise(before.tolist()))
