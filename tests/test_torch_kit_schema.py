"""Configurations: what a call is refused, and tables, in the same words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from pydantic import PositiveFloat, PositiveInt

from driftproof import UnmetHypothesis
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.recipe import RecipeError, build
from driftproof.backends.torch.kit.schema import ProperShare, validated


@validated(frozen=True, slots=True)
class Example:
    epochs: PositiveInt
    clip: ProperShare = 0.1
    rate: PositiveFloat = 1.0
    ratio: Literal["sum", "mean"] = "mean"
    scale: bool = True


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"clip": 1.0}, UnmetHypothesis, r"Example: unmet hypothesis: clip < 1 \(clip = 1.0\)"),
        ({"clip": 0}, UnmetHypothesis, r"clip > 0"),
        ({"rate": float("inf")}, UnmetHypothesis, "rate is a finite number"),
        ({"ratio": "product"}, UnmetHypothesis, "ratio is one of 'sum' or 'mean'"),
        ({"epochs": 1.0}, TypeError, "Example: expected an integer for epochs, got 1.0"),
        ({"scale": 1}, TypeError, "expected true or false for scale, got 1"),
        ({"epochs": True}, TypeError, "expected an integer for epochs, got True"),
        ({"micro": 1}, TypeError, "Example: unknown argument 'micro'"),
    ],
)
def test_a_call_is_checked_as_a_file_is(wrong: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Example(**{"epochs": 1, **wrong})
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        build(Example, {"epochs": 1, **wrong})


def test_arguments_are_named_by_position_too() -> None:
    with pytest.raises(
        UnmetHypothesis, match=r"Plan: unmet hypothesis: train_batch_size > 0 \(train_batch_size = 0\)"
    ):
        Plan(1, 0, 1.0)
    with pytest.raises(TypeError, match="Plan: unknown argument '9'"):
        Plan(1, 1, 1.0, 0, 1.0, 0.9, 0, 1, "cosine", 3)  # type: ignore[call-arg]


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(TypeError, match="Plan: missing argument 'train_batch_size'"):
        Plan(max_steps=1, learning_rate=1.0)  # type: ignore[call-arg]
    with pytest.raises(RecipeError, match="missing key 'train_batch_size'"):
        build(Plan, {"max_steps": 1, "learning_rate": 1.0})


def test_configurations_stay_frozen_and_are_checked_when_they_are_replaced() -> None:
    plan = Plan(max_steps=1, train_batch_size=2, learning_rate=1)
    assert isinstance(plan.learning_rate, float)
    with pytest.raises(AttributeError):
        plan.max_steps = 2  # type: ignore[misc]
    assert replace(plan, max_steps=3).max_steps == 3
    with pytest.raises(UnmetHypothesis, match="max_steps > 0"):
        replace(plan, max_steps=0)
    assert not hasattr(plan, "__dict__")


def test_several_problems_are_told_in_one_line() -> None:
    tables = {"max_steps": 0, "train_batch_size": "4", "learning_rate": 1.0, "warmup_steps": -1, "rate": 1}
    with pytest.raises(RecipeError) as told:
        build(Plan, tables, "mine.toml")
    assert str(told.value) == (
        "mine.toml: unknown key 'rate' (known: max_steps, train_batch_size, learning_rate, warmup_steps, "
        "max_grad_norm, ema_decay, seed, save_steps, lr_scheduler_type); max_steps: expected > 0, got 0; 2 more"
    )


@validated(frozen=True, slots=True)
class Pair:
    first: int
    second: int = 0

    def __post_init__(self) -> None:
        if self.first == 1:
            raise ValueError("a first number other than one")
        if self.first > self.second:
            raise UnmetHypothesis("Pair", "first <= second", f"{self.first} and {self.second}")


@validated(frozen=True, slots=True)
class Pairs:
    pair: tuple[Pair, ...]


def test_checks_across_fields_are_told_with_their_path() -> None:
    with pytest.raises(UnmetHypothesis, match=r"^Pair: unmet hypothesis: first <= second \(3 and 0\)$"):
        Pair(3)
    with pytest.raises(ValueError, match="a first number other than one"):
        Pair(1)
    with pytest.raises(RecipeError, match=r"^recipe: pair\.1: expected first <= second, got 3 and 0$"):
        build(Pairs, {"pair": [{"first": 0}, {"first": 3}]})
    with pytest.raises(RecipeError, match=r"^recipe: pair\.0: expected a first number other than one, got "):
        build(Pairs, {"pair": [{"first": 1}]})
