"""What a result is cast to on its way out of the boundary, by what kind of quantity it is."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import array_api_compat
import numpy as np

from ._checks import UnmetHypothesis

__all__ = [
    "Down",
    "Remembers",
    "holds",
    "is_array",
    "known",
    "require_no_nan",
    "settled",
    "still",
    "unmapped",
]


class Down:
    """What :func:`boundary` gives for results: it refuses NaN, and casts back to half precision where that came."""

    def __init__(self, xp: ModuleType, subject: str, half: Any) -> None:
        self.xp, self.subject, self.half = xp, subject, half

    def __call__(self, result: Any) -> Any:
        """A state, a draw or a function of one, or a law of them: in the dtype that came."""
        if isinstance(result, Remembers):
            return result if self.half is None else result.remember(self.half)
        return self._each(result, self.half)

    def like(self, law: Any) -> Down:
        """For results that follow a law: in the half precision that it draws in, if no argument had one."""
        half = getattr(law, "_half", None) if self.half is None else self.half
        return Down(self.xp, self.subject, half)

    def wide(self, result: Any) -> Any:
        """A log-density, a divergence, a statistic or an average: at least float32."""
        return self._each(result, None)

    def _each(self, result: Any, half: Any) -> Any:
        if isinstance(result, tuple):
            return tuple(self._each(part, half) for part in result)
        if isinstance(result, Mapping):
            return {name: self._each(part, half) for name, part in result.items()}
        if not array_api_compat.is_array_api_obj(result):
            if isinstance(result, float) and math.isnan(result):
                raise UnmetHypothesis(self.subject, "the result has no NaN", "NaN")
            return result
        own = array_api_compat.array_namespace(result)  # draws may come from another one
        if own.isdtype(result.dtype, "real floating"):
            require_no_nan(own, self.subject, "the result", result)
        return result if half is None or not is_array(result) else self.xp.astype(result, half)


@runtime_checkable
class Remembers(Protocol):
    """A law that is computed in float32 and draws in the dtype that it was asked for in."""

    def remember(self, dtype: Any) -> Any: ...


def require_no_nan(xp: ModuleType, subject: str, name: str, value: Any) -> None:
    """Raise :class:`UnmetHypothesis` where an array has a NaN, and say how many."""
    value = unmapped(value)
    wrong = xp.isnan(value)
    if known(xp.any(wrong)):
        count = int(xp.sum(xp.astype(wrong, xp.int64)))
        raise UnmetHypothesis(subject, f"{name} has no NaN", f"{count} NaN in shape {tuple(value.shape)}")


def known(condition: Any) -> bool:
    """Whether a condition on the numbers of arrays is met; no where jax or torch.func traces, and there are no numbers yet.

    What is compiled or mapped is checked for kinds, shapes and dtypes; for values, where it is called with numbers.
    """
    return _met(condition, traced=False)


def holds(condition: Any) -> bool:
    """Whether a hypothesis on the numbers of arrays is met; yes where jax or torch.func traces."""
    return _met(condition, traced=True)


def settled(condition: Any) -> bool:
    """Like :func:`known`, and where torch.func.vmap maps, whether the condition is met in every example."""
    return bool(unmapped(condition).all()) if array_api_compat.is_torch_array(condition) else known(condition)


def unmapped(value: Any) -> Any:
    """The numbers of an array: those of every example where torch.func.vmap maps, the array itself elsewhere."""
    if array_api_compat.is_torch_array(value):
        of = sys.modules["torch"]._C._functorch
        while of.is_functorch_wrapped_tensor(value):
            value = of.get_unwrapped(value)
    return value


def _met(condition: Any, traced: bool) -> bool:
    try:
        return bool(condition)
    except Exception as error:
        jax = sys.modules.get("jax")
        if jax is not None and isinstance(error, jax.errors.ConcretizationTypeError):
            return traced
        if array_api_compat.is_torch_array(condition) and _mapped(condition):
            return traced
        raise


def _mapped(value: Any) -> bool:
    """Whether torch.func.vmap has made many of a tensor, or of what a transformation wrapped."""
    of = sys.modules["torch"]._C._functorch
    while of.is_functorch_wrapped_tensor(value):
        if of.is_batchedtensor(value):
            return True
        value = of.get_unwrapped(value)
    return False


def still(value: Any) -> Any:
    """The array without its gradient: where panels lie, and how large an error is, changes no value."""
    if hasattr(value, "detach"):  # of torch
        return value.detach()
    if array_api_compat.is_jax_array(value):
        return sys.modules["jax"].lax.stop_gradient(value)
    return value


def is_array(value: object) -> bool:
    """Whether an array of any namespace."""
    # numpy scalars are scalars: they follow the arrays beside them.
    if isinstance(value, np.ndarray):
        return True
    return array_api_compat.is_array_api_obj(value) and not isinstance(value, np.generic | type)
