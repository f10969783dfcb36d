"""Runs of a recipe: a store for each seed, a guidance for each loss, and draws of all beside rejection's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.pretrained.pipelines import weights_digest

from .callback import save_log_h
from .config import Recipe
from .exact import ChainH, exact_guide, guidance_share
from .method import Learner
from .models import Frozen, Guide, Place, gaussian_model, image_model
from .networks import LatentLogH
from .store import make_store

__all__ = ["Draws", "Outcome", "frozen_of", "run"]

UNGUIDED, REJECTION, EXACT = "unguided", "rejection", "exact h of the chain"
DRAWING = 10**6  # the step number of evaluations, beyond those of stores


@final
@dataclass(frozen=True)
class Draws:
    """Draws of one method, all seeds together.

    Arguments:
        points: Last states, shape (n, *).
        inside: Which of them lie in the event, shape (n,).
        calls: Calls of the frozen model for each draw.
        shares: For the Gaussian model, the error of the guidance of each seed, see :func:`.exact.guidance_share`.
        seconds: The time of a training, mean over seeds.
    """

    points: Tensor
    inside: Tensor
    calls: float
    shares: tuple[float, ...] = ()
    seconds: float = 0.0


@final
@dataclass(frozen=True)
class Outcome:
    """The results of a recipe.

    Arguments:
        recipe: The recipe that was run.
        draws: The draws of each method: unguided, each loss, the exact h where it is known, rejection.
        frozen: The model.
        probes: For the Gaussian model, guidance at probe points, for each loss one row a seed.
        exact: The exact ones of each loss.
    """

    recipe: Recipe
    draws: Mapping[str, Draws]
    frozen: Frozen
    probes: Mapping[str, Tensor]
    exact: Mapping[str, Tensor]


def frozen_of(recipe: Recipe, device: torch.device) -> Frozen:
    """The model of a recipe."""
    if recipe.gaussian is not None:
        return gaussian_model(recipe.gaussian, recipe.sampling)
    assert recipe.image is not None and recipe.event is not None  # checked by the recipe
    return image_model(recipe.image, recipe.event, recipe.sampling, device)


def run(recipe: Recipe, out: Path, accelerator: Accelerator) -> Outcome:
    """Make the stores, train, draw.

    Of images what cross entropy and the martingale loss have learned is left in ``out / "guidance"``.

    Raises:
        UnmetHypothesis: The Gaussian model on another device than the CPU.
    """
    if recipe.gaussian is not None and accelerator.device.type != "cpu":
        hypothesis = "the Gaussian model runs on the CPU, as with ACCELERATE_USE_CPU=true"
        raise UnmetHypothesis("doob", hypothesis, str(accelerator.device))
    frozen = frozen_of(recipe, accelerator.device)
    chain = None if recipe.gaussian is None else ChainH.of(recipe.gaussian, frozen)
    each = [_seed(recipe, frozen, chain, seed, out, accelerator) for seed in recipe.seeds]
    draws = {name: _together([found[0][name] for found in each]) for name in each[0][0]}
    probes = {name: torch.stack([found[1][name] for found in each]) for name in each[0][1]}
    exact: dict[str, Tensor] = {}
    if chain is not None and recipe.gaussian is not None:
        x, t = _probe_points(frozen)
        for loss in recipe.losses:
            exact[loss] = exact_guide(loss, recipe.gaussian, frozen, chain)(x, t).flatten()
    return Outcome(recipe, draws, frozen, probes, exact)


def _seed(
    recipe: Recipe, frozen: Frozen, chain: ChainH | None, seed: int, out: Path, accelerator: Accelerator
) -> tuple[dict[str, Draws], dict[str, Tensor]]:
    image = (
        None if recipe.image is None else replace(recipe.image, width=1)
    )  # of what is learned, not of the model
    identity = {"model": recipe.gaussian or image, "weights": weights_digest(frozen.denoiser)}
    made = make_store(
        out / "store" / f"seed-{seed}", frozen, recipe.store, seed, identity, accelerator, recipe.at_once
    )
    width = 0 if recipe.image is None else recipe.image.width
    made_with = {
        **identity,
        "width": width,
        "event": recipe.event,
        "sampling": recipe.sampling,
        "store": recipe.store,
    }
    learner = Learner(frozen, made, width, out / "checkpoints" / f"seed-{seed}", accelerator, made_with)
    steps = float(frozen.sampler.n_steps)
    kept = learner.last[learner.hits > 0]
    draws = {
        UNGUIDED: Draws(learner.last.cpu(), learner.hits.cpu() > 0, steps),
        REJECTION: Draws(kept.cpu(), torch.ones(len(kept), dtype=torch.bool), steps / learner.share),
    }
    probes: dict[str, Tensor] = {}
    shares: dict[str, float] = {}
    guides: dict[str, tuple[Guide, Place, float]] = {}
    for loss in recipe.losses:
        learned = learner.learn(loss, replace(recipe.plan, seed=seed))
        guides[loss] = learned.guide, learned.place, learned.seconds
        network = learned.networks.get("log_h")
        if isinstance(network, LatentLogH) and loss != "covariation" and accelerator.is_main_process:
            where = out / "guidance" / f"{loss.replace(' ', '-')}-seed-{seed}.safetensors"
            of = {"eta": recipe.sampling.eta, "timesteps": frozen.sampler.timesteps.tolist()}
            save_log_h(where, network, {"title": recipe.title, "seed": seed, **of})
        if chain is not None and recipe.gaussian is not None:
            exact = exact_guide(loss, recipe.gaussian, frozen, chain)
            generator = generator_of(seed, DRAWING - 1)
            shares[loss] = guidance_share(frozen, chain, learned.guide, exact, recipe.evaluation, generator)
            probes[loss] = learned.guide(*_probe_points(frozen)).detach().flatten()
    if chain is not None:
        guides[EXACT] = chain.pull, "mean", 0.0
    for number, (name, (guide, place, seconds)) in enumerate(guides.items()):
        generator = generator_of(seed, DRAWING + number, accelerator.device)
        points = _drawn(recipe, frozen, guide, place, generator)
        inside = torch.cat([frozen.member(part) for part in torch.split(points, recipe.at_once)])
        found = (shares[name],) if name in shares else ()
        draws[name] = Draws(points.cpu(), inside.cpu(), steps, found, seconds)
    return draws, probes


def _drawn(recipe: Recipe, frozen: Frozen, guide: Guide, place: Place, generator: torch.Generator) -> Tensor:
    sizes = [
        min(recipe.at_once, recipe.evaluation - first)
        for first in range(0, recipe.evaluation, recipe.at_once)
    ]
    return torch.cat([frozen.sample(size, generator, guide, place) for size in sizes])


def _probe_points(frozen: Frozen) -> tuple[Tensor, Tensor]:
    """Where guidance is compared: the mean of the unguided path a quarter, a half and three quarters on the way."""
    n = frozen.sampler.n_steps
    steps = torch.tensor([n // 4, n // 2, (3 * n) // 4])
    x = torch.zeros(3, *frozen.shape, dtype=frozen.dtype)
    return x, frozen.sampler.times(steps)


def _together(found: list[Draws]) -> Draws:
    """Draws of all seeds."""
    values: dict[str, Any] = {
        name: torch.cat([getattr(one, name) for one in found]) for name in ("points", "inside")
    }
    count = len(found)
    return Draws(
        **values,
        calls=sum(one.calls for one in found) / count,
        shares=tuple(share for one in found for share in one.shares),
        seconds=sum(one.seconds for one in found) / count,
    )
