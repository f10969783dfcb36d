r"""Guidance by a noisy linear measurement of normal data: what diffusion posterior sampling approximates.

.. math:: y = A X_0 + \sigma_y Z, \qquad
    \nabla_x \log p(y \mid X_t = x) = K^\top A^\top (A C A^\top + \sigma_y^2 I)^{-1} (y - A M)

with the posterior :math:`N(M, C)` and the gain K of the data behind the point.  Without the posterior covariance
:math:`A C A^\top` guidance is too strong by :math:`1 + A C A^\top/\sigma_y^2`; the gradient of the norm of the residual
forgets how large it is.
"""

from __future__ import annotations

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary, require
from driftproof.theory.laws import Gaussian
from driftproof.theory.laws.gaussian import check_regular, require_single
from driftproof.theory.processes import VE, VP, Flow
from driftproof.theory.processes.posterior import matvec, posterior, require_states

__all__ = ["measurement_guidance"]


@arrays()
def measurement_guidance(
    process: VP | VE | Flow, data: Gaussian, operator: Array, noise: float, y: Array, x: Array, t: Array
) -> Array:
    r"""The guidance of a noisy linear measurement.

    .. math:: K^\top A^\top (A C A^\top + \sigma_y^2 I)^{-1} (y - A M)

    Arguments:
        process: VP, VE or Flow.
        data: The data law, Gaussian on R^d.
        operator: A, shape (k, d).
        noise: :math:`\sigma_y > 0`.
        y: The measurement, shape (..., k).
        x: Noised points, shape (..., d).
        t: Noise times in (0, T], a number or shape (...).

    Returns:
        Array (..., d).

    Raises:
        UnmetHypothesis: Another process or data law, a noise that is not positive, shapes that do not match.

    References:
        | Diffusion posterior sampling for general noisy inverse problems (Chung et al., 2023)
        | https://arxiv.org/abs/2209.14687 (its approximation; the exact form is textbook conditioning)

    Claims: DOOB-MEASURE-1

    Example:
        >>> data = Gaussian([0.0], [[1.0]])
        >>> guide = measurement_guidance(Flow(), data, [[1.0]], 1.0, [0.0], [0.0], 0.5)
        >>> float(guide[0])
        0.0
    """
    name = "measurement_guidance"
    if not isinstance(process, VP | VE | Flow):
        raise UnmetHypothesis(name, "the process is VP, VE or Flow", f"process {type(process).__name__}")
    if not isinstance(data, Gaussian):
        raise UnmetHypothesis(name, "the data law is Gaussian", f"data law {type(data).__name__}")
    require_single(name, data)
    if not 0.0 < noise < float("inf"):
        raise UnmetHypothesis(name, "noise > 0 and finite", f"noise = {noise!r}")
    given = {"x": x, "t": t, "y": y, "operator": operator, **data.parameters}
    xp, down, (x, t, y, a, mean, cov) = boundary(name, **given)
    d = mean.shape[0]
    check_regular(xp, name, cov)
    require(xp, name, "t", t, f"in (0, {float(process.T)}]")
    require_states(name, x, t, d)
    if a.ndim != 2 or a.shape[1] != d or not y.ndim or y.shape[-1] != a.shape[0]:
        got = f"shapes {tuple(a.shape)}, {tuple(y.shape)}"
        raise UnmetHypothesis(name, f"operator (k, {d}) and y (..., k)", got)
    behind = posterior(xp, process, xp.ones_like(mean[:1]), mean[None, :], cov[None, :, :], x, t)
    means, gain, left = behind.means[..., 0, :], behind.gains[..., 0, :, :], behind.covs[..., 0, :, :]
    eye = xp.eye(a.shape[0], dtype=a.dtype, device=getattr(a, "device", None))
    total = a @ left @ xp.matrix_transpose(a) + noise * noise * eye
    residual = y - matvec(xp, a, means)
    solved = xp.linalg.solve(xp.broadcast_to(total, (*residual.shape[:-1], *eye.shape)), residual[..., None])
    back = xp.matrix_transpose(gain) @ xp.matrix_transpose(a) @ solved
    return down(xp.squeeze(back, axis=-1))
