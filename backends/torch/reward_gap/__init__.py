"""Policy gradients on diffusion samplers: DDPO, MixGRPO and Flow-GRPO, with the reward gap while training.

``driftproof train reward_gap`` trains the adapter of a published pipeline, a small pipeline with random
weights, or the closed-form Gaussian model, whose optimum is known.  In a program, with a pipeline, a
decoder and a reward of one's own:

.. code-block:: python

    scheduler = GDDIMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(50)
    policy = UNetDenoiser(pipe.unet, scheduler.config.prediction_type, guidance=5.0)
    task = Task(prompts, {"prompt": embeds, "negative": negatives}, (4, 64, 64), decode, reward)
    log = DDPOTrainer(policy, Sampler(scheduler, eta=1.0), task, Budget(epochs=100, prompts=64)).train()
    print(log.gaps[-1])  # epochs done, reward of the ODE less that of the SDE with its interval
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..running import run_recipes
from .config import Budget, load_recipe, packaged
from .denoisers import Denoiser, FluxDenoiser, SD3Denoiser, UNetDenoiser
from .methods import DDPOTrainer, MixGRPOTrainer
from .rewards import AestheticReward, CLIPReward, JPEGReward, Reward
from .sampler import Sampler
from .task import Task

if TYPE_CHECKING:
    from ..report import Section
    from .config import Recipe

__all__ = [
    "AestheticReward",
    "Budget",
    "CLIPReward",
    "DDPOTrainer",
    "Denoiser",
    "FluxDenoiser",
    "JPEGReward",
    "MixGRPOTrainer",
    "Reward",
    "SD3Denoiser",
    "Sampler",
    "Task",
    "UNetDenoiser",
    "main",
]


def main(config: Path | None, smoke: bool, out: Path) -> None:
    """Run one recipe, or those that need no download, and write ``out/report.json``.

    Arguments:
        config: A recipe; None for the Gaussian model and a small pipeline.
        smoke: The small budget of each recipe; pipelines are small ones with random weights.
        out: The folder of the report, of the adapter, and of the checkpoints that an interrupted run goes on from.

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
        "reward_gap",
        config,
        smoke,
        out,
        packaged=packaged,
        load=load_recipe,
        run=section,
        title="Policy gradients on samplers",
        seeds=lambda recipe: list(recipe.seeds) if recipe.gaussian else recipe.budget.seed,
        packages=("torch", "accelerate", "diffusers"),
    )
