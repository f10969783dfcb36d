"""Forward processes with exact transitions, marginals, bridges and reverse families."""

from .base import AbstractProcess, diffusion, drift, reverse_drift, simulate
from .clock import Clock, Identity, LinearClock
from .gaussian import VE, VP, AbstractGaussianProcess, Flow
from .gbm import GBM
from .squared_bessel import BESQ, CIR, AbstractSquaredBessel

__all__ = [
    "BESQ",
    "CIR",
    "GBM",
    "VE",
    "VP",
    "AbstractGaussianProcess",
    "AbstractProcess",
    "AbstractSquaredBessel",
    "Clock",
    "Flow",
    "Identity",
    "LinearClock",
    "diffusion",
    "drift",
    "reverse_drift",
    "simulate",
]
