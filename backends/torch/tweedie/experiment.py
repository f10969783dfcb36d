r"""One recipe, run: every process trained on the same budget, sampled alike, measured on rows held out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from torch import Tensor, nn

from ...._random import source
from ..kit.identity import digest_of
from ..training import Plan, Trained, generator_of, train
from .accuracy import Error, excess
from .config import Recipe
from .data import Data, load
from .diffusions import AbstractDiffusion, DiffusionRecipe
from .metrics import Estimate, Held, average, compare
from .networks import NetworkRecipe, backbone
from .sampling import sample
from .scores import ScoreNetwork

__all__ = ["Comparison", "Prepared", "Result", "fit_network", "prepare", "run"]

Rows = NDArray[np.float64]

# Seeds of what is not training lie above all of its steps.
_SAMPLING, _ORACLE = 2**31 - 1, 2**31 - 2


@final
@dataclass(frozen=True, slots=True)
class Prepared:
    """A recipe whose data are loaded and whose processes accept them: nothing is left to refuse."""

    recipe: Recipe
    tables: Mapping[str, Any]
    data: Data
    diffusions: Mapping[str, AbstractDiffusion]


@final
@dataclass(frozen=True, slots=True)
class Result:
    """What one process achieved.

    Arguments:
        metrics: Distances to the held-out rows.
        outside: The share of sampled values outside of the state space of the data.
        errors: The exact error of the network by noise level; empty if not asked for.
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


def prepare(recipe: Recipe, tables: Mapping[str, Any]) -> Prepared:
    """Load the data and scale every process to them.

    Raises:
        UnmetHypothesis: The data are not in the state space of a process (zeros for GBM, negative
            values for CIR), or hold NaN.
    """
    data = load(recipe.data)
    diffusions = {process.name: process.fit(data.train) for process in recipe.processes}
    for diffusion in diffusions.values():
        diffusion.encode(data.held_out)
    if recipe.network.kind == "conv":
        backbone(recipe.network, data.dimension, data.side, 1, 0)
    return Prepared(recipe, tables, data, diffusions)


def fit_network(
    diffusion: AbstractDiffusion,
    rows: Rows,
    side: int,
    network: NetworkRecipe,
    plan: Plan,
    accelerator: Accelerator,
    *,
    checkpoint: Path | None = None,
    config: Mapping[str, object] | None = None,
    title: str = "train",
) -> Trained[ScoreNetwork]:
    """Train a score network on rows (n, d) of data."""
    encoded = torch.tensor(diffusion.encode(rows), dtype=torch.float32, device=accelerator.device)
    model = ScoreNetwork(backbone(network, rows.shape[1], side, diffusion.heads, plan.seed), diffusion)

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, ...]:
        noise = source(generator)
        picked = torch.randint(len(encoded), (batch,), generator=generator, device=encoded.device)
        x0 = encoded[picked]
        t = diffusion.draw_time(x0[:, :1], noise)
        x, *targets = diffusion.forward(x0, t, noise)
        return x, t, *targets

    def loss(network: nn.Module, x: Tensor, t: Tensor, *targets: Tensor) -> Tensor:
        return diffusion.loss(network(x, t), x, t, *targets).mean()

    made_with = {"network": network, "rows": list(rows.shape), **(config or {})}
    return train(
        model, draw, loss, plan, checkpoint=checkpoint, config=made_with, accelerator=accelerator, title=title
    )


def identity_of_data(prepared: Prepared) -> dict[str, object]:
    """What tells data apart: their recipe, and the content of a file, which its name does not tell."""
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
    held = Held(data.held_out, data.block, data.squares)
    results = {}
    for process in recipe.processes:
        results[process.name] = _run_process(prepared, process, held, folder, accelerator)
    floor = compare(data.train, held, _bootstrap(), data.block, recipe.sampling.replicates)
    return Comparison(prepared, floor, results)


def _run_process(
    prepared: Prepared, process: DiffusionRecipe, held: Held, folder: Path, accelerator: Accelerator
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
            config={"data": identity_of_data(prepared), "process": process},
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
