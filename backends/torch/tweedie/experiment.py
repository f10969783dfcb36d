r"""One recipe, run: every process trained on the same budget, sampled alike, measured on rows held out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray

from driftproof._random import source
from driftproof.backends.torch.kit.identity import digest_of
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.score_models.data import Data, load
from driftproof.backends.torch.score_models.diffusions import AbstractDiffusion, ProcessRecipe
from driftproof.backends.torch.score_models.fit import fit_network
from driftproof.backends.torch.score_models.metrics import Estimate, HeldOut, average, compare
from driftproof.backends.torch.score_models.networks import backbone
from driftproof.backends.torch.score_models.sampling import sample
from driftproof.backends.torch.score_models.scores import ScoreNetwork

from .accuracy import Error, excess
from .config import Recipe

__all__ = ["Comparison", "Prepared", "Result", "prepare", "run"]

Rows = NDArray[np.float64]

# Seeds of what is not training lie above all of its steps.
_SAMPLING, _ORACLE = 2**31 - 1, 2**31 - 2


@final
@dataclass(frozen=True, slots=True)
class Prepared:
    """A recipe whose data are loaded and whose processes accept them: nothing is left to refuse."""

    recipe: Recipe
    data: Data
    diffusions: Mapping[str, AbstractDiffusion]


@final
@dataclass(frozen=True, slots=True)
class Result:
    """The result of one process.

    Arguments:
        metrics: Distances to the held-out rows.
        outside: The share of sampled values outside of the state space of the data.
        errors: The exact error of the network by noise level; empty if not requested.
        samples: Rows drawn with the first seed.
        parameters: Weights of the network.
        seconds: Training time of one seed.
        losses: The loss of every step, first seed.
    """

    metrics: Mapping[str, Estimate]
    outside: float
    errors: tuple[Error, ...]
    samples: Rows
    parameters: int
    seconds: float
    losses: Rows


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """All processes on one data set, and the floor."""

    prepared: Prepared
    floor: Mapping[str, Estimate]
    results: Mapping[str, Result]


def prepare(recipe: Recipe) -> Prepared:
    """Load the data and scale every process to them.

    Raises:
        UnmetHypothesis: The data are not in the state space of a process (zeros for GBM, negative
            values for CIR), or hold NaN.
    """
    data = load(recipe.data)
    diffusions: dict[str, AbstractDiffusion] = {
        process.name: process.fit(data.train, recipe.noise) for process in recipe.process
    }
    for diffusion in diffusions.values():
        diffusion.encode(data.held_out)
    if recipe.network.kind == "conv":
        backbone(recipe.network, data.dimension, data.side, 1, 0)
    return Prepared(recipe, data, diffusions)


def identity_of_data(prepared: Prepared) -> dict[str, object]:
    """The identity of data: their recipe, and the content of a file, which its name does not determine."""
    recipe, rows = prepared.recipe.data, prepared.data.train
    return {"recipe": recipe, "content": digest_of([rows.tobytes()]) if recipe.name == "file" else ""}


def run(prepared: Prepared, folder: Path, accelerator: Accelerator) -> Comparison:
    """Train, sample and measure every process of a recipe.

    Arguments:
        prepared: The recipe with its data.
        folder: Where checkpoints go; training goes on from those that are there.
        accelerator: Devices and processes.
    """
    recipe, data = prepared.recipe, prepared.data
    held = HeldOut(data.held_out, data.block, data.squares)
    results: dict[str, Result] = {}
    for process in recipe.process:
        results[process.name] = _run_process(prepared, process, held, folder, accelerator)
    floor = compare(data.train, held, _bootstrap(), data.block, recipe.sampling.replicates)
    return Comparison(prepared, floor, results)


def _run_process(
    prepared: Prepared, process: ProcessRecipe, held: HeldOut, folder: Path, accelerator: Accelerator
) -> Result:
    recipe, data, diffusion = prepared.recipe, prepared.data, prepared.diffusions[process.name]
    scores, samples, errors = [], [], []
    for seed in recipe.seeds:
        name = f"{recipe.name}-{process.name.lower()}-{seed}"
        trained = fit_network(
            diffusion,
            data.train,
            data.side,
            recipe.network,
            recipe.plan(seed),
            accelerator,
            checkpoint=folder / f"{name}.safetensors",
            config={"data": identity_of_data(prepared), "process": process, "noise": recipe.noise},
            title=name,
        )
        noise = source(generator_of(seed, _SAMPLING, accelerator.device))
        like = torch.zeros(recipe.sampling.count, data.dimension, device=accelerator.device)
        drawn = sample(trained.model, diffusion, like, recipe.sampling.steps, noise)
        samples.append(diffusion.decode(drawn.double().cpu().numpy()))
        scores.append(compare(samples[-1], held, _bootstrap(), 1, recipe.sampling.replicates))
        if recipe.sampling.oracle_points and seed == recipe.seeds[0]:
            errors = _errors(trained.model, diffusion, prepared, accelerator)
    lowest = 0.0 if data.name in ("prices", "variance", "digits") else -math.inf
    outside = float(np.mean([(rows < lowest).mean() for rows in samples]))
    metrics = {name: average([score[name] for score in scores]) for name in scores[0]}
    parameters = sum(p.numel() for p in trained.model.parameters())
    losses = trained.losses.numpy()
    return Result(metrics, outside, tuple(errors), samples[0], parameters, trained.seconds, losses)


def _errors(
    network: ScoreNetwork, diffusion: AbstractDiffusion, prepared: Prepared, accelerator: Accelerator
) -> list[Error]:
    sampling, noise = prepared.recipe.sampling, prepared.recipe.noise
    rows = torch.tensor(diffusion.encode(prepared.data.train), dtype=torch.float32, device=accelerator.device)
    edges = [float(edge) for edge in np.geomspace(noise.low, noise.high, 5)]
    draws = source(generator_of(0, _ORACLE, accelerator.device))
    return excess(network, diffusion, rows, edges, sampling.oracle_points, draws)


def _bootstrap() -> np.random.Generator:
    # One stream for every row of a table: the replicates of the held-out rows are then the same.
    return np.random.default_rng(0)
