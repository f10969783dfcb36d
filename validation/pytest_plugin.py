"""Pytest plugin: every piece of evidence, and every mutant, is a test node.

``pytest --claims tweedie`` collects ``claim[TWEEDIE-CIR-1::evidence]`` and
``claim[TWEEDIE-CIR-1::mutant sign]`` instead of files, or beside the files that are named.  Without the
option nothing changes, and nothing of the library is imported.

Each node is settled in a process that can be ended: what exits, dies or blocks there fails its node and no
other.  ``--claims-timeout 0``, or ``--pdb``, keeps them in the process of pytest, where a debugger works.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .engine import Plan
    from .outcomes import EvidenceOutcome
    from .registry import LoadFailure
    from .statements import Claim
    from .supervision import Account

PieceT = TypeVar("PieceT")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("driftproof", "claims of driftproof")
    group.addoption(
        "--claims",
        action="append",
        metavar="PAPER|ID",
        help="collect the claims of this paper or id, or 'all'; may be repeated",
    )
    efforts = ["quick", "normal", "full"]
    group.addoption("--claims-effort", default="quick", choices=efforts, help="how much Monte Carlo")
    group.addoption("--claims-seed", type=int, default=0, metavar="SEED", help="replays a run exactly")
    group.addoption(
        "--claims-timeout",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="for a node; 0 settles in the process of pytest, without a limit",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    # Claims alone, unless files were named: the configured test paths are not what was asked for.
    config = session.config
    if config.getoption("claims") and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[Any]) -> None:
    if names := config.getoption("claims"):
        items.extend(_nodes(session, config, [] if "all" in names else names))


def _nodes(session: pytest.Session, config: pytest.Config, names: list[str]) -> Iterator[pytest.Item]:
    from .engine import Plan
    from .evidence.base import Effort
    from .registry import REGISTRY

    if config.getoption("claims_seed") < 0:
        raise pytest.UsageError(f"--claims-seed: expected a seed >= 0, got {config.getoption('claims_seed')}")
    if not 0.0 <= config.getoption("claims_timeout") < float("inf"):
        expected = f"expected seconds >= 0, got {config.getoption('claims_timeout')}"
        raise pytest.UsageError(f"--claims-timeout: {expected}")
    registry = REGISTRY.load()
    try:
        claims = registry.select(names)
    except LookupError as error:
        raise pytest.UsageError(f"--claims: {error}") from error
    effort = Effort(config.getoption("claims_effort"))
    plan = Plan(config.getoption("claims_seed"), effort, registry.weight or 1.0)
    for failure in registry.selected_failures(names):
        yield _node(session, NotLoaded, f"claim[{failure.module}]", failure=failure)
    for claim in claims:
        for evidence in claim.evidence:
            name = f"claim[{claim.id}::{evidence.name}]"
            yield _node(session, EvidenceNode, name, claim=claim, plan=plan, part=evidence.name)
        for mutant in claim.mutants:
            name = f"claim[{claim.id}::mutant {mutant}]"
            yield _node(session, MutantNode, name, claim=claim, plan=plan, part=mutant)


def _node(session: pytest.Session, kind: type[pytest.Item], name: str, **given: Any) -> pytest.Item:
    return kind.from_parent(session, name=name, nodeid=name, **given)


class ClaimFailure(Exception):
    """A finding of the engine, to be shown without a traceback of the engine."""


class _Node(pytest.Item):
    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ClaimFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


class NotLoaded(_Node):
    """A module of claims that does not import."""

    def __init__(self, *, failure: LoadFailure, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.failure = failure

    def runtest(self) -> None:
        if self.failure.skipped:
            pytest.skip(self.failure.reason)
        raise ClaimFailure(f"{self.failure.module} does not import: {self.failure.reason}")


class _ClaimNode(_Node):
    def __init__(self, *, claim: Claim, plan: Plan, part: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.claim, self.plan, self.part = claim, plan, part

    @property
    def limit(self) -> float:
        """Seconds for a process of its own; 0 for the process of pytest."""
        return 0.0 if self.config.getoption("usepdb", False) else self.config.getoption("claims_timeout")

    def outcome(self, found: PieceT | Account) -> PieceT:
        """The outcome, unless something else ended the work."""
        from .supervision import Account

        if isinstance(found, Account):
            raise ClaimFailure(f"{self.claim.id}: {self.part} has no verdict: {found.why}")
        return found


class EvidenceNode(_ClaimNode):
    """One piece of evidence on the thing."""

    def runtest(self) -> None:
        from .workers import evidence_outcome

        found = self.outcome(evidence_outcome(self.claim, self.part, self.plan, self.limit))
        self.user_properties += [("error", found.error), ("tolerance", found.tolerance)]
        if found.state in ("skipped", "left out"):
            pytest.skip(found.detail)
        if found.state == "breaks" and self.claim.expect == "refuted":
            pytest.xfail(f"refuted, as stated: {found.detail}")
        if found.ok is not True:
            raise ClaimFailure(_failure_text(self.claim, found))


class MutantNode(_ClaimNode):
    """One planted error, which some evidence must catch."""

    def runtest(self) -> None:
        from .workers import mutant_outcome

        found = self.outcome(mutant_outcome(self.claim, self.part, self.plan, self.limit))
        if found.unsettled:
            raise ClaimFailure(f"{self.claim.id}: the mutant {self.part!r} is unsettled: {found.detail}")
        if found.caught is None:
            pytest.skip(f"no evidence that was tried catches it: {found.detail}")
        if not found.caught:
            raise ClaimFailure(f"{self.claim.id}: the mutant {self.part!r} {found.fate}: {found.detail}")


def _failure_text(claim: Claim, found: EvidenceOutcome) -> str:
    text = f"{claim.id}: {claim.title}\n{found.name} ({found.kind}) {found.state}: {found.detail}"
    if found.error is not None:
        text += f"\nerror {found.error:.3g}, tolerance {found.tolerance:.3g}"
    return text + (f"\ncounterexample: {found.counterexample}" if found.counterexample else "")
