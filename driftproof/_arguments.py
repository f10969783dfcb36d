"""The checks of :mod:`driftproof._checks` before a function, or before the ``__post_init__`` of a dataclass."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from ._checks import Check, check_of

__all__ = ["Parameters", "checked"]

T = TypeVar("T")


class Parameters:
    """The arguments of a function by name, at a tenth of the cost of :meth:`inspect.Signature.bind`.

    Arguments:
        function: The function; its annotations are read at the first call, when every name in them is known.
        skip: How many leading parameters are no business of the caller.
        domains: Domains of numbers, by parameter.
    """

    def __init__(self, function: Callable[..., Any], skip: int, domains: Mapping[str, str]) -> None:
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())[skip:]
        self.function, self.domains = function, domains
        self.signature = signature.replace(parameters=parameters)
        self.names = tuple(p.name for p in parameters)
        self._all = set(self.names)
        self._defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        self._positional = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
        if not all(p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in parameters):
            raise TypeError(f"{function.__name__}: a checked function names all of its parameters")
        unknown = sorted(domains.keys() - self._all)
        if unknown:
            raise TypeError(f"{function.__name__}: a domain is given for {unknown}, which are no parameters")

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """All arguments by name, in any order, defaults included."""
        given = {**self._defaults, **dict(zip(self.names, args, strict=False)), **kwargs}
        twice = kwargs and not kwargs.keys().isdisjoint(self.names[: len(args)])
        if twice or len(args) > self._positional or given.keys() != self._all:
            try:
                self.signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self.function.__qualname__}: {error}") from None
        return given

    @functools.cached_property
    def hints(self) -> Mapping[str, Any]:
        """The annotations, with their names resolved; a default of None allows None."""
        found = typing.get_type_hints(self.function, include_extras=True)
        return {
            name: found.get(name, Any) | None
            if self._defaults.get(name, name) is None
            else found.get(name, Any)
            for name in self.names
        }

    @functools.cached_property
    def checks(self) -> tuple[tuple[str, Check], ...]:
        """The check of every parameter that has one."""
        pairs = [
            (name, check_of(hint, self.domains.get(name, "finite"))) for name, hint in self.hints.items()
        ]
        return tuple((name, check) for name, check in pairs if check is not None)


@overload
def checked(target: T, /) -> T: ...


@overload
def checked(**domains: str) -> Callable[[T], T]: ...


def checked(target: Any = None, /, **domains: str) -> Any:
    """Check every argument of a function, or every field of a dataclass before its ``__post_init__``.

    For a dataclass it stands below ``@dataclass``.  The keyword arguments give the domains of numbers that
    are not just finite: ``"> 0"``, ``"in [-inf, inf]"``.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... @checked(rate="> 0")
        ... class Clock:
        ...     rate: float
        ...     name: str = "clock"
        >>> Clock(2)
        Clock(rate=2.0, name='clock')
        >>> Clock(1.0, name=3)
        Traceback (most recent call last):
        ...
        TypeError: Clock: expected str for name, got int
    """

    def decorate(target: Any) -> Any:
        return _check_fields(target, domains) if isinstance(target, type) else _check_call(target, domains)

    return decorate if target is None else decorate(target)


def _check_call(function: Callable[..., Any], domains: Mapping[str, str]) -> Callable[..., Any]:
    parameters, subject = Parameters(function, 0, domains), function.__qualname__

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = parameters.bind(args, kwargs)
        for name, check in parameters.checks:
            given[name] = check(subject, name, given[name])
        return function(**given)

    return call


def _check_fields(made: type, domains: Mapping[str, str]) -> type:
    after = getattr(made, "__post_init__", None)
    unknown = sorted(domains.keys() - inspect.get_annotations(made).keys())
    if unknown:
        raise TypeError(f"{made.__name__}: a domain is given for {unknown}, which are no fields")

    known: list[tuple[str, Check]] = []

    def checks(final: Any) -> list[tuple[str, Check]]:  # of the class that dataclass made of it
        hints = typing.get_type_hints(final, include_extras=True)
        pairs = [
            (
                f.name,
                check_of(
                    hints[f.name] | None if f.default is None else hints[f.name],
                    domains.get(f.name, "finite"),
                ),
            )
            for f in dataclasses.fields(final)
            if f.init
        ]
        return [(name, check) for name, check in pairs if check is not None]

    def __post_init__(self: Any) -> None:
        if not known:
            known.extend(checks(type(self)))
        for name, check in known:
            value = getattr(self, name)
            kept = check(type(self).__name__, name, value)
            if kept is not value:
                object.__setattr__(self, name, kept)
        if after is not None:
            after(self)

    made.__post_init__ = __post_init__  # type: ignore[attr-defined]  # what dataclass will call
    return made
