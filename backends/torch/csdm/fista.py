r"""FISTA for thousands of problems at once, eager or compiled.

A step is one pair of matrix products for the whole batch; what is left of it are passes over memory.  Compiled,
the kernel of numerics is one pass.  Eager, the same kernel takes several steps on a block of problems while the
block is in the cache of the CPU.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable
from typing import Any

import array_api_compat.torch as xp
import torch
from torch import Tensor

from driftproof._namespace import Namespace
from driftproof.numerics.sensing import Solution, duality_gap, fista_step, solve
from driftproof.numerics.sensing.fista import advance

__all__ = ["batched_fista"]

_CACHED = 2**16  # coordinates of a block: half a dozen arrays of it fit in the cache of a core


@torch.no_grad()
def batched_fista(
    A: Tensor,  # (m, d)   - the sketch
    y: Tensor,  # (..., m) - measurements
    lam: float | Tensor,  # > 0: a number, or (...) one for each problem
    *,
    low: float = -math.inf,
    high: float = math.inf,
    tolerance: float = 1e-5,
    max_iterations: int = 5000,
    every: int = 20,
    compile: bool = False,
) -> Solution:
    r"""The LASSO with bounds for every row of ``y``, to a duality gap of ``tolerance`` times :math:`|y|^2`.

    Arguments:
        A, y, lam, low, high, tolerance, max_iterations, every: As for :func:`driftproof.numerics.sensing.solve`.
        compile: Whether to compile the step (once a process: seconds to a minute, for many batches).

    Returns:
        The solution, with ``x`` of shape (..., d) on the device of ``y``.

    Raises:
        UnmetHypothesis: lambda <= 0, a zero column, a tolerance that the dtype cannot certify.
        NotConverged: A gap is above the goal after ``max_iterations`` steps.

    Example:
        >>> batched_fista(torch.eye(2), torch.tensor([[3.0, 0.5]]), 1.0).x.tolist()
        [[2.0, 0.0]]
    """
    options: dict[str, Any] = {"advance": _eager}
    if compile:
        options = {"advance": _compiled, "certificate": _certificate}
    return solve(
        A,
        y,
        lam,
        low=low,
        high=high,
        tolerance=tolerance,
        max_iterations=max_iterations,
        every=every,
        **options,
    )


def _eager(
    namespace: Namespace,
    x: Tensor,
    z: Tensor,
    t: Tensor,
    A: Tensor,
    y: Tensor,
    lam: float | Tensor,
    step: float,
    low: float,
    high: float,
    restart: bool,
    count: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Several steps of the kernel, block by block on a CPU."""
    size = max(1, _CACHED // x.shape[1]) if x.device.type == "cpu" else x.shape[0]
    blocks = zip(*(torch.split(part, size) for part in (x, z, t, y)), strict=True)
    penalties: Iterable[float | Tensor] = (
        itertools.repeat(lam) if isinstance(lam, float) else torch.split(lam, size)
    )
    made = [
        advance(namespace, a, b, c, A, d, penalty, step, low, high, restart, count)
        for (a, b, c, d), penalty in zip(blocks, penalties, strict=False)
    ]
    if len(made) == 1:
        return made[0]
    x, z, t = (torch.cat(parts) for parts in zip(*made, strict=True))
    return x, z, t


def _compiled(
    namespace: Namespace,
    x: Tensor,
    z: Tensor,
    t: Tensor,
    A: Tensor,
    y: Tensor,
    lam: float | Tensor,
    step: float,
    low: float,
    high: float,
    restart: bool,
    count: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Several steps; numbers travel as tensors, so that other numbers do not compile again."""
    one = _compiled_step(low, high, restart)
    length = torch.as_tensor(step, dtype=y.dtype, device=y.device)
    penalty = torch.as_tensor(lam, dtype=y.dtype, device=y.device)
    for _ in range(count):
        x, z, t = one(x, z, t, A, y, penalty, length)
    return x, z, t


def _certificate(
    namespace: Namespace, x: Tensor, A: Tensor, y: Tensor, lam: float | Tensor, low: float, high: float
) -> Tensor:
    gap: Tensor = _compiled_gap(low, high)(x, A, y, torch.as_tensor(lam, dtype=y.dtype, device=y.device))
    return gap


@functools.cache
def _compiled_step(low: float, high: float, restart: bool) -> Any:
    def step(
        x: Tensor, z: Tensor, t: Tensor, A: Tensor, y: Tensor, lam: Tensor, length: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        return fista_step.kernel(xp, x, z, t, A, y, lam, length, low, high, restart)

    return torch.compile(step, fullgraph=True, dynamic=True)


@functools.cache
def _compiled_gap(low: float, high: float) -> Any:
    def gap(x: Tensor, A: Tensor, y: Tensor, lam: Tensor) -> Tensor:
        value: Tensor = duality_gap.kernel(xp, x, A, y, lam, low, high)
        return value

    return torch.compile(gap, fullgraph=True, dynamic=True)
