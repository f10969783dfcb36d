"""Thresholds and severities: on either side of each there is another verdict."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from driftproof.numerics.samplers import ddim_step
from driftproof.theory.processes import VP
from driftproof.validation import audit
from driftproof.validation.audits.labels import Clock, mislabelling
from driftproof.validation.audits.orders import order_of
from driftproof.validation.audits.severity import FAIL_ON, Severity, exit_status, rank
from driftproof.validation.audits.thresholds import HELD

torch = pytest.importorskip("torch")

from tests.planted_schedulers import FixedStep, Open, RungeKutta
from tests.toy_schedulers import Toy

COUNTS = (5, 10, 20, 40, 80)


def series(error: Any) -> dict[int, Any]:
    return {n: np.array([error(n)]) for n in COUNTS}


def test_a_power_is_its_order() -> None:
    for order in (0.5, 1.0, 2.0, 4.0):
        found = order_of(series(lambda n, order=order: n**-order), 1e-12)
        assert found is not None
        assert found.value == pytest.approx(order)
        assert found.high - found.low < 1e-9


def test_no_order_is_read_where_the_error_changes_its_sign() -> None:
    """1/n - 1/50 is tiny at 40 steps, and negative at 80: two counts show the tail, which are no order."""
    found = order_of(series(lambda n: 1.0 / n - 0.02), 1e-12)
    assert found is None or found.value is None


def test_no_order_is_read_from_rounding() -> None:
    found = order_of(series(lambda n: max(n**-4.0, 1e-7)), 1e-6)
    assert found is not None
    assert found.value == pytest.approx(4.0)
    assert order_of(series(lambda n: 1e-7), 1e-6) is None


def test_slopes_that_do_not_agree_are_an_interval_and_no_order() -> None:
    bent = series(lambda n: n**-1.0 + 1000.0 * n**-3.0)
    found = order_of(bent, 1e-12)
    assert found is not None
    assert found.high - found.low > HELD.agree
    assert found.value is None


def test_severities_are_ordered_and_fail_from_one_on() -> None:
    ranks = [severity.rank for severity in Severity]
    assert ranks == sorted(ranks) == list(range(len(Severity)))
    assert FAIL_ON is Severity.MISMATCH
    assert exit_status(["diverges"]) == exit_status(["mismatch"]) == exit_status(["nan", "converges"]) == 1
    assert exit_status(["limit", "conditional", "floor", "unsupported", None]) == 0
    assert exit_status(["limit"], Severity.LIMIT) == exit_status(["floor"], Severity.LIMIT) == 1
    assert rank("something else") == Severity.UNSUPPORTED.rank


def test_every_threshold_is_a_positive_number() -> None:
    assert all(0 < getattr(HELD, field.name) < 100 for field in fields(HELD))


def test_a_flow_is_labelled_by_its_clock() -> None:
    clock, sigma = Clock(None, 1000), np.array([0.9, 0.5, 0.1])
    worst = mislabelling(clock, 1000.0 * sigma, 1.0 - sigma, sigma)
    assert abs(worst.steps) < 1e-9
    worst = mislabelling(clock, 1000.0 * sigma + np.array([0.0, 30.0, 0.0]), 1.0 - sigma, sigma)
    assert (worst.call, round(worst.steps)) == (1, 30)


def test_a_table_is_read_between_its_labels_and_past_its_ends() -> None:
    ratios = np.geomspace(0.01, 100.0, 1000)
    clock = Clock(ratios, 1000)
    at = np.array([999.0, 500.5, 0.0])
    seen = np.exp(np.interp(at, np.arange(1000), np.log(ratios)))
    np.testing.assert_allclose(clock.off(at, seen), 0.0, atol=1e-9)
    assert clock.off(np.array([0.0]), np.array([0.0]))[0] > 50.0  # noise below the table has no label
    alpha, sigma = 1.0 / np.hypot(1.0, seen), seen / np.hypot(1.0, seen)
    assert abs(mislabelling(clock, at + 20.0, alpha, sigma).steps) == pytest.approx(20.0)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("steps", [(5, 10, 20, 40, 80), (5, 10, 20, 40, 80, 160), (3, 30)])
def test_a_step_of_one_length_never_converges(steps: tuple[int, ...]) -> None:
    row = audit(FixedStep(), steps=steps)
    assert Severity(row.severity or "").at_least(Severity.MISMATCH), row.verdict


def test_a_step_that_takes_anything_is_audited() -> None:
    assert audit(Open(), fast=True).verdict == audit(Toy(), fast=True).verdict


def test_what_is_for_losses_is_refused_for_a_sampler() -> None:
    with pytest.raises(ValueError, match="are for losses, and this is a sampler"):
        audit(Toy(), documented="reverse_kl")


def biased(size: float) -> Any:
    """The exact step with an error of the mean that is gone in the limit."""

    def step(model_output: Any, t: float, s: float, sample: Any, noise: Any) -> Any:
        return ddim_step(VP(), sample, t, s, model_output) + size * (t - s) ** 2

    return step


def test_a_mean_that_is_right_in_the_limit_only() -> None:
    found = audit(biased(1.0), fast=True)
    assert found.severity == "limit", found.verdict
    assert found.verdict.startswith("consistent in the limit only: the mean is ")
    assert audit(biased(1e-3), fast=True).severity == "converges"


def scaled(size: float) -> Any:
    def step(model_output: Any, t: float, s: float, sample: Any, noise: Any) -> Any:
        return ddim_step(VP(), sample, t, s, (1.0 - size) * model_output)

    return step


@pytest.mark.slow(ci=True)
def test_what_stays_away_and_what_diverges() -> None:
    assert audit(scaled(0.2), fast=True).severity in ("diverges", "mismatch")
    row = audit(scaled(2e-3), fast=True)
    assert row.severity in ("floor", "mismatch"), row.verdict
    assert row.order is None or math.isfinite(row.order)


@pytest.mark.slow(ci=True)
def test_runge_kutta_is_of_fourth_order_and_not_exact() -> None:
    row = audit(RungeKutta())
    assert row.severity == "converges", row.verdict
    assert "exact" not in row.verdict
    assert row.order == pytest.approx(4.0, abs=0.3), row.verdict


def test_a_level_that_only_a_point_mass_ends_at_is_told_and_no_fault() -> None:
    """At 80 steps a point mass has a deviation of 6e-3 left; data with a spread are 3e-8 off."""
    row = audit(RungeKutta(), fast=True)
    assert row.severity == "converges", row.verdict
    assert "ends at alpha = 1, sigma = 0.00625" in row.verdict
    assert abs(row.std_error[-1]) < 1e-7
