r"""One array namespace, one device, one real floating dtype: checked once, at the public boundary.

Every algorithm of this library is a *kernel*: a pure function whose first argument is an Array API
namespace ``xp``.  Users do not pass ``xp``; the decorator :func:`public` makes, from the kernel
``f(xp, nu, z)``, the public function ``f(nu, z)``, which

1. resolves the namespace from the arguments (numpy, torch, array-api-strict, ...),
2. refuses mixed namespaces, devices and dtypes, integer and complex arrays, NaN, and values outside
   of the stated domain,
3. computes half precision in float32 and casts the result back.

The kernel stays reachable as ``f.kernel`` for code that is compiled or vectorised
(``torch.compile(functools.partial(f.kernel, xp))``): it checks nothing that depends on data.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Concatenate, NoReturn, ParamSpec, Protocol, TypeAlias, TypeVar, cast, overload

import array_api_compat
import array_api_compat.numpy as numpy_namespace
import numpy as np

__all__ = [
    "Array",
    "Namespace",
    "Public",
    "UnmetHypothesis",
    "boundary",
    "public",
    "public_functions",
    "refuse_flags",
    "require",
]

# An Array API object.  The standard has no static type yet, and a protocol narrow enough to be
# useful rejects numpy's overloads, so the alias documents intent; shapes stand in the docstrings.
Array: TypeAlias = Any
Namespace: TypeAlias = ModuleType

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class UnmetHypothesis(ValueError):
    """A hypothesis of the theorem or algorithm that was called does not hold.

    Arguments:
        subject: What was called, for instance ``"CIR"``.
        hypothesis: The hypothesis in words or symbols, for instance ``"kappa > 0"``.
        got: What came instead.

    Example:
        >>> print(UnmetHypothesis("CIR", "kappa > 0", "kappa = -1.0"))
        CIR: hypothesis kappa > 0 fails (kappa = -1.0)
    """

    def __init__(self, subject: str, hypothesis: str, got: str) -> None:
        super().__init__(f"{subject}: hypothesis {hypothesis} fails ({got})")
        self.subject, self.hypothesis, self.got = subject, hypothesis, got

    def __reduce__(self) -> tuple[type[UnmetHypothesis], tuple[str, str, str]]:
        return type(self), (self.subject, self.hypothesis, self.got)


class Public(Protocol[P, R_co]):
    """A checked function together with the kernel that it wraps."""

    __name__: str
    __module__: str
    __qualname__: str

    @property
    def kernel(self) -> Callable[Concatenate[Namespace, P], R_co]: ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


_PUBLIC: dict[str, Public[..., Any]] = {}


def public_functions() -> Mapping[str, Public[..., Any]]:
    """Every function made by :func:`public` so far, by its qualified name."""
    return dict(_PUBLIC)


@overload
def public(kernel: Callable[Concatenate[Namespace, P], R], /) -> Public[P, R]: ...


@overload
def public(
    *, check: Callable[..., None] | None = None, **domains: str
) -> Callable[[Callable[Concatenate[Namespace, P], R]], Public[P, R]]: ...


def public(
    kernel: Callable[..., Any] | None = None,
    /,
    *,
    check: Callable[..., None] | None = None,
    **domains: str,
) -> Any:
    """Make the checked public function of a kernel ``f(xp, ...)``.

    Parameters annotated ``Array`` (or ``Array | None``) are checked and brought to one namespace;
    one annotated ``float | Array`` stays a Python float if it came as a number (kernels are faster with
    constants); all others are passed through.  The keyword arguments give the domain of an array
    parameter: ``"> 0"``, ``">= 0"``, ``"finite"``, an interval like ``"in [0, 1]"`` or
    ``"in (-1, inf)"``, or ``"state"``: the state space of the argument called ``process``.

    ``check(xp, **arguments)`` raises where a hypothesis joins several arguments.

    Example:
        >>> @public(x="> 0")
        ... def logarithm(xp, x: Array) -> Array:
        ...     return xp.log(x)
        >>> float(logarithm(1.0))
        0.0
        >>> logarithm(-1.0)
        Traceback (most recent call last):
        ...
        driftproof._namespace.UnmetHypothesis: logarithm: hypothesis x > 0 fails (x = -1.0)
    """

    def decorate(kernel: Callable[..., Any]) -> Any:
        signature = inspect.signature(kernel)
        parameters = list(signature.parameters.values())[1:]
        arrays = tuple(p.name for p in parameters if _is_array_annotation(p.annotation))
        optional = {p.name for p in parameters if _may_be_none(p.annotation)}
        numbers = {p.name for p in parameters if _may_stay_number(p.annotation)}
        unknown = sorted(set(domains) - set(arrays))
        if unknown:
            raise TypeError(f"{kernel.__name__}: a domain is given for {unknown}, which are no arrays")
        plain = signature.replace(parameters=parameters)

        @functools.wraps(kernel)
        def checked(*args: Any, **kwargs: Any) -> Any:
            bound = plain.bind(*args, **kwargs)
            bound.apply_defaults()
            absent = {name for name in optional if bound.arguments[name] is None}
            given = {name: bound.arguments[name] for name in arrays if name not in absent}
            for name in numbers:
                if _is_number(given[name]):
                    value = bound.arguments[name] = _real(kernel.__name__, name, given.pop(name))
                    domain = domains.get(name, "finite")
                    require(numpy_namespace, kernel.__name__, name, np.asarray(value), domain)
            xp, down, values = boundary(kernel.__name__, **given)
            for name, value in zip(given, values, strict=True):
                bound.arguments[name] = value
                if name in domains:
                    state_space = domains[name] == "state"
                    allowed = bound.arguments["process"].support if state_space else domains[name]
                    require(xp, kernel.__name__, name, value, allowed)
            if check is not None:
                check(xp, **bound.arguments)
            return down(kernel(xp, *bound.args, **bound.kwargs))

        checked.__signature__ = plain  # type: ignore[attr-defined]  # functions take attributes
        checked.kernel = kernel  # type: ignore[attr-defined]
        _PUBLIC[f"{kernel.__module__}.{kernel.__qualname__}"] = cast("Public[..., Any]", checked)
        return checked

    return decorate if kernel is None else decorate(kernel)


def _may_be_none(annotation: object) -> bool:
    return str(annotation).strip("'").endswith("| None") or annotation == Array | None


def _is_array_annotation(annotation: object) -> bool:
    # A string under `from __future__ import annotations`, else the type itself.
    text = str(annotation).strip("'").removesuffix(" | None").removeprefix("float | ")
    return text == "Array" or annotation in (Array, Array | None, float | Array)


def _may_stay_number(annotation: object) -> bool:
    return str(annotation).strip("'") == "float | Array" or annotation == float | Array


def boundary(subject: str, /, **arguments: Any) -> tuple[Namespace, Callable[[Any], Any], tuple[Array, ...]]:
    """Bring named arguments to one namespace, device and real floating dtype.

    Python and numpy scalars and sequences of them take the dtype and device of the arrays beside
    them; alone they are numpy float64.  Half precision is lifted to float32.

    Returns:
        The namespace, the arrays in the order given, and between them a function for results: it refuses
        NaN, so that nothing is wrong in silence, and casts back to the dtype that came.

    Raises:
        TypeError: Mixed namespaces, devices or dtypes; integer, boolean or complex arrays.
        UnmetHypothesis: NaN in an argument.

    Example:
        >>> xp, down, (x, t) = boundary("example", x=1.0, t=2)
        >>> x.dtype.name, float(t)
        ('float64', 2.0)
    """
    found = {name: value for name, value in arguments.items() if _is_array(value)}
    xp = _one_namespace(subject, found)
    dtype, device = _one_dtype_and_device(subject, xp, found)
    half = bool(found) and xp.finfo(dtype).bits < 32
    working = xp.float32 if half else dtype
    values = []
    for name, value in arguments.items():
        if name in found:
            values.append(xp.astype(value, working) if half else value)
        else:
            values.append(xp.asarray(_real(subject, name, value), dtype=working, device=device))
    for name, value in zip(arguments, values, strict=True):
        _require_numbers(xp, subject, name, value)

    def down(result: Any) -> Any:
        if isinstance(result, tuple):
            return tuple(down(part) for part in result)
        if isinstance(result, Mapping):
            return {name: down(part) for name, part in result.items()}
        if not array_api_compat.is_array_api_obj(result):
            return result
        own = array_api_compat.array_namespace(result)  # draws may come from another one
        if own.isdtype(result.dtype, "real floating"):
            _require_numbers(own, subject, "the result", result)
        return xp.astype(result, dtype) if half and _is_array(result) else result

    return xp, down, tuple(values)


def _require_numbers(xp: Namespace, subject: str, name: str, value: Array) -> None:
    wrong = xp.isnan(value)
    if bool(xp.any(wrong)):
        count = int(xp.sum(xp.astype(wrong, xp.int64)))
        raise UnmetHypothesis(subject, f"{name} has no NaN", f"{count} NaN in shape {tuple(value.shape)}")


def require(xp: Namespace, subject: str, name: str, value: Array, domain: str) -> None:
    """Raise :class:`UnmetHypothesis` unless every element of ``value`` lies in ``domain``."""
    inside = {
        "> 0": lambda: value > 0,
        ">= 0": lambda: value >= 0,
        "finite": lambda: xp.isfinite(value),
    }.get(domain, lambda: _in_interval(value, domain))()
    if bool(xp.all(inside)):
        return
    flat, bad = xp.reshape(value, (-1,)), xp.reshape(~inside, (-1,))
    worst = float(flat[int(xp.argmax(xp.astype(bad, xp.int64)))])
    hypothesis = f"{name} is finite" if domain == "finite" else f"{name} {domain}"
    where = "" if flat.shape[0] == 1 else f" among {flat.shape[0]} values"
    raise UnmetHypothesis(subject, hypothesis, f"{name} = {worst!r}{where}")


def refuse_flags(subject: str, **numbers: object) -> None:
    """Raise TypeError where True or False came for a number: Python counts them as 1 and 0."""
    for name, value in numbers.items():
        if isinstance(value, bool | np.bool_):
            _refuse(subject, name, value)


def _in_interval(value: Array, domain: str) -> Array:
    """Membership in ``"in [low, high]"``, with a round bracket at an end that does not belong."""
    low, high = domain.removeprefix("in ")[1:-1].split(", ")
    above = value >= float(low) if "[" in domain else value > float(low)
    return above & (value <= float(high) if "]" in domain else value < float(high))


def _is_array(value: object) -> bool:
    # numpy scalars are scalars: they follow the arrays beside them.
    return array_api_compat.is_array_api_obj(value) and not isinstance(value, np.generic)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | complex | np.number) and not isinstance(value, np.ndarray)


def _one_namespace(subject: str, found: Mapping[str, Array]) -> Namespace:
    if not found:
        return numpy_namespace
    try:
        return array_api_compat.array_namespace(*found.values())
    except TypeError:
        kinds = ", ".join(f"{type(v).__module__.split('.')[0]} ({k})" for k, v in found.items())
        raise TypeError(f"{subject}: expected arrays of one namespace, got {kinds}") from None


def _one_dtype_and_device(subject: str, xp: Namespace, found: Mapping[str, Array]) -> tuple[Any, Any]:
    dtype, device = xp.float64, None
    for position, (name, value) in enumerate(found.items()):
        if not xp.isdtype(value.dtype, "real floating"):
            raise TypeError(f"{subject}: expected a real floating array for {name}, got {value.dtype}")
        where = array_api_compat.device(value)
        if position == 0:
            dtype, device, first = value.dtype, where, name
        elif value.dtype != dtype:
            raise TypeError(
                f"{subject}: expected one dtype, got {dtype} ({first}) and {value.dtype} ({name})"
            )
        elif where != device:
            raise TypeError(f"{subject}: expected one device, got {device} ({first}) and {where} ({name})")
    return dtype, device


def _real(subject: str, name: str, value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, complex) and not isinstance(value, float)):
        _refuse(subject, name, value)
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, np.floating | np.integer):
        return float(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":  # inside of a list
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_real(subject, name, item) for item in value]
    return _refuse(subject, name, value)


def _refuse(subject: str, name: str, value: object) -> NoReturn:
    raise TypeError(f"{subject}: expected real numbers for {name}, got {type(value).__name__}")
