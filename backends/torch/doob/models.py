r"""A frozen model with its grid: unguided, or guided by a change of what it predicts.

Guidance g goes to one of two places (:mod:`driftproof.numerics.doob.placements`):

* ``noise``: the predicted noise is changed by :math:`-\sigma g`, and the velocity of a flow, :math:`\epsilon - x_0`, by
  :math:`-\sigma g/\alpha`, where g is the score of the data given the event, less their score;
* ``mean``: that of the random step is moved by :math:`\varsigma^2 g`, where g belongs to the h of the *steps*, from
  whose trajectories it was learned.  With few steps this h is steeper than that of the data, since a step has less
  noise than the posterior is wide: put on the noise it is far too strong.

  Where the state is nearly pure noise nothing is known of the data: there is no guidance
below :data:`FLOOR`, and what that costs is :func:`~driftproof.theory.doob.start_distance`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, final

import array_api_compat.torch as xp
import numpy as np
import torch
from torch import Tensor, nn

from driftproof.backends.torch.pretrained.guidance import Condition
from driftproof.backends.torch.rl.gaussian import vp_sampler
from driftproof.backends.torch.rl.sampler import Sampler, Sampling
from driftproof.numerics.doob import guided_mean, guided_noise
from driftproof.theory.laws import Gaussian

from .config import Event, GaussianData, ImageModel

__all__ = [
    "FLOOR",
    "Frozen",
    "GaussianDenoiser",
    "Guide",
    "Place",
    "columns",
    "gaussian_model",
    "image_model",
]

FLOOR: Final = 0.03  # of alpha / sigma

# guide(x, t): the gradient of log h at states (B, *) and timesteps (B,).
Guide: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Place: TypeAlias = Literal["noise", "mean"]
Member: TypeAlias = Callable[[Tensor], Tensor]


def columns(sampler: Sampler, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma of timesteps (B,), to be broadcast with states (B, *)."""
    levels = sampler.scheduler.levels.at(t.detach().cpu().double().numpy())
    shape = (-1, *(1,) * (like.ndim - 1))
    alpha, sigma = (torch.as_tensor(np.asarray(part)).to(like).reshape(shape) for part in levels)
    return alpha, sigma


@final
@dataclass(frozen=True)
class Frozen:
    """The model that is conditioned.

    Arguments:
        denoiser: The model, which predicts noise or the velocity of a flow.
        sampler: Its grid.
        shape: The shape of a state.
        member: Whether last states, shape (B, *), lie in the event: booleans (B,).
        condition: Named tensors with one row.
        decode: From last states to images.
        dtype: The dtype of the states.
    """

    denoiser: nn.Module
    sampler: Sampler
    shape: tuple[int, ...]
    member: Member
    condition: Mapping[str, Tensor]
    decode: Callable[[Tensor], Tensor] | None = None
    dtype: torch.dtype = torch.float32

    @torch.no_grad()
    def output(self, x: Tensor, t: Tensor) -> Tensor:
        """The parametrization of the model."""
        rows: Condition = {name: row.expand(len(x), *row.shape[1:]) for name, row in self.condition.items()}
        found: Tensor = self.denoiser(x, t, rows)
        return found

    def noise(self, x: Tensor, t: Tensor) -> Tensor:
        """The noise that it predicts: minus sigma times its score."""
        output = self.output(x, t)
        return output if self.sampler.prediction == "epsilon" else x + columns(self.sampler, t, x)[0] * output

    def guided(self, output: Tensor, guidance: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Its output with guidance g."""
        alpha, sigma = columns(self.sampler, t, x)
        strength = sigma if self.sampler.prediction == "epsilon" else sigma / alpha.clamp_min(1e-12)
        return guided_noise.kernel(xp, output, torch.where(alpha > FLOOR * sigma, guidance, 0.0), strength)

    @torch.no_grad()
    def step(
        self, x: Tensor, k: int, guide: Guide | None, generator: torch.Generator, place: Place = "noise"
    ) -> Tensor:
        """Step k of the sampler."""
        steps = torch.full((len(x),), k, device=x.device)
        t = self.sampler.times(steps)
        output, guidance = self.output(x, t), None if guide is None else guide(x, t)
        if guidance is not None and place == "noise":
            output = self.guided(output, guidance, x, t)
        mean, std = self.sampler.moments(output, steps, x, self.sampler.eta)
        if guidance is not None and place == "mean":
            mean = guided_mean.kernel(xp, mean, guidance, std)
        if not bool(torch.isfinite(mean).all()):
            raise FloatingPointError(f"doob: step {k} is no number: the guidance or the model overflows")
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return (mean + std * noise).to(x.dtype)

    def start(self, count: int, generator: torch.Generator) -> Tensor:
        """Pure noise."""
        return torch.randn(count, *self.shape, generator=generator, dtype=self.dtype, device=generator.device)

    def sample(
        self, count: int, generator: torch.Generator, guide: Guide | None = None, place: Place = "noise"
    ) -> Tensor:
        """Last states."""
        x = self.start(count, generator)
        for k in range(self.sampler.n_steps):
            x = self.step(x, k, guide, generator, place)
        return x


@final
class GaussianDenoiser(nn.Module):
    """The noise that the exact score of Gaussian data predicts."""

    def __init__(self, data: Gaussian, sampler: Sampler) -> None:
        super().__init__()
        self.prediction = "epsilon"
        bars = sampler.scheduler.alphas_cumprod.double()
        mean, cov = (torch.as_tensor(np.asarray(part), dtype=torch.float64) for part in (data.mean, data.cov))
        values, vectors = torch.linalg.eigh(cov)
        self.bars: Tensor
        self.mean: Tensor
        self.values: Tensor
        self.vectors: Tensor
        for name, value in (("bars", bars), ("mean", mean), ("values", values), ("vectors", vectors)):
            self.register_buffer(name, value)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        bars = self.bars[t.long()][:, None]
        along = (x.double() - bars.sqrt() * self.mean) @ self.vectors
        score = -(along / (bars * self.values + 1.0 - bars)) @ self.vectors.T
        return (-(1.0 - bars).sqrt() * score).to(x.dtype)


def gaussian_model(model: GaussianData, sampling: Sampling) -> Frozen:
    """The exact score of Gaussian data, and a half-space."""
    sampler = vp_sampler(model.decay, model.levels, sampling)
    data = Gaussian(np.asarray(model.mean), np.asarray(model.cov))
    normal = torch.tensor(model.normal, dtype=torch.float64)
    denoiser = GaussianDenoiser(data, sampler)

    def member(x: Tensor) -> Tensor:
        return x.double() @ normal.to(x.device) >= model.level

    return Frozen(denoiser, sampler, (len(model.mean),), member, {}, dtype=torch.float64)


def image_model(model: ImageModel, event: Event, sampling: Sampling, device: torch.device) -> Frozen:
    """A model of the zoo, its autoencoder behind it, and an event of the images."""
    from driftproof.backends.torch.pretrained.decoding import images_or_gradients
    from driftproof.backends.torch.pretrained.denoisers import SiTDenoiser
    from driftproof.backends.torch.pretrained.models import zoo
    from driftproof.backends.torch.pretrained.pipelines import encoded_prompts, latent_shape
    from driftproof.backends.torch.pretrained.unets import UNetDenoiser
    from driftproof.backends.torch.schedulers import GDDIMScheduler

    condition: Mapping[str, Tensor]
    denoiser: nn.Module
    if model.name == "mnist-sd":
        pipe: Any = zoo(model.name).to(device)
        kind, vae, config = "stable_diffusion", pipe.vae, pipe.scheduler.config
        shape = latent_shape("stable_diffusion", pipe)
        negatives = model.guidance != 1.0
        condition = encoded_prompts(
            "stable_diffusion", pipe, (model.prompt,), device, shape, negatives=negatives
        )
        denoiser = UNetDenoiser(pipe.unet, "epsilon", model.guidance)
    else:
        network: Any = zoo(model.name).to(device)
        kind, vae, config = "sit", zoo("mnist-vae").to(device), {"prediction_type": "flow_prediction"}
        shape = (network.config.in_channels, network.config.sample_size, network.config.sample_size)
        condition = {"label": torch.tensor([model.label], device=device)}
        denoiser = SiTDenoiser(network, model.guidance)
    scheduler = GDDIMScheduler.from_config(config)
    scheduler.set_timesteps(sampling.steps)
    decode = images_or_gradients(kind, vae)
    sampler = Sampler(scheduler, sampling.eta, sampling.kind)
    return Frozen(denoiser.eval(), sampler, shape, _member(event, decode, device), condition, decode)


def _member(event: Event, decode: Callable[[Tensor], Tensor], device: torch.device) -> Member:
    from driftproof.backends.torch.pretrained.models import zoo

    classifier = zoo("mnist-classifier").to(device) if event.kind == "digit" else None

    @torch.no_grad()
    def member(x: Tensor) -> Tensor:
        images = decode(x)
        if classifier is None:
            return images.mean(dim=(1, 2, 3)) >= event.threshold
        found: Tensor = classifier(images).argmax(dim=1) == event.digit
        return found

    return member
