"""What is public in ``theory`` and ``numerics``: every function, law and process, and what it takes.

A room is a module or package directly below ``theory`` or ``numerics``; what its ``__all__`` lists is public.  The
tables of tests, claims and pages are made from this list: what is not listed in theirs fails.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike

from driftproof._capabilities import Capabilities
from driftproof._checks import unaliased
from driftproof._namespace import Array, Public, public_functions
from driftproof.theory.laws import AbstractLaw
from driftproof.theory.processes import AbstractProcess

__all__ = ["Entry", "inventory", "kernels", "modules", "of_kind"]

Kind = Literal["function", "law", "process", "class"]

NONE = Capabilities(())

_ROOT = __name__.partition(".")[0]
_SIDES = ("theory", "numerics")


@final
@dataclass(frozen=True)
class Entry:
    """One public name.

    Arguments:
        name: Where users find it, for instance ``"theory.special.log_iv"``.
        home: Where it is written: ``"theory.special.bessel.log_iv"``.
        kind: A function, a law or a process that can be made, or another class.
        takes: ``"array"`` if an argument or the result is an array, or a law or model made of arrays;
            ``"scalar"`` if all of them are numbers and words.
        arguments: Their names, in order.
        namespaces: Whose arrays a function takes, by its decorator; empty for numbers alone and for classes.
        summary: The first sentence of the documentation.
        value: The function or class itself.
    """

    name: str
    home: str
    kind: Kind
    takes: Literal["array", "scalar"]
    arguments: tuple[str, ...]
    namespaces: tuple[str, ...]
    summary: str
    value: Any = dataclasses.field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """What ``driftproof inventory --json`` prints."""
        return {
            "name": self.name,
            "home": self.home,
            "kind": self.kind,
            "takes": self.takes,
            "arguments": list(self.arguments),
            "namespaces": list(self.namespaces),
            "summary": self.summary,
        }


@functools.cache
def inventory() -> tuple[Entry, ...]:
    """Every public function and class of theory and numerics, by name.

    Example:
        >>> [entry.takes for entry in inventory() if entry.name == "theory.special.log_iv"]
        ['array']
        >>> [entry.takes for entry in inventory() if entry.name == "theory.transfer.transfer_exponent"]
        ['scalar']
    """
    found = {}
    for room in modules(depth=1):
        for name in getattr(room, "__all__", ()):
            value = getattr(room, name)
            if inspect.isfunction(value) or inspect.isclass(value):
                entry = _entry(f"{_short(room.__name__)}.{name}", value)
                found[entry.name] = entry
    return tuple(found[name] for name in sorted(found))


def of_kind(kind: Kind) -> Iterator[Entry]:
    """The entries of one kind; laws and processes are those that can be made: abstract ones are classes.

    Example:
        >>> [entry.name for entry in of_kind("process")][:3]
        ['theory.processes.BESQ', 'theory.processes.CIR', 'theory.processes.Flow']
    """
    return (entry for entry in inventory() if entry.kind == kind)


def kernels() -> Mapping[str, Public[..., Any]]:
    """The functions that are written over an array namespace, by the name of their home.

    Taken by attribute: a function may be checked further on its way out of the module.
    """
    modules()
    ours = tuple(f"{_ROOT}.{side}." for side in _SIDES)
    homes = [name.rpartition(".") for name in public_functions() if name.startswith(ours)]
    return {
        f"{_short(module)}.{name}": getattr(importlib.import_module(module), name)
        for module, _, name in homes
    }


def modules(depth: int | None = None) -> list[types.ModuleType]:
    """The modules of theory and numerics, imported; with depth 1 the rooms alone."""
    found = []
    for side in _SIDES:
        package = importlib.import_module(f"{_ROOT}.{side}")
        walk = pkgutil.iter_modules if depth == 1 else pkgutil.walk_packages
        for module in walk(package.__path__, f"{package.__name__}."):
            if not (depth == 1 and module.name.rpartition(".")[2].startswith("_")):
                found.append(importlib.import_module(module.name))
    return found


def _entry(name: str, value: Any) -> Entry:
    documented = inspect.getdoc(value) or ""
    return Entry(
        name=name,
        home=f"{_short(value.__module__)}.{value.__qualname__}",
        kind=_kind(value),
        takes="array" if hasattr(value, "kernel") or _holds_arrays(value) else "scalar",
        arguments=tuple(n for n in inspect.signature(value).parameters if n not in ("args", "kwargs")),
        namespaces=getattr(value, "capabilities", NONE).namespaces,
        summary=" ".join(documented.partition("\n\n")[0].split()),
        value=value,
    )


def _kind(value: Any) -> Kind:
    if not inspect.isclass(value):
        return "function"
    if not inspect.isabstract(value):
        if issubclass(value, AbstractLaw):
            return "law"
        if issubclass(value, AbstractProcess):
            return "process"
    return "class"


@functools.cache
def _holds_arrays(value: Any) -> bool:
    """Whether an argument or the result of a function, or a field of a class, is made of arrays."""
    if inspect.isclass(value) and issubclass(value, AbstractLaw | AbstractProcess):
        return True
    hints = typing.get_type_hints(value, include_extras=True)
    if inspect.isclass(value) and dataclasses.is_dataclass(value):
        hints = {field.name: hints[field.name] for field in dataclasses.fields(value)}
    return any(_mentions_arrays(hint) for hint in hints.values())


def _mentions_arrays(hint: Any) -> bool:
    if hint in (Array, ArrayLike):
        return True
    hint = unaliased(hint)
    if typing.get_origin(hint) is np.ndarray:
        return True
    if inspect.isclass(hint):
        ours = hint.__module__.startswith(f"{_ROOT}.")
        return (
            ours and (dataclasses.is_dataclass(hint) or issubclass(hint, AbstractLaw)) and _holds_arrays(hint)
        )
    parts: tuple[Callable[..., Any] | Any, ...] = typing.get_args(hint)
    return any(
        any(map(_mentions_arrays, part)) if isinstance(part, list) else _mentions_arrays(part)
        for part in parts
    )


def _short(name: str) -> str:
    return name.removeprefix(f"{_ROOT}.")
