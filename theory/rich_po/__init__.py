r"""Preference optimisation: what pairs can teach, what they cannot, and where losses go instead.

Everything is exact on normal references :math:`N(\mu_0, S_0)` with linear rewards :math:`w^\top x`, where policies are mean shifts
:math:`S_0\theta/\beta` and DPO is logistic regression in the differences of the pairs:

* :mod:`tilts`: the tilted law as an implicit reward; :func:`driftproof.theory.rewards.tilted` makes it;
* :mod:`logistic`: averages over random pairs; flipped labels, own noise, steps of a chain, an SFT term;
* :mod:`margins`: where a margin goes, at the optimum and in time; displacement of the winners;
* :mod:`gains`: what edits capture, mixtures of pairs, over-optimisation of a proxy;
* :mod:`diffusion`: the algebra of Diffusion-DPO: shared and own noise, time inside and outside of the sigmoid;
* :mod:`units`: beta in one unit, and what a clamp leaves of a loss.

The sources do not state most of this: what is checked here is derived here, on normal models, and says nothing about a
particular network.
"""

from .diffusion import pair_margin, pair_margin_moments, single_time_optimum
from .gains import captured_gain, gold_gain, mixture_coefficient, peak_penalty
from .logistic import (
    BEST_GAP,
    drawn_time_scale,
    flipped_scale,
    gap_efficiency,
    gap_information,
    independent_noise_scale,
    mean_slope,
    sft_scale,
    stepwise_scale,
)
from .margins import always_won_margin, displacement, loser_growth, optimal_margin, sft_threshold
from .tilts import implicit_reward, optimal_value
from .units import BETA_CONVENTIONS, BetaConvention, attainable_losses, nats_beta, summed_beta

__all__ = [
    "BEST_GAP",
    "BETA_CONVENTIONS",
    "BetaConvention",
    "always_won_margin",
    "attainable_losses",
    "captured_gain",
    "displacement",
    "drawn_time_scale",
    "flipped_scale",
    "gap_efficiency",
    "gap_information",
    "gold_gain",
    "implicit_reward",
    "independent_noise_scale",
    "loser_growth",
    "mean_slope",
    "mixture_coefficient",
    "nats_beta",
    "optimal_margin",
    "optimal_value",
    "pair_margin",
    "pair_margin_moments",
    "peak_penalty",
    "sft_scale",
    "sft_threshold",
    "single_time_optimum",
    "stepwise_scale",
    "summed_beta",
]
