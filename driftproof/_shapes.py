"""Shapes that do not fit together: what namespaces say of them in their own ways is said in one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ._checks import UnmetHypothesis
from ._results import is_array

__all__ = ["explain", "require_broadcastable"]


# What numpy and torch say where axes have other meanings than those that broadcasting sees.
_ABOUT_SHAPES = re.compile(
    r"could not be broadcast|too many indices|mismatch in its core dimension|size of tensor a .* must match"
    r"|shapes cannot be multiplied|Incompatible shapes"
)


def explain(subject: str, arguments: Mapping[str, Any], error: Exception) -> None:
    """Raise an error about shapes in their terms, where the namespace's own one comes from shapes that do not fit.

    Raises:
        UnmetHypothesis: The arrays cannot be broadcast together, or one has no elements or no axes.
    """
    if type(error).__name__ not in (
        "ValueError",
        "IndexError",
        "RuntimeError",
        "AxisError",
        "LinAlgError",
        "_LinAlgError",
    ):
        return  # ours, or not about shapes
    shapes = {name: tuple(value.shape) for name, value in arguments.items() if is_array(value)}
    fit = all(math.prod(shape) and shape for shape in shapes.values()) and _broadcastable(shapes.values())
    if fit and not _ABOUT_SHAPES.search(str(error)):
        return
    got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    raise UnmetHypothesis(
        subject, "the shapes of the arguments fit together", f"{got}: {error!s:.200}"
    ) from error


def require_broadcastable(subject: str, **arrays: Any) -> None:
    """Raise :class:`UnmetHypothesis` unless the shapes of the arrays can be broadcast together."""
    shapes = {name: tuple(value.shape) for name, value in arrays.items()}
    if not _broadcastable(shapes.values()):
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UnmetHypothesis(subject, "the shapes of the arguments fit together", got)


def _broadcastable(shapes: Iterable[tuple[int, ...]]) -> bool:
    if len(set(shapes)) < 2:
        return True
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True
