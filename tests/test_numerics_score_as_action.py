"""Rollouts, critics and actors: shapes, grids, sources, bad input; their mathematics is in the claims."""

from __future__ import annotations

import numpy as np
import pytest

from driftproof import UnmetHypothesis
from driftproof.numerics.reward_gap import clipped_surrogate
from driftproof.numerics.score_as_action import (
    eligibility,
    likelihood_weights,
    log_ratio,
    lstd,
    martingale_loss,
    martingale_regression,
    path_kl,
    pathwise_weights,
    returns_to_go,
    rollout,
    running_cost,
    standardise,
    td_errors,
)
from driftproof.theory.laws import Gaussian
from driftproof.theory.processes import VP
from driftproof.theory.rewards import Quadratic
from driftproof.theory.score_as_action import ShiftedScore

PROCESS = VP(0.1, 4.0, 1.0)
DATA = Gaussian([0.5, -0.3], [[1.2, 0.3], [0.3, 0.5]])
REWARD = Quadratic([1.0, -0.5], [[0.8, 0.2], [0.2, 0.4]])
SHIFT = np.asarray([0.3, -0.2])


def pretrained(x, t):
    return PROCESS.marginal(DATA, float(t)).score(x)


def shifted(x, t):
    return pretrained(x, t) + SHIFT


def paths(n=20, rows=64, eta=1.0, power=1.0):
    grid = [((n - k) / n) ** power for k in range(n + 1)]
    start = np.random.default_rng(1).normal(size=(rows, 2))
    return rollout(PROCESS, shifted, pretrained, grid, 0, start, eta)


def test_rollouts_keep_what_drove_them():
    run = paths()
    assert run.states.shape == (64, 21, 2) and run.noise.shape == (64, 20, 2)
    np.testing.assert_allclose(run.excess, np.broadcast_to(SHIFT, run.excess.shape), atol=1e-12)
    f, g2 = PROCESS.rates(np, run.times[:-1])
    drift = -f[:, None] * run.states[:, :-1] + g2[:, None] * run.actions
    np.testing.assert_allclose(
        run.states[:, 1:], run.states[:, :-1] + drift * run.dt[:, None] + run.noise, atol=1e-12
    )
    np.testing.assert_allclose(run.g2dt, g2 * run.dt)
    assert np.all(run.end == run.states[:, -1])


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_sums_belong_to_the_problem_and_not_to_the_grid(power):
    policy = ShiftedScore(PROCESS, DATA, REWARD, 0.5, SHIFT)
    errors = []
    for n in (100, 200):
        run = paths(n, rows=1, power=power)
        errors.append(float(path_kl(run.excess, run.g2dt)[0]) - policy.path_kl())
        cost = running_cost(run.excess, run.g2dt, 0.5)
        np.testing.assert_allclose(np.sum(cost), 0.5 * path_kl(run.excess, run.g2dt)[0])
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.05)  # first order, to the exact divergence


def test_torch_draws_the_same_paths():
    torch = pytest.importorskip("torch")
    ours = paths(5, 4)

    def lifted(f):
        return lambda x, t: torch.as_tensor(f(x.numpy(), float(t)))

    start = torch.as_tensor(np.array(ours.states[:, 0]))
    grid = [float(t) for t in ours.times]
    theirs = rollout(PROCESS, lifted(shifted), lifted(pretrained), grid, 0, start)
    np.testing.assert_allclose(theirs.states.numpy(), ours.states, rtol=1e-13)


def test_ppo_at_ratio_one_is_the_advantage_actor():
    """The gradient of the clipped surrogate at the old policy is that of the likelihood weights."""
    torch = pytest.importorskip("torch")
    run = paths(6, 5)
    advantage = np.random.default_rng(2).normal(size=(5, 6))
    change = torch.zeros(5, 6, 2, dtype=torch.float64, requires_grad=True)
    noise, g2dt = torch.as_tensor(run.noise), torch.as_tensor(run.g2dt)
    logs = log_ratio(change, noise, g2dt)
    surrogate, clipped = clipped_surrogate(logs, torch.zeros_like(logs), torch.as_tensor(advantage), 0.2)
    (slope,) = torch.autograd.grad(surrogate.sum(), change)
    want = likelihood_weights(advantage, run.noise, 0.0 * run.excess, run.g2dt, 1.0)
    np.testing.assert_allclose(slope.numpy(), want, rtol=1e-12, atol=1e-14)
    assert float(clipped.sum()) == 0.0


def test_critics_agree_on_an_exact_family():
    run = paths(30, 400)
    policy = ShiftedScore(PROCESS, DATA, REWARD, 0.5, SHIFT)
    values = policy.value(run.states, run.times)
    cost = running_cost(run.excess, run.g2dt, 0.5)
    targets = returns_to_go(REWARD.value(run.end), cost)
    phi = (run.times[:, None] * run.states) * 1.0
    base = 0.0 * values[:, :-1]
    w = martingale_regression(phi[:, :-1], targets[:, :-1], run.dt)
    best = float(martingale_loss(base + phi[:, :-1] @ w, targets[:, :-1], run.dt))
    for step in (1e-3, -1e-3):
        assert best < float(martingale_loss(base + phi[:, :-1] @ (w + step), targets[:, :-1], run.dt))
    traces = eligibility(phi[:, :-1], run.dt, 0.5)
    w = lstd(traces, phi, td_errors(values, cost))
    moved = td_errors(values + phi @ w, cost)
    np.testing.assert_allclose(np.mean(np.sum(traces * moved[..., None], axis=1), axis=0), 0.0, atol=1e-10)


def test_what_rounding_leaves_of_equal_advantages_is_no_spread():
    """The mean of seven times 0.1 is not 0.1; divided by its own size, the difference would be a unit."""
    for dtype in (np.float32, np.float64):
        equal = np.full((7, 2), 0.1, dtype=dtype)
        for over in ("rollout", "step"):
            assert not standardise(equal, over).any()
    # A spread that is small beside the other steps is one all the same.
    small = np.asarray([[1e-9, 1.0], [-1e-9, 3.0]])
    np.testing.assert_array_equal(standardise(small, "step"), [[1.0, -1.0], [-1.0, 1.0]])


def nowhere(x, t):
    return x * np.nan


def flat(x, t):
    return x[:, :1]


RUN = paths(3, 4)
FLAT = np.zeros((4, 3))
COMMON = (RUN.noise, RUN.excess, RUN.g2dt)


@pytest.mark.parametrize(
    ("call", "hypothesis"),
    [
        (
            lambda: likelihood_weights(FLAT, *COMMON, 1.0, 0.0),
            "eta > 0, as deterministic steps (ODE) have no likelihood ratio",
        ),
        (
            lambda: log_ratio(RUN.excess, RUN.noise, RUN.g2dt, 0.0),
            "eta > 0, as deterministic steps (ODE) have no likelihood ratio",
        ),
        (lambda: likelihood_weights(FLAT, *COMMON, 0.0), "beta > 0"),
        (lambda: pathwise_weights(RUN.noise, RUN.excess, RUN.g2dt, -1.0), "beta > 0"),
        (lambda: running_cost(RUN.excess, RUN.g2dt, 0.0), "beta > 0"),
        (lambda: running_cost(RUN.excess, RUN.g2dt[:2], 1.0), "excess (B, N, d) and g2dt (N,)"),
        (lambda: path_kl(RUN.excess[:0], RUN.g2dt), "the batch is not empty"),
        (lambda: eligibility(RUN.noise, RUN.dt, -0.1), "lambda in [0, 1]"),
        (lambda: eligibility(RUN.noise, RUN.dt, 1.1), "lambda in [0, 1]"),
        (lambda: lstd(RUN.noise, RUN.states, FLAT), "features vanish at the end"),
        (lambda: lstd(RUN.noise, 0.0 * RUN.states, FLAT), "features are linearly independent"),
        (lambda: martingale_regression(0.0 * RUN.noise, FLAT, RUN.dt), "features are linearly independent"),
        (lambda: martingale_loss(FLAT, FLAT[:, :2], RUN.dt), "values (B, N), targets (B, N)"),
        (lambda: returns_to_go(np.zeros(3), FLAT), "reward (B), cost (B, N)"),
        (lambda: td_errors(FLAT, FLAT), "values (B, N + 1), cost (B, N)"),
        (lambda: standardise(FLAT[:1]), "at least 2 paths"),
        (lambda: standardise(FLAT, "prompt"), "over is one of 'rollout', 'step'"),
        (lambda: rollout(PROCESS, shifted, pretrained, [0.5, 1.0], 0, RUN.states[:, 0]), "the grid falls"),
        (lambda: rollout(PROCESS, shifted, pretrained, [1.0], 0, RUN.states[:, 0]), "the grid falls"),
        (lambda: rollout(PROCESS, shifted, pretrained, [1.0, 0.5], 0, np.zeros(2)), "start (B, d)"),
        (lambda: paths(3, 4, eta=-1.0), "eta >= 0"),
        (lambda: likelihood_weights(FLAT[:, :1], *COMMON, 1.0), "advantage (B, N) like excess"),
        (lambda: likelihood_weights(FLAT, RUN.noise[:1], *COMMON[1:], 1.0), "noise (B, N, d) like excess"),
        (lambda: pathwise_weights(RUN.noise[:1], *COMMON[1:], 1.0), "gradient (B, N, d) like excess"),
        (lambda: log_ratio(RUN.excess, RUN.noise[:1], RUN.g2dt), "noise (B, N, d) like change"),
        (lambda: likelihood_weights(FLAT, *COMMON, 1.0, 1e-320), "keeps results finite"),
        (lambda: log_ratio(RUN.excess, RUN.noise, RUN.g2dt, 1e-320), "keeps results finite"),
        (lambda: pathwise_weights(RUN.noise, *COMMON[1:], 1.0, 1e200), "keeps results finite"),
        (lambda: standardise(FLAT[:, :0]), "at least 2 paths"),
        (lambda: rollout(PROCESS, shifted, pretrained, [9.0, 0.5], 0, RUN.states[:, 0]), "one <= T"),
        (lambda: rollout(PROCESS, shifted, pretrained, [np.nan, 0.5], 0, RUN.states[:, 0]), "the grid falls"),
        (
            lambda: rollout(PROCESS, nowhere, pretrained, [1.0, 0.5], 0, RUN.states[:, 0]),
            "states stay finite",
        ),
        (
            lambda: rollout(PROCESS, flat, pretrained, [1.0, 0.5], 0, np.ones((3, 2))),
            "the score has the shape",
        ),
    ],
)
def test_bad_input_names_the_hypothesis(call, hypothesis):
    with pytest.raises(UnmetHypothesis) as caught:
        call()
    assert hypothesis in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: eligibility(RUN.noise, np.ones(RUN.noise.shape[1]), lam=True),
        lambda: likelihood_weights(FLAT, *COMMON, True),
        lambda: likelihood_weights(FLAT, *COMMON, 1.0, eta=True),
    ],
)
def test_true_is_no_number(call):
    with pytest.raises(TypeError, match="got bool"):
        call()


def test_advantages_of_any_size_are_standardised():
    """Their squares would overflow, or vanish."""
    for size in (1e200, 1e-200):
        np.testing.assert_array_equal(standardise(np.array([[size], [-size]])), [[1.0], [-1.0]])


def test_a_pretrained_score_of_another_shape_is_refused():
    with pytest.raises(UnmetHypothesis, match="the shape of the state"):
        rollout(PROCESS, lambda x, t: -x, lambda x, t: -x[:, 0], [1.0, 0.5], 0, np.ones((2, 2)))
