"""Distribution functions and quantiles: where scipy stands, in every namespace and precision, at the ends."""

import array_api_strict
import numpy as np
import pytest
import scipy.stats
import torch

from driftproof import UnmetHypothesis
from driftproof.theory.laws import (
    BesselCount,
    Discrete,
    Gamma,
    Gaussian,
    LogNormal,
    Mixture,
    NoncentralChi2,
    Normal,
)
from driftproof.theory.processes import CIR

PAIRS = [
    (Normal(0.3, 2.0), scipy.stats.norm(0.3, 2.0)),
    (LogNormal(0.3, 0.5), scipy.stats.lognorm(0.5, scale=np.exp(0.3))),
    (Gamma(2.5, 0.4), scipy.stats.gamma(2.5, scale=0.4)),
    (NoncentralChi2(0.7, 2.0, 0.6), scipy.stats.ncx2(0.7, 2.0, scale=0.6)),
    (NoncentralChi2(9.0, 60.0, 0.05), scipy.stats.ncx2(9.0, 60.0, scale=0.05)),
]
LEVELS = np.asarray([1e-3, 0.2, 0.5, 0.9, 0.999])


@pytest.mark.parametrize(("law", "theirs"), PAIRS, ids=lambda value: type(value).__name__)
def test_agrees_with_scipy_stats(law, theirs):
    """scipy's noncentral functions are good to about 1e-11."""
    x = theirs.ppf(LEVELS)
    np.testing.assert_allclose(law.cdf(x), LEVELS, rtol=1e-10)
    np.testing.assert_allclose(law.sf(x), theirs.sf(x), rtol=1e-9)
    np.testing.assert_allclose(law.icdf(LEVELS), x, rtol=1e-9)
    np.testing.assert_allclose(law.isf(LEVELS), theirs.isf(LEVELS), rtol=1e-9)
    np.testing.assert_allclose(law.interval(0.9), theirs.interval(0.9), rtol=1e-9)
    assert float(law.std) == pytest.approx(float(theirs.std()), rel=1e-12)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    "law", [law for law, _ in PAIRS] + [Mixture([0.3, 0.7], Gamma(2.0, [0.5, 3.0]))], ids=str
)
def test_quantiles_agree_in_every_namespace_and_precision(law):
    kind = type(law)
    want = law.icdf(LEVELS)
    for convert, rtol in ((torch.as_tensor, 1e-12), (array_api_strict.asarray, 1e-12)):
        made = law
        if kind is Mixture:
            made = Mixture(convert(np.asarray([0.3, 0.7])), Gamma(2.0, convert(np.asarray([0.5, 3.0]))))
        np.testing.assert_allclose(np.asarray(made.icdf(convert(LEVELS))), want, rtol=rtol)
    if kind is not Mixture:  # its weights are float64
        single = law.icdf(LEVELS.astype(np.float32))
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, want, rtol=1e-4)
        half = law.icdf(torch.tensor([0.5], dtype=torch.bfloat16))
        assert half.dtype == torch.bfloat16
        assert law.cdf(half).dtype == torch.float32


def test_stacks_broadcast_points_and_parameters():
    law = NoncentralChi2(3.0, np.asarray([[0.0], [5.0]]), np.asarray([0.5, 1.0, 2.0]))
    x = np.linspace(0.1, 9.0, 4)[:, None, None]
    assert law.cdf(x).shape == (4, 2, 3)
    assert law.icdf(0.3).shape == (2, 3)
    assert float(law.cdf(x)[2, 1, 0]) == float(NoncentralChi2(3.0, 5.0, 0.5).cdf(x[2, 0, 0]))


def test_tails_go_on_where_their_numbers_end():
    law = NoncentralChi2(3.0, 2.0, 1.0)
    assert float(law.sf(1e4)) == 0.0
    assert -5000.0 < float(law.log_sf(1e4)) < -4800.0
    assert float(law.log_cdf(1e-250)) == pytest.approx(1.5 * np.log(1e-250), rel=1e-2)
    assert float(law.isf(1e-300)) == pytest.approx(float(scipy.stats.ncx2.isf(1e-300, 3.0, 2.0)), rel=1e-9)
    # Of shape 1e-3 the median is 2^-1000, and its square underflows.
    assert float(Gamma(1e-3, 1.0).icdf(0.5)) == pytest.approx(np.exp(np.log(0.5) * 1e3 - 0.577), rel=1e-2)
    assert float(Gamma(1e-3, 1.0).icdf(0.1)) == 0.0


def test_large_arrays_go_block_by_block_and_give_the_same_numbers():
    law, x = NoncentralChi2(0.7, 2.0, 0.6), np.linspace(0.0, 9.0, 1500)
    np.testing.assert_array_equal(law.cdf(x)[700:710], law.cdf(x[700:710]))


def test_the_transition_of_a_process_is_a_law_with_tails():
    law = CIR(kappa=2.0, theta=0.1, sigma=1.0).transition(0.2, 1.0)
    x = law.icdf(LEVELS)
    np.testing.assert_allclose(scipy.stats.ncx2.cdf(x / law.scale, law.df, law.nc), LEVELS, rtol=1e-9)


def test_sample_has_no_derivatives_and_rsample_has_all():
    shape = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    law = Gamma(shape, torch.ones_like(shape))
    assert not law.sample((3,), 0).requires_grad
    draws = law.rsample((3,), 0)
    assert torch.equal(draws.detach(), law.sample((3,), 0))
    theirs = torch.distributions.Gamma(shape, torch.ones_like(shape))
    cdf = theirs.cdf(draws.detach())
    (ours,) = torch.autograd.grad(draws.sum(), shape)
    step = 1e-5
    moved = [
        Gamma(shape.detach() + s, torch.ones(1, dtype=torch.float64)).icdf(cdf).sum() for s in (step, -step)
    ]
    assert ours.item() == pytest.approx((moved[0] - moved[1]).item() / (2 * step), rel=1e-7)


def test_gaussian_laws_with_a_diagonal_covariance_have_a_distribution_function():
    law = Gaussian([0.0, 1.0], [[1.0, 0.0], [0.0, 4.0]])
    assert float(law.cdf([1.0, 2.0])) == pytest.approx(scipy.stats.norm.cdf(1.0) * scipy.stats.norm.cdf(0.5))
    assert float(law.entropy()) == pytest.approx(
        scipy.stats.multivariate_normal([0, 1], np.diag([1, 4])).entropy()
    )
    with pytest.raises(UnmetHypothesis, match="cov is diagonal"):
        Gaussian([0.0, 1.0], [[1.0, 0.5], [0.5, 4.0]]).cdf([1.0, 2.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Normal(0.0, 1.0).icdf(1.5), r"p in \[0, 1\]"),
        (lambda: Gamma(1.0, 1.0).isf(-0.1), r"q in \[0, 1\]"),
        (lambda: Gamma(1.0, 1.0).interval(1.0), r"level in \(0, 1\)"),
        (lambda: Gamma(1.0, 1.0).cdf(np.asarray([np.nan])), "no NaN"),
        (lambda: BesselCount(0.5, 2.0).rsample(3, 0), "draws have derivatives"),
        (lambda: NoncentralChi2(3.0, 2.0, 0.5).entropy(), "closed form"),
        (lambda: Discrete([[0.0, 1.0]]).cdf([0.0, 1.0]), r"atoms of shape \(K,\)"),
    ],
)
def test_what_has_no_answer_is_refused(call, words):
    with pytest.raises(UnmetHypothesis, match=words):
        call()


def test_a_draw_near_the_smallest_number_moves_with_its_shape_too():
    """There F = (x / c)^k / Gamma(k + 1) exactly, and d log x / dk is elementary."""
    shape = torch.tensor([0.01], dtype=torch.float64, requires_grad=True)
    law, level = Gamma(shape, torch.ones_like(shape)), 0.5
    x = law.icdf(torch.tensor([level], dtype=torch.float64))
    (slope,) = torch.autograd.grad(torch.log(x).sum(), shape)
    k = shape.detach()
    want = (torch.digamma(k + 1.0) - torch.log(x.detach())) / k
    assert x.item() < 1e-29
    assert slope.item() == pytest.approx(want.item(), rel=1e-10)
    draw = law.rsample((200,), 0)
    least = draw[draw.detach() > 0].min()
    (slope,) = torch.autograd.grad(torch.log(least), shape)
    want = (torch.digamma(k + 1.0) - torch.log(least.detach())) / k
    assert least.item() < 1e-100
    assert slope.item() == pytest.approx(want.item(), rel=1e-10)
