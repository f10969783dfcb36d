"""The nonparametric maximum-likelihood prior is its own witness: the gradient bounds what any other gains."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import brentq

from driftproof.numerics.tweedie import fit_prior
from driftproof.theory.laws import Discrete
from driftproof.theory.processes import BESQ, CIR, GBM, Flow
from driftproof.theory.tweedie import posterior_weights
from driftproof.validation import Thing, bound, claim, exact, rounding
from driftproof.validation.mutants import wrong

from .gauss import Floats

OBSERVED = np.asarray([0.02, 0.3, 0.35, 0.8, 1.1, 1.9, 2.0, 2.6, 4.5, 9.0])
GRID = np.linspace(0.0, 3.2, 33) ** 2
FITTED = (
    (BESQ(0.5), OBSERVED, GRID),
    (CIR(1.0, 0.6, 1.0), OBSERVED, GRID),
    (GBM(0.1, 0.7), OBSERVED, GRID[1:]),
    (Flow(), OBSERVED, GRID),
)


@lru_cache
def fit(fit_prior: Thing, which: int, tolerance: float) -> Any:
    process, x, atoms = FITTED[which]
    return fit_prior(process, x, 0.4, atoms=atoms, tolerance=tolerance)


def log_likelihood(process: Any, x: Floats, t: float, prior: Any) -> float:
    log_p = process.transition(prior.atoms[None, :], t).log_prob(x[:, None])
    return float(np.mean(np.logaddexp.reduce(log_p + np.log(np.maximum(prior.weights, 1e-300)), axis=1)))


def uniform_prior(value: Any, process: Any, x: Floats, t: float, atoms: Floats) -> Any:
    prior = Discrete(atoms)
    return replace(value, prior=prior, log_likelihood=log_likelihood(process, x, t, prior))


def stopped_early(process: Any, x: Floats, t: float, atoms: Floats, tolerance: float) -> Any:
    """A loose fit that claims the tolerance that was asked for."""
    return replace(fit_prior(process, x, t, atoms=atoms, tolerance=0.3), gap=tolerance)


@claim(
    "TWEEDIE-EB-3",
    "The nonparametric prior carries its certificate",
    r"""
    D_j = \frac1n \sum_i \frac{p_t(x_i | u_j)}{\sum_k w_k p_t(x_i | u_k)} - 1 \le e^{\text{gap}} - 1, \qquad
    \sum_j w_j D_j = 0, \qquad \ell(w') - \ell(w) \le \text{gap} \text{ for every prior } w' \text{ on the grid}
    """,
    covers=[fit_prior],
    hypotheses=[r"t > 0"],
)
class NonparametricPrior:
    """The gradient is evaluated anew, from the transition densities and the fitted prior."""

    @bound(tight=0.5, slack=1e-9)
    def gradient_is_below_the_certified_gap(fit_prior):
        for which, (process, x, atoms) in enumerate(FITTED):
            for tolerance in (1e-2, 1e-5):
                done = fit(fit_prior, which, tolerance)
                p = np.exp(process.transition(atoms[None, :], 0.4).log_prob(x[:, None]))
                gradient = np.mean(p / (p @ done.prior.weights)[:, None], axis=0) - 1.0
                # The gap that is certified is the gradient's, and no more than was asked for.
                yield f"{process}", float(np.max(gradient)), math.expm1(done.gap)
                yield f"{process}, gap", done.gap, tolerance

    # Means of logarithms of densities, and of ratios below 33 at ten observations: of unit order.
    @exact(rounding(64))
    def the_likelihood_is_the_mean_that_it_says(fit_prior):
        for which, (process, x, atoms) in enumerate(FITTED):
            done = fit(fit_prior, which, 1e-5)
            yield f"{process}", done.log_likelihood, log_likelihood(process, x, 0.4, done.prior)
            p = np.exp(process.transition(atoms[None, :], 0.4).log_prob(x[:, None]))
            gradient = np.mean(p / (p @ done.prior.weights)[:, None], axis=0) - 1.0
            yield f"{process}, mean gradient", float(gradient @ done.prior.weights), 0.0

    @bound(tight=1e-2)
    def no_prior_on_the_grid_beats_it_by_more_than_the_gap(fit_prior):
        for which, (process, x, atoms) in enumerate(FITTED):
            done = fit(fit_prior, which, 1e-2)
            rivals = [Discrete(atoms), fit(fit_prior, which, 1e-5).prior, fit(fit_prior, which, 1e-3).prior]
            rivals += [Discrete(atoms[k : k + 1]) for k in range(atoms.size)]
            gains = [log_likelihood(process, x, 0.4, prior) - done.log_likelihood for prior in rivals]
            yield f"{process}", max(0.0, *gains), done.gap

    @exact(1e-9)
    def two_atoms_have_the_weight_that_solves_the_equation(fit_prior):
        # The likelihood is flat to second order: a gap of 1e-12 leaves the weight right to 1e-6.
        atoms, x = np.asarray([0.2, 3.0]), np.asarray([0.1, 0.9, 1.5, 4.0])
        for process in (BESQ(1.5), CIR(1.0, 0.6, 1.0)):
            p = np.exp(process.transition(atoms[None, :], 0.4).log_prob(x[:, None]))
            ratio = p[:, 0] / p[:, 1] - 1.0
            weight = brentq(
                lambda w, ratio=ratio: float(np.mean(ratio / (1.0 + w * ratio))), 1e-9, 1.0 - 1e-9
            )
            done = fit_prior(process, x, 0.4, atoms=atoms, tolerance=1e-12)
            yield f"{process}", done.prior.weights, np.asarray([weight, 1.0 - weight])

    @exact(1e-12)
    def its_posterior_mean_is_that_of_its_prior(fit_prior):
        for which, (process, x, atoms) in enumerate(FITTED):
            done = fit(fit_prior, which, 1e-5)
            prior = replace(done.prior, weights=np.maximum(done.prior.weights, 1e-300))
            yield f"{process}", done.posterior_mean(x), posterior_weights(process, prior, x, 0.4) @ atoms

    mutants = {
        "uniform prior": wrong(fit_prior, uniform_prior),
        "stopped early": wrong(fit_prior, stopped_early),
        "likelihood of the sum": wrong(
            fit_prior, lambda value, x: replace(value, log_likelihood=value.log_likelihood * x.size)
        ),
    }
