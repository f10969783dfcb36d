"""A pipeline of diffusers made ready to be trained on pairs: its denoiser, noise times, sampler, encoder, prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast, final

import torch
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.pretrained.config import PipelineModel
from driftproof.backends.torch.pretrained.decoding import decoder, encoder, images_of
from driftproof.backends.torch.pretrained.guidance import Predict
from driftproof.backends.torch.pretrained.loader import denoiser_of, load_parts, prompts_of, set_steps
from driftproof.backends.torch.pretrained.pipelines import unclipped
from driftproof.backends.torch.rl.sampler import Sampler, Sampling
from driftproof.backends.torch.rl.task import Task
from driftproof.backends.torch.rl.trajectories import rollout
from driftproof.backends.torch.schedulers import GDDIMScheduler

from .noising import Density, Noising

__all__ = ["Studio", "open_studio"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Studio:
    """A maker of images, which is trained, and judges nothing.

    Arguments:
        network: The network of diffusers, with its adapter.
        denoiser: The conditional model, which is trained.
        guided: The same network with the guidance of images.
        noising: The noise times of training.
        sampler: The sampler of images.
        task: Prompts with their conditions, and how latents become images; its reward is nothing.
        vae: None for pixels.
        kind: The family.
        evaluated: How many of the prompts, the first ones, are those of the evaluation.
        at_once: Images that are made together.
    """

    network: nn.Module
    denoiser: nn.Module
    guided: nn.Module
    noising: Noising
    sampler: Sampler
    task: Task
    vae: nn.Module | None
    kind: str
    evaluated: int
    at_once: int

    @property
    def dimension(self) -> int:
        """Numbers of a latent image."""
        return int(torch.Size(self.task.shape).numel())

    @torch.no_grad()
    def latents(self, prompts: Tensor, seed: int, number: int) -> Tensor:
        """Latent images of prompts by their numbers; the noise is a function of (seed, number)."""
        noise = self.task.draw_noise(generator_of(seed, number), len(prompts)).to(prompts.device)
        ends = []
        for x, rows in zip(torch.split(noise, self.at_once), torch.split(prompts, self.at_once), strict=True):
            condition, kinds = self.task.condition(rows), self.sampler.deterministic
            predict = cast("Predict", self.guided)
            ends.append(rollout(predict, self.sampler, kinds, x, condition, _none, keep_states=False).end)
        return torch.cat(ends)

    def images(self, latents: Tensor) -> Tensor:
        """Images in [0, 1]."""
        return self.task.decode(latents)

    def encode(self, images: Tensor) -> Tensor:
        """Latents of images."""
        return encoder(self.kind, self.vae)(images)


def open_studio(
    model: PipelineModel,
    sampling: Sampling,
    density: Density,
    device: torch.device,
    seed: int = 0,
    captions: Sequence[str] = (),
    at_once: int = 64,
) -> Studio:
    """Load or make the pipeline, put an adapter on its network, and encode the prompts.

    Arguments:
        model: Which pipeline; its prompts are those of the evaluation.
        sampling: The grid of images.
        density: The law of the noise times of training.
        device: Where everything goes.
        seed: The seed of the adapter's random half, and of small pipelines.
        captions: Those of pairs, whose conditions are made as well.
        at_once: Images that are made together.

    Raises:
        UnmetHypothesis: A pipeline without a noise schedule, or captions for one that has classes.
    """
    own = prompts_of(model)
    more = tuple(dict.fromkeys(caption for caption in captions if caption not in own))
    if more and model.labels:
        raise UnmetHypothesis(
            "pairs", "a pipeline that is told prompts, for captions", f"kind = {model.kind!r}"
        )
    parts = load_parts(replace(model, prompts=own + more, prompt_file="") if more else model, device, seed)
    if parts.scheduler_config is None:
        raise UnmetHypothesis("pairs", "the pipeline has a noise schedule", f"kind = {model.kind!r}")
    scheduler = GDDIMScheduler.from_config(unclipped(model.kind, parts.scheduler_config))
    noising = Noising.of(scheduler, density)
    set_steps(scheduler, model.kind, sampling.steps, parts.shape)
    sampler = Sampler(scheduler, sampling.eta, sampling.kind)
    vae = None if parts.vae is None else parts.vae.float()  # SDXL's overflows in float16
    task = Task(
        parts.shape,
        lambda images, prompts: images.flatten(1).mean(dim=1),
        images_of(decoder(model.kind, vae)),
        parts.prompts,
        parts.conditions,
    )
    plain = denoiser_of(model.kind, parts.network, 1.0, sampler.prediction)
    guided = denoiser_of(model.kind, parts.network, model.guidance, sampler.prediction)
    return Studio(parts.network, plain, guided, noising, sampler, task, vae, model.kind, len(own), at_once)


def _none(step: int) -> Tensor:
    raise AssertionError(f"step {step} is deterministic and draws nothing")
