r"""Entropic transport in the log domain: one half of Sinkhorn's iteration, and the map of its potentials.

With the plan written :math:`P_{ij} = \exp(u_i + v_j - C_{ij}/\varepsilon)`,

.. math::
    u_i &= \log a_i - \log \sum_j \exp(v_j - C_{ij}/\varepsilon) \\
    S_\varepsilon(x) &= \frac{\sum_j y_j \exp(v_j - |x-y_j|^2/\varepsilon)}
        {\sum_j \exp(v_j - |x-y_j|^2/\varepsilon)}

Nothing here is exponentiated before its maximum is taken away: no :math:`\varepsilon` underflows.

epsilon <= 0 raises :class:`UnmetHypothesis`, as do shapes that do not match.
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.theory.special.elementary import log_sum_exp

__all__ = ["entropic_image", "half_step"]


def _require_epsilon(xp: Namespace, epsilon: float) -> None:
    if not (epsilon > 0.0 and epsilon < float("inf")):
        raise UnmetHypothesis("Sinkhorn", "epsilon > 0 and finite", f"epsilon = {epsilon!r}")


def _require_costs(xp: Namespace, cost: Array, potential: Array, log_weight: Array, epsilon: float) -> None:
    _require_epsilon(xp, epsilon)
    shapes = tuple(tuple(value.shape) for value in (cost, potential, log_weight))
    wrong = shapes[0][-1:] != shapes[1][-1:] or 0 in shapes[0]
    if wrong or (len(shapes[0]) > 1 and shapes[0][-2] != shapes[2][-1]):
        got = f"shapes {', '.join(map(str, shapes))}"
        raise UnmetHypothesis("Sinkhorn", "cost (..., n, m), potential (..., m), log_weight (..., n)", got)


def _require_atoms(xp: Namespace, x: Array, y: Array, potential: Array, epsilon: float) -> None:
    _require_epsilon(xp, epsilon)
    shapes = tuple(tuple(value.shape) for value in (x, y, potential))
    if [len(shape) for shape in shapes] != [2, 2, 1] or (shapes[0][1:], shapes[2]) != (
        shapes[1][1:],
        shapes[1][:1],
    ):
        raise UnmetHypothesis(
            "Sinkhorn", "x (n, d), y (m, d), potential (m,)", f"shapes {', '.join(map(str, shapes))}"
        )
    if 0 in shapes[1]:
        raise UnmetHypothesis("Sinkhorn", "there are atoms", f"y of shape {shapes[1]}")


@public(
    wide=True, cost="finite", potential="finite", log_weight="finite", epsilon="> 0", check=_require_costs
)
def half_step(xp: Namespace, cost: Array, potential: Array, log_weight: Array, epsilon: float) -> Array:
    r"""The potential that gives one marginal exactly, from the potential of the other.

    .. math:: u_i = \log a_i - \log \sum_j \exp(v_j - C_{ij}/\varepsilon)

    Arguments:
        cost: :math:`C`, shape (..., n, m).
        potential: v, shape (..., m).
        log_weight: :math:`\log a`, shape (..., n).
        epsilon: :math:`\varepsilon > 0`, in the units of the cost.

    Returns:
        u, shape (..., n).

    References:
        | Computational optimal transport (Peyre & Cuturi, 2019), section 4.4

    Claims: TRANSFER-ENTROPIC-1

    Example:
        >>> from math import log
        >>> half_step([[0.0, 0.0]], [0.0, 0.0], [0.0], 1.0).tolist() == [-log(2.0)]
        True
    """
    return log_weight - log_sum_exp(xp, potential[..., None, :] - cost / epsilon)


@public(x="finite", y="finite", potential="finite", epsilon="> 0", check=_require_atoms)
def entropic_image(xp: Namespace, x: Array, y: Array, potential: Array, epsilon: float) -> Array:
    r"""The entropic map: the mean of y under the plan, given x; defined at every x.

    .. math:: S_\varepsilon(x) = \sum_j y_j\, \mathrm{softmax}_j\big(v_j - |x-y_j|^2/\varepsilon\big)

    Arguments:
        x: Points, shape (n, d).
        y: Atoms, shape (m, d).
        potential: v, shape (m,).
        epsilon: :math:`\varepsilon > 0`, in units of the squared distance.

    Returns:
        Images, shape (n, d).

    References:
        | Entropic estimation of optimal transport maps (Pooladian & Niles-Weed, 2021)

    Claims: TRANSFER-ENTROPIC-1

    Example:
        >>> entropic_image([[0.0], [2.0]], [[-1.0], [1.0]], [0.0, 0.0], 1e-3).tolist()
        [[0.0], [1.0]]
    """
    # |x|^2 is the same for all j; what is left cancels least with y about the origin.
    centre = xp.mean(y, axis=0)
    atoms = y - centre
    score = (
        potential
        + (2.0 * (x - centre) @ xp.matrix_transpose(atoms) - xp.sum(atoms * atoms, axis=-1)) / epsilon
    )
    weights = xp.exp(score - log_sum_exp(xp, score)[..., None])
    return centre + weights @ atoms
