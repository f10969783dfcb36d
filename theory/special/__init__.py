"""Special functions that the exact laws need, over any array namespace, in logarithms."""

from __future__ import annotations

from .bessel import bessel_quotient, bessel_ratio, log_iv, log_ive, log_ive_parts
from .gamma import digamma, gammaln
from .hypergeometric import hyp1f1_ratio, log_hyp1f1
from .normal import log_ndtr, mills

__all__ = [
    "bessel_quotient",
    "bessel_ratio",
    "digamma",
    "gammaln",
    "hyp1f1_ratio",
    "log_hyp1f1",
    "log_iv",
    "log_ive",
    "log_ive_parts",
    "log_ndtr",
    "mills",
]
