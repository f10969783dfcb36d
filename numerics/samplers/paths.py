r"""Forward paths by Euler-Maruyama, for comparison and for coefficients without an exact transition."""

from __future__ import annotations

from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof._random import Rng, source
from driftproof.numerics._checks import require_batch
from driftproof.theory.processes import AbstractProcess

__all__ = ["euler_paths"]


@public(x0="state")
def euler_paths(
    xp: Namespace, process: AbstractProcess, x0: Array, n_steps: int, T: float, rng: Rng
) -> Array:
    r"""Forward Euler-Maruyama paths with full truncation on the half-line.

    .. math:: X_{k+1} = X_k + b(X_k^+, t_k)\,h + \sqrt{a(X_k^+, t_k)\,h}\,Z_k, \qquad h = T / n

    Exact draws at single times come from :func:`driftproof.numerics.tweedie.sample_transition`.

    Arguments:
        process: The forward process.
        x0: The data, with shape :math:`(B, *)`, in the state space.
        n_steps: Number of steps, >= 1.
        T: Horizon, > 0.
        rng: A numpy or torch generator or an integer seed.

    Returns:
        The paths, with shape :math:`(n + 1, B, *)`; the first is ``x0``.

    Raises:
        UnmetHypothesis: n_steps < 1, T <= 0, data outside of the state space, or an empty batch.

    Claims: TWEEDIE-SAMPLER-5

    Example:
        >>> from driftproof.theory.processes import CIR
        >>> import numpy as np
        >>> euler_paths(CIR(1.0, 1.0, 1.0), np.ones(5), 10, 1.0, 0).shape
        (11, 5)
    """
    if not n_steps >= 1:
        raise UnmetHypothesis("euler_paths", "n_steps >= 1", f"n_steps = {n_steps!r}")
    if not 0.0 < T < float("inf"):
        raise UnmetHypothesis("euler_paths", "T > 0", f"T = {T!r}")
    require_batch("euler_paths", x0)
    noise = source(rng, like=x0)
    h = T / n_steps
    half_line = process.support != "finite"
    x, zero = x0, xp.zeros_like(x0)
    path = [x0]
    for k in range(n_steps):
        seen = xp.maximum(x, zero) if half_line else x
        t = xp.asarray(k * h, dtype=x.dtype, device=device(x))
        b, a, _ = process.coefficients(xp, seen, t)
        x = x + h * b + xp.sqrt(h * a) * noise.normal(x)
        path.append(x)
    return xp.stack(path)
