"""The arrays that a public function takes, and what torch can do with it: one row a function, at its definition.

The row is a keyword of :func:`driftproof._namespace.public`, or the decorator :func:`arrays` on a function that is
no kernel.  From it come the last paragraph of the docstring, the table of the parity tests, each cell of which is a
test, and the counts of ``driftproof inventory`` and of the pages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, final

__all__ = ["ANY", "Capabilities", "arrays"]

F = TypeVar("F", bound=Callable[..., Any])

ANY = ("numpy", "torch", "array-api-strict")


@final
@dataclass(frozen=True, slots=True)
class Capabilities:
    """The row of one function.

    Arguments:
        namespaces: The namespaces whose arrays it takes.
        results: The namespace of its results: the caller's or, where an algorithm lies outside of the array API, numpy.
        kernel: Whether it is a kernel over a namespace: then it takes every precision, and torch maps and compiles it.
        random: Whether it draws: then nothing is differentiated, mapped or compiled.
        differentiates: The arguments in which autograd is right; None: every array.
        wide: Whether results stay float32 where half precision came.
    """

    namespaces: tuple[str, ...]
    results: Literal["caller", "numpy"] = "caller"
    kernel: bool = False
    random: bool = False
    differentiates: tuple[str, ...] | None = None
    wide: bool = False

    def text(self) -> str:
        """The text of the docstring's section."""
        names = " and ".join((", ".join(self.namespaces[:-1]), self.namespaces[-1])).removeprefix(" and ")
        if not self.kernel:
            return f"{names}; results are numpy." if self.results == "numpy" else f"{names}."
        half = ", which comes back as float32" if self.wide else ""
        first = f"{names}, in float64, float32 and half precision{half}."
        if self.random:
            return first
        where = "" if self.differentiates is None else f" in {', '.join(self.differentiates)}"
        return f"{first}\nWith torch: autograd{where}, vmap, compile."

    def mark(self, function: Any) -> None:
        """Keep the row with the function, and append it to the docstring."""
        function.capabilities = self
        documented = function.__doc__
        if documented:
            last = documented.rpartition("\n")[2]
            indent = last if "\n" in documented and not last.strip() else "    "
            lines = "".join(f"\n{indent}    {line}" for line in self.text().split("\n"))
            function.__doc__ = f"{documented.rstrip()}\n\n{indent}Arrays:{lines}\n{indent}"


def arrays(*namespaces: str, results: Literal["caller", "numpy"] = "caller") -> Callable[[F], F]:
    """Say whose arrays a function that is no kernel takes: any, where none is named.

    Example:
        >>> @arrays("numpy", "torch")
        ... def largest(x):
        ...     "The largest element."
        ...     return x.max()
        >>> print(largest.__doc__.splitlines()[-2].strip())
        numpy and torch.
    """

    def decorate(function: F) -> F:
        Capabilities(namespaces or ANY, results).mark(function)
        return function

    return decorate
