r"""The best grid among the levels of a fine one, by dynamic programming.

.. math:: \min_{i_0 < \dots < i_n} \sum_k g^{k}\,C_{i_k i_{k+1}}, \qquad i_0 = 0,\; i_n = M - 1

Exact where the error adds up along the grid: for Euler on a Gaussian with :math:`C = -\log\cos\delta`
(:func:`step_losses`), for Euler ancestral with :func:`driftproof.theory.art.ancestral_deficits`.  GITS minimises a sum
of local errors, not carried to the end, and replaces the carrying by a coefficient g > 1.

References:
    | On the trajectory regularity of ODE-based diffusion sampling (Chen et al., 2024), https://arxiv.org/abs/2405.11326
"""

from __future__ import annotations

import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

__all__ = ["best_subgrid", "step_losses"]


@public(wide=True, levels="in [0, inf)", s="in (0, inf)")
def step_losses(xp: Namespace, levels: Array, s: Array) -> Array:
    r"""The cost of Euler's step between any two levels on :math:`N(0, s^2)`.

    .. math:: C_{ij} = -\log\cos(\omega_i - \omega_j), \qquad \omega = \arctan\frac\sigma s

    Arguments:
        levels: Noise levels (M,), >= 0.
        s: Standard deviation of the data, > 0, a scalar.

    Returns:
        Costs (M, M); the sum along a grid is minus the logarithm of :func:`driftproof.theory.art.euler_ratio`.

    Claims: ART-PROGRAM-1

    Example:
        >>> round(2.0 * float(step_losses([1.0, 0.0], 1.0)[0, 1]), 12)  # log 2
        0.69314718056
    """
    a, b = levels[:, None], levels[None, :]
    lengths = (s * s + a * a) * (s * s + b * b)
    sine = s * s * (a - b) ** 2 / lengths  # both squared
    cosine = (s * s + a * b) ** 2 / lengths
    small = sine < 0.5
    # Beside a quarter of a turn one less the sine would have no digits.
    near = xp.log1p(-xp.where(small, sine, xp.zeros_like(sine)))
    return -0.5 * xp.where(small, near, xp.log(xp.where(small, xp.ones_like(cosine), cosine)))


@arrays(results="numpy")
def best_subgrid(cost: Array, n: int, growth: float = 1.0) -> tuple[list[int], float]:
    """The n steps of least total cost from the first level to the last.

    Arguments:
        cost: Cost of the step from level i to level j, (M, M); only j > i is read, and infinity forbids a step.
        n: Number of steps, 1 <= n < M.
        growth: g > 0, by which a step counts more than the one before it.

    Returns:
        The indices of the n + 1 levels, and the cost.

    Raises:
        UnmetHypothesis: A cost that is no square or has NaN above the diagonal, too few levels, or no way at all.

    Claims: ART-PROGRAM-1

    Example:
        >>> best_subgrid(np.asarray([[0.0, 1.0, 9.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]), 2)
        ([0, 1, 2], 3.0)
    """
    c = np.asarray(cost, dtype=np.float64)
    if c.ndim != 2 or c.shape[0] != c.shape[1] or np.isnan(c[np.triu_indices(len(c), 1)]).any():
        raise UnmetHypothesis("best_subgrid", "cost (M, M) without NaN", f"shape {c.shape}")
    size = c.shape[0]
    if not (1 <= n < size and 0.0 < growth < np.inf):
        raise UnmetHypothesis(
            "best_subgrid", "1 <= n < M and growth > 0", f"n = {n}, M = {size}, growth = {growth!r}"
        )
    c = np.where(np.arange(size)[:, None] < np.arange(size), c, np.inf)
    least, before = np.full(size, np.inf), []
    least[0] = 0.0
    for step in range(n):
        total = least[:, None] + growth**step * c
        before.append(np.argmin(total, axis=0))
        least = np.min(total, axis=0)
    if not np.isfinite(least[-1]):
        raise UnmetHypothesis(
            "best_subgrid", f"{n} steps lead to the last level", f"cost {float(least[-1])!r}"
        )
    path = [size - 1]
    for choice in reversed(before):
        path.append(int(choice[path[-1]]))
    return path[::-1], float(least[-1])
