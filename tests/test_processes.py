"""What every forward process must satisfy: each process is tested by being listed in ``PROCESSES``."""

import math
import pickle

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from driftproof import UnmetHypothesis
from driftproof.theory.laws import Discrete, Gamma, Gaussian, LogNormal, Mixture, NoncentralChi2, Normal
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow, LinearClock
from driftproof.theory.tweedie import conjugate_posterior

CLOCK = LinearClock(0.5, 3.0, 1.0)
PROCESSES = [
    VP(0.1, 20.0, 1.0),
    VE(0.1, 3.0, 1.0),
    Flow(),
    GBM(mu=0.3, sigma=0.8),
    GBM(mu=-0.3, sigma=0.8, clock=CLOCK),
    BESQ(0.5),
    BESQ(2.0),
    BESQ(9.0, clock=CLOCK),
    CIR(kappa=1.5, theta=0.4, sigma=1.0),
    CIR(kappa=1.0, theta=0.1, sigma=1.2, clock=CLOCK),  # Feller condition violated
    CIR(kappa=1e-9, theta=1e9, sigma=1.0),  # the limit of BESQ(4) in the clock t/4
]
each_process = pytest.mark.parametrize(
    "process", PROCESSES, ids=lambda p: f"{type(p).__name__}-{PROCESSES.index(p)}"
)


def moment(law, power):
    mean = float(law.mean)
    return mean if power == 1 else float(law.variance) + mean**2


@each_process
def test_transition_solves_the_moment_equations(process):
    """d/dt E X = E b and d/dt E X^2 = E[2 X b + a]: coefficients against transitions, without a path."""
    x0, t, step = 0.8, 0.4, 1e-4
    law = process.transition(x0, t)
    slope = {
        k: (moment(process.transition(x0, t + step), k) - moment(process.transition(x0, t - step), k))
        / (2 * step)
        for k in (1, 2)
    }
    # Coefficients are polynomials of degree at most 2 in x: three points determine their expectation.
    nodes = np.asarray([0.5, 1.0, 1.5])
    b, a = process.drift(nodes, t), process.diffusion(nodes, t)
    expect = lambda values: sum(
        c * (1.0, moment(law, 1), moment(law, 2))[k] for k, c in enumerate(np.polyfit(nodes, values, 2)[::-1])
    )
    assert expect(b) == pytest.approx(slope[1], rel=1e-6, abs=1e-7)
    # 2 x b has degree 2 since b is affine.
    assert expect(2 * nodes * b + a) == pytest.approx(slope[2], rel=1e-6, abs=1e-7)


@pytest.mark.slow(ci=True)
@each_process
def test_chapman_kolmogorov(process):
    """Noising discrete data to s and on to t is noising to t: the bridge is the quotient of densities."""
    x0, xt, s, t = 0.7, 1.1, 0.25, 0.6
    bridge = process.bridge(x0, xt, s, t)
    density = lambda y: math.exp(float(bridge.log_prob(y)))
    lowest = -np.inf if process.support == "finite" else 0.0
    if lowest == 0.0:
        density = lambda y: 8 * y**7 * math.exp(float(bridge.log_prob(y**8)))
        mass = quad(density, 1e-6, 0.8, limit=200)[0] + quad(density, 0.8, 3.0, limit=200)[0]
    else:
        mass = quad(density, lowest, np.inf)[0]
    assert mass == pytest.approx(1.0, abs=1e-8)
    # p(y | x0) p(xt | y) / p(xt | x0), the second factor by reversing the roles of the two ends.
    y = np.asarray([0.3, 0.9, 1.6])
    forward = process.transition(x0, s).log_prob(y) - process.transition(x0, t).log_prob(xt)
    step = bridge.log_prob(y) - forward
    # Any other starting point must give the same second factor, up to its own normalisation.
    other = 1.9
    again = process.bridge(other, xt, s, t).log_prob(y) - (
        process.transition(other, s).log_prob(y) - process.transition(other, t).log_prob(xt)
    )
    np.testing.assert_allclose(step, again, rtol=1e-9, atol=1e-9)


@each_process
def test_marginal_of_discrete_data_is_the_mixture_of_transitions(process):
    data, t = Discrete([0.4, 1.0, 2.5], [0.2, 0.3, 0.5]), 0.3
    x = np.asarray([0.2, 1.0, 3.0])
    want = sum(
        w * np.exp(process.transition(a, t).log_prob(x))
        for w, a in zip(data.weights, data.atoms, strict=True)
    )
    np.testing.assert_allclose(np.exp(process.marginal(data, t).log_prob(x)), want, rtol=1e-12)


HOMOGENEOUS = [p for p in PROCESSES if isinstance(p, GBM | BESQ | CIR) and p.clock != CLOCK]


@pytest.mark.parametrize("process", HOMOGENEOUS, ids=lambda p: type(p).__name__)
def test_marginals_compose(process):
    """The marginal at t of the marginal at s is the marginal at s + t."""
    data = LogNormal(0.1, 0.3) if process.support == "> 0" else None
    if data is None:
        data = NoncentralChi2(process.delta, 1.3, 0.4)
    x = np.asarray([0.2, 1.0, 3.0])
    twice = process.marginal(process.marginal(data, 0.2), 0.5)
    np.testing.assert_allclose(twice.log_prob(x), process.marginal(data, 0.7).log_prob(x), rtol=1e-11)


@each_process
def test_reverse_drift_is_the_stated_combination(process):
    x, t = np.asarray([0.3, 1.2]), 0.4
    score = np.asarray([-0.7, 0.2])
    a, step = process.diffusion(x, t), 1e-6
    slope = (process.diffusion(x + step, t) - process.diffusion(x - step, t)) / (2 * step)
    for eta in (0.0, 0.3, 1.0, 1.5):
        want = -process.drift(x, t) + 0.5 * (1 + eta**2) * (a * score + slope)
        np.testing.assert_allclose(process.reverse_drift(x, t, score, eta), want, rtol=1e-7, atol=1e-9)


@each_process
def test_namespaces_dtypes_and_pickles(process):
    x = np.asarray([0.3, 1.2])
    law = process.transition(torch.from_numpy(x), 0.4)
    np.testing.assert_allclose(
        law.log_prob(torch.from_numpy(x)).numpy(), process.transition(x, 0.4).log_prob(x), rtol=1e-13
    )
    single = process.reverse_drift(torch.tensor([0.3]), 0.4, torch.tensor([0.1]))
    assert single.dtype == torch.float32
    assert pickle.loads(pickle.dumps(process)) == process


@pytest.mark.parametrize("t", [1e-6, 1.0, 1e3])
@pytest.mark.parametrize("delta", [0.5, 1.0, 2.0, 2.0001, 4.0, 9.0])
def test_squared_bessel_densities_at_the_edges(delta, t):
    law = BESQ(delta).transition(np.asarray([0.0, 1e-12, 1.0, 1e8])[:, None], t)
    x = np.asarray([1e-12, 1.0, 1e8])
    values = law.log_prob(x)
    assert values.shape == (4, 3)
    assert not np.any(np.isnan(values))
    assert np.all(np.isfinite(law.score(x)))


def test_conjugate_data_stay_conjugate():
    process = CIR(kappa=1.5, theta=0.4, sigma=1.0)
    law = process.marginal(Gamma(0.5 * process.delta, 0.7), 0.4)
    decay, rho = float(process.decay(0.4)), float(process.rho(0.4))
    assert float(law.scale) == pytest.approx(0.7 * decay + 2 * rho, rel=1e-15)
    far = process.marginal(Gamma(0.5 * process.delta, 0.7), 200.0)
    assert float(far.scale) == pytest.approx(float(process.stationary().scale), rel=1e-14)


def test_gaussian_data_on_the_plane_and_singular_covariance():
    law = VP().marginal(Gaussian([1.0, 2.0], [[1.0, 1.0], [1.0, 1.0]]), 0.5)
    alpha, sigma = float(VP().alpha(0.5)), float(VP().sigma(0.5))
    np.testing.assert_allclose(law.cov, alpha**2 * np.ones((2, 2)) + sigma**2 * np.eye(2), rtol=1e-14)
    cloud = Flow().marginal(Discrete([[0.0, 1.0], [2.0, 3.0]]), 0.5)
    assert np.asarray(cloud.log_prob([0.5, 0.5])).shape == ()


def test_mixture_data():
    data = Mixture([0.5, 0.5], LogNormal([0.0, 1.0], 0.2))
    law = GBM(mu=0.1, sigma=0.5).marginal(data, 1.0)
    assert float(law.mean) == pytest.approx(float(data.mean) * math.exp(0.1), rel=1e-13)


def test_time_may_be_an_array_per_sample():
    t = np.asarray([[0.1], [0.5]])
    x0 = np.ones((2, 3))
    law = CIR(kappa=1.0, theta=1.0, sigma=1.0).transition(x0, t)
    one = CIR(kappa=1.0, theta=1.0, sigma=1.0).transition(1.0, 0.5)
    assert law.log_prob(x0).shape == (2, 3)
    np.testing.assert_allclose(law.log_prob(x0)[1], one.log_prob(1.0), rtol=1e-15)
    mixture = BESQ(2.0).marginal(Discrete([0.5, 1.0]), np.asarray([0.1, 0.5]))
    assert mixture.log_prob(np.ones(2)).shape == (2,)


@each_process
def test_paths_follow_the_caller(process):
    x0, times = np.asarray([[0.5, 1.0], [2.0, 0.1]]), np.asarray([0.0, 0.3, 0.9])
    path = process.simulate(x0, times, 1)
    assert path.shape == (3, 2, 2) and np.array_equal(path[0], x0)
    assert np.isfinite(path).all() and (process.support == "finite" or (path >= 0).all())
    theirs = process.simulate(torch.as_tensor(x0), torch.as_tensor(times), 1)
    np.testing.assert_allclose(theirs, path, rtol=1e-9)
    half = process.simulate(torch.tensor([0.5, 1.0]).bfloat16(), [0.3, 0.9], torch.Generator().manual_seed(0))
    assert half.dtype == torch.bfloat16 and half.shape == (2, 2)


def test_short_steps_keep_their_digits():
    """The noise of a step of 1e-9 is the root of its rate times the step, to the digits of the step."""
    import array_api_compat.numpy as xp

    t = np.asarray(0.5)
    for process in (VP(), VE(), Flow()):
        _, noise = process.between(xp, t, t + 2.0**-30)
        rate = float(process.rates(xp, t)[1])
        assert float(noise) ** 2 * 2.0**30 == pytest.approx(rate, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: BESQ(0.0), UnmetHypothesis, "delta > 0"),
        (lambda: BESQ(-1.0), UnmetHypothesis, "delta > 0"),
        (lambda: CIR(-1.0, 1.0, 1.0), UnmetHypothesis, "kappa > 0"),
        (lambda: CIR(1.0, 1.0, math.inf), UnmetHypothesis, "sigma is finite"),
        (lambda: CIR(np.ones(2), 1.0, 1.0), TypeError, "real number for kappa, got ndarray"),
        (lambda: GBM(0.0, 0.0), UnmetHypothesis, "sigma > 0"),
        (lambda: VE(1.0, 0.5, 1.0), UnmetHypothesis, "sigma_max > sigma_min"),
        (lambda: LinearClock(0.0, 1.0, 1.0), UnmetHypothesis, "beta_min > 0"),
        (lambda: CIR(1.0, 0.04, 1.0).require_feller("scheme"), UnmetHypothesis, r"Feller.*\(0.08 < 1\)"),
        (lambda: BESQ(2.0).transition(1.0, 0.0), UnmetHypothesis, "t > 0"),
        (lambda: Flow().transition(1.0, 1.5), UnmetHypothesis, r"t in \[0, 1\]"),
        (lambda: Flow().marginal(Normal(0.0, 1.0), 1.5), UnmetHypothesis, r"t in \[0, 1\]"),
        (lambda: Flow().alpha(2.0), UnmetHypothesis, r"t in \[0, 1\]"),
        (lambda: BESQ(2.0).transition(-1.0, 1.0), UnmetHypothesis, "x0 >= 0"),
        (lambda: GBM(0.0, 1.0).transition(0.0, 1.0), UnmetHypothesis, "x0 > 0"),
        (lambda: GBM(0.0, 1.0).marginal(Discrete([0.0, 1.0]), 1.0), UnmetHypothesis, "atoms > 0"),
        (lambda: BESQ(2.0).marginal(Normal(0.0, 1.0), 1.0), UnmetHypothesis, "data law is Gamma"),
        (lambda: BESQ(2.0).marginal(NoncentralChi2(3.0, 1.0, 1.0), 1.0), UnmetHypothesis, "df = delta"),
        (lambda: BESQ(2.0).bridge(1.0, 1.0, 0.5, 0.5), UnmetHypothesis, "0 < s < t"),
        (lambda: BESQ(2.0).drift(np.asarray([1]), 0.5), TypeError, "real floating"),
        (lambda: BESQ(2.0).drift(np.ones(1), torch.ones(1)), TypeError, "one namespace"),
        (lambda: VP().reverse_drift(0.0, 0.5, 0.0, -0.1), UnmetHypothesis, "eta >= 0"),
        (lambda: BESQ(2.0).simulate(-1.0, [0.5], 0), UnmetHypothesis, "x0 >= 0"),
        (lambda: VP().simulate(0.0, [0.5, 0.5], 0), UnmetHypothesis, "times rise"),
        (lambda: VP().simulate(0.0, 0.5, 0), UnmetHypothesis, r"times \(n,\)"),
        (lambda: VP().simulate(0.0, np.zeros(0), 0), UnmetHypothesis, "n >= 1"),
        (lambda: Flow().simulate(0.0, [0.5, 1.5], 0), UnmetHypothesis, r"times in \[0, 1\]"),
        (
            lambda: conjugate_posterior(BESQ(2.0), Gamma(2.0, 1.0), 1.0, 1.0),
            UnmetHypothesis,
            "conjugate",
        ),
    ],
)
def test_bad_input_names_what_fails(make, error, words):
    with pytest.raises(error, match=words):
        make()
