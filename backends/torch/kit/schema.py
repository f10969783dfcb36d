"""Configurations: frozen dataclasses that pydantic checks, whether they are called or read from a file.

.. code-block:: python

    @final
    @validated(frozen=True, slots=True)
    class Network:
        width: PositiveInt
        dropout: Decay = 0.0

Numbers are finite, types are strict (an integer is a number, nothing else is another thing), and no key is unknown.
What several fields must satisfy together is said in ``__post_init__``, by an :class:`UnmetHypothesis`; a check of a
single field raises a ValueError that says what was expected.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import pydantic
from pydantic import AfterValidator, ConfigDict, Field, NonNegativeInt, ValidationError

from .config_errors import error_of_call

if TYPE_CHECKING:
    from dataclasses import dataclass as validated  # what replace() and fields() take

__all__ = [
    "DISTINCT",
    "NOT_EMPTY",
    "Decay",
    "ProperShare",
    "Seeds",
    "Share",
    "TwoOrMore",
    "validated",
]

T = TypeVar("T")

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

if not TYPE_CHECKING:

    def validated(**options: Any) -> Callable[[type[T]], type[T]]:
        """A dataclass that checks what it is made of; the options are those of :func:`dataclasses.dataclass`.

        Raises:
            UnmetHypothesis: From a call: a value outside of its range.
            TypeError: From a call: a value of another type, an argument that is missing or unknown.

        Example:
            >>> @validated(frozen=True)
            ... class Network:
            ...     width: pydantic.PositiveInt
            >>> Network(8)
            Network(width=8)
            >>> Network(0)
            Traceback (most recent call last):
            ...
            driftproof.UnmetHypothesis: Network: unmet hypothesis: width > 0 (width = 0)
        """

        def decorate(cls: type[T]) -> type[T]:
            made = pydantic.dataclasses.dataclass(cls, config=STRICT, **options)
            init = made.__init__

            @functools.wraps(init)
            def __init__(self: T, *arguments: Any, **named: Any) -> None:
                try:
                    init(self, *arguments, **named)
                except ValidationError as error:
                    raise error_of_call(made, error) from None

            made.__init__ = __init__
            return made

        return decorate


def distinct(values: Sequence[Any]) -> Sequence[Any]:
    """The values, unless two are the same."""
    if len(set(values)) < len(values):
        raise ValueError("distinct values")
    return values


DISTINCT = AfterValidator(distinct)
NOT_EMPTY = Field(min_length=1)
TwoOrMore: TypeAlias = Annotated[int, Field(ge=2)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
ProperShare: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Decay: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Seeds: TypeAlias = Annotated[tuple[NonNegativeInt, ...], NOT_EMPTY, DISTINCT]
