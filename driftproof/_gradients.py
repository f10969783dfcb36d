"""A guard for gradients: whether what autograd finds is a number, and where it stops being one."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import array_api_compat

from ._checks import UnmetHypothesis, refuse

__all__ = ["check_gradients"]


def check_gradients(function: Callable[..., Any], /, *arguments: Any) -> tuple[Any, ...]:
    r"""The gradients of a function in its arguments, or an error that says where one of them is NaN.

    .. math:: \nabla_{a_k} \sum_i f_i(a_1, \dots, a_n)

    Values are checked at the boundary of every public function; gradients are made later, by autograd, where no
    boundary sees them.  Call this at the point in question: it costs one run with its history recorded.

    Arguments:
        function: Takes the arguments in this order and returns an array, or a tuple, list or mapping of arrays.
        arguments: Those that are real floating arrays of torch or jax are differentiated; others are handed on.

    Returns:
        The gradient in each array, in order.  Infinite ones are legal: a square root has one at 0.

    Raises:
        TypeError: No argument is an array of a namespace that differentiates, or two namespaces are mixed.
        UnmetHypothesis: The value, or a gradient, has a NaN.  The error names the argument and the index; in
            torch also the operation whose derivative is the first NaN, with its line.

    Example:
        >>> import torch
        >>> x = torch.tensor([4.0, 0.0])
        >>> check_gradients(torch.sqrt, x)
        (tensor([0.2500,    inf]),)
        >>> check_gradients(lambda x: x * torch.log(x), x)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        driftproof.UnmetHypothesis: check_gradients: unmet hypothesis: the value has no NaN (1 NaN, the first at (1,))
        >>> check_gradients(lambda x: torch.where(x > 0, x * torch.log(x), 0.0), x)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        driftproof.UnmetHypothesis: check_gradients: unmet hypothesis: the gradient in argument 0 has no NaN ...
    """
    spaces = {space for a in arguments if (space := _space(a)) is not None}
    if not spaces:
        refuse(
            "check_gradients",
            "the arguments",
            "an array of torch or jax",
            arguments[0] if arguments else None,
        )
    if len(spaces) > 1:
        raise TypeError("check_gradients: expected arrays of one namespace, got torch and jax")
    where = [k for k, a in enumerate(arguments) if _space(a) is not None]
    gradients = _torch_gradients if spaces == {"torch"} else _jax_gradients
    found, place = gradients(function, arguments, where)
    for index, gradient in zip(where, found, strict=True):
        if wrong := _nan(gradient):
            got = f"{wrong} of shape {tuple(gradient.shape)}{place}"
            raise UnmetHypothesis("check_gradients", f"the gradient in argument {index} has no NaN", got)
    return tuple(found)


def _space(value: Any) -> str | None:
    """The namespace of a real floating array that can be differentiated."""
    if array_api_compat.is_torch_array(value):
        return "torch" if value.dtype.is_floating_point else None
    if array_api_compat.is_jax_array(value):
        xp = array_api_compat.array_namespace(value)
        return "jax" if xp.issubdtype(value.dtype, xp.floating) else None
    return None


def _torch_gradients(
    function: Callable[..., Any], arguments: tuple[Any, ...], where: list[int]
) -> tuple[list[Any], str]:
    import torch

    leaves = {k: arguments[k].detach().clone().requires_grad_() for k in where}
    # Anomaly mode records the line of every operation; what is NaN is judged here, with a better message.
    with torch.enable_grad(), torch.autograd.set_detect_anomaly(True, check_nan=False):
        parts = list(_parts(function(*(leaves.get(k, a) for k, a in enumerate(arguments)))))
        _require_values(parts)
        parts = [part for part in parts if part.requires_grad]
        if not parts:
            return [torch.zeros_like(leaf) for leaf in leaves.values()], ""
        faults: list[str] = []
        handles = [
            node.register_hook(functools.partial(_watch, torch, faults, node)) for node in _nodes(parts)
        ]
        try:
            total = functools.reduce(torch.add, (part.double().sum() for part in parts))
            found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        finally:
            for handle in handles:
                handle.remove()
    filled = [
        torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves.values(), found, strict=True)
    ]
    return filled, f"; {faults[0]}" if faults else ""


def _watch(torch: ModuleType, faults: list[str], node: Any, made: Any, given: Any) -> None:
    """Note an operation that makes a NaN of numbers: 0 times infinity."""
    bad = [any(g is not None and bool(torch.isnan(g).any()) for g in side) for side in (made, given)]
    if bad == [True, False]:
        faults.append(f"the first is of {node.name().removesuffix('Backward0').lower()}{_line(node)}")


def _line(node: Any) -> str:
    frames = node.metadata.get("traceback_", ())
    for frame in reversed(frames):
        place = re.match(r'\s*File "(.*)", line (\d+), in (\S+)\n\s*(.*)', frame)
        if place and "/torch/" not in place[1] and "array_api_compat" not in place[1]:
            return f" in {place[3]}, {place[1]}:{place[2]}: {place[4].strip()[:80]}"
    return ""


def _nodes(parts: list[Any]) -> Iterator[Any]:
    """The operations behind the results; leaves, which only gather, left out."""
    todo, seen = [part.grad_fn for part in parts if part.grad_fn is not None], set()
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.next_functions:
            yield node
        todo.extend(below for below, _ in node.next_functions if below is not None)


def _jax_gradients(
    function: Callable[..., Any], arguments: tuple[Any, ...], where: list[int]
) -> tuple[list[Any], str]:
    import jax

    def total(*leaves: Any) -> Any:
        given = dict(zip(where, leaves, strict=True))
        parts = list(_parts(function(*(given.get(k, a) for k, a in enumerate(arguments)))))
        return functools.reduce(jax.numpy.add, (jax.numpy.sum(part) for part in parts)), parts

    points = [arguments[k] for k in where]
    found, parts = jax.grad(total, argnums=tuple(range(len(where))), has_aux=True)(*points)
    _require_values(parts)
    return list(found), ""


def _parts(result: Any) -> Iterator[Any]:
    if isinstance(result, tuple | list):
        for part in result:
            yield from _parts(part)
    elif isinstance(result, Mapping):
        yield from _parts(list(result.values()))
    elif _space(result) is not None:
        yield result
    elif array_api_compat.is_array_api_obj(result) and not array_api_compat.is_numpy_array(result):
        return  # integers: an index, a mask
    else:
        refuse("check_gradients", "the result of the function", "arrays of torch or jax", result)


def _require_values(parts: list[Any]) -> None:
    for part in parts:
        if wrong := _nan(part):
            raise UnmetHypothesis("check_gradients", "the value has no NaN", wrong)


def _nan(array: Any) -> str:
    """How many NaN there are and where the first is; nothing where there is none."""
    xp = array_api_compat.array_namespace(array)
    wrong = xp.isnan(array)
    count = int(xp.sum(xp.astype(wrong, xp.int32)))
    if not count:
        return ""
    flat = int(xp.argmax(xp.reshape(xp.astype(wrong, xp.int32), (-1,))))
    index: list[int] = []
    for size in reversed(array.shape):
        index.insert(0, flat % size)
        flat //= size
    return f"{count} NaN, the first at {tuple(index)}"
