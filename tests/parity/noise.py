r"""Other processors: elementary functions whose last digit is off by one.

IEEE 754 fixes :math:`+, -, \times, /`; it does not fix :math:`\exp`, nor the order of a sum, and there the
vector units of two processors differ.  Inside of :func:`noise`

==========================  ====================================================================
the result of               moves, at random up, down or not at all, by
==========================  ====================================================================
an elementary function      one ulp, but not where it is exact (at 0 and 1) and not across :math:`\pm 1`
a sum                       :math:`\varepsilon \sum_i |x_i|`; sums of integers are exact
a product of matrices       :math:`\varepsilon\, |A|\, |B|`
``linalg``                  what its arguments do when each of their elements moves by one ulp
any other operation         one ulp, but only with ``everything=True``
==========================  ====================================================================

The first four are what another processor does; the last is what another *precision* does (every operation
and every constant is rounded), or a compiler, which contracts and reorders.  ``lgamma`` and ``digamma`` are
left out: implementations differ by thousands of ulp near their zeros.

The noise travels with the data: :class:`Noisy` is a subclass of ``ndarray``, so that numpy hands over every
function, operator and reduction on it, whoever calls: a kernel called by a kernel, a method of a law or a
process, ``x**q``, ``a @ b``.  Kernels also make arrays of their own (of a time, of the nodes of a
quadrature), so the elementary functions of the namespace take plain arrays for Noisy ones.

:func:`other_processor` is the same for a whole process, for tests that know nothing of it: the elementary
functions by name, on plain arrays, and repeatable as those of a real machine are.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, final
from unittest.mock import patch

import array_api_compat.numpy as numpy_namespace
import numpy as np

from driftproof import _namespace

__all__ = ["ELEMENTARY", "Noisy", "become_what_is_asked_for", "noise", "other_processor"]

VARIABLE = "DRIFTPROOF_NOISE"
_plain_array = _namespace.plain_array

NAMES = (
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp", "logaddexp2"),
    *("sqrt", "cbrt", "power", "float_power", "hypot"),
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2"),
    *("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"),
)
ELEMENTARY = frozenset(getattr(np, name) for name in NAMES)
PRODUCTS = frozenset(
    getattr(np, name) for name in ("matmul", "vecdot", "matvec", "vecmat") if hasattr(np, name)
)
POWERS = frozenset({np.power, np.float_power})
ROUNDED = frozenset({np.add, np.subtract, np.multiply, np.divide, np.square, np.reciprocal})


def moved(values: Any, signs: Any) -> Any:
    """Each element by one ulp up (1), down (-1) or not at all (0); what would leave the finite numbers stays."""
    with np.errstate(all="ignore"):
        there = values + np.asarray(signs, dtype=values.dtype) * np.spacing(values)
    return np.where(np.isfinite(there), there, values)[()]


def elementary(ufunc: np.ufunc, inputs: Sequence[Any], result: Any, signs: Any) -> Any:
    """The result of an elementary function on another machine."""
    exact = result == 0.0
    for value in inputs if ufunc in POWERS else inputs[:1]:
        exact = exact | (value == 0.0) | (value == 1.0)
    there = moved(result, signs)
    there = np.where(np.abs(result) <= 1.0, np.clip(there, -1.0, 1.0), there)  # exp(-x), tanh, sin
    return np.where(exact, result, there).astype(result.dtype)[()]


@final
@dataclass(frozen=True)
class Machine:
    """Where the noise comes from."""

    rng: np.random.Generator
    everything: bool

    def signs(self, like: Any) -> Any:
        return np.floor(3.0 * self.rng.random(np.shape(like))) - 1.0  # faster than integers

    def by_an_ulp(self, values: Any) -> Any:
        return moved(values, self.signs(values)) if _is_real(values) else values

    def by(self, values: Any, size: Any) -> Any:
        """Each element by eps times a size."""
        with np.errstate(all="ignore"):
            step = (self.signs(values) * np.finfo(values.dtype).eps * size).astype(values.dtype)
            return np.where(np.isfinite(values + step), values + step, values)[()]

    def constant(self, value: Any, beside: Any) -> Any:
        """A number of the source as a lower precision rounds it."""
        single = any(_is_real(v) and v.dtype == np.float32 for v in beside)
        if single and float(np.float32(value)) != value:
            return self.by_an_ulp(np.float32(value))
        return value

    def called(self, ufunc: np.ufunc, inputs: list[Any], result: Any) -> Any:
        if not _is_real(result):
            return result
        if ufunc in ELEMENTARY:
            return elementary(ufunc, inputs, result, self.signs(result))
        if ufunc in PRODUCTS and not _are_integers(*inputs):
            return self.by(result, ufunc(*(np.abs(v) for v in inputs)))
        if ufunc in ROUNDED and self.everything and not _are_integers(*inputs, result):
            return np.where(result == 0.0, result, self.by_an_ulp(result))[()]
        return result

    def added(self, method: str, values: Any, options: dict[str, Any], result: Any) -> Any:
        if not _is_real(result) or _are_integers(values):
            return result
        return self.by(result, getattr(np.add, method)(np.abs(values), **options))


_machine: Machine | None = None


class Noisy(np.ndarray):
    """An array whose functions are those of the machine in use."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        machine, out = _machine, options.pop("out", (None,))
        plain = [_plain(v) for v in inputs]
        if machine is not None and machine.everything:
            plain = [machine.constant(v, plain) if type(v) is float else v for v in plain]
        result = getattr(ufunc, method)(*plain, **options)
        if machine is not None and method == "__call__":
            result = machine.called(ufunc, plain, result)
        elif machine is not None and ufunc is np.add and method in ("reduce", "accumulate"):
            result = machine.added(method, *plain[:1], options, result)
        if out[0] is not None:
            _plain(out[0])[...] = result
            return out[0]
        return _noisy(result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function.__module__ != "numpy.linalg" or _machine is None:
            return _noisy(super().__array_function__(function, types, args, kwargs))
        args = [_machine.by_an_ulp(_plain(v)) if isinstance(v, Noisy) else v for v in args]
        return _noisy(function(*args, **kwargs))


def _admitted(subject: str, name: str, value: Any) -> Any:
    """The boundary refuses subclasses of ndarray; this one is what the noise travels with."""
    return value if isinstance(value, Noisy) else _plain_array(subject, name, value)


@contextlib.contextmanager
def noise(rng: np.random.Generator, *, everything: bool = False) -> Iterator[Callable[[Any], Noisy]]:
    """Compute with noise; gives the function that makes arrays Noisy.

    Arguments:
        rng: Which noise.
        everything: Whether every operation is off, not only what IEEE 754 leaves open.
    """
    global _machine
    before, _machine = _machine, Machine(rng, everything)
    try:
        with _replaced(numpy_namespace, _entrance), patch.object(_namespace, "plain_array", _admitted):
            yield lambda value, dtype=None: np.array(value, dtype=dtype).view(Noisy)
    finally:
        _machine = before


@contextlib.contextmanager
def other_processor(seed: int, *modules: ModuleType) -> Iterator[None]:
    """Replace the elementary functions of the modules (and of the namespace of numpy) by those of a machine."""

    def strange(ufunc: np.ufunc) -> Callable[..., Any]:
        @functools.wraps(ufunc)
        def function(*args: Any, **options: Any) -> Any:
            if _machine is not None:
                return _entrance(ufunc)(*args, **options)
            result = ufunc(*args, **options)
            if type(result) not in (np.ndarray, np.float64, np.float32) or not _is_real(result):
                return result
            if "out" in options:
                return result
            return elementary(ufunc, args, result, _signs(result, seed))

        for name in ("accumulate", "at", "outer", "reduce", "reduceat"):  # those of the processor at hand
            setattr(function, name, getattr(ufunc, name))
        return function

    with contextlib.ExitStack() as stack:
        for module in (numpy_namespace, *modules):
            stack.enter_context(_replaced(module, strange))
        yield


_entered: list[object] = []  # a context manager that nobody holds ends at once


def become_what_is_asked_for() -> None:
    """Make this process another processor, to its end, if the environment says which (:data:`VARIABLE`)."""
    if VARIABLE in os.environ and not _entered:
        with contextlib.suppress(ImportError):
            import ml_dtypes  # noqa: F401  # of jax: it writes into numpy's functions, while they are numpy's
        _entered.append(other_processor(int(os.environ[VARIABLE]), np))
        _entered[0].__enter__()  # type: ignore[attr-defined]


def _signs(values: Any, seed: int) -> Any:
    """-1, 0 or 1 as a function of the bits of a number: the same argument has the same result."""
    bits = np.atleast_1d(values).astype(np.float64).view(np.uint64)
    mixed = (bits ^ np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return (((mixed >> np.uint64(33)) % np.uint64(3)).astype(np.int64) - 1).reshape(np.shape(values))


@contextlib.contextmanager
def _replaced(module: ModuleType, by: Callable[[np.ufunc], Callable[..., Any]]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name, function in list(vars(module).items()):
            if isinstance(function, np.ufunc) and function in ELEMENTARY:
                stack.enter_context(patch.object(module, name, by(function)))
        yield


def _entrance(ufunc: np.ufunc) -> Callable[..., Any]:
    @functools.wraps(ufunc)
    def function(first: Any, *rest: Any, **options: Any) -> Any:
        if not isinstance(first, Noisy):
            first = np.asarray(first).view(Noisy)
        return ufunc(first, *rest, **options)

    return function


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Noisy) else value


def _noisy(value: Any) -> Any:
    if isinstance(value, tuple):
        parts = map(_noisy, value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [_noisy(part) for part in value]
    return value.view(Noisy) if type(value) is np.ndarray else value


def _is_real(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f"


def _are_integers(*values: Any) -> bool:
    """Whether all are integers that single precision holds exactly."""
    if not all(float(np.ravel(v)[0]).is_integer() for v in values if np.size(v)):  # most are not, at once
        return False
    return all(bool(np.all((np.rint(v) == v) & (np.abs(v) < 2.0**24))) for v in values)
