"""Deterministic control of Gaussian flows: what the claims do not cover, and bad input."""

import array_api_compat.torch as xt
import numpy as np
import pytest
import torch

from driftproof import UnmetHypothesis
from driftproof.theory.adjoint import (
    ArcCost,
    BallCost,
    DiscreteFlow,
    ElasticCost,
    GaussianFlow,
    HuberCost,
    MemorylessFlow,
    MetricFlow,
    MixtureFlow,
    NoisyFlow,
    PowerCost,
    QuadraticCost,
    RegularizedFlow,
    gain_errors,
    uniform_times,
)
from driftproof.theory.laws import Gaussian, Mixture, Normal
from driftproof.theory.rewards import Linear, Quadratic

PLANE = ([1.3, -0.2], [[0.49, 0.2], [0.2, 1.1]])
FLOW = GaussianFlow(*PLANE)
BENT = Quadratic([0.8, 0.1], [[1.7, -0.3], [-0.3, 0.2]])
X = np.array([[0.3, -1.0], [2.0, 0.5]])
GRID = DiscreteFlow(FLOW, uniform_times(3))


@pytest.mark.parametrize("path", ["linear", "trigonometric"])
def test_the_flow_carries_noise_to_data(path):
    """Marginals by the levels; velocities by differences of the flow map."""
    flow = GaussianFlow(*PLANE, path=path)
    np.testing.assert_allclose(flow.transition(1.0) @ flow.transition(1.0), flow.cov, atol=1e-14)
    np.testing.assert_allclose(flow.endpoint(np.zeros(2), 1.0), flow.mean, atol=1e-15)
    np.testing.assert_allclose(flow.endpoint(X, 0.0), X, atol=1e-15)
    h, t = 1e-5, 0.6
    back = np.linalg.inv(flow.transition(t))
    moved = (flow.endpoint(X, t + h) - flow.endpoint(X, t - h)) / (2 * h)
    np.testing.assert_allclose(flow.velocity(X, t), -moved @ back, atol=1e-9)
    jacobian = torch.func.jacrev(lambda x: flow_on_torch(flow).velocity(x, t))(
        torch.zeros(2, dtype=torch.float64)
    )
    np.testing.assert_allclose(flow.vjp(X, t, X), X @ jacobian.numpy(), atol=1e-14)


def flow_on_torch(flow):
    return GaussianFlow(torch.tensor(flow.mean), torch.tensor(flow.cov), path=flow.path)


def test_without_noise_the_diffusion_is_the_flow():
    still = NoisyFlow(FLOW, 0.0)
    np.testing.assert_allclose(still.value(X, 0.7, BENT, 0.9), FLOW.value(X, 0.7, BENT, 0.9), rtol=1e-13)
    np.testing.assert_allclose(still.control(X, 0.7, BENT, 0.9), FLOW.control(X, 0.7, BENT, 0.9), rtol=1e-12)
    np.testing.assert_array_equal(NoisyFlow(FLOW, 1e-170).gramian(1.0, 0.9), FLOW.gramian(1.0, 0.9))
    theirs = NoisyFlow(flow_on_torch(FLOW), 0.7)
    reward = Quadratic(torch.tensor(BENT.c), torch.tensor(BENT.Q))
    ours = NoisyFlow(FLOW, 0.7).control(X, 0.7, BENT, 0.9)
    np.testing.assert_allclose(theirs.control(torch.tensor(X), 0.7, reward, 0.9).numpy(), ours, rtol=1e-13)


def test_a_metric_is_that_of_the_space_and_regular():
    for metric in ([[1.0]], [[1.0, 0.0], [0.0, 0.0]], [[1.0, 2.0], [2.0, 1.0]]):
        with pytest.raises(UnmetHypothesis, match="metric"):
            MetricFlow(FLOW, metric)
    theirs = MetricFlow(flow_on_torch(FLOW), torch.tensor([[0.9, 0.35], [0.35, 0.5]], dtype=torch.float64))
    reward = Quadratic(torch.tensor(BENT.c), torch.tensor(BENT.Q))
    ours = MetricFlow(FLOW, [[0.9, 0.35], [0.35, 0.5]]).control(X, 0.7, BENT)
    np.testing.assert_allclose(theirs.control(torch.tensor(X), 0.7, reward).numpy(), ours, rtol=1e-12)


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf"), 1e200])
def test_noise_has_a_finite_square(noise):
    with pytest.raises(UnmetHypothesis, match="noise >= 0"):
        NoisyFlow(FLOW, noise)


def test_numpy_and_torch_agree():
    twin, reward = flow_on_torch(FLOW), Quadratic(torch.tensor(BENT.c), torch.tensor(BENT.Q))
    x = torch.tensor(X)
    for name in ("value", "control"):
        ours, theirs = getattr(FLOW, name)(X, 0.7, BENT, 0.9), getattr(twin, name)(x, 0.7, reward, 0.9)
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-13)
    np.testing.assert_allclose(
        MemorylessFlow(twin).control(x, 0.7, reward, 0.9).numpy(),
        MemorylessFlow(FLOW).control(X, 0.7, BENT, 0.9),
    )
    cost = BallCost(0.4)
    np.testing.assert_allclose(
        RegularizedFlow(twin, cost).endpoint(x, 0.8, reward, 0.9).numpy(),
        RegularizedFlow(FLOW, cost).endpoint(X, 0.8, BENT, 0.9),
        rtol=1e-12,
    )


def test_the_moreau_solver_finds_the_closed_form():
    """The same quadratic reward as an object of another kind goes through Newton's method."""

    class Plain:
        value, gradient = staticmethod(BENT.value), staticmethod(BENT.gradient)

    np.testing.assert_allclose(FLOW.value(X, 1.0, Plain(), 0.9), FLOW.value(X, 1.0, BENT, 0.9), rtol=1e-12)
    np.testing.assert_allclose(FLOW.control(X, 0.3, Plain(), 0.9), FLOW.control(X, 0.3, BENT, 0.9), rtol=1e-9)


def test_extremes_of_the_weight():
    """A dear control changes nothing; a cheap one reaches the maximum of the reward."""
    best = np.linalg.solve(BENT.Q, BENT.c)
    np.testing.assert_allclose(FLOW.terminal_law(BENT, 1e9).mean, FLOW.mean, atol=1e-8)
    np.testing.assert_allclose(FLOW.terminal_law(BENT, 1e-9).mean, best, atol=1e-7)
    np.testing.assert_allclose(FLOW.terminal_law(BENT, 1.0, tau=0.0).cov, FLOW.cov, atol=1e-15)


def test_one_step_and_narrow_data():
    """A grid of one step lands on the mean; sigma = 1e-6 keeps its digits."""
    single = DiscreteFlow(FLOW, [1.0, 0.0])
    np.testing.assert_allclose(single.uncontrolled_law().mean, FLOW.mean, atol=1e-14)
    np.testing.assert_allclose(single.gramian(2.0), 0.5 * np.eye(2), atol=1e-15)
    narrow = GaussianFlow([0.0], [[1e-12]])
    np.testing.assert_allclose(narrow.gramian(1.0, 1.0), [[0.5e-6 * np.pi]], rtol=1e-12)


def test_the_discrete_laws_by_simulation_of_the_covariance():
    """Push mean and covariance through the controlled steps, one after the other."""
    grid = DiscreteFlow(FLOW, uniform_times(9))
    points = np.vstack([np.zeros(2), np.eye(2)])
    x = points
    for k, h in enumerate(grid.steps):
        x = x - h * (FLOW.velocity(x, grid.times[k]) + grid.control(x, k, BENT, 0.9))
    factor = (x[1:] - x[0]).T
    law = grid.terminal_law(BENT, 0.9)
    np.testing.assert_allclose(law.mean, x[0], atol=1e-13)
    np.testing.assert_allclose(law.cov, factor @ factor.T, atol=1e-13)
    assert isinstance(law, Gaussian)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    ("call", "hypothesis"),
    [
        (lambda: GaussianFlow([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]]), "cov is not singular"),
        (lambda: GaussianFlow([0.0], [[1.0]], path="cosine"), "path is one of"),
        (lambda: FLOW.gramian(1.5, 1.0), r"noise times lie in \[0, 1\]"),
        (lambda: FLOW.gramian(1.0, 0.0), "lam > 0"),
        (lambda: FLOW.gramian(1.0, -2.0), "lam > 0"),
        (lambda: FLOW.gramian(1.0, float("nan")), "lam > 0"),
        (lambda: FLOW.weighted_gramian(1.0, 1.0, lambda s: -1.0), "weight > 0"),
        (lambda: FLOW.weighted_gramian(1.0, 1.0, lambda s: 1.0 - s), "the weight keeps the Gramian finite"),
        (lambda: FLOW.value(X, 1.0, object(), 1.0), "the reward has a value and a gradient"),
        (lambda: FLOW.control([[0.0]], 1.0, BENT, 1.0), r"x \(\.\.\., d\)"),
        (lambda: FLOW.control(X, 1.0, Linear([1.0]), 1.0), "the reward lives on the space"),
        (lambda: FLOW.terminal_law(Quadratic([0.0, 0.0], -2.0 * np.eye(2)), 1.0), r"I \+ G Q is invertible"),
        (lambda: FLOW.truncated_gain(0.5, 1.0, "drop"), "mode is one of"),
        (lambda: FLOW.truncation_gap(BENT, 0.5, 1.0, "train"), "the reward is Linear"),
        (lambda: DiscreteFlow(FLOW, [0.0, 1.0]), "times decrease from 1 to 0"),
        (lambda: DiscreteFlow(FLOW, uniform_times(3), index=-1), "index is 1"),
        (lambda: GRID.control(X, -1, BENT, 1.0), r"step in 0\.\.2"),
        (lambda: GRID.control(X, 3, BENT, 1.0), r"step in 0\.\.2"),
        (lambda: GRID.transition(-1), r"step in 0\.\.2"),
        (lambda: GRID.endpoint(X, 4), r"step in 0\.\.3"),
        (lambda: GRID.gramian(1.0, -1), r"step in 0\.\.3"),
        (lambda: FLOW.truncation_gap(Linear([1.0]), 0.5, 1.0, "train"), "the reward lives on the space"),
        (lambda: FLOW.value(X[:0], 1.0, BENT, 1.0), "not empty"),
        (lambda: MemorylessFlow(FLOW).control(X[:, :1], 0.5, BENT, 1.0), r"x \(\.\.\., d\)"),
        (lambda: gain_errors(float("inf"), 1.0, 3, "lean"), r"1 \+ G q > 0"),
        (lambda: gain_errors(1.0, 1.0, -1, "lean"), "count >= 0"),
        (lambda: gain_errors(1e4, 1.0, 3, "full"), "polynomials resolve the gain"),
        (lambda: mixture().flow_map(float("nan"), 1.0, 0.0), "x is finite"),
        (lambda: mixture().velocity(0.0, 2.0), r"noise times lie in \[0, 1\]"),
        (lambda: mixture([-2.0, 0.0, 2.0]).jump(Linear([0.5]), 1.0), "the optimum jumps at one noise"),
        (lambda: mixture([-4.0, 0.0, 4.0]).jump(Linear([0.5]), 1.0), "two trajectories compete and no third"),
        (
            lambda: mixture([-4.0, 0.0, 4.0]).upper_mass(2.0, Linear([0.5]), 1.0, local=True),
            "two modes have a branch each",
        ),
        (lambda: uniform_times(0), "steps >= 1"),
        (lambda: MemorylessFlow(GaussianFlow(*PLANE, path="trigonometric")), "the path is linear"),
        (lambda: gain_errors(-1.0, 2.0, 3, "lean"), r"1 \+ G q > 0"),
        (lambda: PowerCost(1.0), "p > 1"),
        (lambda: BallCost(0.0), "bound > 0"),
        (lambda: ElasticCost(float("inf")), "kappa > 0"),
        (lambda: HuberCost(1.0).control([2.0]), "no bounded minimiser"),
        (lambda: ArcCost().control([1.0]), "no bounded minimiser"),
        (lambda: RegularizedFlow(FLOW, HuberCost(0.1)).endpoint(X, 1.0, BENT, 1.0), "no bounded minimiser"),
        (lambda: MixtureFlow(Normal(0.0, 1.0)), "the law is Mixture"),
        (lambda: mixture().tilted(Quadratic([0.0], [[-5.0]]), 1.0), r"1 \+ sigma\^2 q / lam > 0"),
        (lambda: mixture().tilted(Linear([1.0, 2.0]), 1.0), "in one dimension"),
    ],
)
def test_bad_input_names_the_hypothesis(call, hypothesis):
    with pytest.raises(UnmetHypothesis, match=hypothesis):
        call()


def mixture(modes=(-2.0, 2.0)):
    return MixtureFlow(Mixture([1.0 / len(modes)] * len(modes), Normal(list(modes), [0.5] * len(modes))))


def test_a_strong_reward_leaves_one_trajectory_for_each_noise():
    """The reward lifts all endpoints beyond the upper mode: nothing tears, whatever coarse steps would say."""
    assert mixture().jump(Linear([20.0]), 1.0) is None
    assert mixture().upper_mass(0.0, Linear([20.0]), 1.0) == 1.0


def test_a_reward_that_bends_up_too_fast_is_refused():
    """Not quadratic: found by the solver, not by a formula."""

    class Steep:
        value = staticmethod(lambda x: np.sum(np.cosh(3.0 * x), axis=-1))
        gradient = staticmethod(lambda x: 3.0 * np.sinh(3.0 * x))

    with pytest.raises(UnmetHypothesis, match="endpoint"):
        FLOW.control(np.zeros((1, 2)), 1.0, Steep(), 0.5)


def test_a_maximum_in_two_directions_is_no_minimum():
    """Two negative eigenvalues have a positive product: the sign of a determinant would not tell."""
    plane = RegularizedFlow(GaussianFlow([0.0, 0.0], np.eye(2)), QuadraticCost())
    with pytest.raises(UnmetHypothesis, match="the endpoint is a minimum"):
        plane.endpoint([0.3, 0.2], 1.0, Quadratic([0.1, 0.1], -5.0 * np.eye(2)), 1.0)


def test_gaps_vanish_next_to_the_end_without_cancellation():
    """All but 1e-9 of a steep path is exact: what is lost is positive, and known to second order."""
    tau = 1.0 - 1e-9
    for path in ("linear", "trigonometric"):
        flow = GaussianFlow([0.0], [[1e12]], path=path)
        rest = float(flow.gramian(1.0, 1.0)[0, 0] - flow.gramian(tau, 1.0)[0, 0])
        gap = float(flow.truncation_gap(Linear([1.0]), tau, 1.0, "frozen"))
        assert abs(gap) < 1e-10 * rest


def test_weighted_gramians_in_single_precision():
    flow = GaussianFlow(np.float32([0.0]), np.float32([[0.49]]))
    found = flow.weighted_gramian(0.5, 1.0, lambda s: 1.0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, flow.gramian(0.5, 1.0), rtol=1e-6)


def test_quantile_maps_far_in_the_tails():
    """Fifty deviations out the map is that of the outer component: -2 or 2, and half of the distance."""
    for sign in (-1.0, 1.0):
        image, slope = mixture().flow_map(50.0 * sign, 1.0, 0.0), mixture().slope(50.0 * sign, 1.0, 0.0)
        np.testing.assert_allclose([sign * image, slope], [27.0, 0.5], atol=0.01)


@pytest.mark.slow
def test_modes_are_treated_alike():
    """Mirrored reward, mirrored masses: of the optimum and of what rounds of matching reach."""
    for local in (False, True):
        up, down = (mixture().upper_mass(0.0, Linear([c]), 1.0, local=local) for c in (0.5, -0.5))
        np.testing.assert_allclose(up + down, 1.0, atol=1e-8)


def test_one_component_has_no_jump():
    flow = MixtureFlow(Mixture([1.0], Normal([1.3], [0.7])))
    reward = Quadratic([0.8], [[1.7]])
    assert flow.jump(reward, 1.0) is None
    law = GaussianFlow([1.3], [[0.49]]).terminal_law(reward, 1.0)
    mass = flow.upper_mass(0.5, reward, 1.0)
    z = (0.5 - float(law.mean[0])) / float(law.cov[0, 0]) ** 0.5
    np.testing.assert_allclose(
        mass, 0.5 * (1.0 - torch.erf(torch.tensor(z / 2**0.5, dtype=torch.float64))), rtol=1e-8
    )


def test_costs_differentiate_and_compile_free_of_nan():
    """At zero, where the norm has no derivative, the control has one (or none is asked for)."""
    zero = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    for cost in (BallCost(0.5), ElasticCost(0.5), PowerCost(1.5)):
        (slope,) = torch.autograd.grad(cost.control_kernel(xt, zero).sum(), zero)
        assert bool(torch.isfinite(slope).all())


def test_weights_down_to_the_smallest_keep_digits_or_are_refused():
    """As the weight goes to 0 the optimum is the peak of a concave reward, where its gradient cancels."""
    flow, reward = GaussianFlow([0.3], [[0.49]]), Quadratic([0.8], [[1.7]])
    peak, y = 0.8 / 1.7, float(flow.endpoint([0.2], 1.0)[0])
    pull = -float(flow.transition(1.0)[0, 0]) * (0.8 - 1.7 * y) / (1.7 * float(flow.gramian(1.0, 1.0)[0, 0]))
    grid = DiscreteFlow(flow, uniform_times(4))
    swing = float(grid.transition(0)[0, 0]) * (0.8 - 1.7 * float(grid.endpoint([0.2])[0]))
    for lam in (1e-12, 1e-200, 1e-300):
        np.testing.assert_allclose(flow.optimal_endpoint([0.2], 1.0, reward, lam), [peak], rtol=1e-11)
        np.testing.assert_allclose(flow.value([0.2], 1.0, reward, lam), -0.5 * 0.8 * peak, rtol=1e-11)
        np.testing.assert_allclose(flow.control([0.2], 1.0, reward, lam), [pull], rtol=1e-11)
        np.testing.assert_allclose(flow.terminal_law(reward, lam).mean, [peak], rtol=1e-11)
        gain = 1.7 * float(grid.gramian(1.0)[0, 0])
        np.testing.assert_allclose(grid.control([0.2], 0, reward, lam), [-swing / gain], rtol=1e-11)
    assert (
        abs(float(MemorylessFlow(flow).irreducible_loss(reward, 1e9)) / (0.25 * (0.49 * 1.7e-9) ** 2) - 1)
        < 1e-8
    )


@pytest.mark.parametrize("lam", [1e-320, 1e-308])
@pytest.mark.parametrize(
    "call",
    [
        lambda lam: FLOW.gramian(1.0, 0.01 * lam),
        lambda lam: FLOW.value(X, 1.0, BENT, 0.01 * lam),
        lambda lam: FLOW.control(X, 1.0, Linear([8.0, 1.0]), lam),
        lambda lam: FLOW.truncated_gain(0.5, 0.01 * lam, "train"),
        lambda lam: FLOW.truncation_gap(Linear([8.0, 1.0]), 0.5, lam, "train"),
        lambda lam: GRID.gramian(0.01 * lam),
        lambda lam: MemorylessFlow(FLOW).value(X, 0.5, Linear([8.0, 1.0]), lam),
        lambda lam: RegularizedFlow(FLOW, QuadraticCost()).value(X, 0.5, Linear([8.0, 1.0]), lam),
        lambda lam: MixtureFlow(Mixture([0.5, 0.5], Normal([-2.0, 2.0], [0.5, 0.5]))).upper_mass(
            0.0, Linear([1.0]), lam
        ),
    ],
)
def test_weights_without_finite_results_are_refused(call, lam):
    with np.errstate(all="ignore"), pytest.raises(UnmetHypothesis, match=r"finite|solution"):
        call(lam)


class _Flat:
    """A reward whose gradient has lost an axis."""

    def value(self, x):
        return x[..., 0]

    def gradient(self, x):
        return x[..., 0]


class _Broken(_Flat):
    def gradient(self, x):
        return np.nan * x


@pytest.mark.parametrize(
    ("call", "hypothesis"),
    [
        (lambda: MemorylessFlow(FLOW).control(X, 0.5, object(), 1.0), "Linear or Quadratic"),
        (
            lambda: RegularizedFlow(FLOW, QuadraticCost()).control(X, 0.5, object(), 1.0),
            "value and a gradient",
        ),
        (lambda: RegularizedFlow(FLOW, QuadraticCost()).endpoint(X, 0.5, _Flat(), 1.0), "shape of the state"),
        (lambda: FLOW.value(X, 0.5, _Flat(), 1.0), "shape of the state"),
        (lambda: FLOW.value(X, 0.5, _Broken(), 1.0), "NaN or infinity"),
        (
            lambda: MixtureFlow(Mixture([0.5, 0.5], Normal([-2.0, 2.0], [0.5, 0.5]))).upper_mass(
                0.0, Quadratic([0.8], [[-5.0]]), 1.0, local=True
            ),
            "each mode keeps a branch",
        ),
    ],
)
def test_rewards_that_are_none_are_named(call, hypothesis):
    with pytest.raises(UnmetHypothesis, match=hypothesis):
        call()
