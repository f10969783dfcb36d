r"""Tweedie's formulae beyond Gaussian noise: geometric Brownian motion, squared Bessel and CIR processes.

Hypotheses: :math:`X_0` has any law on the state space, :math:`X_t` is its noised version at t > 0, and
:math:`s(x, t) = \partial_x \log p_t(x)` is the score of its marginal, coordinate by coordinate.

* :mod:`first_order`: scores of transitions, and the latent Poisson count of squared Bessel noise;
* :mod:`posterior`: posterior means, variances and moments of the data;
* :mod:`oracles`: data laws whose marginal, score and posterior are known in closed form;
* :mod:`risks`: the risks of empirical-Bayes estimators under squared Bessel noise;
* :mod:`symbolic`: the identities behind them, for sympy.
"""

from driftproof.theory.processes.counts import poisson_count

from .first_order import (
    conditional_count,
    conditional_pair_count,
    conditional_score,
    score_from_count,
)
from .oracles import conjugate_posterior, gamma_posterior_moment, posterior_weights
from .posterior import (
    log_posterior_mean,
    log_posterior_variance,
    posterior_mean,
    posterior_mean_from_counts,
    posterior_moment,
    posterior_variance,
)
from .risks import bayes_risk, unbiased_estimate, unbiased_risk

__all__ = [
    "bayes_risk",
    "conditional_count",
    "conditional_pair_count",
    "conditional_score",
    "conjugate_posterior",
    "gamma_posterior_moment",
    "log_posterior_mean",
    "log_posterior_variance",
    "poisson_count",
    "posterior_mean",
    "posterior_mean_from_counts",
    "posterior_moment",
    "posterior_variance",
    "posterior_weights",
    "score_from_count",
    "unbiased_estimate",
    "unbiased_risk",
]
