"""Adjoint matching on torch: flow models of diffusers, tuned as deterministic control.

``driftproof train adjoint`` tunes a Gaussian flow to its known optimum and a flow model of diffusers.
"""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.entry import Paper
from driftproof.backends.torch.kit.report import Section
from driftproof.backends.torch.pretrained.denoisers import Flux2Denoiser, SD3Denoiser, SiTDenoiser, Velocity
from driftproof.backends.torch.rl.rewards import Reward
from driftproof.backends.torch.rl.task import Task

from .config import RECIPES, Cost, Matching, Recipe
from .flows import AffineFlow, FlowModel, NetworkFlow
from .rewards import closed_form
from .trainer import Evaluation, FlowTrainer, Tuned
from .trainers import AdjointMatchingConfig, AdjointMatchingTrainer

__all__ = [
    "AdjointMatchingConfig",
    "AdjointMatchingTrainer",
    "AffineFlow",
    "Cost",
    "Evaluation",
    "FlowModel",
    "FlowTrainer",
    "Flux2Denoiser",
    "Matching",
    "NetworkFlow",
    "Reward",
    "SD3Denoiser",
    "SiTDenoiser",
    "Task",
    "Tuned",
    "Velocity",
    "closed_form",
    "main",
]


def _sections(recipe: Recipe, out: Path, accelerator: Accelerator) -> list[Section]:
    from .experiment import tune_gaussian, tune_model
    from .report import gaussian_section, model_section

    if recipe.gaussian is not None:
        return [gaussian_section(tune_gaussian(recipe, out / "checkpoints", accelerator))]
    return [model_section(tune_model(recipe, out / "checkpoints", accelerator))]


main = Paper(RECIPES, _sections, "Adjoint matching", ("torch", "diffusers", "peft", "accelerate"))
