"""Recipes, data, metrics and the whole run of ``driftproof train tweedie``."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from driftproof import UnmetHypothesis
from driftproof.backends.torch.kit.recipe import RecipeError
from driftproof.backends.torch.score_models.data import Data, DataRecipe, _paths, _split, load, vix
from driftproof.backends.torch.score_models.metrics import (
    HeldOut,
    average,
    clustering,
    compare,
    mmd2,
    resample,
    w1,
)
from driftproof.backends.torch.tweedie import main
from driftproof.backends.torch.tweedie.config import RECIPES, EnergiesRecipe
from driftproof.backends.torch.tweedie.energies import compare_estimators
from driftproof.backends.torch.tweedie.market_fit import forecasts

RECIPE = """
title = "Toy"
seeds = [0, 1]

[data]
name = "file"
path = "{path}"
held_out = 0.4

[network]
width = 16
depth = 1

[training]
max_steps = 30
train_batch_size = 32
learning_rate = 1e-3
save_steps = 10

[sampling]
steps = 8
count = 60
replicates = 5
oracle_points = 8

[[process]]
name = "VP"

[[process]]
name = "GBM"
mu = 0.5
sigma = 1.0

[[process]]
name = "CIR"
kappa = 1.0
theta = 1.0
sigma = 1.0

[laws.training]
max_steps = 20
train_batch_size = 32
learning_rate = 1e-3

[smoke]
seeds = [0]
training = {{ max_steps = 20 }}
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).lognormal(0.0, 0.5, size=(120, 3))
    np.save(tmp_path / "rows.npy", rows)
    file = tmp_path / "toy.toml"
    file.write_text(RECIPE.format(path=tmp_path / "rows.npy"))
    return file


@pytest.mark.slow(ci=True)
def test_a_run_leaves_a_report_metrics_samples_and_checkpoints(
    toy: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out = tmp_path / "out"
    main(toy, False, out)
    report = json.loads((out / "report.json").read_text())
    assert set(report) == {"format", "title", "paper", "summary", "tables", "figures", "meta"}
    assert (report["title"], report["paper"]) == ("Toy", "tweedie")
    for table in report["tables"]:
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert [row[0] for row in report["tables"][0]["rows"]] == ["floor: training rows", "VP", "GBM", "CIR"]
    assert all(figure["svg"].startswith("<svg") for figure in report["figures"])
    assert {"seed", "versions", "seconds"} <= set(report["meta"])
    metrics = json.loads((out / "metrics.json").read_text())
    for name in ("vp", "gbm", "cir"):
        rows = np.load(out / "samples" / f"toy-{name}.npy", allow_pickle=False)
        assert rows.shape == (60, 3)
        assert np.isfinite(rows).all()
        assert (out / "checkpoints" / f"toy-{name}-1.safetensors").is_file()
    # Again: nothing is trained, and every number is the same.
    request.getfixturevalue("undrawn")
    main(toy, False, out)
    again = json.loads((out / "metrics.json").read_text())
    assert again["toy"] == metrics["toy"]
    assert again["toy-laws"] == metrics["toy-laws"]
    assert not list(out.rglob(".*.part"))


def test_smoke_is_the_same_recipe_on_a_smaller_budget(toy: Path) -> None:
    full, small = (RECIPES.load(toy, smoke)[0] for smoke in (False, True))
    assert (full.training.max_steps, small.training.max_steps) == (30, 20)
    assert (full.seeds, small.seeds) == ((0, 1), (0,))
    assert full.process == small.process
    assert small.training.train_batch_size == full.training.train_batch_size


def test_the_packaged_recipes_are_complete_and_compare_on_equal_terms() -> None:
    assert [path.stem for path in RECIPES.packaged()] == ["digits", "prices", "variance"]
    for path in RECIPES.packaged():
        for smoke in (False, True):
            recipe, _ = RECIPES.load(path, smoke)
            assert {process.name for process in recipe.process} == {"VP", "GBM", "CIR"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "GBM"', 'name = "OU"', "process.1.name: expected one of 'VP', 'GBM', 'CIR', got 'OU'"),
        ("kappa = 1.0\n", "", "missing key 'process.2.kappa'"),
        ("kappa = 1.0", "kapa = 1.0", "unknown key 'process.2.kapa' (did you mean 'kappa'?)"),
        ("kappa = 1.0", "kappa = -1.0", "process.2.kappa: expected > 0, got -1.0"),
        ("max_steps = 30", 'max_steps = "30"', "training.max_steps: expected an integer, got '30'"),
        ("max_steps = 30", "max_steps = 0", "training.max_steps: expected > 0, got 0"),
        (
            "max_steps = 30",
            "seed = 1\nmax_steps = 30",
            "training: expected no seed of its own, for it is set by seeds = [...]",
        ),
        ("width = 16", "width = 17", "network.width: expected a multiple of 8, got 17"),
        ("width = 16", 'kind = "conv"', "conv needs square images"),
        (
            'name = "file"',
            'name = "sp501"',
            "data.name: expected one of 'prices', 'variance', 'digits' or 'file', got 'sp501'",
        ),
        ("held_out = 0.4", "held_out = 1.4", "data.held_out: expected < 1, got 1.4"),
        ("held_out = 0.4", "held_out = 0.99", "at least 2 training rows"),
        ("[data]", "[dta]", "unknown key 'dta'"),
        ("title =", "title", "Expected '='"),
        ("kappa = 1.0", 'objective = "mean"\nkappa = 1.0', "expected one of 'conditional mean'"),
    ],
)
def test_bad_recipes_are_refused_before_any_work(
    toy: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in toy.read_text()
    toy.write_text(toy.read_text().replace(old, new, 1))
    with pytest.raises((RecipeError, UnmetHypothesis)) as caught:
        main(toy, False, tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.0, "GBM: unmet hypothesis: data > 0"),
        (-1.0, "data > 0"),
        (float("nan"), "rows are finite"),
        (None, "at least 2"),
    ],
)
def test_bad_data_are_refused_before_any_work(
    toy: Path, tmp_path: Path, value: float | None, message: str
) -> None:
    rows = np.load(tmp_path / "rows.npy")
    if value is None:
        rows = rows[:0]
    else:
        rows[100, 1] = value  # a held-out row
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(UnmetHypothesis, match=message):
        main(toy, False, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_arrays_of_reals_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    with pytest.raises(RecipeError, match="no file"):
        load(DataRecipe("file", path=str(path)))
    np.save(path, np.ones((4, 2), dtype=np.int64))
    with pytest.raises(RecipeError, match="expected a real floating array"):
        load(DataRecipe("file", path=str(path)))
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        load(DataRecipe("file", path=str(path)))


@pytest.mark.slow(ci=True)
def test_ctrl_c_ends_with_130_and_the_next_run_goes_on(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    from driftproof.backends.torch.score_models import fit

    calls = iter(range(10**6))
    original = fit.source

    def interrupting(rng: object) -> object:
        if next(calls) == 45:
            os.kill(os.getpid(), signal.SIGINT)
        return original(rng)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "source", interrupting)
        with pytest.raises(SystemExit) as stopped:
            main(toy, False, tmp_path / "out")
    assert stopped.value.code == 130
    assert not (tmp_path / "out" / "report.json").exists()
    main(toy, False, tmp_path / "out")
    main(toy, False, tmp_path / "straight")
    ours, theirs = (
        json.loads((tmp_path / f / "metrics.json").read_text())["toy"] for f in ("out", "straight")
    )
    for side in (ours, theirs):
        for result in side["processes"].values():
            result.pop("seconds")
    assert ours == theirs


def test_no_path_of_the_training_set_shares_a_day_with_one_held_out() -> None:
    recipe = DataRecipe("prices", window=5, trailing=3, held_out=0.3)
    days = np.arange(200.0)
    data = _split("prices", "", _paths(days, recipe), recipe, recipe.window)
    assert data.train.max() < data.held_out.min()
    assert data.train.max() + 1 == data.held_out.min()  # and no day is wasted
    assert data.held_out.max() == 199


def test_prices_and_variances_are_what_the_docstring_says() -> None:
    pytest.importorskip("arch")
    import arch.data.sp500

    frame = arch.data.sp500.load()
    closes, high, low = (frame[c].to_numpy(dtype=float) for c in ("Adj Close", "High", "Low"))
    prices = load(DataRecipe("prices", window=4, trailing=10))
    j = 10  # the close before the first path: 10 returns have been seen
    returns = np.diff(np.log(closes))
    volatility = np.sqrt(np.mean(returns[:10] ** 2))
    expected = (closes[j + 1 : j + 5] / closes[j]) ** (1.0 / (2.0 * volatility * 2.0))
    assert prices.train[0] == pytest.approx(expected)
    squares = prices.squares(prices.train[:1])
    assert squares == pytest.approx((returns[10:14] / (4.0 * volatility)) ** 2 * np.ones((1, 4)))
    variance = load(DataRecipe("variance", window=4, trailing=10))
    parkinson = np.log(high / low) ** 2 / (4.0 * np.log(2.0))
    assert variance.train[0] == pytest.approx(parkinson[10:14] / parkinson[:10].mean())
    assert variance.held_out[-1] == pytest.approx(parkinson[-4:] / parkinson[-14:-4].mean())
    assert prices.train.min() > 0
    assert variance.train.min() > 0


def test_digits_are_images_with_zeros() -> None:
    digits = load(DataRecipe("digits"))
    assert (digits.dimension, digits.side, len(digits.train) + len(digits.held_out)) == (64, 8, 1797)
    assert (digits.train == 0.0).mean() > 0.4


def test_metrics_of_known_pairs() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    assert w1(x, x) == 0.0
    assert w1(x + 1.0, x) == pytest.approx(1.0 / x.std())
    held = HeldOut(x, 1, lambda rows: None)
    shifted = compare(x + 0.3, held, np.random.default_rng(1), replicates=30)
    assert set(shifted) == {"W1", "MMD", "1 % tail", "99 % tail"}
    assert shifted["99 % tail"].value == pytest.approx(0.3 / x.std())
    difference = shifted["W1"] - compare(x, held, np.random.default_rng(1), replicates=30)["W1"]
    assert difference.value == pytest.approx(0.3 / x.std())
    assert average([shifted["W1"], shifted["W1"]]).half_width == pytest.approx(shifted["W1"].half_width)
    with pytest.raises(UnmetHypothesis, match="finite rows"):
        compare(x * np.nan, held, rng)


def test_mmd_is_unbiased() -> None:
    # The mean over 200 pairs from one law is within 5 standard errors of 0 (false alarm 6e-7).
    values = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values.append(mmd2(rng.normal(size=(30, 2)), rng.normal(size=(40, 2))))
    assert abs(np.mean(values)) < 5.0 * np.std(values) / np.sqrt(200)


def test_clustering_and_blocks() -> None:
    rng = np.random.default_rng(0)
    levels = np.repeat(rng.gamma(0.5, size=(5000, 1)), 10, axis=1)
    assert clustering(lambda rows: rows, levels) == pytest.approx(1.0, abs=1e-6)
    assert abs(clustering(lambda rows: rows, rng.gamma(0.5, size=(5000, 10)))) < 0.05
    indices = resample(100, 10, rng)
    assert len(indices) == 100
    assert (np.diff(indices.reshape(10, 10), axis=1) % 100 == 1).all()


@pytest.mark.slow(ci=True)
def test_empirical_bayes_beats_the_unbiased_estimator_on_real_energies() -> None:
    digits = load(DataRecipe("digits"))
    rows = compare_estimators(digits, EnergiesRecipe(blocks=(4,), variances=(25.0,)), replicates=50)
    saving = {row.estimator: row.saving for row in rows}
    assert saving["unbiased X - delta t"].value == 0.0
    for name in ("BESQ Tweedie, spline marginal", "NPMLE of the prior"):
        assert saving[name].value > 5.0 * saving[name].half_width / 1.96
        assert (
            saving[name].value <= saving["Bayes, prior of the held-out truth"].value + saving[name].half_width
        )
    with pytest.raises(UnmetHypothesis, match="blocks divide the image"):
        compare_estimators(digits, EnergiesRecipe(blocks=(3,)))
    with pytest.raises(UnmetHypothesis, match="blocks divide the image"):
        compare_estimators(Data("x", "", digits.train, digits.held_out, 1), EnergiesRecipe())


def test_the_vix_is_fitted_and_forecast() -> None:
    pytest.importorskip("arch")
    fit, results = forecasts(vix(), 0.3, replicates=20)
    assert all(error > 0 for error in fit.errors)
    assert fit.process.theta == pytest.approx(0.024, abs=0.01)
    assert [result.name for result in results] == ["CIR", "Vasicek", "exponential OU"]
    assert results[0].gain.value == 0.0
