"""Policy gradients for samplers: each kernel against its definition, on small cases that can be enumerated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from driftproof import UnmetHypothesis
from driftproof.numerics.reward_gap import (
    Window,
    clipped_surrogate,
    group_advantages,
    paired_gap,
    running_advantages,
    step_kl,
    update_statistics,
)
from driftproof.numerics.samplers import step_log_prob

# -- advantages


def bernoulli_gradient(advantages_of, p: float = 0.3, size: int = 3) -> float:
    """E sum_i A_i d log p(a_i) / dp over ``size`` independent arms of a two-armed bandit, by enumeration."""
    total = 0.0
    for code in range(2**size):
        arms = np.array([(code >> i) & 1 for i in range(size)])
        weight = float(np.prod(np.where(arms == 1, p, 1.0 - p)))
        slope = np.where(arms == 1, 1.0 / p, -1.0 / (1.0 - p))
        total += weight * float(np.sum(advantages_of(arms.astype(float)) * slope)) / size
    return total


def test_the_mean_of_the_others_is_unbiased_and_that_of_all_shrinks_the_gradient() -> None:
    exact = 1.0  # d E[a] / dp
    assert bernoulli_gradient(lambda r: group_advantages(r, "others", False)) == pytest.approx(
        exact, rel=1e-13
    )
    shrunk = bernoulli_gradient(lambda r: group_advantages(r, "group", False))
    assert shrunk == pytest.approx(exact * (1.0 - 1.0 / 3.0), rel=1e-13)


def test_running_statistics_keep_the_gradient_too() -> None:
    def advantages(rewards):
        members = np.ones((len(rewards), 1))
        past = (np.array([5.0]), np.array([0.7]), np.array([2.0]))
        state = update_statistics(*past, rewards, members, 1.0)
        return running_advantages(rewards, members, *state, least=2.0, scale=False)

    assert bernoulli_gradient(advantages) == pytest.approx(1.0, rel=1e-12)


def test_a_group_is_standardised_by_its_sample_deviation() -> None:
    rewards = np.random.default_rng(0).normal(size=(4, 8))
    expected = (rewards - rewards.mean(1, keepdims=True)) / rewards.std(1, ddof=1, keepdims=True)
    assert np.allclose(group_advantages(rewards, "group"), expected, rtol=1e-13)
    assert np.abs(group_advantages(rewards, "group", clip=0.5)).max() == 0.5


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e5, 1e-30])
def test_a_group_without_spread_says_nothing(value: float) -> None:
    # The mean of equal numbers is not that number: 0.1 + 0.1 + 0.1 rounds.
    assert not group_advantages(np.full((2, 3), value)).any()
    members = np.ones((3, 1))
    zeros = np.zeros(1)
    state = update_statistics(zeros, zeros, zeros, np.full(3, value), members, 1.0)
    assert not running_advantages(np.full(3, value), members, *state, least=2.0).any()


@pytest.mark.parametrize(("unit", "dtype"), [(1e-200, "float64"), (1e30, "float32"), (1e-30, "float32")])
def test_the_unit_of_rewards_is_irrelevant(unit: float, dtype: str) -> None:
    """Their squares are beyond the range of the dtype."""
    rewards = np.asarray([1.0, 2.0, 6.0], dtype=dtype)
    scaled = np.asarray(unit, dtype=dtype) * rewards
    assert group_advantages(scaled) == pytest.approx(group_advantages(rewards), rel=1e-6)
    plain = group_advantages(scaled, scale=False) / np.asarray(unit, dtype=dtype)
    assert plain == pytest.approx([-3.0, -1.5, 4.5], rel=1e-6)


@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(0, 2), st.floats(-1e3, 1e3)), min_size=1, max_size=6),
        min_size=1,
        max_size=5,
    )
)
def test_running_statistics_are_those_of_everything_seen(batches) -> None:
    state = (np.zeros(3), np.zeros(3), np.zeros(3))
    for batch in batches:
        prompts = np.array([prompt for prompt, _ in batch])
        rewards = np.array([reward for _, reward in batch])
        state = update_statistics(*state, rewards, np.eye(3)[prompts], 1.0)
    for prompt in range(3):
        seen = np.array([reward for batch in batches for i, reward in batch if i == prompt])
        assert state[0][prompt] == len(seen)
        if len(seen):
            assert state[1][prompt] == pytest.approx(seen.mean(), abs=1e-10)
            assert state[2][prompt] == pytest.approx(((seen - seen.mean()) ** 2).sum(), rel=1e-9, abs=1e-7)


def test_forgetting_is_a_weighted_mean() -> None:
    one = np.ones((1, 1))
    state = (np.zeros(1), np.zeros(1), np.zeros(1))
    values, decay = [3.0, -1.0, 4.0, 1.0], 0.5
    for value in values:
        state = update_statistics(*state, np.array([value]), one, decay)
    weights = np.array([decay ** (len(values) - 1 - i) for i in range(len(values))])
    mean = float(np.average(values, weights=weights))
    assert float(state[0][0]) == pytest.approx(weights.sum())
    assert float(state[1][0]) == pytest.approx(mean)
    assert float(state[2][0]) == pytest.approx(float(np.sum(weights * (np.array(values) - mean) ** 2)))


def test_young_prompts_take_the_statistics_of_the_batch() -> None:
    rewards, members = np.array([1.0, 5.0, 3.0]), np.eye(3)
    state = update_statistics(np.zeros(3), np.zeros(3), np.zeros(3), rewards, members, 1.0)
    advantages = running_advantages(rewards, members, *state, least=2.0, scale=False)
    assert advantages == pytest.approx(np.array([-3.0, 3.0, 0.0]))  # less the mean of the two others
    one = running_advantages(rewards[:1], members[:1], *state, least=2.0)
    assert one.tolist() == [0.0]


@pytest.mark.parametrize(
    ("call", "hypothesis"),
    [
        (lambda: group_advantages([1.0]), "at least 2 samples"),
        (lambda: group_advantages([1.0, 2.0], clip=0.0), "clip > 0"),
        (lambda: group_advantages([1.0, 2.0], "mean"), "baseline is"),
        (lambda: group_advantages([1.0, math.nan]), "NaN"),
        (lambda: group_advantages([1.0, math.inf]), "rewards is finite"),
        (lambda: update_statistics([0.0], [0.0], [-1.0], [1.0], [[1.0]], 1.0), "squares >= 0"),
        (lambda: update_statistics([0.0], [0.0], [0.0], [[1.0]], [[[1.0]]], 1.0), r"rewards \(B,\)"),
        (lambda: running_advantages([1.0], [[1.0]], [1.0], [0.0, 0.0], [0.0]), "mean has the shape of count"),
        (lambda: update_statistics([0.0], [0.0], [0.0], [1.0], [[1.0]], 1.5), "decay in"),
        (lambda: update_statistics([0.0], [0.0], [0.0], [1.0], [[0.5]], 1.0), "one 1 and zeros"),
        (lambda: update_statistics([0.0], [0.0], [0.0], [1.0], [[1.0], [1.0]], 1.0), "a row per reward"),
        (lambda: running_advantages([1.0], [[1.0]], [1.0], [0.0], [0.0], least=1.0), "least >= 2"),
    ],
)
def test_advantages_that_make_no_sense_are_refused(call, hypothesis: str) -> None:
    with pytest.raises(UnmetHypothesis, match=hypothesis):
        call()


# -- the surrogate


def test_the_surrogate_is_the_definition_of_ppo() -> None:
    rng = np.random.default_rng(1)
    logp, old, advantage = rng.normal(size=(3, 200))
    for clip in (1e-4, 0.2, 0.9):
        ratio = np.exp(logp - old)
        expected = np.minimum(ratio * advantage, np.clip(ratio, 1.0 - clip, 1.0 + clip) * advantage)
        surrogate, clipped = clipped_surrogate(logp, old, advantage, clip)
        assert np.allclose(surrogate, expected, rtol=1e-12)
        held = ((advantage > 0) & (ratio > 1.0 + clip)) | ((advantage < 0) & (ratio < 1.0 - clip))
        assert (clipped == held).all()


def test_its_gradient_at_the_old_policy_is_the_policy_gradient() -> None:
    torch = pytest.importorskip("torch")
    logp = torch.tensor([-3.0, -5.0], dtype=torch.float64, requires_grad=True)
    advantage = torch.tensor([2.0, -0.7], dtype=torch.float64)
    surrogate, clipped = clipped_surrogate(logp, logp.detach(), advantage)
    assert torch.autograd.grad(surrogate.sum(), logp)[0].tolist() == [2.0, -0.7]
    assert not clipped.any()


def test_a_log_ratio_of_single_precision_resolves_the_clip_range() -> None:
    """Inside and outside of 1e-4, at log-ratios that float32 holds: exp(x) - 1 would lose three digits."""
    delta = np.array([9.9e-5, 1.01e-4], dtype=np.float32)
    surrogate, clipped = clipped_surrogate(delta, np.zeros_like(delta), np.ones_like(delta), 1e-4)
    assert clipped.tolist() == [0.0, 1.0]
    assert surrogate.dtype == np.float32
    assert surrogate[0] == pytest.approx(1.0 + math.expm1(9.9e-5), abs=1.2e-7)


def test_ratios_far_away_stay_finite() -> None:
    surrogate, clipped = clipped_surrogate([1e4, -1e4, 1e4], [0.0, 0.0, 0.0], [-1.0, 1.0, 0.0])
    assert np.isfinite(surrogate).all()
    assert surrogate[0] < -1e8
    assert clipped.tolist() == [1.0, 1.0, 0.0]


def test_what_is_called_clipped_has_no_gradient_and_the_rest_has() -> None:
    torch = pytest.importorskip("torch")
    logp = torch.linspace(-30.0, 30.0, 121, dtype=torch.float64, requires_grad=True)
    for sign in (-1.0, 1.0):
        advantage = sign * torch.ones_like(logp)
        surrogate, clipped = clipped_surrogate(logp, torch.zeros_like(advantage), advantage, 0.2)
        slope = torch.autograd.grad(surrogate.sum(), logp)[0]
        assert torch.equal(slope == 0.0, clipped == 1.0)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(UnmetHypothesis, match="old_logp has the shape of logp"):
        clipped_surrogate(np.zeros((3, 1)), np.zeros((1, 2)), np.zeros((3, 1)))
    with pytest.raises(UnmetHypothesis, match="mean_ref has the shape of mean"):
        step_kl(np.zeros((2, 3)), np.zeros((2, 1)), 1.0)


@pytest.mark.parametrize("clip", [0.0, 1.0, -0.1])
def test_a_clip_range_outside_of_the_unit_interval_is_refused(clip: float) -> None:
    with pytest.raises(UnmetHypothesis, match=r"clip in \(0, 1\)"):
        clipped_surrogate([0.0], [0.0], [1.0], clip)


def test_the_divergence_of_a_step_is_the_mean_log_ratio() -> None:
    """By Gauss-Hermite quadrature of log p - log q, exact for Gaussians."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    mean, reference, std = np.array([[0.3]]), np.array([[-0.5]]), 0.7
    x = mean + std * nodes[:, None]
    ratio = step_log_prob(x, mean + 0.0 * x, std) - step_log_prob(x, reference + 0.0 * x, std)
    expected = float(weights @ ratio / math.sqrt(2.0 * math.pi))
    assert float(step_kl(mean, reference, std)[0]) == pytest.approx(expected, rel=1e-13)
    with pytest.raises(UnmetHypothesis, match="std > 0"):
        step_kl(mean, reference, 0.0)


# -- windows


def test_every_step_is_in_the_window_at_some_time() -> None:
    window = Window(size=4, stride=2, every=3)
    seen = [set(window.steps(11, i)) for i in range(100)]
    assert all(len(steps) == 4 for steps in seen)
    assert set.union(*seen) == set(range(10))  # 11 - 4 is odd: with this stride the last is never reached
    assert set.union(*(set(Window(size=4).steps(11, i)) for i in range(300))) == set(range(11))


@pytest.mark.parametrize("wrong", [{"size": -1}, {"stride": 0}, {"every": 0}])
def test_windows_that_do_not_exist_are_refused(wrong) -> None:
    with pytest.raises(UnmetHypothesis):
        Window(**wrong)


def test_windows_count_in_integers() -> None:
    with pytest.raises(TypeError, match="an integer for size"):
        Window(size=1.5)  # type: ignore[arg-type]


def test_a_window_wider_than_the_grid_is_refused() -> None:
    with pytest.raises(UnmetHypothesis, match="not wider"):
        Window(size=5).steps(4, 0)
    with pytest.raises(UnmetHypothesis, match="iteration >= 0"):
        Window().steps(4, -1)


# -- the gap


# 200 bootstraps take 11 s; the interval of Student is in the default run.
@pytest.mark.parametrize("method", ["t", pytest.param("bootstrap", marks=pytest.mark.slow)])
def test_the_interval_covers_as_often_as_it_says(method: str) -> None:
    """200 intervals of level 0.9: the count of misses is binomial.

    For ``t`` the law is exact, and the verdict false once in 1e6; the percentile bootstrap of 40 pairs
    covers 0.88 to 0.89, so that its range is taken for 0.87.  A level wrong by a factor of 2.2 in the
    misses is seen with probability 0.95 or more.
    """
    rng = np.random.default_rng(7)
    misses = 0
    for trial in range(200):
        common = rng.normal(size=40)
        ode, sde = 0.5 + common + 0.3 * rng.normal(size=40), common
        gap = paired_gap(ode, sde, level=0.9, method=method, rng=trial)
        misses += not gap.low <= 0.5 <= gap.high
    rate = 0.1 if method == "t" else 0.13
    assert stats.binom.ppf(5e-7, 200, 0.1) <= misses <= stats.binom.ppf(1.0 - 5e-7, 200, rate)


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(3)
    common = 100.0 * rng.normal(size=50)
    gap = paired_gap(common + 1.0, common)
    assert gap.gap == pytest.approx(1.0)
    assert gap.high - gap.low < 1e-10
    assert gap.pairs == 50
    assert "95 %" in str(gap)


@pytest.mark.parametrize(
    ("ode", "sde", "options", "hypothesis"),
    [
        ([1.0], [1.0], {}, "n >= 2"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], {}, "n >= 2"),
        ([1.0, math.nan], [1.0, 2.0], {}, "NaN"),
        ([1.0, math.inf], [1.0, 2.0], {}, "ode is finite"),
        ([1.0, 2.0], [1.0, 2.0], {"level": 1.0}, "level in"),
        ([1.0, 2.0], [1.0, 2.0], {"method": "z"}, "method is"),
    ],
)
def test_gaps_without_meaning_are_refused(ode, sde, options, hypothesis: str) -> None:
    with pytest.raises(UnmetHypothesis, match=hypothesis):
        paired_gap(ode, sde, **options)
