"""The types that results are cast to on their way out of the boundary, by the kind of quantity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import array_api_compat
import array_api_compat.numpy as numpy_namespace
import numpy as np

from ._checks import UnmetHypothesis
from ._tracing import known, unmapped

__all__ = ["Down", "is_array", "require_no_nan"]


class Down:
    """What :func:`boundary` gives for results: it refuses NaN, and casts back to half precision where that came."""

    def __init__(self, xp: ModuleType, subject: str, half: Any) -> None:
        self.xp, self.subject, self.half = xp, subject, half

    def __call__(self, result: Any) -> Any:
        """A state, a draw or a function of one, or a law of them: in the dtype that came."""
        # A law, which is computed in float32 and remembers in what it draws.
        if hasattr(result, "remember"):
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
        own: Any
        if isinstance(result, np.ndarray | np.generic):
            own, real = numpy_namespace, result.dtype.kind == "f"
        elif array_api_compat.is_array_api_obj(result):
            own = array_api_compat.array_namespace(result)  # draws may come from another one
            real = own.isdtype(result.dtype, "real floating")
        else:
            if isinstance(result, float) and math.isnan(result):
                raise UnmetHypothesis(self.subject, "the result has no NaN", "NaN")
            return result
        if real:
            require_no_nan(own, self.subject, "the result", result)
        return result if half is None or not is_array(result) else self.xp.astype(result, half)


def require_no_nan(xp: ModuleType, subject: str, name: str, value: Any) -> None:
    """Raise :class:`UnmetHypothesis` where an array has a NaN, and say how many."""
    value = unmapped(value)
    wrong = xp.isnan(value)
    if isinstance(value, np.ndarray) and not wrong.any():
        return
    if known(xp.any(wrong), f"{subject}: unmet hypothesis: {name} has no NaN"):
        count = int(xp.sum(xp.astype(wrong, xp.int64)))
        raise UnmetHypothesis(subject, f"{name} has no NaN", f"{count} NaN in shape {tuple(value.shape)}")


def is_array(value: object) -> bool:
    """Whether an array of any namespace."""
    # numpy scalars are scalars: they follow the arrays beside them.
    if isinstance(value, np.ndarray):
        return True
    return array_api_compat.is_array_api_obj(value) and not isinstance(value, np.generic | type)
