"""The process that mutants are made in: once loaded, every fork of it starts from everything imported.

A child of :mod:`~driftproof.validation.supervision` is *bare* at first: it has imported the libraries below, and
what of ours the harness itself needs.  Forks that import our modules anew start from there.  Then it is
*loaded*, with the modules and claims, and forks swap functions.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, final

from driftproof.validation.telling import said

from .lines import Lines, recorded
from .swap import forget, functions_of

__all__ = ["HERE", "Piece", "Setting", "import_all", "imports", "run"]


@final
@dataclass(frozen=True)
class Setting:
    """The setting that all work of a campaign shares.

    Attributes:
        seed, effort, weight: Those of the claims' plan.
        files: All modules in which errors may be planted, by their files: their lines are recorded.
        claims: The modules that make claims.
    """

    seed: int
    effort: str
    weight: float
    files: Mapping[str, str]
    claims: tuple[str, ...]

    @property
    def roots(self) -> frozenset[str]:
        """The packages that are forgotten where modules are imported anew."""
        return frozenset(
            {"driftproof"} | {name.partition(".")[0] for name in (*self.files.values(), *self.claims)}
        )


@final
@dataclass(frozen=True)
class Piece:
    """A piece of evidence of a claim, as the right code has it.

    Attributes:
        claim: Its id; ``where`` an import finds the claim.
        state: The engine's verdict on it.
        seconds: The processor time that it took, while its lines were recorded.
    """

    claim: str
    where: tuple[str, str]
    name: str
    requires: str | None = None
    state: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.claim} {self.name}"


@final
@dataclass
class _Here:
    """The state of this process."""

    libraries: bool = False
    functions: dict[str, list[FunctionType]] = field(default_factory=dict)
    controls: dict[Any, bool] = field(default_factory=dict)

    def bare(self, libraries: Collection[str]) -> None:
        """Import the libraries, and of ours nothing."""
        if not self.libraries:
            self.libraries = True
            for name in libraries:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)

    def load(self, setting: Setting) -> None:
        """Import everything, once."""
        if not self.functions:
            import_all(setting)
            self.functions = functions_of(setting.files)

    def require(self, names: Collection[str | None]) -> None:
        """Import what evidence needs here, so that not every fork does."""
        for name in names:
            if name is not None and name not in sys.modules:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)


HERE = _Here()


def import_all(setting: Setting) -> None:
    """Import the claims and all modules; what lacks an optional dependency is left out, as the registry does."""
    for name in (*setting.claims, *setting.files.values()):
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def imports(setting: Setting) -> tuple[Lines, list[str]]:
    """Import all anew: the lines that run, and the libraries that are loaded.  For a fork of a bare process."""
    forget(setting.roots)
    with recorded(setting.files) as lines:
        import_all(setting)
    return lines, [n for n in sys.modules if n.partition(".")[0] not in {*setting.roots, "__main__"}]


def run(piece: Piece, setting: Setting) -> tuple[str, str]:
    """The state of a piece of evidence, as this process is, and why."""
    # Imported when called: what was imported anew counts, not what this module had imported.
    from driftproof.validation.engine import Plan, run_evidence
    from driftproof.validation.evidence.base import Effort
    from driftproof.validation.statements import referred

    try:
        claim = referred(*piece.where)
        evidence = next(item for item in claim.evidence if item.name == piece.name)
    except BaseException as error:  # noqa: BLE001  # its module does not import any more
        return "crashed", f"its module does not import: {said(error)}"
    plan = Plan(setting.seed, Effort(setting.effort), setting.weight)
    found = run_evidence(claim, evidence, claim.things, plan)
    return found.state, found.counterexample or found.detail
