"""The laws of the elementwise families: each family is tested by being listed in ``FAMILIES``."""

import itertools
import math

import array_api_strict
import numpy as np
import pytest
import scipy.stats
import torch
from scipy.integrate import quad

from driftproof import UnmetHypothesis
from driftproof.numerics.montecarlo import binomial_test, distribution_test
from driftproof.theory.laws import (
    Discrete,
    Gamma,
    GammaMixedChi2,
    Gaussian,
    GaussianMixture,
    LogNormal,
    Mixture,
    NoncentralChi2,
    Normal,
    kl,
    wasserstein2,
)
from driftproof.theory.laws.bessel_count import BesselCount
from driftproof.theory.laws.bridges import SquaredBesselBridge

ALPHA = 1e-9  # false alarms of one statistical check here; 30 of them spend 3e-8 a run

FAMILIES = [
    (Normal, {"loc": -0.7, "scale": 1.3}),
    (LogNormal, {"loc": 0.2, "scale": 0.6}),
    (Gamma, {"shape": 0.4, "scale": 1.5}),
    (Gamma, {"shape": 1.0, "scale": 0.5}),
    (Gamma, {"shape": 30.0, "scale": 0.1}),
    (NoncentralChi2, {"df": 0.5, "nc": 2.0, "scale": 0.7}),
    (NoncentralChi2, {"df": 1.0, "nc": 0.0, "scale": 1.0}),
    (NoncentralChi2, {"df": 2.0, "nc": 1e-9, "scale": 1.0}),
    (NoncentralChi2, {"df": 9.0, "nc": 60.0, "scale": 0.05}),
    (GammaMixedChi2, {"df": 0.5, "shape": 1.7, "mixing": 2.0, "scale": 0.5}),
    (GammaMixedChi2, {"df": 6.0, "shape": 0.3, "mixing": 0.2, "scale": 1.0}),
    (SquaredBesselBridge, {"delta": 0.5, "left": 1.2, "right": 0.4, "scale": 0.8}),
    (SquaredBesselBridge, {"delta": 4.0, "left": 0.0, "right": 3.0, "scale": 0.3}),
]
IDS = [f"{family.__name__}-{i}" for i, (family, _) in enumerate(FAMILIES)]
each_family = pytest.mark.parametrize(("family", "parameters"), FAMILIES, ids=IDS)


def low(law):
    return -np.inf if law.support == "finite" else 0.0


def integral(law, f):
    """Integral of f against the density; split where the mass is, so that quadrature finds it."""
    center, spread = float(law.mean), math.sqrt(float(law.variance))
    density = lambda x: f(x) * math.exp(float(law.log_prob(x)))
    if law.support == "finite":
        cuts = [center - 40 * spread, center - spread, center, center + spread, center + 40 * spread]
    else:
        # The substitution x = y^8 takes away the singularity of small shapes at 0.
        density = lambda y: 8 * y**7 * f(y**8) * math.exp(float(law.log_prob(y**8)))
        ends = [1e-48, 1e-3 * center, 0.3 * center, center, center + 3 * spread, center + 60 * spread]
        cuts = [x**0.125 for x in ends]
    return sum(
        quad(density, a, b, epsabs=1e-13, epsrel=1e-12, limit=200)[0] for a, b in itertools.pairwise(cuts)
    )


@each_family
def test_density_has_mass_one_and_the_stated_moments(family, parameters):
    law = family(**parameters)
    # Cut off: x < 1e-48 (mass 1e-12 at shape 1/4) and 60 standard deviations (1e-9 for the lognormal).
    assert integral(law, lambda x: 1.0) == pytest.approx(1.0, abs=2e-9)
    assert integral(law, lambda x: x) == pytest.approx(float(law.mean), rel=1e-7)
    centred = integral(law, lambda x: (x - float(law.mean)) ** 2)
    assert centred == pytest.approx(float(law.variance), rel=3e-6)


@each_family
def test_score_is_the_derivative_of_the_log_density(family, parameters):
    law = family(**parameters)
    center, spread = float(law.mean), math.sqrt(float(law.variance))
    points = [center, center + 2 * spread, max(center - spread, 0.01 * abs(center))]
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(law.log_prob(x).sum(), x)
    np.testing.assert_allclose(law.score(x.detach()).numpy(), slope.numpy(), rtol=2e-11, atol=1e-12)


@each_family
def test_every_namespace_gives_the_same_numbers(family, parameters):
    law = family(**parameters)
    x = np.geomspace(0.01, 3.0, 7) * abs(float(law.mean))
    for method in (law.log_prob, law.score):
        want = method(x)
        scale = np.maximum(np.abs(want), 1.0)
        ours = method(torch.from_numpy(x)).numpy()
        assert np.max(np.abs(ours - want) / scale) <= 64 * np.finfo(float).eps
        strict = np.asarray(method(array_api_strict.asarray(x)))
        assert np.max(np.abs(strict - want) / scale) <= 64 * np.finfo(float).eps


@each_family
def test_half_precision_is_computed_in_single_and_only_states_are_cast_back(family, parameters):
    law = family(**parameters)
    x = torch.tensor([abs(float(law.mean))]).to(torch.bfloat16)
    assert law.log_prob(x).dtype == torch.float32
    assert law.log_prob(x).item() == law.log_prob(x.float()).item()
    assert law.score(x).dtype == torch.bfloat16
    assert law.score(x).item() == law.score(x.float()).to(torch.bfloat16).item()


@pytest.mark.slow(ci=True)
@each_family
def test_draws_have_the_law(family, parameters):
    law, n = family(**parameters), 20_000
    draws = np.asarray(law.sample((n,), np.random.default_rng(2026)))
    assert draws.shape == (n,)
    center, spread = float(law.mean), math.sqrt(float(law.variance))
    for edge in (0.3 * center, center, center + spread):
        below = int(np.sum(draws <= edge))
        verdict = binomial_test(below, n, mass_below(law, edge), ALPHA)
        assert not verdict.rejects, f"below {edge}: {verdict}"


def mass_below(law, edge):
    """The distribution function at one point, by quadrature of the density."""
    if law.support == "finite":
        return quad(lambda x: math.exp(float(law.log_prob(x))), -np.inf, edge)[0]
    density = lambda y: 8 * y**7 * math.exp(float(law.log_prob(y**8)))
    return quad(density, 1e-6, edge**0.125, limit=200)[0]


@pytest.mark.parametrize(
    ("law", "reference"),
    [
        (Normal(0.3, 2.0), scipy.stats.norm(0.3, 2.0)),
        (LogNormal(0.3, 0.5), scipy.stats.lognorm(0.5, scale=math.exp(0.3))),
        (Gamma(2.5, 0.4), scipy.stats.gamma(2.5, scale=0.4)),
        (NoncentralChi2(3.5, 2.0, 0.6), scipy.stats.ncx2(3.5, 2.0, scale=0.6)),
    ],
    ids=["norm", "lognorm", "gamma", "ncx2"],
)
def test_agrees_with_scipy_stats(law, reference):
    x = np.geomspace(0.05, 8.0, 40)
    np.testing.assert_allclose(law.log_prob(x), reference.logpdf(x), rtol=1e-12, atol=1e-12)
    assert float(law.mean) == pytest.approx(reference.mean(), rel=1e-13)
    assert float(law.variance) == pytest.approx(reference.var(), rel=1e-12)
    verdict = distribution_test(law.sample((20_000,), 7), reference.cdf, ALPHA)
    assert not verdict.rejects, str(verdict)


def test_noncentral_density_is_finite_where_scipy_underflows():
    assert scipy.stats.ncx2.logpdf(1e4, 1e4, 1.0) == -np.inf  # of scipy 1.17; its pdf is right there
    assert float(NoncentralChi2(1e4, 1.0, 1.0).log_prob(1e4)) == pytest.approx(-5.8707, abs=1e-4)


def test_central_limit_of_the_noncentral_law():
    x = np.asarray([0.0, 1e-12, 0.5, 20.0])
    np.testing.assert_allclose(
        NoncentralChi2(3.0, 0.0, 0.5).log_prob(x), Gamma(1.5, 1.0).log_prob(x), rtol=1e-14, atol=1e-14
    )


def test_mixture_is_the_weighted_sum():
    law = Mixture([0.25, 0.75], Gamma(2.0, [0.5, 3.0]))
    x = np.geomspace(0.01, 20, 15)
    want = 0.25 * scipy.stats.gamma.pdf(x, 2, scale=0.5) + 0.75 * scipy.stats.gamma.pdf(x, 2, scale=3.0)
    np.testing.assert_allclose(np.exp(law.log_prob(x)), want, rtol=1e-12)
    t = torch.tensor(x, requires_grad=True)
    (slope,) = torch.autograd.grad(
        Mixture(torch.tensor([0.25, 0.75]).double(), Gamma(2.0, torch.tensor([0.5, 3.0]).double()))
        .log_prob(t)
        .sum(),
        t,
    )
    np.testing.assert_allclose(law.score(x), slope.numpy(), rtol=1e-11)
    np.testing.assert_allclose(law.responsibilities(x).sum(-1), 1.0, rtol=1e-14)
    cdf = lambda y: (
        0.25 * scipy.stats.gamma.cdf(y, 2, scale=0.5) + 0.75 * scipy.stats.gamma.cdf(y, 2, scale=3)
    )
    verdict = distribution_test(law.sample((20_000,), 3), cdf, ALPHA)
    assert not verdict.rejects, str(verdict)


def test_gaussian_on_the_plane():
    mean, cov = [0.5, -1.0], [[2.0, 0.6], [0.6, 1.0]]
    law, reference = Gaussian(mean, cov), scipy.stats.multivariate_normal(mean, cov)
    x = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(law.log_prob(x), reference.logpdf(x), rtol=1e-13)
    np.testing.assert_allclose(law.score(x), -np.linalg.solve(cov, (x - mean).T).T, rtol=1e-13)
    mixture = GaussianMixture([0.3, 0.7], [mean, [0.0, 0.0]], [cov, np.eye(2)])
    want = np.log(0.3 * reference.pdf(x) + 0.7 * scipy.stats.multivariate_normal([0, 0]).pdf(x))
    np.testing.assert_allclose(mixture.log_prob(x), want, rtol=1e-12)
    draws = mixture.sample((20_000,), 1)
    white = np.linalg.solve(np.linalg.cholesky(np.asarray(mixture.cov)), (draws - np.asarray(mixture.mean)).T)
    # Standardised coordinates have fourth moments below 4: six standard errors at n = 20000.
    assert np.max(np.abs(white.mean(1))) < 6 / math.sqrt(20_000)
    assert np.max(np.abs(np.cov(white) - np.eye(2))) < 6 * 2 / math.sqrt(20_000)


def test_singular_gaussian_can_be_sampled_and_transported_but_has_no_density():
    law = Gaussian([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]])
    draws = law.sample((4,), 0)
    np.testing.assert_allclose(draws[:, 0], draws[:, 1], rtol=1e-12)
    assert float(wasserstein2(law, Gaussian([0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]]))) == pytest.approx(2**0.5)
    with pytest.raises(UnmetHypothesis, match="not singular"):
        law.log_prob([0.0, 0.0])


@pytest.mark.parametrize(
    ("p", "q", "density"),
    [
        (Normal(0.3, 1.2), Normal(-1.0, 0.7), "finite"),
        (LogNormal(0.1, 0.5), LogNormal(0.4, 0.9), "half"),
        (Gamma(2.5, 0.4), Gamma(0.7, 1.3), "half"),
    ],
    ids=["Normal", "LogNormal", "Gamma"],
)
def test_kl_equals_its_integral(p, q, density):
    want = integral(p, lambda x: float(p.log_prob(x) - q.log_prob(x)))
    assert float(kl(p, q)) == pytest.approx(want, rel=1e-7)
    assert float(kl(p, p)) == pytest.approx(0.0, abs=1e-14)


def test_wasserstein_of_discrete_laws_in_one_and_two_dimensions():
    line = wasserstein2(Discrete([0.0, 1.0]), Discrete([0.5, 3.0]))
    plane = wasserstein2(Discrete([[0.0, 0.0], [1.0, 0.0]]), Discrete([[0.5, 0.0], [3.0, 0.0]]))
    assert float(line) == pytest.approx(math.sqrt(0.5 * (0.25 + 4.0)))
    assert float(plane) == pytest.approx(float(line), rel=1e-12)
    assert float(kl(Discrete([0.0, 1.0], [1.0, 0.0]), Discrete([0.0, 1.0], [0.0, 1.0]))) == math.inf


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Normal(0.0, -1.0), UnmetHypothesis, "scale > 0"),
        (lambda: Gamma(0.0, 1.0), UnmetHypothesis, "shape > 0"),
        (lambda: NoncentralChi2(2.0, -1.0, 1.0), UnmetHypothesis, "nc >= 0"),
        (lambda: NoncentralChi2(2.0, np.inf, 1.0), UnmetHypothesis, "nc is finite"),
        (lambda: Gamma(1.0, 1.0).log_prob(-0.5, strict=True), UnmetHypothesis, "x >= 0"),
        (lambda: LogNormal(0.0, 1.0).log_prob(0.0, strict=True), UnmetHypothesis, "x > 0"),
        (lambda: Gamma(1.0, 1.0).score(-0.5), UnmetHypothesis, "x >= 0"),
        (lambda: Normal(0.0, 1.0).log_prob(np.asarray([np.nan])), UnmetHypothesis, "no NaN"),
        (lambda: Normal(0.0, 1.0).log_prob(np.asarray([1])), TypeError, "real floating"),
        (lambda: Normal(0.0, 1.0).log_prob(np.asarray([1j])), TypeError, "real floating"),
        (lambda: Normal(np.zeros(2), 1.0).log_prob(torch.zeros(2)), TypeError, "one namespace"),
        (lambda: Normal(np.zeros(2), 1.0).log_prob(np.zeros(2, np.float32)), TypeError, "one dtype"),
        (lambda: Discrete([0.0, 1.0], [0.5, 0.6]), UnmetHypothesis, "sum to 1"),
        (lambda: Discrete(np.zeros(0)), UnmetHypothesis, "K >= 1"),
        (lambda: Discrete([0.0]).score(0.0), UnmetHypothesis, "density"),
        (lambda: Gaussian(np.zeros(0), np.zeros((0, 0))), UnmetHypothesis, "d >= 1"),
        (
            lambda: GaussianMixture([1.0], np.zeros((1, 0)), np.zeros((1, 0, 0))),
            UnmetHypothesis,
            "d >= 1",
        ),
        (lambda: Gaussian([0.0], [[-1.0]]), UnmetHypothesis, "semi-definite"),
        (lambda: Gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, float("inf")]]), UnmetHypothesis, "cov is finite"),
        (lambda: Gaussian([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]]), UnmetHypothesis, "symmetric"),
        (lambda: Normal(0.0, 1.0).sample((2,), None), TypeError, "rng"),
        (lambda: kl(Normal(0.0, 1.0), Gamma(1.0, 1.0)), UnmetHypothesis, "one family"),
        (lambda: BesselCount(1.0, -1.0), UnmetHypothesis, ">= 0"),
    ],
)
def test_bad_input_names_what_fails(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_torch_generators_draw_on_torch_and_integers_agree_across_namespaces():
    native = Gamma(2.0, 1.0).sample((3,), torch.Generator().manual_seed(0))
    assert isinstance(native, torch.Tensor)
    ours = Normal(torch.zeros(3, dtype=torch.float64), 1.0).sample((2,), 5)
    assert np.array_equal(ours.numpy(), Normal(np.zeros(3), 1.0).sample((2,), 5))
