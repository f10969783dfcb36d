r"""What a solver's step leaves along the paths of a frozen network, and the grid that follows.

A batch of paths is run by Heun's method through fine levels.  Beside it the local error is measured,

* for Euler :math:`\frac{h^2}2\ddot x`, whose acceleration is one Jacobian-vector product, or central differences;
* for Heun :math:`C h^3`, by doubling: one step and two halves differ by :math:`\frac34 C h^3`;

and carried to the end, where ``carried`` is set: a random direction v at the end, drawn for each path, is taken back by
the transposes of the steps, :math:`a = J^\top v`, and :math:`E\langle a, e\rangle^2 = E|Je|^2` is what the error does there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias, cast, final

import numpy as np
import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import digest_of
from driftproof.backends.torch.schedulers.levels import Floats
from driftproof.numerics.art import mean_stiffness, order_grid, path_acceleration, rho_grid
from driftproof.numerics.art.stiffness import Jvp
from driftproof.theory.art import flow_grid

from .frozen import FrozenFlow
from .schedule import ORDERS, ARTSchedule

__all__ = ["Solver", "Stiffness", "learn_grid", "measure", "run_solver", "schedule_of"]

Solver: TypeAlias = Literal["euler", "heun"]
Velocity: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Stiffness:
    """The size of a solver's local error at levels that fall to 0.

    Arguments:
        levels: (M,).
        values: Q at them, of the local error :math:`Q h^{p+1}`.
        order: p of the solver.
        evaluations: States that the network was given for it; a backward pass or a Jacobian-vector product counts as one more, and
            guidance doubles all.
    """

    levels: Floats
    values: Floats
    order: int
    evaluations: int


def run_solver(velocity: Velocity, x: Tensor, levels: Floats, solver: Solver = "euler") -> Tensor:
    """States (B, *) taken through levels; Heun's last step to 0 is Euler's."""
    grid = [torch.tensor(level, dtype=x.dtype, device=x.device) for level in np.asarray(levels).tolist()]
    for a, b in pairwise(grid):
        x = _heun(velocity, x, a, b) if solver == "heun" and float(b) > 0.0 else x + (b - a) * velocity(x, a)
    return x


def measure(
    flow: FrozenFlow,
    count: int,
    fine: int,
    generator: torch.Generator,
    *,
    solver: Solver = "euler",
    jvp: bool = False,
    carried: bool = False,
) -> Stiffness:
    """The stiffness of a network for a solver.

    Arguments:
        flow: The network, whose evaluations are counted.
        count: Paths.
        fine: Fine levels, >= 4.
        generator: Draws the starts and, for ``carried``, the directions.
        solver: The solver whose local errors are measured.
        jvp: For Euler, by ``torch.func.jvp`` in the place of differences: not where attention is fused.
        carried: Whether errors are carried to the end, which takes the transposes of the fine steps.

    Raises:
        UnmetHypothesis: Too few paths or levels, or a network that is not finite at a level.
    """
    if count < 2 or fine < 4:
        raise UnmetHypothesis("measure", "two paths and four levels or more", f"{count} paths, {fine} levels")
    before = flow.evaluations
    velocity = flow.velocity(flow.rows(count))
    high, low = flow.ends
    # For a flow equal angles for unit data, else Karras' levels.  The first has the stiffness of the second:
    # differences around it would ask the network for levels that it does not know.
    levels = flow_grid(fine, 1.0)[:-1] if flow.kind == "flow" else rho_grid(fine - 1, low, high)
    x = flow.state(flow.noise(count, generator), high)
    grid = [torch.tensor(float(level), dtype=x.dtype, device=x.device) for level in levels]
    states, errors, places, heun = [x], [], [], solver == "heun"
    with torch.no_grad():
        slope = None  # at the state, where the error of the step before has needed it
        for a, b in pairwise(grid):
            slope = velocity(x, a) if slope is None else slope
            ahead = _heun(velocity, x, a, b, slope)
            if not bool(torch.isfinite(ahead).all()):
                raise UnmetHypothesis(
                    "measure",
                    "the network is finite on its paths",
                    f"NaN or infinity below the level {float(a):.4g}",
                )
            if heun:
                middle = 0.5 * (a + b)
                twice = _heun(velocity, _heun(velocity, x, a, middle, slope), middle, b)
                errors.append((ahead - twice) / (0.75 * (a - b).abs() ** 3))  # C of the local error C h^3
                slope = None
            else:
                slope = velocity(ahead, b)
                made = path_acceleration(
                    velocity, ahead, b, cast("Jvp", torch.func.jvp) if jvp else None, slope=slope
                )
                errors.append(made.to(x.dtype))  # forward mode makes float64 of a level without axes
            places.append(float((a * b) ** 0.5) if heun else float(b))
            x = ahead
            states.append(x)
    # What a Jacobian-vector product, or a backward pass, costs beside the forward pass that was counted.
    extra = count * (fine - 1) * (1 if flow.guidance == 1.0 else 2) if jvp and solver == "euler" else 0
    adjoints: list[Tensor | None] = [None] * len(errors)
    if carried:
        forward = flow.evaluations
        adjoints = list(_adjoints(velocity, states, grid, generator))
        extra += flow.evaluations - forward
    values = [
        float(mean_stiffness(error.flatten(1), None if a is None else a.flatten(1)))
        for error, a in zip(errors, adjoints, strict=True)
    ]
    cost = flow.evaluations - before + extra
    order = ORDERS[solver]
    last = float(grid[-1])
    ends = [float(grid[0])], [0.0] if places[-1] == last else [last, 0.0]
    q = np.asarray([values[0], *values, *[values[-1]] * len(ends[1])])
    return Stiffness(np.asarray([*ends[0], *places, *ends[1]]), q, order, cost)


_UNKNOWN = Stiffness(np.asarray([1.0, 0.5, 0.0]), np.ones(3), 1, 0)


def schedule_of(
    flow: FrozenFlow,
    found: Stiffness,
    steps: int,
    solver: Solver,
    *,
    carried: bool = True,
    measured: str = "",
) -> ARTSchedule:
    """The grid of equal shares of :math:`Q^{1/(p+1)}`; ``measured`` says how its stiffness was found."""
    grid = order_grid(found.levels, found.values, steps, found.order)
    return ARTSchedule(
        tuple(grid.tolist()),
        flow.kind,
        solver,
        flow.digest,
        (int(flow.shape[-2]), int(flow.shape[-1])) if len(flow.shape) > 1 else (1, int(flow.shape[-1])),
        flow.guidance,
        carried,
        found.evaluations,
        measured,
        (tuple(found.levels.tolist()), tuple(found.values.tolist())),
    )


def learn_grid(
    flow: FrozenFlow,
    steps: int,
    solver: Solver = "euler",
    *,
    count: int = 32,
    fine: int = 24,
    carried: bool = True,
    seed: int = 0,
    folder: Path | None = None,
) -> ARTSchedule:
    """Measure a network and make its grid; see :func:`measure`.

    Arguments:
        flow, solver, count, fine, carried: As for :func:`measure`.
        steps: Steps of the grid.
        seed: The seed of starts and directions.
        folder: Where grids are kept: what was measured alike is measured once, for any number of steps.

    Raises:
        GridError: A file of the folder is damaged.
    """
    how = digest_of([*flow.description, f"{count} {fine} {seed} {carried}"])
    known = None
    if folder is not None:
        like = schedule_of(flow, _UNKNOWN, steps, solver, carried=carried, measured=how)
        kept = (ARTSchedule.load(file) for file in sorted(folder.glob(f"{like.stem}-*.json")))
        known = next((grid for grid in kept if _made_as(grid) == _made_as(like)), None)
    if known is None:
        found = measure(
            flow, count, fine, torch.Generator().manual_seed(seed), solver=solver, carried=carried
        )
        known = schedule_of(flow, found, steps, solver, carried=carried, measured=how)
    made = known.resampled(steps)
    if folder is not None:
        made.save(folder / made.file_name)
    return made


def _made_as(grid: ARTSchedule) -> tuple[object, ...]:
    """All that a grid follows from but the number of its steps."""
    return grid.model, grid.kind, grid.solver, grid.carried, grid.guidance, grid.resolution, grid.measured


def _heun(velocity: Velocity, x: Tensor, a: Tensor, b: Tensor, slope: Tensor | None = None) -> Tensor:
    slope = velocity(x, a) if slope is None else slope
    return x + 0.5 * (b - a) * (slope + velocity(x + (b - a) * slope, b))


def _adjoints(
    velocity: Velocity, states: list[Tensor], grid: list[Tensor], generator: torch.Generator
) -> list[Tensor]:
    """Random directions at the end, taken back to every level but the first."""
    end = len(states) - 1
    a = torch.randn(states[-1].shape, generator=generator).to(states[-1])
    # From the last level the step to 0 is Euler's.
    a = _back(lambda x: x - grid[end] * velocity(x, grid[end]), states[end], a)
    found = [a]
    for k in range(end - 1, 0, -1):
        a = _back(lambda x, k=k: _heun(velocity, x, grid[k], grid[k + 1]), states[k], a)  # type: ignore[misc]
        found.append(a)
    return found[::-1]


def _back(step: Callable[[Tensor], Tensor], x: Tensor, a: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        (found,) = torch.autograd.grad(step(x), x, a)
    return found
