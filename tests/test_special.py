"""Special functions: reference values, other libraries' blind spots, identities and limits."""

from __future__ import annotations

import functools
import importlib
import json
import math
from fractions import Fraction
from typing import Any

import mpmath
import mpmath as mp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from driftproof._blocks import BLOCK
from driftproof.theory.special import (
    bessel_quotient,
    bessel_ratio,
    hyp1f1_ratio,
    log_hyp1f1,
    log_iv,
    log_ive,
    log_ive_parts,
    log_ndtr,
    mills,
)
from driftproof.theory.special.debye import DEBYE, debye_polynomials
from driftproof.theory.special.hypergeometric import _threshold
from driftproof.theory.special.normal import MILLS_POLYNOMIAL
from tests.parity.bounds import bounds
from tests.parity.rows import Row
from tests.reference import special as reference

TABLE = json.loads(reference.DATA.read_text())
NAMES = sorted(TABLE["values"])


# -- values -----------------------------------------------------------------------------------


# That torch is numpy within roundings is what the parity tests settle.
EACH_KIND = [
    pytest.param(kind, marks=pytest.mark.slow) if kind.startswith("torch") else kind
    for kind in reference.KINDS
]


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("kind", EACH_KIND)
@pytest.mark.parametrize("name", NAMES)
def test_errors_stay_where_they_were_measured(name: str, kind: str) -> None:
    """They were measured on one processor; another one adds what its elementary functions do."""
    rows = TABLE["values"][name]
    measured, written = reference.measure(name, rows, kind), TABLE["errors"][name][kind]
    above = {key: e for key, e in measured.items() if not e <= reference.allowed(written[key], kind)}
    if above:  # the bounds cost more than all else
        room = elsewhere(name, rows, kind.removeprefix("torch "))
        above = {
            key: e for key, e in above.items() if not e <= reference.allowed(written[key], kind) + room[key]
        }
    assert above == {}


def elsewhere(name: str, rows: list[list[float]], dtype: str) -> dict[str, float]:
    """The largest computed bound between two processors (tests/parity/bounds.py) in every region."""
    groups: dict[tuple[float, ...], list[float]] = {}
    for *arguments, x, _ in rows:
        groups.setdefault(tuple(arguments), []).append(x)
    function, room = reference.ours(name), {}
    for parameters, points in groups.items():
        sample = {"x": np.asarray(points, dtype=dtype)}
        (ours,) = run(function, parameters, sample, np.asarray)
        (bound,) = bounds(Row((sample,)), sample, [ours], functools.partial(run, function, parameters))
        for x, y, b in zip(points, ours.tolist(), bound.tolist(), strict=True):
            key = reference.region(name, (*parameters, x))
            there = reference.error(name, (*parameters, x), y + b, y) if math.isfinite(y) else 0.0
            room[key] = max(room.get(key, 0.0), there)
    return room


def run(function: Any, parameters: tuple[float, ...], sample: Any, convert: Any) -> list[np.ndarray]:
    return [np.asarray(function(*parameters, convert(sample["x"])))]


@pytest.mark.parametrize("name", NAMES)
def test_errors_meet_the_requirement(name: str) -> None:
    errors = TABLE["errors"][name]
    for kind in ("float64", "torch float64"):
        assert max(errors[kind].values()) <= (1e-13 if "hyp1f1" not in name else 1e-12)
    for region, measured in [*errors["float32"].items(), *errors["torch float32"].items()]:
        bound = 2e-6
        if "nu in (-1, -0.99]" in region:
            bound = 4e-6  # two terms as large as 25 cancel
        if "max(a, b) > 50" in region:
            bound = 8e-6  # a rounding of a gamma variable moves the exponent at its mode by sqrt(a) of them
        if name == "hyp1f1_ratio":
            bound = 1e-5  # the expansion for large x loses up to two digits where 1 < a < b
        assert measured <= bound


@pytest.mark.parametrize("name", NAMES)
def test_table_is_what_the_generator_computes(name: str) -> None:
    rows = TABLE["values"][name]
    with mp.workdps(reference.DIGITS):
        for *arguments, value in rows[:: max(1, len(rows) // 7)]:
            assert float(reference.VALUES[name](*arguments)) == value


def test_mills_polynomial_is_what_the_generator_computes() -> None:
    with mp.workdps(40):
        np.testing.assert_allclose(reference.mills_polynomial(), MILLS_POLYNOMIAL, rtol=1e-15)


def test_debye_polynomials_are_those_of_the_handbook() -> None:
    u1 = [Fraction(3, 24), Fraction(-5, 24)]  # DLMF 10.41.10
    u2 = [Fraction(81, 1152), Fraction(-462, 1152), Fraction(385, 1152)]
    u3 = [Fraction(c, 414720) for c in (30375, -369603, 765765, -425425)]
    assert debye_polynomials(4)[1:] == [u1, u2, u3]


def test_debye_polynomials_satisfy_the_bound_that_cuts_the_sum() -> None:
    grid = [Fraction(i, 200) for i in range(201)]
    for k, row in enumerate(debye_polynomials(len(DEBYE))[1:], start=1):
        largest = max(abs(sum(c * t ** (k + 2 * j) for j, c in enumerate(row))) for t in grid)
        assert float(largest) <= math.factorial(k - 1) / (3 * math.pi**k)


# -- where scipy is wrong ------------------------------------------------------------------------


def test_right_where_scipy_underflows_or_overflows() -> None:
    assert scipy.special.ive(200.0, 1e-3) == 0.0
    assert math.isclose(
        log_iv(200.0, 1e-3), 200 * math.log(5e-4) - math.lgamma(201.0) + 5e-4**2 / 201, rel_tol=1e-14
    )
    assert math.isclose(bessel_ratio(200.0, 1e-3), 1e-3 / 402, rel_tol=1e-11)
    assert np.isnan(scipy.special.ive(0.5, 1e10))
    assert math.isclose(log_ive(0.5, 1e10), -0.5 * math.log(2 * math.pi * 1e10), rel_tol=1e-14)
    assert scipy.special.iv(0.0, 714.0) == math.inf
    with mp.workdps(40):
        assert math.isclose(log_iv(0.0, 714.0), mp.log(mp.besseli(0, 714)), rel_tol=1e-15)


def test_noncentral_chi_square_density_where_scipy_is_minus_infinity() -> None:
    df, nc, x = 1e4, 1e4, 1.0
    assert scipy.stats.ncx2.logpdf(x, df, nc) == -math.inf
    nu, z = df / 2 - 1, math.sqrt(nc * x)
    ours = -math.log(2) - (x + nc) / 2 + nu / 2 * math.log(x / nc) + log_iv(nu, z)
    with mp.workdps(40):
        exact = (
            -mp.log(2)
            - (mp.mpf(x) + nc) / 2
            + mp.mpf(nu) / 2 * mp.log(x / mp.mpf(nc))
            + reference.log_iv(nu, z)
        )
    assert math.isclose(ours, exact, rel_tol=1e-14)


# -- identities -------------------------------------------------------------------------------


@given(st.floats(-0.9, 990.0), st.floats(1e-3, 1e6))
def test_three_term_recurrence(nu: float, z: float) -> None:
    # I_nu = 2 (nu+1)/z I_{nu+1} + I_{nu+2}, divided by I_nu.
    r, following = bessel_ratio(nu, z), bessel_ratio(nu + 1, z)
    assert math.isclose(2 * (nu + 1) / z * r + r * following, 1.0, rel_tol=2e-14)


@given(st.floats(-0.9, 990.0), st.floats(1e-3, 1e6))
def test_ratio_is_the_quotient_of_the_values(nu: float, z: float) -> None:
    difference = log_iv(nu + 1, z) - log_iv(nu, z)
    size = max(1.0, abs(log_iv(nu, z)), nu)
    assert abs(difference - math.log(bessel_ratio(nu, z))) <= 1e-14 * size


@given(st.floats(-0.9, 900.0), st.floats(1e-3, 900.0))
def test_wronskian(nu: float, z: float) -> None:
    # I_nu K_{nu+1} + I_{nu+1} K_nu = 1/z, with K from scipy where it is finite.
    k, following = scipy.special.kve(nu, z), scipy.special.kve(nu + 1, z)
    if not (0 < k < 1e300 and 0 < following < 1e300):
        return
    i = math.exp(log_ive(nu, z) + math.log(following))
    assert math.isclose(z * i * (1 + bessel_ratio(nu, z) * k / following), 1.0, rel_tol=1e-11)


@pytest.mark.parametrize("z", [1e-6, 0.3, 2.0, 30.0, 300.0])
def test_half_integer_orders_are_elementary(z: float) -> None:
    root = math.sqrt(2 / (math.pi * z))
    assert math.isclose(log_iv(-0.5, z), math.log(root * math.cosh(z)), rel_tol=1e-14, abs_tol=1e-14)
    assert math.isclose(log_iv(0.5, z), math.log(root * math.sinh(z)), rel_tol=1e-14, abs_tol=1e-14)
    assert math.isclose(bessel_ratio(-0.5, z), math.tanh(z), rel_tol=2e-15)


@given(st.floats(-0.49, 1000.0), st.floats(1e-6, 1e8))
def test_ratio_lies_between_its_classical_bounds(nu: float, z: float) -> None:
    low = z / (nu + 0.5 + math.hypot(z, nu + 1.5))
    high = z / (nu + 0.5 + math.hypot(z, nu + 0.5))
    assert low * (1 - 1e-15) <= bessel_ratio(nu, z) <= high * (1 + 1e-15)


@given(st.floats(-0.99, 900.0), st.floats(0.0, 1e8))
def test_parts_compose(nu: float, z: float) -> None:
    scale, remainder = log_ive_parts(nu, z)
    whole = log_ive(nu, z)
    if z > 0:
        power = math.log(z / scale) if z / scale > 0 else math.log(z) - math.log(scale)
        assert abs(nu * power + remainder - whole) <= 1e-15 * max(4.0, abs(whole), abs(nu))
    # The product of a subnormal number is rounded to a multiple of the least one.
    assert math.isclose(z * bessel_quotient(nu, z), bessel_ratio(nu, z), rel_tol=1e-15, abs_tol=5e-324)


@pytest.mark.parametrize(
    "namespace", ["array_api_compat.numpy", "array_api_compat.torch", "array_api_strict"]
)
def test_order_may_be_an_array(namespace: str) -> None:
    if namespace.endswith("torch"):
        pytest.importorskip("torch")
    xp = importlib.import_module(namespace)
    nu = xp.asarray([[-0.9], [0.0], [0.5], [24.0], [300.0], [5000.0]], dtype=xp.float64)
    z = xp.asarray([0.0, 1e-8, 0.5, 40.0, 700.0, 1e6], dtype=xp.float64)
    for function, atol in ((log_iv, 2e-14), (log_ive, 2e-14), (bessel_ratio, 0.0), (bessel_quotient, 0.0)):
        together = function(nu, z)
        assert tuple(together.shape) == (6, 6)
        alone = [np.asarray(function(float(nu[i, 0]), z)) for i in range(6)]
        np.testing.assert_allclose(np.asarray(together), np.stack(alone), rtol=1e-14, atol=atol)


@given(st.floats(-40.0, 40.0))
def test_normal_tails_are_complementary(z: float) -> None:
    total = math.exp(log_ndtr(z)) + math.exp(log_ndtr(-z))
    assert math.isclose(total, 1.0, rel_tol=1e-14)


@given(st.floats(-1e8, 37.0))
def test_mills_lies_between_its_classical_bounds(z: float) -> None:
    # max(0, -z) < m(z) < (sqrt(z^2 + 4) - z) / 2 (Birnbaum; Sampford), the second without cancellation.
    high = 2 / (math.sqrt(z * z + 4) + z) if z > 0 else (math.sqrt(z * z + 4) - z) / 2
    assert max(0.0, -z) * (1 - 1e-15) <= mills(z) <= high * (1 + 1e-15)


@given(st.floats(0.01, 50.0), st.floats(0.0, 1e8))
def test_kummer_closed_forms(a: float, x: float) -> None:
    assert math.isclose(log_hyp1f1(a, a, x), x, rel_tol=1e-14, abs_tol=1e-15)
    assert math.isclose(hyp1f1_ratio(a, a, x), 1.0, rel_tol=1e-14)
    # M(1, 2, x) = (e^x - 1) / x = e^x (1 - e^{-x}) / x
    exact = x + math.log(-math.expm1(-x) / x) if x > 1e-3 else math.log1p(x / 2 + x * x / 6 + x**3 / 24)
    assert math.isclose(log_hyp1f1(1.0, 2.0, x), exact, rel_tol=1e-12, abs_tol=1e-15)


@given(st.floats(0.05, 40.0), st.floats(0.05, 40.0), st.floats(1e-3, 1e4))
def test_kummer_ratios_satisfy_their_recurrence(a: float, b: float, x: float) -> None:
    # From x y'' + (b - x) y' - a y = 0:  a q_0 (1 + ...) with y'/y = (a/b) q_0 and y''/y' = (a+1)/(b+1) q_1.
    first = a / b * hyp1f1_ratio(a, b, x)
    second = (a + 1) / (b + 1) * hyp1f1_ratio(a + 1, b + 1, x)
    terms = (x * first * second, (b - x) * first, -a)
    assert abs(sum(terms)) <= 1e-12 * max(abs(t) for t in terms)


@given(st.floats(0.01, 50.0), st.floats(0.01, 50.0))
def test_kummer_forms_join_at_the_threshold(a: float, b: float) -> None:
    x = _threshold(a, b, 2.3e-16)
    assert x <= 226
    below, above = log_hyp1f1(a, b, x), log_hyp1f1(a, b, math.nextafter(x, math.inf))
    assert abs(above - below) <= 4e-15 * max(1.0, abs(above)) + 2e-15 * x


def sweep(count: int, seed: int) -> list[tuple[float, float, float]]:
    """Parameters of which one is above 50, and arguments, log-uniform."""
    rng = np.random.default_rng(seed)
    points = []
    while len(points) < count:
        a, b = 10.0 ** rng.uniform(-3, 4, 2)
        if max(a, b) > 50.0:
            points.append((float(a), float(b), float(10.0 ** rng.uniform(-6, 3.5))))
    return points


def kummer_errors(points: list[tuple[float, float, float]]) -> tuple[float, float]:
    worst = [0.0, 0.0]
    for a, b, x in points:
        with mpmath.workdps(40):
            below = mpmath.hyp1f1(a, b, x, maxterms=10**5)
            above = mpmath.hyp1f1(mpmath.mpf(a) + 1, mpmath.mpf(b) + 1, x, maxterms=10**5)
            want, ratio = mpmath.log(below), above / below
            worst[0] = max(worst[0], float(abs(float(log_hyp1f1(a, b, x)) - want) / max(1, abs(want))))
            worst[1] = max(worst[1], float(abs(float(hyp1f1_ratio(a, b, x)) / ratio - 1)))
    return worst[0], worst[1]


def test_kummer_functions_of_large_parameters_over_a_sweep() -> None:
    assert max(kummer_errors(sweep(40, 1))) <= 1e-13


@pytest.mark.slow
def test_kummer_functions_of_large_parameters_over_a_long_sweep() -> None:
    assert max(kummer_errors(sweep(1000, 2))) <= 1e-13


@pytest.mark.parametrize(("a", "b"), [(60.0, 0.3), (0.3, 60.0), (300.0, 2000.0), (5000.0, 5000.0)])
def test_kummer_functions_of_large_parameters_at_large_arguments(a: float, b: float) -> None:
    """Across the beginning of the expansion and beyond it, up to overflow."""
    for x in (0.5 * 30.0 * max(a, b) ** 2, 31.0 * max(a, b) ** 2, 1e150, 1e300):
        with mpmath.workdps(60):
            A, B, terms = mpmath.mpf(a), mpmath.mpf(b), []
            for p, q in ((A, B), (A + 1, B + 1)):
                term, total, n = mpmath.mpf(1), mpmath.mpf(1), 0
                while abs(term) > 1e-40 and n < 300:
                    term *= (q - p + n) * (1 - p + n) / ((n + 1) * mpmath.mpf(x))
                    total, n = total + term, n + 1
                terms.append(total)
            want = (
                x + (A - B) * mpmath.log(x) + mpmath.loggamma(B) - mpmath.loggamma(A) + mpmath.log(terms[0])
            )
            ratio = B / A * terms[1] / terms[0]
        assert float(log_hyp1f1(a, b, x)) == pytest.approx(float(want), rel=1e-14)
        assert float(hyp1f1_ratio(a, b, x)) == pytest.approx(float(ratio), rel=1e-13)


# -- z = 0, blocks ------------------------------------------------------------------------


def test_limits_at_zero() -> None:
    assert abs(log_iv(0.0, 0.0)) < 1e-15  # a logarithm and a log-gamma cancel
    assert log_iv(2.0, 0.0) == log_ive(2.0, 0.0) == -math.inf
    assert log_iv(-0.5, 0.0) == math.inf
    assert all(bessel_ratio(nu, 0.0) == 0.0 for nu in (-0.9, 0.0, 3.0, 4999.0))
    assert all(
        math.isclose(bessel_quotient(nu, 0.0), 0.5 / (nu + 1), rel_tol=1e-15)
        for nu in (-0.9, 0.0, 3.0, 4999.0)
    )
    assert log_hyp1f1(2.0, 3.0, 0.0) == 0.0
    assert hyp1f1_ratio(2.0, 3.0, 0.0) == 1.0


@pytest.mark.parametrize("function", [log_iv, log_ive, bessel_ratio])
def test_blocks_change_nothing(function: Any) -> None:
    z = np.geomspace(1e-8, 1e8, 2 * BLOCK + 5)
    whole = function(0.7, z)
    assert np.array_equal(whole, np.concatenate([function(0.7, part) for part in np.array_split(z, 7)]))
    assert np.array_equal(function(0.7, z.reshape(1, -1).T), whole.reshape(-1, 1))
    nu = np.linspace(0.0, 3.0, 3)[:, None]
    rows = np.stack([function(row, z) for row in nu])
    np.testing.assert_allclose(function(nu, z), rows, rtol=5e-15, atol=5e-15)


def test_benchmark_compares_equal_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from driftproof.validation.benchmarks import special as benchmark

    monkeypatch.setattr(benchmark, "POINTS", 500)
    rows = benchmark.run()
    assert all(row["ratio"] is not None and row["ratio"] > 0 for row in rows)
    density = next(row for row in rows if "tails" in row["name"])
    assert "not finite" in density["note"]


@pytest.mark.parametrize(("a", "b"), [(0.4, 900.0), (200.0, 3.0), (51.0, 51.0), (1e6, 0.5), (0.3, 1e6)])
def test_kummer_of_large_parameters_is_relatively_exact_near_one(a: float, b: float) -> None:
    x = np.asarray([1e-300, 1e-12, 1e-6, 1e-2, 0.5, 3.0, 7.9]) * min(1.0, b / a)
    with mpmath.workdps(50):
        exact = [
            float(mpmath.log1p(mpmath.hyp1f1(a, b, v, maxterms=10**6) - 1)) if v > 1e-100 else a / b * v
            for v in x.tolist()
        ]
    # Forty positive terms, each of a few roundings, of which the last ones count for nothing.
    np.testing.assert_allclose(log_hyp1f1(a, b, x), exact, rtol=32 * np.finfo(float).eps)
