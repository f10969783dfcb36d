"""Trainers on the Gaussian model, whose objective is exact: what the tests of the policy gradients share."""

from __future__ import annotations

from dataclasses import replace

import torch
from accelerate import Accelerator

from driftproof.backends.torch.reward_gap.config import Budget, ScalarModel
from driftproof.backends.torch.reward_gap.gaussian import (
    Exact,
    GaussianDenoiser,
    gaussian_task,
)
from driftproof.backends.torch.reward_gap.methods import DDPO, MixGRPO
from driftproof.backends.torch.rl.gaussian import vp_sampler
from driftproof.backends.torch.rl.sampler import Sampling
from driftproof.backends.torch.rl.trainer import RolloutTrainer
from driftproof.numerics.reward_gap import Window

MODEL, STEPS, BETA = ScalarModel(), 8, 0.05
BUDGET = Budget(
    epochs=20,
    prompts=64,
    per_device_train_batch_size=10**6,
    per_device_rollout_batch_size=10**6,
    learning_rate=1e-2,
    max_grad_norm=1e6,
    scale_rewards=False,
    advantage_clip=0.0,
    beta=BETA,
    kl="path",
    decay=0.9,
    pairs=64,
)
FULL, SLIDING = Window(), Window(size=3, every=1)


def cpu() -> Accelerator:
    """Made anew where it is used: tests of other libraries reset the state that all accelerators share."""
    return Accelerator(cpu=True)


def made(method="ddpo", budget: Budget = BUDGET, window: Window = FULL, eta: float = 1.0, start=(0.0, 1.0)):
    """A trainer on the Gaussian model, and that model."""
    sampler = vp_sampler(MODEL.decay, MODEL.levels, Sampling(steps=STEPS, eta=eta))
    denoiser = GaussianDenoiser(MODEL, sampler.scheduler.alphas_cumprod)
    if method == "ddpo":
        trainer = RolloutTrainer(
            DDPO(budget), denoiser, sampler, gaussian_task(MODEL, denoiser), accelerator=cpu()
        )
    else:
        budget = replace(budget, prompts=budget.prompts // 16, num_generations=16)
        task = gaussian_task(MODEL, denoiser)
        trainer = RolloutTrainer(MixGRPO(budget, window), denoiser, sampler, task, accelerator=cpu())
    with torch.no_grad():  # after the reference was copied
        denoiser.theta.fill_(start[0])
        denoiser.kappa.fill_(start[1])
    return trainer, denoiser


def exact(kl="path", beta: float = BETA, eta: float = 1.0) -> Exact:
    trainer, denoiser = made(eta=eta)
    return Exact(MODEL, trainer.sampler, denoiser, beta, kl)


def windows(window: Window) -> list[range]:
    """Every place of the window once."""
    starts = {window.steps(STEPS, i * window.every).start: i * window.every for i in range(STEPS)}
    return [window.steps(STEPS, iteration) for iteration in starts.values()]
