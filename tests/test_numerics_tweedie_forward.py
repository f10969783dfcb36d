"""Exact forward sampling: every draw against a distribution function that was derived another way.

Statistical checks run at level ALPHA on fixed seeds; a Kolmogorov-Smirnov test of 20000 draws sees a
distance of 0.035 with probability 0.999, a mean test of as many draws 0.07 standard deviations.
"""

import array_api_compat.numpy
import array_api_strict
import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from scipy.integrate import cumulative_simpson
from scipy.special import gammainc

from driftproof import UnmetHypothesis
from driftproof.numerics.montecarlo import (
    distribution_test,
    goodness_of_fit_test,
    mean_test,
    poisson_test,
    two_sample_distribution_test,
)
from driftproof.numerics.tweedie import sample_bridge, sample_transition, sample_with_count
from driftproof.theory.laws.bessel_count import BesselCount
from driftproof.theory.processes import BESQ, CIR, GBM, VP, Flow, LinearClock

ALPHA = 1e-9  # about 60 checks: 6e-8 false alarms a run
N = 20_000

SQUARED = [
    BESQ(0.3),
    BESQ(1.0),
    BESQ(3.0),
    CIR(1.0, 0.2, 1.0),
    CIR(2.0, 1.0, 0.8, LinearClock(0.5, 2.0, 1.0)),
]
each_squared = pytest.mark.parametrize("process", SQUARED, ids=["0.3", "1", "3", "cir", "cir-clock"])


@pytest.fixture(params=[array_api_compat.numpy, array_api_strict], ids=["numpy", "strict"])
def xp(request):
    return request.param


def holds(verdict):
    assert not verdict.rejects, str(verdict)


def noncentral(process, x0, t):
    """The transition in scipy's words."""
    decay, rho = float(process.decay(t)), float(process.rho(t))
    return scipy.stats.ncx2(process.delta, max(x0, 1e-30) * decay / rho, scale=rho)


@each_squared
@pytest.mark.parametrize("x0", [0.0, 0.7, 30.0])
def test_transitions_have_their_law(process, x0):
    x = sample_transition(process, np.full(N, x0), 0.4, 1)
    assert (x > 0).all()
    holds(distribution_test(x, noncentral(process, x0, 0.4).cdf, ALPHA))


@pytest.mark.parametrize(
    ("process", "law"),
    [
        (GBM(0.3, 0.5), scipy.stats.lognorm(0.5 * 0.4**0.5, scale=2.0 * np.exp(0.175 * 0.4))),
        (VP(), scipy.stats.norm(2.0 * np.exp(-0.5 * (0.04 + 1.592)), np.sqrt(-np.expm1(-1.632)))),
        (Flow(), scipy.stats.norm(1.2, 0.4)),
    ],
    ids=["GBM", "VP", "Flow"],
)
def test_lognormal_and_normal_transitions(process, law):
    holds(distribution_test(sample_transition(process, np.full(N, 2.0), 0.4, 2), law.cdf, ALPHA))


@each_squared
def test_the_count_is_poisson_and_the_state_is_gamma_given_it(process):
    x0, t = 1.3, 0.4
    x, count = sample_with_count(process, np.full(N, x0), t, 3)
    decay, rho = float(process.decay(t)), float(process.rho(t))
    holds(poisson_test(count.astype(int), 0.5 * x0 * decay / rho, ALPHA))
    # The probability integral transform given the count is uniform.
    holds(
        distribution_test(
            gammainc(0.5 * process.delta + count, 0.5 * x / rho), lambda u: np.clip(u, 0, 1), ALPHA
        )
    )


@pytest.mark.parametrize("nu", [-0.95, -0.5, 0.0, 2.7, 40.0])
@pytest.mark.parametrize("z", [0.3, 4.0, 90.0])
def test_bessel_counts_have_their_law(nu, z):
    law = BesselCount(nu, z)
    draws = law.sample((N,), 4).astype(int)
    n = np.arange(draws.max() + 2)
    mass = np.exp(law.log_prob(n.astype(float)))
    mass[-1] += max(1.0 - mass.sum(), 0.0)  # beyond the largest draw
    observed = np.bincount(draws, minlength=n.size)
    kept = mass > 1e-12
    assert observed[~kept].sum() == 0
    holds(goodness_of_fit_test(observed[kept], mass[kept] / mass[kept].sum(), ALPHA))


@pytest.mark.parametrize("z", [0.3, 4.0, 90.0, 2e3])
@pytest.mark.parametrize("nu", [-0.95, 0.0, 2.7, 40.0])
def test_bessel_masses_and_moments_against_fifty_digits(nu, z):
    law = BesselCount(nu, z)
    with mpmath.workdps(50):
        i = lambda order: mpmath.besseli(order, mpmath.mpf(z))
        mean = mpmath.mpf(z) / 2 * i(nu + 1) / i(nu)
        variance = mpmath.mpf(z) ** 2 / 4 - mean**2 - nu * mean
        for n in (0, 1, int(mean), int(mean) + 7):
            gammas = mpmath.loggamma(n + 1) + mpmath.loggamma(n + nu + mpmath.mpf(1))
            mass = (2 * n + nu) * mpmath.log(mpmath.mpf(z) / 2) - gammas - mpmath.log(i(nu))
            assert float(law.log_prob(float(n))) == pytest.approx(float(mass), abs=2e-14 * (1 + z))
    assert float(law.mean) == pytest.approx(float(mean), rel=1e-13)
    assert float(law.variance) == pytest.approx(float(variance), rel=1e-12 * (1 + nu * nu))


def test_bessel_counts_at_the_ends():
    assert (BesselCount(0.5, np.zeros(100)).sample((), 0) == 0).all()
    assert float(BesselCount(0.5, 0.0).variance) == 0.0
    for z in (1e6, 1e12):  # far beyond where a log-gamma would have digits left
        law = BesselCount(1.5, z)
        scaled = (law.sample((N,), 5) - float(law.mean)) / float(law.variance) ** 0.5
        holds(mean_test(scaled, 0.0, ALPHA, sd=1.0))
        holds(distribution_test(scaled + 1e-9, scipy.stats.norm.cdf, ALPHA))


def bridge_cdf(process, x0, xt, s, t):
    """P(X_s <= y) from p_s(y | x0) p_{t-s}(xt | y), by Simpson's rule in y^(1/8)."""
    decay_s, decay_t, rho_s, rho_t = (
        float(v) for v in (process.decay(s), process.decay(t), process.rho(s), process.rho(t))
    )
    decay = decay_t / decay_s
    rho = rho_t - rho_s * decay
    top = (max(x0, xt) + 60 * rho_s) ** 0.125
    w = np.linspace(1e-6, top, 40_001)
    y = w**8
    later = scipy.stats.ncx2.logpdf(max(xt, 1e-12) / rho, process.delta, y * decay / rho)
    log_density = noncentral(process, x0, s).logpdf(y) + later + 7 * np.log(w)
    density = np.exp(log_density - log_density.max())
    mass = cumulative_simpson(density, x=w, initial=0.0)
    return lambda x: np.clip(np.interp(x**0.125, w, mass / mass[-1]), 0.0, 1.0)


@pytest.mark.slow(ci=True)
@each_squared
@pytest.mark.parametrize(("x0", "xt"), [(0.0, 0.5), (1.5, 0.4), (0.8, 0.0), (2.0, 9.0)])
def test_bridges_have_their_law(process, x0, xt):
    x = sample_bridge(process, np.full(N, x0), xt, 0.3, 0.8, 6)
    holds(distribution_test(x, bridge_cdf(process, x0, xt, 0.3, 0.8), ALPHA))


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("process", [*SQUARED, GBM(0.3, 0.5), VP(), Flow()], ids=lambda p: type(p).__name__)
def test_a_bridge_between_draws_is_a_draw(process):
    """Exchangeability of order: (X_t, then X_s by the bridge) has the transition at s."""
    xt = sample_transition(process, np.full(N, 1.2), 0.8, 7)
    x = sample_bridge(process, np.full(N, 1.2), xt, 0.3, 0.8, 8)
    y = process.transition(np.full(N, 1.2), 0.3).sample((), 9)
    again = sample_transition(process, np.full(N, 1.2), 0.3, 10)
    holds(two_sample_distribution_test(x, y, ALPHA))
    holds(two_sample_distribution_test(x, again, ALPHA))


def test_positivity_is_structural_and_rates_may_be_huge():
    tiny = sample_transition(BESQ(1e-3), torch.zeros(1000), 1.0, 0)
    assert (tiny >= 0).all() and tiny.dtype == torch.float32
    assert (sample_bridge(BESQ(0.1), np.zeros(1000), np.zeros(1000), 0.5, 1.0, 0) >= 0).all()
    far = sample_transition(BESQ(0.5), np.full(N, 1e12), 1e-4, 11)  # Poisson rate 5e15
    holds(mean_test((far - 1e12) / (4e-4 * 1e12) ** 0.5, 0.0, ALPHA, sd=1.0))
    single = sample_transition(BESQ(3.0), torch.full((N,), 1e9), 1.0, 12)  # float32, noncentrality 1e9
    assert float(single.std()) == pytest.approx(2 * 1e9**0.5, rel=0.05)


def test_one_seed_gives_the_same_draws_on_both_backends():
    x0 = np.linspace(0.0, 4.0, 300)
    for process in (BESQ(0.5), BESQ(3.0), CIR(1.0, 0.2, 1.0), VP()):
        ours = sample_transition(process, x0, 0.4, 13)
        theirs = sample_transition(process, torch.asarray(x0), 0.4, 13)
        assert theirs.numpy() == pytest.approx(ours, rel=1e-12)
        ours = sample_bridge(process, x0, x0 + 0.1, 0.2, 0.4, 14)
        theirs = sample_bridge(process, torch.asarray(x0), torch.asarray(x0 + 0.1), 0.2, 0.4, 14)
        assert theirs.numpy() == pytest.approx(ours, rel=1e-9)


def test_the_torch_generator_draws_the_same_law():
    generator = torch.Generator().manual_seed(0)
    x = sample_bridge(BESQ(0.3), torch.full((N,), 1.5, dtype=torch.float64), 0.4, 0.3, 0.8, generator)
    holds(distribution_test(x, bridge_cdf(BESQ(0.3), 1.5, 0.4, 0.3, 0.8), ALPHA))


def test_draws_in_the_namespace_under_test(xp):
    x0 = xp.asarray([0.0, 1.0, 2.0], dtype=xp.float64)
    assert sample_transition(BESQ(0.5), x0, 0.4, 0).shape == (3,)
    assert sample_bridge(BESQ(0.5), x0, x0, 0.2, 0.4, 0).dtype == x0.dtype


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: sample_transition(BESQ(1.0), np.asarray([-1.0]), 1.0, 0), UnmetHypothesis, "x0 >= 0"),
        (lambda: sample_transition(GBM(0.0, 1.0), np.asarray([0.0]), 1.0, 0), UnmetHypothesis, "x0 > 0"),
        (lambda: sample_transition(BESQ(1.0), np.ones(3), 0.0, 0), UnmetHypothesis, "t > 0"),
        (lambda: sample_transition(BESQ(1.0), np.ones(3, dtype=int), 1.0, 0), TypeError, "int64"),
        (lambda: sample_transition(BESQ(1.0), np.ones(0), 1.0, 0), UnmetHypothesis, "not empty"),
        (lambda: sample_transition(BESQ(1.0), np.ones(3), 1.0, None), TypeError, "rng"),
        (lambda: sample_with_count(VP(), np.ones(3), 1.0, 0), UnmetHypothesis, "BESQ or CIR"),
        (lambda: sample_bridge(BESQ(1.0), np.ones(3), 1.0, 1.0, 1.0, 0), UnmetHypothesis, "s < t"),
        (lambda: sample_bridge(BESQ(1.0), np.ones(3), 1.0, 0.0, 1.0, 0), UnmetHypothesis, "s > 0"),
        (lambda: sample_bridge(VP(), np.ones(0), 1.0, 0.5, 1.0, 0), UnmetHypothesis, "not empty"),
        (lambda: BesselCount(-1.0, 1.0), UnmetHypothesis, "nu > -1"),
        (lambda: BesselCount(np.ones(2), 1.0), TypeError, "real number for nu"),
        (lambda: BesselCount(0.0, 1.0).score(1.0), UnmetHypothesis, "density"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
