"""Policy gradients on diffusion samplers: DDPO, MixGRPO and Flow-GRPO, with the reward gap while training.

``driftproof train reward_gap`` trains the adapter of a published pipeline, a small pipeline with random
weights, or the closed-form Gaussian model, whose optimum is known.  In a program, with a pipeline and a reward of
one's own:

.. code-block:: python

    task = Task.from_pipeline(pipe, prompts, reward)
    trainer = DDPOTrainer(pipe, task, DDPOConfig(max_steps=200, num_eval_images=64))
    log = trainer.train()
    print(log.gaps[-1])  # rollouts done, reward of the ODE less that of the SDE with its interval
"""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.entry import Paper
from driftproof.backends.torch.kit.memory import Estimate, Machine
from driftproof.backends.torch.kit.report import Section
from driftproof.backends.torch.pretrained.denoisers import Denoiser, FluxDenoiser, SD3Denoiser
from driftproof.backends.torch.pretrained.unets import UNetDenoiser
from driftproof.backends.torch.rl.rewards import AestheticReward, CLIPReward, JPEGReward, Reward
from driftproof.backends.torch.rl.sampler import Sampler
from driftproof.backends.torch.rl.task import Task

from .config import RECIPES, Budget, Recipe
from .methods import DDPO, MixGRPO
from .trainers import DDPOConfig, DDPOTrainer, MixGRPOConfig, MixGRPOTrainer

__all__ = [
    "DDPO",
    "AestheticReward",
    "Budget",
    "CLIPReward",
    "DDPOConfig",
    "DDPOTrainer",
    "Denoiser",
    "FluxDenoiser",
    "JPEGReward",
    "MixGRPO",
    "MixGRPOConfig",
    "MixGRPOTrainer",
    "Reward",
    "SD3Denoiser",
    "Sampler",
    "Task",
    "UNetDenoiser",
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

    assert recipe.pipeline is not None  # chosen by the caller
    return estimated(
        recipe.title,
        recipe.pipeline,
        recipe.budget,
        machine,
        lambda stand_in: pipeline_trainer(recipe, stand_in)[0],
    )


main = Paper(
    RECIPES, _sections, "Policy gradients on samplers", ("torch", "accelerate", "diffusers"), dry=_dry
)
