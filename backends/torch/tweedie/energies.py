r"""Empirical Bayes on real energies: how much light is there in a block of a noisy image?

A block of :math:`\delta` pixels :math:`\theta` is seen through Gaussian noise of known variance t, and only
its energy is kept:

.. math:: X = |\theta + \sqrt t\,Z|^2 \;\sim\; t\,\chi'^2_\delta\!\Big(\frac{|\theta|^2}{t}\Big),

which is exactly the squared Bessel process of dimension :math:`\delta` at time t from
:math:`X_0 = |\theta|^2`.  The pixels are real, so the prior is nobody's choice, and since they are known
every estimate of :math:`X_0` has a squared error.  Estimators see the energies of the training images
only; the errors are those on the images held out, paired, with intervals from a bootstrap of images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.score_models.data import Data
from driftproof.backends.torch.score_models.metrics import Estimate, resample
from driftproof.numerics.tweedie.empirical_bayes import fit_marginal
from driftproof.numerics.tweedie.npmle import NPMLE, fit_prior
from driftproof.theory.laws import Discrete
from driftproof.theory.processes import BESQ

from .config import EnergiesRecipe

__all__ = ["EnergyRow", "compare_estimators"]

Rows = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class EnergyRow:
    """One estimator at one block size and noise level.

    Arguments:
        delta: Pixels of a block.
        t: Variance of the noise, in squared grey levels.
        estimator: Its name.
        risk: Mean squared error over the held-out blocks.
        relative: The same over that of the unbiased estimator.
        saving: The unbiased estimator's squared error less this one's, paired, over the former's mean.
    """

    delta: int
    t: float
    estimator: str
    risk: float
    relative: float
    saving: Estimate


def compare_estimators(data: Data, recipe: EnergiesRecipe, replicates: int = 200) -> list[EnergyRow]:
    """Every estimator for every side of a block and noise variance.

    Arguments:
        data: Square images with ``side`` > 0.
        recipe: The blocks and the variances.
        replicates: Bootstrap replicates.

    Returns:
        Rows of the table, the unbiased estimator first in each group.

    Raises:
        UnmetHypothesis: The data are no square images, or a block does not divide them.
    """
    for block in recipe.blocks:
        if data.side == 0 or data.side % block:
            raise UnmetHypothesis("energies", "blocks divide the image", f"side {data.side}, block {block}")
    rng = np.random.default_rng(0)
    rows = []
    for block in recipe.blocks:
        for t in recipe.variances:
            rows.extend(_group(data, block, t, replicates, rng))
    return rows


def _group(data: Data, block: int, t: float, replicates: int, rng: np.random.Generator) -> list[EnergyRow]:
    delta = block * block
    process = BESQ(float(delta))
    seen, _ = _energies(data.train, data.side, block, t, rng)
    x, truth = _energies(data.held_out, data.side, block, t, rng)
    prior = fit_prior(process, seen.reshape(-1), t)
    estimates = {
        "unbiased X - delta t": x - delta * t,
        "its positive part": np.maximum(x - delta * t, 0.0),
        "BESQ Tweedie, spline marginal": fit_marginal(process, seen.reshape(-1), t).posterior_mean(x),
        "NPMLE of the prior": prior.posterior_mean(x),
        "Bayes, prior of the held-out truth": _oracle(process, truth, t).posterior_mean(x),
    }
    # Errors by image: the blocks of an image are not independent, images are.
    errors = {name: ((estimate - truth) ** 2).mean(axis=1) for name, estimate in estimates.items()}
    first = next(iter(errors.values()))
    draws = [resample(len(first), 1, rng) for _ in range(replicates)]
    rows = []
    for name, error in errors.items():
        paired = np.array([1.0 - float(error[i].mean() / first[i].mean()) for i in draws])
        relative = float(error.mean() / first.mean())
        rows.append(
            EnergyRow(delta, t, name, float(error.mean()), relative, Estimate(1.0 - relative, paired))
        )
    return rows


def _energies(images: Rows, side: int, block: int, t: float, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Energies of the blocks, noisy and true, each with shape (images, blocks of an image)."""
    noisy = images + np.sqrt(t) * rng.standard_normal(images.shape)
    many = side // block

    def energy(pixels: Rows) -> Rows:
        tiles = pixels.reshape(-1, many, block, many, block)
        return np.asarray((tiles**2).sum(axis=(2, 4))).reshape(len(pixels), many * many)

    return energy(noisy), energy(images)


def _oracle(process: BESQ, truth: Rows, t: float) -> NPMLE:
    """The law of the held-out energies themselves, which no estimator can know."""
    atoms, counts = np.unique(truth, return_counts=True)
    return NPMLE(process, t, Discrete(atoms, counts / counts.sum()), 0.0, 0.0, 0)
