r"""One array namespace, one device, one real floating dtype: checked once, at the public boundary.

Every algorithm of this library is a *kernel*: a pure function whose first argument is an Array API
namespace ``xp``.  Users do not pass ``xp``; the decorator :func:`public` makes, from the kernel
``f(xp, nu, z)``, the public function ``f(nu, z)``, which

1. resolves the namespace from the arguments (numpy, torch, array-api-strict, ...),
2. refuses mixed namespaces, devices and dtypes, integer and complex arrays, NaN, and values outside
   of the stated domain,
3. computes half precision in float32; what is a state or a draw is cast back, what is a sum over coordinates or an
   average (``wide``: log-densities, divergences, statistics) stays float32.

The kernel stays reachable as ``f.kernel`` for code that is compiled or vectorised
(``torch.compile(functools.partial(f.kernel, xp))``): it checks nothing that depends on data.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType, NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

import array_api_compat
import array_api_compat.numpy as numpy_namespace
import numpy as np

from ._arguments import Parameters, checked
from ._capabilities import ANY, Capabilities
from ._checks import Check, UnmetHypothesis, inside, is_number, number, refuse, require_number
from ._results import Down, is_array, require_no_nan
from ._shapes import explain, require_broadcastable
from ._tracing import holds, known, repeat, settle, still, unmapped, weigh

__all__ = [
    "Array",
    "Down",
    "Namespace",
    "Public",
    "UnmetHypothesis",
    "boundary",
    "checked",
    "explain",
    "holds",
    "known",
    "plain_array",
    "public",
    "public_functions",
    "refuse",
    "refuse_flags",
    "repeat",
    "require",
    "require_broadcastable",
    "settle",
    "still",
    "weigh",
]

# An Array API object.  The standard has no static type yet, and a protocol narrow enough to be
# useful rejects numpy's overloads, so the alias documents intent; shapes stand in the docstrings.
# The check is for fields of dataclasses: those of functions go through `boundary` together.
Array: TypeAlias = Annotated[Any, lambda subject, name, value: _numbers(subject, name, value)]
Namespace: TypeAlias = ModuleType

_MOST_AXES = 32

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Public(Protocol[P, R_co]):
    """A checked function together with the kernel that it wraps."""

    __name__: str
    __module__: str
    __qualname__: str

    @property
    def kernel(self) -> Callable[Concatenate[Namespace, P], R_co]: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


_PUBLIC: dict[str, Public[..., Any]] = {}


def public_functions() -> Mapping[str, Public[..., Any]]:
    """Every function made by :func:`public` so far, by its qualified name."""
    return dict(_PUBLIC)


@overload
def public(kernel: Callable[Concatenate[Namespace, P], R], /) -> Public[P, R]: ...


@overload
def public(
    *,
    check: Callable[..., None] | None = None,
    wide: bool = False,
    differentiates: tuple[str, ...] | None = None,
    **domains: str,
) -> Callable[[Callable[Concatenate[Namespace, P], R]], Public[P, R]]: ...


def public(
    kernel: Callable[..., Any] | None = None,
    /,
    *,
    check: Callable[..., None] | None = None,
    wide: bool = False,
    differentiates: tuple[str, ...] | None = None,
    **domains: str,
) -> Any:
    """Make the checked public function of a kernel ``f(xp, ...)``.

    Every parameter is checked by its annotation, see :mod:`driftproof._checks`.  Those annotated ``Array``
    (or ``Array | None``) are brought to one namespace; one annotated ``float | Array`` stays a Python float if
    it came as a number (kernels are faster with constants).  The keyword arguments give the domains of
    numbers and arrays: ``"> 0"``, ``">= 0"``, ``"finite"``, an interval like ``"in [0, 1]"`` or
    ``"in (-1, inf)"``; for an array also ``"state"``: the state space of the argument called ``process``.
    A number is finite where no domain is given.

    ``check(xp, **arguments)`` raises where a hypothesis joins several arguments.  ``wide`` results are at least
    float32: a log-density over 65536 coordinates, rounded to bfloat16, has steps of 64.  ``differentiates`` names the
    arrays in which a derivative exists, where it is not every one.  What follows for the arrays that the function
    takes is appended to its docstring (:mod:`driftproof._capabilities`).

    Example:
        >>> @public(x="> 0")
        ... def logarithm(xp, x: Array) -> Array:
        ...     return xp.log(x)
        >>> float(logarithm(1.0))
        0.0
        >>> logarithm(-1.0)
        Traceback (most recent call last):
        ...
        driftproof.UnmetHypothesis: logarithm: unmet hypothesis: x > 0 (x = -1.0)
    """

    def decorate(kernel: Callable[..., Any]) -> Any:
        parameters, subject = Parameters(kernel, 1, domains), kernel.__name__

        @functools.cache
        def plan() -> tuple[dict[str, tuple[type, ...]], list[tuple[str, Check]]]:
            # The arrays, each with the types that it may have beside that; the checks of all others.
            arrays = {
                n: kinds for n, hint in parameters.hints.items() if (kinds := _beside_array(hint)) is not None
            }
            return arrays, [(name, each) for name, each in parameters.checks if name not in arrays]

        @functools.wraps(kernel)
        def call(*args: Any, **kwargs: Any) -> Any:
            bound = parameters.bind(args, kwargs)
            arrays, checks = plan()
            for name, each in checks:
                bound[name] = each(subject, name, bound[name])
            given = {}
            for name, kinds in arrays.items():
                value = bound[name]
                if float in kinds and is_number(value):
                    bound[name] = number(subject, name, value)
                    require_number(subject, name, bound[name], domains.get(name, "finite"))
                elif value is not None or NoneType not in kinds:
                    given[name] = value
            xp, down, values = boundary(subject, **given)
            for name, value in zip(given, values, strict=True):
                bound[name] = value
                if name in domains:
                    state_space = domains[name] == "state"
                    allowed = bound["process"].support if state_space else domains[name]
                    require(xp, subject, name, value, allowed)
            try:
                if check is not None:
                    check(xp, **bound)
                result = kernel(xp, **bound)
            except (ValueError, IndexError, RuntimeError) as error:
                explain(subject, {name: bound[name] for name in given}, error)
                raise
            return down.wide(result) if wide else down(result)

        row = Capabilities(
            ANY, kernel=True, random="rng" in parameters.names, differentiates=differentiates, wide=wide
        )
        row.mark(call)
        call.__signature__ = parameters.signature  # type: ignore[attr-defined]  # functions take attributes
        call.kernel = kernel  # type: ignore[attr-defined]
        _PUBLIC[f"{kernel.__module__}.{kernel.__qualname__}"] = cast("Public[..., Any]", call)
        return call

    return decorate if kernel is None else decorate(kernel)


def boundary(subject: str, /, **arguments: Any) -> tuple[Namespace, Down, tuple[Array, ...]]:
    """Bring named arguments to one namespace, device and real floating dtype.

    Python and numpy scalars and sequences of them take the dtype and device of the arrays beside
    them; alone they are numpy float64.  Half precision is lifted to float32, and may meet float32.

    Returns:
        The namespace, the arrays in the order given, and between them a function for results: it refuses
        NaN, so that nothing is wrong in silence, and casts back to half precision where that came; its method
        ``wide`` does not cast.

    Raises:
        TypeError: Mixed namespaces, devices or dtypes; integer, boolean or complex arrays.
        UnmetHypothesis: NaN in an argument.

    Example:
        >>> xp, down, (x, t) = boundary("example", x=1.0, t=2)
        >>> x.dtype.name, float(t)
        ('float64', 2.0)
    """
    found = {name: plain_array(subject, name, v) for name, v in arguments.items() if is_array(v)}
    xp = _one_namespace(subject, found)
    dtype, device, half = _one_dtype_and_device(subject, xp, found)
    values = []
    for name, given in arguments.items():
        if name in found:
            value = found[name] if half is None else xp.astype(found[name], dtype)
        else:
            value = xp.asarray(
                _rectangle(subject, name, _real(subject, name, given)), dtype=dtype, device=device
            )
        require_no_nan(xp, subject, name, value)
        values.append(value)
    return xp, Down(xp, subject, half), tuple(values)


def require(xp: Namespace, subject: str, name: str, value: Array, domain: str) -> None:
    """Raise :class:`UnmetHypothesis` unless every element of ``value`` lies in ``domain``."""
    value = unmapped(value)
    good = inside(value, domain)
    if isinstance(value, np.ndarray) and good.all():
        return
    hypothesis = f"{name} is finite" if domain == "finite" else f"{name} {domain}"
    if holds(xp.all(good), f"{subject}: unmet hypothesis: {hypothesis}"):
        return
    flat, bad = xp.reshape(value, (-1,)), xp.reshape(~good, (-1,))
    worst = float(flat[int(xp.argmax(xp.astype(bad, xp.int64)))])
    where = "" if flat.shape[0] == 1 else f" among {flat.shape[0]} values"
    raise UnmetHypothesis(subject, hypothesis, f"{name} = {worst!r}{where}")


def plain_array(subject: str, name: str, value: Array) -> Array:
    """The array, if its numbers lie in memory as they seem to.

    Raises:
        TypeError: A subclass of ndarray, whose mask, matrix product or unit would be lost; long doubles; a
            sparse tensor or one without numbers.
    """
    if isinstance(value, np.ndarray):
        if type(value) is not np.ndarray:
            if not isinstance(value, np.memmap):
                refuse(subject, name, "a plain numpy array", value)
            value = value.view(np.ndarray)
        if value.dtype.char == "g":
            raise TypeError(f"{subject}: expected at most double precision for {name}, got {value.dtype}")
        return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))
    if getattr(value, "is_meta", False) is True:
        raise TypeError(f"{subject}: expected numbers in {name}, got a tensor on the device meta")
    layout = getattr(value, "layout", None)
    if layout is not None and str(layout) != "torch.strided":
        raise TypeError(f"{subject}: expected a dense tensor for {name}, got the layout {layout}")
    return value


def _numbers(subject: str, name: str, value: Any) -> Any:
    """The check of one array by itself: real floating, dense, no NaN; or numbers that make such a one."""
    if is_array(value):
        value = plain_array(subject, name, value)
        xp = array_api_compat.array_namespace(value)
        _one_dtype_and_device(subject, xp, {name: value})
        require_no_nan(xp, subject, name, value)
    else:
        numbers = np.asarray(_rectangle(subject, name, _real(subject, name, value)))
        require_no_nan(numpy_namespace, subject, name, numbers)
    return value


def _beside_array(hint: Any) -> tuple[type, ...] | None:
    """The other values of a parameter that is an array: nothing, None, a number; None if it is no array."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else (hint,)
    return tuple(part for part in parts if part != Array) if Array in parts else None


def refuse_flags(subject: str, **numbers: object) -> None:
    """Raise TypeError where True or False came for a number: Python counts them as 1 and 0."""
    for name, value in numbers.items():
        if isinstance(value, bool | np.bool_):
            refuse(subject, name, "real numbers", value)


def _one_namespace(subject: str, found: Mapping[str, Array]) -> Namespace:
    if all(isinstance(value, np.ndarray) for value in found.values()):
        return numpy_namespace
    try:
        return array_api_compat.array_namespace(*found.values())
    except TypeError:
        kinds = ", ".join(f"{type(v).__module__.split('.')[0]} ({k})" for k, v in found.items())
        raise TypeError(f"{subject}: expected arrays of one namespace, got {kinds}") from None


def _one_dtype_and_device(subject: str, xp: Namespace, found: Mapping[str, Array]) -> tuple[Any, Any, Any]:
    """The dtype to compute in, the device, and the half precision that came, if one did."""
    if all(isinstance(value, np.ndarray) and value.dtype == np.float64 for value in found.values()):
        return np.float64, None, None  # at once: it is the most frequent
    dtype, device, half, first = xp.float64, None, None, ""
    for position, (name, value) in enumerate(found.items()):
        if not xp.isdtype(value.dtype, "real floating"):
            raise TypeError(f"{subject}: expected a real floating array for {name}, got {value.dtype}")
        where = array_api_compat.device(value)
        low = xp.finfo(value.dtype).bits < 32
        working = xp.float32 if low else value.dtype
        if position == 0:
            dtype, device, first = working, where, name
        elif working != dtype or (low and half not in (None, value.dtype)):
            other = dtype if half is None else half
            raise TypeError(
                f"{subject}: expected one dtype, got {other} ({first}) and {value.dtype} ({name})"
            )
        elif device is None:  # traced by jax, which places it
            device = where
        elif where not in (None, device):
            raise TypeError(f"{subject}: expected one device, got {device} ({first}) and {where} ({name})")
        half = value.dtype if low else half
    return dtype, device, half


def _real(subject: str, name: str, value: Any, depth: int = 0) -> Any:
    """Python floats from numbers, in lists where they came in sequences."""
    if type(value) is float:
        return value
    if is_number(value):
        return number(subject, name, value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":  # inside of a list
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        if depth == _MOST_AXES:
            raise TypeError(
                f"{subject}: expected at most {_MOST_AXES} axes for {name}, got lists in lists beyond"
            )
        return [_real(subject, name, item, depth + 1) for item in value]
    return refuse(subject, name, "real numbers", value)


def _rectangle(subject: str, name: str, value: Any) -> Any:
    """Lists of numbers that have a shape, as an array; a number as it is."""
    if not isinstance(value, list):
        return value
    try:
        return np.asarray(value, dtype=np.float64)
    except ValueError:
        raise TypeError(f"{subject}: expected rows of equal length for {name}, got a ragged list") from None
