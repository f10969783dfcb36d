"""Tweedie's formulae at the edges of their domain, and what they refuse; the claims settle the formulae."""

import numpy as np
import pytest
import sympy as sp
import torch

from driftproof import UnmetHypothesis
from driftproof.theory import tweedie
from driftproof.theory.laws import Discrete, Gamma, LogNormal
from driftproof.theory.processes import BESQ, CIR, GBM, VP, Flow
from driftproof.theory.tweedie import symbolic

DELTAS = [0.5, 1.0, 2.0, 2.0001, 4.0, 9.0]
TIMES = [1e-6, 1.0, 1e3]
POINTS = np.asarray([1e-12, 1.0, 1e8])
COLD = CIR(kappa=1.0, theta=1.0, sigma=1.0)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("delta", DELTAS)
def test_count_and_score_agree_at_the_edges(delta, t):
    """s = (nu + E[N | x0, x]) / x - 1/(2 rho), for one atom, over twenty orders of magnitude."""
    process, x0 = BESQ(delta), np.asarray([0.0, 1e-12, 1.0, 1e8])[:, None]
    count = tweedie.conditional_count(process, x0, POINTS, t)
    assert np.all(count >= 0)
    score = tweedie.conditional_score(process, x0, POINTS, t)
    again = tweedie.score_from_count(process, POINTS, t, count)
    # The two forms share terms as large as these; their rounding bounds the difference.
    size = (abs(process.nu) + count) / POINTS + 0.5 / t
    assert np.max(np.abs(score - again) / size) < 16 * np.finfo(float).eps


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("delta", DELTAS)
def test_one_atom_is_its_own_posterior(delta, t):
    """For data that are one point the posterior mean is that point: both counts in one exact identity."""
    process, x0 = BESQ(delta), np.asarray([1e-12, 1.0, 1e8])[:, None]
    n = tweedie.conditional_count(process, x0, POINTS, t)
    pairs = tweedie.conditional_pair_count(process, x0, POINTS, t)
    mean = tweedie.posterior_mean_from_counts(process, POINTS, t, n, pairs)
    np.testing.assert_allclose(mean, np.broadcast_to(x0, mean.shape), rtol=1e-12)


def test_at_zero_the_count_is_zero_and_the_score_has_its_singular_term():
    process = BESQ(1.0)
    assert float(tweedie.conditional_count(process, 1.0, 0.0, 0.5)) == 0.0
    assert float(tweedie.conditional_score(process, 1.0, 0.0, 0.5)) == -np.inf  # nu = -1/2
    assert float(tweedie.poisson_count(process, 0.0, 0.5, -np.inf)) == 0.0
    # nu = 0: no singular term, and the count per x at 0 is x0 / (4 t^2 (nu + 1)).
    assert float(tweedie.conditional_score(BESQ(2.0), 1.0, 0.0, 0.5)) == pytest.approx(-1.0 + 1.0)


def test_small_delta_and_zero_data_have_finite_gradients():
    process = CIR(kappa=1.0, theta=0.05, sigma=1.0)  # delta = 0.2
    x0 = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([1e-12, 1.0, 50.0], dtype=torch.float64, requires_grad=True)
    tweedie.conditional_count(process, x0, x, 0.5).sum().backward()
    assert torch.isfinite(x.grad).all() and torch.isfinite(x0.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reduced_precision_stays_finite_and_close(dtype):
    process = CIR(kappa=1.0, theta=0.5, sigma=1.0)
    x0, x = torch.tensor([0.0, 0.5, 20.0]), torch.tensor([0.25, 1.0, 30.0])
    want = tweedie.conditional_score(process, x0.double(), x.double(), 0.5)
    got = tweedie.conditional_score(process, x0.to(dtype), x.to(dtype), 0.5)
    assert got.dtype == dtype
    eps = torch.finfo(dtype).eps
    assert torch.max(torch.abs(got.double() - want) / (1 + torch.abs(want))).item() < 16 * eps


def test_risks_by_simulation_free_moments():
    """Bayes risk = prior variance - variance of the posterior mean, an affine function of a gamma variable."""
    process, c, t = CIR(kappa=0.7, theta=0.4, sigma=1.1), 0.8, 0.6
    decay, rho = float(process.decay(t)), float(process.rho(t))
    b, half = decay * c, 0.5 * process.delta
    posterior = tweedie.conjugate_posterior(process, Gamma(half, c), np.asarray([0.0, 1.0]), t)
    slope = float(posterior.mean[1] - posterior.mean[0])
    prior_variance, marginal_variance = half * c**2, half * (b + 2 * rho) ** 2
    assert float(tweedie.bayes_risk(process, c, t)) == pytest.approx(
        prior_variance - slope**2 * marginal_variance, rel=1e-12
    )
    ratio = float(tweedie.bayes_risk(process, c, t) / tweedie.unbiased_risk(process, c, t))
    assert ratio == pytest.approx((b / (b + 2 * rho)) ** 2, rel=1e-14)


@pytest.mark.slow(ci=True)
def test_symbolic_identities_hold_and_their_mutants_do_not():
    assert symbolic.reverse_family() == 0
    assert symbolic.reverse_family(1) != 0
    assert symbolic.second_order_formula() == 0
    assert symbolic.second_order_formula(3) != 0
    assert symbolic.bessel_eigenfunction() == 0
    assert symbolic.gbm_dilation() == 0
    assert symbolic.gbm_log_moments() == (sp.S.Zero, sp.S.Zero)


def log_prob(x):
    return LogNormal(0.0, 1.0).log_prob(x)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: tweedie.conditional_score(BESQ(2.0), -1.0, 1.0, 1.0), UnmetHypothesis, "x0 >= 0"),
        (lambda: tweedie.conditional_score(BESQ(2.0), 1.0, 1.0, 0.0), UnmetHypothesis, "t > 0"),
        (lambda: tweedie.conditional_score(GBM(0.0, 1.0), 0.0, 1.0, 1.0), UnmetHypothesis, "x0 > 0"),
        (lambda: tweedie.conditional_score(VP(), np.asarray([np.nan]), 1.0, 1.0), UnmetHypothesis, "NaN"),
        (lambda: tweedie.conditional_score(VP(), np.asarray([1]), 1.0, 1.0), TypeError, "real floating"),
        (lambda: tweedie.conditional_score(VP(), np.ones(1), torch.ones(1), 1.0), TypeError, "one namespace"),
        (lambda: tweedie.conditional_count(VP(), 1.0, 1.0, 0.5), UnmetHypothesis, "BESQ or CIR"),
        (lambda: tweedie.posterior_mean(BESQ(2.0), 1.0, 1.0, 0.0), UnmetHypothesis, "score_prime"),
        (lambda: tweedie.posterior_mean(Flow(), 1.0, 1.0, 0.0), UnmetHypothesis, r"alpha\(t\) >= "),
        (lambda: tweedie.posterior_mean(COLD, 1.0, 740.0, 0.0, 0.0), UnmetHypothesis, "state is noise"),
        (lambda: tweedie.posterior_mean(GBM(0.0, 1.0), 1.0, 1.0, 0.0), UnmetHypothesis, "posterior_moment"),
        (lambda: tweedie.posterior_moment(BESQ(2.0), 1.0, 1.0, 1.0, log_prob), UnmetHypothesis, "GBM"),
        (lambda: tweedie.posterior_variance(BESQ(2.0), 1.0, 1.0, 0.0), UnmetHypothesis, "VP, VE"),
        (lambda: tweedie.log_posterior_mean(Flow(), 1.0, 0.5, 0.0), UnmetHypothesis, "GBM"),
        (
            lambda: tweedie.gamma_posterior_moment(BESQ(2.0), 1.0, 1.0, 0.5, 1.0, -1.0),
            UnmetHypothesis,
            "shape",
        ),
        (
            lambda: tweedie.posterior_weights(VP(), Discrete([[0.0, 1.0]]), 1.0, 0.5),
            UnmetHypothesis,
            r"\(K,\)",
        ),
    ],
)
def test_bad_input_names_what_fails(make, error, words):
    with pytest.raises(error, match=words):
        make()
