"""Arguments of any kind: copied, moved at random, and compared to the last bit."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

__all__ = ["copied", "jittered", "same"]


def copied(value: Any) -> Any:
    """A copy that shares no state with the value, where it has any that can be copied.

    Example:
        >>> before = [np.zeros(2)]
        >>> copied(before)[0] is before[0]
        False
    """
    return _mapped(value, lambda leaf: leaf)


def jittered(value: Any, rng: np.random.Generator) -> Any:
    """A copy in which some numbers, and the elements of some arrays, have been moved, many of them to edges.

    Now and then every array becomes a stack of three.
    """
    stacked, share = rng.random() < 0.1, rng.choice([0.3, 1.0])

    def move(leaf: Any) -> Any:
        if stacked and isinstance(leaf, np.ndarray) and leaf.ndim:
            return np.stack([_moved(leaf, rng) for _ in range(3)])
        return _moved(leaf, rng) if rng.random() < share else leaf

    return _mapped(value, move)


def same(one: Any, other: Any) -> bool:
    """Whether two results are equal to the last bit: in kind, shape, dtype and every number; NaN is equal to NaN.

    Example:
        >>> same((1.0, np.asarray([np.nan])), (1.0, np.asarray([np.nan])))
        True
        >>> same(1.0, 1)
        False
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if array_api_compat.is_array_api_obj(one):
        a, b = np.asarray(_plain(one)), np.asarray(_plain(other))
        return one.dtype == other.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one))
    if isinstance(one, np.random.Generator):
        return same(one.bit_generator.state, other.bit_generator.state)
    return one is other or (isinstance(one, int | str | bytes | complex) and bool(one == other))


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, float | int | np.ndarray | np.generic) or array_api_compat.is_array_api_obj(value):
        return change(copy.deepcopy(value))
    if type(value) in (list, tuple):
        return type(value)(_mapped(item, change) for item in value)
    if type(value) is dict:
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, functools.partial):
        named = {key: _mapped(item, change) for key, item in value.keywords.items()}
        return functools.partial(value.func, *_mapped(value.args, change), **named)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        made = [f for f in dataclasses.fields(value) if f.init]
        if len(made) == len(dataclasses.fields(value)):
            try:
                return type(value)(**{f.name: _mapped(getattr(value, f.name), change) for f in made})
            except Exception:  # noqa: BLE001  # what has been moved is no such object
                return value
        return value
    if isinstance(value, np.random.Generator | np.random.RandomState):
        return copy.deepcopy(value)
    return value


def _moved(leaf: Any, rng: np.random.Generator) -> Any:
    if isinstance(leaf, bool | np.bool_):
        return leaf if rng.random() < 0.8 else not leaf
    if isinstance(leaf, int):
        return leaf + int(rng.integers(-1, 2))
    if isinstance(leaf, float):
        return float(_numbers(np.asarray(leaf), rng))
    if isinstance(leaf, np.ndarray):
        if leaf.dtype.kind == "b":
            return leaf ^ (rng.random(leaf.shape) < rng.choice([0.0, 0.3]))
        return _numbers(leaf, rng).astype(leaf.dtype) if leaf.dtype.kind == "f" else leaf
    if array_api_compat.is_array_api_obj(leaf) and not isinstance(leaf, np.generic):
        xp = array_api_compat.array_namespace(leaf)
        if xp.isdtype(leaf.dtype, "real floating"):
            numbers = _numbers(np.asarray(_plain(leaf), dtype=float), rng)
            return xp.asarray(numbers.tolist(), dtype=leaf.dtype, device=array_api_compat.device(leaf))
    return leaf


_EDGES = (0.0, 1.0, -1.0, 0.5, 2.0, np.inf, -np.inf, 1e-300, 1e300, -30.0, 800.0)


def _numbers(numbers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Numbers moved in one of the ways in which inputs of a function differ."""
    shape = numbers.shape
    some = rng.random(shape) < rng.choice([0.3, 1.0])
    match int(rng.integers(8)):
        case 0 | 1:
            moved = numbers * np.exp(0.5 * rng.standard_normal(shape))
        case 2:
            moved = numbers + rng.standard_normal(shape)
        case 3:
            moved = -numbers
        case 4:  # over many decades
            moved = rng.choice([-1.0, 1.0], shape) * 10.0 ** rng.uniform(-12.0, 12.0, shape)
        case 5 | 6:
            moved = rng.choice(_EDGES, shape)
        case _:
            moved = rng.permuted(numbers, axis=-1) if shape else np.round(numbers)
    return np.where(some, moved, numbers)


def _plain(array: Any) -> Any:
    return array.detach().cpu().numpy() if hasattr(array, "detach") else array
