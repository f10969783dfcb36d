r"""How a guidance is learned from a store: four losses, each of them a line of :mod:`driftproof.numerics.doob`.

* ``cross entropy``, ``martingale``: h at a random step of a trajectory, from whether it ends in the event; the guidance
  is the gradient of log h;
* ``covariation``: the gradient of h, from increments of the h that the martingale loss has found times increments of
  the state less their mean; the guidance is their quotient.  Of a random step it is *exactly* what moves the mean given
  the event, :math:`\varsigma^2\,E\nabla h_{k+1}/h_k`, however long the step;
* ``denoising``: the guidance itself, from last states in the event that are noised anew; no other state is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import array_api_compat.torch as xp
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.supervised import Trained, train
from driftproof.numerics.doob import (
    covariation_target,
    cross_entropy_loss,
    guidance_target,
    martingale_loss,
)

from .config import Loss
from .models import FLOOR, Frozen, Guide, Place, columns
from .networks import LatentField, LatentLogH, Net, Of, ProbitField, ProbitLogH
from .store import Store

_STEEPEST = 80.0

__all__ = ["Learned", "Learner", "field_guide", "gradient_guide", "quotient_guide"]


@final
@dataclass(frozen=True)
class Learned:
    """A guidance and what it was learned with.

    Arguments:
        guide: The gradient of log h, and
        place: where it goes.
        networks: The trained modules by name: ``log_h``, ``field``.
        losses: The loss of each step of the last training.
        seconds: The time of all trainings.
    """

    guide: Guide
    place: Place
    networks: Mapping[str, nn.Module]
    losses: Tensor
    seconds: float


def gradient_guide(log_h: Net) -> Guide:
    """The gradient of log h, by differentiating the network."""

    def guide(x: Tensor, t: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (found,) = torch.autograd.grad(log_h(x, t).sum(), x)
        return found

    return guide


def field_guide(field: Net, frozen: Frozen) -> Guide:
    """A field in units of the predicted noise, as guidance."""

    @torch.no_grad()
    def guide(x: Tensor, t: Tensor) -> Tensor:
        return field(x, t) / columns(frozen.sampler, t, x)[1]

    return guide


def quotient_guide(log_h: Net, field: Net, frozen: Frozen) -> Guide:
    """The gradient of h, in units of the predicted noise, over h."""
    gradient = field_guide(field, frozen)

    @torch.no_grad()
    def guide(x: Tensor, t: Tensor) -> Tensor:
        # In single precision the gradient of a vanishing h is 0, and 0 times infinity is not a number.
        rising = torch.exp((-log_h(x, t)).clamp_max(_STEEPEST))
        return gradient(x, t) * rising.reshape(-1, *(1,) * (x.ndim - 1))

    return guide


@final
class Learner:
    """Trains the networks of one store.

    Arguments:
        frozen: The model.
        store: Its trajectories.
        width: Channels of networks of latents.
        folder: Where checkpoints go.
        accelerator: Devices and processes.
        made_with: The model and the event, for the checkpoint's metadata.

    Raises:
        UnmetHypothesis: No trajectory, or every one, ends in the event: h is not to be learned from these.
    """

    def __init__(
        self,
        frozen: Frozen,
        store: Store,
        width: int,
        folder: Path,
        accelerator: Accelerator,
        made_with: Mapping[str, object],
    ) -> None:
        self.frozen, self.store, self.width = frozen, store, width
        self.folder, self.accelerator, self.made_with = folder, accelerator, made_with
        self.last = store.last(frozen.dtype).to(accelerator.device)
        self.hits = torch.cat([frozen.member(part) for part in torch.split(self.last, 256)]).to(frozen.dtype)
        self.share = float(self.hits.mean())
        if not 0.0 < self.share < 1.0:
            got = f"{int(self.hits.sum())} of {len(self.hits)}"
            hypothesis = (
                "some trajectories end in the event, and some do not (rarer events want more, or splitting)"
            )
            raise UnmetHypothesis("doob", hypothesis, got)

    def learn(self, loss: Loss, plan: Plan) -> Learned:
        """A guidance from one of the losses."""
        if loss == "denoising":
            field = self._fit(self._field("guidance"), self._noised, _squared, plan, loss)
            guide = field_guide(field.model, self.frozen)
            return Learned(guide, "noise", {"field": field.model}, field.losses, field.seconds)
        if loss != "covariation":
            fitted = self._log_h(loss, plan)
            guide = gradient_guide(fitted.model)
            return Learned(guide, "mean", {"log_h": fitted.model}, fitted.losses, fitted.seconds)
        known = self._log_h("martingale", plan)
        draw = self._increments(known.model)
        field = self._fit(self._field("gradient"), draw, _squared, plan, loss)
        guide = quotient_guide(known.model, field.model, self.frozen)
        networks = {"log_h": known.model, "field": field.model}
        return Learned(guide, "mean", networks, field.losses, known.seconds + field.seconds)

    def _log_h(self, loss: Loss, plan: Plan) -> Trained[nn.Module]:
        of = cross_entropy_loss if loss == "cross entropy" else martingale_loss

        def mean(network: nn.Module, x: Tensor, t: Tensor, hit: Tensor) -> Tensor:
            return of.kernel(xp, network(x, t), hit).mean()

        return self._fit(self._new_log_h(), self._labelled, mean, plan, loss)

    def _fit(self, network: nn.Module, draw: Any, loss: Any, plan: Plan, name: str) -> Trained[nn.Module]:
        file = self.folder / f"{name.replace(' ', '-')}.safetensors"
        return train(
            network,
            draw,
            loss,
            plan,
            checkpoint=file,
            config=self.made_with,
            accelerator=self.accelerator,
            title=name,
        )

    # -- what is drawn ------------------------------------------------------------------------------------

    def _labelled(self, generator: torch.Generator, batch: int) -> tuple[Tensor, ...]:
        """One random step of random trajectories, and where they end."""
        rows, steps = self._places(generator, batch)
        x = self._states(rows, steps)
        return x, self.frozen.sampler.times(steps), self.hits[rows]

    def _increments(self, log_h: Net) -> Callable[[torch.Generator, int], tuple[Tensor, ...]]:
        sampler = self.frozen.sampler
        noisy = torch.tensor([k for k, std in enumerate(sampler.stds(sampler.eta)) if std > 0.0])

        @torch.no_grad()
        def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, ...]:
            rows, steps = self._places(generator, batch, noisy)
            x, then = self._states(rows, steps), self._states(rows, steps + 1)
            t = sampler.times(steps)
            mean, std = sampler.moments(self.frozen.output(x, t), steps, x, sampler.eta)
            ends = steps + 1 == sampler.n_steps
            after = torch.exp(log_h(then, sampler.times((steps + 1).clamp_max(sampler.n_steps - 1))))
            change = torch.where(ends, self.hits[rows], after) - torch.exp(log_h(x, t))
            flat = (then - mean).flatten(1)
            clock = (std.to(x) ** 2).reshape(-1)
            target = covariation_target.kernel(xp, change, flat, clock).reshape(x.shape)
            return x, t, columns(sampler, t, x)[1] * target

        return draw

    @torch.no_grad()
    def _noised(self, generator: torch.Generator, batch: int) -> tuple[Tensor, ...]:
        """Last states in the event, noised to a random step, and the guidance in units of the noise."""
        sampler = self.frozen.sampler
        alphas, sigmas = columns(sampler, sampler.timesteps, torch.ones(1, dtype=torch.float64))
        usable = torch.nonzero(alphas > FLOOR * sigmas)[:, 0]
        accepted = torch.nonzero(self.hits)[:, 0]
        picked = torch.randint(len(accepted), (batch,), generator=generator, device=self.last.device)
        _, steps = self._places(generator, batch, usable)
        t = sampler.times(steps)
        x0 = self.last[accepted[picked]]
        alpha, sigma = columns(sampler, t, x0)
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
        x = alpha * x0 + sigma * noise
        score = -self.frozen.noise(x, t) / sigma
        return x, t, sigma * guidance_target.kernel(xp, x0, x, score, alpha, sigma)

    def _places(
        self, generator: torch.Generator, batch: int, among: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        device = self.last.device
        steps = torch.arange(self.frozen.sampler.n_steps) if among is None else among
        rows = torch.randint(self.store.trajectories, (batch,), generator=generator, device=device)
        return rows, steps.to(device)[torch.randint(len(steps), (batch,), generator=generator, device=device)]

    def _states(self, rows: Tensor, steps: Tensor) -> Tensor:
        return self.store.states(rows, steps, self.frozen.dtype).to(self.last.device)

    # -- what is trained ----------------------------------------------------------------------------------

    def _new_log_h(self) -> nn.Module:
        shape = self.frozen.shape
        if len(shape) == 1:
            return ProbitLogH(self.frozen.sampler, shape[0], self._margin())
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            return LatentLogH(shape[0], self.width, self.share)

    def _field(self, of: Of) -> nn.Module:
        shape = self.frozen.shape
        if len(shape) == 1:
            return ProbitField(self.frozen.sampler, shape[0], self._margin(), of)
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            return LatentField(shape[0], self.width)

    def _margin(self) -> float:
        return float(torch.special.ndtri(torch.tensor(self.share, dtype=torch.float64)))


def _squared(network: nn.Module, x: Tensor, t: Tensor, target: Tensor) -> Tensor:
    return ((network(x, t) - target) ** 2).flatten(1).sum(dim=1).mean()
