"""Rewards from starts that no rollout of a training begins with: the same before and after it, so that they are pairs."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from driftproof.backends.torch.kit.distributed import local_rows
from driftproof.backends.torch.kit.seeding import generator_of

from .trainer import EVALUATION, RolloutTrainer

__all__ = ["held_out_rewards"]

STREAM: Final = EVALUATION + 1  # not that of the reward gap, which may be watched while training


def held_out_rewards(trainer: RolloutTrainer[Any], count: int) -> NDArray[np.float64]:
    """The rewards of the deterministic sampler, with shape (count,); the prompts take turns.

    Arguments:
        trainer: The trainer whose model is evaluated, as it is.
        count: Starts, rounded up to a multiple of the number of processes.
    """
    device, world = trainer.accelerator.device, trainer.accelerator.num_processes
    count = -(-count // world) * world
    generator = generator_of(trainer.budget.seed, STREAM, device)
    start = trainer.task.draw_noise(generator, count)
    prompts = torch.arange(count, device=device) % len(trainer.task.prompts)
    mine = local_rows(trainer.accelerator, count)
    done = trainer.sample(generator, prompts, trainer.sampler.deterministic, start=start)
    found = trainer.accelerator.gather(trainer.task.rewards(done.end, prompts[mine]))
    rewards: NDArray[np.float64] = found.double().cpu().numpy()
    return rewards
