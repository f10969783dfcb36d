"""The audit is audited: what is planted is not called convergent, and what is right is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from driftproof.validation import audit
from driftproof.validation.audits.planted import FAULTS, Drawn, Recipe, drawn
from driftproof.validation.audits.severity import Severity

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from tests import planted_schedulers as written
from tests import toy_schedulers as toys

pytestmark = pytest.mark.filterwarnings("ignore")

# Drawn by the system after thresholds and rules stood; those of seed 0 are what thresholds were looked at with.
SEED = 1468742109


# Its noise is not torch's, which its verdict says; of the law nothing is wrong that can be seen at these counts.
UNSEEN = "Unseen"


def wrong(objects: Iterable[tuple[str, Any]], planted: bool, fast: bool = False) -> tuple[int, list[str]]:
    """How many objects there are, and those whose verdict is not what it should be."""
    count, found = 0, []
    for name, thing in objects:
        count += 1
        row = audit(thing, fast=fast)
        converges = row.severity == Severity.CONVERGES
        if converges == planted or row.severity == Severity.UNSUPPORTED:
            found.append(f"{name}: {row.severity}: {row.verdict[:200]}")
    return count, found


def made(right: int, planted: int, seed: int = SEED) -> list[tuple[str, Any]]:
    return [(f"{recipe}", Drawn(recipe)) for recipe in drawn(seed, right, planted)]


@pytest.mark.parametrize("fault", list(FAULTS))
def test_every_fault_that_can_be_drawn_is_drawn(fault: str) -> None:
    recipes = list(drawn(0, 2, len(FAULTS)))
    assert [recipe.fault for recipe in recipes] == [None, None, *FAULTS]
    low, high = FAULTS[fault]
    assert all(low <= recipe.size <= high for recipe in recipes if recipe.fault == fault)


@pytest.mark.slow(ci=True)
def test_some_of_them() -> None:
    """A short form of the count below, of the seed that thresholds were looked at with."""
    objects = made(2, 0, seed=0)
    assert wrong(objects, planted=False, fast=True) == (2, [])
    few = [(recipe.fault or "", Drawn(recipe)) for recipe in drawn(0, 0, len(FAULTS))][::4]
    count, found = wrong(few, planted=True, fast=True)
    assert count == 4
    assert not found, found


def test_an_early_end_is_a_floor_for_all_data() -> None:
    recipe = Recipe("flow", "flow_prediction", 1.18, 0.0, 2, "the run ends early", size=0.031)
    row = audit(Drawn(recipe), steps=(5, 10, 20), fast=True)
    assert row.severity == Severity.FLOOR, row.verdict


class InTheMiddle(toys.Toy):
    """No number after a step in the middle of a run of 1000."""

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        after = super().step(model_output, timestep, sample)[0]
        return (after * float("nan") if len(self.timesteps) == 1000 and timestep == 500 else after,)


def test_what_is_no_number_in_the_middle_of_a_long_run_is_found() -> None:
    row = audit(InTheMiddle(), steps=(5, 10, 20))
    assert row.severity == Severity.LONG
    assert row.verdict.startswith("converges, order 1.0")
    assert row.verdict.endswith("NaN after call 501 of 1000 steps")


@pytest.mark.slow
def test_sensitivity_and_specificity(capsys: pytest.CaptureFixture[str]) -> None:
    """Over sixty planted and sixty right objects, half of them written and half drawn."""
    counts = {}
    for name, planted, objects in (
        ("written, planted", True, list(written.planted())),
        ("written, right", False, list(written.right())),
        ("drawn, planted", True, made(0, 2 * len(FAULTS))),
        ("drawn, right", False, made(32, 0)),
    ):
        counts[name] = wrong(objects, planted)
    with capsys.disabled():
        for name, (count, found) in counts.items():
            print(f"\n{name}: {count - len(found)} of {count}", *found, sep="\n  ")
    planted, right = (
        [
            sum(values)
            for values in zip(*((n, len(f)) for name, (n, f) in counts.items() if kind in name), strict=True)
        ]
        for kind in ("planted", "right")
    )
    assert planted[0] >= 60
    assert right[0] >= 60
    missed = [name for kind in ("written, planted", "drawn, planted") for name in counts[kind][1]]
    assert [name for name in missed if not name.startswith(UNSEEN)] == []
    assert right[1] == 0
