r"""The one error metric of the library.

.. math:: \max_i \frac{|g_i - w_i|}{\max(|w_i|, s)}

for what was got, what was wanted and a scale :math:`s`; :math:`s = 0` is the purely relative error.
NaN and a difference of shape are infinitely wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import array_api_compat
import mpmath
import numpy as np

__all__ = ["Gap", "compare", "rounding"]

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


@final
@dataclass(frozen=True, slots=True)
class Gap:
    """The largest elementwise error, where it is and why it may be infinite."""

    error: float
    count: int
    detail: str = ""


def compare(got: object, want: object, scale: float = 1.0) -> Gap:
    """The largest elementwise error of ``got`` against ``want``.

    Arguments:
        got, want: Numbers, mpmath numbers, sequences of them, or arrays of any namespace.
        scale: Magnitude :math:`s >= 0` below which the error is absolute.

    Example:
        >>> compare([1.0, 2.0], [1.0, 2.5]).error
        0.2
        >>> compare([1.0, 2.0], 1.0)
        Gap(error=inf, count=2, detail='shape (2,) against ()')
        >>> compare(float("nan"), float("nan")).error
        inf
    """
    g, w = _numbers(got), _numbers(want)
    if g.shape != w.shape:
        return Gap(math.inf, max(g.size, w.size), f"shape {g.shape} against {w.shape}")
    if g.size == 0:
        return Gap(math.inf, 0, "nothing to compare: both are empty")
    if g.dtype == object or w.dtype == object:
        errors = np.asarray([_error(a, b, scale) for a, b in zip(g.flat, w.flat, strict=True)])
    else:
        errors = _errors(g, w, scale).reshape(-1)
    worst = int(np.argmax(errors))
    where = "" if g.ndim == 0 else f" at {tuple(int(i) for i in np.unravel_index(worst, g.shape))}"
    return Gap(float(errors[worst]), g.size, f"{_show(g.flat[worst])} against {_show(w.flat[worst])}{where}")


def _errors(got: Numbers, want: Numbers, scale: float) -> Numbers:
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(want), scale)
        errors = np.abs(got - want) / size
    errors = np.where(np.isnan(errors), np.inf, errors)
    nan = np.isnan(got) | np.isnan(want)
    return np.where((got == want) & ~nan, 0.0, errors)


def _error(got: Any, want: Any, scale: float) -> float:
    """The same for one pair of numbers, in the working precision of mpmath."""
    if got == want:
        return 0.0
    difference, size = abs(mpmath.mpmathify(got) - mpmath.mpmathify(want)), max(abs(want), scale)
    error = float(difference / size) if size else math.inf
    return math.inf if math.isnan(error) else error


def _numbers(value: Any) -> Numbers:
    """``value`` as a float64, complex128 or (where it holds mpmath numbers) object array on the host."""
    if array_api_compat.is_torch_array(value):
        value = value.detach().cpu()
        value = value.double() if value.dtype.is_floating_point else value  # numpy has no bfloat16
        value = value.numpy()
    elif array_api_compat.is_array_api_obj(value) and not isinstance(value, np.ndarray | np.generic):
        value = np.from_dlpack(value)
    elif isinstance(value, mpmath.matrix):
        value = [list(row) for row in value.tolist()]
    array = np.asarray(value)
    if array.dtype == object:
        return _objects(array)
    if not np.issubdtype(array.dtype, np.number) and array.dtype != np.bool_:
        raise TypeError(f"evidence: expected numbers, got an array of {array.dtype}")
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def _objects(array: Numbers) -> Numbers:
    exact = np.empty(array.shape, dtype=object)
    for index, item in np.ndenumerate(array):
        exact[index] = mpmath.mpmathify(item)
    return exact


def _show(number: Any) -> str:
    return mpmath.nstr(number, 17) if isinstance(number, mpmath.mpf | mpmath.mpc) else repr(number.item())


def rounding(operations: float, condition: float = 1.0, unit: float = 2.0**-52) -> float:
    r"""A tolerance that follows from a computation, and from no run of it.

    .. math:: k\,\kappa\,u

    Arguments:
        operations: k, how many roundings in a row a result has behind it, with those of the functions that it calls.
        condition: How many times a relative change of what is rounded is larger in the result, or in the unit of
            ``scale`` where that is larger: of the worst of all cases.
        unit: One rounding: 2^-52, or 2^-23 in single precision.

    Example:
        >>> rounding(64) == 64 * 2.0**-52, rounding(4, condition=10.0, unit=2.0**-23) == 40.0 * 2.0**-23
        (True, True)
    """
    return float(operations * condition * unit)
