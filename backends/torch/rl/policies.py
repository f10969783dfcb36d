"""Pipelines of diffusers as policies: weights, adapter, prompts, grid and decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.memory import real
from driftproof.backends.torch.pretrained.config import PipelineModel
from driftproof.backends.torch.pretrained.decoding import images_or_gradients
from driftproof.backends.torch.pretrained.loader import denoiser_of, load_parts, set_steps
from driftproof.backends.torch.pretrained.pipelines import unclipped
from driftproof.backends.torch.schedulers import GDDIMScheduler

from .rewards import Reward
from .sampler import Sampler, Sampling
from .task import Task

__all__ = ["Policy", "load_policy"]


@final
@dataclass(frozen=True, slots=True)
class Policy:
    """A pipeline made ready to train: its network, what calls it, its grid, and its task."""

    network: nn.Module
    denoiser: nn.Module
    sampler: Sampler
    task: Task


def load_policy(
    model: PipelineModel, sampling: Sampling, reward: Reward, device: torch.device, seed: int = 0
) -> Policy:
    """Load or make the pipeline, put an adapter on its network, encode the prompts.

    Arguments:
        model: Which pipeline; without a name, a small one with random weights.
        sampling: The grid, on the pipeline's own noise schedule.
        reward: See :mod:`.rewards`.
        device: Where everything goes.
        seed: The seed of the adapter's random half, and of small pipelines.

    Raises:
        FileNotFoundError: There is no such file of prompts.
        UnmetHypothesis: A pipeline without a noise schedule, or whose schedule or prediction does not fit.
    """
    parts = load_parts(model, device, seed)
    if parts.scheduler_config is None:
        got = f"kind = {model.kind!r}"
        raise UnmetHypothesis("policy", "the pipeline has a noise schedule", got)
    with real():  # its numbers decide which steps are stochastic
        scheduler = GDDIMScheduler.from_config(unclipped(model.kind, parts.scheduler_config))
        set_steps(scheduler, model.kind, sampling.steps, parts.shape)
        sampler = Sampler(scheduler, sampling.eta, sampling.kind)
    task = Task(
        prompts=parts.prompts,
        conditions=parts.conditions,
        shape=parts.shape,
        decode=images_or_gradients(model.kind, parts.vae),
        reward=reward,
    )
    return Policy(
        parts.network,
        denoiser_of(model.kind, parts.network, model.guidance, sampler.prediction),
        sampler,
        task,
    )
