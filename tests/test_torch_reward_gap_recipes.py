"""The recipes of the reward gap, and whole runs of small ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from driftproof import UnmetHypothesis
from driftproof.backends.torch.kit.recipe import RecipeError
from driftproof.backends.torch.pretrained.config import Lora, PipelineModel
from driftproof.backends.torch.pretrained.loader import prompts_of
from driftproof.backends.torch.reward_gap import main
from driftproof.backends.torch.reward_gap.config import RECIPES, Budget
from driftproof.backends.torch.rl.rewards import RewardChoice, make_reward

FOLDER = RECIPES.packaged()[0].parent


def test_the_recipes_of_published_models_say_what_users_know() -> None:
    ddpo = RECIPES.load(FOLDER / "ddpo-sd15.toml", smoke=False)[0]
    assert ddpo.pipeline is not None
    assert (ddpo.sampling.steps, ddpo.sampling.eta, ddpo.pipeline.guidance) == (50, 1.0, 5.0)
    assert (ddpo.budget.clip_range, ddpo.budget.advantage_clip, ddpo.budget.learning_rate) == (
        1e-4,
        5.0,
        3e-4,
    )
    flow = RECIPES.load(FOLDER / "flow-grpo-sd3.toml", smoke=False)[0]
    assert 2.0**0.5 * flow.sampling.eta == pytest.approx(0.7, rel=1e-12)
    assert flow.window.size == 0
    mix = RECIPES.load(FOLDER / "mixgrpo-flux.toml", smoke=False)[0]
    assert 0 < mix.window.size < mix.sampling.steps
    for path in FOLDER.glob("*.toml"):
        recipe = RECIPES.load(path, smoke=True)[0]
        assert recipe.pipeline is None or recipe.pipeline.name in ("", "zoo:mnist-sd"), "no download"


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
num_generations = 8
per_device_train_batch_size = 1000
per_device_rollout_batch_size = 1000
scale_rewards = false
beta = 0.1
kl = "path"
pairs = 8
"""


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("[gaussian]", "", "gaussian"),
        ('method = "mixgrpo"', 'method = "ppo"', "expected one of"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "distinct"),
        ("size = 2", "size = -2", "size >= 0"),
        ("epochs = 4", "epochs = 4\nlr = 1", "unknown key 'budget.lr' .known: epochs, prompts"),
        ("[gaussian]", "[gaussian]\nvariance = -1.0", "gaussian.variance: expected > 0, got -1.0"),
        ('kl = "path"', 'kl = "k3"', "expected one of"),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused(tmp_path: Path, old: str, new: str, match: str) -> None:
    assert old in GAUSSIAN
    (tmp_path / "toy.toml").write_text(GAUSSIAN.replace(old, new), encoding="utf-8")
    with pytest.raises(RecipeError, match=match):
        RECIPES.load(tmp_path / "toy.toml", smoke=False)


LORA = Lora(4, 4, ("to_q",))


@pytest.mark.parametrize("wrong", [{}, {"prompts": ("a cat",), "prompt_file": "both.txt"}])
def test_prompts_come_from_one_place(wrong) -> None:
    with pytest.raises(UnmetHypothesis, match="prompts or a prompt_file"):
        PipelineModel("flux", LORA, **wrong)


@pytest.mark.parametrize("wrong", [{"ratio": "product"}, {"kl": "lose"}, {"baseline": "none"}])
def test_budgets_know_their_words(wrong) -> None:
    """Another word would fall through to some branch."""
    with pytest.raises(UnmetHypothesis, match="is one of"):
        Budget(epochs=1, prompts=2, **wrong)


def test_prompts_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    model = PipelineModel("flux", LORA, prompt_file=str(path))
    path.write_text("a cat\n\n  a dog \n", encoding="utf-8")
    assert prompts_of(model) == ("a cat", "a dog")
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(UnmetHypothesis, match="a prompt on some line"):
        prompts_of(model)


def test_missing_files_are_told_before_anything_is_loaded(tmp_path: Path) -> None:
    text = (FOLDER / "mixgrpo-flux.toml").read_text(encoding="utf-8").split("[smoke]")[0]
    (tmp_path / "flux.toml").write_text(text.replace("prompts.txt", "no-such-file.txt"), encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="no-such-file"):
        main(tmp_path / "flux.toml", smoke=False, out=tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="aesthetic head: no file"):
        make_reward(RewardChoice(kind="aesthetic", head="no-such-file.safetensors"), torch.device("cpu"))
    with pytest.raises(UnmetHypothesis, match="head names a safetensors file"):
        RewardChoice(kind="aesthetic")
    assert not list((tmp_path / "out").glob("[!.]*"))  # nothing but the lock


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


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", ["mixgrpo-flux.toml", "flow-grpo-sd3.toml"])
def test_the_smoke_of_a_published_recipe_needs_no_download(tmp_path: Path, name: str) -> None:
    main(FOLDER / name, smoke=True, out=tmp_path)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [row[0] for row in report["tables"][0]["rows"]] == ["0", "3", "6"]
    assert (tmp_path / "checkpoints" / "lora" / "pytorch_lora_weights.safetensors").is_file()
