r"""The population optimum of DPO for any law of pairs: logistic regression of the wins on the differences, without simulation."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis
from driftproof.numerics._samples import Floats, as_rows, as_weights

__all__ = ["fit_pairs"]

_STEPS = 200


@arrays(results="numpy")
def fit_pairs(differences: Array, wins: Array, weights: Array | None = None) -> Floats:
    r"""The coefficient of least norm at which DPO is optimal: where gradient descent from 0 ends.

    .. math:: \theta = \arg\min \sum_i \omega_i\big[-p_i\log\sigma(\theta^\top\Delta_i) - (1 - p_i)\log\sigma(-\theta^\top\Delta_i)\big]

    The policy is the reference tilted by :math:`\theta^\top x/\beta`: for a normal reference its mean is shifted by
    :math:`S_0\theta/\beta`.  With Bradley-Terry wins the optimum is the reward itself, whatever the pairs are, as long as they span
    the space.

    Arguments:
        differences: :math:`\Delta_i`, one answer less the other, shape (n, d).
        wins: Probability that the first one wins, in [0, 1], shape (n,): labels, or their law.
        weights: :math:`\omega_i > 0`, shape (n,); equal unless given.

    Returns:
        :math:`\theta`, shape (d,), in the span of the differences.

    Raises:
        UnmetHypothesis: Wins outside of [0, 1], shapes that do not match, no difference but 0, or pairs that some direction
            separates: then no optimum exists, and training never ends.

    Claims: RICH-PO-DPO-1, RICH-PO-EDITS-1

    Example:
        >>> import math
        >>> round(float(fit_pairs([[2.0]], [0.75])[0]), 12) == round(math.log(3.0) / 2.0, 12)
        True
    """
    (delta,) = as_rows("fit_pairs", differences=differences)
    p: Floats = np.asarray(wins, dtype=np.float64)
    if p.shape != (len(delta),):
        raise UnmetHypothesis("fit_pairs", "one win probability a pair", f"{p.shape} of {len(delta)} pairs")
    if not ((p >= 0.0) & (p <= 1.0)).all():
        raise UnmetHypothesis("fit_pairs", "wins in [0, 1]", f"from {p.min():.6g} to {p.max():.6g}")
    omega = as_weights("fit_pairs", "weights", weights, len(delta))
    x, sizes, basis = np.linalg.svd(delta, full_matrices=False)
    rank = int(np.sum(sizes > max(delta.shape) * np.finfo(np.float64).eps * sizes[0]))
    if not sizes[0] > 0.0:
        raise UnmetHypothesis("fit_pairs", "some pair differs", "every difference is 0")
    x, theta, near = x[:, :rank], np.zeros(rank), 0
    for _ in range(_STEPS):
        h = x @ theta
        spread = omega * expit(h) * expit(-h)
        bend = (x * spread[:, None]).T @ x
        if not np.linalg.cond(bend) < 1e14:
            break
        # p - expit(h), with all digits where expit(h) is almost 1.
        move = np.linalg.solve(bend, x.T @ (omega * (p * expit(-h) - (1.0 - p) * expit(h))))
        # Pairs that some direction separates gain a margin of 1 at every step, however small their loss has become.
        near += bool(np.max(np.abs(x @ move)) < 1e-3)
        step, before = 1.0, _loss(h, p, omega)
        while (
            not near and _loss(x @ (theta + step * move), p, omega) > before * (1.0 + 1e-12) and step > 1e-9
        ):
            step *= 0.5
        theta = theta + step * move
        if near == 4:  # 1e-3, then quadratically
            found: Floats = theta / sizes[:rank] @ basis[:rank]
            return found
    got = f"after {_STEPS} steps of Newton's iteration a margin is {np.max(np.abs(x @ theta)):.3g}"
    raise UnmetHypothesis("fit_pairs", "no direction separates the pairs", got)


def _loss(h: Floats, p: Floats, omega: Floats) -> float:
    return float(np.sum(omega * (np.logaddexp(0.0, -h) + (1.0 - p) * h)))
