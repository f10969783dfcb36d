"""Rollouts, adjoints, targets and bounds: on numpy and torch, and what they refuse."""

import numpy as np
import pytest
import torch

from driftproof import UnmetHypothesis
from driftproof.numerics.adjoint import (
    AffinePolicy,
    Trajectory,
    adjoints,
    chosen_steps,
    control_target,
    full_adjoints,
    matching_loss,
    matching_round,
    optimum_interval,
    policy_rollout,
    quantile_mask,
    rollout,
    sample_losses,
    step_probabilities,
    trajectory_costs,
    uncontrolled,
)
from driftproof.theory.adjoint import BallCost, DiscreteFlow, GaussianFlow, HuberCost, uniform_times
from driftproof.theory.rewards import Linear, Quadratic

MEAN, COV = [1.3, -0.2], [[0.49, 0.2], [0.2, 1.1]]
FLOW, REWARD, LAM = GaussianFlow(MEAN, COV), Quadratic([0.8, 0.1], [[1.7, -0.3], [-0.3, 0.4]]), 0.9
TIMES = uniform_times(8)
NOISE = np.random.default_rng(0).normal(size=(5, 2))


def torch_problem():
    make = lambda v: torch.tensor(v, dtype=torch.float64)
    return GaussianFlow(make(MEAN), make(COV)), Quadratic(torch.tensor(REWARD.c), torch.tensor(REWARD.Q))


def bent(x, t):
    """Some velocity that is not affine."""
    return torch.sin(x @ torch.tensor([[1.0, 0.4], [-0.3, 0.8]], dtype=x.dtype)) * (1.0 + t)


def bent_vjp(x, t, a):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(bent(x, t), x, a)[0]


def test_one_source_on_numpy_and_torch():
    flow, reward = torch_problem()
    ours, theirs = uncontrolled(FLOW, 8), uncontrolled(flow, 8)
    for _ in range(3):
        ours = matching_round(FLOW, ours, REWARD, LAM, NOISE, TIMES)
        theirs = matching_round(flow, theirs, reward, LAM, torch.tensor(NOISE), TIMES)
    np.testing.assert_allclose(theirs.gains.numpy(), ours.gains, atol=1e-12)
    np.testing.assert_allclose(theirs.offsets.numpy(), ours.offsets, atol=1e-12)


def test_the_discrete_adjoint_is_the_derivative_of_the_end():
    """Against autograd through the whole rollout of a velocity that is not affine, at every state."""
    noise = torch.tensor(NOISE)
    path = rollout(bent, noise, TIMES)
    gradient = torch.cos(path.end)
    after = adjoints(path, gradient, bent_vjp)
    for k in range(8):
        x = path.states[k + 1].clone().requires_grad_()
        end = rollout(bent, x, TIMES[k + 1 :]).end if k < 7 else x
        (want,) = torch.autograd.grad(torch.sin(end).sum(), x)
        torch.testing.assert_close(after[k], -want, rtol=1e-12, atol=1e-14)


def test_heun_is_nearer_to_continuous_time():
    """Second order against first, for the Gaussian flow whose adjoint is known."""
    errors = {}
    for rule in ("discrete", "heun"):
        for n in (100, 200, 400):
            path = rollout(FLOW.velocity, np.zeros((1, 2)), uniform_times(n))
            first = adjoints(path, np.ones((1, 2)), FLOW.vjp, rule=rule)[0]
            errors[rule, n] = np.abs(first - -np.ones((1, 2)) @ FLOW.transition(path.times[1])).max()
    for n in (100, 200):
        assert 1.6 < errors["discrete", n] / errors["discrete", 2 * n] < 2.4
        assert 3.4 < errors["heun", n] / errors["heun", 2 * n] < 4.6


@pytest.mark.parametrize("last", [1, 3, 8])
def test_truncation_takes_as_many_products_as_it_says(last):
    calls = []

    def counted(x, t, a):
        calls.append(t)
        return FLOW.vjp(x, t, a)

    path = rollout(FLOW.velocity, NOISE, TIMES)
    whole = adjoints(path, NOISE, FLOW.vjp)
    train = adjoints(path, NOISE, counted, last=last)
    assert len(calls) == last - 1
    frozen = adjoints(path, NOISE, FLOW.vjp, last=last, mode="frozen")
    identity = adjoints(path, NOISE, FLOW.vjp, last=last, mode="identity")
    for k in range(8):
        if k >= 8 - last:
            np.testing.assert_array_equal(train[k], whole[k])
            np.testing.assert_array_equal(frozen[k], whole[k])
            np.testing.assert_array_equal(identity[k], -NOISE)
        else:
            assert train[k] is None and identity[k] is None
            np.testing.assert_array_equal(frozen[k], whole[8 - last])


def test_damped_rounds_end_at_the_same_optimum():
    policy = uncontrolled(FLOW, 8)
    for _ in range(80):
        policy = matching_round(FLOW, policy, REWARD, LAM, NOISE, TIMES, damping=0.4)
    path, controls = policy_rollout(FLOW, policy, NOISE, TIMES)
    grid = DiscreteFlow(FLOW, TIMES)
    for k, u in enumerate(controls):
        np.testing.assert_allclose(u, grid.control(path.states[k], k, REWARD, LAM), atol=1e-12)


def test_truncated_rounds_lose_the_predicted_gap():
    """On the grid, for a linear reward, whose controls without the first steps lose what those would bring."""
    reward, last = Linear([1.0, -0.5]), 3
    grid = DiscreteFlow(FLOW, TIMES)
    policy = matching_round(FLOW, uncontrolled(FLOW, 8), reward, LAM, NOISE, TIMES, last=last)
    path, controls = policy_rollout(FLOW, policy, NOISE, TIMES)
    costs = trajectory_costs(path, controls, reward.value(path.end), LAM)
    base = rollout(FLOW.velocity, NOISE, TIMES)
    least = -reward.value(base.end) - 0.5 * reward.c @ grid.gramian(LAM) @ reward.c
    lost = 0.5 * reward.c @ (grid.gramian(LAM) - grid.gramian(LAM, start=8 - last)) @ reward.c
    np.testing.assert_allclose(costs - least, np.full(5, lost), atol=1e-13)


def test_full_adjoints_of_an_uncontrolled_policy_are_lean():
    path = rollout(FLOW.velocity, NOISE, TIMES)
    full = full_adjoints(path, NOISE, FLOW.vjp, lambda x, t, a: 0.0 * a, lambda k, a: a)
    np.testing.assert_array_equal(np.asarray(full), np.asarray(adjoints(path, NOISE, FLOW.vjp)))


def test_targets_of_images_use_the_norm_of_a_whole_sample():
    a = np.ones((2, 1, 2, 2))  # norm 2
    np.testing.assert_allclose(control_target(a, 1.0, BallCost(1.0)), 0.5 * a)


def test_masks_keep_ties_and_round_up():
    assert quantile_mask([1.0, 1.0, 2.0], 0.34).tolist() == [1.0, 1.0, 0.0]
    assert quantile_mask([1.0, 3.0, 2.0], 1.0).tolist() == [1.0, 1.0, 1.0]
    assert quantile_mask([5.0], 0.01).tolist() == [1.0]


def test_chosen_steps_near_the_ends_of_the_strata():
    p = step_probabilities(4)
    assert chosen_steps(p, [0.0] * 4)[0][0] == 0
    assert chosen_steps(p, [1.0 - 2.0**-53] * 4)[-1][0] == 3
    assert chosen_steps([1.0], [0.3]) == [(0, 1.0)]


class NoGradient:
    def value(self, x):
        return x[..., 0]


PATH = rollout(FLOW.velocity, NOISE, TIMES)


@pytest.mark.parametrize(
    ("call", "hypothesis"),
    [
        (lambda: rollout(FLOW.velocity, NOISE, [0.0, 1.0]), "times decrease"),
        (lambda: rollout(FLOW.velocity, NOISE, [1.0]), "times decrease"),
        (lambda: rollout(FLOW.velocity, NOISE[:0], TIMES), "the batch is not empty"),
        (lambda: rollout(lambda x, t: x[:, :1], NOISE, TIMES), "the velocity has the shape"),
        (lambda: rollout(lambda x, t: x / 0.0, np.ones((1, 1)), TIMES), "states stay finite"),
        (lambda: adjoints(PATH, NOISE[:, :1], FLOW.vjp), "the gradient has the shape"),
        (lambda: adjoints(PATH, NOISE, FLOW.vjp, last=0), r"last in 1\.\.8"),
        (lambda: adjoints(PATH, NOISE, FLOW.vjp, last=9), r"last in 1\.\.8"),
        (lambda: adjoints(PATH, NOISE, FLOW.vjp, mode="drop"), "mode is one of"),
        (lambda: adjoints(PATH, NOISE, FLOW.vjp, rule="rk4"), "rule is one of"),
        (lambda: control_target(NOISE, 0.0), "lam > 0"),
        (lambda: control_target(NOISE, 1.0, damping=1.0), "damping in"),
        (lambda: control_target(NOISE[0], 1.0), "a batch"),
        (lambda: control_target(100.0 * NOISE, 1.0, HuberCost(1.0)), "no bounded minimiser"),
        (lambda: control_target(NOISE, 1.0, damping=0.5), "damping needs the current controls"),
        (lambda: control_target(NOISE, 1.0, current=NOISE[:1]), "current .* like a"),
        (lambda: sample_losses(NOISE, NOISE[:, :1]), "control and target"),
        (lambda: quantile_mask([1.0], 0.0), "share in"),
        (lambda: quantile_mask(np.zeros(0), 0.5), "of at least one"),
        (lambda: chosen_steps([0.5, 0.5], [1.0]), "uniforms in"),
        (lambda: chosen_steps([0.5, 0.5], [np.nan]), "uniforms in"),
        (lambda: optimum_interval(np.nan, 1.0, 1.0), "objective is finite"),
        (lambda: trajectory_costs(PATH, [NOISE] * 8, NOISE[:2, 0], 1.0), "one reward for each trajectory"),
        (lambda: policy_rollout(FLOW, uncontrolled(FLOW, 9), NOISE, TIMES), "a control for each step"),
        (
            lambda: matching_round(FLOW, uncontrolled(FLOW, 8), REWARD, LAM, np.ones((5, 2)), TIMES),
            "samples that determine",
        ),
        (lambda: step_probabilities(4, late_share=1.0), "late_share in"),
        (lambda: step_probabilities(0), "count >= 1"),
        (lambda: chosen_steps([0.5, 0.4], [0.1]), "with sum 1"),
        (lambda: chosen_steps([1.0], []), "at least one uniform"),
        (lambda: trajectory_costs(PATH, [NOISE], NOISE[:, 0], 1.0), "one control for each step"),
        (lambda: trajectory_costs(PATH, [NOISE] * 8, NOISE[:, 0], -1.0), "lam > 0"),
        (lambda: matching_loss(PATH, [NOISE] * 8, [NOISE] * 7, 1.0), "one control and one adjoint"),
        (lambda: optimum_interval(0.0, -1.0, 1.0), "loss >= 0"),
        (lambda: matching_round(FLOW, uncontrolled(FLOW, 8), NoGradient(), LAM, NOISE, TIMES), "no gradient"),
        (lambda: matching_round(FLOW, uncontrolled(FLOW, 8), REWARD, LAM, NOISE[:2], TIMES), "more samples"),
        (lambda: matching_round(FLOW, uncontrolled(FLOW, 8), REWARD, -1.0, NOISE, TIMES), "lam > 0"),
    ],
)
def test_bad_input_names_the_hypothesis(call, hypothesis):
    with np.errstate(all="ignore"), pytest.raises(UnmetHypothesis, match=hypothesis):
        call()


def test_true_is_no_number():
    for call in (
        lambda: adjoints(PATH, NOISE, FLOW.vjp, last=True),
        lambda: FLOW.gramian(1.0, lam=True),
        lambda: FLOW.gramian(True, lam=1.0),
    ):
        with pytest.raises(TypeError, match="got bool"):
            call()


def test_steps_of_a_trajectory_are_positive():
    assert Trajectory((1.0, 0.25), (NOISE, NOISE)).steps == (0.75,)
    assert AffinePolicy(np.zeros((1, 2, 2)), np.ones((1, 2))).control(0, NOISE).tolist() == [[1.0, 1.0]] * 5


@pytest.mark.parametrize(
    ("call", "hypothesis"),
    [
        (lambda x, p: adjoints(p, x, lambda x, t, a: a[..., 0]), "vjp gives the shape"),
        (lambda x, p: adjoints(p, x, lambda x, t, a: np.nan * a), "adjoints stay finite"),
        (lambda x, p: adjoints(p, np.nan * x, lambda x, t, a: a), "adjoints stay finite"),
        (
            lambda x, p: full_adjoints(p, x, lambda x, t, a: a, lambda x, t, a: a[:1], lambda k, a: a),
            "vjp gives the shape",
        ),
        (lambda x, p: control_target(x, 1e-320), "results are finite"),
        (lambda x, p: control_target(x[:0], 1.0), "the batch is not empty"),
        (lambda x, p: matching_loss(p, [x, x], [None, None], 0.0), "lam > 0"),
    ],
)
def test_what_would_be_broadcast_or_overflow_is_refused(call, hypothesis):
    x = np.array([[0.5, 1.0], [-1.0, 2.0]])
    path = rollout(lambda x, t: x, x, uniform_times(2))
    with pytest.raises(UnmetHypothesis, match=hypothesis):
        call(x, path)
