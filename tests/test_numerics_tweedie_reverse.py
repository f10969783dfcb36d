"""Reverse steps: exact where exactness is claimed, of order 1 where that is claimed, wrong where that is.

For conjugate data the count is linear in the state, so that a step has affine moments.  Feeding it a
source that answers with means instead of draws reads them off to rounding: no Monte Carlo.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import array_api_compat.numpy
import array_api_compat.torch as torch_namespace
import array_api_strict
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.stats import ncx2

from driftproof import UnmetHypothesis
from driftproof._random import Source
from driftproof.numerics.tweedie import (
    bessel_mean_inverse,
    bridge_step,
    log_euler_step,
    matched_bridge_step,
    matched_start,
    noncentral_step,
    reverse_drift_from_count,
    truncated_euler_step,
)
from driftproof.theory.laws import Discrete
from driftproof.theory.processes import BESQ, CIR, GBM, VP, LinearClock, reverse_drift
from driftproof.theory.special import bessel_ratio
from driftproof.theory.tweedie import conditional_count, poisson_count
from driftproof.theory.tweedie.oracles import posterior_weights

ATOMS = Discrete([0.2, 1.0, 3.0], [0.3, 0.5, 0.2])
SQUARED = [BESQ(0.8), BESQ(4.0), CIR(1.0, 0.2, 1.0), CIR(2.0, 1.0, 0.8, LinearClock(0.5, 2.0, 1.0))]
each_squared = pytest.mark.parametrize("process", SQUARED, ids=["0.8", "4", "cir", "cir-clock"])


@pytest.fixture(params=[array_api_compat.numpy, array_api_strict], ids=["numpy", "strict"])
def xp(request):
    return request.param


def exact_count(process, x, t):
    """E[N | X_t = x] for the data ATOMS: a finite sum."""
    p = posterior_weights(process, ATOMS, x, t)
    return np.sum(p * conditional_count(process, ATOMS.atoms, x[..., None], t), axis=-1)


@dataclass(frozen=True)
class Means(Source):
    """Answers with the mean of what is asked for; ``gamma`` may answer with 1 to show the scale."""

    scale_only: bool = False

    def normal(self, like):
        return 0.0 * like

    def uniform(self, like):
        return 0.0 * like + 0.5

    def gamma(self, shape):
        return 0.0 * shape + 1.0 if self.scale_only else shape

    def poisson(self, rate):
        return rate

    def adopt(self, xp, values):
        return xp, values


# -- the inverse of the Bessel mean ---------------------------------------------------------------------


@pytest.mark.parametrize("nu", [-0.99, -0.9, -0.5, 0.0, 0.37, 3.0, 200.0])
def test_the_bessel_mean_is_inverted_to_rounding(xp, nu):
    z = np.logspace(-8, 10, 400)
    n = 0.5 * z * bessel_ratio(nu, z)
    inverse = np.asarray(bessel_mean_inverse(nu, xp.asarray(n)))
    assert inverse == pytest.approx(z, rel=1e-12)
    assert float(bessel_mean_inverse(nu, 0.0)) == 0.0


@pytest.mark.parametrize("nu", [-0.99999, -0.875, 0.0, 3.0, 40.0])
def test_counts_down_to_the_least_number(nu: float) -> None:
    """There w is 4 (nu + 1) n to rounding; a step on the way to it once divided by a mean that was 0."""
    least = np.finfo(np.float64)
    sizes = (1.0, 3.0, 1e4, 0.5 / least.eps, 1.0 / least.eps, 1.5 / least.eps, 1e20)
    for n in [*(k * least.smallest_subnormal for k in sizes), *(k * least.smallest_normal for k in sizes)]:
        z = float(bessel_mean_inverse(nu, n))
        assert z == pytest.approx(2.0 * math.sqrt(nu + 1.0) * math.sqrt(n), rel=1e-15, abs=0.0)
    state = np.ones(50)
    y = matched_bridge_step(BESQ(2.0 * nu + 2.0), state, 1.0, 0.5, 5e-324 * state, 0)
    assert bool((y >= 0.0).all())


def test_the_inverse_has_the_derivative_of_the_inverse():
    n = torch.tensor([1e-3, 0.4, 2.0, 50.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda n: bessel_mean_inverse(0.3, n), (n,), eps=1e-7)


@each_squared
def test_the_matched_point_has_the_count_that_was_asked_for(process):
    x = np.asarray([1e-6, 0.3, 2.0, 40.0])
    n = np.asarray([1e-7, 0.05, 1.3, 80.0])
    x0 = matched_start(process, x, 0.4, n)
    assert conditional_count(process, x0, x, 0.4) == pytest.approx(n, rel=1e-12)
    assert float(matched_start(process, 0.0, 0.4, 0.0)) == 0.0


# -- marginals of the reverse family --------------------------------------------------------------------


def moments_backwards(process, c0, eta, drift, start, end):
    """Mean and variance of the reverse process from ``start`` to ``end``, as an ODE in noise time.

    The drift is affine, A + B y, and the squared noise linear, eta^2 a' y.
    """

    def affine(t):
        at = drift(np.asarray([0.0, 1.0, 2.0]), t)
        assert at[2] - at[1] == pytest.approx(at[1] - at[0], rel=1e-9, abs=1e-9)
        return at[0], at[1] - at[0]

    def field(tau, state):
        t = start - tau
        a, b = affine(t)
        slope = float(process.diffusion(1.0, t))
        return [a + b * state[0], 2 * b * state[1] + eta**2 * slope * state[0]]

    shape = 0.5 * process.delta
    scale = lambda t: c0 * float(process.decay(t)) + 2 * float(process.rho(t))
    state = [shape * scale(start), shape * scale(start) ** 2]
    solution = solve_ivp(field, (0.0, start - end), state, method="DOP853", rtol=1e-13, atol=1e-16)
    return solution.y[:, -1], [shape * scale(end), shape * scale(end) ** 2]


@pytest.mark.slow(ci=True)
@each_squared
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, 1.5])
def test_marginals_are_kept_for_every_eta(process, eta):
    c0 = 0.7

    def drift(x, t):
        n = x * (0.5 / process.rho(t) - 1 / (c0 * process.decay(t) + 2 * process.rho(t)))
        return reverse_drift_from_count(process, x, t, n, eta)

    got, expected = moments_backwards(process, c0, eta, drift, 1.0, 0.05)
    assert got == pytest.approx(expected, rel=1e-11)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("wrong", ["no a'", "(1 + eta)/2", "n twice"])
def test_the_moments_would_see_a_wrong_drift(wrong):
    process, c0, eta = BESQ(4.0), 0.7, 1.5

    def drift(x, t):
        n = x * (0.5 / process.rho(t) - 1 / (c0 + 2 * process.rho(t)))
        right = reverse_drift_from_count(process, x, t, n, eta)
        return {
            "no a'": right - 0.5 * (1 + eta**2) * 4.0,
            "(1 + eta)/2": reverse_drift_from_count(process, x, t, n, eta**0.5),
            "n twice": reverse_drift_from_count(process, x, t, 2 * n, eta),
        }[wrong]

    got, expected = moments_backwards(process, c0, eta, drift, 1.0, 0.05)
    assert np.max(np.abs(got / expected - 1)) > 1e-2


@each_squared
def test_the_drift_from_the_count_is_the_drift_from_the_score(xp, process):
    x = xp.asarray([0.1, 0.9, 5.0], dtype=xp.float64)
    score = xp.asarray([0.4, -1.0, -0.2], dtype=xp.float64)
    n = poisson_count(process, x, 0.3, score)
    ours = np.asarray(reverse_drift_from_count(process, x, 0.3, n, 0.7))
    assert ours == pytest.approx(np.asarray(reverse_drift(process, x, 0.3, score, 0.7)), rel=1e-12)
    # At 0 the dimension is delta: the drift is eta^2 times the forward one.
    at_zero = float(reverse_drift_from_count(process, 0.0, 0.3, 0.0, 0.7))
    assert at_zero == pytest.approx(0.49 * float(process.drift(0.0, 0.3)), rel=1e-13)


# -- one step against the exact reverse transition ------------------------------------------------------


@each_squared
def test_the_bridge_from_a_posterior_draw_is_the_exact_reverse_transition(process):
    """Sum over atoms of posterior times bridge density = p_s(y) p(x | y) / p_t(x), by Bayes."""
    s, t, x = 0.25, 0.6, 1.3
    y = np.asarray([0.01, 0.5, 1.2, 3.0])
    p = posterior_weights(process, ATOMS, x, t)
    density = np.exp(process.bridge(ATOMS.atoms, x, s, t).log_prob(y[:, None])) @ p
    decay, rho = process.between(np, np.asarray(s), np.asarray(t))
    step = ncx2.pdf(x / rho, process.delta, y * decay / rho) / rho
    reverse = np.exp(process.marginal(ATOMS, s).log_prob(y) - process.marginal(ATOMS, t).log_prob(x)) * step
    assert density == pytest.approx(reverse, rel=1e-10)


def local_error(process, step, x, t, h):
    """Mean of a step of length h, minus the state, over h, minus the exact reverse drift."""
    drift = reverse_drift_from_count(process, x, t, exact_count(process, x, t))
    return (step(process, x, t, t - h) - x) / h - drift


def matched_mean(process, x, t, s):
    x0 = matched_start(process, x, t, exact_count(process, x, t))
    return process.bridge(x0, x, s, t).mean


def plug_in_mean(process, x, t, s):
    x0 = posterior_weights(process, ATOMS, x, t) @ ATOMS.atoms
    return process.bridge(x0, x, s, t).mean


def noncentral_mean(process, x, t, s):
    return noncentral_step(process, x, t, s, exact_count(process, x, t), Means())


def posterior_mean(process, x, t, s):
    p = posterior_weights(process, ATOMS, x, t)
    return np.sum(p * process.bridge(ATOMS.atoms, x[:, None], s, t).mean, axis=-1)


@each_squared
def test_drifts_of_the_steps_as_they_get_small(process):
    x, t = np.asarray([0.2, 0.8, 2.5]), 0.4
    for step in (matched_mean, noncentral_mean, posterior_mean):
        coarse, fine = (np.abs(local_error(process, step, x, t, h)) for h in (2e-3, 1e-3))
        assert (fine < 0.02).all()
        assert coarse / fine == pytest.approx(2.0, rel=0.05)  # O(h): globally O(1 / steps)
    # The posterior mean has another count, and no step size mends that.
    wrong = local_error(process, plug_in_mean, x, t, 1e-6)
    x0 = posterior_weights(process, ATOMS, x, t) @ ATOMS.atoms
    slope = float(process.diffusion(1.0, t))
    gap = slope * (conditional_count(process, x0, x, t) - exact_count(process, x, t))
    assert wrong == pytest.approx(gap, rel=1e-3)
    assert np.abs(gap).max() > 0.05


@pytest.mark.slow(ci=True)
@each_squared
def test_the_noncentral_step_keeps_the_mean_and_is_of_order_one(process):
    """Terminal mean and variance of conjugate data, propagated exactly through the step as it is coded."""
    c0, start, end = 0.7, 1.0, 0.05
    scale = lambda t: c0 * float(process.decay(t)) + 2 * float(process.rho(t))
    shape = 0.5 * process.delta

    def terminal(steps):
        grid = np.geomspace(start, end, steps + 1)
        mean, variance = shape * scale(start), shape * scale(start) ** 2
        x = np.asarray([0.0, 1.0])
        for t, s in pairwise(grid):
            n = x * (0.5 / process.rho(t) - 1 / scale(t))
            unit = noncentral_step(process, x, t, s, n, Means(scale_only=True))[0]
            first = noncentral_step(process, x, t, s, n, Means())
            count = noncentral_step(process, x, t, s, 0.0 * n, Means()) - unit * shape
            second = unit * (first + count)  # Var = c^2 (E shape + Var shape), Poisson inside
            slope = first[1] - first[0]
            noise = second[0] + (second[1] - second[0]) * mean
            mean, variance = first[0] + slope * mean, noise + slope**2 * variance
        return np.asarray([mean / (shape * scale(end)) - 1, variance / (shape * scale(end) ** 2) - 1])

    mean, variance = np.abs([terminal(n) for n in (32, 64, 128, 256)]).T
    assert mean == pytest.approx(0.0, abs=1e-12)
    assert np.log2(variance[:-1] / variance[1:])[-1] == pytest.approx(1.0, abs=0.05)
    assert variance[-1] < 0.02


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, 1.5])
def test_the_log_euler_step_is_of_order_one(eta):
    """Lognormal data: the step is affine in (log x, noise), so that feeding it 0 and 1 shows the law."""
    process, v0, start, end = GBM(0.3, 0.9, LinearClock(0.5, 2.0, 1.0)), 0.4, 1.0, 0.02
    spread = lambda t: v0 + float(process.log_variance(t))

    def terminal(steps):
        grid = np.linspace(start, end, steps + 1)
        variance = spread(start)
        for t, s in pairwise(grid):
            logs = np.asarray([0.0, 1.0, 0.0])
            noise = np.asarray([0.0, 0.0, 1.0])
            out = np.log(log_euler_step(process, np.exp(logs), t, s, -logs / spread(t), eta, noise))
            variance = (out[1] - out[0]) ** 2 * variance + (out[2] - out[0]) ** 2
        return variance / spread(end) - 1

    errors = np.abs([terminal(n) for n in (256, 512, 1024)])
    assert np.log2(errors[:-1] / errors[1:]) == pytest.approx(1.0, abs=0.03)


def test_truncated_euler_sees_the_positive_part_only():
    process = CIR(1.0, 0.2, 1.0)
    x, n, noise = np.asarray([-0.3, 0.5]), np.asarray([0.0, 0.2]), np.asarray([2.0, -1.0])
    got = truncated_euler_step(process, x, 0.4, 0.3, n, 1.0, noise)
    drift = reverse_drift_from_count(process, np.asarray([0.0, 0.5]), 0.4, n, 1.0)
    expected = x + 0.1 * drift + np.sqrt(0.1 * np.asarray([0.0, 0.5])) * noise
    assert got == pytest.approx(expected, rel=1e-13)


# -- every namespace, every refusal ---------------------------------------------------------------------


def test_steps_in_the_namespace_under_test(xp):
    x, n = xp.asarray([0.0, 0.4, 2.0], dtype=xp.float64), xp.asarray([0.0, 0.1, 0.7], dtype=xp.float64)
    for y in (
        matched_bridge_step(BESQ(0.8), x, 0.4, 0.2, n, 0),
        noncentral_step(BESQ(0.8), x, 0.4, 0.2, n, 0),
        bridge_step(BESQ(0.8), x, 0.4, 0.2, x, 0),
    ):
        assert y.shape == (3,) and y.dtype == x.dtype and bool(xp.all(y >= 0))


@pytest.mark.parametrize("delta", [0.8, 4.0])
def test_one_seed_gives_the_same_step_on_both_backends(delta):
    x, n = np.asarray([0.0, 0.4, 2.0]), np.asarray([0.0, 0.1, 0.7])
    for step in (matched_bridge_step, noncentral_step):
        ours = step(BESQ(delta), x, 0.4, 0.2, n, 0)
        theirs = step(BESQ(delta), torch.asarray(x), 0.4, 0.2, torch.asarray(n), 0)
        assert theirs.numpy() == pytest.approx(ours, rel=1e-12)


@pytest.mark.slow(ci=True)
def test_steps_that_take_noise_compile():
    x, n, z = torch.asarray([0.1, 0.4, 2.0]), torch.asarray([0.0, 0.1, 0.7]), torch.asarray([1.0, -1.0, 0.5])
    t, s = torch.asarray(0.4), torch.asarray(0.2)
    cir, gbm, besq = CIR(1.0, 0.2, 1.0), GBM(0.1, 0.5), BESQ(0.8)
    calls = [
        lambda x, n, z: truncated_euler_step.kernel(torch_namespace, cir, x, t, s, n, 1.0, z),
        lambda x, n, z: log_euler_step.kernel(torch_namespace, gbm, x, t, s, n, 0.3, z),
        lambda x, n, z: matched_start.kernel(torch_namespace, besq, x, t, n),
    ]
    for call in calls:
        torch.compiler.reset()
        assert torch.equal(torch.compile(call, fullgraph=True, backend="eager")(x, n, z), call(x, n, z))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: noncentral_step(BESQ(1.0), 1.0, 0.5, 0.5, 0.1, 0), UnmetHypothesis, "s < t"),
        (lambda: noncentral_step(BESQ(1.0), 1.0, 0.5, 0.0, 0.1, 0), UnmetHypothesis, "s > 0"),
        (lambda: noncentral_step(BESQ(1.0), -1.0, 0.5, 0.1, 0.1, 0), UnmetHypothesis, "x >= 0"),
        (lambda: noncentral_step(BESQ(1.0), 1.0, 0.5, 0.1, -0.1, 0), UnmetHypothesis, "n >= 0"),
        (lambda: noncentral_step(BESQ(1.0), np.ones(0), 0.5, 0.1, 0.1, 0), UnmetHypothesis, "not empty"),
        (lambda: noncentral_step(BESQ(1.0), np.asarray([1]), 0.5, 0.1, 0.1, 0), TypeError, "int64"),
        (lambda: matched_bridge_step(BESQ(1.0), 1.0, 0.5, 0.6, 0.1, 0), UnmetHypothesis, "s < t"),
        (lambda: bridge_step(BESQ(1.0), 1.0, 0.5, 0.1, -1.0, 0), UnmetHypothesis, "x0 >= 0"),
        (lambda: log_euler_step(GBM(0.0, 1.0), 0.0, 0.5, 0.1, 0.0, 1.0, 0.0), UnmetHypothesis, "x > 0"),
        (lambda: log_euler_step(GBM(0.0, 1.0), 1.0, 0.5, 0.1, 0.0, -1.0, 0.0), UnmetHypothesis, "eta >= 0"),
        (lambda: log_euler_step(VP(), 1.0, 0.5, 0.1, 0.0, 1.0, 0.0), UnmetHypothesis, "GBM"),
        (lambda: bessel_mean_inverse(-1.0, 1.0), UnmetHypothesis, "nu > -1"),
        (lambda: bessel_mean_inverse(0.0, -1.0), UnmetHypothesis, "n in"),
        (lambda: reverse_drift_from_count(BESQ(1.0), 1.0, 0.0, 1.0), UnmetHypothesis, "t > 0"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
