r"""Sampler stochasticity in fine-tuning: train on the SDE, deploy the ODE, and what that costs.

* :mod:`moments`: Gaussian data under the reverse family at every eta, with mis-scaled and shifted scores;
* :mod:`gaps`: terminal laws on R^d, reward gaps, their rates, the effect of additive score errors;
* :mod:`bounds`: the Wasserstein bound by coupling, in general and for Gaussian mixtures;
* :mod:`paths`: path KL, Fisher information and policy gradient as functions of eta;
* :mod:`steps`: the noise of DDIM and gDDIM, and the exact law of affine samplers;
* :mod:`ddpo`: fine-tuning in closed form.
"""

from .bounds import mixture_contraction, mixture_monotonicity, w2_bound, w2_bound_integral
from .ddpo import DDPOToy, Tuned
from .gaps import error_weight, leading_gaps, mean_error, mean_error_integral, reward_gap, terminal_law
from .moments import propagate, signal_fraction, terminal_moments
from .paths import (
    fisher_information,
    flow_grpo_eta,
    path_kl,
    path_kl_factor,
    policy_gradient_mean,
    reinforce_variance,
)
from .steps import ddim_eta_limit, ddim_variance, gddim_variance, sampler_moments

__all__ = [
    "DDPOToy",
    "Tuned",
    "ddim_eta_limit",
    "ddim_variance",
    "error_weight",
    "fisher_information",
    "flow_grpo_eta",
    "gddim_variance",
    "leading_gaps",
    "mean_error",
    "mean_error_integral",
    "mixture_contraction",
    "mixture_monotonicity",
    "path_kl",
    "path_kl_factor",
    "policy_gradient_mean",
    "propagate",
    "reinforce_variance",
    "reward_gap",
    "sampler_moments",
    "signal_fraction",
    "terminal_law",
    "terminal_moments",
    "w2_bound",
    "w2_bound_integral",
]
