"""Each kind of evidence: it holds where it must, and it can fail."""

from __future__ import annotations

import math
from typing import Any

import array_api_strict
import mpmath
import numpy as np
import pytest
import sympy

from driftproof.validation.evidence import (
    Rate,
    Statistic,
    bound,
    boundary,
    compare,
    exact,
    parity,
    raises,
    rate,
    statistical,
    symbolic,
)
from driftproof.validation.evidence.base import Setting, Verdict
from driftproof.validation.evidence.chance import FALSE_ALARMS, share

NAN, INF = float("nan"), float("inf")


def judged(decorator: Any, *returned: Any, alpha: float = 1e-6) -> Verdict:
    """The verdict of the kind on examples with these returned values."""
    kind = decorator(lambda thing: None).kind
    setting = Setting(alpha)
    return kind.conclude([kind.judge(value, setting) for value in returned])


def dilogarithms(x: sympy.Symbol) -> sympy.Expr:
    """Euler's reflection formula at 1 / (1 + x): true, but no rule of simplify knows it."""
    u = 1 / (1 + x)
    known = sympy.pi**2 / 6 - sympy.log(u) * sympy.log(1 - u)
    return sympy.polylog(2, u) + sympy.polylog(2, 1 - u) - known


class TestCompare:
    @pytest.mark.parametrize(
        ("got", "want", "scale", "error"),
        [
            (1.0, 1.0, 1.0, 0.0),
            (1.5, 1.0, 1.0, 0.5),
            (3.0, 2.0, 1.0, 0.5),
            (1e-8, 2e-8, 1.0, 1e-8),
            (1e-8, 2e-8, 0.0, 0.5),
            (0.0, 0.0, 0.0, 0.0),
            (1e-300, 0.0, 0.0, INF),
            (NAN, NAN, 1.0, INF),
            (NAN, 1.0, 1.0, INF),
            (1.0, NAN, 1.0, INF),
            (INF, INF, 1.0, 0.0),
            (INF, -INF, 1.0, INF),
            (INF, 1.0, 1.0, INF),
            (1.0, INF, 1.0, INF),
            ([1.0, 2.0], [1.0, 2.5], 1.0, 0.2),
            ([1.0, 2.0], [1.0, 2.0, 3.0], 1.0, INF),
            ([1.0, 2.0], 1.0, 1.0, INF),
            (np.zeros((2, 1)), np.zeros((1, 2)), 1.0, INF),
            ([], [], 1.0, INF),
            (1 + 1j, 1 - 1j, 1.0, math.sqrt(2.0)),
            (True, 1, 1.0, 0.0),
        ],
    )
    def test_error(self, got: Any, want: Any, scale: float, error: float) -> None:
        assert compare(got, want, scale).error == pytest.approx(error, rel=1e-14)

    def test_keeps_the_digits_of_mpmath(self) -> None:
        with mpmath.workdps(50):
            want = mpmath.mpf(1) / 3
            assert compare(want + mpmath.mpf("1e-40"), want, 0.0).error == pytest.approx(3e-40)
            assert 1e-18 < compare([1 / 3], [want], 0.0).error < 1e-16
            assert compare(mpmath.mpf("nan"), want).error == INF
            assert compare(want, mpmath.mpf("nan")).error == INF
            assert compare(mpmath.matrix([[1, 2]]), [[1, 2]]).error == 0.0
            assert compare(NAN, want).error == INF

    def test_other_namespaces(self) -> None:
        torch = pytest.importorskip("torch")
        tensor = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
        assert compare(tensor, np.asarray([1.0, 2.0])).error == 0.0
        assert compare(torch.tensor([1.0], dtype=torch.bfloat16), [1.0]).error == 0.0
        assert compare(array_api_strict.asarray([1.0]), [1.0]).error == 0.0

    def test_names_the_worst_element(self) -> None:
        assert (
            compare([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 5.0]]).detail == "4.0 against 5.0 at (1, 1)"
        )

    @pytest.mark.parametrize("value", ["text", object(), None, {"a": 1}])
    def test_refuses_what_is_no_number(self, value: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            compare(value, 1.0)


class TestComparisons:
    @pytest.mark.parametrize("kind", [exact(tolerance=1e-3), parity(tolerance=1e-3, scale=1.0)])
    @pytest.mark.parametrize(
        ("returned", "ok"),
        [
            ((1.0, 1.0005), True),
            ((1.0, 1.01), False),
            ((1.0, NAN), False),
            (("label", 1.0, 1.0), True),
            ([("a", 1.0, 1.0), ("b", 1.0, 2.0)], False),
            ((("a", 1.0, 1.0), ("b", 1.0, 1.0)), True),
        ],
    )
    def test_verdict(self, kind: Any, returned: Any, ok: bool) -> None:
        assert judged(kind, returned).ok is ok

    def test_worst_example_counts(self) -> None:
        verdict = judged(exact(tolerance=1.0), (1.0, 1.1), (1.0, 1.5), (1.0, 1.2))
        assert verdict.error == pytest.approx(1 / 3) and verdict.n == 3

    def test_default_parity_is_eight_ulp(self) -> None:
        assert judged(parity(), (1e-30, 1e-30 * (1 + 8 * 2.0**-52))).ok
        assert not judged(parity(), (1e-30, 1e-30 * (1 + 12 * 2.0**-52))).ok

    @pytest.mark.parametrize("returned", [None, 1.0, [], (), "ab", [1.0, 2.0], iter(())])
    def test_evidence_that_compares_nothing_is_a_crash(self, returned: Any) -> None:
        with pytest.raises(TypeError):
            judged(exact(tolerance=1.0), returned)


class TestBound:
    def test_holds_and_fails(self) -> None:
        assert judged(bound(), (0.5, 1.0)).ok
        assert judged(bound(), (1.0, 1.0)).ok
        assert not judged(bound(), (1.0 + 1e-9, 1.0)).ok
        assert not judged(bound(), ([0.1, NAN], [1.0, 1.0])).ok
        assert not judged(bound(), (1e-300, 0.0)).ok
        assert judged(bound(), ([0.0, 0.5], [0.0, 1.0])).ok

    def test_reports_the_tightest_ratio(self) -> None:
        verdict = judged(bound(), ([1.0, 3.0], [4.0, 4.0]))
        assert (verdict.error, verdict.tolerance) == (0.75, 1.0)

    def test_a_vacuous_bound_fails(self) -> None:
        assert not judged(bound(), (1.0, 1e6)).ok
        assert "vacuous" in judged(bound(), (1.0, 1e6)).detail
        assert judged(bound(tight=1e-7), (1.0, 1e6)).ok
        assert judged(bound(), (1.0, 1e6), (0.5, 1.0)).ok, "one tight example is enough"

    def test_a_negative_bound_is_a_crash(self) -> None:
        with pytest.raises(ValueError, match="bound must be >= 0"):
            judged(bound(), (-2.0, -1.0))


class TestRate:
    def test_orders_and_constant(self) -> None:
        good = {"orders": [0.99, 1.001], "expected": 1.0, "margin": 0.02}
        assert judged(rate(), Rate(**good)).ok
        assert not judged(rate(), Rate(**{**good, "orders": [0.99, 0.9]})).ok
        assert not judged(rate(), Rate(**{**good, "orders": [0.99, NAN]})).ok
        constant = {"constant": 0.25, "expected_constant": 0.25, "constant_margin": 0.01}
        assert judged(rate(), Rate(**good, **constant)).ok
        wrong = judged(rate(), Rate(**good, **{**constant, "constant": 0.26}))
        assert not wrong.ok and wrong.tolerance == 0.01, "the part that fails is the one that is shown"
        assert not judged(rate(), Rate(**good, **{**constant, "constant": NAN})).ok

    def test_several(self) -> None:
        right, wrong = Rate([1.0], 1.0, 0.1), Rate([2.0], 1.0, 0.1)
        assert judged(rate(), [right, right]).ok and not judged(rate(), [right, wrong]).ok

    @pytest.mark.parametrize(
        "returned", [[], None, 1.0, Rate([], 1.0, 0.1), Rate([1.0], 1.0, 0.1, constant=1.0)]
    )
    def test_incomplete_is_a_crash(self, returned: Any) -> None:
        with pytest.raises(TypeError):
            judged(rate(), returned)


class TestBoundary:
    def test_must_differ(self) -> None:
        assert judged(boundary(tolerance=0.1), (1.0, 2.0)).ok
        assert not judged(boundary(tolerance=0.1), (1.0, 1.05)).ok
        assert not judged(boundary(tolerance=0.1), (1.0, 1.0)).ok
        assert not judged(boundary(), [("a", 1.0, 2.0), ("b", 1.0, 1.0)]).ok

    def test_nan_and_shape_show_nothing(self) -> None:
        assert not judged(boundary(), (NAN, 1.0)).ok
        assert not judged(boundary(), ([1.0, 2.0], 1.0)).ok

    def test_raises(self) -> None:
        def fails(kind: type[Exception]) -> None:
            raise kind("reason")

        assert judged(boundary(), raises(ValueError, fails, ValueError)).ok
        assert not judged(boundary(), raises(ValueError, lambda: None)).ok
        assert judged(boundary(), [raises(ValueError, fails, ValueError), ("differs", 1.0, 2.0)]).ok
        assert not judged(boundary(), [raises(ValueError, fails, ValueError), ("same", 1.0, 1.0)]).ok
        with pytest.raises(KeyError):
            raises(ValueError, fails, KeyError)

    @pytest.mark.parametrize("returned", [None, [], 1.0])
    def test_nothing_is_a_crash(self, returned: Any) -> None:
        with pytest.raises(TypeError):
            judged(boundary(), returned)


class TestSymbolic:
    x, y = sympy.symbols("x y", positive=True)

    def test_identities(self) -> None:
        x, y = self.x, self.y
        assert judged(symbolic(), sympy.sin(x) ** 2 + sympy.cos(x) ** 2 - 1).ok
        assert judged(symbolic(), ((x + y) ** 2, x**2 + 2 * x * y + y**2)).ok
        assert judged(symbolic(), {"a": x - x, "b": (sympy.log(x * y), sympy.log(x) + sympy.log(y))}).ok
        assert judged(symbolic(), [("label", x + x, 2 * x), sympy.Integer(0)]).ok

    def test_false_identities(self) -> None:
        x = self.x
        assert judged(symbolic(), sympy.sin(x) ** 2 + sympy.cos(x) ** 2 - 2).ok is False
        assert judged(symbolic(), (sympy.sqrt(x), x)).ok is False
        assert judged(symbolic(), [sympy.Integer(0), x * sympy.Rational(1, 10**12)]).ok is False

    def test_undefined_functions(self) -> None:
        x, p = self.x, sympy.Function("p")
        true = sympy.diff(sympy.log(p(x)), x) - sympy.diff(p(x), x) / p(x)
        assert judged(symbolic(), true).ok
        assert judged(symbolic(), true + sympy.diff(p(x), x)).ok is False

    def test_what_sympy_does_not_reduce_is_undecided(self) -> None:
        verdict = judged(symbolic(), dilogarithms(self.x))
        assert verdict.ok is None and "not reduced" in verdict.detail

    def test_nothing_is_a_crash(self) -> None:
        with pytest.raises(TypeError):
            judged(symbolic(), [])


class TestStatistical:
    def test_p_value_against_its_share(self) -> None:
        assert judged(statistical(), Statistic(2e-6, 0.1, 0.0, 10), alpha=1e-6).ok
        assert not judged(statistical(), Statistic(5e-7, 0.1, 0.0, 10), alpha=1e-6).ok
        assert not judged(statistical(), Statistic(NAN, 0.1, 0.0, 10), alpha=1e-6).ok

    def test_several_share_alike(self) -> None:
        low, high = Statistic(7e-7, 0.1, 0.0, 10, "low"), Statistic(0.5, 0.2, 0.0, 10, "high")
        assert not judged(statistical(), [low], alpha=1e-6).ok
        verdict = judged(statistical(), [low, high], alpha=1e-6)
        assert verdict.ok and verdict.detectable == 0.1 and "low" in verdict.detail

    @pytest.mark.parametrize(
        "returned", [0.5, None, [], Statistic(1.5, 0.1, 0.0, 1), Statistic(0.5, NAN, 0.0, 1)]
    )
    def test_no_statistic_is_a_crash(self, returned: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            judged(statistical(), returned)

    @pytest.mark.parametrize("weights", [[1.0], [1.0] * 7, [0.1, 3.0, 1e-9, 77.0], [1 / 3] * 1000])
    def test_shares_never_exceed_the_budget(self, weights: list[float]) -> None:
        total = math.fsum(weights)
        spent = sum(share(weight, total) for weight in weights)
        assert FALSE_ALARMS == 1e-6
        assert 0.999e-6 < spent <= 1e-6
        assert spent - share(weights[0], total) <= spent, "running fewer of them spends less"

    @pytest.mark.parametrize("weight", [0.0, -1.0, NAN, INF])
    def test_weight_is_positive(self, weight: float) -> None:
        with pytest.raises(ValueError, match="weight"):
            statistical(weight=weight)
