r"""beta in one unit: nats of the path, which depend neither on the resolution nor on the script.

Published scripts multiply a *mean* over D numbers by beta, with or without a factor 1/2:

.. math::
    \text{squared errors:} \quad \beta_\Sigma = \frac{f\,\beta}{D} \;\; \text{per summed squared error}, \qquad
    \text{log-probabilities:} \quad \beta_{nat} = \frac{f\,\beta}{D} \;\; \text{per nat}

The log-ratio of paths is :math:`-\tfrac12\int(|\hat\epsilon - \epsilon|^2 - |\hat\epsilon_{ref} - \epsilon|^2)\,d\log\mathrm{SNR}`, of which one noise time, drawn
uniformly in the log-SNR, is an unbiased estimate after multiplication with the range :math:`\Lambda` of the log-SNR:

.. math:: \beta_{nat} = \frac{2\,\beta_\Sigma}\Lambda

Other laws of the noise time weigh the levels differently: for those it gives the scale alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

from driftproof._namespace import UnmetHypothesis, checked

__all__ = ["BETA_CONVENTIONS", "BetaConvention", "Script", "attainable_losses", "nats_beta", "summed_beta"]

Script: TypeAlias = Literal["salesforce", "diffusers-sdxl", "diffusers-sd", "d3po", "spo", "summed"]


@final
@dataclass(frozen=True, slots=True)
@checked(factor="> 0")
class BetaConvention:
    """The quantity that a script multiplies by its beta.

    Arguments:
        of: Squared errors of the noise, or log-probabilities of the steps.
        factor: The factor f beside beta.
        mean: Whether it averages over the D numbers of an image; if not, it sums.
    """

    of: Literal["squared error", "log-probability"]
    factor: float
    mean: bool


BETA_CONVENTIONS: Final[Mapping[str, BetaConvention]] = {
    "salesforce": BetaConvention("squared error", 0.5, True),  # DiffusionDPO, train.py: 0.5 * beta_dpo
    "diffusers-sdxl": BetaConvention("squared error", 0.5, True),
    "diffusers-sd": BetaConvention("squared error", 1.0, True),  # no 1/2: 2500 here is 5000 there
    "d3po": BetaConvention("log-probability", 1.0, True),
    "spo": BetaConvention("log-probability", 1.0, True),
    "summed": BetaConvention("squared error", 1.0, False),
}


@checked(beta="> 0")
def summed_beta(beta: float, dimension: int, script: Script = "salesforce") -> float:
    r"""The beta of a script, per *summed* quantity: it can be compared across resolutions and scripts.

    .. math:: f\,\beta/D

    Arguments:
        beta: The script's own beta, > 0.
        dimension: D, the numbers of one latent image: 4 x 64 x 64 = 16384 for SD 1.5.
        script: A key of :data:`BETA_CONVENTIONS`.

    Returns:
        Per summed squared error or per nat of the path, as the table says.

    Raises:
        UnmetHypothesis: beta <= 0, D < 1, or an unknown script.

    Claims: RICH-PO-UNITS-1

    Example:
        >>> summed_beta(5000.0, 16384), summed_beta(5000.0, 16384, "diffusers-sd"), summed_beta(0.1, 16384, "d3po")
        (0.152587890625, 0.30517578125, 6.103515625e-06)
    """
    if dimension < 1:
        raise UnmetHypothesis("summed_beta", "dimension >= 1", f"dimension = {dimension}")
    convention = BETA_CONVENTIONS[script]
    return convention.factor * beta / (dimension if convention.mean else 1)


@checked(summed="> 0", log_snr_range="> 0")
def nats_beta(summed: float, log_snr_range: float) -> float:
    r"""beta per nat of the path, from beta per summed squared error.

    .. math:: \beta_{nat} = 2\,\beta_\Sigma/\Lambda

    Arguments:
        summed: :math:`\beta_\Sigma`, > 0.
        log_snr_range: :math:`\Lambda`, largest less least :math:`\log(\alpha^2/\sigma^2)` of the noise schedule, > 0.

    Returns:
        :math:`\beta_{nat}`, the beta of DPO on a language model.

    Raises:
        UnmetHypothesis: An argument is not positive and finite.

    Claims: RICH-PO-UNITS-1

    Example:
        >>> nats_beta(0.15, 12.5)
        0.024
    """
    return 2.0 * summed / log_snr_range


@checked(beta="> 0", clip="in (0, 1)")
def attainable_losses(beta: float, clip: float) -> tuple[float, float]:
    r"""The interval that a step-wise loss with clamped ratios cannot leave.

    .. math:: \mathrm{softplus}\Big(\mp\beta\log\frac{1 + c}{1 - c}\Big)

    Outside of the clamp the gradient is exactly 0: a loss that sits at an end has stopped learning.

    Arguments:
        beta: Per unit of the log-ratio that is clamped, > 0.
        clip: c in (0, 1): ratios are kept in [1 - c, 1 + c].

    Returns:
        The least and the largest loss.

    Raises:
        UnmetHypothesis: beta <= 0, or c outside of (0, 1).

    Claims: RICH-PO-CLAMP-1

    Example:
        >>> [round(value, 3) for value in attainable_losses(0.1, 0.1)], [round(value, 3) for value in attainable_losses(10.0, 0.1)]
        ([0.683, 0.703], [0.126, 2.133])
    """
    most = beta * (math.log1p(clip) - math.log1p(-clip))
    least = math.log1p(math.exp(-most))
    return least, least + most
