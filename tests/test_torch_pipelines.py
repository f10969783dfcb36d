"""From a pipeline of diffusers to a trainer: the five lines of the front page, and what stands behind them."""

from __future__ import annotations

import re
from dataclasses import fields
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
from driftproof.backends.torch.adjoint import Matching
from driftproof.backends.torch.kit.identity import OtherRun
from driftproof.backends.torch.reward_gap.config import Budget
from driftproof.backends.torch.score_as_action.config import Budget as ActorCriticBudget
from driftproof.backends.torch.trainers import (
    DDPOConfig,
    DDPOTrainer,
    MixGRPOConfig,
    ScoreAsActionConfig,
    Task,
    TrainerCallback,
)
from tests.pipeline_trainers import PROMPTS, TRAINERS, brightness, made, weights
from tests.saved_pipelines import SIDE, saved, small_pipeline

README = Path(__file__).resolve().parent.parent / "README.md"
SCRIPTS = {
    re.search(r"import (\w+Pipeline)", code)[1]: code  # type: ignore[index]
    for code in re.findall(
        r"^```py\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    if "from_pipeline" in code
}
KINDS = {
    "StableDiffusionPipeline": "stable_diffusion",
    "StableDiffusion3Pipeline": "stable_diffusion_3",
    "Flux2KleinPipeline": "flux2",
}


class Counted:
    """A reward, and the images that it was asked for."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        self.images += len(images)
        return brightness(images)


# -- the scripts of the front page


def image(pipe: Any, noise: torch.Tensor, steps: int) -> torch.Tensor:
    """What the pipeline makes of some noise without stochasticity."""
    if isinstance(pipe, diffusers.StableDiffusionPipeline):
        pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    pipe.set_progress_bar_config(disable=True)
    size = {"height": SIDE, "width": SIDE, "num_inference_steps": steps}
    found: torch.Tensor = pipe(prompt=PROMPTS[1], latents=noise, output_type="pt", **size).images
    return found


def test_every_pipeline_has_its_script() -> None:
    assert set(SCRIPTS) == set(KINDS)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "StableDiffusionPipeline" else pytest.mark.slow(ci=True))
        for name in KINDS
    ],
)
def test_five_lines(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh pipeline that loads the adapter makes the image of the trained policy, which is another one than before."""
    monkeypatch.chdir(tmp_path)
    folder = saved(KINDS[name], tmp_path / "pipeline")
    script: dict[str, Any] = {"folder": folder, "prompts": PROMPTS, "reward": brightness, "side": SIDE}
    exec(SCRIPTS[name], script)  # noqa: S102  # code of ours
    trainer = script["trainer"]
    noise = torch.randn(1, *trainer.task.shape, generator=torch.Generator().manual_seed(0))
    own = trainer.images(torch.tensor([1]), noise)
    fresh, steps = getattr(diffusers, name).from_pretrained(folder), trainer.args.num_inference_steps
    before = image(fresh, noise, steps)
    fresh.load_lora_weights("adapter")
    after = image(fresh, noise, steps)
    # Some ten roundings of float32 a step, of numbers up to a few units.
    rounding = 10 * steps * torch.finfo(torch.float32).eps
    assert float((after - own).abs().max()) < rounding
    assert float((after - before).abs().max()) > 2 * rounding


# -- trainers


# What the short form sets otherwise on purpose: groups that can be compared, and advantages of one scale.
OTHERWISE: dict[str, set[str]] = {
    "DDPOConfig": set(),
    "MixGRPOConfig": {"num_generations"},
    "ScoreAsActionConfig": {"standardise", "normalise"},
}


@pytest.mark.parametrize(
    ("config", "budget"),
    [(DDPOConfig, Budget), (MixGRPOConfig, Budget), (ScoreAsActionConfig, ActorCriticBudget)],
)
def test_defaults_are_those_of_the_budget(config: type[Any], budget: type[Any]) -> None:
    """A number that stands in both is the same, so that a recipe and five lines make the same run."""
    short, whole = ({f.name: f.default for f in fields(kind)} for kind in (config, budget))
    both = short.keys() & whole.keys()
    assert len(both) > 10
    assert {name for name in both if short[name] != whole[name]} == OTHERWISE[config.__name__]


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", TRAINERS)
def test_nothing_but_rollouts_is_rewarded(name: str, tmp_path: Path) -> None:
    reward = Counted()
    made(name, tmp_path, reward, max_steps=2, save_steps=0).train()
    assert reward.images == 8
    assert not list(tmp_path.iterdir())


def test_measuring_is_asked_for(tmp_path: Path) -> None:
    reward = Counted()
    trainer = made("ddpo", tmp_path, reward, max_steps=1, num_eval_images=3)
    log = trainer.train()
    assert reward.images == 4 + 2 * (3 + 3)  # before and after, with stochasticity and without
    (_, before), (done, after) = log.gaps
    assert done == 1
    assert trainer.state.log_history[-1]["eval_reward"] == after.ode != before.ode


@pytest.mark.parametrize(("name", "kind"), [("ddpo", "stable_diffusion"), ("adjoint", "stable_diffusion_3")])
def test_pipelines_in_half_precision_stay_what_they_are(name: str, kind: str) -> None:
    trainer, config, _ = TRAINERS[name]
    pipe = small_pipeline(kind).to(torch.bfloat16)
    task = Task.from_pipeline(pipe, PROMPTS, brightness)
    numbers = {"max_steps": 1, "per_device_train_batch_size": 2, "num_inference_steps": 2, "save_steps": 0}
    log = trainer(pipe, task, config(**numbers)).train()
    assert 0.0 < log.rows[0]["reward"] < 1.0
    pipe.set_progress_bar_config(disable=True)
    pipe(prompt=PROMPTS[0], height=SIDE, width=SIDE, num_inference_steps=2, output_type="pt")
    assert pipe.vae.dtype == torch.bfloat16


class StopAfter(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self.step


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", TRAINERS)
def test_a_stopped_training_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    whole = made(name, tmp_path / "whole")
    rows = whole.train().rows
    stopped = made(name, tmp_path / "parts", callbacks=[StopAfter(2)])
    stopped.train()
    assert stopped.state.global_step == 2
    with pytest.raises(FileExistsError, match="resume_from_checkpoint=True"):
        made(name, tmp_path / "parts").train()
    resumed = made(name, tmp_path / "parts", per_device_rollout_batch_size=4)
    assert resumed.train(resume_from_checkpoint=True).rows == rows
    assert resumed.state.global_step == 4
    assert resumed.state.log_history == whole.state.log_history
    expected = weights(whole)
    assert {key: torch.equal(w, expected[key]) for key, w in weights(resumed).items()} == dict.fromkeys(
        expected, True
    )


@pytest.mark.slow(ci=True)
def test_a_training_is_resumed_by_its_own_kind_and_may_become_longer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no"):
        made("ddpo", tmp_path).train(resume_from_checkpoint=True)
    made("ddpo", tmp_path, max_steps=1).train()
    for changes, field in (
        ({"learning_rate": 1e-2}, "budget.learning_rate"),
        ({"guidance_scale": 2.0}, "pipeline.guidance"),
        ({"lora_rank": 2}, "lora.rank"),
    ):
        with pytest.raises(OtherRun, match=field):
            made("ddpo", tmp_path, max_steps=1, **changes).train(resume_from_checkpoint=True)
    assert len(made("ddpo", tmp_path, max_steps=2).train(resume_from_checkpoint=True).rows) == 2


def test_rollouts_and_updates_have_batches_of_their_own(tmp_path: Path) -> None:
    """Guidance is off: a row is an image at one step."""
    numbers = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3}
    trainer = made("ddpo", tmp_path, max_steps=1, per_device_rollout_batch_size=4, **numbers)
    seen: dict[bool, set[int]] = {True: set(), False: set()}
    hook = trainer.network.register_forward_pre_hook(
        lambda _, given: seen[torch.is_grad_enabled()].add(len(given[0]))
    )
    trainer.train()
    hook.remove()
    assert seen == {False: {4, 2}, True: {2}}  # six images


# -- what is refused


def test_other_pipelines_are_refused_by_name() -> None:
    unet = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(4,) * 4, norm_num_groups=4, layers_per_block=1
    )
    pipe = diffusers.DDIMPipeline(unet, diffusers.DDIMScheduler())
    with pytest.raises(UnmetHypothesis) as caught:
        Task.from_pipeline(pipe, PROMPTS, brightness)
    for name in (*KINDS, "FluxPipeline", "StableDiffusionXLPipeline", "DDPMPipeline", "DDIMPipeline"):
        assert name in str(caught.value)


def test_what_a_pipeline_cannot_do_is_refused(tmp_path: Path) -> None:
    pipe = small_pipeline("stable_diffusion")
    with pytest.raises(UnmetHypothesis, match="at least one prompt"):
        Task.from_pipeline(pipe, [], brightness)
    with pytest.raises(UnmetHypothesis, match="multiples of 2"):
        Task.from_pipeline(pipe, PROMPTS, brightness, height=17)
    with pytest.raises(UnmetHypothesis, match="the pipeline is a flow"):
        made("adjoint", tmp_path, kind="stable_diffusion")
    task = Task.from_pipeline(pipe, "a cat", brightness)
    assert task.prompts == ("a cat",)
    # What is refused leaves the pipeline as it was; what is trained does not, until its adapter is fused.
    with pytest.raises(UnmetHypothesis, match="num_generations divides"):
        DDPOTrainer(pipe, task, DDPOConfig(num_generations=3))
    DDPOTrainer(pipe, task, DDPOConfig())
    with pytest.raises(UnmetHypothesis, match="no adapter yet"):
        DDPOTrainer(pipe, task, DDPOConfig())
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    DDPOTrainer(pipe, task, DDPOConfig())


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ("brightness", "a callable of .images. or .images, prompts.*a str"),
        (lambda images, prompts, scale: images, "a callable of .images."),
        (lambda: 1.0, "a callable of .images."),
        (lambda images: images.mean(), r"one reward for each image.*shape \(\) for 4"),
        (lambda images: images.mean(dim=(2, 3)), r"one reward for each image.*shape \(4, 3\) for 4"),
        (lambda images: None, "a tensor of real numbers.*NoneType"),
        (lambda images: ["good"] * len(images), "a tensor of real numbers"),
    ],
)
def test_rewards_that_are_none(reward: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnmetHypothesis, match=message):
        made("ddpo", tmp_path, reward, max_steps=1).train()


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    ("name", "kind"), [("ddpo", "stable_diffusion"), ("mixgrpo", "flux"), ("adjoint", "flux2")]
)
def test_what_a_reward_is_given(name: str, kind: str, tmp_path: Path) -> None:
    """And a second argument with a default is not taken for the prompts."""
    given: list[tuple[Any, ...]] = []

    def reward(images: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        assert scale == 2.0
        given.append((images.dtype, *images.shape[1:]))
        if not images.requires_grad:
            assert 0.0 <= float(images.min()) <= float(images.max()) <= 1.0
        return scale * brightness(images)

    trainer, config, own = TRAINERS[name]
    pipe = small_pipeline(kind)
    task = Task.from_pipeline(pipe, PROMPTS, reward, height=8, width=16)
    numbers = {"max_steps": 1, "per_device_train_batch_size": 2, "num_inference_steps": 2, "save_steps": 0}
    options = {key: value for key, value in own.items() if key == "num_generations"}
    trainer(pipe, task, config(**numbers, **options)).train()
    assert set(given) == {(torch.float32, 3, 8, 16)}


def test_prompts_come_with_their_images(tmp_path: Path) -> None:
    seen: list[str] = []

    def reward(images: torch.Tensor, prompts: list[str]) -> list[float]:
        seen.extend(prompts)
        return [float(len(prompt)) for prompt in prompts]

    made("mixgrpo", tmp_path, reward, max_steps=2, num_generations=4).train()
    assert sorted(seen) == sorted(4 * list(PROMPTS))


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ddpo", {"max_steps": 0}, "max_steps >= 1"),
        ("ddpo", {"per_device_rollout_batch_size": 0}, "per_device_rollout_batch_size >= 1"),
        ("ddpo", {"lora_target_modules": "to_q"}, "lora_target_modules is a sequence"),
        ("ddpo", {"save_steps": -1}, "save_steps >= 0"),
        ("ddpo", {"mixed_precision": "fp8"}, "mixed_precision is no"),
        ("ddpo", {"learning_rate": float("nan")}, "learning_rate > 0"),
        ("ddpo", {"num_eval_images": 1}, "pairs >= 2"),
        ("ddpo", {"generation_batch_size": 6}, "a multiple of the images of an optimizer step.*6, 4"),
        ("ddpo", {"num_generations": 3}, "num_generations divides"),
        ("mixgrpo", {"max_steps": 3}, "max_steps is a multiple of the steps of a rollout.*2 steps"),
        ("mixgrpo", {"num_generations": 1}, "at least 2 samples of a prompt"),
        ("adjoint", {"weight_decay": 0.1}, "weight_decay = 0"),
        ("adjoint", {"matching": Matching(1.0, last=9)}, "last <= 3"),
    ],
)
def test_numbers_that_cannot_be(name: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UnmetHypothesis, match=message):
        made(name, tmp_path, **changes)
