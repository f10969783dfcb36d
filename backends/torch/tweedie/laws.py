r"""A CIR diffusion of real variances beside its exact laws.

The data are single daily variances, N of them.  With each equally likely, everything that the network
learns is known in closed form: the count :math:`n(x, t)`, the posterior mean :math:`E[X_0 \mid x]` and
the marginal law of :math:`X_t`, a mixture of N noncentral chi-square laws.  The network has both
heads; nothing here is estimated from another sample except the floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof._random import Source, source
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.score_models.diffusions import CIRRecipe, Objective, SquaredBesselDiffusion
from driftproof.backends.torch.score_models.fit import fit_network
from driftproof.backends.torch.score_models.sampling import grid, trajectory
from driftproof.backends.torch.score_models.scores import EmpiricalOracle, Outputs, ScoreNetwork
from driftproof.theory.laws import Discrete

from .accuracy import Error, excess
from .config import LawsRecipe
from .experiment import Prepared, identity_of_data

__all__ = ["Curve", "LawsStudy", "Level", "study"]

Rows = NDArray[np.float64]

_POINTS = 256  # where the exact answers are computed: each costs a sum over all rows
_SAMPLING, _ERRORS = 2**31 - 1, 2**31 - 2  # seeds above all training steps


@final
@dataclass(frozen=True, slots=True)
class Level:
    """The errors at one noise level; x has the exact law of X_t.

    Arguments:
        ratio: The noise-to-signal ratio.
        count: Root mean square error of n / x over the root mean square of n / x.
        mean: Root mean square error of E[X0 | x], in units of the mean of the data.
        deviation: Root mean square of the exact posterior deviation of X0, for comparison.
        distance: W1 between the states of the reverse sampler and the exact law, over its deviation.
        floor: The same between two exact samples of that size.
    """

    ratio: float
    count: float
    mean: float
    deviation: float
    distance: float
    floor: float


@final
@dataclass(frozen=True, slots=True)
class Curve:
    """The curves of the figure at one noise level, over a grid of x.

    Arguments:
        ratio: The noise-to-signal ratio.
        x: The grid.
        learnt, exact: The ratio g = 2 rho n / x.
        learnt_mean, exact_mean: The posterior mean of the data.
        density: The exact marginal density.
        states: States of the reverse sampler.
    """

    ratio: float
    x: Rows
    learnt: Rows
    exact: Rows
    learnt_mean: Rows
    exact_mean: Rows
    density: Rows
    states: Rows


@final
@dataclass(frozen=True, slots=True)
class LawsStudy:
    """All levels and curves, and the samples beside the data.

    Arguments:
        levels: Errors, from much noise to little.
        curves: Curves of the same levels.
        samples: Draws of the data.
        train, held_out: The data, in the same unit.
        errors: The exact error of every objective, by noise level.
        delta: The dimension of the process.
        steps: Training steps.
    """

    levels: tuple[Level, ...]
    curves: tuple[Curve, ...]
    samples: Rows
    train: Rows
    held_out: Rows
    errors: Mapping[Objective, tuple[Error, ...]]
    delta: float
    steps: int


def study(prepared: Prepared, recipe: LawsRecipe, folder: Path, accelerator: Accelerator) -> LawsStudy:
    """Train the one-dimensional diffusion and compare it with its exact laws.

    Raises:
        UnmetHypothesis: The recipe compares no CIR diffusion.
    """
    process = next((entry for entry in prepared.recipe.process if isinstance(entry, CIRRecipe)), None)
    if process is None:
        raise UnmetHypothesis("laws", "the recipe has a CIR process", "none")
    train, held_out = (rows[:, :1] for rows in (prepared.data.train, prepared.data.held_out))
    fitted = {
        objective: _train(replace(process, objective=objective), prepared, recipe, folder, accelerator)
        for objective in recipe.objectives
    }
    diffusion, network = fitted[recipe.objectives[0]]
    atoms = torch.tensor(diffusion.encode(train), dtype=torch.float64)
    edges = [float(edge) for edge in np.geomspace(diffusion.low, diffusion.high, 5)]
    errors = {
        objective: tuple(excess(net, each, atoms, edges, _POINTS, source(generator_of(0, _ERRORS))))
        for objective, (each, net) in fitted.items()
    }
    steps, count = prepared.recipe.sampling.steps, prepared.recipe.sampling.count
    noise = source(generator_of(0, _SAMPLING))
    states = trajectory(network, diffusion, torch.zeros(count, 1, dtype=torch.float64), steps, noise)
    times = grid(diffusion, steps)
    levels, curves = [], []
    for index in (round(share * steps) for share in (0.25, 0.5, 0.75, 1.0)):
        t = torch.tensor([[times[index]]], dtype=torch.float64)
        levels.append(_level(network, diffusion, atoms, t, states[index], noise))
        curves.append(_curve(network, diffusion, atoms, t, states[index]))
    last = torch.full((count, 1), times[-1], dtype=torch.float64)
    with torch.no_grad():
        outputs = network(states[-1], last)
        samples = diffusion.decode(diffusion.posterior_mean(states[-1], last, outputs).numpy())
    delta = diffusion.process.delta
    return LawsStudy(
        tuple(levels),
        tuple(curves),
        samples[:, 0],
        train[:, 0],
        held_out[:, 0],
        errors,
        delta,
        recipe.training.max_steps,
    )


def _train(
    process: CIRRecipe, prepared: Prepared, recipe: LawsRecipe, folder: Path, accelerator: Accelerator
) -> tuple[SquaredBesselDiffusion, ScoreNetwork]:
    """The diffusion of single values and its network, on the CPU in double precision."""
    rows = prepared.data.train[:, :1]
    diffusion = process.fit(rows, prepared.recipe.noise, heads=2)
    name = f"{prepared.recipe.name}-laws-{process.objective.replace(' ', '-')}"
    config = {
        "data": identity_of_data(prepared),
        "process": process,
        "noise": prepared.recipe.noise,
        "heads": 2,
    }
    trained = fit_network(
        diffusion,
        rows,
        0,
        recipe.network,
        recipe.training,
        accelerator,
        checkpoint=folder / f"{name}.safetensors",
        config=config,
        title=name,
    )
    return diffusion, trained.model.to("cpu", torch.float64)


@torch.no_grad()
def _level(
    network: Outputs,
    diffusion: SquaredBesselDiffusion,
    atoms: Tensor,
    t: Tensor,
    states: Tensor,
    draws: Source,
) -> Level:
    x, again = (_noised(diffusion, atoms, t, states, draws) for _ in range(2))
    points = x[:_POINTS]
    learnt, exact, learnt_mean, exact_mean, second = _both(network, diffusion, atoms, points, t)
    deviation = torch.sqrt(torch.clamp(second - exact_mean**2, min=0.0))
    spread = float(x.std())
    return Level(
        float(diffusion.ratio(t)),
        _rms(learnt - exact) / _rms(exact),
        _rms(learnt_mean - exact_mean),
        _rms(deviation),
        float(wasserstein_distance(states[:, 0], x[:, 0])) / spread,
        float(wasserstein_distance(again[:, 0], x[:, 0])) / spread,
    )


@torch.no_grad()
def _curve(
    network: Outputs, diffusion: SquaredBesselDiffusion, atoms: Tensor, t: Tensor, states: Tensor
) -> Curve:
    low, high = np.sqrt(np.quantile(states.numpy(), [0.002, 0.995]))
    x = torch.linspace(float(low), float(high), 120, dtype=torch.float64)[:, None] ** 2
    learnt, exact, learnt_mean, exact_mean, _ = _both(network, diffusion, atoms, x, t)
    uniform = torch.full((len(atoms),), 1.0 / len(atoms), dtype=torch.float64)
    law = diffusion.process.marginal(Discrete(atoms[:, 0], uniform), t[0, 0])
    density = torch.exp(law.log_prob(x[:, 0]))
    parts = (x, learnt, exact, learnt_mean, exact_mean, density, states)
    return Curve(float(diffusion.ratio(t)), *(part.reshape(-1).numpy() for part in parts))


def _both(
    network: Outputs, diffusion: SquaredBesselDiffusion, atoms: Tensor, x: Tensor, t: Tensor
) -> tuple[Tensor, ...]:
    """The ratio g, learnt and exact; the posterior mean, learnt and exact; the exact second moment."""
    times = t.expand(len(x), 1)
    outputs = network(x, times)
    weights = EmpiricalOracle(diffusion, atoms).weights(x, times)
    exact = weights @ atoms, weights @ atoms**2
    ratio = torch.sum(weights * diffusion.target(atoms[:, 0], x, times), dim=1, keepdim=True)
    return outputs[:, 0], ratio, diffusion.posterior_mean(x, times, outputs), *exact


def _noised(
    diffusion: SquaredBesselDiffusion, atoms: Tensor, t: Tensor, like: Tensor, draws: Source
) -> Tensor:
    """Draws of the exact marginal law at t, with the shape (B, 1) of ``like``."""
    picked = atoms[(draws.uniform(like[:, 0]) * len(atoms)).long()]
    return diffusion.forward(picked, t.expand(len(picked), 1), draws)[0]


def _rms(values: Tensor) -> float:
    return float(torch.sqrt(torch.mean(values**2)))
