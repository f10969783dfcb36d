"""ART on torch: the stiffness of a frozen network, its grid, and a scheduler of diffusers that goes through it.

* :class:`.schedule.ARTSchedule`: a grid, as JSON, on a scheduler, as a list for other tools;
* :mod:`.passing`: what a scheduler makes of a grid, measured;
* :mod:`.frozen`, :mod:`.measuring`: a network in the variable of its sampler, and the size of a step's error there.

``driftproof grid MODEL`` learns a grid; ``driftproof train art`` compares grids on models of the zoo and where the best one is
known.
"""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.entry import Paper
from driftproof.backends.torch.kit.report import Section

from .config import RECIPES, Recipe
from .frozen import FrozenFlow, flow_of, load
from .gaussian import gaussian_flow
from .measuring import Stiffness, learn_grid, measure, run_solver, schedule_of
from .schedule import ARTSchedule, GridError

__all__ = [
    "ARTSchedule",
    "FrozenFlow",
    "GridError",
    "Stiffness",
    "flow_of",
    "gaussian_flow",
    "learn_grid",
    "load",
    "main",
    "measure",
    "run_solver",
    "schedule_of",
]


def _loaded(recipe: Recipe) -> tuple[Recipe, FrozenFlow]:
    if recipe.gaussian is not None:
        return recipe, gaussian_flow(recipe.gaussian.scale, recipe.gaussian.kind, recipe.gaussian.width)
    return recipe, load(recipe.model, recipe.guidance, recipe.prompts)


def _sections(loaded: tuple[Recipe, FrozenFlow], out: Path, accelerator: Accelerator) -> list[Section]:
    from .experiment import run
    from .report import study_section

    return [study_section(run(*loaded))]


main = Paper(
    RECIPES,
    _sections,
    "Grids of noise levels, learned and in use",
    ("torch", "diffusers", "accelerate"),
    prepare=_loaded,
)
