r"""Ridge regression towards a source model: the smallest model in which transfer can hurt.

With an orthonormal design, a source coefficient :math:`\beta_S` and the penalty
:math:`\lambda |\beta - \beta_S|^2`, the estimator is :math:`(\hat\beta + \lambda\beta_S)/(1+\lambda)`.  With the
variance of direct least squares :math:`v = E|\hat\beta - \beta|^2` and the mismatch
:math:`D^2 = |\beta - \beta_S|^2` its risk is

.. math:: R(\lambda) = \frac{v + \lambda^2 D^2}{(1+\lambda)^2}, \qquad R(0) = v \;\text{(direct)}, \quad
    R(\infty) = D^2 \;\text{(source only)}

The best penalty :math:`\lambda^* = v/D^2` has risk :math:`vD^2/(v+D^2)`, below both ends.  Transfer with penalty
:math:`\lambda` is *negative*, :math:`R(\lambda) > v`, exactly if :math:`\lambda(D^2 - v) > 2v`: never when
:math:`D^2 \le v`, and otherwise for every :math:`\lambda > 2v/(D^2-v)`.
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, public

__all__ = ["optimal_penalty", "ridge_risk", "worst_penalty"]


@public(wide=True, penalty="> 0", variance=">= 0", mismatch=">= 0")
def ridge_risk(xp: Namespace, penalty: Array, variance: Array, mismatch: Array) -> Array:
    r"""The exact risk of ridge regression towards the source.

    .. math:: R(\lambda) = \frac{v + \lambda^2 D^2}{(1+\lambda)^2}

    Arguments:
        penalty: :math:`\lambda > 0`.
        variance: Risk v >= 0 of direct least squares, :math:`d\sigma^2/m` with an orthonormal design.
        mismatch: :math:`D^2 = |\beta - \beta_S|^2 \ge 0`.

    Returns:
        The expected squared error, elementwise.

    Claims: TRANSFER-RIDGE-1, TRANSFER-NEGATIVE-1

    Example:
        >>> float(ridge_risk(1.0, 2.0, 6.0))
        2.0
    """
    direct = 1.0 / (1.0 + penalty)
    source = penalty / (1.0 + penalty)
    return direct * direct * variance + source * source * mismatch


@public(variance="> 0", mismatch="> 0")
def optimal_penalty(xp: Namespace, variance: Array, mismatch: Array) -> Array:
    r"""The penalty of least risk.

    .. math:: \lambda^* = \frac{v}{D^2}, \qquad R(\lambda^*) = \frac{vD^2}{v + D^2} < \min(v, D^2)

    Arguments:
        variance: v > 0.
        mismatch: :math:`D^2 > 0`; as it vanishes the best penalty becomes infinite.

    Returns:
        :math:`\lambda^*`, elementwise.

    Claims: TRANSFER-RIDGE-1

    Example:
        >>> float(optimal_penalty(1.0, 4.0))
        0.25
    """
    return variance / mismatch


@public(variance=">= 0", mismatch=">= 0")
def worst_penalty(xp: Namespace, variance: Array, mismatch: Array) -> Array:
    r"""The penalty beyond which transfer is negative: worse than direct least squares.

    .. math:: R(\lambda) > v \iff \lambda > \frac{2v}{D^2 - v} \text{ and } D^2 > v

    Arguments:
        variance: v >= 0.
        mismatch: :math:`D^2 \ge 0`.

    Returns:
        The threshold, elementwise; infinite where :math:`D^2 \le v`: there no penalty makes transfer negative.

    Claims: TRANSFER-NEGATIVE-1

    Example:
        >>> float(worst_penalty(1.0, 3.0)), float(worst_penalty(1.0, 0.5))
        (1.0, inf)
    """
    gap = mismatch - variance
    harmful = gap > 0.0
    threshold = 2.0 * variance / xp.where(harmful, gap, xp.ones_like(gap))
    return xp.where(harmful, threshold, xp.full_like(gap, xp.inf))
