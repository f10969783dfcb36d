"""Precision, recall, density, coverage and the Vendi score: against laws for which they are known."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

pytest.importorskip("torch")

from driftproof import UnmetHypothesis
from driftproof.backends.torch.score_models.feature_coverage import (
    Coverage,
    coverage,
    expected_coverage,
    vendi_score,
)


def slow(x: np.ndarray, y: np.ndarray, k: int) -> Coverage:
    """By the definition, ball by ball."""

    def ball(rows: np.ndarray, i: int) -> float:
        return sorted(float(np.linalg.norm(rows[i] - other)) for other in np.delete(rows, i, axis=0))[k - 1]

    real = np.array([[np.linalg.norm(a - y[i]) <= ball(y, i) for i in range(len(y))] for a in x])
    sampled = np.array([[np.linalg.norm(b - x[j]) <= ball(x, j) for j in range(len(x))] for b in y])
    shares = real.any(axis=1).mean(), sampled.any(axis=1).mean()
    return Coverage(*map(float, shares), float(real.sum()) / (k * len(x)), float(real.any(axis=0).mean()))


@pytest.mark.parametrize("k", [1, 3])
def test_they_are_what_their_definitions_count(k: int) -> None:
    rng = np.random.default_rng(k)
    x, y = rng.normal(0.3, 0.8, size=(14, 2)), rng.normal(size=(17, 2))
    assert astuple(coverage(x, y, k)) == pytest.approx(astuple(slow(x, y, k)))
    assert coverage(x, y, k).precision == coverage(y, x, k).recall


@pytest.mark.parametrize("law", ["normal", "cauchy"])
def test_of_one_law_density_and_coverage_are_what_chance_gives(law: str) -> None:
    """Whatever the law: even one without a mean."""
    rng, runs, n, m, k = np.random.default_rng(0), 1500, 12, 20, 3
    draw = {"normal": rng.standard_normal, "cauchy": rng.standard_cauchy}[law]
    found = [coverage(draw((n, 2)), draw((m, 2)), k) for _ in range(runs)]
    for values, mean in (
        ([c.density for c in found], 1.0),
        ([c.coverage for c in found], expected_coverage(n, m, k)),
    ):
        assert abs(np.mean(values) - mean) <= 5.0 * np.std(values) / np.sqrt(runs)
    assert 0.6 < expected_coverage(n, m, k) < 0.9, "neither end, where any formula would be right"


def test_a_mode_that_is_missed_lowers_recall_and_coverage_and_not_precision() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(200, 4)) + 100.0 * (np.arange(200) % 2)[:, None]
    found = coverage(rng.normal(size=(200, 4)), y)
    assert found.precision > 0.9 and found.recall <= 0.5 and found.coverage <= 0.5
    far = coverage(rng.normal(size=(200, 4)) - 1000.0, y)
    assert astuple(far) == (0.0, 0.0, 0.0, 0.0)


def test_copies_of_one_row_have_precision_and_little_else() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(200, 4))
    found = coverage(np.repeat(y[:1], 200, axis=0), y)
    assert found.precision == 1.0 and found.recall == 1.0 / 200.0 and found.coverage < 0.2
    noise = coverage(rng.normal(size=(200, 4)), y)
    assert noise.precision > 0.9, "so precision does not tell them apart, and coverage does"
    assert noise.coverage > 0.9


def test_they_do_not_see_how_features_are_turned_or_scaled() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.3, 0.8, size=(50, 3)), rng.normal(size=(60, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert coverage(4.0 * x @ turn + 1.0, 4.0 * y @ turn + 1.0) == coverage(x, y)
    assert vendi_score(4.0 * x @ turn) == pytest.approx(vendi_score(x), rel=1e-12)


@pytest.mark.parametrize(("shift", "all_seen"), [(1.0, True), (0.05, False)])
def test_two_hundred_rows_see_one_deviation_and_not_a_twentieth(shift: float, all_seen: bool) -> None:
    """The detectable effect in 8 features, with coverage: below the least of twenty draws of the law itself."""
    rng = np.random.default_rng(0)

    def of(shift: float) -> float:
        return coverage(rng.normal(shift, size=(200, 8)), rng.normal(size=(200, 8))).coverage

    floor = min(of(0.0) for _ in range(20))
    seen = sum(of(shift) < floor for _ in range(10))
    assert seen == 10 if all_seen else seen <= 5


def test_the_vendi_score_counts_directions() -> None:
    assert vendi_score(np.repeat([[1.0, 2.0]], 5, axis=0)) == pytest.approx(1.0, rel=1e-12)
    for groups in (1, 3, 7):
        assert vendi_score(np.tile(np.eye(groups), (4, 1))) == pytest.approx(groups, rel=1e-12)
    for cosine in (-0.6, 0.0, 0.8):
        rows = np.array([[1.0, 0.0], [cosine, np.sqrt(1.0 - cosine**2)]])
        shares = np.array([1.0 + cosine, 1.0 - cosine]) / 2.0
        assert vendi_score(rows) == pytest.approx(np.prod(shares**-shares), rel=1e-12)


def test_what_cannot_be_counted_is_refused() -> None:
    rows = np.ones((4, 2))
    for x, y, k in ((rows, rows[:, :1], 1), (rows, rows, 4), (rows, rows, 0), (rows[0], rows, 1)):
        with pytest.raises(UnmetHypothesis):
            coverage(x, y, k)
    with pytest.raises(UnmetHypothesis, match="no row of zeros"):
        vendi_score(np.zeros((2, 2)))
    with pytest.raises(UnmetHypothesis, match="finite features"):
        vendi_score(np.array([[np.nan, 1.0]]))
