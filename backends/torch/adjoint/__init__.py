"""Adjoint matching on torch: flow models of diffusers, tuned as deterministic control.

``driftproof train adjoint`` tunes a Gaussian flow to its known optimum and a flow model of diffusers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.entry import Paper
from driftproof.backends.torch.kit.memory import Estimate, Machine
from driftproof.backends.torch.kit.report import Section
from driftproof.backends.torch.pretrained.denoisers import Flux2Denoiser, SD3Denoiser, SiTDenoiser, Velocity
from driftproof.backends.torch.rl.rewards import Reward
from driftproof.backends.torch.rl.task import Task
from driftproof.backends.torch.rl.trainer import RolloutTrainer

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


def _dry(recipe: Recipe, machine: Machine) -> Estimate:
    from driftproof.backends.torch.rl.dry_run import estimated, once

    from .experiment import flow_trainer
    from .method import MatchingBudget

    def made(stand_in: Any) -> RolloutTrainer[Any]:
        flow = flow_trainer(recipe, stand_in)[0]
        tuned: Any = flow.flow
        tuned.vjp = once(tuned.vjp, stand_in.ledger, with_gradients=True)  # it leaves none behind
        return flow.trainer

    assert recipe.pipeline is not None  # chosen by the caller
    return estimated(recipe.title, recipe.pipeline, MatchingBudget.of(recipe.budget), machine, made)


main = Paper(RECIPES, _sections, "Adjoint matching", ("torch", "diffusers", "peft", "accelerate"), dry=_dry)
