"""What the claims of the paper rest on: their modules load, docstrings cite them, and the oracle is right.

They are settled by ``make quick``, and by no test.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import mpmath
import numpy as np
import pytest
import scipy.stats
import sympy as sp

from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow
from driftproof.theory.processes.clock import LinearClock
from driftproof.theory.tweedie import log_posterior_mean, posterior_mean
from driftproof.validation.claims.tweedie import textbook
from driftproof.validation.claims.tweedie.quadrature import half_line, line
from driftproof.validation.mutants import wrong
from driftproof.validation.registry import REGISTRY
from driftproof.validation.symbols import SYMBOLS, on_symbols, rational, unchecked

ROOT = Path(__file__).parent.parent
PAPERS = ("tweedie", "conventions", "special")


def test_every_module_of_claims_loads() -> None:
    assert REGISTRY.load().selected_failures(PAPERS) == []


def test_docstrings_cite_claims_that_exist() -> None:
    known = set(REGISTRY.load().claims)
    cited = {
        (path.relative_to(ROOT).as_posix(), id)
        for folder in ("theory", "numerics")
        for path in (ROOT / folder).rglob("*.py")
        for id in re.findall(
            r"\b(?:TWEEDIE|CONVENTION|SPECIAL)-[A-Z]+-\d+\b", path.read_text(encoding="utf-8")
        )
    }
    assert {(path, id) for path, id in cited if id not in known} == set()


class TestTextbook:
    """The oracle against scipy: both are textbook forms, by different hands."""

    @pytest.mark.parametrize(("x0", "x"), [(0.0, 0.7), (2.0, 0.3), (1.0, 6.0)])
    def test_squared_bessel_and_cir(self, x0: float, x: float) -> None:
        t = 0.8
        want = (
            scipy.stats.ncx2.pdf(x / t, 1.5, x0 / t) / t
            if x0
            else scipy.stats.gamma.pdf(x, 0.75, scale=2 * t)
        )
        assert float(textbook.density(BESQ(1.5), x, x0, t)) == pytest.approx(want, rel=1e-12)
        rho, decay = 0.81 * (1 - math.exp(-0.7 * t)) / 2.8, math.exp(-0.7 * t)
        delta = 4 * 0.7 * 1.2 / 0.81
        nc = x0 * decay / rho
        law = scipy.stats.ncx2(delta, nc, scale=rho) if x0 else scipy.stats.gamma(delta / 2, scale=2 * rho)
        assert float(textbook.density(CIR(0.7, 1.2, 0.9), x, x0, t)) == pytest.approx(law.pdf(x), rel=1e-12)

    def test_gaussian_and_geometric(self) -> None:
        flow = scipy.stats.norm(0.75 * 0.5, 0.25).pdf(1.1)
        assert float(textbook.density(Flow(), 1.1, 0.5, 0.25)) == pytest.approx(flow, rel=1e-13)
        gbm = scipy.stats.lognorm(0.5 * math.sqrt(0.8), scale=2.0 * math.exp((0.3 - 0.125) * 0.8))
        assert float(textbook.density(GBM(0.3, 0.5), 1.1, 2.0, 0.8)) == pytest.approx(gbm.pdf(1.1), rel=1e-13)

    @pytest.mark.parametrize("process", [VP(), VE(), Flow(), BESQ(1.5, LinearClock(0.5, 2.0, 1.0))])
    def test_steps_compose(self, process: VP | VE | Flow | BESQ) -> None:
        if isinstance(process, BESQ):
            y, w = half_line()
        else:
            law = process.transition(0.4, 0.3)
            y, w = line(float(law.mean), float(law.variance) ** 0.5, step=1 / 8)
        first = [float(textbook.density(process, a, 0.4, 0.3)) for a in y]
        second = [float(textbook.step_density(process, 0.9, a, 0.3, 0.7)) for a in y]
        got = float(np.sum(w * np.asarray(first) * np.asarray(second)))
        assert got == pytest.approx(float(textbook.density(process, 0.9, 0.4, 0.7)), rel=1e-12)

    def test_values_are_remembered_by_their_precision(self) -> None:
        arguments = (BESQ(1.5), 0.7, 1.3, 0.6)
        with mpmath.workdps(15):
            coarse = textbook.log_density(*arguments)
        with mpmath.workdps(50):
            fine = textbook.log_density(*arguments)
            assert 0 < abs(coarse - fine) < 1e-14

    def test_an_unknown_process_is_refused(self) -> None:
        for function in (textbook.levels, textbook.scales):
            with pytest.raises(TypeError):
                function(object(), 1.0)  # type: ignore[arg-type]


class TestMutants:
    def test_changes_of_arguments_and_outcome(self) -> None:
        flow = Flow()
        negated = wrong(posterior_mean, score=lambda score: -score)
        assert float(negated(flow, 1.0, 0.5, -2.0)) == 3.0
        assert float(wrong(negated, lambda value: 2 * value)(flow, 1.0, 0.5, -2.0)) == 6.0
        plain = wrong(posterior_mean, lambda value: value)
        x = np.asarray([1.0, 2.0], dtype=np.float32)
        assert plain(flow, x, 0.5, x).dtype == np.float32

    def test_they_run_on_symbols_too(self) -> None:
        x, t, s = sp.symbols("x t s", positive=True)
        doubled = wrong(log_posterior_mean, lambda value: 2 * value)
        process = unchecked(GBM, mu=sp.Symbol("mu"), sigma=sp.Symbol("sigma"))
        assert (
            sp.expand(
                on_symbols(doubled, process, x, t, s) - 2 * on_symbols(log_posterior_mean, process, x, t, s)
            )
            == 0
        )


class TestSymbols:
    def test_decimals_are_what_their_bits_say(self) -> None:
        x = sp.Symbol("x")
        assert rational(0.5 * x) == x / 2
        assert rational((0.25, x)) == (sp.Rational(1, 4), x)
        assert rational(sp.Float(0.1)) == sp.Rational(3602879701896397, 36028797018963968)

    def test_branches_follow_assumptions(self) -> None:
        positive, unknown = sp.Symbol("x", positive=True), sp.Symbol("y")
        assert SYMBOLS.where(positive > 0, 1, 2) == 1
        assert SYMBOLS.where(positive < 0, 1, 2) == 2
        with pytest.raises(ValueError, match="do not decide"):
            SYMBOLS.where(unknown > 0, 1, 2)

    def test_a_missing_field_is_an_error(self) -> None:
        with pytest.raises(TypeError, match="sigma is missing"):
            unchecked(GBM, mu=1.0)
