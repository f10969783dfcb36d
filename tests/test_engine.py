"""The engine: what holds, what breaks, what crashes, and what a mutant does to a claim."""

from __future__ import annotations

import dataclasses
import json
import pickle
import warnings
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy

from driftproof.validation import (
    Rate,
    Statistic,
    Thing,
    bound,
    boundary,
    drawn,
    exact,
    figure,
    parity,
    property,
    raises,
    rate,
    statistical,
    symbolic,
)
from driftproof.validation.engine import Plan, run_evidence, try_mutant
from driftproof.validation.evidence.base import Effort
from driftproof.validation.outcomes import ClaimOutcome

from .claim_maker import REALS, crashing, made, negated, outcome, square, table


class TestStatus:
    def test_a_true_thing_is_verified(self) -> None:
        settled = outcome(table)
        assert settled.status == "verified" and settled.ok
        assert [mutant.caught_by for mutant in settled.mutants] == ["table", "table"]

    def test_a_false_thing_is_refuted(self) -> None:
        settled = outcome(table, thing=lambda x: x**3)
        assert settled.status == "refuted" and not settled.ok
        assert settled.evidence[0].ok is False and settled.evidence[0].error == 2.0

    def test_nan_refutes(self) -> None:
        assert outcome(table, thing=lambda x: float("nan")).status == "refuted"

    def test_a_crash_on_the_thing_is_an_error(self) -> None:
        settled = outcome(table, thing=crashing)
        assert settled.status == "error" and not settled.ok
        assert settled.evidence[0].ok is None
        assert settled.evidence[0].detail.startswith("ZeroDivisionError: planted\n")
        assert "/" not in settled.evidence[0].detail, "no path of this machine"

    def test_a_crash_outweighs_a_refutation(self) -> None:
        @exact(tolerance=1e-12)
        def crashes(thing: Thing) -> Any:
            return thing(1.0) / 0.0, 1.0

        settled = outcome(table, crashes, thing=lambda x: x**3)
        assert settled.status == "error"
        blind = outcome(crashes, mutants={"a": negated, "b": crashing})
        assert [mutant.caught for mutant in blind.mutants] == [None, None], "nothing was left to try"

    def test_a_surviving_mutant_leaves_the_claim_open(self) -> None:
        settled = outcome(table, mutants={"sign": negated, "elsewhere": lambda x: x * x + (x < 0)})
        assert settled.status == "open" and not settled.ok
        assert [mutant.caught for mutant in settled.mutants] == [True, False]

    def test_a_crash_on_a_mutant_is_no_kill(self) -> None:
        settled = outcome(table, mutants={"sign": negated, "crash": crashing})
        assert [mutant.caught for mutant in settled.mutants] == [True, None]
        assert "ZeroDivisionError" in settled.mutants[1].detail and not settled.ok
        assert settled.mutants[1].unsettled and settled.status == "error" and not settled.settled

    def test_a_mutant_that_crashes_on_some_examples_is_unsettled(self) -> None:
        @property(tolerance=1e-12)
        def even(thing: Thing, x: float = drawn(REALS)) -> Any:
            return thing(x), thing(-x)

        def odd_somewhere(x: float) -> float:
            return x if x > 50 else square(x)

        found = outcome(even, mutants={"caught": odd_somewhere, "lost": lambda x: square(x) / (abs(x) > 1)})
        assert [mutant.caught for mutant in found.mutants] == [True, None]
        assert found.mutants[1].unsettled and "ZeroDivisionError" in found.mutants[1].detail

    def test_unless_the_evidence_declares_the_exception(self) -> None:
        @exact(tolerance=1e-12, breaks_on=(ZeroDivisionError,))
        def declared(thing: Thing) -> Any:
            return thing(3.0), 9.0

        settled = outcome(declared, mutants={"sign": negated, "crash": crashing})
        assert settled.ok and settled.mutants[1].caught_by == "declared"
        assert outcome(declared, thing=crashing).status == "refuted"

    def test_other_evidence_may_kill_what_crashes_some(self) -> None:
        @exact(tolerance=1e-12)
        def negative(thing: Thing) -> Any:
            return thing(-1.0), 1.0

        def half(x: float) -> float:
            return 2.0 if x < 0 else crashing(x)

        assert (
            outcome(table, negative, mutants={"sign": negated, "half": half}).mutants[1].caught_by
            == "negative"
        )

    def test_expected_refutations_are_as_expected(self) -> None:
        assert outcome(table, thing=lambda x: x**3, expect="refuted").ok
        assert not outcome(table, expect="refuted").ok, "that it holds after all would be unexpected"

    @pytest.mark.slow(ci=True)
    def test_undecided_evidence_leaves_the_claim_open(self) -> None:
        @symbolic()
        def beyond_sympy(thing: Thing) -> Any:
            u = 1 / (1 + sympy.Symbol("x", positive=True))
            known = sympy.pi**2 / 6 - sympy.log(u) * sympy.log(1 - u)  # Euler's reflection formula
            return sympy.polylog(2, u) + sympy.polylog(2, 1 - u), known

        settled = outcome(table, beyond_sympy)
        assert settled.status == "open" and settled.evidence[1].state == "undecided"

    def test_a_missing_dependency_makes_it_conditional(self) -> None:
        @exact(tolerance=1e-12, requires="surely_not_installed")
        def elsewhere(thing: Thing) -> Any:
            raise AssertionError("must not run")

        settled = outcome(table, elsewhere)
        assert settled.status == "conditional" and settled.ok
        assert settled.evidence[1].state == "skipped"
        weak = outcome(table, elsewhere, mutants={"sign": negated, "far": lambda x: x * x + (x < 0)})
        assert weak.mutants[1].caught is None and weak.ok, "the evidence that could kill it was not tried"
        assert outcome(elsewhere).status == "conditional" and outcome(elsewhere).ok, "nothing could be tried"

    def test_effort(self) -> None:
        @exact(tolerance=1e-12, effort="full")
        def long(thing: Thing) -> Any:
            return thing(-3.0), 9.0

        quick = outcome(table, long, plan=Plan(effort=Effort.QUICK))
        assert quick.status == "verified" and quick.evidence[1].state == "left out"
        full = outcome(table, long, plan=Plan(effort=Effort.FULL))
        assert full.evidence[1].state == "holds"

    @pytest.mark.parametrize(
        ("decorator", "right", "wrong"),
        [
            (exact(tolerance=0.0), (1.0, 1.0), (1.0, 2.0)),
            (parity(requires=None), (1.0, 1.0), (1.0, 2.0)),
            (bound(), (1.0, 2.0), (2.0, 1.0)),
            (rate(), Rate([1.0], 1.0, 0.1), Rate([2.0], 1.0, 0.1)),
            (boundary(), (1.0, 2.0), (1.0, 1.0)),
            (statistical(), Statistic(0.5, 0.1, 0.0, 10), Statistic(1e-9, 0.1, 0.5, 10)),
            (symbolic(), (1, 1), (1, 2)),
        ],
    )
    def test_each_kind_can_hold_and_break(self, decorator: Any, right: Any, wrong: Any) -> None:
        def evidence(thing: Thing) -> Any:
            return right if thing is square else wrong

        settled = outcome(decorator(evidence))
        assert settled.status == "verified"
        assert settled.evidence[0].error is not None and settled.evidence[0].tolerance is not None
        assert settled.evidence[0].error <= settled.evidence[0].tolerance
        assert (
            outcome(decorator(evidence), thing=negated, mutants={"a": crashing, "b": 1}).status == "refuted"
        )

    def test_refusal_as_evidence(self) -> None:
        def careful(x: float) -> float:
            if x < 0:
                raise ValueError("negative")
            return x * x

        @boundary()
        def refuses(thing: Thing) -> Any:
            return raises(ValueError, thing, -1.0)

        assert outcome(refuses, thing=careful, mutants={"a": square, "b": negated}).ok


class TestSurroundings:
    def test_the_generator_depends_on_seed_claim_and_evidence_only(self) -> None:
        draws = []

        def draw(thing: Thing, rng: np.random.Generator) -> Any:
            draws.append(rng.random())
            return 0.0, 0.0

        first, second = (
            exact(tolerance=1.0)(draw),
            dataclasses.replace(exact(tolerance=1.0)(draw), name="other"),
        )
        claim = made(first, second)
        for evidence, thing, seed in [
            (first, square, 0),
            (first, negated, 0),
            (second, square, 0),
            (first, square, 1),
        ]:
            run_evidence(claim, evidence, {"thing": thing}, Plan(seed=seed))
        assert draws[0] == draws[1] and len(set(draws)) == 3

    def test_what_statistical_evidence_is_given(self) -> None:
        given = {}

        @statistical(weight=3.0, n=1000)
        def asks(thing: Thing, rng: np.random.Generator, n: int, alpha: float) -> Any:
            given.update(n=n, alpha=alpha)
            return Statistic(0.5, 0.1, 0.0, n)

        for effort, n in ((Effort.QUICK, 100), (Effort.NORMAL, 1000), (Effort.FULL, 10_000)):
            found = run_evidence(made(table, asks), asks, {"thing": square}, Plan(effort=effort, weight=12.0))
            assert given["n"] == found.n == n
            assert given["alpha"] == found.alpha == pytest.approx(0.25e-6)
            assert (found.detectable, found.p_value) == (0.1, 0.5)

    def test_fifty_digits_and_back(self) -> None:
        @exact(tolerance=1e-45, scale=0.0)
        def digits(thing: Thing) -> Any:
            assert mpmath.mp.dps == 50
            mpmath.mp.dps = 60
            return mpmath.sqrt(2) ** 2, mpmath.mpf(2)

        before = mpmath.mp.dps
        assert outcome(table, digits).evidence[1].ok
        assert mpmath.mp.dps == before

    def test_warnings_are_kept(self) -> None:
        @exact(tolerance=1.0)
        def warns(thing: Thing) -> Any:
            warnings.warn("thin ice", stacklevel=1)
            return 0.0, 0.0

        assert outcome(table, warns).evidence[1].warnings == ("UserWarning: thin ice",)

    def test_interrupts_pass_through(self) -> None:
        @property(tolerance=1.0)
        def interrupted(thing: Thing, x: float = drawn(REALS)) -> Any:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            outcome(interrupted)


class TestFigures:
    def test_drawn_on_request(self) -> None:
        @figure
        def graph(thing: Thing) -> Any:
            """A caption."""
            from matplotlib.figure import Figure

            drawing = Figure()
            drawing.subplots().plot([0, 1], [thing(0), thing(1)])
            return drawing

        assert outcome(table, graph).figures == ()
        drawing = outcome(table, graph, plan=Plan(figures=True)).figures[0]
        assert drawing.caption == "A caption." and drawing.svg.endswith("</svg>\n")

    def test_one_that_crashes_settles_nothing(self) -> None:
        @figure
        def broken(thing: Thing) -> Any:
            raise ZeroDivisionError

        settled = outcome(table, broken, plan=Plan(figures=True))
        assert settled.ok and settled.figures[0].svg is None and "ZeroDivision" in settled.figures[0].detail


class TestOutcomes:
    def test_frozen_and_picklable(self) -> None:
        settled = outcome(table)
        assert pickle.loads(pickle.dumps(settled)) == settled
        with pytest.raises(dataclasses.FrozenInstanceError):
            settled.status = "verified"

    def test_json_and_back(self) -> None:
        settled = outcome(table, thing=lambda x: float("nan"))
        text = json.dumps(settled.to_json(), allow_nan=False)
        assert '"inf"' in text
        assert ClaimOutcome.from_json(json.loads(text)) == settled

    def test_prosecute_alone(self) -> None:
        assert try_mutant(made(table), "sign", Plan()).caught
