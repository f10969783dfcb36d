r"""Masked diffusion of sequences: exact likelihoods, surrogates, and what a sampler costs.

* :mod:`states`, :mod:`denoisers`, :mod:`samplers`: who says what of a masked token, and which is revealed next;
* :mod:`likelihood`: the law of what is sampled, over revealed sets or along the one path; texts that end;
* :mod:`elbo`, :mod:`variances`: the evidence lower bound in three forms, its gap, and its estimators;
* :mod:`surrogates`: mean field, two times, and what a tractable likelihood costs;
* :mod:`evaluations`, :mod:`thresholds`: the number of evaluations, and a threshold that is learned;
* :mod:`remasking`: laws of samplers that keep or redraw tokens because of what was drawn;
* :mod:`corruption`: uniform beside absorbing noise;
* :mod:`polya`: a model that is exact at any length.

The full text of the paper was not available to us; what is checked here is derived here.
"""

from .corruption import corruption_step_kl, reverse_corruption
from .denoisers import ConsistentDenoiser, Prompted, TabularDenoiser
from .elbo import count_elbo, elbo, elbo_profile, elbo_weight, mask_moments, quadrature_elbo
from .evaluations import independent_evaluations, nfe_law
from .likelihood import Path, log_likelihood, output_law, path, path_log_likelihood, text_law
from .polya import PolyaDenoiser
from .remasking import discrete_ddim_law, low_confidence_law, renoising_law
from .samplers import Blocks, Confidence, EntropyBound, LeftToRight, RandomOrder, Ranked, Sampler
from .states import Denoiser
from .surrogates import mean_field, surrogate_bound, two_mean_field
from .thresholds import group_gradient, threshold_gradient
from .variances import count_moments, quadrature_moments, time_moments

__all__ = [
    "Blocks",
    "Confidence",
    "ConsistentDenoiser",
    "Denoiser",
    "EntropyBound",
    "LeftToRight",
    "Path",
    "PolyaDenoiser",
    "Prompted",
    "RandomOrder",
    "Ranked",
    "Sampler",
    "TabularDenoiser",
    "corruption_step_kl",
    "count_elbo",
    "count_moments",
    "discrete_ddim_law",
    "elbo",
    "elbo_profile",
    "elbo_weight",
    "group_gradient",
    "independent_evaluations",
    "log_likelihood",
    "low_confidence_law",
    "mask_moments",
    "mean_field",
    "nfe_law",
    "output_law",
    "path",
    "path_log_likelihood",
    "quadrature_elbo",
    "quadrature_moments",
    "renoising_law",
    "reverse_corruption",
    "surrogate_bound",
    "text_law",
    "threshold_gradient",
    "time_moments",
    "two_mean_field",
]
