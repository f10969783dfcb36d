"""Claims in the functions' own names: what they cover, cases, refusals, and whose place a mutant takes."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from driftproof import UnmetHypothesis
from driftproof._namespace import Array, public
from driftproof.theory.processes import CIR, Flow
from driftproof.theory.special import mills
from driftproof.theory.tweedie import posterior_mean
from driftproof.validation import Statistic, bound, exact, grid, property, rows, statistical
from driftproof.validation.engine import Plan, evaluate_claim
from driftproof.validation.evidence.base import Evidence
from driftproof.validation.mutants import Wrong, wrong
from driftproof.validation.outcomes import ClaimOutcome
from driftproof.validation.registry import Registry
from driftproof.validation.statements import Claim


def square(x: Any) -> Any:
    return x * x


def root(x: Any) -> Any:
    if x < 0.0:
        raise UnmetHypothesis("root", "x >= 0", x)
    return np.sqrt(x)


class Line:
    def __init__(self, slope: float) -> None:
        self.slope = slope

    def at(self, x: float) -> float:
        return self.slope * x

    @builtins.property
    def double(self) -> float:
        return 2.0 * self.slope


SIGNS = {"one": wrong(square, lambda value: -value), "two": wrong(root, lambda value: -value)}


def declared(covers: Any, mutants: Any = SIGNS, **body: Any) -> Claim:
    parts = {item.name: item for item in body.pop("evidence", ())}
    cls = type("Toy", (), {"mutants": mutants, **parts, **body})
    return Registry().claim("TOY-1", "A toy", "f(x) = x^2", covers=covers, paper="toy")(cls)


def settled(*args: Any, **body: Any) -> ClaimOutcome:
    return evaluate_claim(declared(*args, **body), Plan())


@exact(1e-15, over=grid(x=(0.0, 0.5, -3.0)))
def table(square: Any, x: float) -> Any:
    return square(x), x**2


@exact(1e-15)
def inverse(square: Any, root: Any) -> Any:
    yield "four", root(square(4.0)), 4.0


@exact(1e-15)
def two(root: Any) -> Any:
    return root(4.0), 2.0


class TestCovers:
    def test_evidence_takes_what_is_covered_by_name(self) -> None:
        found = settled([square, root], evidence=(table, inverse))
        assert found.status == "verified" and found.evidence[0].n == 3
        assert [m.caught_by for m in found.mutants] == ["table", "inverse"]

    def test_a_mutant_meets_the_evidence_that_takes_what_it_changes(self) -> None:
        tried = []

        @exact(1e-15)
        def watched(square: Any) -> Any:
            tried.append(square)
            return 0.0, 0.0

        found = settled([square, root], evidence=(watched, table, inverse))
        assert found.status == "verified" and tried == [square, SIGNS["one"]]

    def test_what_no_evidence_takes_is_not_covered(self) -> None:
        with pytest.raises(TypeError, match="covers root, which no evidence takes"):
            declared([square, root], evidence=(table,))

    def test_two_of_one_name_need_a_mapping(self) -> None:
        with pytest.raises(TypeError, match="two things called square; a mapping gives them names"):
            declared([square, np.square], evidence=(table,))
        named = declared({"square": square, "root": root}, evidence=(table, inverse))
        assert named.covers == (f"{__name__}.square", f"{__name__}.root")

    def test_methods_properties_and_classes(self) -> None:
        @exact(1e-15)
        def of_a_line(at: Any, double: Any, Line: Any) -> Any:
            yield "method", at(Line(2.0), 3.0), 6.0
            yield "property", double(Line(2.0)), 4.0

        mutants = {
            "method": wrong(Line.at, x=lambda x: -x),
            "property": {Line.double: lambda self: self.slope},
            "class": wrong(Line, slope=lambda slope: 3.0 * slope),
        }
        found = settled([Line.at, Line.double, Line], mutants, evidence=(of_a_line,))
        assert found.status == "verified" and [m.caught for m in found.mutants] == [True] * 3

    def test_a_claim_elsewhere_names_its_paper(self) -> None:
        with pytest.raises(TypeError, match="names no paper"):
            Registry().claim("TOY-1", covers=[square])(type("Toy", (), {"table": table, "mutants": SIGNS}))


class TestCases:
    def test_the_worst_case_is_named(self) -> None:
        @exact(1e-15, over=grid(rows("x, want", [(1.0, 1.0), (2.0, 5.0)]), mode=("a", "b")))
        def wrong_table(square: Any, x: float, want: float, mode: str) -> Any:
            yield "inner", square(x), want

        found = settled([square], {"a": root, "b": mills}, evidence=(wrong_table,)).evidence[0]
        assert found.state == "breaks" and "x = 2.0, want = 5.0, mode = a: inner" in found.detail

    def test_rows_are_made_when_they_are_tried(self) -> None:
        made = []

        def source() -> Any:
            made.append(1)
            return [(np.ones(2), "a"), (np.zeros(2), "b")]

        cases = rows("x, name", source)
        assert not made and [label for label, _ in cases] == ["name = a, case 1", "name = b, case 2"]

    def test_the_first_comparison_that_fails_catches_a_mutant(self) -> None:
        asked: list[float] = []

        @exact(1e-15, over=grid(x=(1.0, 2.0, 3.0)))
        def counted(square: Any, x: float) -> Any:
            for sign in (1.0, -1.0):
                asked.append(sign * x)
                yield f"{sign}", square(sign * x), x * x

        mutants = {"odd": lambda x: x * abs(x), "nothing": lambda x: 0.0}
        found = settled([square], mutants, evidence=(counted,))
        assert found.status == "verified"
        every = [sign * x for x in (1.0, 2.0, 3.0) for sign in (1.0, -1.0)]
        assert asked == [*every, 1.0, -1.0, 1.0], "all of the square, two of one mutant, one of the other"

    def test_no_cases_are_no_evidence(self) -> None:
        @exact(1e-15, over=rows("x", ()))
        def nothing(square: Any, x: float) -> Any:
            return 0.0, 0.0

        assert settled([square], {"a": root, "b": mills}, evidence=(nothing,)).status == "error"

    def test_a_bound_is_near_in_some_case(self) -> None:
        @bound(tight=0.5, over=grid(x=(0.01, 0.9)))
        def below_one(square: Any, x: float) -> Any:
            return square(x), 1.0

        found = settled([square], {"a": lambda x: 2.0, "b": lambda x: 0.1}, evidence=(below_one,))
        assert found.status == "verified", "the mutant 0.1 is vacuous, and the square reaches .81"

    def test_the_budget_is_divided(self) -> None:
        given = []

        @statistical(n=10, over=grid(x=(1.0, 2.0)))
        def chance(square: Any, rng: Any, n: int, alpha: float, x: float) -> Statistic:
            given.append((alpha, rng.random()))
            return Statistic(0.5 if square(x) > 0 else 0.0, 0.1, 0.0, n)

        found = settled(
            [square], {"a": wrong(square, lambda value: -value), "b": lambda x: -1.0}, evidence=(chance,)
        )
        assert found.status == "verified"
        (first, one), (second, other) = given[:2]
        assert first == second == pytest.approx(0.5e-6) and one != other, "one generator for all cases"

    def test_drawn_parameters_beside_cases(self) -> None:
        @property(1e-15, over=grid(factor=(1.0, -2.0)))
        def scales(square: Any, factor: float, x: float = st.floats(-9.0, 9.0)) -> Any:
            return square(factor * x), factor**2 * square(x)

        assert (
            settled([square], {"a": lambda x: x, "b": lambda x: x + 1.0}, evidence=(scales,)).status
            == "verified"
        )

    def test_names_that_are_not_taken(self) -> None:
        with pytest.raises(TypeError, match=r"cases give \['y'\], which it does not take"):
            exact(1.0, over=grid(y=(1.0,)))(lambda square: None)
        with pytest.raises(TypeError, match="stands twice"):
            grid(rows("x, y", ()), x=())


class TestRefusals:
    def test_calls_that_are_refused(self) -> None:
        mutants = {"silent": {root: lambda x: abs(x) ** 0.5}, "sign": wrong(root, lambda value: -value)}
        found = settled([root], mutants, evidence=(two,), refuses=[(root, -1.0), (TypeError, root, None)])
        assert found.status == "verified" and [m.caught_by for m in found.mutants] == ["refuses", "two"]
        assert found.evidence[-1].kind == "boundary" and found.evidence[-1].n == 2

    def test_what_does_not_refuse(self) -> None:
        found = settled([root], {"a": square, "b": mills}, evidence=(two,), refuses=[(root, 1.0)])
        assert found.status == "refuted" and "nothing was raised" in found.evidence[-1].detail

    def test_what_refuses_beside_it(self) -> None:
        """A constructor that is not covered may refuse in the same list; alone it tests nothing that is."""
        found = settled(
            [root], {"a": square, "b": mills}, evidence=(two,), refuses=[(CIR, 0.0, 1.0, 1.0), (root, -1.0)]
        )
        assert found.evidence[-1].state == "holds"
        with pytest.raises(TypeError, match="none of root"):
            declared([root], {"a": square, "b": mills}, evidence=(two,), refuses=[(CIR, 0.0, 1.0, 1.0)])


class TestWrong:
    def test_arguments_and_values_by_name(self) -> None:
        swapped = wrong(posterior_mean, x=lambda score: score, score=lambda x: x)
        assert float(swapped(Flow(), 2.0, 0.5, 3.0)) == float(posterior_mean(Flow(), 3.0, 0.5, 2.0))
        assert (
            float(wrong(posterior_mean, lambda value, xp, x: xp.abs(value) + x)(Flow(), 1.0, 0.5, -2.0))
            == 2.0
        )
        assert float(wrong(swapped, lambda value: -value)(Flow(), 2.0, 0.5, 3.0)) == -float(
            swapped(Flow(), 2.0, 0.5, 3.0)
        )

    def test_the_kernel_has_the_error_too(self) -> None:
        kernel = wrong(mills, lambda value: -value).kernel
        assert float(kernel(np, np.asarray(0.0))) == -float(mills(0.0))

    def test_what_is_no_array_stays_what_it_is(self) -> None:
        @public
        def shifted(xp: Any, x: Array, count: int) -> Array:
            return x + float(count)

        seen: list[Any] = []
        mutant = wrong(shifted, lambda value, x, count: seen.append((x, count)) or -value)
        assert float(mutant(1.0, 7)) == -8.0
        assert isinstance(seen[0][0], np.ndarray) and type(seen[0][1]) is int

    @pytest.mark.parametrize(
        ("make", "complaint"),
        [
            (lambda: wrong(square), "nothing of square is changed"),
            (lambda: wrong(square, y=lambda x: x), "takes x, and has no y"),
            (lambda: wrong(square, x=lambda z: z), "has no z"),
            (lambda: wrong(square, lambda value, xp: value), "has no xp"),
            (lambda: wrong(lambda value: value, lambda value: value), "an argument called value"),
        ],
    )
    def test_names_are_checked_where_they_stand(self, make: Any, complaint: str) -> None:
        with pytest.raises(TypeError, match=complaint):
            make()

    def test_an_error_of_an_error_takes_the_place_of_the_right_function(self) -> None:
        twice = wrong(SIGNS["one"], lambda value: 2.0 * value)
        made = declared([square, root], {"a": twice, "b": SIGNS["two"]}, evidence=(table, inverse))
        assert dict(made.mutants["a"]) == {"square": twice} and twice.right is square

    def test_whose_place(self) -> None:
        with pytest.raises(TypeError, match="does not say whose place"):
            declared([square, root], {"a": mills, "b": mills}, evidence=(table, inverse))
        with pytest.raises(TypeError, match="the claim covers square"):
            declared([square], {"a": wrong(mills, lambda value: value), "b": root}, evidence=(table,))
        with pytest.raises(TypeError, match="is what is under test itself"):
            declared([square], {"a": square, "b": root}, evidence=(table,))
        assert isinstance(table, Evidence) and isinstance(SIGNS["one"], Wrong)
