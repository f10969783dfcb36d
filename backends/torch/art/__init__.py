"""ART on torch: the stiffness of a frozen network, its grid, and a scheduler of diffusers that goes through it.

* :class:`.schedule.ARTSchedule`: a grid, as JSON, on a scheduler, as a list for other tools;
* :mod:`.passing`: what a scheduler makes of a grid, measured;
* :mod:`.frozen`, :mod:`.measuring`: a network in the variable of its sampler, and the size of a step's error there.

``driftproof grid MODEL`` learns a grid; ``driftproof train art`` compares grids on models of the zoo and where the best one is
known.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from driftproof.backends.torch.kit.entry import Paper, run_recipes

from .config import RECIPES
from .frozen import FrozenFlow, flow_of, load
from .gaussian import gaussian_flow
from .measuring import Stiffness, learn_grid, measure, run_solver, schedule_of
from .schedule import ARTSchedule, GridError

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

    from driftproof.backends.torch.kit.report import Section

    from .config import Recipe

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


def main(config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
    """Run one recipe, or all that come with the package; see :func:`.kit.entry.run_recipes`."""
    from .experiment import run
    from .report import study_section

    def loaded(recipe: Recipe) -> tuple[Recipe, FrozenFlow]:
        if recipe.gaussian is not None:
            return recipe, gaussian_flow(recipe.gaussian.scale, recipe.gaussian.kind, recipe.gaussian.width)
        return recipe, load(recipe.model, recipe.guidance, recipe.prompts)

    def sections(loaded: tuple[Recipe, FrozenFlow], out: Path, accelerator: Accelerator) -> list[Section]:
        return [study_section(run(*loaded))]

    title, packages = "Grids of noise levels, learned and in use", ("torch", "diffusers", "accelerate")
    run_recipes(Paper(RECIPES, loaded, sections, title, packages), config, smoke, out, changes)
