"""Flow models made ready to tune: weights, adapter, conditions, grid, decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn

from driftproof.backends.torch.kit.memory import real
from driftproof.backends.torch.pretrained.config import PipelineModel
from driftproof.backends.torch.pretrained.decoding import decoder
from driftproof.backends.torch.pretrained.denoisers import Velocity
from driftproof.backends.torch.pretrained.loader import denoiser_of, load_parts, noise_times
from driftproof.backends.torch.rl.rewards import Reward
from driftproof.backends.torch.rl.task import Task

from .flows import NetworkFlow

__all__ = ["Prepared", "prepared"]


@final
@dataclass(frozen=True, slots=True)
class Prepared:
    """A flow with its adapter, the grid, and how states become images."""

    flow: NetworkFlow
    network: nn.Module
    task: Task
    times: tuple[float, ...]


def prepared(
    model: PipelineModel, steps: int, reward: Reward, device: torch.device, seed: int = 0, **gradient: Any
) -> Prepared:
    """Load or make the model, and put an adapter on it.

    Arguments:
        model: Which one: a flow.
        steps: Euler steps of a rollout.
        reward: A function of images and prompts.
        device: Where everything goes.
        seed: The seed of the adapter's random half, and of small models.
        gradient: Smoothing, noise and bound of the task.

    Raises:
        UnmetHypothesis: A model that predicts something else than a velocity.
    """
    parts = load_parts(model, device, seed)

    def velocity(guidance: float) -> Velocity:
        return Velocity(denoiser_of(model.kind, parts.network, guidance))

    guided = None if model.guidance == 1.0 else velocity(model.guidance)
    flow = NetworkFlow(velocity(1.0), guided, at_once=model.at_once or None)
    # Single precision: the gradients of decoders in half precision are noise.
    decode = decoder(model.kind, parts.vae.float())
    task = Task(parts.shape, reward, decode, parts.prompts, parts.conditions, **gradient)
    with real():
        times = noise_times(parts.scheduler_config, model.kind, steps, parts.shape)
    return Prepared(flow, parts.network, task, times)
