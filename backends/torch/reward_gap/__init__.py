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

from collections.abc import Sequence
from pathlib import Path

from driftproof.backends.torch.kit.entry import Paper, as_it_is, either, run_recipes
from driftproof.backends.torch.pretrained.denoisers import Denoiser, FluxDenoiser, SD3Denoiser
from driftproof.backends.torch.pretrained.unets import UNetDenoiser
from driftproof.backends.torch.rl.rewards import AestheticReward, CLIPReward, JPEGReward, Reward
from driftproof.backends.torch.rl.sampler import Sampler
from driftproof.backends.torch.rl.task import Task

from .config import RECIPES, Budget
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


def main(config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
    """Run one recipe, or those that need no download; see :func:`.kit.entry.run_recipes`."""
    from .experiment import run_gaussian, run_pipeline
    from .report import gaussian_section, pipeline_section

    run = either(
        lambda *run: gaussian_section(run_gaussian(*run)), lambda *run: pipeline_section(run_pipeline(*run))
    )
    packages = ("torch", "accelerate", "diffusers")
    run_recipes(
        Paper(RECIPES, as_it_is, run, "Policy gradients on samplers", packages),
        config,
        smoke,
        out,
        changes,
    )
