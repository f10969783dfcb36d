"""Score as action: rollouts, critics and actors whose sums are weighted by time, so that the grid is free.

* :mod:`rollouts`: paths of a policy with the noise that drove them;
* :mod:`actors`: the weights of the score in three forms of the policy gradient; ratios and KL;
* :mod:`critics`: the martingale loss, CTD(0), CTD(lambda), LSTD; and the squared TD error, which is wrong.
"""

from .actors import (
    likelihood_weights,
    log_ratio,
    path_kl,
    pathwise_weights,
    running_cost,
    standardise,
)
from .critics import (
    ctd_direction,
    eligibility,
    lstd,
    martingale_loss,
    martingale_regression,
    mean_square_td,
    returns_to_go,
    td_errors,
)
from .rollouts import Rollout, rollout

__all__ = [
    "Rollout",
    "ctd_direction",
    "eligibility",
    "likelihood_weights",
    "log_ratio",
    "lstd",
    "martingale_loss",
    "martingale_regression",
    "mean_square_td",
    "path_kl",
    "pathwise_weights",
    "returns_to_go",
    "rollout",
    "running_cost",
    "standardise",
    "td_errors",
]
