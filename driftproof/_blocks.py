r"""Elementwise kernels on large numpy arrays, one cache-sized block at a time.

numpy runs a kernel operation by operation.  On 10^6 elements every temporary is written to memory and
read back; on 16384 elements (128 KiB) it stays in the second-level cache, and a long kernel is about
twice as fast.  Other namespaces fuse or schedule operations themselves and see the kernel unchanged.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, cast

import array_api_compat.numpy as numpy_namespace
import numpy as np

from ._namespace import Array, Namespace

__all__ = ["BLOCK", "elementwise"]

P = ParamSpec("P")

BLOCK = 16384


def elementwise(
    kernel: Callable[Concatenate[Namespace, P], Array], block: int = BLOCK
) -> Callable[Concatenate[Namespace, P], Array]:
    """Declare that a kernel acts on each element by itself, so that numpy may take it block by block.

    One that makes many numbers of each element says how many elements are a ``block`` of it.

    Example:
        >>> @elementwise
        ... def sizes(xp, x: Array) -> Array:
        ...     return 0 * x + x.shape[0]
        >>> sorted(set(sizes(numpy_namespace, np.ones(3 * BLOCK + 1)).tolist()))
        [1.0, 16384.0]
    """

    @functools.wraps(kernel)
    def blockwise(xp: Namespace, *args: Any, **kwargs: Any) -> Array:
        if xp is not numpy_namespace:
            return kernel(xp, *args, **kwargs)
        shapes = [value.shape for value in (*args, *kwargs.values()) if isinstance(value, np.ndarray)]
        # Broadcast shapes have no more elements than the product of all, which is cheaper to know.
        if math.prod(map(math.prod, shapes)) < 2 * block:
            return kernel(xp, *args, **kwargs)
        shape = np.broadcast_shapes(*shapes)
        size = math.prod(shape)
        if size < 2 * block:
            return kernel(xp, *args, **kwargs)

        def cut(value: Any, here: slice) -> Any:
            return value[here] if isinstance(value, np.ndarray) and value.ndim else value

        flat = [_flatten(value, shape) for value in args]
        named = {name: _flatten(value, shape) for name, value in kwargs.items()}
        result: Any = None
        for start in range(0, size, block):
            here = slice(start, start + block)
            part = kernel(xp, *(cut(v, here) for v in flat), **{k: cut(v, here) for k, v in named.items()})
            if result is None:
                result = np.empty(size, dtype=part.dtype)
            result[here] = part
        return result.reshape(shape)

    return cast("Callable[Concatenate[Namespace, P], Array]", blockwise)


def _flatten(value: Any, shape: tuple[int, ...]) -> Any:
    """A vector of all elements of the broadcast array; a number for an array of one element."""
    if not isinstance(value, np.ndarray):
        return value
    if value.size == 1:
        return value.reshape(())
    return np.broadcast_to(value, shape).reshape(-1)
