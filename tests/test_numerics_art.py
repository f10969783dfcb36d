"""Grids made from lists, tables and networks; the edges of dynamic programming and of ART-RL."""

from __future__ import annotations

import math

import numpy as np
import pytest

from driftproof import UnmetHypothesis
from driftproof.numerics import art
from driftproof.theory.art import ClockProblem, euler_ratio, tangent_grid

torch = pytest.importorskip("torch")


# -- grids in use


def test_edm_with_its_zero_is_what_k_diffusion_makes() -> None:
    """get_sigmas_karras: n levels, then 0."""
    n, low, high, rho = 7, 0.1, 10.0, 7.0
    ramp = np.linspace(0, 1, n)
    theirs = np.append((high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho, 0.0)
    ours = np.append(art.rho_grid(n - 1, low, high), 0.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-14)


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0, 100.0, math.inf])
def test_every_power_falls_and_keeps_its_ends(rho: float) -> None:
    for dtype in (np.float64, np.float32):
        grid = art.rho_grid(20, np.asarray(0.002, dtype=dtype), np.asarray(80.0, dtype=dtype), rho)
        assert grid.dtype == dtype
        assert grid[0] == dtype(80.0)
        assert grid[-1] == dtype(0.002)
        assert (np.diff(grid) < 0.0).all()


def test_a_shift_is_undone_by_its_inverse() -> None:
    times = art.shifted_grid(9, 3.0)
    back = times / (3.0 - 2.0 * times)
    np.testing.assert_allclose(back, np.linspace(1.0, 0.0, 10), atol=1e-15)


@pytest.mark.parametrize("name", sorted(art.AYS_LEVELS))
def test_published_lists_keep_their_ends_at_any_length(name: str) -> None:
    levels = art.AYS_LEVELS[name]
    assert len(levels) == 11
    for n in (1, 4, 10, 50):
        grid = art.resample_levels(list(levels), n)
        assert grid.shape == (n + 1,)
        assert grid[0] == levels[0]
        assert grid[-1] == levels[-1]
        assert (np.diff(grid) < 0.0).all()
    ended = art.resample_levels([*levels, 0.0], 11)
    np.testing.assert_allclose(ended, [*levels, 0.0], rtol=1e-14)


# -- tables, networks


def test_a_network_that_is_nan_at_one_level_is_refused_there() -> None:
    def velocity(x, t):
        return torch.where(t > 1.0, x * torch.nan, x)

    ours = torch.ones(2, 3, dtype=torch.float64)
    art.path_acceleration(velocity, ours, torch.tensor(0.5, dtype=torch.float64))
    with pytest.raises(UnmetHypothesis, match="the velocity is finite"):
        art.path_acceleration(velocity, ours, torch.tensor(2.0, dtype=torch.float64))
    with pytest.raises(UnmetHypothesis, match="at the level"):
        art.order_grid([1.0, 0.3, 0.1], [1.0, math.nan, 2.0], 3)


def test_a_plateau_of_zero_is_refused() -> None:
    with pytest.raises(UnmetHypothesis, match=r"Q > 0 and finite"):
        art.order_grid([1.0, 0.3, 0.1], [1.0, 0.0, 2.0], 3)


def test_an_image_has_an_acceleration_of_its_shape() -> None:
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    got = art.path_acceleration(lambda x, t: x * t, x, torch.tensor(0.5))
    assert got.shape == x.shape
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, x * 1.25, rtol=2e-3, atol=2e-3)
    exact = art.path_acceleration(lambda x, t: x * t, x, torch.tensor(0.5), torch.func.jvp)
    torch.testing.assert_close(exact, x * 1.25)


def test_a_grid_measured_on_a_network_is_nearly_the_best() -> None:
    """From accelerations of the exact velocity, carried to the end: equal angles."""
    s, levels = 0.5, np.geomspace(80.0, 0.002, 120)
    x = np.random.default_rng(0).standard_normal((64, 1))
    stiffness = []
    for level in levels:
        state = x * math.hypot(s, level)
        acceleration = art.path_acceleration(lambda x, t: x * t / (s * s + t * t), state, level)
        stiffness.append(
            float(art.mean_stiffness(acceleration, 0.0 * state + math.hypot(s, 0.002) / math.hypot(s, level)))
        )
    grid = art.order_grid(levels, stiffness, 10)
    best = float(euler_ratio(tangent_grid(10, s, 0.002, 80.0), s))
    assert (1.0 - float(euler_ratio(grid, s))) / (1.0 - best) == pytest.approx(1.0, abs=1e-3)


def test_order_grids_of_any_table_fall() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        m = int(rng.integers(2, 30))
        levels = np.sort(rng.uniform(size=m))[::-1] * 10.0 ** rng.uniform(-3, 3)
        if rng.uniform() < 0.3:
            levels[-1] = 0.0
        grid = art.order_grid(levels, 10.0 ** rng.uniform(-6, 6, size=m), 12, int(rng.integers(1, 4)))
        assert grid[0] == levels[0]
        assert grid[-1] == levels[-1]
        assert (np.diff(grid) <= 0.0).all()


# -- dynamic programming


def test_all_levels_are_one_way() -> None:
    cost = np.ones((4, 4))
    assert art.best_subgrid(cost, 3) == ([0, 1, 2, 3], 3.0)
    assert art.best_subgrid(torch.ones(4, 4), 1) == ([0, 3], 1.0)


def test_what_lies_below_the_diagonal_is_not_read() -> None:
    cost = np.triu(np.random.default_rng(0).uniform(size=(6, 6)), 1)
    spoiled = cost + np.tril(np.full((6, 6), np.nan))
    assert art.best_subgrid(spoiled, 3) == art.best_subgrid(cost, 3)


def test_a_subset_of_a_fine_grid_comes_near_the_best_grid() -> None:
    levels = np.unique(np.concatenate([art.rho_grid(400, 0.002, 80.0), tangent_grid(400, 0.5, 0.002, 80.0)]))[
        ::-1
    ]
    path, cost = art.best_subgrid(art.step_losses(levels, 0.5), 8)
    best = -math.log(float(euler_ratio(tangent_grid(8, 0.5, 0.002, 80.0), 0.5)))
    assert best <= cost * (1.0 + 1e-12)
    assert cost == pytest.approx(best, rel=1e-3)
    assert float(euler_ratio(levels[path], 0.5)) == pytest.approx(math.exp(-cost), rel=1e-12)


# -- ART-RL


def test_learning_is_the_same_for_the_same_seed() -> None:
    runs = [art.learn_clock(lambda psi: 1.0 + psi**2, 1.0, 6, 3, rounds=8, paths=32) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].speed, runs[1].speed)
    assert runs[0].evaluations == 8 * 32 * 6


def test_a_learned_clock_has_any_number_of_steps() -> None:
    clock = art.LearnedClock(np.asarray([0.0, 1.0, 2.0]), np.asarray([1.0, 1.0, 2.0]), 0.0, 0)
    for steps in (1, 2, 7):
        psi = clock.positions(steps)
        assert psi.shape == (steps + 1,)
        assert psi[0] == 0.0
        assert psi[-1] == 2.0
        assert (np.diff(psi) > 0.0).all()
    # Time to the middle is 1, from there 1/(2 log 2): the logarithmic mean.
    half = 0.5 * (1.0 + 0.5 / math.log(2.0))
    assert clock.positions(2)[1] == pytest.approx(half, abs=1e-4)
    with pytest.raises(UnmetHypothesis, match="steps >= 1"):
        clock.positions(0)


def test_the_dual_update_is_refused_where_it_diverges() -> None:
    def falls_fast(psi):
        return (1.0 + 20.0 * np.maximum(psi, 0.0)) ** -2.0

    assert ClockProblem(falls_fast, 1.0).duality_margin < 0.0
    with pytest.raises(UnmetHypothesis, match="the multiplier holds the clock"):
        art.learn_clock(falls_fast, 1.0, 8, 0, dual="ascent")


def test_what_learning_refuses() -> None:
    with pytest.raises(TypeError, match="numpy Generator"):
        art.learn_clock(np.ones_like, 1.0, 4, torch.Generator())
    for options in (
        {"steps": 1},
        {"rounds": 3},
        {"paths": 7},
        {"paths": 8},
        {"rate": 0.0},
        {"exploration": -1.0},
    ):
        with pytest.raises(UnmetHypothesis):
            art.learn_clock(np.ones_like, 1.0, **{"steps": 4, "rng": 0, **options})
