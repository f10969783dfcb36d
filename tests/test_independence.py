"""The two sides of the comparisons in claims."""

from __future__ import annotations

import pytest

from driftproof.validation.independence import Comparison, circular, comparisons
from driftproof.validation.registry import REGISTRY


@pytest.fixture(scope="module")
def ours() -> list[Comparison]:
    return comparisons(REGISTRY.load().claims.values())


@pytest.mark.slow(ci=True)
def test_no_claim_rests_on_itself(ours: list[Comparison]) -> None:
    """What stands on both sides of a comparison is proved by another one, whose sides do not share it."""
    lost = {
        name: [f"{each.claim} {each.evidence}" for each in pieces] for name, pieces in circular(ours).items()
    }
    assert lost == {}


@pytest.mark.slow(ci=True)
def test_what_is_tried_is_on_one_side(ours: list[Comparison]) -> None:
    """A mutant takes the place of the argument alone: a global of that name would stay right."""
    assert [f"{each.claim} {each.evidence}" for each in ours if each.tries & each.beside] == []


def test_most_comparisons_share_nothing(ours: list[Comparison]) -> None:
    assert len(ours) > 500
    assert sum(not each.shared for each in ours) >= 0.9 * len(ours)


def made(tries: str, *beside: str) -> Comparison:
    return Comparison(
        "TOY-1", f"{tries} by {beside}", frozenset({tries}), frozenset(beside), frozenset(beside)
    )


def test_a_chain_is_proved_and_a_circle_is_not() -> None:
    assert circular([made("a"), made("b", "a"), made("c", "b")]) == {}
    circle = [made("a", "b"), made("b", "a"), made("c")]
    assert circular(circle) == {"b": [circle[0]], "a": [circle[1]]}
    assert list(circular([made("a", "a")])) == ["a"]
