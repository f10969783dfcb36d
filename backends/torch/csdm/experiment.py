r"""Quality against cost: the same budget spent at several latent dimensions, and at full dimension.

For every latent dimension m one sketch is drawn and one network trained on the measurements.  A budget B of
coordinates per sample then buys K = B/m steps of Euler-Maruyama; the last one leaves noise of variance
proportional to m/B in every measurement, and the decoder removes what it can.  The penalty is chosen on
training rows with that noise added; nothing that is held out is looked at.

The full dimension takes part twice: as it is, and with the same decoder for the same noise (then the sketch is
the identity), so that the gain of the sketch is separated from that of denoising.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from torch import Tensor

from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.score_models.data import Data
from driftproof.backends.torch.score_models.fit import fit_network
from driftproof.backends.torch.score_models.metrics import Estimate, HeldOut, average, compare
from driftproof.numerics.csdm import Latents
from driftproof.numerics.sensing import (
    NotConverged,
    cosine_basis,
    gaussian_sketch,
    haar_basis,
    orthogonal_sketch,
    rademacher_sketch,
)
from driftproof.theory.csdm import optimal_latent_dimension, statistical_dimension

from .config import Recipe
from .data import drawdown, effective_sparsity
from .pipeline import CSDMPipeline, DecoderConfig, PipelineConfig, diffusion_of

__all__ = ["Prediction", "Row", "Study", "run"]

Rows = NDArray[np.float64]
SKETCHES = {"gaussian": gaussian_sketch, "rademacher": rademacher_sketch, "orthogonal": orthogonal_sketch}
BASES = {"cosine": cosine_basis, "haar": haar_basis}
_SAMPLING, _CALIBRATION, _SKETCH = 2**31 - 1, 2**31 - 2, 2**31 - 3  # steps that no training reaches


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One latent dimension at one budget.

    Arguments:
        label: ``m = 32``, or one of the two rows of the full dimension.
        m: Latent dimension.
        budget: Coordinates a sample.
        steps: Steps of the sampler.
        factor: The penalty chosen, in units of the universal one; 0: not decoded.
        decoding: Root mean square error of decoding held-out rows with the noise of the last step, in units of
            the standard deviation of the data.
        metrics: Distances from the held-out rows.
        tail: The 95 % quantile of the drawdown less that of the held-out rows; None for images.
        seconds: Training and sampling, a seed.
    """

    label: str
    m: int
    budget: int
    steps: int
    factor: float
    decoding: float
    metrics: Mapping[str, Estimate]
    tail: float | None
    seconds: tuple[float, float]


@final
@dataclass(frozen=True, slots=True)
class Prediction:
    """The predictions of theory for rows whose energy is held by so many coefficients.

    Arguments:
        energy: The share of a training row's energy.
        sparsity: Coefficients that hold it, on average.
        needed: Their statistical dimension.
        best: The predicted best latent dimension; above d: no sketch pays.
    """

    energy: float
    sparsity: int
    needed: float
    best: float


@final
@dataclass(frozen=True, slots=True)
class Study:
    """All rows of a recipe with what theory predicts.

    Arguments:
        predictions: One for each share of energy.
        floor: The training rows measured like samples.
        samples: A few samples by label at the largest budget.
        losses: The loss of every step of training, by the latent dimension, first seed.
    """

    recipe: Recipe
    data: Data
    predictions: tuple[Prediction, ...]
    floor: Mapping[str, Estimate]
    rows: tuple[Row, ...]
    samples: Mapping[str, Rows]
    losses: Mapping[int, Rows]


def run(recipe: Recipe, data: Data, folder: Path, accelerator: Accelerator) -> Study:
    """Train, sample and measure every dimension of a recipe; the pipelines are saved beside the checkpoints.

    Raises:
        UnmetHypothesis: A latent dimension above d.
    """
    d = data.dimension
    dimensions = [*sorted(m for m in recipe.dimensions if m < d), d]
    basis = None if recipe.basis == "none" else BASES[recipe.basis](d)
    coefficients = data.train if basis is None else data.train @ basis.T
    held = HeldOut(data.held_out, data.block, lambda rows: None)
    collected: dict[tuple[str, int], list[Row]] = {}
    samples: dict[str, Rows] = {}
    losses: dict[int, Rows] = {}
    for seed in recipe.seeds:
        for m in dimensions:
            pipe, seconds, series = _trained(recipe, data, basis, m, seed, folder, accelerator)
            losses.setdefault(m, series)
            for budget in recipe.sampling.budgets:
                for row, rows, one in _measured(recipe, data, held, pipe, budget, seed, seconds):
                    collected.setdefault((row.label, budget), []).append(row)
                    if budget == max(recipe.sampling.budgets):
                        samples[row.label] = rows[:24]
                        if row.factor > 0.0 and accelerator.is_main_process:
                            one.save_pretrained(folder.parent / "pipelines" / f"{recipe.name}-{m}-{seed}")
    floor = compare(data.train, held, _bootstrap(), data.block, recipe.sampling.replicates)
    return Study(
        recipe,
        data,
        tuple(_predicted(coefficients, energy, recipe.order) for energy in recipe.energies),
        floor,
        tuple(_averaged(rows) for rows in collected.values()),
        samples,
        losses,
    )


def _predicted(coefficients: Rows, energy: float, order: float) -> Prediction:
    s, d = effective_sparsity(coefficients, energy), coefficients.shape[1]
    return Prediction(energy, s, statistical_dimension(s, d), optimal_latent_dimension(s, d, order))


def _trained(
    recipe: Recipe,
    data: Data,
    basis: Rows | None,
    m: int,
    seed: int,
    folder: Path,
    accelerator: Accelerator,
) -> tuple[CSDMPipeline, float, Rows]:
    d = data.dimension
    rng = np.random.default_rng([seed, _SKETCH, m])
    sketch = np.eye(d) if m == d else SKETCHES[recipe.sketch](m, d, rng)
    latents = Latents.fit(sketch, data.train) if m < d else _full(data.train)
    encoded = latents.encode(data.train)
    diffusion = diffusion_of(encoded, recipe.noise.low, recipe.noise.high)
    name = f"{recipe.name}-{m}-{seed}"
    trained = fit_network(
        diffusion,
        encoded,
        0,
        recipe.network,
        recipe.plan(seed),
        accelerator,
        checkpoint=folder / f"{name}.safetensors",
        config={"data": recipe.data, "sketch": recipe.sketch, "m": m, "noise": recipe.noise},
        title=name,
    )

    def tensor(values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=accelerator.device)

    config = PipelineConfig(
        recipe.network,
        latents.scale,
        DecoderConfig(low=recipe.low, high=recipe.high),
        recipe.noise.low,
        recipe.noise.high,
    )
    pipe = CSDMPipeline(
        trained.model,
        tensor(sketch),
        tensor(latents.centre),
        None if basis is None else tensor(basis),
        config,
    )
    return pipe, trained.seconds, trained.losses.numpy()


def _full(rows: Rows) -> Latents:
    """Latents of the identity: a coordinate that never varies (the corner of a digit) is no obstacle here."""
    centre = rows.mean(axis=0)
    return Latents(np.eye(rows.shape[1]), centre, float(np.sqrt(np.mean((rows - centre) ** 2))))


def _measured(
    recipe: Recipe, data: Data, held: HeldOut, pipe: CSDMPipeline, budget: int, seed: int, seconds: float
) -> list[tuple[Row, Rows, CSDMPipeline]]:
    m, d = pipe.latents.sketch.shape
    steps = max(1, min(budget // m, pipe.most_steps))
    device = pipe.latents.sketch.device
    rows = []
    for plain in (False, True) if m == d else (False,):
        decoder = (
            replace(pipe.config.decoder, factor=0.0)
            if plain
            else _calibrated(recipe, data, pipe, steps, seed)
        )
        one = CSDMPipeline(
            pipe.network,
            pipe.latents.sketch,
            pipe.latents.centre,
            pipe.basis,
            replace(pipe.config, decoder=decoder),
        )
        started = time.perf_counter()
        drawn = one(recipe.sampling.count, steps, generator_of(seed, _SAMPLING, device)).samples
        spent = time.perf_counter() - started
        found = drawn.double().cpu().numpy()
        metrics = compare(found, held, _bootstrap(), 1, recipe.sampling.replicates)
        label = f"m = {m}" if m < d else "full dimension" if plain else "full dimension, decoded"
        tail = None
        if data.side == 0:
            tail = float(np.quantile(drawdown(found), 0.95) - np.quantile(drawdown(data.held_out), 0.95))
        error = _decoding_error(one, data.held_out, steps, generator_of(seed, _CALIBRATION, device))
        scale = float(np.sqrt(np.mean((data.held_out - data.held_out.mean(axis=0)) ** 2)))
        chosen = Row(label, m, budget, steps, decoder.factor, error / scale, metrics, tail, (seconds, spent))
        rows.append((chosen, found, one))
    return rows


def _calibrated(recipe: Recipe, data: Data, pipe: CSDMPipeline, steps: int, seed: int) -> DecoderConfig:
    """The decoder with the penalty that brings noisy training rows back best."""
    picked = data.train[np.linspace(0, len(data.train) - 1, min(200, len(data.train))).astype(int)]
    errors = {}
    for factor in recipe.sampling.factors:
        decoder = replace(pipe.config.decoder, factor=factor)
        config = replace(pipe.config, decoder=decoder)
        one = CSDMPipeline(pipe.network, pipe.latents.sketch, pipe.latents.centre, pipe.basis, config)
        noise = generator_of(seed, _CALIBRATION, pipe.latents.sketch.device)
        try:
            errors[factor] = _decoding_error(one, picked, steps, noise)
        except NotConverged:  # a penalty too small to be decoded with is not a choice
            continue
    if not errors:
        least, most = min(recipe.sampling.factors), max(recipe.sampling.factors)
        raise ArithmeticError(
            f"csdm: no penalty between {least:g} and {most:g} times the universal one converges"
        )
    return replace(pipe.config.decoder, factor=min(errors, key=errors.__getitem__))


def _decoding_error(pipe: CSDMPipeline, rows: Rows, steps: int, noise: torch.Generator) -> float:
    x = torch.tensor(rows, dtype=torch.float32, device=pipe.latents.sketch.device)
    u = pipe.latents.encode(x)
    level = pipe.noise(steps) / pipe.config.scale
    u = u + level * torch.randn(u.shape, generator=noise, device=u.device)
    return float(torch.sqrt(torch.mean((pipe.decode(u, steps) - x) ** 2)))


def _averaged(rows: Sequence[Row]) -> Row:
    first = rows[0]
    metrics = {name: average([row.metrics[name] for row in rows]) for name in first.metrics}
    tails = [row.tail for row in rows if row.tail is not None]
    return replace(
        first,
        factor=float(np.median([row.factor for row in rows])),
        decoding=float(np.mean([row.decoding for row in rows])),
        metrics=metrics,
        tail=float(np.mean(tails)) if tails else None,
        seconds=(
            float(np.mean([row.seconds[0] for row in rows])),
            float(np.mean([row.seconds[1] for row in rows])),
        ),
    )


def _bootstrap() -> np.random.Generator:
    # The same replicates for every row: differences are paired.
    return np.random.default_rng(0)
