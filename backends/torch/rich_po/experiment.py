"""One recipe: train on pairs, and measure against what the theory says or against the model as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from torch import Tensor

from driftproof.backends.torch.kit.intervals import student_interval
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.preferences import read_pairs, table_in
from driftproof.backends.torch.pretrained.lora import save_adapter
from driftproof.backends.torch.rl.rewards import Reward, checked, make_reward

from .config import Recipe
from .gaussian import GaussianSource, ShiftedGaussian, noising_of, population_optimum
from .models import Studio, open_studio
from .objective import drawn, winner_reach
from .pairs import LatentPairs, Pool, encoded, made_pairs, maker
from .trainer import PreferenceTrainer

__all__ = [
    "HELD_OUT",
    "GaussianOutcome",
    "Measured",
    "PipelineOutcome",
    "measured",
    "train_gaussian",
    "train_pipeline",
]

Floats = NDArray[np.float64]
Rows = list[dict[str, float]]

HELD_OUT = 2**31 - 1  # the seed of images that are measured


@final
@dataclass(frozen=True, slots=True)
class GaussianOutcome:
    """Shifts that seeds ended with, shape (seeds, d), beside the exact optimum."""

    recipe: Recipe
    shifts: Floats
    optimum: Floats
    rows: Mapping[int, Rows]

    def interval(self, level: float) -> tuple[Floats, Floats]:
        """Mean and half-width over seeds, jointly for all coordinates."""
        return student_interval(self.shifts, level, together=self.shifts.shape[1])

    def inside(self, level: float) -> bool | None:
        """Whether the optimum lies in the interval; None for one seed."""
        if len(self.shifts) < 2:
            return None
        mean, half = self.interval(level)
        return bool(np.all(np.abs(mean - self.optimum) <= half))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Both rewards (n,) of images of the same noises and prompts, and the deviation of pixels over them."""

    reward: Tensor
    second: Tensor
    spread: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class PipelineOutcome:
    """A trained pipeline, before and after."""

    recipe: Recipe
    pairs: int
    left_out: Mapping[str, int]
    announced: tuple[str, ...]
    rows: Rows
    before: Measured
    after: Measured


def train_gaussian(recipe: Recipe, folder: Path, accelerator: Accelerator) -> GaussianOutcome:
    """Train the mean of the exact denoiser, a seed each."""
    model = recipe.gaussian
    assert model is not None  # chosen by the caller
    optimum = population_optimum(model, recipe.objective)
    shifts, rows = [], {}
    for seed in recipe.seeds:
        denoiser = ShiftedGaussian(model)
        trainer = PreferenceTrainer(
            denoiser,
            GaussianSource(model),
            noising_of(model),
            recipe.objective,
            replace(recipe.budget, seed=seed),
            checkpoint=folder / f"{recipe.name}-{seed}.safetensors",
            accelerator=accelerator,
            title=f"gaussian {seed}",
        )
        rows[seed] = trainer.train()
        shifts.append(denoiser.shift.detach().cpu().double().numpy().copy())
    return GaussianOutcome(recipe, np.stack(shifts), optimum, rows)


def train_pipeline(recipe: Recipe, folder: Path, accelerator: Accelerator) -> PipelineOutcome:
    """Make or read the pairs, train the adapter, measure rewards on the same noises before and after; write the adapter."""
    model = recipe.pipeline
    assert model is not None  # chosen by the caller
    device, seed, objective = accelerator.device, recipe.budget.seed, recipe.objective
    judges = make_reward(recipe.reward, device), make_reward(recipe.second, device)
    table = None
    if recipe.pairs.table:
        table = read_pairs(table_in(Path(recipe.pairs.table)), objective.ties, recipe.pairs.most)
    captions = () if table is None else table.captions
    studio = open_studio(model, recipe.sampling, objective.times, device, seed, captions, model.at_once or 64)
    if table is not None:
        vae: Any = studio.vae
        scale = 1 if vae is None else 2 ** (len(vae.config.block_out_channels) - 1)
        pairs = encoded(studio, table, model.side or scale * studio.task.shape[-1])
    else:
        pool, place = Pool(studio, recipe.pairs.count, seed), folder / f"{recipe.name}-pairs"
        made_by = maker(model, recipe.sampling)
        pairs = made_pairs(pool, recipe.pairs, recipe.reward, judges[0], place, objective.ties, made_by)
    announced = tuple(objective.announced(studio.dimension, studio.noising.log_snr_range))
    if accelerator.is_main_process:
        for line in announced:
            print(line)
    before = measured(studio, recipe, judges)
    trainer = PreferenceTrainer(
        studio.denoiser,
        pairs,
        studio.noising,
        objective,
        recipe.budget,
        at_once=model.at_once,
        checkpoint=folder / f"{recipe.name}.safetensors",
        config={"pipeline": model, "sampling": recipe.sampling, "reward": recipe.reward},
        accelerator=accelerator,
        title=recipe.title,
    )
    objective.check_reach(studio.dimension, _winner_reach(trainer, pairs, studio))
    rows = trainer.train()
    after = measured(studio, recipe, judges)
    if accelerator.is_main_process:
        save_adapter(studio.network, folder / f"{recipe.name}-lora")
    return PipelineOutcome(recipe, len(pairs), pairs.left_out, announced, rows, before, after)


def _winner_reach(trainer: PreferenceTrainer, pairs: LatentPairs, studio: Studio) -> float:
    """The margin that the winners can give: their squared error under the reference, in the units of the loss."""
    objective = trainer.objective
    generator = generator_of(HELD_OUT, 1, trainer.accelerator.device)
    batch = drawn(generator, pairs.draw(generator, min(64, len(pairs))), studio.noising, objective)
    return float(winner_reach(trainer.reference, batch, studio.noising, objective, trainer.kind).mean())


@torch.no_grad()
def measured(studio: Studio, recipe: Recipe, judges: tuple[Reward, Reward], number: int = 0) -> Measured:
    """Rewards of images of held-out noises: those of draw number 0, 1, ...."""
    device = next(studio.network.parameters()).device
    rows = (torch.arange(recipe.held_out) % studio.evaluated).to(device)
    images = studio.images(studio.latents(rows, HELD_OUT, number))
    prompts = [studio.task.prompts[row] for row in rows.tolist()]
    first, second = (checked(judge, images, prompts).double().cpu() for judge in judges)
    return Measured(first, second, float(images.std(dim=0).mean()))
