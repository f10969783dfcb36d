r"""Forward processes by the clocks in use: from a model's label to :math:`(\alpha, \sigma)` of its state.

The state is :math:`x = \alpha x_0 + \sigma z`.  Any function of one number can be a clock; these are the usual ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.processes import AbstractGaussianProcess

__all__ = ["Levels", "clock_of", "exploding", "from_noise", "rectified", "table"]

Levels: TypeAlias = Callable[[float], tuple[float, float]]


def exploding(sigma: float) -> tuple[float, float]:
    """The label of the model is sigma, and its state x_0 + sigma z.

    Example:
        >>> exploding(2.5)
        (1.0, 2.5)
    """
    return 1.0, sigma


def rectified(t: float) -> tuple[float, float]:
    """A flow whose time 0 is the data: (1 - t) x_0 + t z.

    Example:
        >>> rectified(0.25)
        (0.75, 0.25)
    """
    return 1.0 - t, t


def from_noise(t: float) -> tuple[float, float]:
    """A flow whose time 0 is the noise: t x_0 + (1 - t) z.

    Example:
        >>> from_noise(0.25)
        (0.25, 0.75)
    """
    return t, 1.0 - t


def clock_of(levels: Levels | AbstractGaussianProcess) -> Levels:
    """A clock, or that of a Gaussian process, whose noise times are the labels of the model.

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> clock_of(Flow())(0.25)
        (0.75, 0.25)
    """
    if not isinstance(levels, AbstractGaussianProcess):
        return levels
    process = levels

    def clock(t: float) -> tuple[float, float]:
        alpha, sigma = process.alpha_sigma(np, np.asarray(t))
        return float(alpha), float(sigma)

    return clock


def table(alphas_cumprod: Sequence[float] | NDArray[np.float64]) -> Levels:
    r"""The labels of a table, :math:`\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,z`, and what is between them.

    Arguments:
        alphas_cumprod: The falling table of the training, shape (T,); between labels log(sigma / alpha) is linear.

    Raises:
        UnmetHypothesis: It does not fall, or leaves (0, 1).

    Example:
        >>> levels = table([0.9, 0.5, 0.1])
        >>> tuple(round(each**2, 12) for each in levels(1.0))
        (0.5, 0.5)
    """
    kept = np.asarray(alphas_cumprod, dtype=np.float64)
    if kept.ndim != 1 or not np.all(np.diff(kept) < 0.0) or not (kept[-1] > 0.0 and kept[0] < 1.0):
        raise UnmetHypothesis("audit", "the table alphas_cumprod falls, within (0, 1)", f"{kept}")
    logs = 0.5 * (np.log1p(-kept) - np.log(kept))

    def levels(label: float) -> tuple[float, float]:
        ratio = math.exp(float(np.interp(label, np.arange(len(logs)), logs)))
        return 1.0 / math.hypot(1.0, ratio), ratio / math.hypot(1.0, ratio)

    return levels
