"""What can be known of arrays: their numbers, and no more than kind, shape and dtype while jax traces a function.

What jax compiles or maps is checked for kinds, shapes and dtypes; for values, where it is called with numbers or
where :func:`check_values` asks for it.
"""

from __future__ import annotations

import functools
import linecache
import sys
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeAlias

import array_api_compat
import numpy as np

__all__ = ["check_values", "holds", "known", "repeat", "settle", "settled", "still", "unmapped", "weigh"]

State: TypeAlias = tuple[Any, ...]

_ASKED = ContextVar("_ASKED", default=False)


def check_values(function: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """The function with every hypothesis on values checked while it runs, however jax compiles, maps or derives it.

    A function that jax traces sees no numbers, so that its hypotheses on them are not checked; this carries them
    along as checks of ``jax.experimental.checkify``, which cost as much as computing them.

    Arguments:
        function: Takes and returns arrays of jax; it may be a derivative or a map of functions of this library.

    Returns:
        A function of the same arguments that returns ``(error, result)``.  ``error.throw()`` raises if a hypothesis
        was not met and says which; the result is then worth nothing.

    Example:
        >>> import jax
        >>> from driftproof.theory.special import gammaln
        >>> error, value = jax.jit(check_values(gammaln))(jax.numpy.asarray([3.0, -1.0]))
        >>> print(error.get())
        gammaln: unmet hypothesis: x > 0 (`check` failed)
    """
    from jax.experimental import checkify

    @functools.wraps(function)
    def asked(*args: Any, **kwargs: Any) -> Any:
        token = _ASKED.set(True)
        try:
            return function(*args, **kwargs)
        finally:
            _ASKED.reset(token)

    checking: Callable[..., tuple[Any, Any]] = checkify.checkify(asked)
    return checking


def known(condition: Any, hypothesis: str = "") -> bool:
    """Whether a condition on numbers is met that must not be; no where jax or torch.func traces, without numbers yet.

    Arguments:
        condition: An array of one truth value.
        hypothesis: What :func:`check_values` says if it is met; by default the line of code of the condition.
    """
    return _met(condition, False, hypothesis)


def holds(condition: Any, hypothesis: str = "") -> bool:
    """Whether a hypothesis on numbers is met; yes where jax or torch.func is tracing.

    Arguments:
        condition, hypothesis: As in :func:`known`.
    """
    return _met(condition, True, hypothesis)


def _met(condition: Any, traced: bool, hypothesis: str) -> bool:
    try:
        return bool(condition)
    except Exception as error:
        jax = sys.modules.get("jax")
        if array_api_compat.is_torch_array(condition) and _mapped(condition):
            return traced
        if jax is None or not isinstance(error, jax.errors.ConcretizationTypeError):
            raise
    if _ASKED.get():
        from jax.experimental import checkify

        text = (hypothesis or _asking_line()).replace("{", "{{").replace("}", "}}")
        checkify.check(condition if traced else ~condition, text)
    return traced


def _asking_line() -> str:
    """The line of code that called :func:`known` or :func:`holds`."""
    frame = sys._getframe(3)
    file, line = frame.f_code.co_filename, frame.f_lineno
    code = linecache.getline(file, line).strip()
    return f"{frame.f_code.co_name}: unmet hypothesis: that of {Path(file).name}, line {line} ({code})"


def settled(condition: Any) -> bool:
    """Whether a condition that is no hypothesis is met, in every example that torch.func.vmap maps; no under jax."""
    if array_api_compat.is_torch_array(condition):
        return _all(unmapped(condition))
    return not _traced(condition) and bool(condition)


def unmapped(value: Any) -> Any:
    """The numbers of an array: those of every example where torch.func.vmap maps, the array itself elsewhere."""
    if not isinstance(value, np.ndarray) and array_api_compat.is_torch_array(value):
        of = sys.modules["torch"]._C._functorch
        while of.is_functorch_wrapped_tensor(value):
            value = of.get_unwrapped(value)
    return value


def _mapped(value: Any) -> bool:
    """Whether torch.func.vmap has made many of a tensor, or of what a transformation wrapped."""
    of = sys.modules["torch"]._C._functorch
    while of.is_functorch_wrapped_tensor(value):
        if of.is_batchedtensor(value):
            return True
        value = of.get_unwrapped(value)
    return False


def still(value: Any) -> Any:
    """The array without its gradient: where panels lie, and how large an error is, changes no value."""
    if hasattr(value, "detach"):  # of torch
        return value.detach()
    if array_api_compat.is_jax_array(value):
        return sys.modules["jax"].lax.stop_gradient(value)
    return value


def repeat(step: Callable[..., State], rounds: int, *state: Any) -> State:
    """Take a step that many times; jax compiles it once.

    Arguments:
        step: ``step(*state)`` gives the next state, a tuple of arrays of the same shapes and dtypes.
        rounds: How often.
        state: The arrays to begin with.

    Example:
        >>> repeat(lambda x: (2.0 * x,), 3, np.ones(1))[0].tolist()
        [8.0]
    """
    if _traced(*state):
        found: State = sys.modules["jax"].lax.fori_loop(0, rounds, lambda _, now: step(*now), state)
        return found
    for _ in range(rounds):
        state = step(*state)
    return state


def weigh(function: Callable[[Any], Any], nodes: list[float], weights: list[float], zero: Any) -> Any:
    """The sum of weights times values of a function at nodes, added one by one; jax compiles the function once.

    Arguments:
        function: A function of a number, an array.
        nodes, weights: Numbers, as many of these as of those.
        zero: An array of zeros, of the shape and dtype of the values.

    Example:
        >>> weigh(lambda node: node * np.ones(2), [1.0, 2.0], [0.5, 0.25], np.zeros(2)).tolist()
        [1.0, 1.0]
    """
    if _traced(zero):
        jax: Any = sys.modules["jax"]
        rows = tuple(jax.numpy.asarray(each, dtype=zero.dtype) for each in (nodes, weights))
        return jax.lax.scan(lambda total, row: (total + row[1] * function(row[0]), None), zero, rows)[0]
    total = zero
    for node, weight in zip(nodes, weights, strict=True):
        total = total + weight * function(node)
    return total


def settle(step: Callable[..., tuple[State, Any]], rounds: int, *state: Any) -> State:
    """Take a step until all is settled, or that many times; jax compiles it once, and derives nothing of it.

    Arguments:
        step: ``step(*state)`` gives the next state, a tuple of arrays of the same shapes and dtypes, and an array
            that says which elements are settled.
        rounds: The largest number of steps.
        state: The arrays to begin with.

    Example:
        >>> settle(lambda x: ((x / 2.0,), x < 4.0), 9, np.asarray([1.0, 8.0]))[0].tolist()
        [0.125, 1.0]
    """
    for left in range(rounds, 0, -1):
        if _traced(*state):  # at once, or by what the step closes over
            return _settle_traced(step, left, state)
        state, done = step(*state)
        if not _traced(done) and _all(unmapped(done)):
            break
    return state


def _settle_traced(step: Callable[..., tuple[State, Any]], rounds: int, state: State) -> State:
    jax: Any = sys.modules["jax"]

    def again(now: tuple[Any, Any, State]) -> Any:
        return (now[0] > 0) & ~now[1]

    def body(now: tuple[Any, Any, State]) -> tuple[Any, Any, State]:
        after, done = step(*now[2])
        return now[0] - 1, done.all(), after

    found: State = jax.lax.while_loop(again, body, (rounds, jax.numpy.asarray(False), state))[2]
    return found


def _all(condition: Any) -> bool:
    xp = array_api_compat.array_namespace(condition) if hasattr(condition, "shape") else np
    return bool(xp.all(condition))


def _traced(*state: Any) -> bool:
    if any(isinstance(value, np.ndarray) or hasattr(value, "detach") for value in state):
        return False  # of numpy or torch, whose compiler asks no more than that
    jax = sys.modules.get("jax")
    return jax is not None and any(isinstance(value, jax.core.Tracer) for value in state)
