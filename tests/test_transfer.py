"""The theory of transfer: exponents, exact risks and their hypotheses."""

from __future__ import annotations

import itertools
import math

import array_api_compat.torch as torch_namespace
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftproof import UnmetHypothesis
from driftproof.theory import transfer
from driftproof.theory.laws import Gaussian, wasserstein2

torch = pytest.importorskip("torch")


# -- exponents


@given(st.floats(0.0, 20.0), st.integers(1, 40), st.floats(0.01, 30.0))
def test_the_crossover_separates_the_two_rates(alpha: float, d: int, p: float) -> None:
    at = transfer.crossover(alpha, d)
    if abs(p - at) > 1e-6 * p:
        faster = transfer.transfer_exponent(alpha, d) > transfer.direct_exponent(p, d)
        assert faster == (p < at)


@given(st.floats(0.0, 20.0), st.integers(1, 40))
def test_transport_is_never_faster_than_parametric(alpha: float, d: int) -> None:
    rate = transfer.transfer_exponent(alpha, d)
    assert 0.0 < rate <= 0.5
    assert (rate == 0.5) == (d <= 2)
    assert transfer.composition_exponent(0.5, alpha, d) == 0.5 * rate


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: transfer.transfer_exponent(-0.1, 3), "alpha >= 0"),
        (lambda: transfer.transfer_exponent(math.nan, 3), "alpha >= 0"),
        (lambda: transfer.transfer_exponent(1.0, 0), "d is an integer >= 1"),
        (lambda: transfer.transfer_exponent(1.0, 3, "large-d"), "d is an integer > 3"),
        (lambda: transfer.transfer_exponent(1.0, 5, "asymptotic"), "convention is"),  # type: ignore[arg-type]
        (lambda: transfer.direct_exponent(0.0, 3), "p > 0"),
        (lambda: transfer.composition_exponent(0.0, 1.0, 3), "h > 0"),
        (lambda: transfer.crossover(1.0, 2.5), "d is an integer"),  # type: ignore[arg-type]
        (lambda: transfer.empirical_transport_risk(0), "m is an integer >= 1"),
        (lambda: transfer.gaussian_map_risk(3), "m is an integer > 3"),
        (lambda: transfer.gaussian_map_risk(9, 1), "n is an integer > 1"),
        (lambda: transfer.empirical_transport_risk(3, 0), "n is an integer >= 1"),
        (lambda: transfer.sample_size(0.1, 0.0), "exponent > 0"),
        (lambda: transfer.sample_size(math.inf, 0.5), "error > 0 and finite"),
        (lambda: transfer.excess_error_bound(0.1, margin=-1.0), "margin >= 0"),
        (lambda: transfer.excess_error_bound(-0.1), "error >= 0"),
        (lambda: transfer.error_bound(0.1, 0.1, 0.1, 1.0, output=-2.0), "output >= 0"),
        (lambda: transfer.error_bound(0.1, 0.1, 0.1, 1.0, holder=1.2), "0 < h <= 1"),
        (lambda: transfer.error_bound(-0.1, 0.1, 0.1, 1.0), "map_error >= 0"),
        (lambda: transfer.ridge_risk(0.0, 1.0, 1.0), "penalty > 0"),
        (lambda: transfer.optimal_penalty(1.0, 0.0), "mismatch > 0"),
        (lambda: transfer.sobolev_transport_risk(0.0, 1.0, 3), "m > 0"),
        (lambda: transfer.sobolev_transport_risk(10.0, -1.0, 3), "alpha >= 0"),
        (lambda: transfer.sobolev_transport_risk(1e12, 0.0, 2), "shells are kept"),
        (lambda: transfer.projection_risk(10.0, 1.0, 3, noise=0.0), "noise > 0"),
        (lambda: transfer.shift_composition_risk(10.0, 1.0), "0 < h < 1"),
        (lambda: transfer.lattice_tail(10, 1.5, 3), "d/2 < s"),
        (lambda: transfer.lattice_counts(0, 3), "size >= 1"),
        (lambda: transfer.gaussian_map([0.0], [[0.0]], [0.0], [[1.0]]), "cov is not singular"),
        (lambda: transfer.gaussian_map([0.0, 1.0], [[1.0]], [0.0], [[1.0]]), "means (d,)"),
        (lambda: transfer.gaussian_map_constant([[1.0]], np.eye(2)), "two covariances"),
    ],
)
def test_errors_name_the_hypothesis(call, says: str) -> None:
    with pytest.raises(UnmetHypothesis) as error:
        call()
    assert says in str(error.value)


# -- exact risks


def test_the_tail_of_the_lattice_telescopes() -> None:
    for d, s in ((1, 1.25), (2, 3.0), (3, 2.0), (6, 4.5)):
        counts = transfer.lattice_counts(5001, d)
        n = np.arange(1.0, 5001.0)
        for low, high in itertools.pairwise((0, 3, 40, 41, 977, 5000)):
            between = math.fsum(counts[low + 1 : high + 1] * n[low:high] ** -s)
            difference = transfer.lattice_tail(low, s, d) - transfer.lattice_tail(high, s, d)
            assert difference == pytest.approx(between, rel=1e-11)


@pytest.mark.parametrize(("alpha", "d"), [(1.0, 1), (0.5, 2), (1.0, 3), (2.0, 5)])
def test_risks_fall_with_the_sample_size_and_rise_with_the_dimension(alpha: float, d: int) -> None:
    risks = [transfer.sobolev_transport_risk(m, alpha, d).total for m in np.geomspace(1.0, 1e6, 25)]
    assert all(a > b for a, b in itertools.pairwise(risks))
    assert (
        transfer.sobolev_transport_risk(1e4, alpha, d + 1).total
        > transfer.sobolev_transport_risk(1e4, alpha, d).total
    )


def test_an_amplitude_is_a_change_of_units() -> None:
    scaled = transfer.sobolev_transport_risk(100.0, 1.0, 3, amplitude=4.0)
    plain = transfer.sobolev_transport_risk(400.0, 1.0, 3)
    assert scaled.cutoff == plain.cutoff
    assert scaled.total == pytest.approx(4.0 * plain.total, rel=1e-14)


def test_the_risk_of_the_map_is_smooth_where_its_formula_changes() -> None:
    risks = [m * transfer.gaussian_map_risk(m) for m in range(120, 137)]
    third = np.diff(risks, 3)
    assert np.max(np.abs(third)) < 1e-6
    assert all(a > b for a, b in itertools.pairwise(risks))


def test_two_samples_cost_more_than_one_and_less_than_both() -> None:
    for m, n in itertools.product(range(1, 30), repeat=2):
        both = transfer.empirical_transport_risk(m, n)
        assert both == transfer.empirical_transport_risk(n, m)
        alone = transfer.empirical_transport_risk(m), transfer.empirical_transport_risk(n)
        assert both < sum(alone)
        if n == m + 1:  # a point more in the other sample is worth nothing
            assert both == pytest.approx(transfer.empirical_transport_risk(m, m), rel=1e-15)
    deviations = [
        n * (transfer.gaussian_map_risk(50, n) - transfer.gaussian_map_risk(50)) for n in range(120, 137)
    ]
    assert np.max(np.abs(np.diff(deviations, 3))) < 1e-6  # the formula changes at 128


def test_sizes_beyond_all_floats_are_infinite() -> None:
    assert transfer.sample_size(1e-10, 1e-4) == math.inf
    assert transfer.sample_size(10.0, 1e-4) == 0.0


def test_maps_are_the_same_on_torch_and_differentiable() -> None:
    rng = np.random.default_rng(0)
    root, other = rng.standard_normal((2, 3, 3))
    given = (rng.standard_normal(3), root @ root.T + np.eye(3), rng.standard_normal(3), other @ other.T)
    here = transfer.gaussian_map(*given)
    there = transfer.gaussian_map(*(torch.tensor(value) for value in given))
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(b.numpy(), a, atol=1e-13)
    target = torch.tensor(given[1], requires_grad=True)
    constant = transfer.gaussian_map_constant(target, torch.eye(3, dtype=torch.float64))
    constant.backward()
    assert torch_namespace.isfinite(target.grad).all()
    assert constant.item() == pytest.approx(
        float(transfer.gaussian_map_constant(given[1], np.eye(3))), rel=1e-13
    )


def test_a_map_onto_a_degenerate_law_is_legal() -> None:
    flat = np.diag([2.0, 0.0])
    a, b = transfer.gaussian_map([0.0, 0.0], np.eye(2), [1.0, 1.0], flat)
    np.testing.assert_allclose(a @ a.T, flat, atol=1e-15)
    moved = np.sum((b - 0.0) ** 2) + np.trace((a - np.eye(2)) @ (a - np.eye(2)).T)
    distance = wasserstein2(Gaussian([0.0, 0.0], np.eye(2)), Gaussian([1.0, 1.0], flat))
    assert float(distance) ** 2 == pytest.approx(moved, rel=1e-12)


# -- the edges of what is computed


@pytest.mark.parametrize("d", [math.nan, math.inf, 2.5])
def test_dimensions_are_integers(d: float) -> None:
    for call in (
        lambda: transfer.transfer_exponent(1.0, d),  # type: ignore[arg-type]
        lambda: transfer.sobolev_transport_risk(10.0, 1.0, d),  # type: ignore[arg-type]
        lambda: transfer.lattice_tail(3, 5.0, d),  # type: ignore[arg-type]
        lambda: transfer.lattice_counts(3, d),  # type: ignore[arg-type]
        lambda: transfer.gaussian_map_risk(d),  # type: ignore[arg-type]
        lambda: transfer.empirical_transport_risk(d),  # type: ignore[arg-type]
    ):
        with pytest.raises(UnmetHypothesis, match="integer"):
            call()


def test_counts_beyond_two_to_the_53_are_not_returned() -> None:
    assert transfer.lattice_counts(30, 20).min() > 0
    with pytest.raises(UnmetHypothesis, match=r"2\^53"):
        transfer.lattice_counts(300, 20)


def test_tails_join_where_counts_no_longer_fit_an_integer() -> None:
    """In 20 dimensions the shells from 60 to 99 are the difference of two tails; counted with Python's integers."""
    counts = [1] + 99 * [0]
    for _ in range(20):
        below = [2 * sum(counts[n - k * k] for k in range(1, math.isqrt(n) + 1)) for n in range(100)]
        counts = [a + b for a, b in zip(counts, below, strict=True)]
    assert max(counts) > 2**56
    shells = sum(counts[n] * n**-11.5 for n in range(60, 100))
    between = transfer.lattice_tail(59, 11.5, 20) - transfer.lattice_tail(99, 11.5, 20)
    assert between == pytest.approx(shells, rel=1e-12)


def test_maps_need_finite_moments() -> None:
    one = [[1.0]]
    for arguments in (([math.inf], one, [0.0], one), ([0.0], one, [0.0], [[math.inf]])):
        with pytest.raises(UnmetHypothesis, match="finite"):
            transfer.gaussian_map(*arguments)
    with pytest.raises(UnmetHypothesis, match="shape"):
        transfer.gaussian_map_constant(np.zeros((0, 0)), np.zeros((0, 0)))
