"""Probability laws with exact moments, densities, scores and draws, on numpy and torch alike."""

from .base import AbstractLaw
from .bessel_count import BesselCount
from .bridges import SquaredBesselBridge
from .discrete import Discrete
from .distances import kl, wasserstein2
from .elementwise import ElementwiseLaw
from .gamma import Gamma, NoncentralChi2
from .gamma_mixed import GammaMixedChi2
from .gaussian import Gaussian
from .gaussian_mixture import GaussianMixture
from .mixture import Mixture
from .normal import LogNormal, Normal
from .scipy_laws import from_scipy

__all__ = [
    "AbstractLaw",
    "BesselCount",
    "Discrete",
    "ElementwiseLaw",
    "Gamma",
    "GammaMixedChi2",
    "Gaussian",
    "GaussianMixture",
    "LogNormal",
    "Mixture",
    "NoncentralChi2",
    "Normal",
    "SquaredBesselBridge",
    "from_scipy",
    "kl",
    "wasserstein2",
]
