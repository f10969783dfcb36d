"""Empirical Bayes: the fitted models against the truth, their certificates against independent optimisers."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import gammainc

from driftproof import UnmetHypothesis
from driftproof.numerics.tweedie import MarginalModel, fit_marginal, fit_prior
from driftproof.theory.laws import Discrete, Gamma, LogNormal, Normal
from driftproof.theory.processes import BESQ, CIR, GBM, VP
from driftproof.theory.tweedie import posterior_mean
from driftproof.theory.tweedie.oracles import gamma_posterior_moment
from driftproof.theory.tweedie.risks import bayes_risk, unbiased_estimate, unbiased_risk

T = 0.5


def observations(process, data, n, seed=0):
    rng = np.random.default_rng(seed)
    x0 = data.sample((n,), rng)
    return x0, process.transition(x0, T).sample((), rng)


# -- the marginal model ---------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", [0.5, 3.0, 9.0])
def test_the_model_contains_conjugate_data(delta):
    """Gamma(delta/2, c) data: l is linear with slope 1/2t - 1/(c + 2t); the error is that of sampling.

    The slope's standard error is about sqrt(2 / delta n) / (c + 2t): six of them, false alarms 2e-9.
    """
    process, c, n = BESQ(delta), 2.0, 20_000
    _, x = observations(process, Gamma(0.5 * delta, c), n)
    fit = fit_marginal(process, x, T, knots=2)
    slope = float(fit.count(1.0))
    assert slope == pytest.approx(
        1 / (2 * T) - 1 / (c + 2 * T), abs=6 * (2 / (delta * n)) ** 0.5 / (c + 2 * T)
    )
    # Without the binning it is maximum likelihood for a gamma scale: the mean of x decides.
    mle = 1 / (2 * T) - 0.5 * delta / float(x.mean())
    assert slope == pytest.approx(mle, abs=2e-3)


def test_the_posterior_mean_is_tweedies_second_order_formula():
    process = CIR(1.3, 0.9, 0.7)
    _, x = observations(process, Gamma(3.0, 0.4), 3000)
    fit = fit_marginal(process, x, T)
    y = np.quantile(x, [0.1, 0.4, 0.7, 0.95])
    direct = fit.posterior_mean(y)
    assert (direct > 0).all()
    assert posterior_mean(process, y, T, fit.score(y), fit.score_derivative(y)) == pytest.approx(
        direct, rel=1e-10
    )
    # The derivatives are those of each other, by central differences.
    h = 1e-6
    numeric = (fit.score(y + h) - fit.score(y - h)) / (2 * h)
    assert fit.score_derivative(y) == pytest.approx(numeric, rel=1e-6, abs=1e-7)
    assert fit.count(y) == pytest.approx(
        y * (fit.score(y) - process.nu / y + 0.5 / float(process.rho(T))), rel=1e-9
    )


def test_the_poisson_regression_is_optimal():
    """Another optimiser, from another start, on the same binned likelihood finds no better model."""
    process = BESQ(3.0)
    _, x = observations(process, Gamma(5.0, 0.5), 2000)
    fit = fit_marginal(process, x, T, knots=4, bins=80)
    u = x / (2 * T)
    edges = np.linspace(0, np.sqrt(u.max()), 81) ** 2
    edges[-1] *= 1 + 1e-12
    counts = np.histogram(u, edges)[0]
    middle = (0.5 * (np.sqrt(edges[1:]) + np.sqrt(edges[:-1]))) ** 2

    # The spline's basis, from the slopes of unit models rather than from the code path of the fit.
    def linear(coefficients):
        model = MarginalModel(process, T, fit.knots, tuple(coefficients), 0.0, 0)
        grid = np.linspace(0, middle.max(), 20_001)
        slope = model.count(np.maximum(grid, 1e-12) * 2 * T) / np.maximum(grid, 1e-12)
        area = np.concatenate([[0.0], np.cumsum(0.5 * (slope[1:] + slope[:-1]) * np.diff(grid))])
        return np.interp(middle, grid, area)

    basis = np.stack([linear(row) for row in np.eye(3)], axis=1)
    offset = np.log(np.diff(gammainc(1.5, edges)))

    def loss(theta):
        eta = offset + theta[0] + basis @ theta[1:]
        rate = np.exp(eta)
        return (rate - counts * eta).sum(), np.concatenate(
            [[(rate - counts).sum()], basis.T @ (rate - counts)]
        )

    best = minimize(loss, np.asarray([7.0, 0.1, 0.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-4})
    ours = minimize(lambda a: loss(np.asarray([a[0], *fit.coefficients]))[0], [7.0]).fun
    assert ours == pytest.approx(best.fun, abs=0.02)  # of a log-likelihood of about 2000


@pytest.mark.parametrize(
    ("process", "shape", "scale"),
    [(BESQ(3.0), 1.5, 2.0), (BESQ(0.5), 0.25, 4.0), (CIR(1.0, 1.0, 1.0), 0.7, 1.0)],
)
def test_risks_come_close_to_bayes(process, shape, scale):
    """Paired on the same 4000 data: the excess over the oracle's loss is small beside what is gained."""
    x0, x = observations(process, Gamma(shape, scale), 4000)
    loss = lambda estimate: float(np.mean((estimate - x0) ** 2))
    oracle = loss(gamma_posterior_moment(process, x, T, shape, scale))
    unbiased = loss(unbiased_estimate(process, x, T))
    marginal = loss(fit_marginal(process, x, T).posterior_mean(x))
    prior = loss(fit_prior(process, x, T).posterior_mean(x))
    gained = unbiased - oracle
    assert gained > 0.2 * oracle
    assert marginal - oracle < 0.1 * gained + 0.02 * oracle
    assert prior - oracle < 0.1 * gained + 0.02 * oracle


def test_the_risk_formulae_hold_on_the_same_data():
    """n = 200000: the mean squared errors have standard errors of 0.4 %, and 3 % is asked."""
    process, c = BESQ(3.0), 2.0
    x0, x = observations(process, Gamma(1.5, c), 200_000)
    mean = x * (c / (c + 2 * T)) ** 2 + 3.0 * T * c / (c + 2 * T)  # the conjugate posterior mean
    assert np.mean((unbiased_estimate(process, x, T) - x0) ** 2) == pytest.approx(
        float(unbiased_risk(process, c, T)), rel=0.03
    )
    assert np.mean((mean - x0) ** 2) == pytest.approx(float(bayes_risk(process, c, T)), rel=0.03)


# -- the nonparametric prior ----------------------------------------------------------------------------


def test_the_gap_certifies_the_likelihood():
    """The convex programme solved by another method cannot gain more than the gap."""
    process = BESQ(3.0)
    _, x = observations(process, Discrete([0.5, 4.0]), 60)
    atoms = np.linspace(0.0, 3.0, 12) ** 2
    p = np.exp(process.transition(atoms, T).log_prob(x[:, None]))

    def loss(w):
        f = p @ w
        return -np.mean(np.log(f)), -p.T @ (1 / f) / x.size

    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like}
    best = -minimize(
        loss,
        np.full(12, 1 / 12),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * 12,
        constraints=simplex,
        options={"ftol": 1e-14, "maxiter": 1000},
    ).fun
    for tolerance in (1e-2, 1e-4, 1e-6):
        fit = fit_prior(process, x, T, atoms=atoms, tolerance=tolerance)
        assert 0.0 <= fit.gap <= tolerance
        assert -1e-9 <= best - fit.log_likelihood <= fit.gap + 1e-9
        assert fit.log_likelihood == pytest.approx(float(np.mean(np.log(p @ fit.prior.weights))), rel=1e-12)


def test_the_fitted_prior_finds_well_separated_atoms():
    """At a noise level of 1/20 of the gap between atoms the masses are counts: binomial, 6 deviations."""
    process, n = BESQ(3.0), 1000
    _, x = observations(process, Discrete([0.0, 400.0], [0.3, 0.7]), n)
    fit = fit_prior(process, x, T)
    low = float(np.sum(fit.prior.weights[fit.prior.atoms < 100.0]))
    assert low == pytest.approx(0.3, abs=6 * (0.21 / n) ** 0.5)
    assert fit.posterior_mean(np.asarray([400.0]))[0] == pytest.approx(400.0, rel=0.1)


@pytest.mark.parametrize(
    ("process", "data"),
    [(GBM(0.1, 0.5), LogNormal(0.0, 0.5)), (VP(), Normal(0.3, 0.2)), (BESQ(0.5), Gamma(2.0, 1.0))],
)
def test_every_process_has_a_grid(process, data):
    _, x = observations(process, data, 200)
    fit = fit_prior(process, x, T, tolerance=1e-3)
    assert fit.gap <= 1e-3 and fit.prior.atoms.shape[0] >= 5
    assert float(np.sum(fit.prior.weights)) == pytest.approx(1.0)
    # An empirical-Bayes mean lies between the atoms.
    mean = fit.posterior_mean(x)
    assert (mean >= fit.prior.atoms.min()).all() and (mean <= fit.prior.atoms.max()).all()


def test_zeros_are_legal_observations():
    x = np.concatenate([np.zeros(20), np.linspace(0.01, 4.0, 80)])
    for delta in (0.5, 2.0, 4.0):
        assert np.isfinite(fit_prior(BESQ(delta), x, T, tolerance=1e-2).posterior_mean(x)).all()
        assert np.isfinite(fit_marginal(BESQ(delta), x, T).posterior_mean(x)).all()


def test_both_backends_fit_the_same():
    process = BESQ(3.0)
    _, x = observations(process, Gamma(1.5, 2.0), 300)
    theirs = torch.asarray(x)
    ours, other = fit_prior(process, x, T), fit_prior(process, theirs, T)
    assert other.posterior_mean(theirs).numpy() == pytest.approx(ours.posterior_mean(x), rel=1e-6)
    ours, other = fit_marginal(process, x, T), fit_marginal(process, theirs, T)
    assert other.posterior_mean(theirs).numpy() == pytest.approx(ours.posterior_mean(x), rel=1e-12)


ONES = np.linspace(0.5, 2.0, 50)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: fit_prior(BESQ(3.0), -ONES, T), UnmetHypothesis, "x >= 0"),
        (lambda: fit_prior(BESQ(3.0), np.ones(0), T), UnmetHypothesis, "not empty"),
        (lambda: fit_prior(BESQ(3.0), np.ones((2, 2)), T), UnmetHypothesis, "shape"),
        (lambda: fit_prior(BESQ(3.0), ONES, 0.0), UnmetHypothesis, "t > 0"),
        (lambda: fit_prior(BESQ(3.0), ONES, T, tolerance=0.0), UnmetHypothesis, "tolerance > 0"),
        (lambda: fit_prior(BESQ(3.0), ONES, T, atoms=-ONES), UnmetHypothesis, "atoms >= 0"),
        (lambda: fit_prior(BESQ(3.0), np.arange(5), T), TypeError, "int64"),
        (
            lambda: fit_prior(BESQ(3.0), ONES, T, tolerance=1e-12, max_iterations=3),
            RuntimeError,
            "atoms still ask",
        ),
        (lambda: fit_marginal(VP(), ONES, T), UnmetHypothesis, "BESQ or CIR"),
        (lambda: fit_marginal(BESQ(3.0), -ONES, T), UnmetHypothesis, "x >= 0"),
        (lambda: fit_marginal(BESQ(3.0), ONES, -1.0), UnmetHypothesis, "t > 0"),
        (lambda: fit_marginal(BESQ(3.0), ONES, T, knots=1), UnmetHypothesis, "2 <= knots < bins"),
        (lambda: fit_marginal(BESQ(3.0), np.asarray([1.0, 2.0, 2.0]), T), UnmetHypothesis, "distinct values"),
        (
            lambda: fit_marginal(BESQ(3.0), ONES, T, max_iterations=1, tolerance=1e-30),
            RuntimeError,
            "decrement",
        ),
        (lambda: fit_marginal(BESQ(3.0), ONES, T).score(0.0), UnmetHypothesis, "x > 0"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
