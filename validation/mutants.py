r"""Planted errors: a public function with one thing changed, used like the original.

.. code-block:: python

    mutants = {
        "sign of the score": arguments(posterior_mean, lambda p, x, t, s: (p, x, t, -s)),
        "twice the mean": outcome(posterior_mean, lambda mean: 2.0 * mean),
        "without decay": altered(posterior_mean, lambda kernel, xp, p, x, t, s: x + s),
    }
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import array_api_compat
import array_api_compat.numpy as numpy_namespace
import numpy as np

__all__ = ["Altered", "altered", "arguments", "outcome"]


@final
@dataclass(frozen=True)
class Altered:
    """A public function whose kernel is changed; it checks nothing, so that it errs instead of refusing.

    Attributes:
        original: The public function, or another :class:`Altered`.
        change: The kernel in its place; its first argument is the kernel of the original.
    """

    original: Any
    change: Callable[..., Any]

    @property
    def kernel(self) -> Callable[..., Any]:
        """The changed kernel ``f(xp, ...)``."""
        return partial(self.change, self.original.kernel)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        arrays = [a for a in args if array_api_compat.is_array_api_obj(a) and not isinstance(a, np.generic)]
        xp = array_api_compat.array_namespace(*arrays) if arrays else numpy_namespace
        dtype = arrays[0].dtype if arrays else xp.float64
        lifted = [xp.asarray(a, dtype=dtype) if _is_number(a) else a for a in args]
        return self.kernel(xp, *lifted, **kwargs)


def altered(original: Any, change: Callable[..., Any]) -> Altered:
    """``original`` with its kernel replaced by ``change(kernel, xp, *arguments)``."""
    return Altered(original, change)


def arguments(original: Any, change: Callable[..., tuple[Any, ...]]) -> Altered:
    """``original`` called with ``change(*arguments)`` instead of ``arguments``.

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> from driftproof.theory.tweedie import posterior_mean
        >>> mutant = arguments(posterior_mean, lambda process, x, t, s: (process, x, t, -s))
        >>> float(posterior_mean(Flow(), 1.0, 0.5, -2.0)), float(mutant(Flow(), 1.0, 0.5, -2.0))
        (1.0, 3.0)
    """
    return Altered(original, lambda kernel, xp, *args: kernel(xp, *change(*args)))


def outcome(original: Any, change: Callable[[Any], Any]) -> Altered:
    """``original`` with ``change`` applied to its value.

    Example:
        >>> from driftproof.theory.special import mills
        >>> float(outcome(mills, lambda value: -value)(0.0)) == -float(mills(0.0))
        True
    """
    return Altered(original, lambda kernel, xp, *args: change(kernel(xp, *args)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
