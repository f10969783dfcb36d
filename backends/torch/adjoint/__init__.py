"""Adjoint matching on torch: flow models of diffusers, tuned as deterministic control.

``driftproof train adjoint`` tunes a Gaussian flow to its known optimum and a flow model of diffusers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..running import run_recipes
from .config import Cost, Matching, load_recipe, packaged
from .flows import AffineFlow, FlowModel, NetworkFlow
from .task import Reward, Task, closed_form
from .trainer import AdjointMatchingTrainer, Evaluation, Tuned
from .velocities import Flux2Velocity, SD3Velocity, SiTVelocity, Velocity

if TYPE_CHECKING:
    from ..report import Section
    from .config import Recipe

__all__ = [
    "AdjointMatchingTrainer",
    "AffineFlow",
    "Cost",
    "Evaluation",
    "FlowModel",
    "Flux2Velocity",
    "Matching",
    "NetworkFlow",
    "Reward",
    "SD3Velocity",
    "SiTVelocity",
    "Task",
    "Tuned",
    "Velocity",
    "closed_form",
    "main",
]


def main(config: Path | None, smoke: bool, out: Path) -> None:
    """Run one recipe, or those that need no download, and write ``out/report.json``.

    Arguments:
        config: A recipe; None for the Gaussian flow and a small transformer.
        smoke: The small budget of each recipe; models are small ones with random weights.
        out: The folder of the report, of the adapter, and of the checkpoints that an interrupted run goes on from.

    Raises:
        RecipeError: A recipe that cannot be run.
        InUse: Another run writes to ``out``.
        SystemExit: After a signal or the limit of the session, with everything saved.
    """
    from .experiment import tune_gaussian, tune_model
    from .report import gaussian_section, model_section

    def section(recipe: Recipe, checkpoints: Path, accelerator: Any) -> Section:
        if recipe.gaussian is not None:
            return gaussian_section(tune_gaussian(recipe, checkpoints, accelerator))
        return model_section(tune_model(recipe, checkpoints, accelerator))

    run_recipes(
        "adjoint",
        config,
        smoke,
        out,
        packaged=packaged,
        load=load_recipe,
        run=section,
        title="Adjoint matching",
        seeds=lambda recipe: recipe.budget.seed,
        packages=("torch", "diffusers", "peft", "accelerate"),
    )
