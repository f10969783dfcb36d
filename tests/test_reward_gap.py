"""Sampler stochasticity: limits, both namespaces, derivatives and refusals of the closed forms."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from driftproof import UnmetHypothesis
from driftproof.numerics.samplers import euler_maruyama_step
from driftproof.theory import reward_gap as rg
from driftproof.theory.laws import Gaussian, GaussianMixture
from driftproof.theory.processes import CIR, VE, VP, Flow
from driftproof.theory.reward_gap.quadrature import running, times
from driftproof.theory.rewards import Linear, Quadratic, tilted

PROCESSES = [VP(0.1, 8.0, 1.0), VE(0.3, 9.0, 1.0), Flow()]
ETAS = [0.0, 0.3, 1.0, 1.5, 3.0]


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("eta", ETAS)
def test_terminal_moments_are_propagated_from_the_prior(process, eta):
    prior = {VP: 1.0, Flow: 1.0}.get(type(process), float(process.sigma(1.0)) ** 2)
    found = rg.terminal_moments(process, 0.7, 0.49, eta)
    chained = rg.propagate(process, 0.7, 0.49, eta, 1.0, 0.0, 0.0, prior)
    np.testing.assert_allclose([float(v) for v in found], [float(v) for v in chained], rtol=1e-14)


@pytest.mark.parametrize("process", PROCESSES)
def test_narrow_data_are_found_by_every_eta(process):
    """As the data shrink to a point the signal at T vanishes, and with it every error but the ODE's mean."""
    for eta in ETAS[2:]:
        mean, variance = rg.terminal_moments(process, 0.7, 1e-12, eta)
        assert abs(float(mean) - 0.7) < 1e-5
        assert 0.0 <= float(variance) < 2e-12


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("kappa", [1.0, 1.7])
def test_data_without_variance_are_sampled_without_error(process, eta, kappa):
    mean, variance = rg.terminal_moments(process, 0.7, 0.0, eta, kappa=kappa, shift=0.2)
    assert (float(mean), float(variance)) == (pytest.approx(0.9, rel=1e-15), 0.0)
    c, h = kappa * (1.0 + eta * eta), 1e-9
    if c > 1.4 or c == 1.0:  # the slope in the variance is finite, and nearly reached at h
        v = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(rg.terminal_moments(process, 0.7, v, eta, kappa=kappa)[1], v)
        rise = float(rg.terminal_moments(process, 0.7, h, eta, kappa=kappa)[1]) / h
        assert float(slope) == pytest.approx(rise, rel=1e-2, abs=1e-3)


def test_the_terminal_law_of_data_on_a_line_stays_on_it():
    a, m = np.asarray([1.0, 2.0]), np.asarray([0.5, -0.3])
    line = Gaussian(m, np.outer(a, a))
    for process in PROCESSES:
        for eta in ETAS:
            found = rg.terminal_law(process, line, eta)
            near = rg.terminal_law(process, Gaussian(m, np.outer(a, a) + 1e-10 * np.eye(2)), eta)
            np.testing.assert_allclose(found.cov, near.cov, atol=1e-8)
            np.testing.assert_allclose(np.asarray([2.0, -1.0]) @ np.asarray(found.cov), 0.0, atol=1e-13)
            np.testing.assert_allclose(
                found.mean, near.mean, atol=1e-3
            )  # an exponent of half of the fraction


def test_a_prior_with_all_of_the_signal_is_returned():
    """q -> 1: the sampler does nothing to what it starts from."""
    process = VE(1e-6, 2e-6, 1.0)
    mean, variance = rg.terminal_moments(process, 5.0, 1.0, 1.0, prior_variance=3.0)
    assert abs(float(mean)) < 1e-10
    assert abs(float(variance) - 3.0) < 1e-10


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("eta", ETAS[1:])
def test_continuous_powers(process, eta):
    """At kappa (1 + eta^2) = 1 and 2 a power becomes a logarithm: the neighbours agree."""
    for c in (1.0, 2.0):
        kappa = c / (1 + eta * eta)
        if isinstance(process, Flow):
            continue
        at, near = (
            np.asarray(rg.terminal_moments(process, 0.7, 0.49, eta, kappa=k))
            for k in (kappa, kappa * (1 + 1e-9))
        )
        np.testing.assert_allclose(at, near, rtol=1e-6)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_policy_gradient_is_that_of_autograd(process):
    for eta in ETAS:
        shift = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
        m, v = (torch.tensor(x, dtype=torch.float64) for x in (0.3, 0.49))
        mean, _ = rg.terminal_moments(process, m, v, eta, shift=shift)
        (slope,) = torch.autograd.grad(mean, shift)
        assert abs(float(slope) - float(rg.policy_gradient_mean(process, 0.49, eta))) < 1e-13


def test_fisher_information_is_the_curvature_of_the_kl_by_autograd():
    shift = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    m, v = (torch.tensor(x, dtype=torch.float64) for x in (0.3, 0.49))
    kl = rg.path_kl(VP(), m, v, 0.5, shift=shift)
    (slope,) = torch.autograd.grad(kl, shift, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, shift)
    assert float(curvature) == pytest.approx(float(rg.fisher_information(VP(), 0.49, 0.5)), rel=1e-12)


def test_rewards_and_gaps_on_torch_are_those_on_numpy():
    cov, c, q = [[0.9, 0.35], [0.35, 0.4]], [0.7, -1.2], [[1.5, 0.4], [0.4, -0.3]]
    tensor = lambda x: torch.tensor(x, dtype=torch.float64)
    process = VP(0.1, 3.0, 1.0)
    for reward, same in ((Quadratic(c, q), Quadratic(tensor(c), tensor(q))), (Linear(c), Linear(tensor(c)))):
        data, again = Gaussian([0.8, -0.5], cov), Gaussian(tensor([0.8, -0.5]), tensor(cov))
        ours = rg.reward_gap(process, data, reward, 1.0, kappa=1.1, shift=0.2)
        theirs = rg.reward_gap(process, again, same, 1.0, kappa=1.1, shift=0.2)
        assert isinstance(theirs, torch.Tensor)
        assert float(ours) == pytest.approx(float(theirs), abs=1e-14)
        best, other = tilted(data, reward, 2.0), tilted(again, same, 2.0)
        np.testing.assert_allclose(best.cov, other.cov.numpy(), atol=1e-14)
        x = [[0.1, 2.0], [-1.0, 0.5]]
        np.testing.assert_allclose(reward.gradient(x), same.gradient(tensor(x)).numpy(), atol=1e-14)
        assert reward.value(x).shape == (2,)


def test_a_shift_is_a_vector_in_the_given_coordinates():
    data = Gaussian([0.8, -0.5], [[0.9, 0.35], [0.35, 0.4]])
    law = rg.terminal_law(Flow(), data, 0.7, shift=np.asarray([0.1, -0.3]))
    np.testing.assert_allclose(law.mean, [0.9, -0.8], atol=1e-14)
    np.testing.assert_allclose(law.cov, data.cov, atol=1e-14)


def test_quadratic_expectations_need_two_moments_only():
    mixture = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [[[0.5]], [[0.5]]])
    reward = Quadratic([2.0], [[2.0]])
    assert float(reward.expectation(mixture)) == float(reward.expectation(Gaussian([0.0], [[1.5]])))


def test_quadrature_is_exact_for_polynomials_and_reaches_singular_ends():
    t, w = times(2.0)
    assert float(np.sum(w * t**20)) == pytest.approx(2.0**21 / 21, rel=1e-13)
    inside, whole = running(t**5, 2.0)
    np.testing.assert_allclose(inside, t**6 / 6, rtol=1e-12, atol=1e-14)
    assert whole == pytest.approx(2.0**6 / 6, rel=1e-13)
    assert float(np.sum(w * (2.0 - t) ** -0.5)) == pytest.approx(2 * 2**0.5, rel=1e-5)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_a_sampled_toy_has_the_moments_of_the_formula(eta):
    """Exact moments of 2000 Euler steps of the library: within their O(1/N) of the formula."""
    process = VP(6.0, 6.0, 1.0)

    def step(x, t, s, noise):
        total = float(process.alpha(t)) ** 2 * 0.49 + float(process.sigma(t)) ** 2
        score = -1.2 * (x - float(process.alpha(t)) * 0.7) / total
        return euler_maruyama_step(process, x, t, s, score, eta, noise)

    means, variances = rg.sampler_moments(step, np.linspace(1.0, 0.0, 2001).tolist(), 0.0, 1.0)
    want = rg.terminal_moments(process, 0.7, 0.49, eta, kappa=1.2)
    np.testing.assert_allclose([means[-1], variances[-1]], [float(v) for v in want], rtol=1e-2)


def test_the_tuned_toy_beats_its_neighbours_at_other_scales():
    toy = rg.DDPOToy(VE(0.3, 9.0, 1.0), 0.2, 0.49, target=1.0, beta=0.2)
    best = toy.tuned(1.0)
    top = toy.objective(best.theta, best.kappa, 1.0)
    for theta, kappa in ((0.05, 0.0), (-0.05, 0.0), (0.0, 0.05), (0.0, -0.05)):
        assert toy.objective(best.theta + theta, best.kappa + kappa, 1.0) < top
    assert best.gap == best.deployed - best.trained


def test_ddim_breaks_where_it_is_said_to():
    grid = np.linspace(1.0, 0.05, 20)
    limits = [float(rg.ddim_eta_limit(VP(), t, s)) for t, s in pairwise(grid)]
    for eta in (1.0, 1.05, 1.2, 2.0):
        breaks = [
            float(rg.ddim_variance(VP(), t, s, eta)) > float(VP().sigma(s)) ** 2 for t, s in pairwise(grid)
        ]
        assert breaks == [eta > limit for limit in limits]


@pytest.mark.parametrize(
    "call",
    [
        lambda: rg.terminal_moments(VP(), 0.0, 1.0, -0.5),
        lambda: rg.terminal_moments(VP(), 0.0, 1.0, math.inf),
        lambda: rg.terminal_moments(VP(), 0.0, 1.0, 1.0, kappa=0.0),
        lambda: rg.terminal_moments(VP(), 0.0, -1.0, 1.0),
        lambda: rg.terminal_moments(VP(), 0.0, 1.0, 1.0, prior_variance=-1.0),
        lambda: rg.terminal_moments(CIR(1.0, 1.0, 1.0), 0.0, 1.0, 1.0),
        lambda: rg.terminal_moments(Flow(), 0.0, 1.0, 0.0, kappa=0.9),
        lambda: rg.propagate(VP(), 0.0, 1.0, 1.0, 1.5, 0.5, 0.0, 1.0),
        lambda: rg.propagate(VP(), 0.0, 1.0, 1.0, 0.5, 0.5, 0.0, 1.0),
        lambda: rg.error_weight(Flow(), 1.0, 0.5, 1.0),
        lambda: rg.path_kl_factor(0.0),
        lambda: rg.path_kl(Flow(), 0.0, 1.0, 1.0, kappa=1.1),
        lambda: rg.fisher_information(VP(), 1.0, 0.0),
        lambda: rg.reinforce_variance(VP(), 0.0, 1.0, 0.0),
        lambda: rg.ddim_eta_limit(VP(), 0.2, 0.3),
        lambda: rg.gddim_variance(VP(), 1.2, 0.3, 1.0),
        lambda: rg.sampler_moments(lambda x, t, s, z: x, [0.0, 1.0], 0.0, 1.0),
        lambda: rg.sampler_moments(lambda x, t, s, z: abs(x), [1.0, 0.0], 0.0, 1.0),
        lambda: rg.flow_grpo_eta(-1.0),
        lambda: rg.w2_bound(Flow(), 1.0, 0.1, lambda t: 1.0 + t),
        lambda: rg.DDPOToy(VP(), 0.0, -1.0),
        lambda: rg.DDPOToy(VP(), 0.0, 1.0, beta=0.0),
        lambda: rg.DDPOToy(Flow(), 0.0, 1.0),
        lambda: rg.DDPOToy(VP(), 0.0, 1.0, target=math.nan),
        lambda: rg.DDPOToy(VP(), 0.0, 1.0).tuned(0.0),
        lambda: rg.signal_fraction(Flow(), 1.0, 1.5),
        lambda: rg.error_weight(VP(), 1.0, 1.0, 7.0),
        lambda: rg.mixture_contraction(Flow(), 1.0, 1.0, 1.0, 1.5),
        lambda: rg.mixture_monotonicity(Flow(), 1.0, 1.0, 1.5),
        lambda: rg.w2_bound(VP(), 1.0, 0.1, lambda t: math.nan * t),
        lambda: rg.w2_bound(VP(), 1.0, 0.1, lambda t: 1.0 + t, lambda t: -t),
        lambda: rg.mean_error(VP(), 1.0, 1.0, lambda t: math.nan * t),
        lambda: rg.sampler_moments(lambda x, t, s, z: x, [1.0, 0.0], math.nan, 1.0),
        lambda: rg.terminal_law(VP(), Gaussian([0.0, 0.0], np.eye(2)), 1.0, shift=np.ones(3)),
        lambda: rg.reward_gap(VP(), Gaussian([0.0, 0.0], np.eye(2)), Linear([1.0]), 1.0),
        lambda: Linear(1.0),
        lambda: Linear([math.inf]),
        lambda: Linear([1.0, 2.0]).value([1.0]),
        lambda: Linear([1.0, 2.0]).expectation(Gaussian([0.0], [[1.0]])),
        lambda: Quadratic([1.0], [[math.inf]]),
        lambda: Quadratic([1.0, 2.0], np.eye(2)).gradient([1.0]),
        lambda: tilted(Gaussian([0.0, 0.0], np.eye(2)), Linear([1.0]), 1.0),
        lambda: Quadratic([1.0], [[1.0, 0.0], [0.0, 1.0]]),
        lambda: tilted(Gaussian([0.0], [[1.0]]), Quadratic([0.0], [[-1.0]]), 1.0),
    ],
)
def test_unmet_hypotheses_are_named(call):
    with pytest.raises(UnmetHypothesis, match="hypothesis"):
        call()
