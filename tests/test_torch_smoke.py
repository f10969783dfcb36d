"""Every trainer's smoke run trains what it says: the report's own interval of the change lies on one side of 0."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for needed in ("accelerate", "diffusers", "peft", "transformers"):
    pytest.importorskip(needed)

from driftproof import UnmetHypothesis
from driftproof.backends.torch.kit.changes import LEVEL, Change, change_metrics, change_table, loss_section

# -- changes


def test_a_paired_change_takes_out_what_rows_differ_in() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(0.0, 100.0, 50)
    after = before + 1.0 + rng.normal(0.0, 0.1, 50)
    found = Change.paired("loss", before, after)
    assert found.rises and not found.falls and found.half_width < 0.1
    assert found.difference == pytest.approx(found.after - found.before)
    assert Change.paired("loss", after, before).falls


def test_the_interval_along_a_series_covers_as_often_as_it_says() -> None:
    """Of 3,000 series without a trend, at most 1 % and five binomial deviations are called a fall or a rise."""
    rng, count = np.random.default_rng(0), 3000
    found = [Change.along("loss", rng.normal(size=40)) for _ in range(count)]
    called = sum(change.falls or change.rises for change in found)
    expected = (1.0 - LEVEL) * count
    assert abs(called - expected) < 5.0 * expected**0.5
    assert Change.along("loss", rng.normal(size=40) - np.arange(40.0)).falls


def test_what_has_no_interval_is_refused() -> None:
    for before, after in (([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([1.0, np.nan], [1.0, 2.0])):
        with pytest.raises(UnmetHypothesis, match="two rows or more"):
            Change.paired("loss", before, after)
    for series in (np.ones(7), np.ones((8, 2)), [*np.ones(8), np.inf]):
        with pytest.raises(UnmetHypothesis, match="eight steps or more"):
            Change.along("loss", series)


def test_losses_too_short_to_tell_are_left_out() -> None:
    assert loss_section({"a": np.ones(7)}) == []
    (found,) = loss_section({"a": np.ones(7), "b": np.arange(16.0)[::-1]})
    assert [row[0] for row in found["tables"][0]["rows"]] == ["b: training loss"] == list(found["metrics"])


def test_a_change_is_a_row_and_numbers() -> None:
    found = Change.paired("loss of 2 rows", [3.0, 5.0], [1.0, 3.0])
    table = change_table("Before and after.", [found])
    assert table["rows"] == [["loss of 2 rows", "4", "2", "-2 ± 0"]]
    assert change_metrics([found])["loss of 2 rows"]["difference"] == -2.0


# -- smoke runs

RUNS = [
    ("reward_gap", "ddpo-sd15", "DDPO on mnist-sd, for thickness: reward", True),
    ("score_as_action", "sd15", "Actor and critic on mnist-sd, for thickness: ppo: reward", True),
    ("adjoint", "sit-xl-2", "mnist-sit, tuned for thickness: reward", True),
    ("adjoint", "sit-xl-2", "mnist-sit, tuned for thickness: objective", False),
    ("tweedie", "prices", "Daily S&P 500 prices: VP: training loss", False),
    ("tweedie", "prices", "Daily S&P 500 prices: GBM: training loss", False),
    ("tweedie", "prices", "Daily S&P 500 prices: CIR: training loss", False),
    ("opd", "sums-in-steps", "On-policy distillation on sums in steps", False),
    ("csdm", "digits", "Handwritten digits: m = 32: training loss", False),
    ("csdm", "digits", "Handwritten digits: m = 64: training loss", False),
    ("transfer", "shifts", "Transfer against direct learning", False),
]


def smoke(paper: str, config: str, folder: Path) -> dict[str, Any]:
    """The numbers of the smoke run of a recipe, which is made once."""
    out = folder / f"{paper}-{config}"
    if not (out / "metrics.json").exists():
        room = importlib.import_module(f"driftproof.backends.torch.{paper}")
        file = importlib.import_module(f"driftproof.backends.torch.{paper}.config").RECIPES.find(config)
        room.main(file, smoke=True, out=out)
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("smoke")


@pytest.mark.slow
@pytest.mark.parametrize(("paper", "config", "what", "rises"), RUNS)
def test_a_smoke_run_trains_what_it_says(paper: str, config: str, what: str, rises: bool, runs: Path) -> None:
    metrics = smoke(paper, config, runs)
    changes = [Change(what=name, **metrics[name]) for name in metrics if name.startswith(what)]
    assert changes
    for found in changes:
        assert found.rises if rises else found.falls, found
