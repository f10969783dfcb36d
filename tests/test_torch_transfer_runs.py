"""Transfer on torch: data, recipes, and whole runs that repeat."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from accelerate import Accelerator

from driftproof import UnmetHypothesis
from driftproof.backends.torch.kit.intervals import student_interval as interval
from driftproof.backends.torch.kit.recipe import RecipeError
from driftproof.backends.torch.transfer import main
from driftproof.backends.torch.transfer.config import RECIPES
from driftproof.backends.torch.transfer.data import Shift, diabetes, digits, few_shot_rows
from driftproof.backends.torch.transfer.fewshot import contest, prepare, source_model

RECIPE = """
title = "Toy"
shots = [1, 2, 3, 4]
seeds = [0, 1, 2]
width = 4
features = 6
source_training = { max_steps = 4, train_batch_size = 16, learning_rate = 1e-2, ema_decay = 0.5 }
finetuning = { shots = [2], plan = { max_steps = 2, train_batch_size = 8, learning_rate = 1e-3, ema_decay = 0.5 } }

[[shift]]
name = "faint"
contrast = 0.5

[[shift]]
name = "few classes"
classes = [1, 3, 8]

[table]
sizes = [6, 12, 24, 48]
splits = 3
"""


# -- data


def test_no_image_is_in_two_parts_and_seeds_differ() -> None:
    domains = digits(Shift("none"), 0)
    flat = [part[0].flatten(1).tolist() for part in (domains.source, domains.pool, domains.test)]
    sets = [{tuple(row) for row in part} for part in flat]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 1797
    assert not torch.equal(digits(Shift("none"), 1).source[0], domains.source[0])
    few = digits(Shift("few", classes=(2, 7)), 0)
    assert set(few.pool[1].tolist()) == {2, 7}
    assert set(few.source[1].tolist()) == set(range(10))


def test_shots_are_of_every_class_and_refused_beyond_the_pool() -> None:
    labels = torch.tensor([0] * 5 + [4] * 3)
    chosen = few_shot_rows(labels, 3, np.random.default_rng(0))
    assert torch.bincount(labels[chosen]).tolist() == [3, 0, 0, 0, 3]
    with pytest.raises(UnmetHypothesis, match="class 4 has 3"):
        few_shot_rows(labels, 4, np.random.default_rng(0))
    with pytest.raises(UnmetHypothesis, match="contrast is not 0"):
        Shift("blank", contrast=0.0)
    with pytest.raises(UnmetHypothesis, match="distinct values"):
        Shift("twice", classes=(1, 1))


def test_the_table_is_standardised_by_its_source() -> None:
    table = diabetes(seed=0)
    np.testing.assert_allclose(table.source[0].mean(axis=0), 0.0, atol=1e-9)
    assert len(table.source[1]) + len(table.pool[1]) + len(table.test[1]) == 442
    assert table.pool[0].shape[1] == 9


def test_shifts_are_finite_and_shots_are_there() -> None:
    with pytest.raises(UnmetHypothesis, match="finite"):
        Shift("dark", contrast=math.nan)
    with pytest.raises(UnmetHypothesis, match="shots"):
        few_shot_rows(torch.tensor([0, 1]), 0, np.random.default_rng(0))


# -- recipes and runs


def toy(tmp_path: Path, text: str = RECIPE) -> Path:
    path = tmp_path / "toy.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("seeds = [0, 1, 2]", "seeds = [0, 0, 1]", "seeds: expected distinct values"),
        ("shots = [1, 2, 3, 4]", "shots = [2, 1]", "increasing"),
        ("shots = [2], plan", "shots = [7], plan", "among the shots"),
        ("width = 4", "width = 0", "width: expected > 0"),
        ('name = "few classes"', 'name = "faint"', "distinct names"),
        ("sizes = [6, 12, 24, 48]", "sizes = [2, 12]", "table.sizes.0: expected >= 5, got 2"),
        ("width = 4", "widht = 4", "did you mean 'width'"),
        ("splits = 3", "spilts = 3", "did you mean 'splits'"),
        ("features = 6", "shrinkage = 0.0", "shrinkage: expected > 0"),
    ],
)
def test_recipes_that_cannot_be_run_say_why(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        RECIPES.load(toy(tmp_path, RECIPE.replace(old, new, 1)), smoke=False)


def test_the_packaged_recipe_has_five_seeds_and_a_smoke_budget() -> None:
    full, small = (RECIPES.load(RECIPES.packaged()[0], smoke)[0] for smoke in (False, True))
    assert len(full.seeds) >= 5
    assert len(small.shots) < len(full.shots)
    assert small.finetuning is not None
    assert small.finetuning.plan.max_steps < full.finetuning.plan.max_steps


@pytest.mark.slow(ci=True)
def test_a_run_writes_its_report_and_repeats_itself(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    config = toy(tmp_path)
    reports = []
    for name in ("first", "second"):
        main(config, False, tmp_path / name)
        reports.append(json.loads((tmp_path / name / "report.json").read_text(encoding="utf-8")))
        request.getfixturevalue("undrawn")  # the second time
    report = reports[0]
    assert report["paper"] == "transfer"
    assert [figure["svg"].startswith("<svg") for figure in report["figures"]] == [True] * 3
    assert report["tables"] == reports[1]["tables"]
    errors = {
        table["caption"].split(":")[0]: table
        for table in report["tables"]
        if "interval over" in table["caption"]
    }
    assert set(errors) == {"faint", "few classes", "diabetes, by sex"}
    for table in errors.values():
        methods = [row[0] for row in table["rows"]]
        assert {"source only", "direct", "transport", "transport, labels", "wrong source"} <= set(methods)
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    tuned = next(row for row in errors["faint"]["rows"] if row[0] == "fine-tuned")
    assert [bool(cell) for cell in tuned[1:]] == [False, True, False, False]
    assert "transport, known classes" in [row[0] for row in errors["few classes"]["rows"]]


def test_a_folder_of_transformers_runs_the_recipe(tmp_path: Path) -> None:
    """Three channels and 12 pixels wanted, one channel and 8 given; frozen, so that no weight moves."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        num_channels=3,
        embedding_size=4,
        hidden_sizes=[4, 6],
        depths=[1, 1],
        layer_type="basic",
        image_size=12,
    )
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config)
    model.save_pretrained(tmp_path / "model")
    text = RECIPE.replace('title = "Toy"', f'title = "Toy"\npretrained = "{tmp_path / "model"}"', 1)
    recipe, _ = RECIPES.load(toy(tmp_path, text), smoke=False)
    network = source_model(recipe, 0, tmp_path, Accelerator()).model
    assert network.head.in_features == network.backbone.features == 6
    for before, after in zip(model.parameters(), network.backbone.model.parameters(), strict=True):
        assert torch.equal(before, after.to(before.device))
    domains = digits(Shift("none"), 0)
    shot = tuple(part[few_shot_rows(domains.pool[1], 2, np.random.default_rng(0))] for part in domains.pool)
    errors = contest(prepare(network, domains.source), shot, domains.test)
    assert set(errors) >= {"direct", "transport", "transport, labels"}
    assert all(0.0 <= error <= 1.0 for error in errors.values())


def test_intervals_are_students() -> None:
    mean, half = interval(np.asarray([1.0, 2.0, 3.0]))
    assert mean == 2.0
    assert half == pytest.approx(4.302653 / math.sqrt(3.0), rel=1e-6)
