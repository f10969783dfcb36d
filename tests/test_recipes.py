"""The recipes that are shipped: listed, found by name, printed whole, changed from the command line."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
for needed in ("accelerate", "diffusers", "peft", "transformers"):
    pytest.importorskip(needed)

from accelerate import Accelerator

from driftproof import cli
from driftproof.backends.torch.kit.entry import SMOKE, Paper
from driftproof.backends.torch.kit.identity import identity_of
from driftproof.backends.torch.kit.recipe import RecipeError, Recipes
from driftproof.backends.torch.recipes import changed, find, names, read, shipped
from driftproof.backends.torch.recipes.shipped import ZOO
from driftproof.validation.documents import FORMATS
from driftproof.validation.papers import PAPERS
from tests.test_cli import without

TRAINED = [paper for paper in PAPERS if names(paper)]
SHIPPED = [(paper, name) for paper in TRAINED for name in names(paper)]


def recipes_of(paper: str) -> Recipes[Any]:
    made: Recipes[Any] = importlib.import_module(f"driftproof.backends.torch.{paper}.config").RECIPES
    return made


def driftproof(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, arguments)
    if done.exception is not None:
        raise done.exception
    return done.stdout


# -- what is shipped


def test_every_paper_with_a_config_has_recipes() -> None:
    assert set(TRAINED) == {
        "tweedie",
        "opd",
        "reward_gap",
        "transfer",
        "adjoint",
        "score_as_action",
        "csdm",
        "rich_po",
        "diffpo",
        "art",
        "doob",
    }
    for paper in TRAINED:
        assert recipes_of(paper).paper == paper
        assert set(recipes_of(paper).packaged_names) <= set(names(paper))


@pytest.mark.parametrize(("paper", "name"), SHIPPED)
@pytest.mark.parametrize("smoke", [False, True])
def test_a_whole_recipe_can_be_fed_back(paper: str, name: str, smoke: bool, tmp_path: Path) -> None:
    recipes = recipes_of(paper)
    recipe, _ = recipes.load(recipes.find(name), smoke)
    again = tmp_path / "again.json"
    again.write_text(recipes.resolved(recipe), encoding="utf-8")
    assert recipes.load(again, smoke=False)[0] == recipe
    assert recipes.resolved(recipes.load(again, smoke=False)[0]) == again.read_text(encoding="utf-8")


@pytest.mark.parametrize(("paper", "name"), SHIPPED)
def test_what_a_recipe_needs_is_what_it_resolves_to(paper: str, name: str) -> None:
    """The list is read from the tables alone, without torch: defaults must not be forgotten there."""
    (listed,) = (one for one in shipped(paper) if one.name == name)
    for smoke, needs in ((False, listed.needs), (True, listed.smoke_needs)):
        recipe, _ = recipes_of(paper).load(find(paper, name), smoke)
        assert recipe.title == listed.title or smoke
        expected: set[str] = set()
        if (pipeline := getattr(recipe, "pipeline", None)) is not None:
            expected |= {pipeline.name, pipeline.vae if pipeline.name else "", pipeline.prompt_file}
            for reward in (recipe.reward, getattr(recipe, "second", recipe.reward)):
                expected |= {reward.model, reward.head} if reward.kind in ("clip", "aesthetic") else set()
        if (published := getattr(recipe, "published", None)) is not None:
            expected |= {published.student, published.teacher, published.dataset}
        if (pairs := getattr(recipe, "pairs", None)) is not None:
            expected.add(pairs.table)
        expected = {name for name in expected if not name.startswith(ZOO)}  # comes with the package
        assert set(needs) == {*expected, getattr(recipe, "pretrained", "")} - {""}
        if smoke and name in recipes_of(paper).packaged_names:
            assert not needs, "the smoke run of the command needs no download"


@pytest.mark.parametrize("paper", TRAINED)
def test_the_schema_knows_every_key_of_the_files(paper: str) -> None:
    schema = json.loads(driftproof("recipes", "--schema", paper))
    assert schema["additionalProperties"] is False
    assert "title" in schema["required"] and "name" not in schema["required"]
    for name in names(paper):
        assert set(read(find(paper, name))) <= set(schema["properties"])
        assert set(schema["required"]) <= set(read(find(paper, name)))
    assert "smoke" in schema["properties"]


def test_the_schema_has_the_ranges() -> None:
    budget = json.loads(driftproof("recipes", "--schema", "reward_gap"))["$defs"]["Budget"]["properties"]
    assert (budget["level"]["exclusiveMinimum"], budget["level"]["exclusiveMaximum"]) == (0, 1)
    assert budget["ratio"]["enum"] == ["sum", "mean"]
    assert budget["epochs"] == {"exclusiveMinimum": 0, "title": "Epochs", "type": "integer"}


def test_the_command_lists_them(tmp_path: Path) -> None:
    table = driftproof("recipes", "--json", str(tmp_path / "recipes.json"))
    document = json.loads((tmp_path / "recipes.json").read_text(encoding="utf-8"))
    assert document["format"] == FORMATS["recipes"]
    assert [(one["paper"], one["name"]) for one in document["recipes"]] == SHIPPED
    for one in document["recipes"]:
        assert set(one) == {"paper", "name", "title", "needs", "smoke_needs", "gpu"}
        assert one["name"] in table and one["gpu"] == bool(one["needs"])
    assert "stable-diffusion-v1-5/stable-diffusion-v1-5" in table
    with pytest.raises(LookupError, match=r"no recipe for 'twedie'.*did you mean tweedie"):
        driftproof("recipes", "--schema", "twedie")


@pytest.mark.slow(ci=True)
def test_they_are_listed_without_torch(tmp_path: Path) -> None:
    done = without("torch", tmp_path, "recipes", "--json", "-")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [(one["paper"], one["name"]) for one in document["recipes"]] == SHIPPED
    done = without("torch", tmp_path, "recipes", "--schema", "csdm")
    assert done.returncode == 2 and "torch is not installed" in done.stderr


# -- found by name


def test_a_recipe_is_found_by_its_name_or_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("tweedie", "digits") == find("tweedie", "digits.toml")
    assert find("tweedie", "digits").read_text(encoding="utf-8").startswith('title = "Handwritten digits"')
    Path("digits.toml").write_text("title = 'mine'", encoding="utf-8")
    assert find("tweedie", "digits.toml") == Path("digits.toml"), "a file that is there comes first"
    with pytest.raises(RecipeError, match=r"digts: neither a file nor .*.did you mean 'digits'\? There are"):
        find("tweedie", "digts")
    with pytest.raises(RecipeError, match=r"there are arithmetic, qwen3-8b, sums-in-steps\)"):
        find("opd", "somewhere/else.toml")
    with pytest.raises(RecipeError, match="neither a file nor a recipe"):
        find("opd", "../csdm/digits")


# -- values set


def test_values_are_set_before_the_recipe_is_checked() -> None:
    recipes = recipes_of("opd")
    path = recipes.find("arithmetic")
    changes = ["distillation.max_steps=7", 'method.1.advantage = "plus"', "seeds=[3, 4]", "clip=5"]
    recipe, tables = recipes.load(path, True, changes)
    assert recipe.distillation is not None
    assert (recipe.distillation.max_steps, recipe.seeds, recipe.clip) == (7, (3, 4), 5.0)
    assert [one.advantage for one in recipe.method[:3]] == ["sg", "plus", "sg"]
    assert recipe.teacher.width == recipes.load(path, True)[0].teacher.width, "the rest of [smoke] stays"
    assert tables["distillation"]["max_steps"] == 7
    here, there = (identity_of(plan=one.distillation).length for one in (recipe, recipes.load(path, True)[0]))
    assert (here, there) == ({"plan.max_steps": 7}, {"plan.max_steps": 60})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("distillation.mx_steps=7", r"unknown key 'distillation.mx_steps' \(did you mean 'max_steps'\?\)"),
        ("distilation.steps=7", r"unknown key 'distilation' \(did you mean 'distillation'\?\)"),
        ("method.1.advantage='gs'", r"method.1.advantage: expected one of .*, got 'gs'"),
        ("method.9.advantage='sg'", "expected the number of an item below 6, got '9'"),
        ("method.one.advantage='sg'", "expected the number of an item below 6, got 'one'"),
        ("title.short='x'", "expected a table above 'short', got 'On-policy"),
        ("distillation.max_steps=seven", "expected KEY=VALUE, the value as in TOML"),
        ("distillation.max_steps", "expected KEY=VALUE"),
        ("=7", "expected KEY=VALUE"),
        ("a..b=7", "expected KEY=VALUE"),
        ("clip=1\nseeds=[1]", "expected KEY=VALUE"),
        ("clip=" + "[" * 20000, "expected KEY=VALUE"),
        ("digits=1979-05-27", r"--set digits.* expected text, a number, true or false, got datetime.date"),
        ("digits=99999999999", r"expected a number up to 2\^31 - 1"),
        ("clip=nan", "clip: expected a finite number, got nan"),
        ("smoke.clip=1.0", r"unknown key 'smoke'"),
        ("student_training.seed=3", "student_training: expected no seed of its own"),
    ],
)
def test_values_that_cannot_be_set_are_told(change: str, says: str) -> None:
    recipes = recipes_of("opd")
    with pytest.raises(RecipeError, match=says) as told:
        recipes.load(recipes.find("arithmetic"), True, [change])
    assert "\n" not in str(told.value) and len(str(told.value)) < 500


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": [1, null]}', r"a\.1: expected text, a number, true or false, got None"),
        ("[1]", r"expected a table, got \[1\]"),
        ("{'a': 1}", "property name enclosed in double quotes"),
        ("[" * 100000, "nested more deeply than can be read"),
        ('{"a": ' * 20 + "1" + "}" * 20, "nested more than 16 deep"),
    ],
)
def test_json_that_is_no_recipe(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=says) as told:
        read(tmp_path / "x.json")
    assert "\n" not in str(told.value)


def test_tables_are_not_changed_in_place() -> None:
    tables = {"a": {"b": [1, 2]}}
    assert changed(tables, ["a.b.0=5", "c=1"]) == {"a": {"b": [5, 2]}, "c": 1}
    assert tables == {"a": {"b": [1, 2]}}


def test_the_report_and_the_run_see_what_was_set(tmp_path: Path) -> None:
    seen: list[Any] = []

    def run(recipe: Any, out: Path, accelerator: Accelerator) -> list[Any]:
        seen.append(recipe)
        return [{"summary": "done.", "tables": [], "figures": []}]

    recipes = recipes_of("tweedie")
    changes = ["training.max_steps=7", "seeds=[5]"]
    Paper(recipes, run)(recipes.find("digits"), True, tmp_path, changes)
    assert (seen[0].training.max_steps, seen[0].plan(5).seed, seen[0].seeds) == (7, 5, (5,))
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["summary"] == SMOKE, "a smoke run finds nothing"
    meta = report["meta"]
    assert meta["seed"] == [[5]]
    assert meta["recipes"]["Handwritten digits"]["training"]["max_steps"] == 7


# -- the command


def test_the_command_prints_the_whole_recipe_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = driftproof(
        "train", "csdm", "--config", "digits", "--set", "training.max_steps=3", "--show-config"
    )
    tables = json.loads(shown)
    assert (tables["training"]["max_steps"], tables["training"]["max_grad_norm"], tables["name"]) == (
        3,
        1.0,
        "digits",
    )
    assert not list(tmp_path.iterdir()), "nothing was run or written"
    Path("mine.json").write_text(shown, encoding="utf-8")
    assert driftproof("train", "csdm", "--config", "mine.json", "--show-config") == shown
    small = json.loads(driftproof("train", "csdm", "--config", "digits", "--smoke", "--show-config"))
    assert small["dimensions"] == [32] and "smoke" not in small
    with pytest.raises(RecipeError, match=r"no table \[smoke\]"):  # it would be the full run
        driftproof("train", "csdm", "--config", "mine.json", "--smoke", "--show-config")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", "gausian"], "did you mean 'gaussian'"),
        (["--smoke", "--show-config"], "--set and --show-config are about one recipe"),
        (["--smoke", "--set", "a=1"], "--set and --show-config are about one recipe"),
        ([], "one of ddpo-sd15, flow-grpo-sd3, gaussian, mixgrpo-flux"),
        (["--config", "gaussian", "--set", "budget.epoch=1", "--show-config"], "did you mean 'epochs'"),
    ],
)
def test_the_command_tells_what_it_expects(arguments: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        driftproof("train", "reward_gap", *arguments)
