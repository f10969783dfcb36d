r"""The coefficients of every step of a run: the kernels of the samplers, on unit inputs.

A step is affine in state, output and noise,

.. math:: x_s = A\,x_t + B\,\text{output} + \varsigma Z, \qquad \hat x_0 = P\,x_t + Q\,\text{output},

whatever the network predicts.  So the kernels run once for a grid, in float64 on (1, 0) and (0, 1), and a
step costs two multiply-adds.
"""

from __future__ import annotations

from typing import NamedTuple

import array_api_compat.numpy as xp
import numpy as np

from driftproof.numerics.samplers import Parametrization, data_and_noise, predicted_moments

from .levels import Floats

__all__ = ["Row", "coefficients"]


class Row(NamedTuple):
    """Coefficients of one step."""

    state: float  # A
    output: float  # B
    std: float  # the standard deviation of the noise
    data_state: float  # P
    data_output: float  # Q
    data_weight: float  # of the predicted data point in the mean, where it is clipped before


def coefficients(alpha: Floats, sigma: Floats, kind: Parametrization, eta: float) -> list[Row]:
    """One row a step, from levels with shape (N + 1,), the last those that the run ends at.

    >>> [row.std for row in coefficients(np.asarray([0.0, 0.5, 1.0]), np.asarray([1.0, 0.5, 0.0]),
    ...                                  "flow_prediction", 1.0)]
    [0.5, 0.0]
    """
    one, zero = np.ones(alpha.size - 1), np.zeros(alpha.size - 1)
    levels = (alpha[:-1], sigma[:-1], alpha[1:], sigma[1:])
    columns = []
    for x, output in ((one, zero), (zero, one)):
        data, noise = data_and_noise.kernel(xp, x, output, *levels[:2], kind)
        mean, std = predicted_moments.kernel(xp, data, noise, *levels, eta)
        columns.append((mean, data))
    (state, data_state), (output, data_output) = columns
    table = np.stack([state, output, std, data_state, data_output, alpha[1:]], axis=1)
    return [Row(*row) for row in table.tolist()]
