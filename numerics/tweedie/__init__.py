"""Diffusion beyond Gaussian: losses, exact forward sampling, reverse samplers, empirical Bayes."""

from driftproof.numerics.samplers.forward import sample_bridge, sample_transition, sample_with_count
from driftproof.numerics.samplers.matching import bessel_mean_inverse, matched_start
from driftproof.numerics.samplers.parametrization import (
    Parametrization,
    admitted,
    affine,
    convert,
    from_score,
    to_score,
)
from driftproof.numerics.samplers.reverse import (
    bridge_step,
    log_euler_step,
    matched_bridge_step,
    noncentral_step,
    reverse_drift_from_count,
    truncated_euler_step,
)

from .empirical_bayes import MarginalModel, fit_marginal
from .losses import kl_weight, matching_loss, poisson_loss, square_loss, target
from .npmle import NPMLE, fit_prior

__all__ = [
    "NPMLE",
    "MarginalModel",
    "Parametrization",
    "admitted",
    "affine",
    "bessel_mean_inverse",
    "bridge_step",
    "convert",
    "fit_marginal",
    "fit_prior",
    "from_score",
    "kl_weight",
    "log_euler_step",
    "matched_bridge_step",
    "matched_start",
    "matching_loss",
    "noncentral_step",
    "poisson_loss",
    "reverse_drift_from_count",
    "sample_bridge",
    "sample_transition",
    "sample_with_count",
    "square_loss",
    "target",
    "to_score",
    "truncated_euler_step",
]
