"""What a claim covers is called by its evidence: a name in a list proves nothing."""

from __future__ import annotations

import importlib
import inspect
import multiprocessing
import re
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any

import pytest

from driftproof.validation.engine import Plan, run_evidence
from driftproof.validation.evidence.base import Effort
from driftproof.validation.inventory import kernels, of_kind
from driftproof.validation.registry import REGISTRY
from driftproof.validation.statements import Claim


def resolved(name: str) -> Any:
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


def codes(thing: Any) -> Iterator[CodeType]:
    """The code of a function or of the kernel behind it; of a property, its getter; for a class, that of every method."""
    thing = thing.fget if isinstance(thing, property) else thing
    if inspect.isclass(thing):
        for base in thing.__mro__:
            for part in vars(base).values():
                part = part.fget if isinstance(part, property) else part
                part = getattr(part, "__func__", part)
                yield from codes(part) if inspect.isfunction(part) else ()
    else:
        yield inspect.unwrap(getattr(thing, "kernel", thing)).__code__


def uncalled(id: str) -> list[str]:
    """The covered names of a claim of which no code runs while its evidence is tried on the thing."""
    claim = REGISTRY.load().claims[id]
    wanted = {name: set(codes(resolved(name))) for name in claim.covers}
    of_interest, seen = set().union(*wanted.values()), set()

    def profile(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code in of_interest:
            seen.add(frame.f_code)

    plan = Plan(seed=1, effort=Effort.QUICK)
    sys.setprofile(profile)
    try:
        for item in claim.evidence:
            run_evidence(claim, item, claim.things, plan)
    finally:
        sys.setprofile(None)
    return [name for name, parts in wanted.items() if not parts & seen]


def known() -> dict[str, Any]:
    """Every public function of theory and numerics, by its qualified name."""
    return {f"driftproof.{name}": function for name, function in kernels().items()}


def test_every_public_function_is_covered() -> None:
    covered = {name for claim in REGISTRY.load().claims.values() for name in claim.covers}
    functions = {f"driftproof.{entry.home}" for entry in of_kind("function")}
    assert len(known()) > 100 and known().keys() <= functions
    assert not sorted(functions - covered), "no claim whose evidence calls them and checks their values"


def test_every_public_function_cites_a_claim_that_covers_it() -> None:
    claims = REGISTRY.load().claims
    uncited = []
    for name, function in known().items():
        told = re.search(
            r"^Claims: (.*?)(\n\s*\n|\Z)", inspect.getdoc(function) or "", re.DOTALL | re.MULTILINE
        )
        cited = set(re.findall(r"[A-Z][A-Z0-9-]+-\d+", told[1])) if told else set()
        if not any(name in claims[id].covers for id in cited & claims.keys()):
            uncited.append(name)
    assert not uncited


# What evidence takes and no planted error changes: it only makes data, or it is a derivation whose result others hold.
UNCHANGED = {
    "UnmetHypothesis",
    "numerics.csdm.Latents",
    "numerics.csdm.SparseDecoder",
    "numerics.samplers.loop.sample_trajectory",
    "numerics.tweedie.empirical_bayes.fit_marginal",
    "theory.adjoint.discrete.DiscreteFlow",
    "theory.adjoint.regularizers.QuadraticCost",
    "theory.divergences.base.FDivergence.clip",
    "theory.processes.clock.LinearClock",
    "theory.processes.squared_bessel.AbstractSquaredBessel.decay_rho",
    "theory.reward_gap.gaps.terminal_law",
    "theory.rewards.Linear",
    "theory.tweedie.symbolic.bessel_eigenfunction",
    "theory.tweedie.symbolic.gbm_dilation",
    "theory.tweedie.symbolic.gbm_log_moments",
    "theory.tweedie.symbolic.reverse_family",
    "theory.tweedie.symbolic.second_order_formula",
}


def test_what_is_covered_is_changed_by_a_planted_error() -> None:
    covered: set[str] = set()
    changed: set[str] = set()
    for claim in REGISTRY.load().claims.values():
        for name, qualified in zip(claim.things, claim.covers, strict=True):
            covered.add(qualified)
            if any(name in places for places in claim.mutants.values()):
                changed.add(qualified)
    assert {name.removeprefix("driftproof.") for name in covered - changed} == UNCHANGED


def papers() -> list[str]:
    return sorted({claim.paper for claim in REGISTRY.load().claims.values()})


@pytest.mark.slow
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.parametrize("paper", papers())
def test_evidence_calls_what_its_claim_covers(paper: str) -> None:
    # A process for each claim: what others have cached would not be called again.
    claims: list[Claim] = REGISTRY.select([paper])
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        found = pool.map(uncalled, [claim.id for claim in claims], chunksize=1)
    missing = {claim.id: names for claim, names in zip(claims, found, strict=True) if names}
    assert not missing
