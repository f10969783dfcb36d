"""Score as action on torch: actor and critic on the samplers of diffusers.

``driftproof train score_as_action`` trains the adapter of Stable Diffusion, a small UNet with random weights, or
the closed-form Gaussian model, whose optimum is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from driftproof.backends.torch.kit.entry import Paper, as_it_is, run_recipes

from .config import RECIPES, Budget, CriticChoice
from .critics import AbstractCritic, NetworkCritic, QuadraticCritic
from .trainer import ActorCriticTrainer

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

    from driftproof.backends.torch.kit.report import Section

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
    """Run one recipe, or those that need no download; see :func:`.kit.entry.run_recipes`."""
    from .experiment import run_gaussian, run_pipeline
    from .report import gaussian_section, pipeline_section

    def sections(recipe: Recipe, out: Path, accelerator: Accelerator) -> list[Section]:
        folder = out / "checkpoints"
        if recipe.gaussian is not None:
            return [gaussian_section(run_gaussian(recipe, folder, accelerator))]
        return [pipeline_section(run_pipeline(recipe, folder, accelerator))]

    def seeds(recipe: Recipe) -> object:
        return list(recipe.seeds) if recipe.gaussian else recipe.budget.seed

    packages = ("torch", "accelerate", "diffusers", "peft")
    run_recipes(Paper(RECIPES, as_it_is, sections, "Score as action", packages, seeds), config, smoke, out)
