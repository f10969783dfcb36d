"""Distances in features: against laws whose distance is known, and what n samples can tell apart."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from driftproof import UnmetHypothesis
from driftproof.backends.torch.score_models.feature_distances import (
    DISTANCES,
    distances,
    frechet_distance,
    kernel_distance,
)


def test_the_frechet_distance_is_that_of_the_moments() -> None:
    """Of samples that are a linear map of each other, with a symmetric map: |m - m'|² + |C½ - C'½|²."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    x = (x - x.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T  # white
    scale, shift = np.array([1.5, 2.0, 0.5]), np.array([1.0, -2.0, 0.0])
    expected = np.sum(shift**2) + np.sum((scale - 1.0) ** 2)
    assert frechet_distance(x, x * scale + shift) == pytest.approx(expected, rel=1e-9)


def test_the_frechet_distance_of_a_sample_from_itself_is_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4))
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-6)


def test_the_kernel_distance_is_unbiased() -> None:
    """Its mean over samples is that of the law: 0 for equal laws, and for other means the closed form."""
    rng = np.random.default_rng(0)
    runs, n, shift = 2000, 8, 1.0
    same = [kernel_distance(rng.normal(size=(n, 1)), rng.normal(size=(n, 1))) for _ in range(runs)]
    other = [kernel_distance(rng.normal(shift, size=(n, 1)), rng.normal(size=(n, 1))) for _ in range(runs)]
    # (xy + 1)³ = x³y³ + 3x²y² + 3xy + 1: the squared differences of the moments, with weights 3, 3, 1.
    moments = {1: shift, 2: shift**2, 3: shift**3 + 3.0 * shift}
    expected = 3.0 * moments[1] ** 2 + 3.0 * moments[2] ** 2 + moments[3] ** 2
    for values, mean in ((same, 0.0), (other, expected)):
        assert abs(np.mean(values) - mean) <= 5.0 * np.std(values) / np.sqrt(runs)


def test_two_hundred_rows_see_half_a_deviation_and_not_a_twentieth() -> None:
    """The detectable effect in 8 features: a shift that is always told from chance, and one that mostly is not."""
    rng = np.random.default_rng(0)
    seen = dict.fromkeys([(name, shift) for name in DISTANCES for shift in (0.05, 0.5)], 0)
    for _ in range(5):
        held, real = rng.normal(size=(200, 8)), rng.normal(size=(200, 8))
        for shift in (0.05, 0.5):
            found = distances(rng.normal(shift, size=(200, 8)), real, held, rng, replicates=12)
            for name, standing in found.items():
                gap = standing.distance - standing.floor
                seen[name, shift] += gap.value > gap.half_width
    assert all(seen[name, 0.5] == 5 for name in DISTANCES)
    assert all(seen[name, 0.05] <= 3 for name in DISTANCES)


@pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.zeros((1, 2)), np.zeros((3, 2))),
        (np.zeros((3, 2)), np.zeros((3, 3))),
        (np.zeros(3), np.zeros(3)),
        (np.full((3, 2), np.nan), np.zeros((3, 2))),
        (np.full((3, 2), np.inf), np.zeros((3, 2))),
    ],
)
def test_what_is_no_pair_of_samples_is_refused(distance, x, y) -> None:
    with pytest.raises(UnmetHypothesis, match="two finite samples"):
        distance(x, y)


def test_a_floor_of_fewer_rows_is_refused() -> None:
    rows = np.random.default_rng(0).normal(size=(10, 2))
    with pytest.raises(UnmetHypothesis, match="as many real rows as samples"):
        distances(rows, rows[:5], rows, np.random.default_rng(0))
