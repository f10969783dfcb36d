"""Every scheduler of the installed diffusers, with every option that its code distinguishes.

Nothing is known of any class.  Classes are what the library exports; options are the parameters of the
constructor and of ``step``; their values are the strings with which the source compares them, both truth
values, the orders 1 to 3, and 1 for a real number that is 0 unless given.  One option is changed at a time,
from settings at which the step is affine; where that fails, one more is changed to see what it needs.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, final

import numpy as np

from .adapters import NEXT, set_count
from .interface import missing, parameters
from .rows import Row
from .samplers import STEPS
from .schedulers import examine, row
from .severity import Severity, rank

__all__ = ["Choice", "choices", "classes", "exported", "quiet", "rows", "sorted_rows"]

Tell: TypeAlias = Callable[[Row], None]

# Orders that are tried where one is an option.
_ORDERS = (1, 2, 3)
_FIXED = ("model_output", "timestep", "sample", "generator", "return_dict")
# A second option is looked for at these step counts only.
_TRIAL = (5, 20)
_BAD = (Severity.DIVERGES, Severity.UNSUPPORTED)
_MENDED = (Severity.CONVERGES, Severity.LONG, Severity.LIMIT, Severity.FLOOR)
# A disagreement of state and model of this size is worth looking for a second option, too.
_FAR = 0.1


@final
@dataclass(frozen=True)
class Choice:
    """A setting: keyword arguments of the constructor, and of ``step``."""

    init: Mapping[str, Any] = field(default_factory=dict)
    step: Mapping[str, Any] = field(default_factory=dict)

    def __or__(self, other: Choice) -> Choice:
        return Choice({**self.init, **other.init}, {**self.step, **other.step})

    @property
    def options(self) -> dict[str, Any]:
        """Both in one dictionary, for a row."""
        return {**self.init, **{f"step({name})": value for name, value in self.step.items()}}

    def __str__(self) -> str:
        said = [f"{name}={value!r}" for name, value in self.init.items()]
        return ", ".join(said + [f"step({name}={value!r})" for name, value in self.step.items()])


def exported(name: str, fast: bool = False, tell: Tell | None = None) -> tuple[Row, ...]:
    """All settings of a class that diffusers exports, worst first: the task of a process.

    Arguments:
        name: The name of the class.
        fast: Leave out what confirms a verdict.
        tell: Called with each row as it comes.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tensors of some hundred numbers
    try:
        with quiet("diffusers"):
            found = getattr(importlib.import_module("diffusers"), name)
            return rows(found, f"diffusers.{name}", fast=fast, tell=tell)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """No warnings, and no notes of a library below errors: for a task that has its process to itself.

    Both are global to a process, so that nothing does this that may run beside other threads.
    """
    logger = logging.getLogger(library)
    level = logger.level
    logger.setLevel(logging.ERROR)  # hundreds of notes about options
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def classes() -> Iterator[type[Any]]:
    """The classes that diffusers exports from its schedulers and that have ``set_timesteps``."""
    home = importlib.import_module("diffusers.schedulers")
    public = importlib.import_module("diffusers")
    for name in sorted(dir(home)):
        found = getattr(home, name, None)
        if inspect.isclass(found) and hasattr(found, "set_timesteps") and hasattr(public, name):
            yield found


def rows(
    cls: type[Any],
    name: str,
    steps: Sequence[int] = STEPS,
    *,
    fast: bool = False,
    tell: Tell | None = None,
) -> tuple[Row, ...]:
    """All settings of one class, worst first; :func:`quiet` silences what its library says of options.

    A class that steps from tokens to tokens is audited by :mod:`~driftproof.validation.audits.discrete`.
    """
    from . import discrete

    if discrete.is_discrete(cls):
        return discrete.discrete_rows(cls, name, tell=tell)
    found = []
    for each in _Settings(cls, name, steps, fast).rows():
        found.append(each)
        if tell is not None:
            tell(each)
    return sorted_rows(found)


def sorted_rows(found: Iterable[Row]) -> tuple[Row, ...]:
    """Worst first."""
    return tuple(sorted(found, key=lambda each: (rank(each.severity), -_size(each))))


@final
class _Settings:
    """The settings of one class."""

    def __init__(self, cls: type[Any], name: str, steps: Sequence[int], fast: bool = False) -> None:
        self._cls, self._name, self._steps, self._fast = cls, name, steps, fast
        self._base = Choice()
        self._known: dict[tuple[str, bool, bool], Row] = {}

    def rows(self) -> Iterator[Row]:
        lacks = missing(self._cls)
        if lacks:
            yield self._unsupported(Choice(), "; ".join(lacks))
            return
        first = self._row(Choice())
        if first.severity == Severity.UNSUPPORTED:
            yield first
            return
        singles = tuple(choices(self._cls))
        yield self._mended(first, Choice(), singles)[-1]
        if not first.affine:
            for single in singles:  # a switch that makes it affine
                found = self._row(single)
                if found.affine and not _bad(found):
                    self._base = single
                    yield self._mended(found, single, singles)[-1]
                    break
        for choice in (self._base | single for single in singles if single != self._base):
            found = self._row(choice)
            yield from self._mended(found, choice, singles)

    def _mended(self, found: Row, choice: Choice, singles: Sequence[Choice]) -> tuple[Row, ...]:
        """A row; where it is bad, what mends it is said, and has a row before it."""
        # A combination of options is refused by a ValueError; other errors are not for want of one.
        asked = found.affine is not None or "ValueError" in found.reason
        far = found.severity == Severity.MISMATCH and _size(found) > _FAR
        if not asked or not (far or _bad(found)):
            return (found,)
        second = self._second(choice, singles, 0.3 * _size(found), settle=found.affine is False)
        if second is None:
            return (found,)
        said, better = second
        return better, replace(found, verdict=f"{found.verdict}; {said}")

    def _remedy(self, choice: Choice, option: Choice, better: Row) -> tuple[int, str]:
        """The effect of one more option on a setting, and its rank among remedies, best first.

        It mends, also where it moves the noise levels; it leaves nothing of the setting; or some error stays.
        """
        moves = "" if self._same_grid(choice, choice | option) else ", which sets other noise levels"
        if better.severity not in _MENDED:
            return 3, f"{_size(better):.2g} with {option}{moves}"
        if choice not in (Choice(), self._base):
            alone = self._row(self._base | option)
            if (alone.mean_error, alone.std_error) == (better.mean_error, better.std_error):
                return 2, f"{option} overrides it"
        return int(bool(moves)), f"not so with {option}{moves}"

    def _same_grid(self, first: Choice, second: Choice) -> bool:
        """Whether two settings have the same times and noise levels, or one is refused and has none."""
        grids = []
        for choice in (first, second):
            try:
                scheduler = self._cls(**choice.init)
                set_count(scheduler, _TRIAL[-1])
            except Exception:  # noqa: BLE001  # whatever another library raises
                return True
            found = (getattr(scheduler, name, ()) for name in ("timesteps", "sigmas"))
            grids.append([np.asarray(each, dtype=np.float64) for each in found])
        return all(np.array_equal(one, other, equal_nan=True) for one, other in zip(*grids, strict=True))

    def _second(
        self, choice: Choice, singles: Sequence[Choice], below: float, settle: bool
    ) -> tuple[str, Row] | None:
        """The effect of the best further option with which the error is below the given one, and its row.

        Where the setting is not affine, Monte Carlo settles the option too.
        """
        kept: dict[int, tuple[str, Row]] = {}
        # Those that keep the noise levels come first: what they mend needs no look at the others.
        for single in sorted(singles, key=lambda each: not self._same_grid(choice, choice | each)):
            if set(single.init) <= set(choice.init) and set(single.step) <= set(choice.step):
                continue
            for trial in (True, False):  # few steps rule most out; what is said rests on all of them
                found = self._row(choice | single, trial, settle=settle)
                affine = found.affine or (settle and found.affine is not None)
                if not affine or _bad(found) or _size(found) >= below:
                    break
            else:
                rank, said = self._remedy(choice, single, found)
                kept.setdefault(rank, (said, found))
                if rank <= 1:
                    break
        return kept[min(kept)] if kept else None

    def _row(self, choice: Choice, trial: bool = False, *, settle: bool = False) -> Row:
        """The row of a setting; a trial takes few steps and the stated model only."""
        asked = str(choice), trial, settle or not trial
        if asked not in self._known:
            self._known[asked] = self._examined(choice, trial, settle=settle)
        return self._known[asked]

    def _examined(self, choice: Choice, trial: bool, *, settle: bool) -> Row:
        try:
            found = examine(
                self._cls(**choice.init),
                step_options=choice.step,
                steps=_TRIAL if trial else self._steps,
                search=not trial,
                confirm=not trial and not self._fast,
                settled=settle or not trial,
                whole=False,
                trial=trial,
            )
        except Exception as error:  # noqa: BLE001  # whatever another library raises is why
            text = " ".join(str(error).split())
            return self._unsupported(choice, f"{type(error).__name__}: {text[:200]}")
        return row(found, self._name, choice.options, _lines(self._name, choice))

    def _unsupported(self, choice: Choice, reason: str) -> Row:
        return Row(
            object=self._name,
            options=choice.options,
            verdict=f"not supported, because {reason}",
            reason=reason,
            reproduction=_failing(self._name, choice),
            severity=Severity.UNSUPPORTED,
        )


def choices(cls: type[Any]) -> Iterator[Choice]:
    """The settings of a class that differ from its defaults in one option."""
    compared = _compared(cls)
    for name, each in parameters(cls.__init__).items():
        for value in _values(name, each.default, compared):
            yield Choice(init={name: value})
    for name, each in parameters(cls.step).items():
        if name in _FIXED:
            continue
        for value in _values(name, each.default, compared):
            yield Choice(step={name: value})
        if each.default is None and name.endswith("_timestep"):
            yield Choice(step={name: NEXT})


def _values(name: str, default: Any, compared: Mapping[str, Sequence[str]]) -> Iterator[Any]:
    if isinstance(default, bool):
        yield not default
    elif isinstance(default, int) and "order" in name:
        yield from (order for order in _ORDERS if order != default)
    elif isinstance(default, int) and default == 0:
        yield 1
    elif isinstance(default, float) and 0.0 <= default < 0.5:
        # A probability, a noise level or an eta; tables such as beta_start stay as they are.
        if name in compared or default == 0.0 or name == "eta":
            yield 1.0
    elif default is None or isinstance(default, str):
        yield from (value for value in compared.get(name, ()) if value != default)


def _compared(cls: type[Any]) -> dict[str, list[str]]:
    """For each name, the strings with which the source of the class compares it."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(cls)))):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        names = {each.attr if isinstance(each, ast.Attribute) else each.id
                 for each in sides if isinstance(each, ast.Attribute | ast.Name)}  # fmt: skip
        literals = [
            leaf.value
            for side in sides
            for leaf in (side.elts if isinstance(side, ast.List | ast.Tuple | ast.Set) else [side])
            if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
        ]
        for name in names:
            found.setdefault(name, []).extend(x for x in literals if x not in found.get(name, []))
    return found


def _bad(each: Row) -> bool:
    """Whether it is bad at the step counts that were asked for."""
    return each.severity in _BAD or not each.mean_error


def _size(each: Row) -> float:
    """The error at the last step count; infinite where there is none."""
    if not each.mean_error or not each.std_error:
        return math.inf
    return math.hypot(each.mean_error[-1], each.std_error[-1])


def _call(name: str, choice: Choice) -> tuple[str, str]:
    module, _, attribute = name.rpartition(".")
    arguments = ", ".join(f"{key}={value!r}" for key, value in choice.init.items())
    options = f", step_options={dict(choice.step)!r}" if choice.step else ""
    imports = f"from {module} import {attribute}"
    made = f"({arguments})" if arguments else ""
    return imports, f"audit({attribute}{made}{options})"


def _lines(name: str, choice: Choice) -> str:
    imports, call = _call(name, choice)
    shown = "print(row.verdict, row.steps, row.mean_error, row.std_error)"
    return f"{imports}\nfrom driftproof.validation import audit\nrow = {call}\n{shown}"


def _failing(name: str, choice: Choice) -> str:
    imports, call = _call(name, choice)
    start = f"{imports}; from driftproof.validation import audit"
    return (
        f"{start}\ntry:\n    print({call}.verdict)\nexcept Exception as error:\n    print(type(error), error)"
    )
