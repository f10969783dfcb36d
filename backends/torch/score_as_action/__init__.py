"""Score as action on torch: actor and critic on the samplers of diffusers.

``driftproof train score_as_action`` trains the adapter of Stable Diffusion, a small UNet with random weights, or
the closed-form Gaussian model, whose optimum is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..running import run_recipes
from .config import Budget, CriticChoice, load_recipe, packaged
from .critics import AbstractCritic, NetworkCritic, QuadraticCritic
from .trainer import ActorCriticTrainer

if TYPE_CHECKING:
    from ..report import Section
    from .config import Recipe

__all__ = [
    "AbstractCritic",
    "ActorCriticTrainer",
    "Budget",
    "CriticChoice",
    "NetworkCritic",
    "QuadraticCritic",
    "main",
]


def main(config: Path | None, smoke: bool, out: Path) -> None:
    """Run one recipe, or those that need no download, and write ``out/report.json``.

    Arguments:
        config: A recipe; None for the Gaussian model and a small UNet.
        smoke: The small budget of each recipe; pipelines are small ones with random weights.
        out: The folder of the report, of the adapters, and of the checkpoints that an interrupted run goes on from.

    Raises:
        RecipeError: A recipe that cannot be run.
        InUse: Another run writes to ``out``.
        SystemExit: After a signal or the limit of the session, with everything saved.
    """
    from .experiment import run_gaussian, run_pipeline
    from .report import gaussian_section, pipeline_section

    def section(recipe: Recipe, checkpoints: Path, accelerator: Any) -> Section:
        if recipe.gaussian is not None:
            return gaussian_section(run_gaussian(recipe, checkpoints, accelerator))
        return pipeline_section(run_pipeline(recipe, checkpoints, accelerator))

    run_recipes(
        "score_as_action",
        config,
        smoke,
        out,
        packaged=packaged,
        load=load_recipe,
        run=section,
        title="Score as action",
        seeds=lambda recipe: list(recipe.seeds) if recipe.gaussian else recipe.budget.seed,
        packages=("torch", "accelerate", "diffusers", "peft"),
    )
