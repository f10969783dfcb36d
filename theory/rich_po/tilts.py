r"""The tilted law as an implicit reward, and the value of the problem that it solves.

.. math:: p^* \propto p\,e^{r/\beta}: \qquad \beta\log\frac{p^*}p = r - J^*, \qquad
    J^* = \max_\rho E_\rho\,r - \beta\,KL(\rho\|p) = \beta\log E_p\,e^{r/\beta}
"""

from __future__ import annotations

from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, boundary, checked
from driftproof.theory.laws import Gaussian, GaussianMixture
from driftproof.theory.laws.matrices import sqrt_psd
from driftproof.theory.rewards import Quadratic, Reward, tilted

__all__ = ["implicit_reward", "optimal_value"]


@arrays()
@checked(beta="> 0")
def implicit_reward(
    policy: Gaussian | GaussianMixture, reference: Gaussian | GaussianMixture, beta: float, x: Array
) -> Array:
    r"""The reward that a policy is the optimum of, up to a constant: what DPO compares.

    .. math:: \hat r(x) = \beta \log\frac{p(x)}{p_{ref}(x)}

    Arguments:
        policy, reference: Laws on R^d with densities.
        beta: Strength of the KL penalty, > 0.
        x: Points, shape (..., d).

    Returns:
        Array of shape (...).

    Raises:
        UnmetHypothesis: beta <= 0 or a law without a density.

    Claims: RICH-PO-TILT-1

    Example:
        >>> shifted, reference = Gaussian([1.0], [[1.0]]), Gaussian([0.0], [[1.0]])
        >>> float(implicit_reward(shifted, reference, 2.0, [2.0]))
        3.0
    """
    return beta * (policy.log_prob(x, strict=True) - reference.log_prob(x, strict=True))


@arrays()
@checked(beta="> 0")
def optimal_value(law: Gaussian, reward: Reward, beta: float) -> Array:
    r"""The largest reward less penalty, which a policy reaches that is the tilt of the reference.

    .. math:: J^* = \beta\log E\,e^{r(X)/\beta} = r(m) + \frac1{2\beta}\,g^\top C^* g - \frac\beta2 \log\det(I + C Q/\beta),
        \qquad g = c - Q m, \quad C^* = (C^{-1} + Q/\beta)^{-1}

    Arguments:
        law: The reference, a Gaussian law; it may be singular.
        reward: Linear or Quadratic.
        beta: Strength of the KL penalty, > 0.

    Returns:
        :math:`J^*`, shape ().

    Raises:
        UnmetHypothesis: beta <= 0, a reward on another space, or one that grows faster than the density falls.

    Claims: RICH-PO-TILT-1

    Example:
        >>> from driftproof.theory.rewards import Linear
        >>> float(optimal_value(Gaussian([0.0], [[1.0]]), Linear([2.0]), 0.5))
        4.0
    """
    best = tilted(law, reward, beta)
    slope, at_mean = reward.gradient(law.mean), reward.value(law.mean)
    given = {"cov": law.cov, "best": best.cov, "slope": slope, "value": at_mean}
    if isinstance(reward, Quadratic):
        given["Q"] = reward.Q
    xp, down, (cov, spread, g, plain, *curvature) = boundary("optimal_value", **given)
    gain = plain + 0.5 / beta * xp.sum(g * xp.squeeze(spread @ g[:, None], axis=-1))
    if not curvature:
        return down.wide(gain)
    root, eye = sqrt_psd(xp, cov), xp.eye(cov.shape[-1], dtype=cov.dtype, device=device(cov))
    _, log_det = xp.linalg.slogdet(eye + root @ curvature[0] @ root / beta)
    return down.wide(gain - 0.5 * beta * log_det)
