r"""Targets, damping, and which samples and steps a loss takes in.

.. math:: u_k^\star = \nabla L^*\Big(\frac{a_{k+1}}\lambda\Big), \qquad
    \mathcal L = \sum_k h_k\,\tfrac12 E\,\big|u(x_k, t_k) - u_k^\star\big|^2

with the target held fixed.  A loss over some of the steps stays unbiased when step k, taken with
probability :math:`p_k`, is weighted by :math:`1/p_k`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.numerics._checks import require_batch
from driftproof.theory.adjoint.regularizers import QuadraticCost, RunningCost
from driftproof.theory.adjoint.weights import over_weight, require_weight

__all__ = ["chosen_steps", "control_target", "quantile_mask", "sample_losses", "step_probabilities"]

Floats: TypeAlias = NDArray[np.float64]


def _positive(
    xp: Namespace, *, lam: float, damping: float, cost: RunningCost, a: Array, current: Array | None
) -> None:
    require_weight("control_target", lam)
    if not 0.0 <= damping < 1.0:
        raise UnmetHypothesis("control_target", "damping in [0, 1)", f"damping = {damping!r}")
    if damping > 0.0 and current is None:
        raise UnmetHypothesis("control_target", "damping needs the current controls", "current = None")
    if a.ndim < 2:
        raise UnmetHypothesis("control_target", "a batch (B, *)", f"shape {tuple(a.shape)}")
    require_batch("control_target", a)
    if current is not None and current.shape != a.shape:
        got = f"shapes {tuple(current.shape)}, {tuple(a.shape)}"
        raise UnmetHypothesis("control_target", "current (B, *) like a", got)
    cost.require_reach(xp, over_weight(xp, "control_target", _flat(xp, a), lam))


@public(check=_positive)
def control_target(
    xp: Namespace,
    a: Array,
    lam: float,
    cost: RunningCost = QuadraticCost(),  # noqa: B008  # frozen, without state
    current: Array | None = None,
    damping: float = 0.0,
) -> Array:
    r"""The control for the adjoint after a step, with damping towards the current one.

    .. math:: (1 - d)\,\nabla L^*(a_{k+1}/\lambda) + d\,u_k

    Arguments:
        a: Adjoints :math:`a_{k+1}`, shape (B, *); norms are over everything but the batch.
        lam: Weight of the running cost, > 0.
        cost: The running cost of a unit weight.
        current: Current controls :math:`u_k`, shape (B, *), for damping.
        damping: d in [0, 1).

    Returns:
        Targets, shape (B, *), in noise time: they are added to the velocity.

    Raises:
        UnmetHypothesis: lam <= 0, damping outside of [0, 1), or a costate that no bounded control answers.

    Claims: ADJOINT-STEP-1

    Example:
        >>> control_target([[3.0, 4.0]], 2.0).tolist()
        [[1.5, 2.0]]
    """
    wanted = xp.reshape(cost.control_kernel(xp, _flat(xp, a) / lam), a.shape)
    return wanted if current is None else (1.0 - damping) * wanted + damping * current


def _alike(xp: Namespace, *, control: Array, target: Array) -> None:
    if control.shape != target.shape or not control.ndim:
        got = f"shapes {tuple(control.shape)}, {tuple(target.shape)}"
        raise UnmetHypothesis("sample_losses", "control and target (B, *)", got)


@public(wide=True, check=_alike)
def sample_losses(xp: Namespace, control: Array, target: Array) -> Array:
    r"""Half of the squared distance of each sample to its target: (B, *) and (B, *) to (B,).

    Claims: ADJOINT-STEP-1

    Example:
        >>> sample_losses([[1.0, 1.0], [0.0, 0.0]], [[1.0, 3.0], [0.0, 0.0]]).tolist()
        [2.0, 0.0]
    """
    difference = _flat(xp, control - target)
    return 0.5 * xp.sum(difference * difference, axis=-1)


def _share_of_some(xp: Namespace, *, losses: Array, share: float) -> None:
    if not 0.0 < share <= 1.0:
        raise UnmetHypothesis("quantile_mask", "share in (0, 1]", f"share = {share!r}")
    if losses.ndim != 1 or not losses.shape[0]:
        raise UnmetHypothesis("quantile_mask", "losses (B,) of at least one", f"shape {tuple(losses.shape)}")


@public(check=_share_of_some)
def quantile_mask(xp: Namespace, losses: Array, share: float) -> Array:
    """Ones for the samples of least loss, a share of the batch rounded up; zeros for the rest.

    Matching on a few runaway trajectories spoils the regression of all others: the largest losses are
    left out.  Ties all stay.

    Arguments:
        losses: Shape (B,).
        share: The share that stays, in (0, 1].

    Raises:
        UnmetHypothesis: A share outside of (0, 1], or no losses.

    Claims: ADJOINT-STEP-1

    Example:
        >>> quantile_mask([3.0, 1.0, 9.0, 2.0], 0.75).tolist()
        [1.0, 1.0, 0.0, 1.0]
    """
    count = losses.shape[0]
    kept = min(count, max(1, -int(-share * count // 1)))
    threshold = xp.sort(losses, axis=0)[kept - 1]
    return xp.astype(losses <= threshold, losses.dtype)


@arrays("numpy")
def step_probabilities(count: int, late_share: float = 0.5, late_from: float = 0.6) -> Floats:
    """Probabilities of the steps 0..N-1: a share on the last ones, the rest evenly on those before.

    Arguments:
        count: N, >= 1.
        late_share: Mass of the steps k >= late_from N, in (0, 1).
        late_from: Where those begin, in (0, 1).

    Example:
        >>> step_probabilities(5).round(4).tolist()
        [0.1667, 0.1667, 0.1667, 0.25, 0.25]
    """
    for name, value in (("late_share", late_share), ("late_from", late_from)):
        if not 0.0 < value < 1.0:
            raise UnmetHypothesis("step_probabilities", f"{name} in (0, 1)", f"{name} = {value!r}")
    if count < 1:
        raise UnmetHypothesis("step_probabilities", "count >= 1", f"count = {count}")
    late = np.arange(count) >= late_from * count
    if not 0 < late.sum() < count:  # one part alone takes all
        return np.full(count, 1.0 / count)
    return np.where(late, late_share / late.sum(), (1.0 - late_share) / (~late).sum())


@arrays()
def chosen_steps(
    probabilities: Sequence[float] | Floats, uniforms: Sequence[float]
) -> list[tuple[int, float]]:
    r"""Steps drawn by inversion from one stratum each, and the weights that keep a sum unbiased.

    .. math:: E\Big[\sum_i w_i f(k_i)\Big] = \sum_k f(k), \qquad w_i = \frac1{n\,p_{k_i}}

    Arguments:
        probabilities: Those of the steps, with sum 1; a step of probability 0 is never taken.
        uniforms: n numbers in [0, 1): number i chooses within [i/n, (i+1)/n).

    Raises:
        UnmetHypothesis: Probabilities that are negative or do not sum to 1, no uniforms, or some outside of [0, 1).

    Claims: ADJOINT-SUBSAMPLING-1

    Example:
        >>> chosen_steps([0.5, 0.5], [0.0, 0.9])
        [(0, 1.0), (1, 1.0)]
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 1 or not (p >= 0.0).all() or not abs(float(p.sum()) - 1.0) < 1e-12 * max(1, len(p)):
        raise UnmetHypothesis("chosen_steps", "probabilities >= 0 with sum 1", f"sum {p.sum()!r}")
    n = len(uniforms)
    if n == 0:
        raise UnmetHypothesis("chosen_steps", "at least one uniform", "none")
    shifts = np.asarray(uniforms, dtype=np.float64)
    if not bool(np.all((shifts >= 0.0) & (shifts < 1.0))):
        raise UnmetHypothesis("chosen_steps", "uniforms in [0, 1)", f"uniforms = {list(uniforms)[:4]}")
    ends = np.cumsum(p)
    ends[np.flatnonzero(p)[-1] :] = 1.0  # whatever the rounding
    levels = (np.arange(n) + shifts) / n
    found = np.searchsorted(ends, np.minimum(levels, np.nextafter(1.0, 0.0)), side="right")
    return [(int(k), 1.0 / (n * float(p[k]))) for k in found]


def _flat(xp: Namespace, x: Array) -> Array:
    return xp.reshape(x, (x.shape[0], -1))
