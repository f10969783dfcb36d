"""Score as action on torch: actor and critic on the samplers of diffusers.

``driftproof train score_as_action`` trains the adapter of Stable Diffusion, a small UNet with random weights, or
the closed-form Gaussian model, whose optimum is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from driftproof.backends.torch.kit.entry import Paper, as_it_is, either, run_recipes

from .config import RECIPES, Budget, CriticChoice
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


def main(config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
    """Run one recipe, or those that need no download; see :func:`.kit.entry.run_recipes`."""
    from .experiment import run_gaussian, run_pipeline
    from .report import gaussian_section, pipeline_section

    run = either(
        lambda *run: gaussian_section(run_gaussian(*run)), lambda *run: pipeline_section(run_pipeline(*run))
    )
    packages = ("torch", "accelerate", "diffusers", "peft")
    run_recipes(Paper(RECIPES, as_it_is, run, "Score as action", packages), config, smoke, out, changes)
