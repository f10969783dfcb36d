r"""DM-NonUniform: levels that minimise how much an error of the network is multiplied by a multistep solver.

DPM-Solver++ and UniPC integrate a polynomial through the last predictions of the data,

.. math:: \frac{x_{k+1}}{\sigma_{k+1}} - \frac{x_k}{\sigma_k} = \sum_j W_{kj} D_j, \qquad
    W_{kj} = \int_{\lambda_k}^{\lambda_{k+1}} e^\lambda\,\ell_j(\lambda)\,d\lambda, \quad \lambda = -\log\sigma

with Lagrange's polynomials :math:`\ell_j` of its nodes.  An error :math:`\eta_j` of the prediction at level j arrives
as :math:`\eta_j\sum_k W_{kj}`.  The objective adds the sizes of these, and of the first three steps each by itself:

.. math:: \sum_{k<3}\Big[\sum_j (\eta_j W_{kj})^2\Big]^{1/2} + \sum_j \Big|\eta_j \sum_{k\ge3} W_{kj}\Big|,
    \qquad \eta = \frac{\sigma^2}{\sqrt{1+\sigma^2}}

The order is 1 in the first and last step, 2 in those beside them, and 3 between.  Nothing of the data enters, nor a network.

References:
    | Accelerating diffusion sampling with optimized time steps (Xue et al., 2024), https://arxiv.org/abs/2402.17376,
      with the choices of its published code
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import LinearConstraint, minimize

from driftproof._arguments import checked
from driftproof._capabilities import arrays
from driftproof._namespace import UnmetHypothesis
from driftproof.numerics._samples import Floats

from .baselines import rho_grid

__all__ = ["error_multiplier", "nonuniform_grid", "solver_weights"]

_FIRST = 3  # steps whose sizes stand by themselves
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


@arrays("numpy")
@checked
def solver_weights(levels: Sequence[float]) -> Floats:
    r"""The weights of the predictions of the data in every step of a multistep solver of order 1, 2, 3, ..., 3, 2, 1.

    .. math:: W_{kj} = \int_{\lambda_k}^{\lambda_{k+1}} e^\lambda\,\ell_j(\lambda)\,d\lambda

    Arguments:
        levels: Levels > 0 that fall, (N + 1,).

    Returns:
        W (N, N): a row a step; a row adds up to :math:`1/\sigma_{k+1} - 1/\sigma_k`.

    Raises:
        UnmetHypothesis: Levels that do not fall, or are not > 0.

    Claims: ART-NONUNIFORM-1

    Example:
        >>> solver_weights([1.0, 0.5, 0.25]).round(12).tolist()  # two steps of order 1
        [[1.0, 0.0], [0.0, 2.0]]
    """
    grid = _levels("solver_weights", levels)
    place, n = -np.log(grid), len(grid) - 1
    found = np.zeros((n, n))
    for k in range(n):
        order = min(k, n - 1 - k, 2) + 1
        nodes = np.arange(k + 1 - order, k + 1)
        half = 0.5 * (place[k + 1] - place[k])
        # Panels short enough that the rule is exact to rounding, whatever the step.
        panels = max(1, math.ceil(half))
        at = place[k] + (half / panels) * (2.0 * np.arange(panels)[:, None] + 1.0 + _NODES).reshape(-1)
        weight = np.tile(_WEIGHTS, panels) * np.exp(at) * (half / panels)
        for j in nodes:
            others = nodes[nodes != j]
            found[k, j] = weight @ np.prod((at[:, None] - place[others]) / (place[j] - place[others]), axis=1)
    return found


@checked
def error_multiplier(levels: Sequence[float]) -> float:
    """The objective of DM-NonUniform, by the formula of the module.

    Arguments:
        levels: Levels > 0 that fall, (N + 1,).

    Returns:
        The bound.

    Raises:
        UnmetHypothesis: Levels that do not fall, or are not > 0.

    Claims: ART-NONUNIFORM-1

    Example:
        >>> abs(error_multiplier([1.0, 0.5]) - 0.5**0.5) < 1e-15  # one step: (1/0.5 - 1/1) / sqrt(2)
        True
    """
    grid = _levels("error_multiplier", levels)
    error = grid[:-1] ** 2 / np.sqrt(1.0 + grid[:-1] ** 2)
    parts = solver_weights(grid.tolist()) * error
    # The first and the last step stand by themselves, and so do two more where the grid is short.
    alone = [k for k in range(len(parts)) if k < _FIRST or k == len(parts) - 1]
    own = sum(float(np.linalg.norm(parts[k])) for k in alone)
    return own + float(np.abs(np.delete(parts, alone, axis=0).sum(axis=0)).sum())


@arrays("numpy")
@checked
def nonuniform_grid(n: int, sigma_min: float, sigma_max: float) -> Floats:
    """The levels that a descent on :func:`error_multiplier` finds, from equal steps of their logarithm.

    Arguments:
        n: Number of steps, >= 1.
        sigma_min, sigma_max: The last and the first level, 0 < sigma_min < sigma_max.

    Returns:
        Levels (n + 1,), falling, the ends exact.

    Raises:
        UnmetHypothesis: n < 1, or a range that does not fall or reaches 0.

    Claims: ART-NONUNIFORM-1

    Example:
        >>> nonuniform_grid(1, 0.1, 10.0).tolist()
        [10.0, 0.1]
    """
    start = np.log(rho_grid(n, sigma_min, sigma_max, math.inf))
    least = 1e-3 * (start[0] - start[-1]) / n  # between logarithms of neighbours

    def levels(inner: Floats) -> Floats:
        return np.exp(np.concatenate([start[:1], inner, start[-1:]]))

    if n == 1:
        return np.asarray([sigma_max, sigma_min])
    steps = np.eye(n, n - 1, k=0) - np.eye(n, n - 1, k=-1)
    low = np.full(n, least)
    low[0], low[-1] = least - start[0], least + start[-1]
    found = minimize(  # type: ignore[call-overload]  # its stubs have no LinearConstraint for SLSQP
        lambda inner: error_multiplier(levels(inner).tolist()),
        start[1:-1],
        method="SLSQP",
        constraints=[LinearConstraint(-steps, low, np.inf)],
        options={"maxiter": 300},
    )
    made = levels(found.x)
    made[0], made[-1] = sigma_max, sigma_min
    return made


def _levels(subject: str, levels: Sequence[float]) -> Floats:
    grid = np.asarray(levels, dtype=np.float64)
    if grid.ndim != 1 or grid.size < 2 or not ((np.diff(grid) < 0.0).all() and grid[-1] > 0.0):
        got = f"levels = {list(levels)[:4]}"
        raise UnmetHypothesis(subject, "levels > 0 that fall, at least two", got)
    return grid
