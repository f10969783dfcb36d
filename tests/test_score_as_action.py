"""Score as action: closed forms against quadrature, finite differences and themselves on another backend."""

from __future__ import annotations

import numpy as np
import pytest

from driftproof import UnmetHypothesis
from driftproof.theory.laws import Gaussian, GaussianMixture, Normal
from driftproof.theory.processes import VE, VP, Flow
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.theory.score_as_action import (
    LinearFeedback,
    ShiftedScore,
    conditional_law,
    exploration_inflation,
    jensen_gap,
    mean_square_td_limit,
    optimal_action,
    optimal_exploration,
    plug_in_value,
    q_function,
    response,
    surrogate,
    surrogate_error_bound,
    terminal_law,
    value,
    value_function_bias,
)

PROCESS = VP(0.1, 4.0, 1.0)
MEAN, COV = [0.5, -0.3], [[1.2, 0.3], [0.3, 0.5]]
DATA = Gaussian(MEAN, COV)
REWARD = Quadratic([1.0, -0.5], [[0.8, 0.2], [0.2, 0.4]])
MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0, 0.0], [1.0, 0.5]], [COV, [[0.3, 0.0], [0.0, 0.4]]])
BETA = 0.5
X = np.asarray([[0.3, -0.8], [1.5, 0.2]])


@pytest.mark.parametrize("process", [PROCESS, VE(0.01, 5.0, 1.0), Flow()])
@pytest.mark.parametrize("data", [DATA, MIXTURE])
def test_the_optimal_action_is_the_gradient_of_the_value(process, data):
    h = 1e-5
    slope = np.stack(
        [
            (
                value(process, data, REWARD, BETA, X + step, 0.4)
                - value(process, data, REWARD, BETA, X - step, 0.4)
            )
            / (2 * h)
            for step in h * np.eye(2)
        ],
        axis=-1,
    )
    got = optimal_action(process, data, REWARD, BETA, X, 0.4) - process.marginal(data, 0.4).score(X)
    np.testing.assert_allclose(got, slope / BETA, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("data", [DATA, MIXTURE])
def test_value_at_the_data_is_the_reward(data):
    np.testing.assert_allclose(value(PROCESS, data, REWARD, BETA, X, 0.0), REWARD.value(X), rtol=1e-12)


def test_a_mixture_of_one_is_gaussian():
    one = GaussianMixture([1.0], [MEAN], [COV])
    for f in (value, optimal_action):
        np.testing.assert_allclose(
            f(PROCESS, one, REWARD, BETA, X, 0.4), f(PROCESS, DATA, REWARD, BETA, X, 0.4)
        )
    ours, theirs = (conditional_law(PROCESS, d, REWARD, BETA, X[0], 0.4) for d in (one, DATA))
    np.testing.assert_allclose(ours.means[0], theirs.mean)


@pytest.mark.parametrize("data", [DATA, MIXTURE], ids=["Gaussian", "mixture"])
def test_conditional_laws_come_in_rows(data):
    t = np.asarray([0.2, 0.7])
    rows = conditional_law(PROCESS, data, REWARD, BETA, X, t)
    assert rows.batch_shape == (2,) and rows.event_shape == (2,)
    for k in range(2):
        alone = conditional_law(PROCESS, data, REWARD, BETA, X[k], float(t[k]))
        np.testing.assert_allclose(rows.log_prob(X[1])[k], alone.log_prob(X[1]), rtol=1e-12)
        np.testing.assert_allclose(rows.mean[k], alone.mean, rtol=1e-12)
    assert conditional_law(PROCESS, data, REWARD, BETA, X, 0.4).batch_shape == (2,)


def test_times_broadcast_like_states():
    t = np.asarray([0.2, 0.7])
    together = value(PROCESS, DATA, REWARD, BETA, X, t)
    singly = [value(PROCESS, DATA, REWARD, BETA, x, float(s)) for x, s in zip(X, t, strict=True)]
    np.testing.assert_allclose(together, singly, rtol=1e-13)
    policy = ShiftedScore(PROCESS, DATA, REWARD, BETA, [0.2, -0.1])
    np.testing.assert_allclose(policy.value(X, t)[1], policy.value(X[1], 0.7), rtol=1e-13)


def test_a_flow_reaches_the_tilt():
    law, want = terminal_law(Flow(), DATA, REWARD, BETA), tilted(DATA, REWARD, BETA)
    np.testing.assert_allclose(law.mean, want.mean, rtol=1e-12)
    np.testing.assert_allclose(law.cov, want.cov, rtol=1e-12)
    assert float(np.abs(value_function_bias(PROCESS, DATA, REWARD, BETA)[0]).max()) > 1e-3


def test_shifted_score_moves_what_it_says():
    policy = ShiftedScore(PROCESS, DATA, REWARD, BETA, [0.2, -0.1])
    still = ShiftedScore(PROCESS, DATA, REWARD, BETA, [0.0, 0.0])
    best = ShiftedScore(PROCESS, DATA, REWARD, BETA, policy.best())
    np.testing.assert_allclose(best.policy_gradient(), 0.0, atol=1e-13)
    assert best.objective() > max(policy.objective(), still.objective())
    assert policy.terminal_kl() <= policy.path_kl()


@pytest.mark.parametrize(("clock", "overshoots"), [(3.1, False), (3.3, True)])
def test_the_ode_overshoots_on_long_schedules_only(clock, overshoots):
    process = VP(clock, clock, 1.0)  # the border for v = 1: clock / 2 = 1.594
    assert (float(response(process, 1.0, 1.0, 0.0)) > float(response(process, 1.0, 1.0, 1.0))) is overshoots


@pytest.mark.parametrize("variance", [1e-3, 0.3, 1.0, 40.0])
@pytest.mark.parametrize("process", [PROCESS, VP(0.1, 20.0, 1.0)])
def test_without_a_gain_feedback_is_the_pretrained_policy(process, variance):
    """Its mean and variance are those of the posterior: a check of the quadrature for widths of all sizes."""
    data, reward, t = Gaussian([0.7], [[variance]]), Quadratic([0.4], [[1.3]]), np.asarray([1e-4, 0.3, 1.0])
    still = LinearFeedback(process, data, reward, BETA, 0.0)
    want = plug_in_value(process, data, reward, [[0.2]], t) + jensen_gap(process, data, reward, t)
    np.testing.assert_allclose(still.value([[0.2]], t), want, rtol=1e-12, atol=1e-13)
    unmoved = ShiftedScore(process, data, reward, BETA, [0.0])
    np.testing.assert_allclose(still.terminal_law().cov, unmoved.terminal_law().cov, rtol=1e-12)
    assert still.policy_gradient() != 0.0
    assert still.path_kl() == 0.0


def test_feedback_and_trust_regions_agree_on_torch_and_numpy():
    import torch

    data = Gaussian(torch.tensor(MEAN, dtype=torch.float64), torch.tensor(COV, dtype=torch.float64))
    reward = Quadratic(torch.tensor(REWARD.c), torch.tensor(REWARD.Q))
    ours, theirs = (LinearFeedback(PROCESS, d, r, BETA, 0.3) for d, r in ((DATA, REWARD), (data, reward)))
    np.testing.assert_allclose(theirs.value(torch.tensor(X), 0.6).numpy(), ours.value(X, 0.6), rtol=1e-12)
    gradient = theirs.value_gradient(torch.tensor(X), 0.6).numpy()
    np.testing.assert_allclose(gradient, ours.value_gradient(X, 0.6), rtol=1e-12)
    assert theirs.policy_gradient() == pytest.approx(ours.policy_gradient(), rel=1e-11)
    old = ShiftedScore(PROCESS, DATA, REWARD, BETA, [0.1, 0.2])
    twin = ShiftedScore(PROCESS, data, reward, BETA, torch.tensor([0.1, 0.2], dtype=torch.float64))
    shift = torch.tensor([0.3, -0.2], dtype=torch.float64)
    for ask in (surrogate, surrogate_error_bound):
        assert ask(twin, shift) == pytest.approx(ask(old, [0.3, -0.2]), rel=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: tilted(DATA, REWARD, True),
        lambda: value(PROCESS, DATA, REWARD, True, X, 0.5),
        lambda: response(PROCESS, 1.0, 0.5, True),
        lambda: optimal_exploration(PROCESS, 0.5, BETA, True),
    ],
)
def test_true_is_no_number(call):
    with pytest.raises(TypeError, match="got bool"):
        call()


@pytest.mark.parametrize("gain", [True, np.True_])
def test_a_gain_is_a_number(gain):
    with pytest.raises(TypeError, match="gain"):
        LinearFeedback(PROCESS, DATA, REWARD, BETA, gain)


def test_torch_and_numpy_agree():
    torch = pytest.importorskip("torch")
    lift = lambda v: torch.as_tensor(np.asarray(v, dtype=np.float64))
    data = Gaussian(lift(MEAN), lift(COV))
    mixture = GaussianMixture(*(lift(getattr(MIXTURE, k)) for k in ("weights", "means", "covs")))
    reward = Quadratic(lift(REWARD.c), lift(REWARD.Q))
    x = lift(X).requires_grad_()
    for ours, theirs in ((DATA, data), (MIXTURE, mixture)):
        v = value(PROCESS, theirs, reward, BETA, x, 0.4)
        np.testing.assert_allclose(v.detach().numpy(), value(PROCESS, ours, REWARD, BETA, X, 0.4), rtol=1e-12)
        (slope,) = torch.autograd.grad(v.sum(), x)
        action = optimal_action(PROCESS, theirs, reward, BETA, x.detach(), 0.4)
        score = PROCESS.marginal(theirs, 0.4).score(x.detach())
        torch.testing.assert_close(slope / BETA, action - score, rtol=1e-10, atol=1e-12)
    law = terminal_law(PROCESS, data, reward, BETA)
    np.testing.assert_allclose(law.mean.numpy(), terminal_law(PROCESS, DATA, REWARD, BETA).mean, rtol=1e-12)
    policy = ShiftedScore(PROCESS, data, reward, BETA, lift([0.2, -0.1]))
    want = ShiftedScore(PROCESS, DATA, REWARD, BETA, [0.2, -0.1])
    assert policy.objective() == pytest.approx(want.objective(), rel=1e-12)


@pytest.mark.parametrize("process", [VP(0.1, 8.0, 1.0), VE(0.3, 9.0, 1.0), Flow()])
@pytest.mark.parametrize("reward", [Linear([1.0, -2.0]), Quadratic([1.0, -2.0], [[1.0, 0.2], [0.2, 0.5]])])
def test_data_on_a_line_are_the_limit_of_data_around_it(process, reward):
    """N(m, a a^T) is the image of N(0, 1): what happens along a is what happens to the line, beside it nothing."""
    a, m = np.asarray([1.0, 2.0]), np.asarray([0.5, -0.3])
    line, inside = Gaussian(m, np.outer(a, a)), lambda gap: Gaussian(m, np.outer(a, a) + gap * np.eye(2))
    found = terminal_law(process, line, reward, 0.7)
    for gap in (1e-4, 1e-6):
        near = terminal_law(process, inside(gap), reward, 0.7)
        np.testing.assert_allclose(near.mean, found.mean, atol=30.0 * gap)
        np.testing.assert_allclose(near.cov, found.cov, atol=30.0 * gap)
    beside = np.asarray([2.0, -1.0])
    np.testing.assert_allclose(beside @ (np.asarray(found.mean) - m), 0.0, atol=1e-13)
    np.testing.assert_allclose(beside @ np.asarray(found.cov), 0.0, atol=1e-13)
    x = np.asarray([0.4, 1.0])
    for function in (optimal_action, value):
        at = lambda law, function=function: np.asarray(function(process, law, reward, 0.7, x, 0.4))
        np.testing.assert_allclose(at(inside(1e-7)), at(line), atol=1e-4)
    tilt = tilted(line, reward, 0.7)
    np.testing.assert_allclose(tilted(inside(1e-7), reward, 0.7).mean, tilt.mean, atol=1e-5)
    np.testing.assert_allclose(beside @ np.asarray(tilt.cov), 0.0, atol=1e-13)


SINGULAR = Gaussian([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]])
CONVEX = Quadratic([0.0, 0.0], [[-10.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("call", "hypothesis"),
    [
        (lambda: value(PROCESS, DATA, REWARD, 0.0, X, 0.4), "beta > 0"),
        (lambda: value(PROCESS, DATA, REWARD, -1.0, X, 0.4), "beta > 0"),
        (lambda: optimal_action(PROCESS, SINGULAR, REWARD, 1.0, X, 0.0), "cov is not singular"),
        (lambda: ShiftedScore(PROCESS, SINGULAR, REWARD, 1.0, [0.0, 0.0]), "cov is not singular"),
        (lambda: value(PROCESS, DATA, CONVEX, 0.5, X, 0.9), "I + C Q / beta is positive definite"),
        (lambda: value(PROCESS, DATA, REWARD, 1.0, X, 1.5), "t in [0, 1.0]"),
        (lambda: value(PROCESS, Normal(0.0, 1.0), REWARD, 1.0, X, 0.5), "the data law is Gaussian or"),
        (lambda: value(PROCESS, DATA, lambda x: x, 1.0, X, 0.5), "the reward is Linear or Quadratic"),
        (lambda: value(PROCESS, DATA, Linear([1.0]), 1.0, X, 0.5), "a reward on R^2"),
        (lambda: value(None, DATA, REWARD, 1.0, X, 0.5), "the process is VP, VE or Flow"),
        (lambda: terminal_law(PROCESS, MIXTURE, REWARD, 1.0), "the data law is Gaussian"),
        (lambda: jensen_gap(PROCESS, MIXTURE, REWARD, 0.5), "the data law is Gaussian"),
        (lambda: plug_in_value(PROCESS, SINGULAR, REWARD, X, 0.0), "cov is not singular"),
        (lambda: ShiftedScore(Flow(), DATA, REWARD, 1.0, [0.0, 0.0]), "the process is VP"),
        (lambda: ShiftedScore(PROCESS, DATA, REWARD, 0.0, [0.0, 0.0]), "beta > 0"),
        (lambda: ShiftedScore(PROCESS, DATA, REWARD, 1.0, [0.0]), "shift (d,) like the data"),
        (lambda: ShiftedScore(PROCESS, DATA, CONVEX, 0.1, [0.0, 0.0]).best(), "R Q R + beta B"),
        (lambda: q_function(PROCESS, 0.5, 0.0, X, X, X, X), "beta > 0"),
        (lambda: optimal_exploration(PROCESS, 0.5, 1.0, 0.0), "lambda > 0"),
        (lambda: optimal_exploration(PROCESS, 0.5, -1.0, 1.0), "beta > 0"),
        (lambda: exploration_inflation(PROCESS, 1.0, [1.0], [0.1, 0.5]), "the grid (N + 1,) falls"),
        (lambda: response(Flow(), 1.0, 0.5), "the process is VP"),
        (lambda: response(PROCESS, 1.0, 0.5, -1.0), "eta >= 0"),
        (lambda: mean_square_td_limit(PROCESS, 1.0, 1.0, 2.0), "t <= T"),
        (lambda: value(PROCESS, DATA, REWARD, 1.0, X[:, :1], 0.5), "x (..., 2), like the data"),
        (lambda: value(PROCESS, DATA, REWARD, 1.0, 0.5, 0.5), "x (..., 2), like the data"),
        (lambda: value(PROCESS, DATA, REWARD, 1.0, X, np.full(7, 0.5)), "t () or like x"),
        (lambda: terminal_law(PROCESS, DATA, REWARD, 1.0, Gaussian([0.0], [[1.0]])), "x (..., 2)"),
        (lambda: terminal_law(PROCESS, DATA, REWARD, 1.0, Normal(0.0, 1.0)), "the start is Gaussian"),
        (
            lambda: ShiftedScore(PROCESS, DATA, REWARD, 1.0, [0.0, 0.0], Gaussian([0.0], [[1.0]])),
            "start (d,) like the data",
        ),
        (lambda: q_function(PROCESS, 2.0, 1.0, X, X, X, X), "t in [0, 1.0]"),
        (lambda: q_function(Flow(), 1.0, 1.0, X, X, X, X), "t in [0, 1.0)"),
        (lambda: q_function(PROCESS, 0.5, 1.0, X, X, X[:1], X), "of one shape"),
        (lambda: optimal_exploration(Flow(), 1.0, 1.0, 1.0), "t in [0, 1.0)"),
        (lambda: exploration_inflation(PROCESS, 1.0, [1.0], [3.0, 0.5]), "t in [0, 1.0]"),
        (lambda: exploration_inflation(PROCESS, 1.0, [1.0, 1.0], [0.9, 0.5]), "exploration (N,)"),
        (lambda: response(PROCESS, 1.0, 9.0), "t in [0, 1.0]"),
    ],
)
def test_bad_input_names_the_hypothesis(call, hypothesis):
    with pytest.raises(UnmetHypothesis) as caught:
        call()
    assert hypothesis in str(caught.value)


def test_squared_td_errors_of_the_shortest_paths():
    """Over a time whose square underflows the rate is constant: -c (t^2 / 2) / (t^3 / 3)."""
    assert float(mean_square_td_limit(PROCESS, 1.0, 1.0, 1e-200)) == pytest.approx(-1.5e200, rel=1e-12)


@pytest.mark.parametrize(
    ("variance", "horizon", "eta"),
    [(1e4, 8.0, 0.5), (1e16, 8.0, 2.0), (1e2, 5.0, 0.5), (0.3, 5.0, 30.0), (0.3, 5.0, 1e3), (1e16, 8.0, 0.0)],
)
def test_responses_to_a_shift_by_quadrature(variance, horizon, eta):
    """Wide data and much noise put the integrand near one end."""
    mpmath = pytest.importorskip("mpmath")
    v, f = mpmath.mpf(variance), (1 + mpmath.mpf(eta) ** 2) / 2

    def integrand(u):
        return f * mpmath.exp(u / 2 - f * mpmath.log((mpmath.expm1(u) + v) / v))

    with mpmath.workdps(25):
        near = [n * v / f for n in (0.1, 1, 5, 20, 100)]
        points = sorted({u for u in [mpmath.mpf(0), *near, v, mpmath.mpf(1)] if u < 2 * horizon})
        exact = float(mpmath.quad(integrand, [*points, 2 * horizon]))
    found = response(VP(2.0, 2.0, horizon), variance, horizon, eta)
    np.testing.assert_allclose(found, exact, rtol=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: value(PROCESS, DATA, Linear([1.0, 2.0]), 1e-320, MEAN, 0.5),
        lambda: terminal_law(PROCESS, DATA, Linear([1.0, 2.0]), 1e-320),
        lambda: ShiftedScore(PROCESS, DATA, Linear([1.0, 2.0]), 1e-320, MEAN).best(),
        lambda: optimal_exploration(PROCESS, 0.5, 1e-320, 1.0),
    ],
)
def test_penalties_without_finite_results_are_refused(call):
    with np.errstate(all="ignore"), pytest.raises(UnmetHypothesis, match="finite"):
        call()


def test_a_component_without_weight_has_its_derivative() -> None:
    """In a weight that is 0 the value, the action and the conditional law differentiate as for a weight beside it."""
    torch = pytest.importorskip("torch")
    means = torch.tensor([[-1.0], [1.5]], dtype=torch.float64)
    covs = torch.tensor([[[0.5]], [[0.8]]], dtype=torch.float64)
    reward = Quadratic(torch.tensor([0.7], dtype=torch.float64), torch.tensor([[0.3]], dtype=torch.float64))
    x = torch.tensor([0.4], dtype=torch.float64)

    def results(first: torch.Tensor) -> torch.Tensor:
        law = GaussianMixture(torch.stack([first, 1.0 - first]), means, covs)
        made = conditional_law(VP(), law, reward, 0.5, x, 0.5)
        return torch.stack(
            [
                value(VP(), law, reward, 0.5, x, 0.5),
                optimal_action(VP(), law, reward, 0.5, x, 0.5)[0],
                made.weights[0],
                made.mean[0],
            ]
        )

    at = torch.tensor(0.0, dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(results, at)
    # One-sided differences of second order: what they leave out is of the size of the square of the step.
    step = 1e-5
    near = [results(at + k * step) for k in range(3)]
    wanted = (-3.0 * near[0] + 4.0 * near[1] - near[2]) / (2.0 * step)
    assert torch.all(torch.abs(wanted) > 1e-3)
    torch.testing.assert_close(slopes, wanted, rtol=1e-6, atol=1e-8)
