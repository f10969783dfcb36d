r"""On-policy distillation with f-divergences: exact gradients, and what stop-gradient training descends.

* :mod:`exact`: the divergence over a vocabulary, its gradient in the logits, and the stop-gradient bias;
* :mod:`surrogate`: the generator that the stop-gradient descends instead; the estimators k1, k2, k3;
* :mod:`gaussian`: two normal laws, by quadrature;
* :mod:`sequence`: whole autoregressive pairs by enumeration, with the discount gamma.
"""

from .exact import bias, divergence, logit_gradient, pathwise_logit_gradient, stop_gradient_logit_gradient
from .gaussian import gaussian_divergence, gaussian_divergence_integral
from .sequence import AutoregressivePair
from .surrogate import k_estimator, surrogate

__all__ = [
    "AutoregressivePair",
    "bias",
    "divergence",
    "gaussian_divergence",
    "gaussian_divergence_integral",
    "k_estimator",
    "logit_gradient",
    "pathwise_logit_gradient",
    "stop_gradient_logit_gradient",
    "surrogate",
]
