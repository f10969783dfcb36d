"""Compressed sensing, theory and pipeline: wrong input, and what the claims leave out."""

import math

import numpy as np
import pytest

from driftproof import UnmetHypothesis
from driftproof.numerics.csdm import Latents, SparseDecoder, generate, left_noise, universal_penalty
from driftproof.numerics.sensing import cosine_basis, gaussian_sketch, solve
from driftproof.theory.csdm import (
    FactorModel,
    bpdn_constant,
    clamping_loss,
    coherence,
    early_stopping_noise,
    euler_variance,
    expected_shortfall,
    known_support_risk,
    l1_risk,
    latent_error,
    omp_sparsity,
    optimal_latent_dimension,
    optimal_threshold,
    oracle_decoder,
    prior_mismatch,
    restricted_isometry,
    simplex_etf,
    soft_threshold_risk,
    sparse_mixture,
    statistical_dimension,
    value_at_risk,
)
from driftproof.theory.laws import Gaussian
from driftproof.theory.processes import VP, Flow

REFUSED = {
    "s > d": (lambda: statistical_dimension(6, 5), "s = 6, d = 5"),
    "s > m": (lambda: known_support_risk(1.0, 3, 3), "m = 3, s = 3"),
    "m below delta": (lambda: l1_risk(1.0, 16, 5, 50), "m = 16, delta = 16.4397"),
    "negative noise": (lambda: l1_risk(-1.0, 40, 5, 50), "sigma = -1.0"),
    "order 0": (lambda: optimal_latent_dimension(5, 50, 0.0), "p = 0.0"),
    "no sparsity": (lambda: optimal_latent_dimension(0, 50, 1.0), "s = 0"),
    "unknown decoder": (lambda: optimal_latent_dimension(5, 50, 1.0, "lasso"), "decoder = 'lasso'"),
    "isometry too bad": (lambda: bpdn_constant(0.5), "delta_2s = 0.5"),
    "too many supports": (lambda: restricted_isometry(np.eye(60), 10), "75394027566 supports"),
    "coherence above 1": (lambda: omp_sparsity(1.5), "mu = 1.5"),
    "negative clamp": (lambda: clamping_loss(-1.0), "limit = -1.0"),
    "clamp without measurements": (lambda: clamping_loss(1.0, 0.0), "sd = 0.0"),
    "frame of one": (lambda: simplex_etf(1), "d = 1"),
    "no steps": (lambda: euler_variance(1.0, 1.0, 0), "steps = 0"),
    "more signal than sketch": (lambda: latent_error(np.ones(3), 2, 1.0, 5), "m = 2"),
    "no horizon": (lambda: prior_mismatch(1.0, 0.0), "T = 0.0"),
    "negative time": (lambda: early_stopping_noise(VP(), -0.1), "t = -0.1"),
    "mixture of s > m": (lambda: sparse_mixture(np.ones((2, 5)), 3, 1.0), "s = 3, m = 2"),
    "mixture without noise": (lambda: oracle_decoder(np.eye(2), np.ones(2), 1, 1.0, 0.0), "0.0"),
    "measurements missing": (lambda: oracle_decoder(np.eye(2), np.ones(3), 1, 1.0, 1.0), "m = 2"),
    "level 1": (lambda: value_at_risk(Gaussian([0.0], [[1.0]]), [1.0], 1.0), "level = 1.0"),
    "negative inflation": (lambda: expected_shortfall(Gaussian([0.0], [[1.0]]), [1.0], 0.9, -1.0), "-1.0"),
    "no sketch": (lambda: Latents(np.eye(2), np.zeros(2), 0.0), "scale = 0.0"),
    "constant data": (lambda: Latents.fit(np.eye(3), np.ones((5, 3))), "3 of 3 have zero variance"),
    "one constant feature": (
        lambda: Latents.fit(np.eye(2), np.array([[1.0, 0.0], [1.0, 2.0]])),
        "1 of 2 have zero variance",
    ),
    "lambda 0": (lambda: SparseDecoder(np.eye(2), 0.0), "lambda = 0.0"),
    "skew basis": (lambda: SparseDecoder(np.eye(2), 1.0, basis=np.ones((2, 2))), "|B B^T - I|"),
    "bounds and basis": (lambda: SparseDecoder(np.eye(2), 1.0, basis=np.eye(2), low=0.0), "low = 0.0"),
    "penalty of no noise": (lambda: universal_penalty(0.0, 5), "noise = 0.0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_input_is_refused_with_the_number(name: str) -> None:
    call, number = REFUSED[name]
    with pytest.raises(UnmetHypothesis) as refused:
        call()
    assert number in str(refused.value)


def test_a_flat_factor_cannot_be_stressed() -> None:
    model = FactorModel(np.eye(2), np.diag([1.0, 0.0]), np.eye(2))
    with pytest.raises(UnmetHypothesis, match="factor 1"):
        model.stressed([1], [1.0])
    with pytest.raises(UnmetHypothesis, match=r"index = \[0, 0\]"):
        model.stressed([0, 0], [1.0, 1.0])
    with pytest.raises(UnmetHypothesis, match=r"values \(1,\)"):
        model.stressed([0, 1], [1.0])
    with pytest.raises(UnmetHypothesis, match="loadings"):
        FactorModel(np.eye(2), np.eye(3), np.eye(2))


def test_factor_models_live_on_torch_too() -> None:
    torch = pytest.importorskip("torch")
    arrays = (np.array([[1.0, 0.5]]), np.array([[1.0, 0.2], [0.2, 2.0]]), np.array([[0.3]]))
    ours = FactorModel(*arrays).stressed([0], [1.5])
    theirs = FactorModel(*map(torch.tensor, arrays)).stressed([0], [1.5])
    np.testing.assert_allclose(theirs.mean.numpy(), ours.mean, rtol=1e-15)
    np.testing.assert_allclose(theirs.cov.numpy(), ours.cov, rtol=1e-15)


def test_dimension_is_increasing_and_scales() -> None:
    values = [statistical_dimension(s, 100) for s in range(101)]
    assert np.all(np.diff(values) > 0.0)
    assert statistical_dimension(10, 200) == pytest.approx(2.0 * statistical_dimension(5, 100), rel=1e-12)


def test_no_decoder_beats_the_oracle() -> None:
    """Squared errors on 4000 draws: the LASSO's mean is above the posterior mean's by 6 standard errors.

    False-alarm rate below 1e-9: the gap is about 40 standard errors.
    """
    rng = np.random.default_rng(0)
    sketch, s, variance, noise = gaussian_sketch(6, 10, 1), 1, 4.0, 0.5
    x = np.zeros((4000, 10))
    x[np.arange(4000), rng.integers(10, size=4000)] = 2.0 * rng.standard_normal(4000)
    y = x @ sketch.T + noise * rng.standard_normal((4000, 6))
    oracle = np.sum((oracle_decoder(sketch, y, s, variance, noise) - x) ** 2, axis=1)
    lasso = np.sum((SparseDecoder(sketch, universal_penalty(noise, 10))(y) - x) ** 2, axis=1)
    gap = lasso - oracle
    assert gap.mean() > 6.0 * gap.std() / math.sqrt(len(gap))


@pytest.mark.slow(ci=True)
def test_sparse_mixture_end_to_end() -> None:
    """Exact latent score, Euler-Maruyama, FISTA beside exact draws with the noise that stopping early leaves.

    A chi-square test at 1e-6 that the largest coordinate is distributed alike, 1500 draws a side: it sees
    a support that is 1.8 times as likely.
    """
    from scipy.stats import chi2_contingency

    sketch, variance, count = gaussian_sketch(5, 8, 3), 4.0, 1500
    process = VP(2.0, 2.0, 3.0)
    latents = Latents(
        sketch, np.zeros(5), float(np.sqrt(np.trace(sparse_mixture(sketch, 1, variance).cov) / 5.0))
    )
    law = sparse_mixture(sketch / latents.scale, 1, variance)
    grid = np.concatenate([np.linspace(3.0, 0.1, 60)[:-1], np.geomspace(0.1, 0.01, 40)])
    noise = left_noise(process, latents, grid[-1])
    decoder = SparseDecoder(sketch, universal_penalty(noise, 8), tolerance=1e-7)
    drawn = generate(
        process, lambda u, t: process.marginal(law, t).score(u), latents, decoder, grid, count, 0
    )
    rng = np.random.default_rng(1)
    exact = np.zeros((count, 8))
    exact[np.arange(count), rng.integers(8, size=count)] = 2.0 * rng.standard_normal(count)
    direct = decoder(exact @ sketch.T + noise * rng.standard_normal((count, 5)))
    counts = [np.bincount(np.argmax(np.abs(x), axis=1), minlength=8) for x in (drawn, direct)]
    assert chi2_contingency(counts).pvalue > 1e-6
    # The largest amplitude: its mean square within 6 standard errors (2e-9) and the bias of 100 steps.
    top, want = (np.max(x**2, axis=1) for x in (drawn, direct))
    error = 6.0 * math.sqrt((top.var() + want.var()) / count)
    assert abs(top.mean() - want.mean()) < error + 0.05 * want.mean()


def test_decoder_in_a_basis_and_with_bounds() -> None:
    rng = np.random.default_rng(0)
    sketch, basis = gaussian_sketch(20, 32, 1), cosine_basis(32)
    coefficients = np.zeros((3, 32))
    coefficients[:, [1, 5]] = rng.uniform(1.0, 2.0, (3, 2))
    x = coefficients @ basis
    got = SparseDecoder(sketch, 1e-3, basis=basis, refit=True, tolerance=1e-10, max_iterations=50_000)(
        x @ sketch.T
    )
    np.testing.assert_allclose(got, x, atol=1e-8)
    inside = np.clip(np.round(rng.uniform(-1.0, 1.5, (4, 32))), 0.0, 1.0)
    found = SparseDecoder(sketch, 1e-3, low=0.0, high=1.0)(inside @ sketch.T)
    assert found.min() >= 0.0 and found.max() <= 1.0
    with pytest.raises(UnmetHypothesis, match="count = 0"):
        generate(VP(), lambda u, t: -u, Latents(np.eye(2), np.zeros(2), 1.0), lambda y: y, [1.0, 0.5], 0, 0)


def test_infinite_numbers_are_named() -> None:
    law = Gaussian([0.0], [[1.0]])
    for call in (
        lambda: soft_threshold_risk(math.nan, 1.0),
        lambda: soft_threshold_risk(math.inf, 1.0),
        lambda: statistical_dimension(1, math.inf),  # type: ignore[arg-type]
        lambda: known_support_risk(1.0, math.inf, 1),  # type: ignore[arg-type]
        lambda: l1_risk(1.0, math.inf, 1, 5),  # type: ignore[arg-type]
        lambda: universal_penalty(1.0, math.nan),  # type: ignore[arg-type]
        lambda: restricted_isometry(np.full((2, 2), math.nan), 1),
        lambda: value_at_risk(law, [math.inf], 0.9),
        lambda: expected_shortfall(law, [math.inf], 0.9),
        lambda: FactorModel([[math.inf]], [[1.0]], [[1.0]]),
        lambda: early_stopping_noise(Flow(), 1.0),
        lambda: early_stopping_noise(Flow(), 2.0),
    ):
        with pytest.raises(UnmetHypothesis):
            call()


def test_a_factor_has_an_integer_for_an_index() -> None:
    with pytest.raises(TypeError):
        FactorModel([[1.0]], [[1.0]], [[1.0]]).stressed([0.7], [1.0])  # type: ignore[list-item]


def test_soft_thresholds_of_any_size() -> None:
    assert soft_threshold_risk(1e160, 1.0) == 2.0
    assert soft_threshold_risk(1.0, 1e200) == 1.0


def test_coherence_of_any_scale() -> None:
    for scale in (1e-200, 1e200):
        assert coherence([[scale, 1.0], [scale, 0.0]]) == pytest.approx(math.sqrt(0.5), rel=1e-15)


def test_no_signal_is_noise_in_every_direction() -> None:
    empty = float(euler_variance(0.0, 2.0, 20))
    assert float(latent_error(np.zeros(0), 3, 2.0, 20)) == pytest.approx(3.0 * empty, rel=1e-15)


def test_noise_that_is_lost_beside_the_signal() -> None:
    sketch = gaussian_sketch(3, 5, 0)
    with pytest.raises(UnmetHypothesis, match="noise >"):
        oracle_decoder(sketch, np.ones(3), 1, 1.0, 1e-9)


def test_latents_have_one_width() -> None:
    latents = Latents(np.eye(2), np.zeros(2), 1.0)
    with pytest.raises(UnmetHypothesis, match="rows"):
        latents.encode([1.0, 2.0, 3.0])
    with pytest.raises(UnmetHypothesis, match="latents"):
        latents.measurements([1.0])
    with pytest.raises(UnmetHypothesis, match="low <= 0 <= high"):
        SparseDecoder(np.eye(2), 1.0, low=1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("m", "count", "low", "high"),
    [(130, 2000, 0.9, 1.1), (100, 2000, 0.9, 1.1), (70, 2000, 0.8, 1.2), (45, 250, 10.0, 1e3)],
)
def test_the_l1_risk_over_sketches(m: int, count: int, low: float, high: float) -> None:
    """What the page says of finite dimensions: the interval of 99.9 % of the mean lies within the limits."""
    s, d, sigma, rng = 10, 200, 0.01, np.random.default_rng(5)
    tau, x = optimal_threshold(s, d), np.where(np.arange(d) < s, 1.0, 0.0)
    active = s + (d - s) * math.erfc(tau / math.sqrt(2.0))
    penalty = tau * sigma / math.sqrt(1.0 - statistical_dimension(s, d) / m) * max(1.0 - active / m, 0.05)
    errors = []
    for _ in range(count):
        sketch = gaussian_sketch(m, d, rng)
        y = sketch @ x + sigma * rng.standard_normal(m)
        errors.append(np.sum((solve(sketch, y, penalty, tolerance=1e-9, max_iterations=50_000).x - x) ** 2))
    ratio = np.array(errors) / l1_risk(sigma, m, s, d)
    half = 3.3 * ratio.std(ddof=1) / math.sqrt(ratio.size)
    assert low < ratio.mean() - half and ratio.mean() + half < high
