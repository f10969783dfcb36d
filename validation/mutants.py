r"""Planted errors: a function with one thing changed, used like the original.

.. code-block:: python

    mutants = {
        "sign of the score": wrong(posterior_mean, score=lambda score: -score),
        "twice the mean": wrong(posterior_mean, lambda value: 2.0 * value),
        "without decay": wrong(posterior_mean, lambda x, score: x + score),
        "without a guard": wrong(posterior_mean, lambda value, xp, t: xp.where(t > 0.0, value, 0.0)),
    }
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import array_api_compat
import array_api_compat.numpy as numpy_namespace
import numpy as np

__all__ = ["Wrong", "wrong"]


@final
@dataclass(frozen=True, eq=False)
class Wrong:
    """A function whose arguments or value are changed; it checks nothing, so that it errs instead of refusing.

    Attributes:
        original: The public function, another callable, or another :class:`Wrong`.
        value: Its result, or None for that of the original.
        changes: Its arguments that are changed, by name.
    """

    original: Any
    value: Callable[..., Any] | None
    changes: Mapping[str, Callable[..., Any]]

    @property
    def right(self) -> Any:
        """The function that nothing has changed."""
        return self.original.right if isinstance(self.original, Wrong) else self.original

    @property
    def __name__(self) -> str:
        return str(self.original.__name__)

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.original)

    @property
    def kernel(self) -> Callable[..., Any]:
        """The changed kernel ``f(xp, ...)``, of a function that has one."""
        kernel = self.original.kernel
        return lambda xp, *args, **kwargs: self._called(
            functools.partial(kernel, xp), {"xp": xp}, args, kwargs
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(self.original, "kernel"):
            return self._called(self.original, {}, args, kwargs)
        given = self.__signature__.bind(*args, **kwargs)
        given.apply_defaults()
        arrays = [a for a in given.arguments.values() if _is_array(a)]
        xp = array_api_compat.array_namespace(*arrays) if arrays else numpy_namespace
        dtype = arrays[0].dtype if arrays else xp.float64
        for name, parameter in self.__signature__.parameters.items():
            if str(parameter.annotation) in LIFTED and _is_number(given.arguments[name]):
                given.arguments[name] = xp.asarray(given.arguments[name], dtype=dtype)
        return self.kernel(xp, *given.args, **given.kwargs)

    def _called(
        self, original: Callable[..., Any], more: Mapping[str, Any], args: Any, kwargs: Mapping[str, Any]
    ) -> Any:
        bound = self.__signature__.bind(*args, **kwargs)
        bound.apply_defaults()
        given = {**bound.arguments, **more}
        for name, change in self.changes.items():
            bound.arguments[name] = _by_name(change, given)
        if self.value is None:
            return original(*bound.args, **bound.kwargs)
        if "value" in _parameters(self.value):
            given["value"] = original(*bound.args, **bound.kwargs)
        return _by_name(self.value, given)


# Numbers among these arguments reach the kernel as arrays; a seed or a count stays what it is.
LIFTED = ("Array", "Array | None")


def wrong(function: Any, value: Callable[..., Any] | None = None, /, **changes: Callable[..., Any]) -> Wrong:
    """``function`` with its value, or arguments of it, replaced by functions of its arguments by name.

    Such a function takes what it needs: arguments as they were given, ``value`` for what the original returns,
    and ``xp``, the namespace, where the function has a kernel.

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> from driftproof.theory.tweedie import posterior_mean
        >>> mutant = wrong(posterior_mean, score=lambda score: -score)
        >>> float(posterior_mean(Flow(), 1.0, 0.5, -2.0)), float(mutant(Flow(), 1.0, 0.5, -2.0))
        (1.0, 3.0)
        >>> float(wrong(posterior_mean, lambda value: 2.0 * value)(Flow(), 1.0, 0.5, -2.0))
        2.0

    Raises:
        TypeError: Nothing is changed, or a name is none of the function's.
    """
    name, known = getattr(function, "__name__", repr(function)), _parameters(function)
    if "value" in known:
        raise TypeError(f"wrong: {name} has an argument called value, which is the word for what it returns")
    if value is None and not changes:
        raise TypeError(f"wrong: nothing of {name} is changed")
    known += ("xp",) * hasattr(function, "kernel")
    asked = [*changes, *(part for change in changes.values() for part in _parameters(change))]
    asked += [part for part in _parameters(value) if part != "value"] if value is not None else []
    if unknown := sorted(set(asked) - set(known)):
        raise TypeError(f"wrong: {name} takes {', '.join(known)}, and has no {', '.join(unknown)}")
    return Wrong(function, value, changes)


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _by_name(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    return function(**{name: given[name] for name in _parameters(function)})


def _is_array(value: object) -> bool:
    return bool(array_api_compat.is_array_api_obj(value)) and not isinstance(value, np.generic)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
