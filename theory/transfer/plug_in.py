r"""From the error of a regression to the mistakes of its classifier.

A classifier that says 1 where :math:`\hat\eta > \frac12` errs against the best one only where
:math:`|\eta - \frac12| \le |\hat\eta - \eta|`, and pays :math:`|2\eta - 1|` there:

.. math:: L(\hat\eta) - L^* = E\big[|2\eta - 1|;\, \hat\eta, \eta \;\text{on two sides of}\; \tfrac12\big]
    \le 2\,E|\hat\eta - \eta| \le 2\,\|\hat\eta - \eta\|

so that every rate of a regression is one of its classifier, and a margin makes it faster.
"""

from __future__ import annotations

import math

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

__all__ = ["excess_error_bound"]


def _require_margin(xp: Namespace, margin: float, **_: Array) -> None:
    if not 0.0 <= margin < math.inf:
        raise UnmetHypothesis("excess_error_bound", "margin >= 0 and finite", f"margin = {margin!r}")


@public(wide=True, error=">= 0", constant="> 0", check=_require_margin)
def excess_error_bound(
    xp: Namespace, error: Array, margin: float = 0.0, constant: float | Array = 1.0
) -> Array:
    r"""How much more often than the best classifier a plug-in classifier errs, at most.

    .. math:: L(\hat\eta) - L^* \le \min\Big(2\epsilon,\; \min_{t > 0}\, 2\epsilon\sqrt{C t^\kappa}
        + \frac{2\epsilon^2}{t}\Big), \qquad \epsilon = \|\hat\eta - \eta\|_{L^2}

    where :math:`P(0 < |\eta - \frac12| \le t) \le C t^\kappa`.  The first part of the sum is Cauchy-Schwarz near the
    margin, the second Markov far from it.  The best :math:`t^{1+\kappa/2} = 2\epsilon/(\kappa\sqrt C)` gives the order
    :math:`\epsilon^{2(1+\kappa)/(2+\kappa)}`.

    Arguments:
        error: :math:`\epsilon`, the :math:`L^2` error of the regression of a label 0 or 1, >= 0.
        margin: :math:`\kappa \ge 0`; 0 demands nothing of the law.
        constant: :math:`C > 0`; of no account at :math:`\kappa = 0`.

    Returns:
        The bound, elementwise.

    Raises:
        UnmetHypothesis: The margin is negative or not finite.

    References:
        | A probabilistic theory of pattern recognition (Devroye, Györfi & Lugosi, 1996), theorem 2.2
        | Fast learning rates for plug-in classifiers (Audibert & Tsybakov, 2007), lemma 5.2

    Claims: TRANSFER-PLUGIN-1

    Example:
        >>> float(excess_error_bound(0.0625)), float(excess_error_bound(0.0625, margin=2.0))
        (0.125, 0.0625)
    """
    if margin == 0.0:
        return 2.0 * error
    best = (2.0 * error / (margin * constant**0.5)) ** (2.0 / (margin + 2.0))
    near = 2.0 * error * constant**0.5 * best ** (0.5 * margin)  # the far part is margin/2 times as large
    return xp.minimum(2.0 * error, (1.0 + 0.5 * margin) * near)
