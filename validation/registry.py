r"""The registry: a claim is a statement, its evidence, and the errors that the evidence must catch.

.. code-block:: python

    from hypothesis import strategies as st

    from driftproof.theory.special import bessel_ratio
    from driftproof.validation import Statistic, claim, exact, figure, grid, property, statistical
    from driftproof.validation.mutants import wrong

    @claim(
        "SPECIAL-BESSEL-1",
        "The Bessel ratio",
        r"R_\nu(z) = I_{\nu+1}(z) / I_\nu(z)",
        covers=[bessel_ratio],
        hypotheses=[r"\nu > -1", r"z \geq 0"],
    )
    class BesselRatio:
        @exact(1e-13, scale=0.0, over=grid(nu=(0.5, 3.0), z=(0.1, 2.0)))
        def equals_fifty_digits(bessel_ratio, nu, z):       # called once for each case
            return bessel_ratio(nu, z), mpmath.besseli(nu + 1, z) / mpmath.besseli(nu, z)

        @property(1e-12, examples=100)
        def riccati(bessel_ratio, z=st.floats(0.0, 1e3)):   # drawn by Hypothesis
            ratio = bessel_ratio(0.5, z)
            return derivative(bessel_ratio, z), 1 - ratio**2 - 2 * ratio / z

        @statistical(weight=1.0, n=100_000)
        def matches_sampled_counts(bessel_ratio, rng, n, alpha):
            ...
            return Statistic(p_value=p, detectable=0.02, effect=0.001, n=n)

        @figure
        def against_asymptotics(bessel_ratio):
            "Caption of the figure."
            return matplotlib.figure.Figure(...)

        refuses = [(bessel_ratio, -1.0, 2.0), (bessel_ratio, 0.5, -1.0)]

        mutants = {
            "sign": wrong(bessel_ratio, lambda value: -value),
            "shifted order": wrong(bessel_ratio, nu=lambda nu: nu + 1.0),
        }

The class has ``mutants`` (at least two) and at least one piece of evidence: a plain function in the class
body, which takes what it tries by name.  Everything that the claim covers is taken by some evidence.
``refuses`` lists calls that raise ``UnmetHypothesis`` (or the exception that stands first).  See
:mod:`driftproof.validation.evidence` for the kinds and what they return, its modules ``base`` and ``cases`` for
the parameters that the engine gives (``rng``, ``n``, ``alpha``, cases, Hypothesis strategies), and
:mod:`driftproof.validation.declaration` for what a mutant may be.

``hypotheses`` is a list of LaTeX strings, or a mapping from them to predicates; a predicate whose
parameters are all drawn by a piece of evidence restricts what Hypothesis draws (boundary evidence
excepted: it drops hypotheses).

Every module in ``driftproof.validation.claims`` is found by itself; its top-level name is the paper of its
claims.  A claim of another module names its paper: ``paper="mine"``.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from .declaration import Covers, changes, named, refusal
from .evidence.base import Evidence
from .missing import absent
from .statements import Claim, Picture, Predicate
from .telling import said

__all__ = ["REGISTRY", "LoadFailure", "Registry", "claim"]

STATUSES = ("verified", "refuted", "conditional", "open")


@final
@dataclass(frozen=True)
class LoadFailure:
    """A module of claims that could not be imported.

    ``skipped`` where an optional dependency is not installed: that is the reason, and no failure.
    """

    paper: str
    module: str
    reason: str
    skipped: bool = False


@final
@dataclass
class Registry:
    """Claims by id, in the order of their registration."""

    claims: dict[str, Claim] = field(default_factory=dict)
    failures: list[LoadFailure] = field(default_factory=list)
    loaded: bool = False

    def claim(
        self,
        id: str,
        title: str | None = None,
        statement: str = "",
        *,
        covers: Covers,
        hypotheses: Sequence[str] | Mapping[str, Predicate | None] = (),
        paper: str | None = None,
        expect: str = "verified",
    ) -> Callable[[type], Claim]:
        """Register the decorated class as a claim; the class becomes a :class:`Claim`.

        Arguments:
            id: Unique, of the form ``TWEEDIE-CIR-1``.
            title: A few words; the class name, spaced out, unless given.
            statement: LaTeX, without dollar signs.
            covers: The public functions, methods and classes that the claim speaks for, or a mapping from names
                to them.
            hypotheses: LaTeX, or a mapping from LaTeX to predicates on drawn parameters.
            paper: Slug of the paper, for a module outside of ``driftproof.validation.claims``.
            expect: The status that is expected: ``"refuted"`` keeps a false statement on record.
        """
        if not re.fullmatch(r"[A-Z0-9_]+(-[A-Z0-9_]+)+", id):
            raise ValueError(f"claim {id!r}: an id looks like TWEEDIE-CIR-1")
        if expect not in STATUSES:
            raise ValueError(f"claim {id}: expect is one of {', '.join(STATUSES)}, got {expect!r}")

        def register(cls: type) -> Claim:
            body = vars(cls)
            things = named(id, covers)
            evidence = [item for item in body.values() if isinstance(item, Evidence)]
            if isinstance(body.get("refuses"), Sequence):
                evidence.append(refusal(id, things, body["refuses"]))
            spoken = covers.values() if isinstance(covers, Mapping) else covers
            made = Claim(
                id=id,
                paper=paper or _paper(id, cls.__module__),
                title=title or _spaced(cls.__name__),
                statement=inspect.cleandoc(statement),
                things=things,
                covers=tuple(_qualified(item) for item in spoken),
                hypotheses=dict(hypotheses) if isinstance(hypotheses, Mapping) else dict.fromkeys(hypotheses),
                evidence=tuple(evidence),
                mutants=changes(id, things, body.get("mutants", {})),
                figures=tuple(item for item in body.values() if isinstance(item, Picture)),
                expect=expect,
                module=cls.__module__,
                qualname=cls.__qualname__,
                notes=inspect.cleandoc(cls.__doc__ or ""),
            )
            _require_settleable(made)
            self._add(made)
            return made

        return register

    def _add(self, made: Claim) -> None:
        known = self.claims.get(made.id)
        if known is not None and (known.module, known.qualname) != (made.module, made.qualname):
            there, here = f"{known.module}.{known.qualname}", f"{made.module}.{made.qualname}"
            raise ValueError(f"claim {made.id}: {here} takes the id of {there}")
        self.claims[made.id] = made

    @property
    def weight(self) -> float:
        """The total weight of all statistical evidence: the whole that every share is a part of."""
        return sum(made.weight for made in self.claims.values())

    def load(self) -> Registry:
        """Import every module of ``driftproof.validation.claims``; what fails is kept, not raised."""
        if not self.loaded:
            self.loaded = True
            from . import claims as package

            self._import_below(package.__name__, package.__path__)
        return self

    def _import_below(self, package: str, path: Iterable[str]) -> None:
        for module in sorted(pkgutil.iter_modules(path), key=lambda m: m.name):
            name = f"{package}.{module.name}"
            try:
                imported = importlib.import_module(name)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001  # whatever it is, an exit included, the other modules still load
                paper = name.split(".claims.", 1)[1].split(".")[0]
                where = traceback.extract_tb(error.__traceback__)[-1]
                why, reason = absent(error), f"{said(error)} (line {where.lineno} of {where.name})"
                self.failures.append(LoadFailure(paper, name, why or reason, skipped=why is not None))
                continue
            if module.ispkg:
                self._import_below(name, imported.__path__)

    def select(self, names: Sequence[str] = ()) -> list[Claim]:
        """The claims of these papers and ids (a trailing ``*`` matches any rest); all of them for no names.

        Raises:
            LookupError: A name that is neither, with the nearest known ones.
        """
        if not names:
            return list(self.claims.values())
        for name in names:
            if not any(_matches(made, name) for made in self.claims.values()) and not self._failed(name):
                raise LookupError(self._unknown(name))
        return [made for made in self.claims.values() if any(_matches(made, name) for name in names)]

    def selected_failures(self, names: Sequence[str] = ()) -> list[LoadFailure]:
        """The modules that did not import, of the papers that ``names`` speaks of."""
        return [f for f in self.failures if not names or any(_speaks_of(name, f.paper) for name in names)]

    def _failed(self, name: str) -> bool:
        return any(_speaks_of(name, failure.paper) for failure in self.failures)

    def _unknown(self, name: str) -> str:
        import difflib

        from .papers import PAPERS

        if name in PAPERS and self.loaded:
            return f"{name} is planned: it has no claims yet"
        papers = sorted({made.paper for made in self.claims.values()})
        near = difflib.get_close_matches(name, [*papers, *self.claims], n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else f"; papers: {', '.join(papers) or 'none'}"
        lost = [f"{f.module} ({f.reason})" for f in self.failures if not f.skipped]
        more = f"; these modules of claims did not import: {'; '.join(lost)}" if lost else ""
        return f"no paper and no claim is called {name!r}{hint}{more}"


def _matches(made: Claim, name: str) -> bool:
    if name.endswith("*"):
        return made.id.startswith(name[:-1])
    return name in (made.paper, made.id)


def _speaks_of(name: str, paper: str) -> bool:
    return name == paper or name.lower().startswith(f"{paper}-")


def _require_settleable(made: Claim) -> None:
    if not made.evidence:
        raise TypeError(f"claim {made.id}: has no evidence")
    taken = {name for item in made.evidence for name in item.tries}
    for item in made.evidence:
        if unknown := sorted(set(item.tries) - made.things.keys()):
            raise TypeError(
                f"claim {made.id}: the engine cannot give {unknown} to {item.name}; it gives what the claim covers "
                f"({', '.join(made.things)}), rng, n, to statistical evidence alpha, the names of cases, and draws "
                "parameters whose default is a Hypothesis strategy"
            )
    if idle := sorted(made.things.keys() - taken):
        raise TypeError(f"claim {made.id}: covers {', '.join(idle)}, which no evidence takes")
    if len(made.mutants) < 2:
        raise TypeError(f"claim {made.id}: needs at least two mutants, has {len(made.mutants)}")
    for name, mutant in made.mutants.items():
        if not mutant or any(other is made.things[place] for place, other in mutant.items()):
            raise TypeError(f"claim {made.id}: the mutant {name!r} is what is under test itself")


def _paper(id: str, module: str) -> str:
    parts = module.split(".claims.")
    if len(parts) == 1:
        raise TypeError(f"claim {id}: stands outside of driftproof.validation.claims, and names no paper")
    return parts[1].split(".")[0]


def _qualified(item: Any) -> str:
    item = item.fget if isinstance(item, property) else item
    return item if isinstance(item, str) else f"{item.__module__}.{item.__qualname__}"


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).capitalize()


REGISTRY = Registry()
claim = REGISTRY.claim


def walk(package: str) -> Iterator[str]:
    """The names of all modules below a package; parents come before what they hold."""
    spec = importlib.util.find_spec(package)
    for module in pkgutil.iter_modules(spec.submodule_search_locations if spec else None):
        name = f"{package}.{module.name}"
        yield name
        if module.ispkg and name in sys.modules:  # a package that did not import holds nothing
            yield from walk(name)
