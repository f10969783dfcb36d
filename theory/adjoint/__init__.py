r"""Fine-tuning of flow models as deterministic control: the exact answers.

* :mod:`flow`: the Gaussian flow and its optimal control for any smooth reward;
* :mod:`memoryless`: the stochastic twin, which samples the tilt, and the loss that it keeps;
* :mod:`noisy`: constant noise, between the two;
* :mod:`discrete`: the same problem on a grid of Euler steps, and the index of the adjoint;
* :mod:`iterations`: lean, full and open-loop rounds of matching;
* :mod:`regularizers`, :mod:`regularized`: running costs other than the quadratic;
* :mod:`metric`: a price that depends on the direction;
* :mod:`mixture`: mixtures on the line by quantile maps;
* :mod:`truncation`, :mod:`endpoints`, :mod:`paths`: what these are made of.
"""

from .discrete import DiscreteFlow, uniform_times
from .flow import GaussianFlow
from .iterations import gain_errors
from .memoryless import MemorylessFlow
from .metric import MetricFlow
from .mixture import MixtureFlow
from .noisy import NoisyFlow
from .regularized import RegularizedFlow
from .regularizers import (
    ArcCost,
    BallCost,
    ElasticCost,
    HuberCost,
    PowerCost,
    QuadraticCost,
    RunningCost,
)

__all__ = [
    "ArcCost",
    "BallCost",
    "DiscreteFlow",
    "ElasticCost",
    "GaussianFlow",
    "HuberCost",
    "MemorylessFlow",
    "MetricFlow",
    "MixtureFlow",
    "NoisyFlow",
    "PowerCost",
    "QuadraticCost",
    "RegularizedFlow",
    "RunningCost",
    "gain_errors",
    "uniform_times",
]
