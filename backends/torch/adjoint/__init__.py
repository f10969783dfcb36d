"""Adjoint matching on torch: flow models of diffusers, tuned as deterministic control.

``driftproof train adjoint`` tunes a Gaussian flow to its known optimum and a flow model of diffusers.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from ..training import TrainingInterrupted, few_threads
from .config import Cost, Matching, load_recipe, packaged
from .flows import AffineFlow, FlowModel, NetworkFlow
from .task import Reward, Task, closed_form
from .trainer import AdjointMatchingTrainer, Evaluation, Tuned
from .velocities import Flux2Velocity, SD3Velocity, SiTVelocity, Velocity

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
        SystemExit: 130 after ctrl-C, with everything saved.
    """
    from .experiment import tune_gaussian, tune_model
    from .report import gaussian_section, model_section, write

    started = time.perf_counter()
    recipes = [load_recipe(path, smoke) for path in ([config] if config is not None else packaged())]
    accelerator = Accelerator()
    sections = []
    try:
        with few_threads():
            for recipe, _ in recipes:
                if recipe.gaussian is not None:
                    sections.append(gaussian_section(tune_gaussian(recipe, out / "checkpoints", accelerator)))
                else:
                    sections.append(model_section(tune_model(recipe, out / "checkpoints", accelerator)))
    except TrainingInterrupted as stop:
        print(stop, file=sys.stderr)
        raise SystemExit(130) from None
    if accelerator.is_main_process:
        title = recipes[0][0].title if config is not None else "Adjoint matching"
        meta = {
            "seed": [recipe.budget.seed for recipe, _ in recipes],
            "recipes": {recipe.title: dict(tables) for recipe, tables in recipes},
            "smoke": smoke,
            "device": str(accelerator.device),
            "processes": accelerator.num_processes,
            "seconds": round(time.perf_counter() - started, 1),
        }
        write(out, title, sections, meta)
        print(f"{out / 'report.json'}: {' '.join(section['summary'] for section in sections)}")
