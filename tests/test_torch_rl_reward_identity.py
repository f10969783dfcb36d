"""The identity of a custom reward, and the warning where it has none."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from driftproof import UnmetHypothesis
from driftproof.backends.torch.kit.identity import OtherRun
from driftproof.backends.torch.kit.lock import RunWarning
from driftproof.backends.torch.reward_gap.config import RECIPES
from driftproof.backends.torch.rl.reward_identity import reward_identity
from driftproof.backends.torch.rl.rewards import JPEGReward
from driftproof.backends.torch.score_as_action.config import RECIPES as ACTORS
from driftproof.backends.torch.trainers import DDPOConfig, DDPOTrainer, Task
from tests.saved_pipelines import small_pipeline


def bright(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1).mean(dim=1)


def dark(images: torch.Tensor) -> torch.Tensor:
    return -images.flatten(1).mean(dim=1)


class Scaled(torch.nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale * bright(images)


class Counting:
    """What begins with an underscore is no part of a reward."""

    def __init__(self, weight: float) -> None:
        self.weight, self._seen = weight, 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self._seen += len(images)
        return self.weight * bright(images)

    def doubled(self, images: torch.Tensor) -> torch.Tensor:
        return 2.0 * self(images)


def weighted(weight: float):
    def reward(images: torch.Tensor) -> torch.Tensor:
        return weight * bright(images)

    return reward


@pytest.mark.filterwarnings("error")
def test_a_reward_is_its_name_its_source_and_what_it_keeps():
    assert reward_identity(bright).startswith(f"{__name__}.bright (source ")
    pairs = [
        (bright, dark),
        (JPEGReward(sign=-1.0), JPEGReward(sign=1.0)),
        (JPEGReward(quality=95), JPEGReward(quality=50)),
        (Scaled(1.0), Scaled(2.0)),
        (Counting(1.0), Counting(2.0)),
        (Counting(1.0), Counting(1.0).doubled),
        (weighted(1.0), weighted(2.0)),
        (functools.partial(bright), functools.partial(dark)),
    ]
    for one, other in pairs:
        assert reward_identity(one) == reward_identity(one)
        assert reward_identity(one) != reward_identity(other)
    assert reward_identity(weighted(1.0)) == reward_identity(weighted(1.0))
    used = Counting(1.0)
    used(torch.zeros(3, 3, 2, 2))
    assert reward_identity(used) == reward_identity(Counting(1.0))


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        (lambda images: bright(images), "<lambda>.*a lambda has no name of its own"),
        (eval("lambda images: images"), "a lambda"),
        (math.fsum, "math.fsum.*its source is not found"),
        (functools.partial(bright, torch.zeros(1)), "partial of .*bright.*it keeps 0, a Tensor"),
    ],
)
def test_what_cannot_be_told_apart_is_named_with_a_warning(reward, words):
    with pytest.warns(RunWarning, match=words):
        reward_identity(reward)


@pytest.mark.slow(ci=True)
def test_a_training_does_not_go_on_with_another_reward(tmp_path):
    def trained(reward, steps, resume):
        torch.manual_seed(0)
        pipe = small_pipeline("stable_diffusion")
        args = DDPOConfig(
            output_dir=str(tmp_path), max_steps=steps, num_inference_steps=2, per_device_train_batch_size=2
        )
        trainer = DDPOTrainer(pipe, Task.from_pipeline(pipe, ["cat"], reward), args)
        trainer.train(resume_from_checkpoint=resume)

    trained(bright, 1, False)
    with pytest.raises(
        OtherRun, match=r"task\.reward: '.*\.bright \(source .*there, '.*\.dark \(source .*here"
    ):
        trained(dark, 2, True)
    trained(bright, 2, True)
    with (
        pytest.warns(RunWarning, match="a lambda"),
        pytest.raises(OtherRun, match=r"task\.reward: .*bright.*there, '.*<lambda>' here"),
    ):
        trained(lambda images: bright(images), 3, True)


@pytest.mark.parametrize("recipes", [RECIPES, ACTORS], ids=["reward_gap", "score_as_action"])
def test_a_recipe_says_its_seed_once(recipes):
    recipe, _ = recipes.load(recipes.packaged()[0], True, {})
    assert recipe.gaussian is not None
    with pytest.raises(
        UnmetHypothesis, match=r"budget\.seed is not set.*budget\.seed = 7, seeds = \[0, 1, 2"
    ):
        replace(recipe, budget=replace(recipe.budget, seed=7))
    name = "ddpo-sd15" if recipes is RECIPES else "sd15"
    other, _ = recipes.load(recipes.find(name), True, {})
    assert replace(other, budget=replace(other.budget, seed=7)).budget.seed == 7
    with pytest.raises(UnmetHypothesis, match=r"seeds is not set.*seeds = \[3\]"):
        replace(other, seeds=(3,))
