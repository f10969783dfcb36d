r"""What samplers start from, and how far that is from where the noised data are.

.. math:: \mathrm{KL}\big(p_T \,\|\, N(0, \sigma_\pi^2 I)\big) = \tfrac12 \Big(
    \frac{\mathrm{tr}\,\Sigma_T + |\alpha_T m|^2}{\sigma_\pi^2} - d - \log\det\frac{\Sigma_T}{\sigma_\pi^2}\Big)

with :math:`\Sigma_T = \alpha_T^2 S + \sigma_T^2 I`, and :math:`\sigma_\pi = 1` for VP, :math:`\sigma_T` else.
"""

from __future__ import annotations

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary
from driftproof.theory.laws import Gaussian
from driftproof.theory.laws.gaussian import check_regular, require_single
from driftproof.theory.processes import VE, VP, Flow

__all__ = ["prior_divergence", "require_start"]


@arrays()
def prior_divergence(process: VP | VE | Flow, data: Gaussian) -> Array:
    r"""The divergence of the noised data at the horizon from the law that samplers start from.

    .. math:: \mathrm{KL}\big(p_T \,\|\, N(0, \sigma_\pi^2 I)\big)

    A sampler that is exact otherwise ends at least this far from the data law, less what the process forgets; and
    a start that is off is not mended by tilting it.

    Arguments:
        process: VP, VE or Flow, with its horizon T.
        data: The data law, Gaussian on R^d.

    Returns:
        A scalar array in nats, >= 0.

    Raises:
        UnmetHypothesis: A data law of another kind, whose divergence has no closed form, or a singular one.

    Claims: DOOB-START-2

    Example:
        >>> data = Gaussian([0.0], [[1.0]])
        >>> float(prior_divergence(VP(), data)), float(prior_divergence(Flow(), data))
        (0.0, 0.0)
    """
    if not isinstance(process, VP | VE | Flow):
        got = f"process {type(process).__name__}"
        raise UnmetHypothesis("prior_divergence", "the process is VP, VE or Flow", got)
    if not isinstance(data, Gaussian):
        got = f"data law {type(data).__name__}"
        raise UnmetHypothesis("prior_divergence", "the data law is Gaussian", got)
    require_single("prior_divergence", data)
    xp, down, (mean, cov, end) = boundary("prior_divergence", mean=data.mean, cov=data.cov, T=process.T)
    check_regular(xp, "prior_divergence", cov)
    alpha, sigma = process.alpha_sigma(xp, end)
    # In the eigenbasis of S: the variances less 1 are what x - log(1 + x) needs.
    values, vectors = xp.linalg.eigh(cov)
    prior = xp.ones_like(sigma) if isinstance(process, VP) else sigma * sigma
    excess = alpha * alpha / prior * (values - (1.0 if isinstance(process, VP) else 0.0))
    moved = alpha * (mean @ vectors)
    return down.wide(0.5 * xp.sum(moved * moved / prior + excess - xp.log1p(excess)))


@arrays()
def require_start(process: VP | VE | Flow, data: Gaussian, most: float = 0.01) -> float:
    r"""The divergence of :func:`prior_divergence`, refused where it is more than a bound.

    Arguments:
        process, data: As for :func:`prior_divergence`.
        most: The largest divergence that is let pass, in nats, >= 0.

    Returns:
        The divergence.

    Raises:
        UnmetHypothesis: It is more.

    Claims: DOOB-START-2

    Example:
        >>> require_start(VP(), Gaussian([0.0], [[4.0]])) < 1e-8
        True
    """
    found = float(prior_divergence(process, data))
    if not found <= most:
        hypothesis = (
            f"the noised data are within {most:g} nats of the start (or the start is drawn from them)"
        )
        raise UnmetHypothesis("require_start", hypothesis, f"KL(p_T | N) = {found:.4g}")
    return found
