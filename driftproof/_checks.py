r"""What may come for a parameter: a check made from its annotation, for every parameter of what is public.

``float`` takes real numbers that are finite, unless a domain says otherwise: no bool, nothing complex, no
array of shape () (``float(x)`` makes a number of one).  ``int`` takes integers, ``Literal`` one of its words,
``Callable`` what can be called, a class its instances, ``tuple[...]`` and ``Sequence[...]`` what their elements
take.  Numpy's numbers become Python's.  The wrong *kind* is a TypeError, the wrong *value* an
:class:`UnmetHypothesis`: a process of another family is a value, ``None`` in the place of a process a kind.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NoReturn, TypeAlias, TypeVar

import numpy as np

__all__ = [
    "Check",
    "UnmetHypothesis",
    "check_of",
    "inside",
    "is_number",
    "number",
    "refuse",
    "require_number",
    "unaliased",
]

# check(subject, name, value) gives what goes on, or raises.
Check: TypeAlias = Callable[[str, str, Any], Any]


class UnmetHypothesis(ValueError):
    """A hypothesis of the theorem or algorithm that was called does not hold.

    Arguments:
        subject: What was called, for instance ``"CIR"``.
        hypothesis: What has to hold, in symbols (``"kappa > 0"``), as a shape (``"x (..., d)"``) or as a clause
            (``"the process is VP"``), without the reason: it stands alone after a colon.
        got: What came instead, and why that will not do where it is not plain.

    Example:
        >>> print(UnmetHypothesis("CIR", "kappa > 0", "kappa = -1.0"))
        CIR: unmet hypothesis: kappa > 0 (kappa = -1.0)
    """

    __module__ = "driftproof"

    def __init__(self, subject: str, hypothesis: str, got: str) -> None:
        super().__init__(f"{subject}: unmet hypothesis: {hypothesis} ({got})")
        self.subject, self.hypothesis, self.got = subject, hypothesis, got

    def __reduce__(self) -> tuple[type[UnmetHypothesis], tuple[str, str, str]]:
        return type(self), (self.subject, self.hypothesis, self.got)


def refuse(subject: str, name: str, expected: str, value: object) -> NoReturn:
    """Raise the TypeError for a value of the wrong kind."""
    raise TypeError(f"{subject}: expected {expected} for {name}, got {_kind(value)}")


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def is_number(value: object) -> bool:
    """Whether a real number of Python or numpy; True, False and lengths of time are none."""
    return isinstance(value, int | float | np.floating | np.integer) and not isinstance(
        value, bool | np.timedelta64
    )


def number(subject: str, name: str, value: Any) -> float:
    """A real number as a Python float, whatever its value."""
    if not is_number(value):
        refuse(subject, name, "a real number", value)
    try:
        return float(value)
    except OverflowError:
        got = f"{name} is an integer of {int(value).bit_length()} bits"
        raise UnmetHypothesis(subject, f"{name} is finite", got) from None


def require_number(subject: str, name: str, value: float, domain: str) -> None:
    """Raise :class:`UnmetHypothesis` unless the number lies in the domain."""
    if not inside(value, domain):
        hypothesis = f"{name} is finite" if domain == "finite" else f"{name} {domain}"
        raise UnmetHypothesis(subject, hypothesis, f"{name} = {value!r}")


def inside(value: Any, domain: str) -> Any:
    """Whether a number, or each element of an array, lies in a domain."""
    low, high, open_low, open_high = _ends(domain)
    above = value > low if open_low else value >= low
    if high == math.inf and not open_high:
        return above
    return above & (value < high if open_high else value <= high)


@functools.cache
def _ends(domain: str) -> tuple[float, float, bool, bool]:
    """Low, high, and whether they do not belong: of "> 0", ">= 0", "finite" or "in [low, high)"."""
    match domain:
        case "finite":
            return -math.inf, math.inf, True, True
        case "> 0" | ">= 0":
            return 0.0, math.inf, domain == "> 0", False
    low, high = domain.removeprefix("in ")[1:-1].split(", ")
    return float(low), float(high), domain.startswith("in ("), domain.endswith(")")


def _number_in(domain: str) -> Check:
    low, high, open_low, open_high = _ends(domain)
    least = math.nextafter(low, math.inf) if open_low else low
    most = math.nextafter(high, -math.inf) if open_high else high

    def check(subject: str, name: str, value: Any) -> float:
        if type(value) is float and least <= value <= most:
            return value
        kept = number(subject, name, value)
        require_number(subject, name, kept, domain)
        return kept

    return check


def _integer(subject: str, name: str, value: Any) -> int:
    if not isinstance(value, int | np.integer) or not is_number(value):
        refuse(subject, name, "an integer", value)
    if not -(2**63) <= value < 2**63:
        got = f"{name} is an integer of {int(value).bit_length()} bits"
        raise UnmetHypothesis(subject, f"{name} fits into 64 bits", got)
    return int(value)


def _flag(subject: str, name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        refuse(subject, name, "True or False", value)
    return bool(value)


def _words(*known: Any) -> Check:
    listed = ", ".join(repr(word) for word in known)
    kinds = tuple({type(word) for word in known})

    def check(subject: str, name: str, value: Any) -> Any:
        if type(value) not in kinds:
            refuse(subject, name, f"one of {listed}", value)
        if value not in known:
            raise UnmetHypothesis(subject, f"{name} is one of {listed}", f"{name} = {value!r:.60}")
        return value

    return check


# --- from annotations to checks ---


def check_of(hint: Any, domain: str = "finite") -> Check | None:
    """The check of an annotation; None where anything goes.  The domain is that of its numbers.

    Example:
        >>> check_of(float | None, "> 0")("example", "clip", np.float32(0.5))
        0.5
        >>> check_of(Literal["left", "right"])("example", "side", "x")
        Traceback (most recent call last):
        ...
        driftproof.UnmetHypothesis: example: unmet hypothesis: side is one of 'left', 'right' (side = 'x')
    """
    hint = unaliased(hint)
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object or isinstance(hint, TypeVar):
        return None
    if origin is Annotated:
        own: Check = inside[1]  # an alias that brings its own check
        return own
    if origin in (typing.Union, types.UnionType):
        return _one_of(inside, domain)
    if origin is Literal:
        return _words(*inside)
    if origin is tuple and inside[-1] is not Ellipsis:
        return _row([check_of(part, domain) for part in inside])
    if origin in (tuple, list, collections.abc.Sequence):
        return _sequence(origin, check_of(inside[0], domain))
    if origin is np.ndarray:
        return _numpy_array(np.dtype(typing.get_args(inside[1])[0]))
    simple = {float: _number_in(domain), int: _integer, bool: _flag}
    if hint in simple:
        return simple[hint]
    return _instance(hint if origin is None else origin)


def unaliased(hint: Any) -> Any:
    """The type behind an alias of Python's ``type`` statement, as those of numpy are from 2.5 on.

    Example:
        >>> unaliased(float | None)
        float | None
    """
    origin = typing.get_origin(hint)
    if type(origin).__name__ == "TypeAliasType":
        return unaliased(origin.__value__[typing.get_args(hint)])
    return unaliased(hint.__value__) if type(hint).__name__ == "TypeAliasType" else hint


def _one_of(hints: tuple[Any, ...], domain: str) -> Check | None:
    """The check of a union: None passes where it is named; classes are checked at once, words too, the rest in turn."""
    hints = tuple(unaliased(hint) for hint in hints)
    optional = type(None) in hints
    hints = tuple(hint for hint in hints if hint is not type(None))
    classes = [hint for hint in hints if isinstance(hint, type) and hint not in (float, int, bool)]
    words = [word for hint in hints if typing.get_origin(hint) is Literal for word in typing.get_args(hint)]
    checks = [
        check_of(hint, domain)
        for hint in hints
        if hint not in classes and typing.get_origin(hint) is not Literal
    ]
    if words:
        checks.append(_words(*words))
    if classes:
        checks.append(_instance(*classes))
    if None in checks:
        return None
    alternatives = typing.cast("list[Check]", checks)

    def check(subject: str, name: str, value: Any) -> Any:
        if optional and value is None:
            return None
        for alternative in alternatives[:-1]:
            try:
                return alternative(subject, name, value)
            except TypeError:
                pass
        return alternatives[-1](subject, name, value)

    return check


def _instance(*classes: Any) -> Check:
    """Instances of one of the classes; of a protocol, whatever has its members."""
    if classes == (collections.abc.Callable,):
        return _function
    real = tuple(c for c in classes if not getattr(c, "_is_protocol", False))
    protocols = [(c, _members(c)) for c in classes if c not in real]
    families = tuple(root for c in real if (root := _family(c)) is not None)

    def check(subject: str, name: str, value: Any) -> Any:
        if isinstance(value, real):
            return value
        *others, last = dict.fromkeys(name for c in classes for name in _called(c))
        expected = " or ".join([", ".join(others), last]) if others else last
        if not isinstance(value, type):
            if any(all(hasattr(value, m) for m in members) for _, members in protocols):
                return value
            if isinstance(value, families):
                raise UnmetHypothesis(subject, f"the {name} is {expected}", f"{name} {type(value).__name__}")
        return refuse(subject, name, expected, value)

    return check


def _numpy_array(dtype: np.dtype[Any]) -> Check:
    def check(subject: str, name: str, value: Any) -> Any:
        if isinstance(value, np.memmap):
            value = value.view(np.ndarray)
        if type(value) is not np.ndarray or value.dtype != dtype:
            got = f"{_kind(value)}{f' of {value.dtype}' if isinstance(value, np.ndarray) else ''}"
            raise TypeError(f"{subject}: expected a numpy array of {dtype} for {name}, got {got}")
        if dtype.kind == "f" and np.isnan(value).any():
            raise UnmetHypothesis(subject, f"{name} has no NaN", f"shape {value.shape}")
        return value

    return check


def _function(subject: str, name: str, value: Any) -> Any:
    if not callable(value):
        refuse(subject, name, "a function", value)
    return value


def _members(protocol: Any) -> tuple[str, ...]:
    names: set[str] = set()
    for part in protocol.__mro__:
        if getattr(part, "_is_protocol", False):
            names |= vars(part).keys() | vars(part).get("__annotations__", {}).keys()
    return tuple(sorted(name for name in names if not name.startswith("_")))


def _family(member: type) -> type | None:
    """The abstract class of the library that a class is one of: another member of it is another value."""
    ours = [c for c in member.__mro__[1:] if c.__module__.startswith("driftproof.")]
    return ours[-1] if ours else None


def _called(member: Any) -> list[str]:
    """The name of a class; of an abstract one, the names of those that it stands for."""
    parts: list[Any] = member.__subclasses__()
    below = [name for part in parts for name in _called(part)]
    return below if below and inspect.isabstract(member) else [member.__name__]


def _row(checks: list[Check | None]) -> Check:
    def check(subject: str, name: str, value: Any) -> Any:
        if not isinstance(value, tuple | list) or len(value) != len(checks):
            got = f"{len(value)} values" if isinstance(value, tuple | list) else _kind(value)
            raise TypeError(f"{subject}: expected {len(checks)} values for {name}, got {got}")
        return tuple(_each(subject, name, value, checks))

    return check


def _sequence(origin: Any, element: Check | None) -> Check:
    def check(subject: str, name: str, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiu":
            value = value.tolist()
        if isinstance(value, str | bytes | bytearray | memoryview) or not isinstance(value, Sequence):
            refuse(subject, name, "a sequence", value)
        kept = _each(subject, name, value, [element] * len(value))
        return tuple(kept) if origin is tuple else kept

    return check


def _each(subject: str, name: str, values: Sequence[Any], checks: Sequence[Check | None]) -> list[Any]:
    pairs = enumerate(zip(values, checks, strict=True))
    return [v if check is None else check(subject, f"{name}[{k}]", v) for k, (v, check) in pairs]
