"""Score as action on torch: actor and critic on the samplers of diffusers.

``driftproof train score_as_action`` trains the adapter of Stable Diffusion, a small UNet with random weights, or
the closed-form Gaussian model, whose optimum is known.
"""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.entry import Paper
from driftproof.backends.torch.kit.memory import Estimate, Machine
from driftproof.backends.torch.kit.report import Section

from .config import RECIPES, Actor, Budget, CriticChoice, Recipe
from .critics import AbstractCritic, NetworkCritic, QuadraticCritic
from .trainer import ActorCriticTrainer
from .trainers import ScoreAsActionConfig, ScoreAsActionTrainer

__all__ = [
    "AbstractCritic",
    "ActorCriticTrainer",
    "Budget",
    "CriticChoice",
    "NetworkCritic",
    "QuadraticCritic",
    "ScoreAsActionConfig",
    "ScoreAsActionTrainer",
    "main",
]


def _sections(recipe: Recipe, out: Path, accelerator: Accelerator) -> list[Section]:
    from .experiment import run_gaussian, run_pipeline
    from .report import gaussian_section, pipeline_section

    if recipe.gaussian is not None:
        return [gaussian_section(run_gaussian(recipe, out / "checkpoints", accelerator))]
    return [pipeline_section(run_pipeline(recipe, out / "checkpoints", accelerator))]


def _dry(recipe: Recipe, machine: Machine) -> Estimate:
    from driftproof.backends.torch.rl.dry_run import estimated

    from .experiment import pipeline_trainer

    model = recipe.pipeline
    assert model is not None  # chosen by the caller

    def of(actor: Actor) -> Estimate:
        def made(stand_in: Accelerator) -> ActorCriticTrainer:
            return pipeline_trainer(recipe, actor, stand_in)[0]

        return estimated(recipe.title, model, recipe.budget, machine, made)

    return max((of(actor) for actor in recipe.actors), key=lambda estimate: estimate.peak)


main = Paper(RECIPES, _sections, "Score as action", ("torch", "accelerate", "diffusers", "peft"), dry=_dry)
