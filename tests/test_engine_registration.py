"""Registration refuses claims that could not be settled; claims travel between processes."""

from __future__ import annotations

import dataclasses
from typing import Any

import joblib
import pytest

from driftproof.validation import exact, property, statistical
from driftproof.validation.engine import Plan, evaluate_claim
from driftproof.validation.evidence.base import Evidence
from driftproof.validation.registry import LoadFailure, Registry

from .claim_maker import REALS, crashing, made, negated, square, table


class TestRegistration:
    def test_two_mutants_at_least(self) -> None:
        with pytest.raises(TypeError, match="at least two mutants"):
            made(table, mutants={"one": negated})

    def test_mutants_differ_from_the_thing(self) -> None:
        with pytest.raises(TypeError, match="is what is under test itself"):
            made(table, mutants={"one": negated, "two": square})

    def test_evidence_at_least(self) -> None:
        with pytest.raises(TypeError, match="no evidence"):
            made()

    def test_something_under_test_at_least(self) -> None:
        with pytest.raises(TypeError, match="covers nothing"):
            Registry().claim("TOY-1", paper="toy", covers=[])(type("Toy", (), {"table": table}))

    @pytest.mark.parametrize("id", ["toy-1", "TOY", "TOY 1", "TOY-", ""])
    def test_ids(self, id: str) -> None:
        with pytest.raises(ValueError, match="an id looks like"):
            Registry().claim(id, paper="toy", covers=[square])

    def test_unknown_expectation(self) -> None:
        with pytest.raises(ValueError, match="expect is one of"):
            made(table, expect="maybe")

    def test_a_claim_that_is_not_found_beside_modules_that_did_not_import(self) -> None:
        failure = LoadFailure("reward_gap", "claims.reward_gap.paths", "NameError: grid")
        registry = Registry(failures=[failure])
        with pytest.raises(
            LookupError, match=r"did not import: claims\.reward_gap\.paths \(NameError: grid\)"
        ):
            registry.select(["REWARD-GAP-PATH-1"])

    def test_a_paper_without_claims_is_planned(self) -> None:
        with pytest.raises(LookupError, match="art is planned: it has no claims yet"):
            Registry(loaded=True).select(["art"])

    def test_ids_are_unique(self) -> None:
        registry = Registry()

        class One:
            evidence, mutants = table, {"a": negated, "b": crashing}

        class Two(One):
            evidence, mutants = table, {"a": negated, "b": crashing}

        registry.claim("TOY-1", paper="toy", covers={"thing": square})(One)
        registry.claim("TOY-1", paper="toy", covers={"thing": square})(One)  # a module that is imported again
        with pytest.raises(ValueError, match=r"takes the id of .*One"):
            registry.claim("TOY-1", paper="toy", covers={"thing": square})(Two)

    @pytest.mark.parametrize(
        ("function", "complaint"),
        [
            (lambda: None, "takes a function under test"),
            (lambda thing, data: None, r"cannot give \['data'\].*covers \(thing\)"),
            (lambda thing, alpha: None, r"cannot give \['alpha'\]"),
            (lambda thing, n: None, "must declare n"),
        ],
    )
    def test_parameters_that_the_engine_cannot_give(self, function: Any, complaint: str) -> None:
        with pytest.raises(TypeError, match=complaint):
            made(exact(tolerance=1.0)(function))

    def test_statistics_draw_nothing_and_properties_something(self) -> None:
        with pytest.raises(TypeError, match="many looks"):
            statistical()(lambda thing, x=REALS: None)
        with pytest.raises(TypeError, match="draws at least one"):
            property(tolerance=1.0)(lambda thing: None)

    def test_claims_travel_by_value_where_no_import_finds_them(self) -> None:
        claim = made(table)
        there = joblib.Parallel(n_jobs=2)(joblib.delayed(evaluate_claim)(claim, Plan()) for _ in range(2))
        assert all(settled.status == "verified" for settled in there)

    def test_evidence_is_final_data(self) -> None:
        assert isinstance(table, Evidence)
        with pytest.raises(dataclasses.FrozenInstanceError):
            table.name = "other"
