"""The zoo: what is shipped, how it loads, what it scores, and that it is made by its recipes."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
for needed in ("accelerate", "safetensors", "diffusers", "transformers", "peft"):
    pytest.importorskip(needed)

from driftproof import cli
from driftproof.backends.torch import pretrained
from driftproof.backends.torch.pretrained import cards
from driftproof.backends.torch.pretrained.digits import (
    CLASSES,
    caption,
    slant,
    thickness,
)
from driftproof.backends.torch.pretrained.models import READERS, digit_features
from driftproof.backends.torch.pretrained.sudoku import EMPTY, UNITS, grids, puzzles, solved
from driftproof.backends.torch.recipes import RecipeError
from driftproof.backends.torch.recipes import names as recipe_names
from driftproof.backends.torch.zoo.captions import LENGTH, tokenizer
from driftproof.backends.torch.zoo.masked import _guessed, greedy
from driftproof.backends.torch.zoo.retrain import MODULES, maker_of, retrain
from driftproof.backends.torch.zoo.scores import Score

LIMIT = 12_000_000  # bytes of all models together


# -- what is shipped


def test_every_model_is_whole_and_has_a_recipe() -> None:
    size = 0
    for name in cards.names():
        card = cards.verified(cards.folder(name))
        listed = set(card["files"])
        found = {
            p.relative_to(cards.folder(name)).as_posix() for p in cards.folder(name).rglob("*") if p.is_file()
        }
        assert found == listed | {cards.CARD}
        assert card["licence"].startswith("Weights: Apache-2.0") and card["data"] and card["title"]
        assert {"log.json"} < listed and card["training"]["cpu_seconds"] > 0
        assert set(card["uses"]) <= set(cards.names())
        size += sum(file["bytes"] for file in card["files"].values())
    assert set(cards.names()) <= set(MODULES) == set(READERS) == set(recipe_names("zoo"))
    assert 0 < size <= LIMIT


@pytest.mark.parametrize("name", cards.names())
def test_a_model_beats_what_is_trivial_by_the_factor_that_it_states(name: str) -> None:
    scores = [Score.from_json(fields) for fields in cards.card(cards.folder(name))["scores"]]
    assert any(score.factor > 1.0 for score in scores)
    for score in scores:
        assert score.low <= score.value <= score.high
        assert score.ok, score


@pytest.mark.parametrize("name", cards.names())
def test_the_card_has_the_settings_of_the_recipe(name: str) -> None:
    recipes = maker_of(name).recipes
    recipe, _ = recipes.load(recipes.find(name), False)
    assert cards.card(cards.folder(name))["recipe"] == json.loads(recipes.resolved(recipe))


@pytest.mark.parametrize("name", cards.names())
def test_the_training_log_falls(name: str) -> None:
    log = json.loads((cards.folder(name) / "log.json").read_text(encoding="utf-8"))
    steps = cards.card(cards.folder(name))["training"]["steps"]
    assert log["step"][-1] == steps and len(log["step"]) == len(log["mean_loss"])
    assert np.mean(log["mean_loss"][-5:]) < 0.8 * log["mean_loss"][0]


# -- loading


def test_the_classifier_loads_in_one_line() -> None:
    network = pretrained.zoo("mnist-classifier")
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    reference = digit_features()
    # 50 of each class, in order: the head reads the class from the features that are shipped.
    classes = network.head(torch.relu(reference)).argmax(dim=1)
    assert float((classes == torch.arange(10).repeat_interleave(50)).double().mean()) > 0.95
    assert reference.shape == digit_features("train").shape == (500, 64)


def test_a_grey_image_reads_the_same_in_three_channels_and_with_a_border() -> None:
    network = pretrained.zoo("mnist-classifier")
    image = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    bordered = torch.nn.functional.pad(image, (2,) * 4).expand(-1, 3, -1, -1)
    assert torch.allclose(network(image), network(bordered), atol=1e-5)


def test_the_masked_model_fills_in_sudoku() -> None:
    given = puzzles(8, 40, torch.Generator().manual_seed(1))
    filled = greedy(pretrained.zoo("masked-lm"), given)
    assert bool(((given == EMPTY) | (given == filled)).all()) and not bool((filled == EMPTY).any())
    assert float(solved(filled).double().mean()) > 0.85


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The classifier alone, in a zoo of its own."""
    shutil.copytree(cards.folder("mnist-classifier"), tmp_path / "mnist-classifier")
    monkeypatch.setattr(cards, "root", lambda: tmp_path)
    return tmp_path / "mnist-classifier"


def one_line(name: str = "mnist-classifier") -> str:
    with pytest.raises(cards.ZooError) as told:
        pretrained.zoo(name)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_a_damaged_file_is_one_line(copied: Path) -> None:
    content = bytearray((copied / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copied / "model.safetensors").write_bytes(content)
    assert "model.safetensors is damaged or of another version (expected sha256" in one_line()


def test_a_missing_file_is_one_line(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    assert "model.safetensors is missing: install driftproof again" in one_line()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "has format 2, and this version reads 1"),
        ({"format": None}, "has format None"),
        ({"files": 3}, "digests are missing, or it is the card of another model"),
        ({"files": {}}, "is not in card.json"),
        ({"name": "mnist-sd"}, "the card of another model"),
    ],
)
def test_another_card_is_one_line(copied: Path, change: dict[str, Any], says: str) -> None:
    card = json.loads((copied / cards.CARD).read_text(encoding="utf-8"))
    (copied / cards.CARD).write_text(json.dumps({**card, **change}), encoding="utf-8")
    assert says in one_line()


@pytest.mark.parametrize("text", ["", "{", "[" * 10_000, "[]", "null", "\x00"])
def test_a_card_that_is_no_card_is_one_line(copied: Path, text: str) -> None:
    (copied / cards.CARD).write_text(text, encoding="utf-8")
    assert "card.json" in one_line()


def test_an_unknown_model_is_one_line_with_the_nearest_name() -> None:
    assert "no model 'mnist-clasifier' (did you mean 'mnist-classifier'?" in one_line("mnist-clasifier")
    assert "no model '../zoo'" in one_line("../zoo")


# -- attributes and captions


def test_thickness_is_the_width_of_a_long_bar() -> None:
    for width in (1, 2, 4):
        bar = torch.zeros(1, 1, 400, 40)
        bar[..., 5:395, 10 : 10 + width] = 1.0
        # 2 area / outline = 2 w l / (2 l + 2 w), which tends to w.
        assert float(thickness(bar)) == pytest.approx(width / (1.0 + width / 390.0), rel=1e-5)


def test_slant_is_the_shear_and_does_not_see_where_the_digit_is() -> None:
    for shear in (-1, 0, 1):
        image = torch.zeros(1, 1, 41, 41)
        for row in range(10, 30):
            image[0, 0, row, 20 - shear * (row - 20) : 22 - shear * (row - 20)] = 0.7
        assert float(slant(image)) == pytest.approx(shear, abs=1e-5)
        assert float(slant(image.roll((3, -2), (2, 3)))) == pytest.approx(shear, abs=1e-4)


def test_an_empty_image_has_attributes() -> None:
    empty = torch.zeros(1, 3, 28, 28, requires_grad=True)
    for attribute in (thickness, slant):
        value = attribute(empty)
        assert value.tolist() == [0.0]
        (slope,) = torch.autograd.grad(value.sum(), empty)
        assert bool(torch.isfinite(slope).all())


def test_every_caption_is_words_of_the_tokenizer() -> None:
    words = tokenizer()
    seen = set()
    for digit, thick, slanted in itertools.product(range(10), range(3), range(3)):
        text = caption(digit, thick, slanted)
        ids = words(text).input_ids
        assert len(ids) <= LENGTH
        tokens = words.convert_ids_to_tokens(ids)[1:-1]
        assert [token.removesuffix("</w>") for token in tokens] == text.replace(",", " ,").split()
        seen.add(tuple(ids))
    assert len(seen) == 90
    assert CLASSES[3] in caption(3, 0, 1)


# -- sudoku


def test_the_grids_are_all_288_and_parted() -> None:
    seen, unseen = grids()
    together = {tuple(row) for row in torch.cat([seen, unseen]).tolist()}
    assert len(together) == len(seen) + len(unseen) == 288
    assert bool(solved(torch.cat([seen, unseen])).all())
    assert len(UNITS) == 12 and all(sum(cell in unit for unit in UNITS) == 3 for cell in range(16))
    wrong = seen.clone()
    wrong[:, 0] = (wrong[:, 0] + 1) % 4
    assert not bool(solved(wrong).any())


def test_puzzles_keep_as_many_clues_and_guesses_keep_the_clues() -> None:
    generator = torch.Generator().manual_seed(0)
    given = puzzles(5, 64, generator)
    assert (given != EMPTY).sum(dim=1).tolist() == [5] * 64
    guess = _guessed(given, generator)
    assert bool(((given == EMPTY) | (given == guess)).all()) and int(guess.max()) < EMPTY


# -- making


def test_a_model_is_made_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    first = retrain("masked-lm", tmp_path / "masked-lm", smoke=True)
    card = cards.verified(tmp_path / "masked-lm")
    assert [Score.from_json(fields) for fields in card["scores"]] == first
    before = (tmp_path / "masked-lm" / "model.safetensors").read_bytes()
    assert retrain("masked-lm", tmp_path / "masked-lm", smoke=True) == first
    assert (tmp_path / "masked-lm" / "model.safetensors").read_bytes() == before


def test_an_unknown_recipe_or_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'masked-lm'"):
        maker_of("maskd-lm")
    with pytest.raises(RecipeError, match=r"unknown key 'plan\.steps'"):
        retrain("masked-lm", tmp_path / "x", changes=["plan.steps=3"])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(MODULES) - {"masked-lm"}))
def test_every_recipe_runs(name: str, tmp_path: Path) -> None:
    pytest.importorskip("arch" if name.startswith("market") else "mlxtend")
    for score in retrain(name, tmp_path / name, smoke=True):
        assert np.isfinite(score.value) and score.baseline > 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", cards.names())
def test_a_model_scores_what_its_card_says(name: str) -> None:
    pytest.importorskip("arch" if name.startswith("market") else "mlxtend")
    stated = [Score.from_json(fields) for fields in cards.card(cards.folder(name))["scores"]]
    for old, new in zip(stated, maker_of(name).evaluate(cards.folder(name)), strict=True):
        assert old.name == new.name and new.ok
        assert old.low <= new.value <= old.high


# -- the command


def driftproof(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, ["models", *arguments])


def test_the_command_lists_and_shows() -> None:
    for listed in (driftproof(), driftproof("list")):
        assert listed.exit_code == 0 and all(name in listed.output for name in cards.names())
    shown = driftproof("show", "mnist-classifier")
    assert shown.exit_code == 0 and "licence: Weights: Apache-2.0" in shown.output
    card = json.loads(driftproof("show", "mnist-classifier", "--json").output)
    assert card == cards.card(cards.folder("mnist-classifier"))


def test_the_command_refuses_what_it_does_not_know() -> None:
    assert isinstance(driftproof("show", "mnist").exception, cards.ZooError)
    assert isinstance(driftproof("retrain", "mnist").exception, RecipeError)


def test_the_command_retrains(tmp_path: Path) -> None:
    done = driftproof("retrain", "masked-lm", "--smoke", "--out", str(tmp_path))
    assert done.exit_code == 0 and "shows that it runs, not what it finds" in done.output
    assert cards.verified(tmp_path / "masked-lm")["training"]["steps"] == 2
    changes = [f"--set={change}" for change in ("plan.max_steps=1", "layers=1", "width=8")]
    short = driftproof("retrain", "masked-lm", *changes, "--out", str(tmp_path / "short"))
    assert short.exit_code == 1, "one step beats nothing"
