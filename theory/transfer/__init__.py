r"""Transfer learning by optimal transport: rates, who wins, and risks that one can compute exactly.

A target regression :math:`f_T = f_S \circ S_0 + \Delta` is learned from m target samples either *directly*,
or by *transfer*: estimate the transport :math:`S_0` of the target law to the source law, which needs no
labels, and reuse the source model, :math:`\hat f = \hat f_S \circ \hat S`.

* :mod:`exponents`: the rates of both in both conventions, where they cross, and the samples that an error needs;
* :mod:`decomposition`: the error of transfer as a sum of three, behind an output map too;
* :mod:`plug_in`: what an error of the regression costs a classifier;
* :mod:`gaussian`: transport between normal laws, its exact risk and the leading constant in dimension d;
* :mod:`fourier`: truncated Fourier estimators with exact lattice counts: transport, regression, composition;
* :mod:`ridge`: the smallest model in which transfer can hurt, and exactly when.

The full text of the paper was not available to us: its two rates are quoted from the abstract, and what
is checked here is derived here.
"""

from driftproof.theory.laws.maps import gaussian_map

from .decomposition import error_bound
from .exponents import (
    composition_exponent,
    crossover,
    direct_exponent,
    sample_size,
    transfer_exponent,
)
from .fourier import (
    TruncationRisk,
    projection_risk,
    shift_composition_risk,
    sobolev_transport_risk,
)
from .gaussian import empirical_transport_risk, gaussian_map_constant, gaussian_map_risk
from .lattice import lattice_counts, lattice_tail
from .plug_in import excess_error_bound
from .ridge import optimal_penalty, ridge_risk, worst_penalty

__all__ = [
    "TruncationRisk",
    "composition_exponent",
    "crossover",
    "direct_exponent",
    "empirical_transport_risk",
    "error_bound",
    "excess_error_bound",
    "gaussian_map",
    "gaussian_map_constant",
    "gaussian_map_risk",
    "lattice_counts",
    "lattice_tail",
    "optimal_penalty",
    "projection_risk",
    "ridge_risk",
    "sample_size",
    "shift_composition_risk",
    "sobolev_transport_risk",
    "transfer_exponent",
    "worst_penalty",
]
