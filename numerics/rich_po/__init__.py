"""Preference losses, exact fits of pairs, and curation policies on normal models."""

from .curation import (
    Labels,
    PairMoments,
    best_of_pairs,
    edited_pairs,
    one_step_gain,
    random_pairs,
    signal_to_noise,
)
from .denoising import clamped_step_loss, denoising_ratio, dspo_loss, noise_error_weight
from .editing import EditedPairs, EditingPipeline
from .likelihood import log_odds_ratio_loss, orpo_loss, simpo_loss, slic_loss
from .losses import (
    dpo_loss,
    dpop_loss,
    hinge_loss,
    ipo_loss,
    kto_loss,
    robust_dpo_loss,
    sppo_loss,
)
from .optimum import diffusion_dpo_optimum
from .pairs import fit_pairs

__all__ = [
    "EditedPairs",
    "EditingPipeline",
    "Labels",
    "PairMoments",
    "best_of_pairs",
    "clamped_step_loss",
    "denoising_ratio",
    "diffusion_dpo_optimum",
    "dpo_loss",
    "dpop_loss",
    "dspo_loss",
    "edited_pairs",
    "fit_pairs",
    "hinge_loss",
    "ipo_loss",
    "kto_loss",
    "log_odds_ratio_loss",
    "noise_error_weight",
    "one_step_gain",
    "orpo_loss",
    "random_pairs",
    "robust_dpo_loss",
    "signal_to_noise",
    "simpo_loss",
    "slic_loss",
    "sppo_loss",
]
