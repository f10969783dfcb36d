"""Tails of the laws that mix over a count, and of the count: special cases, switches, precisions, derivatives, ends."""

import mpmath
import numpy as np
import pytest
import torch

from driftproof import UnmetHypothesis
from driftproof.theory.laws import BesselCount, Gamma, GammaMixedChi2, NoncentralChi2, SquaredBesselBridge

LEVELS = np.asarray([1e-200, 1e-3, 0.5, 0.999])


@pytest.mark.parametrize("delta", [0.01, 1.0, 50.0, 1e4])
@pytest.mark.parametrize("pull", [0.0, 1e-3, 5.0, 1e3, 1e6])
def test_a_bridge_from_0_is_a_noncentral_law(delta, pull):
    """One is an integral of a density, the other a contour; both know the other end as well."""
    theirs = NoncentralChi2(delta, 2.0 * pull, 0.5)
    x = theirs.icdf(LEVELS)
    x = x[x > 1e-290]
    size = 1e-13 + 1e-15 * np.sqrt(delta + pull)
    for law in (SquaredBesselBridge(delta, 0.0, pull, 1.0), SquaredBesselBridge(delta, pull, 0.0, 1.0)):
        for ours, want in ((law.log_cdf(x), theirs.log_cdf(x)), (law.log_sf(x), theirs.log_sf(x))):
            np.testing.assert_allclose(ours, want, rtol=10.0 * size, atol=0.0)


@pytest.mark.parametrize("shape", [1e-3, 0.4, 3.0, 1e3, 1e6])
@pytest.mark.parametrize("mixing", [1e-6, 1.0, 1e5])
def test_a_mixture_of_equal_shapes_is_a_gamma_law(shape, mixing):
    theirs = Gamma(shape, 2.0 * (1.0 + mixing))
    x = theirs.icdf(LEVELS)
    x = x[x > 1e-290]
    law = GammaMixedChi2(2.0 * shape, shape, mixing, 1.0)
    size = 1e-12 + 1e-14 * np.sqrt(shape)
    np.testing.assert_allclose(law.log_cdf(x), theirs.log_cdf(x), rtol=size)
    np.testing.assert_allclose(law.log_sf(x), theirs.log_sf(x), rtol=size)


@pytest.mark.parametrize("nu", [-0.7, 0.0, 25.0])
@pytest.mark.parametrize("z", [3.0, 850.0, 920.0, 1e4])
def test_a_step_of_a_count_is_its_mass_wherever_sums_become_integrals(nu, z):
    """The standard deviation passes 15 at z = 900, and ratios of masses pass exp(-0.3) within the points."""
    law = BesselCount(nu, z)
    middle, width = np.floor(float(law.mean)), float(law.std)
    n = np.unique(np.floor(middle + width * np.linspace(-7.0, 7.0, 29)))
    n = n[n >= 1.0]
    below = n < middle
    logs = np.where(below, law.log_cdf(n), law.log_sf(n - 1.0))
    rest = np.where(below, law.log_cdf(n - 1.0), law.log_sf(n))
    step = np.exp(logs) - np.exp(rest)
    np.testing.assert_allclose(step, np.exp(law.log_prob(n)), rtol=1e-9)


def test_a_count_of_great_arguments_is_almost_normal():
    law = BesselCount(1.0, 1e10)
    n = law.icdf(np.asarray([1e-9, 0.02, 0.5, 0.9]))
    near = (n + 0.5 - float(law.mean)) / float(law.std)
    want = (-5.9978070150076874, -2.0537489106318225, 0.0, 1.2815515655446004)
    np.testing.assert_allclose(near, want, atol=2e-4)  # its skewness is of the size of one over its deviation


def test_quantiles_of_counts_come_back():
    law = BesselCount(-0.5, np.asarray([[1e-3], [2.0], [60.0], [5e3]]))
    n = np.maximum(np.floor(law.mean) + np.arange(-2.0, 3.0), 0.0)
    told = law.cdf(n) < 0.999  # beyond, isf is asked: p has fewer digits of what is left
    np.testing.assert_array_equal(law.icdf(law.cdf(n))[told], n[told])
    np.testing.assert_array_equal(law.isf(law.sf(n)), n)
    low, high = law.interval(0.8)
    assert (law.cdf(low) >= 0.1 - 1e-12).all()
    assert (law.sf(high) <= 0.1 + 1e-12).all()


@pytest.mark.parametrize(
    ("kind", "parameters", "x"),
    [
        (GammaMixedChi2, (0.4, 0.3, 2.0, 0.5), (1e-20, 0.1, 3.0, 30.0)),
        (SquaredBesselBridge, (0.4, 30.0, 0.0, 0.5), (1e-20, 0.1, 15.0, 40.0)),
        (BesselCount, (0.5, 40.0), (0.0, 12.0, 20.0, 33.0)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_single_precision_is_an_approximation(kind, parameters, x):
    x = np.asarray(x)
    many = kind(*parameters)
    for method in ("log_cdf", "log_sf"):
        single = getattr(many, method)(x.astype(np.float32))
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, getattr(many, method)(x), rtol=2e-4, atol=1e-37)


@pytest.mark.parametrize(("left", "right"), [(0.0, 2.0), (2.0, 0.0), (0.0, 0.0)])
def test_derivatives_at_a_closed_boundary_are_those_from_inside(left, right):
    def logs(pulls):
        law = SquaredBesselBridge(3.0, pulls[0], pulls[1], torch.ones((), dtype=torch.float64))
        return law.log_cdf(torch.tensor([0.2, 1.0, 6.0], dtype=torch.float64))

    pulls = torch.tensor([left, right], dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(logs, pulls)
    for k in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[k] = 1e-4
        one, two = logs(pulls + step), logs(pulls + 2.0 * step)
        want = (4.0 * one - two - 3.0 * logs(pulls)) / 2e-4
        torch.testing.assert_close(slopes[:, k], want, rtol=1e-6, atol=1e-9)


def test_a_count_has_derivatives_in_its_argument():
    n = torch.tensor([0.0, 3.0, 40.0], dtype=torch.float64)
    for z in (0.0, 6.0, 2e3):
        at = torch.tensor(z, dtype=torch.float64, requires_grad=True)
        point = n if z < 1e3 else n + 970.0
        (slope,) = torch.autograd.grad(BesselCount(0.5, at).cdf(point).sum(), at)
        # The derivative of log P(n) is (2 / z)(n - E N): a sum up to n telescopes to that of sizes.
        counts = torch.arange(0.0, 1500.0, dtype=torch.float64)
        with torch.no_grad():
            law = BesselCount(0.5, torch.tensor(max(z, 1e-8), dtype=torch.float64))
            share = torch.exp(law.log_prob(counts)) * (counts - law.mean) * (2.0 / max(z, 1e-8))
            want = sum(share[counts <= p].sum() for p in point)
        assert float(slope) == pytest.approx(float(want), rel=1e-9, abs=1e-8)


@pytest.mark.parametrize(
    ("kind", "parameters", "moved"),
    [
        (GammaMixedChi2, (0.8, 1.5, 0.7, 1.2), (2, 3)),
        (SquaredBesselBridge, (0.8, 0.6, 2.0, 1.2), (1, 2, 3)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_draws_move_with_their_parameters(kind, parameters, moved):
    """Along the level: against differences of the distribution function at what was drawn."""
    given = [torch.tensor(v, dtype=torch.float64) if k in moved else v for k, v in enumerate(parameters)]
    for k in moved:
        given[k].requires_grad_()
    law = kind(*given)
    assert law.has_rsample
    draws = law.rsample((5,), 3)
    slopes = torch.autograd.grad(torch.log(draws).sum(), [given[k] for k in moved])
    x = draws.detach().numpy()
    density = x * np.exp(kind(*parameters).log_prob(x))
    for k, slope in zip(moved, slopes, strict=True):
        ends = [
            kind(*(v * (1.0 + sign * 1e-5 * (i == k)) for i, v in enumerate(parameters))).cdf(x)
            for sign in (1.0, -1.0)
        ]
        want = np.sum((ends[1] - ends[0]) / (2e-5 * parameters[k]) / density)
        assert float(slope) == pytest.approx(want, rel=1e-7)


def test_points_without_squares_have_the_tails_of_the_ends():
    for law in (
        GammaMixedChi2(3.0, 2.0, 0.5, 1.0),
        SquaredBesselBridge(3.0, 1.0, 2.0, 1.0),
        BesselCount(0.5, 2.0),
    ):
        assert law.cdf(np.asarray([5e-324, 1e200, 1e308]))[1:].tolist() == [1.0, 1.0]
        assert law.sf(np.asarray([1e200, np.inf])).tolist() == [0.0, 0.0]
    assert float(GammaMixedChi2(3.0, 2.0, 0.5, 1e-300).cdf(2e-300)) == float(
        GammaMixedChi2(3.0, 2.0, 0.5, 1.0).cdf(2.0)
    )
    assert BesselCount(0.5, 0.0).cdf(np.asarray([-1.0, 0.0, 3.0])).tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("nu", [-0.99, 0.5, 3.0])
def test_masses_of_large_counts_do_not_cancel(nu):
    """Against Hankel's series at forty digits; terms as large as z log z leave nothing of a mass at z = 1e9 else."""
    for z in (1e4, 1e6, 1e9):
        law = BesselCount(nu, z)
        mean, std = float(law.mean), float(law.std)
        counts = np.floor(mean + std * np.asarray([-6.0, -1.0, 0.0, 2.0, 8.0]))
        with mpmath.workdps(40):
            order, at = mpmath.mpf(nu), mpmath.mpf(z)
            series = mpmath.hyp2f0(order + 0.5, 0.5 - order, 1 / (2 * at))
            log_i = at + mpmath.log(series) - mpmath.log(2 * mpmath.pi * at) / 2
            want = [
                float(
                    (2 * n + order) * mpmath.log(at / 2)
                    - log_i
                    - mpmath.loggamma(n + 1)
                    - mpmath.loggamma(n + order + 1)
                )
                for n in map(mpmath.mpf, counts.tolist())
            ]
        # Of a logarithm of a quotient near 1, times a distance of 8 deviations, in two of these and two remainders.
        steps = 8.0 * std
        np.testing.assert_allclose(law.log_prob(counts), want, rtol=0, atol=8.0 * steps * np.finfo(float).eps)


@pytest.mark.parametrize("z", [1e-3, 10.0, 1e6])
def test_no_count_is_too_far_for_its_tail(z):
    """P(N > n) is the mass at n + 1 but for a factor below 1 + z^2 / n^2."""
    law = BesselCount(0.5, z)
    for n in (1e12, 1e38, 1e60, 1e100, 1e152, 1e200):
        with mpmath.workdps(400):
            at, half = mpmath.mpf(n) + 1, mpmath.mpf(z) / 2
            log_i = (
                mpmath.log(mpmath.besseli(0.5, z))
                if z < 1e3
                else mpmath.mpf(z) - mpmath.log(2 * mpmath.pi * z) / 2
            )
            gammas = mpmath.loggamma(at + 1) + mpmath.loggamma(at + mpmath.mpf("1.5"))
            want = float((2 * at + mpmath.mpf("0.5")) * mpmath.log(half) - gammas - log_i)
        assert float(law.log_sf(n)) == pytest.approx(want, rel=1e-14)
        assert float(law.cdf(n)) == 1.0


def test_tails_of_points_beyond_all_else_are_those_of_their_exponent():
    for x in (1e25, 1e40, 1e100, 1e152, 1e200):
        y = 0.5 * x
        for nc in (0.0, 3.0, 1e4):
            want = -((np.sqrt(y) - np.sqrt(0.5 * nc)) ** 2)
            assert float(NoncentralChi2(3.0, nc, 1.0).log_sf(x)) == pytest.approx(want, rel=1e-14)
        assert float(GammaMixedChi2(3.0, 2.0, 4.0, 1.0).log_sf(x)) == pytest.approx(-y / 5.0, rel=1e-14)
        want = -((np.sqrt(x) - np.sqrt(7.0) - np.sqrt(2.0)) ** 2)
        assert float(SquaredBesselBridge(3.0, 7.0, 2.0, 1.0).log_sf(x)) == pytest.approx(want, rel=1e-14)


def test_derivatives_of_far_tails_at_a_closed_boundary():
    """Of P(Y > y), e^(-y) 0F1(; a; b y) but for its powers of y: y / a at b = 0."""
    nc = torch.zeros((), dtype=torch.float64, requires_grad=True)
    x = torch.tensor(1e60, dtype=torch.float64)
    (slope,) = torch.autograd.grad(NoncentralChi2(3.0, nc, 1.0).log_sf(x), nc)
    assert float(slope) == pytest.approx(0.5 * 0.5e60 / 1.5, rel=1e-14)
    left = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(SquaredBesselBridge(3.0, left, 2.0, 1.0).log_sf(x), left)
    assert float(slope) == pytest.approx(1e60 / 1.5, rel=1e-14)


@pytest.mark.parametrize(
    ("law", "x"),
    [
        (GammaMixedChi2(3.0, 2.0, 1e150, 1.0), 4e150),
        (SquaredBesselBridge(3.0, 1e16, 1.0, 1.0), 1e16),
        (BesselCount(0.5, 1e100), 5e99),
        (NoncentralChi2(3.0, 1e160, 1.0), 1e160),
    ],
    ids=lambda value: type(value).__name__,
)
def test_where_no_digit_is_left_there_is_no_answer(law, x):
    for method in ("log_cdf", "log_sf", "cdf", "sf"):
        with pytest.raises(UnmetHypothesis, match="the result has no NaN"):
            getattr(law, method)(x)
