r"""Where Diffusion-DPO ends as it is coded, on normal models: one shift for all noise times, without simulation.

The margin of a pair at the noise time t is linear in the shift m of the model, and so normal over pairs and noise.  With one
time drawn outside of the sigmoid, Stein's lemma turns stationarity into d equations,

.. math::
    \sum_t \kappa\big(\sqrt{m^\top K_t m}\big)\,K_t\,m = (1 - 2\epsilon)\,\kappa(s) \sum_t 4\beta\,\sigma_t^2\alpha_t^2\,C_t^{-2} S_0 w, \qquad
    K_t = 8\beta^2\sigma_t^4\alpha_t^4\,C_t^{-4}S_0\Big(I + \frac{\alpha_t^2}{\sigma_t^2} S_0 \cdot [\text{own noise}]\Big)

with :math:`C_t = \alpha_t^2S_0 + \sigma_t^2I` and :math:`s^2 = 2w^\top S_0w`.  For one time it is
:func:`driftproof.theory.rich_po.single_time_optimum`, for :math:`S_0` a multiple of the identity
:func:`driftproof.theory.rich_po.drawn_time_scale`.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import root

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, checked
from driftproof.numerics._samples import Floats
from driftproof.theory.rich_po import mean_slope

__all__ = ["diffusion_dpo_optimum"]


@arrays(results="numpy")
@checked(beta="> 0", flips="in [0, 0.5]")
def diffusion_dpo_optimum(
    cov: Array,
    w: Array,
    alpha: Array,
    sigma: Array,
    beta: float,
    flips: float = 0.0,
    shared_noise: bool = True,
) -> Floats:
    r"""The shift of the mean at which Diffusion-DPO is optimal over random pairs, with its time drawn outside of the sigmoid.

    Arguments:
        cov: :math:`S_0`, shape (d, d), positive definite.
        w: Reward, shape (d,).
        alpha, sigma: Levels of the noise times, which are equally likely, > 0, shape (n,).
        beta: Per summed squared error of the noise, > 0.
        flips: Probability :math:`\epsilon` that a label is flipped, in [0, 1/2].
        shared_noise: Whether both images of a pair get the same noise; they always get the same time.

    Returns:
        m, shape (d,): proportional to 1/beta.

    Raises:
        UnmetHypothesis: Shapes that do not fit, a singular covariance, levels that are not positive, or a reward beyond 1e150.

    Claims: RICH-PO-OPTIMUM-1

    Example:
        >>> round(float(diffusion_dpo_optimum([[1.0]], [0.9216], [0.6], [0.8], 0.5)[0]), 12)
        4.0
    """
    s0, reward, a, s = (np.asarray(v, dtype=np.float64) for v in (cov, w, alpha, sigma))
    d = s0.shape[0] if s0.ndim == 2 else 0
    if not d or s0.shape != (d, d) or reward.shape != (d,) or a.ndim != 1 or not a.size or a.shape != s.shape:
        got = f"shapes {s0.shape}, {reward.shape}, {a.shape}, {s.shape}"
        hypothesis = "cov (d, d), w (d,), alpha and sigma (n,), n >= 1"
        raise UnmetHypothesis("diffusion_dpo_optimum", hypothesis, got)
    if not all(np.all(np.isfinite(v)) for v in (s0, reward, a, s)) or not min(a.min(), s.min()) > 0.0:
        got = f"alpha from {a.min():.6g}, sigma from {s.min():.6g}"
        raise UnmetHypothesis("diffusion_dpo_optimum", "finite arguments, and levels > 0", got)
    values, axes = np.linalg.eigh(0.5 * (s0 + s0.T))
    if not values[0] > d * np.finfo(np.float64).eps * values[-1] or not np.allclose(s0, s0.T, rtol=1e-12):
        got = f"eigenvalues from {values[0]:.3g} to {values[-1]:.3g}"
        raise UnmetHypothesis("diffusion_dpo_optimum", "cov is symmetric and positive definite", got)
    # All matrices are functions of S0: in its axes they are numbers, and beta m is what is solved for.
    turned, noise = axes.T @ reward, np.square(s * a)[:, None]
    blurred = np.square(a)[:, None] * values + np.square(s)[:, None]
    spread = 8.0 * np.square(noise) / blurred**4 * values
    if not shared_noise:
        spread = spread * (1.0 + np.square(a / s)[:, None] * values)
    with np.errstate(over="ignore"):
        sd = math.sqrt(2.0 * float(np.sum(values * turned**2)))
    if not math.isfinite(sd):
        raise UnmetHypothesis("diffusion_dpo_optimum", "w^T S0 w is finite", f"s = {sd}")
    pushed = 4.0 * noise / np.square(blurred) * values * turned
    aim = (1.0 - 2.0 * flips) * float(mean_slope(sd)) * np.sum(pushed, axis=0)
    unit = np.max(np.abs(aim))  # squares would underflow
    if not unit > 0.0:
        return np.zeros(d)

    def excess(shift: Floats) -> Floats:
        each = spread * shift
        slopes: Floats = np.asarray(mean_slope(np.sqrt(np.maximum(each @ shift, 0.0))))
        return (slopes @ each - aim) / unit

    start = aim / np.sum(spread, axis=0)  # the answer for small rewards
    found = root(excess, start, method="hybr", tol=1e-13)
    if not np.linalg.norm(found.fun) < 1e-9:
        got = f"a residual of {np.linalg.norm(found.fun):.3g}"
        raise UnmetHypothesis("diffusion_dpo_optimum", "the equations can be solved to 9 digits", got)
    shift: Floats = axes @ found.x / beta
    return shift
