r"""Grids beside each other on one frozen network: the same noise, the same prompts, the same number of steps.

What is learned is learned on other noise than what it is judged on.  The error is the root mean square distance, a
coordinate, of the state at the end from that of a run of many steps from the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftproof.backends.torch.pretrained.models import digit_features, zoo
from driftproof.backends.torch.schedulers.grids import spaced_timesteps
from driftproof.backends.torch.schedulers.levels import VPLevels
from driftproof.backends.torch.score_models.feature_distances import distances
from driftproof.backends.torch.score_models.metrics import Estimate
from driftproof.numerics.art import nonuniform_grid, resample_levels, rho_grid, shifted_grid
from driftproof.theory.art import flow_grid, tangent_grid

from .config import Recipe
from .frozen import FrozenFlow
from .measuring import Solver, measure, run_solver, schedule_of
from .schedule import ARTSchedule

__all__ = ["CARRIED", "CLOSED", "DEFAULT", "LOCAL", "Row", "Study", "baselines", "run"]

LOCAL, CARRIED = "ART: local errors", "ART: errors carried to the end"
DEFAULT, CLOSED = "default", "closed form"
_AT_ONCE = 100
_JUDGED = 2**20  # seeds of the noise that grids are judged on begin here

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A grid, a solver and a number of steps.

    Arguments:
        grid: Its name.
        solver, steps: The solver and the number of steps.
        levels: The levels of the first seed.
        errors: One error a seed.
        frechet: Distance of the images of all seeds from digits held out.
    """

    grid: str
    solver: Solver
    steps: int
    levels: Floats
    errors: tuple[float, ...]
    frechet: Estimate | None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """All rows of a recipe.

    Arguments:
        evaluations: The cost of measuring, a seed, by name and solver.
        floor: The distance of as many real digits from those held out.
        reference: The distance of the reference's images.
    """

    recipe: Recipe
    rows: tuple[Row, ...]
    evaluations: Mapping[str, int]
    floor: Estimate | None = None
    reference: Estimate | None = None


def baselines(flow: FrozenFlow, steps: int) -> dict[str, Floats]:
    """Grids in use, and the default of the model: that of its scheduler, of a flow equal steps."""
    high, low = flow.ends
    if flow.kind == "flow":
        equal, odds = np.linspace(1.0, 0.0, steps + 1), {"log-SNR": math.inf, "EDM": 7.0}
        made = {
            "shift 3": np.asarray(shifted_grid(steps, 3.0)),
            "equal angles": np.asarray(flow_grid(steps, 1.0)),
            **{name: _of_odds(rho_grid(steps, 0.002, 80.0, rho)) for name, rho in odds.items()},
        }
        return {DEFAULT: equal, **made}
    inner = max(steps - 1, 1)

    def ended(levels: Floats) -> Floats:
        """n levels, and 0: as EDM has it."""
        return np.append(levels, 0.0) if steps > 1 else np.asarray([high, 0.0])

    made = {
        "uniform": np.linspace(high, 0.0, steps + 1),
        "log-SNR": ended(rho_grid(inner, low, high, math.inf)),
        "EDM": ended(rho_grid(inner, low, high, 7.0)),
        "DM-NonUniform": ended(nonuniform_grid(inner, low, high)),
        "equal angles": np.asarray(tangent_grid(steps, 1.0, 0.0, high)),
    }
    if steps > 2:
        from driftproof.numerics.art import AYS_LEVELS

        made["AYS, of SD 1.5"] = resample_levels([*AYS_LEVELS["stable-diffusion-1.5"][:-1], 0.0], steps)
    return {DEFAULT: _default(flow, steps, made["uniform"]), **made}


def run(recipe: Recipe, flow: FrozenFlow) -> Study:
    """Measure, make the grids, run them all, and judge them."""
    settings = [(solver, steps) for solver in recipe.solvers for steps in recipe.steps]
    errors: dict[tuple[str, Solver, int], list[float]] = {}
    levels: dict[tuple[str, Solver, int], Floats] = {}
    images: dict[tuple[str, Solver, int], list[Tensor]] = {}
    references: list[Tensor] = []
    cost: dict[str, int] = {}
    for seed in recipe.seeds:
        learned = {solver: _learned(recipe, flow, solver, seed, cost) for solver in recipe.solvers}
        noise = flow.noise(recipe.count, torch.Generator().manual_seed(_JUDGED + seed))
        truth = _sampled(flow, noise, _reference_grid(flow, recipe.reference), "heun")
        references += [_features(flow, truth)] if recipe.features else []
        for solver, steps in settings:
            grids = baselines(flow, steps)
            grids |= {
                name: np.asarray(grid.resampled(steps).levels) for name, grid in learned[solver].items()
            }
            if recipe.gaussian is not None and solver == "euler":
                grids[CLOSED] = _closed(recipe, flow, steps)
            for name, grid in grids.items():
                key = (name, solver, steps)
                end = _sampled(flow, noise, grid, solver)
                levels.setdefault(key, grid)
                errors.setdefault(key, []).append(float(torch.sqrt(torch.mean((end - truth) ** 2))))
                if recipe.features:
                    images.setdefault(key, []).append(_features(flow, end))
    far, floor, reference = _judged(images, references)
    rows = [Row(*key, levels[key], tuple(errors[key]), far.get(key)) for key in errors]
    return Study(recipe, tuple(rows), cost, floor, reference)


def _learned(
    recipe: Recipe, flow: FrozenFlow, solver: Solver, seed: int, cost: dict[str, int]
) -> dict[str, ARTSchedule]:
    found = {}
    for name, carried in ((LOCAL, False), (CARRIED, True)):
        plan, generator = recipe.measuring, torch.Generator().manual_seed(seed)
        measured = measure(
            flow,
            plan.count,
            plan.fine,
            generator,
            solver=solver,
            jvp=plan.jvp and solver == "euler",
            carried=carried,
        )
        cost[f"{name}, {solver}"] = measured.evaluations
        found[name] = schedule_of(flow, measured, 2, solver, carried=carried)
    return found


def _sampled(flow: FrozenFlow, noise: Tensor, levels: Floats, solver: Solver) -> Tensor:
    """The data that a pipeline would decode, a few states at a time."""
    ends = []
    with torch.no_grad():
        for start in range(0, len(noise), _AT_ONCE):
            part = noise[start : start + _AT_ONCE]
            x = flow.state(part, float(levels[0]))
            x = run_solver(flow.velocity(flow.rows(len(part), start)), x, levels, solver)
            ends.append(flow.data(x, float(levels[-1])))
    return torch.cat(ends)


def _reference_grid(flow: FrozenFlow, steps: int) -> Floats:
    high, low = flow.ends
    return (
        np.asarray(flow_grid(steps, 1.0))
        if flow.kind == "flow"
        else np.append(rho_grid(steps - 1, low, high), 0.0)
    )


def _default(flow: FrozenFlow, steps: int, otherwise: Floats) -> Floats:
    """The levels of the pipeline's own scheduler: labels by its spacing, and the end that it goes to."""
    if flow.scheduler is None or flow.table is None:
        return otherwise
    config = flow.scheduler.config
    table = VPLevels(flow.table, 1.0)
    labels = spaced_timesteps(
        config.timestep_spacing, steps, int(config.num_train_timesteps), int(config.get("steps_offset", 0))
    )
    ratio = np.exp(table.log_ratio)
    return np.append(ratio[labels.astype(int)], 0.0 if config.get("set_alpha_to_one", True) else ratio[0])


def _of_odds(odds: Floats) -> Floats:
    """Times of a flow by their odds, with both ends moved to 1 and 0."""
    times: Floats = np.asarray(odds) / (1.0 + np.asarray(odds))
    times[0], times[-1] = 1.0, 0.0
    return times


def _closed(recipe: Recipe, flow: FrozenFlow, steps: int) -> Floats:
    assert recipe.gaussian is not None
    s = recipe.gaussian.scale
    return np.asarray(
        flow_grid(steps, s) if flow.kind == "flow" else tangent_grid(steps, s, 0.0, flow.ends[0])
    )


@torch.no_grad()
def _features(flow: FrozenFlow, ends: Tensor) -> Tensor:
    assert flow.decode is not None
    found: Tensor = zoo("mnist-classifier").features(flow.decode(ends).cpu())
    return found


def _judged(
    images: Mapping[tuple[str, Solver, int], list[Tensor]], references: list[Tensor]
) -> tuple[dict[tuple[str, Solver, int], Estimate], Estimate | None, Estimate | None]:
    """Fréchet distances from digits held out; all by the same resamples, so that differences are of pairs."""
    if not references:
        return {}, None, None
    held, real = (digit_features(part).double().numpy() for part in ("held_out", "train"))
    unit = float(np.sqrt(held.var(axis=0).mean()))  # the scale of features is an accident of the training

    def far(features: list[Tensor]) -> tuple[Estimate, Estimate]:
        rows = torch.cat(features).double().numpy()[: len(real)] / unit
        found = distances(rows, real / unit, held / unit, np.random.default_rng(0))["Fréchet distance"]
        return found.distance, found.floor

    reference, floor = far(references)
    return {key: far(features)[0] for key, features in images.items()}, floor, reference
