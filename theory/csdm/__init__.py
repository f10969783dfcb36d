r"""Diffusion in a sketch: sample few random measurements of sparse data, then decode them.

* :mod:`dimension`: the statistical dimension, the risks of decoding, and the best latent dimension;
* :mod:`recovery`: coherence, restricted isometry and what they guarantee;
* :mod:`latent`: the exact error of a discretised sampler on a law of low rank; stopping early as white noise;
* :mod:`clamping`: what a clamp takes from measurements;
* :mod:`mixture`: sparse data with Gaussian amplitudes, where latent score and best decoder are closed forms;
* :mod:`stress`: conditional laws of linear-Gaussian factor models, the ground truth of stress tests.

The theorems of the paper were not available; everything here is derived here or taken from the works that
the docstrings name.
"""

from .clamping import clamping_loss
from .dimension import (
    known_support_risk,
    l1_risk,
    optimal_latent_dimension,
    optimal_threshold,
    soft_threshold_risk,
    statistical_dimension,
)
from .latent import early_stopping_noise, euler_variance, latent_error, prior_mismatch
from .mixture import oracle_decoder, sparse_mixture, support_posterior
from .recovery import bpdn_constant, coherence, omp_sparsity, restricted_isometry, simplex_etf
from .stress import FactorModel, expected_shortfall, value_at_risk

__all__ = [
    "FactorModel",
    "bpdn_constant",
    "clamping_loss",
    "coherence",
    "early_stopping_noise",
    "euler_variance",
    "expected_shortfall",
    "known_support_risk",
    "l1_risk",
    "latent_error",
    "omp_sparsity",
    "optimal_latent_dimension",
    "optimal_threshold",
    "oracle_decoder",
    "prior_mismatch",
    "restricted_isometry",
    "simplex_etf",
    "soft_threshold_risk",
    "sparse_mixture",
    "statistical_dimension",
    "support_posterior",
    "value_at_risk",
]
