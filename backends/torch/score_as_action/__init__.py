"""Score as action on torch: actor and critic on the samplers of diffusers.

``driftproof train score_as_action`` trains the adapter of Stable Diffusion, a small UNet with random weights, or
the closed-form Gaussian model, whose optimum is known.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from ..training import TrainingInterrupted, few_threads
from .config import Budget, CriticChoice, load_recipe, packaged
from .critics import AbstractCritic, NetworkCritic, QuadraticCritic
from .trainer import ActorCriticTrainer

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
        SystemExit: 130 after ctrl-C, with everything saved.
    """
    from .experiment import run_gaussian, run_pipeline
    from .report import gaussian_section, pipeline_section, write

    started = time.perf_counter()
    recipes = [load_recipe(path, smoke) for path in ([config] if config is not None else packaged())]
    accelerator, sections = Accelerator(), []
    try:
        with few_threads():
            for recipe, _ in recipes:
                if recipe.gaussian is not None:
                    sections.append(gaussian_section(run_gaussian(recipe, out / "checkpoints", accelerator)))
                else:
                    sections.append(pipeline_section(run_pipeline(recipe, out / "checkpoints", accelerator)))
    except TrainingInterrupted as stop:
        print(stop, file=sys.stderr)
        raise SystemExit(130) from None
    if accelerator.is_main_process:
        title = recipes[0][0].title if config is not None else "Score as action"
        meta = {
            "seed": [list(recipe.seeds) if recipe.gaussian else recipe.budget.seed for recipe, _ in recipes],
            "recipes": {recipe.title: dict(tables) for recipe, tables in recipes},
            "smoke": smoke,
            "device": str(accelerator.device),
            "processes": accelerator.num_processes,
            "seconds": round(time.perf_counter() - started, 1),
        }
        write(out, title, sections, meta)
        print(f"{out / 'report.json'}: {' '.join(section['summary'] for section in sections)}")
