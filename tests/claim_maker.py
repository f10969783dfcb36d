"""Claims made on the spot, for the tests of the engine: x^2, its mutants, and one piece of evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from driftproof.validation import Thing, exact
from driftproof.validation.engine import Plan, evaluate_claim
from driftproof.validation.outcomes import ClaimOutcome
from driftproof.validation.registry import Registry
from driftproof.validation.statements import Claim

REALS = st.floats(-100.0, 100.0)


def square(x: Any) -> Any:
    return x * x


def negated(x: Any) -> Any:
    return -x * x


def crashing(x: Any) -> Any:
    raise ZeroDivisionError("planted")


@exact(tolerance=1e-12)
def table(thing: Thing) -> Any:
    return thing(3.0), 9.0


def made(
    *evidence: Any, mutants: Mapping[str, Any] | None = None, thing: Any = square, **options: Any
) -> Claim:
    """A claim with this evidence; its mutants are wrong everywhere unless given."""
    mutants = {"sign": negated, "shift": lambda x: x * x + 1.0} if mutants is None else mutants
    parts = {item.name: item for item in evidence}
    cls = type("Toy", (), {"mutants": mutants, **parts})
    return Registry().claim("TOY-1", "Toy", "f(x) = x^2", paper="toy", covers={"thing": thing}, **options)(
        cls
    )


def outcome(*evidence: Any, plan: Plan | None = None, **options: Any) -> ClaimOutcome:
    return evaluate_claim(made(*evidence, **options), plan or Plan())
