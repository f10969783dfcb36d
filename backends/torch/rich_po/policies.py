r"""What each way to make pairs gains on a pipeline, seed by seed, beside what a normal model of its latents predicts.

The prediction is that of :func:`driftproof.numerics.rich_po.one_step_gain` for the pairs that were made: latents of a prompt are
taken for normal, the reward for linear in them, and the share of the possible gain that a step along the mean difference
:math:`\bar\Delta` can reach is the squared cosine

.. math:: \frac{(w^\top\bar\Delta)^2}{w^\top S_0w\;\bar\Delta^\top S_0^{-1}\bar\Delta}.

It knows how well pairs point, and not how far a training with a given rate goes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from torch import Tensor

from driftproof.backends.torch.pretrained.decoding import decoder
from driftproof.backends.torch.rl.rewards import Reward, make_reward
from driftproof.backends.torch.rl.task import Task
from driftproof.numerics.rich_po import PairMoments, one_step_gain

from .config import Recipe
from .experiment import Measured, measured
from .models import Studio, open_studio
from .pairs import LatentPairs, Pool, made_pairs, maker
from .trainer import PreferenceTrainer

__all__ = ["Comparison", "Gained", "compare_policies", "normal_model", "predicted_share"]

Floats = NDArray[np.float64]

RIDGE = 0.05  # of the covariance of latents, as a share of its mean eigenvalue


@final
@dataclass(frozen=True, slots=True)
class Gained:
    """The gain of one policy with one seed.

    Arguments:
        reward, second: Mean of both rewards after less before, on the same noises.
        predicted: The share of the possible gain that a step along the mean difference reaches, on the normal model.
        pairs: How many there were to be trained on.
        winner_error: The growth of winners' errors at the end, as a share of the reference's.
        spread: The deviation of pixels, after over before.
    """

    reward: float
    second: float
    predicted: float
    pairs: int
    winner_error: float
    spread: float


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """The gain of every policy: a result for each seed."""

    recipe: Recipe
    gained: Mapping[str, tuple[Gained, ...]]
    before: float

    def column(self, policy: str, name: str) -> list[float]:
        """One number of every seed."""
        return [float(getattr(one, name)) for one in self.gained[policy]]


def compare_policies(recipe: Recipe, folder: Path, accelerator: Accelerator) -> Comparison:
    """Train the same adapter on the pairs of every policy, with every seed; rewards are measured on the same noises."""
    model, device = recipe.pipeline, accelerator.device
    assert model is not None  # chosen by the caller
    judges = make_reward(recipe.reward, device), make_reward(recipe.second, device)
    studio = open_studio(model, recipe.sampling, recipe.objective.times, device, recipe.budget.seed)
    start = {name: p.detach().clone() for name, p in studio.denoiser.named_parameters() if p.requires_grad}
    gained: dict[str, list[Gained]] = {policy: [] for policy in recipe.policies}
    levels = []
    for seed in recipe.seeds:
        _reset(studio, start)
        pool, before = Pool(studio, recipe.pairs.count, seed), measured(studio, recipe, judges, seed)
        made = {}
        for policy in recipe.policies:  # all pairs are of the model as it was
            choice = replace(recipe.pairs, policy=policy)
            place = folder / f"{recipe.name}-{policy}-{seed}"
            made[policy] = made_pairs(
                pool,
                choice,
                recipe.reward,
                judges[0],
                place,
                recipe.objective.ties,
                maker(model, recipe.sampling),
            )
        levels.append(float(before.reward.mean()))
        normal = normal_model(pool, judges[0])
        for policy, pairs in made.items():
            _reset(studio, start)
            share = predicted_share(pairs, *normal)
            rows = _train(
                recipe,
                studio,
                pairs,
                seed,
                folder / f"{recipe.name}-{policy}-{seed}.safetensors",
                accelerator,
            )
            after = measured(studio, recipe, judges, seed)
            gained[policy].append(_gained(before, after, share, len(pairs), rows))
    return Comparison(recipe, {name: tuple(each) for name, each in gained.items()}, float(np.mean(levels)))


def normal_model(pool: Pool, judge: Reward) -> tuple[Floats, Floats]:
    r"""Covariance of the latents of a prompt, and the mean gradient of the reward: by Stein's lemma :math:`\mathrm{Cov}(x, r) = S_0w`.

    Raises:
        UnmetHypothesis: A reward without gradient.
    """
    studio, rows = pool.studio, pool.rows.cpu().numpy()
    decode = decoder(studio.kind, studio.vae)
    task = Task(pool.studio.task.shape, judge, decode, studio.task.prompts)
    _, gradients = task.rewards_and_gradients(pool.draw(0), pool.rows)
    spread = []
    for draw in pool.drawn:
        x = draw.flatten(1).double().cpu().numpy()
        spread += [x[rows == row] - x[rows == row].mean(axis=0) for row in np.unique(rows)]
    centred = np.concatenate(spread)  # both images of a pair are of one prompt
    cov = centred.T @ centred / len(centred)
    cov += RIDGE * np.trace(cov) / len(cov) * np.eye(len(cov))
    return cov, gradients.flatten(1).double().mean(dim=0).cpu().numpy()


def predicted_share(pairs: LatentPairs, cov: Floats, w: Floats) -> float:
    """The squared cosine between the mean difference of pairs and the reward, on a normal model of latents."""
    mean = (pairs.chosen - pairs.rejected).flatten(1).double().mean(dim=0).numpy()
    return float(one_step_gain(PairMoments(mean, np.zeros_like(cov)), cov, w, math.inf))


def _train(
    recipe: Recipe, studio: Studio, pairs: LatentPairs, seed: int, place: Path, accelerator: Accelerator
) -> list[dict[str, float]]:
    assert recipe.pipeline is not None
    trainer = PreferenceTrainer(
        studio.denoiser,
        pairs,
        studio.noising,
        recipe.objective,
        replace(recipe.budget, seed=seed),
        at_once=recipe.pipeline.at_once,
        checkpoint=place,
        config={"pipeline": recipe.pipeline, "sampling": recipe.sampling, "reward": recipe.reward},
        accelerator=accelerator,
        title=place.stem,
    )
    return trainer.train()


def _gained(
    before: Measured, after: Measured, share: float, pairs: int, rows: list[dict[str, float]]
) -> Gained:
    last: Any = rows[-min(20, len(rows)) :]
    now, was = (sum(row[f"winner {name}"] for row in last) for name in ("error", "before"))
    return Gained(
        float((after.reward - before.reward).mean()),
        float((after.second - before.second).mean()),
        share,
        pairs,
        now / was - 1.0,
        after.spread / before.spread,
    )


@torch.no_grad()
def _reset(studio: Studio, start: Mapping[str, Tensor]) -> None:
    """The adapter as it was before any training."""
    for name, weight in studio.denoiser.named_parameters():
        if name in start:
            weight.copy_(start[name])
