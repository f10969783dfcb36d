"""Soaking in seeds: flips are found, told and replayed; what is finished is kept."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from typer.testing import CliRunner

from driftproof.cli import app
from driftproof.validation import Statistic, Thing, drawn, exact, property, statistical
from driftproof.validation.engine import Plan, evaluate_claim, run_evidence
from driftproof.validation.evidence.base import Effort
from driftproof.validation.registry import REGISTRY, Registry
from driftproof.validation.soak import soak, subject
from driftproof.validation.soaked import Soaked
from driftproof.validation.statements import Claim

from .claim_maker import REALS, made, negated, square, table

TESTS = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTPROOF_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TESTS)  # workers import the toy claims by name
    return importlib.import_module("toy_claims")


def of(*claims: Claim) -> Registry:
    return Registry({claim.id: claim for claim in claims}, loaded=True)


@exact(tolerance=0.5, false_alarm=0.3, miss=0.0)
def mostly_right(thing: Thing, rng: np.random.Generator) -> Any:
    """Breaks under three seeds of ten."""
    return float(rng.random() < 0.3), 0.0


@statistical(n=1000, miss=1e-9)
def has_mean_one(thing: Thing, rng: np.random.Generator, n: int) -> Any:
    z = (thing(rng.standard_normal(n)).mean() - 1.0) / math.sqrt(2.0 / n)
    return Statistic(math.erfc(abs(z) / math.sqrt(2)), 0.4, z, n)


class TestFlips:
    def test_none_where_nothing_depends_on_chance(self) -> None:
        found = soak(seeds=3, registry=of(made(table)))
        assert (found.status, found.evidence, found.mutants, found.expected) == (0, 0, 0, 0.0)

    def test_a_false_alarm_is_found_under_each_seed_that_has_it(self) -> None:
        claim = made(table, mostly_right)
        found = soak(seeds=20, start=100, registry=of(claim))
        alarms = [
            seed
            for seed in range(100, 120)
            if not run_evidence(claim, mostly_right, {"thing": square}, Plan(seed, Effort.QUICK)).ok
        ]
        assert alarms and [flip.seed for flip in found.flips] == alarms
        assert found.status == 1 and found.expected == pytest.approx(20 * 0.3)
        assert found.flips[0].replay == f"driftproof verify TOY-1 --quick --seed {alarms[0]}"

    def test_a_mutant_that_goes_by(self) -> None:
        """Only the statistical evidence tells this mutant, and under some seeds it does not."""
        faint = {"sign": negated, "a bit more": lambda x: x * x + 0.75}
        claim = made(has_mean_one, mutants=faint)
        found = soak(seeds=12, registry=of(claim))
        assert found.mutants == 2
        caught = [evaluate_claim(claim, Plan(seed, Effort.QUICK)).mutants[1].caught for seed in range(12)]
        assert [flip.seed for flip in found.flips] == [seed for seed in range(12) if not caught[seed]]
        assert {flip.what for flip in found.flips} == {"mutant 'a bit more'"}
        assert any(caught) and not all(caught)

    def test_a_mutant_that_evidence_crashes_on_is_unsettled(self) -> None:
        def fragile(x: Any) -> Any:
            if np.mean(x) > 0.0:
                raise FloatingPointError("for reasons of its own")
            return x * x + 5.0

        claim = made(has_mean_one, mutants={"sign": negated, "fragile": fragile})
        found = soak(seeds=8, registry=of(claim))
        assert {flip.state for flip in found.flips} == {"unsettled"}
        assert 0 < len(found.flips) < 8 and "FloatingPointError" in found.flips[0].detail

    def test_what_is_drawn_is_searched_under_every_seed_and_swept_once(self) -> None:
        seen: list[float] = []

        @property(tolerance=0.0, examples=4, false_alarm=0.0)
        def watched(thing: Thing, x: float = drawn(REALS)) -> Any:
            seen.append(x)
            return 0.0, 0.0

        assert not soak(seeds=3, registry=of(made(table, watched))).flips
        swept, searched = 16 + 2, 2  # at quick effort
        mutants = 0  # both are caught by the table
        assert len(seen) == swept + 3 * searched + mutants

    def test_undeclared_chances_are_listed(self) -> None:
        @exact(tolerance=1.0)
        def unsaid(thing: Thing, rng: np.random.Generator) -> Any:
            return rng.random(), 0.0

        found = soak(seeds=2, registry=of(made(table, unsaid)))
        assert found.undeclared == ("TOY-1 unsaid (false_alarm, miss)",) and found.status == 0

    def test_a_failure_under_every_seed_is_told_once(self) -> None:
        @exact(tolerance=0.0)
        def wrong(thing: Thing) -> Any:
            return thing(2.0), 5.0

        found = soak(seeds=3, registry=of(made(wrong)))
        assert [(flip.seed, flip.state) for flip in found.flips if flip.what == "wrong"] == [(0, "breaks")]

    @pytest.mark.parametrize(
        "wrong", [{"seeds": 0}, {"seeds": 1, "start": -1}, {"seeds": 1, "effort": "most"}]
    )
    def test_wrong_input(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="expected"):
            soak(registry=of(made(table)), **wrong)


class TestKeeping:
    def test_interrupted_and_resumed_is_the_whole(self) -> None:
        registry = of(made(table, mostly_right))

        def stop(done: Soaked, count: int) -> None:
            told.append(done.seed)
            if count == 4:
                raise KeyboardInterrupt

        told: list[int] = []
        part = soak(seeds=8, start=1, registry=registry, announce=stop)
        assert part.status == 130 and part.interrupted and [done.seed for done in part.seeds] == [1, 2, 3, 4]
        rest: list[int] = []
        again = soak(
            seeds=8, start=1, registry=registry, resume=True, announce=lambda done, _: rest.append(done.seed)
        )
        whole = soak(seeds=8, start=1, registry=registry)
        assert rest == [5, 6, 7, 8] and again.flips == whole.flips and again.status == whole.status

    def test_a_damaged_file_is_settled_again(self, tmp_path: Path) -> None:
        registry = of(made(table, mostly_right))
        whole = soak(seeds=3, registry=registry)
        for file in tmp_path.rglob("seed-1.json"):
            file.write_text('{"seed": 1, "fl')
        assert soak(seeds=3, registry=registry, resume=True).flips == whole.flips

    @pytest.mark.slow(ci=True)
    def test_any_number_of_workers(self, toys: Any) -> None:
        alone, two = (soak(registry=toys.TOYS, seeds=4, jobs=jobs) for jobs in (1, 2))
        assert [done.seed for done in two.seeds] == [0, 1, 2, 3]
        assert (alone.flips, alone.evidence, alone.mutants) == (two.flips, two.evidence, two.mutants)


class TestCommand:
    @pytest.mark.slow(ci=True)
    def test_writes_what_it_found(self, tmp_path: Path) -> None:
        file = tmp_path / "soak.json"
        done = CliRunner().invoke(
            app, ["soak", "CONVENTION-LAWS-1", "--seeds", "2", "--jobs", "1", "--json", str(file)]
        )
        assert done.exit_code == 0, done.output
        assert "0 flips under 2 of 2 seeds" in done.output
        kept = json.loads(file.read_text())
        assert kept["status"] == 0 and [seed["seed"] for seed in kept["seeds"]] == [0, 1]


class TestDeclarations:
    def test_all_claims_declare_their_chances(self) -> None:
        lacking = [
            (claim.id, item.name, item.undeclared)
            for claim in REGISTRY.load().claims.values()
            if claim.module.startswith("driftproof.")
            for item in claim.evidence
            if item.undeclared
        ]
        assert not lacking

    def test_three_hundred_seeds_are_expected_to_flip_nothing(self) -> None:
        """By what is declared, with every statistical mutant counted as missed as often as any."""
        registry = REGISTRY.load()
        plan = Plan(weight=registry.weight)
        chance = math.fsum(
            (plan.alpha(item) or item.false_alarm or 0.0) + (item.miss or 0.0) * len(claim.mutants)
            for claim in registry.claims.values()
            for item in claim.evidence
        )
        assert 300 * chance < 1e-3

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"false_alarm": 0.0}, TypeError, "depends on no seed"),
            ({"miss": 0.0}, TypeError, "no seed moves"),
            ({"false_alarm": 1.0}, ValueError, "probability"),
            ({"miss": math.nan}, ValueError, "probability"),
        ],
    )
    def test_only_chances_are_declared(self, options: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):

            @exact(tolerance=0.0, **options)
            def fixed(thing: Thing) -> Any: ...

    def test_statistical_evidence_has_its_share(self) -> None:
        with pytest.raises(TypeError, match="share"):

            @statistical(n=5, false_alarm=0.0)
            def test(thing: Thing, rng: Any) -> Any: ...

    def test_mutants_of_what_is_drawn_need_no_declaration(self) -> None:
        @property(tolerance=0.0, false_alarm=0.0)
        def even(thing: Thing, x: float = drawn(st.floats(0.0, 1.0))) -> Any:
            return thing(x), thing(-x)

        assert not even.undeclared and even.seeded and not even.seeded_on_mutants
        claim = made(table, even)
        assert subject(claim, evaluate_claim(claim, Plan()), Plan()).mutants == ()
