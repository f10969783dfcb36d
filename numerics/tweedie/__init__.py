"""Diffusion beyond Gaussian: losses, exact forward sampling, reverse samplers, empirical Bayes."""

from .losses import kl_weight, matching_loss, poisson_loss, square_loss, target
from .parametrisations import Kind, affine, convert, from_score, to_score

__all__ = [
    "Kind",
    "affine",
    "convert",
    "from_score",
    "kl_weight",
    "matching_loss",
    "poisson_loss",
    "square_loss",
    "target",
    "to_score",
]
