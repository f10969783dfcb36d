"""Evidence on examples that Hypothesis draws: shrunk, restricted by hypotheses, repeatable."""

from __future__ import annotations

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from driftproof.validation import Thing, bound, drawn, property
from driftproof.validation.engine import Plan, run_evidence

from .claim_maker import REALS, crashing, made, negated, outcome, square, table

INTEGERS = st.integers(0, 1000)


class TestExamples:
    def test_holds_on_all(self) -> None:
        @property(tolerance=1e-12, examples=40)
        def is_even(thing: Thing, x: float = drawn(REALS)) -> Any:
            return thing(x), thing(-x)

        found = outcome(table, is_even).evidence[1]
        assert (
            found.state == "holds" and found.examples == found.n == 96
        )  # 16 corners, 40 points of the sweep, 40 drawn

    def test_counterexamples_are_shrunk_and_kept(self) -> None:
        @property(tolerance=1e-12, examples=200)
        def below_a_hundred(thing: Thing, k: int = drawn(INTEGERS)) -> Any:
            return float(k >= 100), 0.0

        found = outcome(below_a_hundred).evidence[0]
        assert found.state == "breaks" and found.counterexample == "k = 100"

    def test_other_kinds_draw_too(self) -> None:
        @bound(tight=0.5)
        def below(thing: Thing, x: float = drawn(REALS)) -> Any:
            return abs(x), 100.0

        assert outcome(table, below).evidence[1].error > 0.5

    def test_a_crash_shows_its_example(self) -> None:
        @property(tolerance=1e-12)
        def crashes_above(thing: Thing, k: int = drawn(INTEGERS)) -> Any:
            return 1.0 / (0.0 if k > 10 else 1.0), 1.0

        found = outcome(crashes_above).evidence[0]
        assert found.state == "crashed" and found.counterexample == "k = 11"

    def test_a_mutant_is_killed_beside_its_crashes(self) -> None:
        def mostly_crashing(x: float) -> float:
            return -1.0 if x == 0 else crashing(x)

        @property(tolerance=1e-12)
        def is_not_negative(thing: Thing, k: int = drawn(INTEGERS)) -> Any:
            return min(thing(float(k)), 0.0), 0.0

        settled = outcome(table, is_not_negative, mutants={"sign": negated, "crashes": mostly_crashing})
        assert settled.mutants[1].caught_by == "is_not_negative"
        settled = outcome(table, is_not_negative, mutants={"sign": negated, "crashes": crashing})
        assert settled.mutants[1].caught is None and settled.mutants[1].unsettled

    def test_hypotheses_restrict_what_is_drawn(self) -> None:
        seen = []

        @property(tolerance=1e-12)
        def watched(thing: Thing, x: float = drawn(REALS)) -> Any:
            seen.append(x)
            return 0.0, 0.0

        positive = {"x > 0": lambda x: x > 0, "another": lambda y: False, "words": None}
        settled = outcome(table, watched, hypotheses=positive)
        assert settled.ok and settled.hypotheses == ("x > 0", "another", "words")
        assert seen and min(seen) > 0

    def test_unsatisfiable_hypotheses_are_a_crash(self) -> None:
        @property(tolerance=1e-12)
        def never(thing: Thing, x: float = drawn(REALS)) -> Any:
            assume(False)

        assert outcome(table, never).status == "error"

    def test_the_sequence_repeats(self) -> None:
        seen: list[list[float]] = []

        @property(tolerance=1e-12)
        def watched(thing: Thing, x: float = drawn(REALS)) -> Any:
            seen[-1].append(x)
            return 0.0, 0.0

        claim = made(table, watched)
        for seed in (0, 0, 1):
            seen.append([])
            run_evidence(claim, watched, {"thing": square}, Plan(seed=seed))
        assert seen[0] == seen[1] != seen[2]
