"""Cases: the values on which evidence is called, one after the other, as data.

.. code-block:: python

    @exact(1e-12, over=grid(theta=(0.0, 0.3, -1.2), tau=(0.5, 1.7)))            # six cases
    def quadrature(soft_threshold_risk, theta, tau): ...

    @exact(1e-12, over=grid(rows("f, printed", textbook.divergences), beta=(0.0, 0.5)))
    def printed_divergence(divergence, f, printed, beta): ...
"""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, final

__all__ = ["Cases", "grid", "rows"]


@final
@dataclass(frozen=True)
class Cases:
    """Named values, row by row.

    Attributes:
        names: The columns: the parameters that a row gives, and ``label`` for what is said of it.
        source: Makes the rows, whenever they are asked for.
    """

    names: tuple[str, ...]
    source: Callable[[], Iterable[tuple[Any, ...]]]

    @property
    def given(self) -> set[str]:
        """The parameters that a row gives."""
        return {name for name in self.names if name != "label"}

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each row: what is said of it, and its values by name."""
        for number, row in enumerate(self.source(), 1):
            case = dict(zip(self.names, row, strict=True))
            if (label := case.pop("label", None)) is not None:
                yield str(label), case
                continue
            parts = [
                f"{name} = {text}" for name, value in case.items() if (text := _brief(value)) is not None
            ]
            yield ", ".join(parts + [f"case {number}"] * (len(parts) < len(case))), case


def rows(names: str, source: Iterable[Any] | Callable[[], Iterable[Any]]) -> Cases:
    """Rows under these names (``"f, printed"``); of one name, the rows are its values.

    Arguments:
        source: The rows, or a function that makes them: it is called when the evidence is tried, not before.

    Example:
        >>> [label for label, case in rows("s, d", [(1, 2), (3, 7)])]
        ['s = 1, d = 2', 's = 3, d = 7']
    """
    split = tuple(name.strip() for name in names.split(","))
    make = source if callable(source) else tuple(source).__iter__
    return Cases(split, (lambda: ((value,) for value in make())) if len(split) == 1 else make)


def grid(*tables: Cases, **axes: Iterable[Any]) -> Cases:
    """Every combination of the rows of the tables and of the values of the axes; the last varies first.

    Example:
        >>> [label for label, case in grid(rows("s, d", [(1, 2)]), tau=(0.5, 1.0))]
        ['s = 1, d = 2, tau = 0.5', 's = 1, d = 2, tau = 1.0']
    """
    parts = [*tables, *(rows(name, values) for name, values in axes.items())]
    names = tuple(name for part in parts for name in part.names)
    if len(set(names)) < len(names):
        raise TypeError(f"grid: a name stands twice in {', '.join(names)}")
    return Cases(
        names, lambda: (sum(row, ()) for row in itertools.product(*(part.source() for part in parts)))
    )


def _brief(value: Any) -> str | None:
    """A few words for a value that has them."""
    if value is None or isinstance(value, str | numbers.Number):
        return str(value)
    if isinstance(value, tuple) and value and all(isinstance(part, str | numbers.Number) for part in value):
        return str(value)
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else None
