"""Adjoint matching on torch: flow models of diffusers, tuned as deterministic control.

``driftproof train adjoint`` tunes a Gaussian flow to its known optimum and a flow model of diffusers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from driftproof.backends.torch.kit.entry import Paper, as_it_is, either, run_recipes
from driftproof.backends.torch.pretrained.denoisers import Flux2Denoiser, SD3Denoiser, SiTDenoiser, Velocity
from driftproof.backends.torch.rl.rewards import Reward
from driftproof.backends.torch.rl.task import Task

from .config import RECIPES, Cost, Matching
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


def main(config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
    """Run one recipe, or those that need no download; see :func:`.kit.entry.run_recipes`."""
    from .experiment import tune_gaussian, tune_model
    from .report import gaussian_section, model_section

    run = either(
        lambda *run: gaussian_section(tune_gaussian(*run)), lambda *run: model_section(tune_model(*run))
    )
    packages = ("torch", "diffusers", "peft", "accelerate")
    run_recipes(Paper(RECIPES, as_it_is, run, "Adjoint matching", packages), config, smoke, out, changes)
