"""ART where users stand: levels at 0, extreme ranges, stacks, float32, gradients; what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from driftproof import UnmetHypothesis
from driftproof.theory import art

torch = pytest.importorskip("torch")

EDM = (0.5, 0.002, 80.0)


# -- ratios and errors


def test_levels_and_scales_are_stacks_of_unequal_size() -> None:
    grid, scales = np.asarray([3.0, 1.0, 0.2]), np.asarray([[0.5], [1.0], [4.0]])
    together = art.euler_ratio(grid, scales)
    assert together.shape == (3, 1)
    for one, s in zip(together[:, 0], scales[:, 0], strict=True):
        assert float(art.euler_ratio(grid, s)) == pytest.approx(float(one), rel=1e-15)
    grids = art.tangent_grid(4, scales[:, 0], 0.1, 5.0)
    assert grids.shape == (3, 5)
    assert art.std_error(grids, scales[:, 0]).shape == (3,)


def test_a_step_that_stays_costs_nothing() -> None:
    for solver in ("euler", "heun"):
        assert float(art.std_error([2.0, 2.0, 2.0], 0.5, solver)) == 0.0
    assert float(art.ancestral_deficit([2.0, 2.0], 0.5)) == 0.0


def test_one_step_of_a_flow_ends_at_the_mean() -> None:
    assert float(art.euler_ratio([1.0, 0.0], 2.0, [0.0, 1.0])) == 0.0
    ends = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    s = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    art.euler_ratio(ends[0], s, ends[1]).backward()
    assert torch.isfinite(s.grad)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_gradients_exist_at_the_level_zero(solver: str) -> None:
    grid = torch.tensor([5.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    art.std_error(grid, 0.5, solver).backward()
    assert torch.isfinite(grid.grad).all()
    below = 1e-6
    numbers = [float(art.std_error([5.0, 1.0 + d, 0.0], 0.5, solver)) for d in (-below, below)]
    assert float(grid.grad[1]) == pytest.approx((numbers[1] - numbers[0]) / (2 * below), rel=1e-6)


def test_the_last_step_of_heun_is_eulers_at_zero_alone() -> None:
    at_zero = float(art.std_error([1.0, 0.0], 1.0, "heun"))
    beside = float(art.std_error([1.0, 1e-12], 1.0, "heun"))
    assert at_zero < 0.0 < beside  # a jump, as EDM's code has it


def test_infinite_levels_are_refused() -> None:
    for call in (
        lambda: art.euler_ratio([math.inf, 1.0], 1.0),
        lambda: art.tangent_grid(3, 1.0, 0.0, math.inf),
        lambda: art.ancestral_grid(3, 1.0, 0.0, math.inf),
        lambda: art.flow_grid(3, math.inf),
    ):
        with pytest.raises(UnmetHypothesis, match="inf"):
            call()


def test_errors_name_the_hypothesis() -> None:
    with pytest.raises(UnmetHypothesis, match=r"sigma_min < sigma_max"):
        art.tangent_grid(3, 1.0, 2.0, 1.0)
    with pytest.raises(UnmetHypothesis, match="the levels fall"):
        art.ancestral_deficit([1.0, 2.0], 1.0)
    with pytest.raises(TypeError, match="integer"):
        art.tangent_grid(2.5, 1.0, 0.0, 1.0)  # type: ignore[arg-type]
    with pytest.raises(UnmetHypothesis, match="solver is one of"):
        art.std_error([1.0, 0.5], 1.0, "dpm")  # type: ignore[arg-type]


# -- grids


@pytest.mark.parametrize("make", [art.tangent_grid, art.ancestral_grid])
@pytest.mark.parametrize(
    ("s", "low", "high"), [EDM, (1e-4, 0.0, 1e4), (1e4, 0.0, 1.0), (1.0, 1.0, 1.0000001)]
)
def test_grids_fall_strictly_and_keep_their_ends(make, s: float, low: float, high: float) -> None:
    for n in (1, 2, 50):
        grid = make(n, s, low, high)
        assert grid[0] == high
        assert grid[-1] == low
        assert (np.diff(grid) < 0.0).all()


@pytest.mark.parametrize("make", [art.tangent_grid, art.ancestral_grid])
def test_single_precision_has_all_its_digits(make) -> None:
    """Where a tangent beside a quarter of a turn would have lost 5 of 7."""
    single = make(18, *(np.asarray(v, dtype=np.float32) for v in EDM))
    assert single.dtype == np.float32
    double = make(18, *(float(np.float32(v)) for v in EDM))
    np.testing.assert_allclose(single, double, rtol=3e-6)


def test_a_thousand_small_steps_in_single_precision() -> None:
    grid = art.tangent_grid(1000, *EDM)
    single = float(art.std_error(grid.astype(np.float32), np.float32(0.5)))
    exact = float(art.std_error(grid.astype(np.float32).astype(np.float64), 0.5))
    assert single == pytest.approx(exact, rel=1e-4)  # each of them loses 1e-6 of the deviation


def test_no_permutation_of_the_best_grid_is_better() -> None:
    best = art.tangent_grid(5, *EDM)
    error = abs(float(art.std_error(best, 0.5)))
    rng = np.random.default_rng(0)
    for _ in range(20):
        inner = rng.permutation(best[1:-1])
        if not np.array_equal(inner, best[1:-1]):
            assert abs(float(art.std_error(np.concatenate([best[:1], inner, best[-1:]]), 0.5))) > error


# -- densities


def test_densities_that_are_none_are_refused_by_name() -> None:
    with pytest.raises(UnmetHypothesis, match="the density is > 0 and finite"):
        art.equidistribute(lambda x: x - 1.0, 3, 0.1, 2.0)
    with pytest.raises(UnmetHypothesis, match="the density is smooth"):
        art.equidistribute(lambda x: np.where(x > 0.7, 1.0, 5.0), 3, 0.1, 2.0)
    with pytest.raises(UnmetHypothesis, match="the density has the shape"):
        art.equidistribute(lambda x: np.ones(3), 3, 0.1, 2.0)
    with pytest.raises(UnmetHypothesis, match="0 <= sigma_min < sigma_max"):
        art.error_constant(np.ones_like, 0.5, 2.0, 1.0)


@pytest.mark.parametrize(
    "scales",
    [(1.0,), (1e-3, 1.0), (1e-4, 1e-2, 1.0, 1e2), tuple(np.geomspace(0.01, 3.0, 40)), (1.0, 1.0, 1.0)],
)
@pytest.mark.parametrize("low", [0.0, 0.002])
def test_weights_converge_whatever_the_scales(scales: tuple[float, ...], low: float) -> None:
    weights = art.scale_weights(list(scales), low, 80.0)
    assert sum(weights) == pytest.approx(1.0, rel=1e-12)
    assert all(w > 0.0 for w in weights)
    grid = art.optimal_grid(list(scales), 8, low, 80.0)
    assert (np.diff(grid) < 0.0).all()
    assert float(art.grid_w2(grid, np.asarray(scales))) > 0.0

    def limit(density):
        """Of n W2: what the density leaves on every axis."""
        errors = [art.error_constant(density, s, low, 80.0) for s in scales[:4]]
        return math.sqrt(sum((s * s + low * low) * e * e for s, e in zip(scales, errors, strict=False)))

    if len(scales) <= 4:
        ours = limit(lambda x: art.scales_density(x, np.asarray(scales), np.asarray(weights)))
        for s in scales:
            assert ours <= limit(lambda x, s=s: art.level_density(x, s)) * (1.0 + 1e-9)


# -- the clock


def test_a_uniform_stiffness_has_a_uniform_clock() -> None:
    problem = art.ClockProblem(lambda psi: 3.0 + 0.0 * psi, 2.0)
    times = np.linspace(0.0, 2.0, 9)
    np.testing.assert_allclose(problem.clock(times), times, atol=1e-14)
    assert problem.cost == pytest.approx(6.0, rel=1e-14)
    assert problem.multiplier == pytest.approx(-6.0, rel=1e-14)
    assert problem.duality_margin == pytest.approx(3.0, rel=1e-9)
    law = problem.policy(0.5, 0.5, 0.3)
    assert float(law.mean) == pytest.approx(1.0, rel=1e-14)
    assert float(law.variance) == pytest.approx(0.1, rel=1e-14)


def test_clocks_that_are_none_are_refused() -> None:
    with pytest.raises(UnmetHypothesis, match="Q > 0"):
        art.ClockProblem(lambda psi: psi - 0.5, 1.0)
    for horizon in (0.0, math.inf, math.nan):
        with pytest.raises(UnmetHypothesis, match=r"0 < T < inf|horizon is finite"):
            art.ClockProblem(np.ones_like, horizon)
    problem = art.ClockProblem(np.ones_like, 1.0)
    for call in (
        lambda: problem.rate(1.0, 0.5),
        lambda: problem.value(1.5, 0.5),
        lambda: problem.clock(-0.1),
    ):
        with pytest.raises(UnmetHypothesis, match="t "):
            call()
    with pytest.raises(UnmetHypothesis, match="exploration > 0"):
        problem.policy(0.5, 0.5, -1.0)
