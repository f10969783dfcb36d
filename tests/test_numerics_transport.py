"""Estimated transport maps: what they map to, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from driftproof import UnmetHypothesis
from driftproof.numerics.transport import (
    AffineMap,
    entropic_image,
    fit_assignment,
    fit_entropic,
    fit_gaussian,
    fit_quantile,
    half_step,
)
from driftproof.theory.transfer import gaussian_map_risk

FINITE = st.floats(-100.0, 100.0)


def samples(seed: int, m: int = 30, d: int = 2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, d)), 2.0 * rng.normal(size=(m, d)) + 1.0


# -- quantiles


@given(arrays(np.float64, (12, 1), elements=FINITE), arrays(np.float64, (7, 1), elements=FINITE))
def test_the_quantile_map_is_monotone_and_stays_inside(x, y) -> None:
    if np.unique(x).size < 2:
        with pytest.raises(UnmetHypothesis, match="two different values"):
            fit_quantile(x, y)
        return
    onto = fit_quantile(x, y)
    grid = np.sort(np.concatenate([x, np.linspace(-200.0, 200.0, 101)[:, None]]), axis=0)
    assert (np.diff(onto(grid)[:, 0]) >= -1e-9).all()
    assert onto(x).min() >= y.min() - 1e-12
    assert onto(x).max() <= y.max() + 1e-12


def test_weighted_quantiles_are_those_of_repeated_rows() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(30, 1)), rng.normal(size=(4000, 1))
    a, b = rng.integers(1, 4, size=30), rng.integers(1, 4, size=4000)
    weighted = fit_quantile(x, y, x_weights=a, y_weights=b)
    repeated = fit_quantile(np.repeat(x, a, axis=0), np.repeat(y, b, axis=0))
    assert weighted.cost == pytest.approx(repeated.cost, rel=1e-12)
    # Between order statistics a line is drawn, elsewhere than between repeated rows.
    np.testing.assert_allclose(weighted(x), repeated(x), atol=0.05)
    np.testing.assert_array_equal(np.diff(weighted.images) >= 0, True)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, np.inf], [0.0, 1.0]])
def test_weights_of_quantiles_are_positive(weights: list[float]) -> None:
    with pytest.raises(UnmetHypothesis, match="y_weights"):
        fit_quantile([[0.0], [1.0]], [[0.0], [2.0]], y_weights=weights)


def test_the_quantile_map_follows_the_quantiles_of_the_larger_sample() -> None:
    x, y = np.asarray([[0.0], [1.0]]), np.linspace(0.0, 1.0, 101)[:, None] ** 2
    onto = fit_quantile(x, y)
    # Rank 1/4 + s/2 at s; the sample of y has the quantile function u^2 but for its spacing.
    s = np.linspace(0.0, 1.0, 9)[:, None]
    np.testing.assert_allclose(onto(s), (0.25 + 0.5 * s) ** 2, atol=6e-3)
    far = onto([[-5.0], [7.0]])[:, 0]
    np.testing.assert_allclose(far - np.asarray([-5.0, 7.0]), onto(x)[:, 0] - x[:, 0])


# -- affine


def test_the_affine_map_is_the_same_in_float32_and_on_torch() -> None:
    torch = pytest.importorskip("torch")
    x, y = samples(0)
    onto = fit_gaussian(x, y)
    want = onto(x)
    assert onto(x.astype(np.float32)).dtype == np.float32
    on_torch = onto(torch.tensor(x, dtype=torch.float32))
    assert on_torch.dtype == torch.float32
    np.testing.assert_allclose(on_torch.numpy(), want, rtol=1e-5, atol=1e-5)


def test_samples_show_the_exact_risk_of_the_map() -> None:
    """1e-6 false alarms by the normal approximation; sees 8 % of the risk."""
    m, trials = 20, 40_000
    rng = np.random.default_rng(1)
    x = rng.standard_normal((trials, m))
    inverse, mean = 1.0 / x.std(axis=1, ddof=1), x.mean(axis=1)
    risk = (inverse - 1.0) ** 2 + (mean * inverse) ** 2
    z = (risk.mean() - gaussian_map_risk(m)) / (risk.std(ddof=1) / np.sqrt(trials))
    assert abs(z) < 4.9


def test_weights_are_repeated_rows_up_to_the_bias() -> None:
    x, y = samples(9, m=200)
    counts = np.arange(200) % 3 + 1
    weighted = fit_gaussian(x, y, x_weights=counts)
    repeated = fit_gaussian(np.repeat(x, counts, axis=0), y)
    np.testing.assert_allclose(weighted(x), repeated(x), atol=0.02)
    np.testing.assert_array_equal(
        fit_gaussian(x, y, x_weights=np.full(200, 7.0)).shift, fit_gaussian(x, y).shift
    )


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.asarray([[0.0, 1.0, 2.0], [3.0, 5.0, 4.0]]), "m > d"),
        (np.asarray([[1.0, 0.1], [2.0, 0.1], [4.0, 0.1]]), "first is feature 1"),
        (np.asarray([[1.0, 2.0], [2.0, 4.0], [4.0, 8.0]]), "cov is not singular"),
        (np.asarray([[1.0, np.nan]]), "at least 2 rows"),
        (np.asarray([[1.0, np.nan], [0.0, 1.0]]), "1 of 4"),
        (np.ones((2, 3, 4)), "shape (rows, d)"),
    ],
)
def test_degenerate_samples_have_no_affine_map(x, says: str) -> None:
    with pytest.raises(UnmetHypothesis) as error:
        fit_gaussian(x, x)
    assert says in str(error.value)


def test_shrinkage_makes_a_map_of_few_samples() -> None:
    x, y = samples(3, m=3, d=5)
    onto = fit_gaussian(x, y, shrinkage=0.2)
    assert np.isfinite(onto(x)).all()
    np.testing.assert_allclose(onto(x).mean(axis=0), y.mean(axis=0), atol=1e-12)
    with pytest.raises(UnmetHypothesis, match="0 <= shrinkage < 1"):
        fit_gaussian(x, y, shrinkage=1.0)
    with pytest.raises(UnmetHypothesis, match="points have shape"):
        AffineMap(np.eye(2), np.zeros(2), 0.0)(np.zeros((4, 3)))


# -- plans


def test_a_new_point_takes_the_image_or_the_displacement_of_its_neighbour() -> None:
    x, y = samples(4)
    nearest, displaced = fit_assignment(x, y), fit_assignment(x, y, "displacement")
    point = x[5] + 1e-6
    np.testing.assert_allclose(nearest(point), nearest(x)[5])
    np.testing.assert_allclose(displaced(point), nearest(x)[5] + 1e-6, atol=1e-12)
    assert nearest(x[None]).shape == (1, 30, 2)
    with pytest.raises(UnmetHypothesis, match="extension is"):
        fit_assignment(x, y, "linear")  # type: ignore[arg-type]


def test_class_weights_change_where_the_mass_goes() -> None:
    x = np.asarray([[0.0], [0.1], [10.0]])
    y = np.asarray([[0.0], [10.0]])
    plain = fit_assignment(x, y)
    weighted = fit_assignment(x, y, y_weights=[2.0, 1.0])
    assert plain([[0.1]])[0, 0] == pytest.approx(5.0)  # half of its mass must leave
    assert weighted([[0.1]])[0, 0] == pytest.approx(0.0)
    for bad in ([1.0], [1.0, 0.0], [1.0, np.inf]):
        with pytest.raises(UnmetHypothesis, match="y_weights"):
            fit_assignment(x, y, y_weights=bad)


def test_an_iteration_that_did_not_end_is_an_error_with_its_number() -> None:
    x, y = samples(5, m=60)
    with pytest.raises(UnmetHypothesis, match=r"within 20 iterations \(marginal error = 0\.\d+ at epsilon"):
        fit_entropic(x, y, 1e-3, max_iterations=20)
    with pytest.raises(UnmetHypothesis, match="the simplex ends within 2 iterations"):
        fit_assignment(x, y, max_iterations=2)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, np.nan, np.inf])
def test_epsilon_is_positive(epsilon: float) -> None:
    x, y = samples(6)
    for call in (
        lambda: fit_entropic(x, y, epsilon),
        lambda: half_step(np.eye(2), np.zeros(2), np.zeros(2), epsilon),
        lambda: entropic_image(x, y, np.zeros(30), epsilon),
    ):
        with pytest.raises(UnmetHypothesis, match="epsilon > 0"):
            call()


def test_no_epsilon_underflows() -> None:
    """In the domain of probabilities exp(-1e6) is 0, and its logarithm is lost."""
    cost = np.asarray([[1e3, 2e3], [3e3, 1e3]])
    u = half_step(cost, np.zeros(2), np.log([0.5, 0.5]), 1e-3)
    np.testing.assert_allclose(u, 1e6 + np.log(0.5))
    far = entropic_image(np.asarray([[1e4]]), np.asarray([[0.0], [1.0]]), np.zeros(2), 1e-3)
    assert far.tolist() == [[1.0]]


@pytest.mark.slow(ci=True)
def test_small_epsilon_tends_to_the_assignment() -> None:
    x = np.asarray([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0], [4.0, 4.0]])
    y = x[[2, 0, 3, 1]] + np.asarray([0.5, 0.3])
    plan = fit_assignment(x, y)
    for epsilon in (2.0, 0.5):
        entropic = fit_entropic(x, y, epsilon, debias=False, tolerance=1e-5)
        assert entropic.marginal_error < 1e-5
        assert 0.0 <= entropic.cost - plan.cost < epsilon * np.log(4)  # the entropy is at most log m
    assert np.abs(entropic(x) - plan(x)).max() < 0.01


def test_debiasing_helps_out_of_sample() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(300, 2)), rng.normal(size=(300, 2)) + 3.0
    new = rng.normal(size=(200, 2))
    errors = [
        np.mean((fit_entropic(x, y, 2.0, debias=debias)(new) - new - 3.0) ** 2) for debias in (True, False)
    ]
    assert errors[0] < 0.5 * errors[1]


def test_shapes_that_do_not_match() -> None:
    with pytest.raises(UnmetHypothesis, match="shapes"):
        entropic_image([[1.0], [2.0], [3.0]], [[0.0], [1.0]], [[0.0], [1.0], [2.0]], 1.0)
    with pytest.raises(UnmetHypothesis, match="atoms"):
        entropic_image([[1.0]], np.zeros((0, 1)), np.zeros(0), 1.0)
    with pytest.raises(UnmetHypothesis, match="shapes"):
        half_step([[0.0, 1.0]], [0.0, 1.0, 2.0], [0.0], 1.0)


def test_weights_of_any_size() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 2)), rng.normal(size=(8, 2))
    heavy = fit_gaussian(x, y, x_weights=np.full(9, 1e308))
    assert np.allclose(heavy.matrix, fit_gaussian(x, y).matrix, rtol=1e-13)
    with pytest.raises(UnmetHypothesis, match="two rows"):
        fit_gaussian(x, y, x_weights=[1.0, *[1e-300] * 8])


def test_one_point_many_times_has_no_gaussian_map_however_shrunk() -> None:
    """The mean of equal numbers rounds, and its square is no covariance."""
    with pytest.raises(UnmetHypothesis, match="all 6 are equal"):
        fit_gaussian(np.full((6, 3), 0.1), np.random.default_rng(0).normal(size=(5, 3)), 0.1)


@pytest.mark.parametrize(
    "fit",
    [fit_gaussian, fit_assignment, fit_quantile, lambda x, y: fit_entropic(x, y, 1.0)],
    ids=["gaussian", "assignment", "quantile", "entropic"],
)
def test_samples_whose_squares_overflow_are_refused(fit) -> None:
    x = np.random.default_rng(0).normal(size=(6, 1))
    with pytest.raises(UnmetHypothesis, match="do not overflow"):
        fit(x, 1e160 * x)
