"""Policy gradients on diffusion samplers: DDPO, MixGRPO and Flow-GRPO, with the reward gap while training.

``driftproof train reward_gap`` trains the adapter of a published pipeline, a small pipeline with random
weights, or the closed-form Gaussian model, whose optimum is known.  In a program, with a pipeline, a
decoder and a reward of one's own:

.. code-block:: python

    scheduler = GDDIMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(50)
    policy = UNetDenoiser(pipe.unet, scheduler.config.prediction_type, guidance=5.0)
    task = Task((4, 64, 64), reward, decode, prompts, {"prompt": embeds, "negative": negatives})
    log = DDPOTrainer(policy, Sampler(scheduler, eta=1.0), task, Budget(epochs=100, prompts=64)).train()
    print(log.gaps[-1])  # epochs done, reward of the ODE less that of the SDE with its interval
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from driftproof.backends.torch.kit.entry import Paper, as_it_is, either, run_recipes
from driftproof.backends.torch.pretrained.denoisers import Denoiser, FluxDenoiser, SD3Denoiser, UNetDenoiser
from driftproof.backends.torch.rl.rewards import AestheticReward, CLIPReward, JPEGReward, Reward
from driftproof.backends.torch.rl.sampler import Sampler
from driftproof.backends.torch.rl.task import Task

from .config import RECIPES, Budget
from .methods import DDPOTrainer, MixGRPOTrainer

if TYPE_CHECKING:
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


def main(config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
    """Run one recipe, or those that need no download; see :func:`.kit.entry.run_recipes`."""
    from .experiment import run_gaussian, run_pipeline
    from .report import gaussian_section, pipeline_section

    run = either(
        lambda *run: gaussian_section(run_gaussian(*run)), lambda *run: pipeline_section(run_pipeline(*run))
    )
    packages = ("torch", "accelerate", "diffusers")
    run_recipes(
        Paper(RECIPES, as_it_is, run, "Policy gradients on samplers", packages, seeds),
        config,
        smoke,
        out,
        changes,
    )


def seeds(recipe: Recipe) -> object:
    """Those of a recipe, for the record."""
    return list(recipe.seeds) if recipe.gaussian else recipe.budget.seed
