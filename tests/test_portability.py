"""The parity table on other processors, and the bounds that make it green there: they still notice errors.

The short form of ``make portability`` (tests/portability.py).
"""

from __future__ import annotations

import numpy as np
import pytest

from driftproof.theory.special.bessel import log_iv
from tests import portability
from tests.parity import checks
from tests.parity.cases import table
from tests.parity.draws import Script
from tests.parity.noise import VARIABLE, Noisy, noise, other_processor
from tests.parity.subjects import subjects

torch = pytest.importorskip("torch")

SUBJECTS = subjects()
ROWS = table()
KNOWN = sorted(SUBJECTS.keys() & ROWS.keys())
EPS = 2.0**-52
SEED = 1


def results_and_bounds(name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    sample, script = ROWS[name].samples[-1], Script(SEED)
    results = checks.run(SUBJECTS[name], ROWS[name], sample, np.asarray, script=script)
    return results, checks.bounds_of(SUBJECTS[name], ROWS[name], sample, results, script=script)


@pytest.fixture(scope="module")
def computed() -> dict[str, tuple[list[np.ndarray], list[np.ndarray]]]:
    """Of the last sample of every row: the results and their bounds."""
    return {name: results_and_bounds(name) for name in KNOWN}


# -- the bounds


@pytest.mark.slow(ci=True)
def test_a_relative_error_of_1e12_is_noticed_in_every_row(computed) -> None:
    blind = []
    for name, (results, bounds) in computed.items():
        hurt = [result * (1.0 + 1e-12) for result in results]
        try:
            checks.worst(results, hurt, bounds, ROWS[name].samples[-1])
        except AssertionError:
            continue
        if any(np.any(np.isfinite(result) & (result != 0.0)) for result in results):
            blind.append(name)
    assert not blind


@pytest.mark.slow(ci=True)
def test_bounds_are_about_those_of_eight_roundings(computed) -> None:
    """A bound that passes everything is worthless: of most results it is smaller than the typed one was."""
    medians = []
    for results, bounds in computed.values():
        parts = [
            (bound[there] / (8.0 * EPS * np.abs(result[there]))).ravel()
            for result, bound in zip(results, bounds, strict=True)
            if (there := np.isfinite(result) & (np.abs(result) > 1e-200)).any()
        ]
        if parts:
            medians.append(np.median(np.concatenate(parts)))
    assert np.median(medians) <= 1.0, np.median(medians)
    assert np.quantile(medians, 0.95) <= 4.0, np.quantile(medians, 0.95)
    assert max(medians) <= 200.0, max(medians)  # a linear system of condition 50


PLANTED = {
    "theory.laws.BesselCount.variance": lambda result, nu, z: (
        result
        + 2.0
        * nu
        * checks.run(
            SUBJECTS["theory.laws.BesselCount.mean"],
            ROWS["theory.laws.BesselCount.mean"],
            {"nu": nu, "z": z},
            np.asarray,
        )[0]
    ),
    "theory.laws.SquaredBesselBridge.log_prob": lambda result, scale, **_: result + 2.0 * np.log(scale),
    "numerics.sensing.proxes.soft_threshold": lambda result, v, tau: np.sign(v) * (np.abs(v) + tau),
    "theory.laws.Normal.score": lambda result, x, loc, scale: -(x + loc) / scale**2,
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_wrong_sign_of_a_term_that_cancels_is_noticed(name: str, computed) -> None:
    results, bounds = computed[name]
    sample = ROWS[name].samples[-1]
    with np.errstate(all="ignore"):
        wrong = PLANTED[name](results[0], **sample)
    with pytest.raises(AssertionError):
        checks.worst(results, [wrong], bounds, sample)


# -- the noise


def test_every_row_holds_on_another_processor() -> None:
    """Noise on numpy alone; eight roundings, read off one processor, would not do for many a row."""
    red = []
    with other_processor(SEED, np):
        for name in KNOWN:
            row, sample = ROWS[name], ROWS[name].samples[-1]
            checks.namespaces_agree(SUBJECTS[name], row, sample)
            script = Script(SEED)
            ours = checks.run(SUBJECTS[name], row, sample, np.asarray, script=script)
            theirs = checks.run(SUBJECTS[name], row, sample, torch.as_tensor, script=script)
            try:
                checks.worst(ours, theirs, [8.0 * EPS * np.abs(result) for result in ours], sample)
            except AssertionError:
                red.append(name)
    assert len(red) >= 10, red


def test_the_noise_is_of_one_ulp_and_repeatable() -> None:
    import array_api_compat.numpy as xp

    x = np.linspace(0.1, 5.0, 1000)
    plain = xp.exp(x)
    with other_processor(SEED, np):
        first, again = xp.exp(x), np.exp(x)
        assert type(first) is np.ndarray
        assert xp.exp(np.zeros(2)).tolist() == [1.0, 1.0]
        assert not xp.exp(-np.linspace(0.0, 1e-15, 100)).max() > 1.0
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_max_ulp(first, plain, 1)
    assert 0.5 < np.mean(first != plain) < 0.8
    np.testing.assert_array_equal(xp.exp(x), plain)


def test_the_noise_reaches_operators_reductions_and_what_kernels_call() -> None:
    x = np.linspace(0.3, 2.7, 64)
    matrix = np.outer(x, 1.0 / (1.0 + x))
    computations = (
        lambda v: v**2.3,
        lambda v: 2.3**v,
        lambda v: (v * matrix) @ matrix,
        lambda v: np.sum(v * matrix, axis=-1),
        lambda v: np.linalg.solve(matrix + np.diag(v), x),
        lambda v: log_iv(0.7, v),
    )
    with noise(np.random.default_rng(0)) as convert:
        for compute in computations:
            assert np.any(np.asarray(compute(convert(x))) != compute(x))
            assert isinstance(compute(convert(x)), Noisy)
        np.testing.assert_array_equal(np.asarray(convert(x) * 3.0 - 1.0 / convert(x)), x * 3.0 - 1.0 / x)
        np.testing.assert_array_equal(np.asarray(np.sum(convert(np.arange(9.0)))), 36.0)
    with noise(np.random.default_rng(0), everything=True) as convert:
        assert np.any(np.asarray(convert(x) * 3.0) != x * 3.0)


@pytest.mark.slow(ci=True)
def test_a_switch_that_changes_nothing_counts_as_nothing() -> None:
    plain = portability.probe({})
    assert portability.shares(plain, portability.probe({"NO_SUCH_SWITCH": "1"})) == {}
    changed = portability.shares(plain, portability.probe({VARIABLE: "1"}))
    assert {name.split()[0] for name in changed} == {"numpy"}
    assert all(0.3 < share < 0.8 for share in changed.values())
