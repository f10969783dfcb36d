"""Hard constraints on torch: pipelines are guided as said, and the command runs on digits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
for needed in ("accelerate", "diffusers", "peft", "transformers"):
    pytest.importorskip(needed)

from diffusers import DDIMScheduler

from driftproof import UnmetHypothesis
from driftproof.backends.torch.doob import GuidanceCallback, load_guidance, main
from driftproof.backends.torch.doob.callback import save_log_h
from driftproof.backends.torch.doob.config import RECIPES
from driftproof.backends.torch.doob.experiment import frozen_of
from driftproof.backends.torch.doob.method import gradient_guide
from driftproof.backends.torch.doob.networks import LatentField, LatentLogH


class _Pipe:
    """What a callback sees of a pipeline, and the loop of Stable Diffusion."""

    def __init__(self, eta: float) -> None:
        self.scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False)
        self.scheduler.set_timesteps(7)
        self.eta = eta

    def __call__(self, x: Any, predict: Any, callback: Any = None, after: Any = None) -> Any:
        generator = torch.Generator().manual_seed(0)
        for i, t in enumerate(self.scheduler.timesteps):
            before = x
            x = self.scheduler.step(predict(x, t), t, x, eta=self.eta, generator=generator).prev_sample
            if after is not None:
                x = after(self, before, x, t)
            if callback is not None:
                x = callback(self, i, t, {"latents": x})["latents"]
        return x


def _guide(x: Any, t: Any) -> Any:
    return torch.cos(x) * (1.0 + t.to(x).reshape(-1, 1) / 1000.0)


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_a_callback_is_guidance_of_the_predicted_noise(eta: float) -> None:
    pipe, x = _Pipe(eta), torch.randn(3, 5, generator=torch.Generator().manual_seed(1))

    def noise(x: Any, t: Any) -> Any:
        return torch.sin(2.0 * x)

    def guided(x: Any, t: Any) -> Any:
        bar = pipe.scheduler.alphas_cumprod[t]
        strength = (1.0 - bar).sqrt() * (bar.sqrt() > 0.03 * (1.0 - bar).sqrt())
        return noise(x, t) - strength * _guide(x, t.expand(len(x)))

    found = pipe(x, noise, GuidanceCallback(_guide, x, eta))
    assert torch.allclose(found, pipe(x, guided), atol=2e-5)
    assert not torch.allclose(found, pipe(x, noise), atol=1e-2)
    again = GuidanceCallback(_guide, x, eta)
    pipe(x, noise, again)
    assert torch.equal(pipe(x, noise, again), found), "a callback may be called with again"


def test_a_callback_moves_the_mean_by_its_variance() -> None:
    pipe, x = _Pipe(1.0), torch.randn(3, 5, generator=torch.Generator().manual_seed(1))

    def moved(pipe: Any, before: Any, after: Any, t: Any) -> Any:
        s = t - 1000 // 7
        bar = pipe.scheduler.alphas_cumprod[t]
        then = pipe.scheduler.alphas_cumprod[s] if s >= 0 else pipe.scheduler.final_alpha_cumprod
        variance = (1.0 - then) / (1.0 - bar) * (1.0 - bar / then)
        return after + variance * _guide(before, t.expand(len(x)))

    found = pipe(x, lambda x, t: 0.5 * x, GuidanceCallback(_guide, x, 1.0, "mean"))
    assert torch.allclose(found, pipe(x, lambda x, t: 0.5 * x, after=moved), atol=2e-5)


def test_callbacks_that_cannot_be() -> None:
    x = torch.zeros(2, 5)
    with pytest.raises(UnmetHypothesis, match="eta > 0"):
        GuidanceCallback(_guide, x, 0.0, "mean")
    pipe = _Pipe(0.0)
    with pytest.raises(UnmetHypothesis, match="latents are those of the call"):
        GuidanceCallback(_guide, torch.zeros(1, 5))(pipe, 0, pipe.scheduler.timesteps[0], {"latents": x})
    pipe.scheduler = DDIMScheduler(clip_sample=True)
    pipe.scheduler.set_timesteps(7)
    with pytest.raises(UnmetHypothesis, match="clips nothing"):
        GuidanceCallback(_guide, x)(pipe, 0, pipe.scheduler.timesteps[0], {"latents": x})


def test_a_learned_h_is_loaded_in_one_line(tmp_path: Path) -> None:
    network = LatentLogH(4, 8, 0.3)
    torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(0))
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([10, 900])
    save_log_h(tmp_path / "h.safetensors", network, {"title": "x"})
    assert torch.equal(load_guidance(tmp_path / "h.safetensors")(x, t), gradient_guide(network)(x, t))
    assert (network(x, t) < 0).all() and network(1e3 * x, t).isfinite().all()
    assert float(LatentLogH(4, 8, 0.3)(x, t)[0].exp().detach()) == pytest.approx(0.3), (
        "untrained, it says the share of hits"
    )
    assert not LatentField(4, 8)(x, t).any(), "untrained, it says nothing"


@pytest.mark.slow(ci=True)
def test_a_pipeline_of_the_zoo_is_guided_in_two_lines() -> None:
    """The callback beside the guided sampler of the same steps."""
    from driftproof.backends.torch.pretrained.models import zoo

    pipe = zoo("mnist-sd")
    pipe.set_progress_bar_config(disable=True)
    recipe, _ = RECIPES.load(RECIPES.find("ink"), smoke=True)
    frozen = frozen_of(recipe, torch.device("cpu"))
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def guide(x: Any, t: Any) -> Any:
        return 0.5 * torch.tanh(x)

    call = {
        "num_inference_steps": 5,
        "guidance_scale": 1.0,
        "output_type": "latent",
        "num_images_per_prompt": 2,
    }
    callback = GuidanceCallback(guide, latents)
    found = pipe("a medium three, upright", latents=latents, callback_on_step_end=callback, **call).images
    x = latents
    deterministic = replace(frozen, sampler=_still(frozen.sampler))
    for k in range(5):
        x = deterministic.step(x, k, guide, torch.Generator())
    assert torch.allclose(found, x, atol=1e-4)


def _still(sampler: Any) -> Any:
    from driftproof.backends.torch.rl.sampler import Sampler

    return Sampler(sampler.scheduler, 0.0)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", ["digits", "ink"])
def test_smoke_runs_of_digits(name: str, tmp_path: Path) -> None:
    main(RECIPES.find(name), smoke=True, out=tmp_path)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    rows = report["tables"][0]["rows"]
    assert [row[0] for row in rows] == ["unguided", "rejection", "cross entropy"]
    assert list(tmp_path.rglob("guidance/cross-entropy-seed-*.safetensors"))
