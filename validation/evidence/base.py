r"""Evidence is a function of the functions under test; a mutant puts other ones in their place.

An :class:`Evidence` joins such a function to a kind, which judges what the function returns.  The
function's parameters say what it needs:

* those named like functions that the claim covers are these functions, or mutants in their place;
* those of the cases (``over=`` on the decorator, see :mod:`driftproof.validation.evidence.cases`): it is
  called once for each of them;
* ``rng`` is a numpy ``Generator``, the same for the functions and each mutant, one for all cases;
* ``n`` is a Monte Carlo size, scaled by the effort of the run (declared by ``n=`` on the decorator);
* ``alpha`` is the share of the error budget (statistical evidence only), divided over the cases;
* a parameter whose default is a Hypothesis strategy is drawn by Hypothesis: a fixed sweep of its domain,
  corners first, tries the functions and every mutant; then the seed draws more examples for the functions.

What depends on the seed declares what chance may do to it, and ``driftproof soak`` holds it to that:

* ``false_alarm``, the probability to break on functions that are right.  Drawn evidence says 0 where its tolerance
  holds on the whole domain; the false alarms of statistical evidence are its share of the budget.
* ``miss``, the probability that a mutant which it is there to catch goes by.  Drawn evidence has none, since
  its mutants meet the sweep alone.
"""

from __future__ import annotations

import enum
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar, cast, final

from .cases import Cases

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = [
    "AbstractKind",
    "Common",
    "Decorator",
    "Effort",
    "Evidence",
    "Labelled",
    "Setting",
    "Thing",
    "Verdict",
    "drawn",
    "labelled",
    "summed",
    "worst",
]

# What is under test: usually a public function.  Any, since a mutant is made of anything.
Thing: TypeAlias = Any
T = TypeVar("T")


class Effort(enum.StrEnum):
    """How much a run may spend."""

    QUICK = "quick"
    NORMAL = "normal"
    FULL = "full"

    @classmethod
    def _missing_(cls, value: object) -> Effort:
        raise ValueError(f"effort: expected {', '.join(cls)}, got {value!r}")

    def covers(self, needed: Effort) -> bool:
        """Whether evidence that needs ``needed`` takes part in this run."""
        order = list(Effort)
        return order.index(self) >= order.index(needed)

    def samples(self, n: int) -> int:
        """A Monte Carlo size: a tenth when quick, tenfold when full."""
        return max(1, int(n * {"quick": 0.1, "normal": 1.0, "full": 10.0}[self]))

    def examples(self, n: int) -> int:
        """A number of Hypothesis examples."""
        return max(1, int(n * {"quick": 0.5, "normal": 1.0, "full": 5.0}[self]))


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What a kind says of one value that evidence returned.

    Attributes:
        ok: It holds; None where that could not be decided.
        stress: How near to its limit it is; the limit is 1.  Orders verdicts.
        error, tolerance: What was measured and what is allowed, in the units of the kind; of statistical
            evidence, the effect seen and the smallest one that it could not have missed.
        detail: Where, why, or which part.
        n: How many numbers were compared or drawn.
        detectable, p_value: For statistical evidence only.
    """

    ok: bool | None
    stress: float
    error: float | None = None
    tolerance: float | None = None
    detail: str = ""
    n: int | None = None
    detectable: float | None = None
    p_value: float | None = None


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The most stressed verdict: one that fails before one that is undecided before one that holds."""
    rank = {False: 2, None: 1, True: 0}
    return max(verdicts, key=lambda v: (rank[v.ok], v.stress))


def summed(verdicts: Sequence[Verdict]) -> Verdict:
    """The most stressed verdict, with the numbers of all."""
    return replace(worst(verdicts), n=sum(v.n or 0 for v in verdicts) or None)


@final
@dataclass(frozen=True)
class Setting:
    """What the run gives to the judge of a kind.

    Arguments:
        alpha: Its error budget.
        hunting: On a mutant, which is caught by the first comparison that fails: the rest is not asked.
    """

    alpha: float
    hunting: bool = False

    def needed(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """All verdicts or, on a mutant, those up to the first that fails."""
        held = []
        for verdict in verdicts:
            held.append(verdict)
            if self.hunting and verdict.ok is False:
                break
        return held


class AbstractKind(ABC):
    """A kind of evidence: how what it returns is judged.

    Attributes:
        name: The name of its decorator.
        rung: Its rung of the ladder: the cheaper and more decisive, the lower.
    """

    name: str
    rung: int

    @abstractmethod
    def judge(self, returned: Any, setting: Setting) -> Verdict:
        """The verdict on one returned value."""

    def conclude(self, verdicts: Sequence[Verdict]) -> Verdict:
        """The verdict on all examples together."""
        return summed(verdicts)


class Common(TypedDict, total=False):
    """Options of every kind.

    effort: The least effort of a run in which the evidence takes part (``"quick"``).
    requires: An optional dependency, for instance ``"torch"``; without it the claim is conditional.
    breaks_on: Exceptions that break the evidence.  All others are crashes: an error of the claim on
        the thing, and no kill on a mutant.
    n: Monte Carlo size at normal effort, for the parameter ``n``.
    examples: Hypothesis examples at normal effort, where parameters are drawn (50).
    false_alarm: Where it is drawn or takes ``rng``, the probability to break on what is right.
    miss: Where it takes ``rng``, the probability not to break on a mutant that it alone catches.
    over: The cases that it is called on.
    """

    effort: str
    requires: str | None
    breaks_on: tuple[type[Exception], ...]
    n: int
    examples: int
    false_alarm: float
    miss: float
    over: Cases


@final
@dataclass(frozen=True)
class Evidence:
    """A function of what is under test, and the kind that judges what it returns.

    Attributes:
        drawn: The parameters that Hypothesis draws, with their strategies.
        wants: Those that the engine gives: ``rng``, ``n``, ``alpha``.
        tries: Those that are left: the names of the functions under test.
    """

    name: str
    function: Callable[..., Any]
    kind: AbstractKind
    effort: Effort = Effort.QUICK
    requires: str | None = None
    breaks_on: tuple[type[Exception], ...] = ()
    n: int | None = None
    examples: int = 50
    false_alarm: float | None = None
    miss: float | None = None
    over: Cases | None = None
    drawn: Mapping[str, Any] = field(default_factory=dict)
    wants: frozenset[str] = frozenset()
    tries: tuple[str, ...] = ()

    @property
    def weight(self) -> float:
        """Its weight in the error budget of a run: 0 unless it is statistical."""
        return getattr(self.kind, "weight", 0.0)

    @property
    def seeded(self) -> bool:
        """Whether its verdict on the thing may depend on the seed of the run."""
        return bool(self.drawn) or self.seeded_on_mutants

    @property
    def seeded_on_mutants(self) -> bool:
        """Whether its verdict on a mutant may: what is drawn sweeps mutants at fixed points."""
        return "rng" in self.wants

    @property
    def undeclared(self) -> tuple[str, ...]:
        """Which of its chances it should declare and does not."""
        lacks_alarm = self.seeded and not self.weight and self.false_alarm is None
        lacks_miss = self.seeded_on_mutants and self.miss is None
        return ("false_alarm",) * lacks_alarm + ("miss",) * lacks_miss

    def __post_init__(self) -> None:
        parameters = inspect.signature(self.function).parameters.values()
        drawn = {p.name: p.default for p in parameters if _is_strategy(p.default)}
        cases = self.over.given if self.over else set()
        given = {"rng", "n"} | ({"alpha"} if self.weight else set())
        rest = [p.name for p in parameters if p.default is inspect.Parameter.empty and p.name not in cases]
        wants, tries = {*rest} & given, tuple(name for name in rest if name not in given)
        if not tries:
            raise TypeError(f"{self.name}: evidence takes a function under test, by its name")
        if lost := sorted(cases - {p.name for p in parameters}):
            raise TypeError(f"{self.name}: its cases give {lost}, which it does not take")
        if "n" in wants and self.n is None:
            raise TypeError(f"{self.name}: takes n, so its decorator must declare n=...")
        if drawn and self.weight:
            raise TypeError(f"{self.name}: statistical evidence draws nothing from Hypothesis (many looks)")
        if self.kind.name == "property" and not drawn:
            raise TypeError(
                f"{self.name}: a property draws at least one parameter from a Hypothesis strategy"
            )
        object.__setattr__(self, "drawn", drawn)
        object.__setattr__(self, "wants", frozenset(wants))
        object.__setattr__(self, "tries", tries)
        self._require_honest_chances()

    def judged(self, things: Mapping[str, Thing], given: Mapping[str, Any], setting: Setting) -> Verdict:
        """The verdict on what it returns, over all cases.

        Arguments:
            things: What is under test, by name; more than it tries may be there.
            given: The parameters that are drawn and those that the engine gives.
        """
        tried = {name: things[name] for name in self.tries}
        cases = list(self.over or (("", {}),))
        if not cases:
            raise TypeError(f"{self.name}: there are no cases")
        share = replace(setting, alpha=setting.alpha / len(cases))
        if "alpha" in given:
            given = {**given, "alpha": share.alpha}

        def judged() -> Iterator[Verdict]:
            for label, case in cases:
                verdict = self.kind.judge(self.function(**tried, **given, **case), share)
                detail = f"{label}: {verdict.detail}" if label and verdict.detail else label or verdict.detail
                yield replace(verdict, detail=detail)

        return summed(setting.needed(judged()))

    def _require_honest_chances(self) -> None:
        for name in ("false_alarm", "miss"):
            chance = getattr(self, name)
            if chance is not None and not 0.0 <= chance < 1.0:
                raise ValueError(f"{self.name}: {name} is a probability below 1, got {chance!r}")
        if self.false_alarm is not None and (self.weight or not self.seeded):
            why = "its share of the budget" if self.weight else "0, since it depends on no seed"
            raise TypeError(f"{self.name}: declares false_alarm, which is {why}")
        if self.miss is not None and not self.seeded_on_mutants:
            raise TypeError(f"{self.name}: declares miss, and no seed moves its verdict on a mutant")


Decorator: TypeAlias = Callable[[Callable[..., Any]], Evidence]


def decorator(kind: AbstractKind, common: Common) -> Decorator:
    """The decorator that makes evidence of ``kind``."""
    options: dict[str, Any] = {**common}
    if "effort" in options:
        options["effort"] = Effort(options["effort"])

    def decorate(function: Callable[..., Any]) -> Evidence:
        return Evidence(name=function.__name__, function=function, kind=kind, **options)

    return decorate


def drawn(strategy: SearchStrategy[T]) -> T:
    """``strategy``, typed as what it draws: for defaults of annotated parameters."""
    return cast("T", strategy)


def _is_strategy(default: object) -> bool:
    from hypothesis.strategies import SearchStrategy

    return isinstance(default, SearchStrategy)


Labelled: TypeAlias = tuple[str, Any, Any]


def labelled(returned: Any) -> Iterator[Labelled]:
    """The labelled triples of what evidence returned: a pair, a triple, or an iterable of triples.

    Raises:
        TypeError: Anything else, nothing at all included: evidence that compares nothing is a crash.
    """
    if isinstance(returned, tuple) and len(returned) == 2 and not _is_triple(returned[0]):
        yield "", returned[0], returned[1]
        return
    items = [returned] if _is_triple(returned) else returned
    if items is None or isinstance(items, str) or not isinstance(items, Iterable):
        raise TypeError(f"evidence: expected (got, want) or labelled triples, got {type(returned).__name__}")
    empty = True
    for item in items:
        if not _is_triple(item):
            raise TypeError("evidence: expected triples (label, got, want)")
        empty = False
        yield cast("Labelled", item)
    if empty:
        raise TypeError("evidence: no comparison was returned")


def _is_triple(item: object) -> bool:
    return isinstance(item, tuple) and len(item) == 3 and isinstance(item[0], str)
