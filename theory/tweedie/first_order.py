r"""First-order formulae: what the score at one point says about the data.

The Fisher identity :math:`s(x, t) = E[\partial_x \log p_t(x \mid X_0) \mid X_t = x]` turns the score of
a transition into a statement about the posterior.  For the squared Bessel family the transition is a
Poisson mixture, :math:`X_t = 2\rho\,\Gamma(\tfrac\delta2 + N)`, and the identity becomes free of Bessel
functions:

.. math::
    s(x, t) = \frac\nu x - \frac1{2\rho} + \frac{n(x, t)}{x}, \qquad
    n(x, t) = E[N \mid X_t = x] \ge 0, \qquad
    E[N \mid x_0, x] = \frac z2 \frac{I_{\nu+1}(z)}{I_\nu(z)}, \quad z = \frac{\sqrt{q\,x\,x_0}}{\rho}

The full text of the paper was not available to us; every formula here is derived in this library.

Functions of the count raise :class:`UnmetHypothesis` for a process without a count, a negative point, or t <= 0.

Symbols:
    process: BESQ or CIR.
    x0: Data point >= 0, any shape.
    x: Noised point >= 0, broadcastable with x0.
    t: Noise time, t > 0, broadcastable with x0.

References:
    | Tweedie's formulae and diffusion generative models beyond Gaussian
      (Tang, Touzi, Zhang & Zhou, 2026), https://arxiv.org/abs/2605.19391 (derived here)
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.theory.processes import AbstractProcess, AbstractSquaredBessel
from driftproof.theory.special.bessel_square import quotient_of_square
from driftproof.theory.special.elementary import divide

__all__ = [
    "conditional_count",
    "conditional_pair_count",
    "conditional_score",
    "score_from_count",
]


@public(x0="state", x="state", t="> 0")
def conditional_score(xp: Namespace, process: AbstractProcess, x0: Array, x: Array, t: Array) -> Array:
    r"""Score of the transition, the regression target of denoising score matching.

    .. math::
        \text{Gaussian:} \quad & -\frac{x - \alpha x_0}{\sigma^2} \\
        \text{GBM:} \quad & -\frac1x - \frac{\log x - \log x_0 - m}{v\,x} \\
        \text{BESQ, CIR:} \quad & \frac\nu x - \frac1{2\rho}
            + \frac1{2\rho}\sqrt{\frac{q x_0}{x}}\,\frac{I_{\nu+1}(z)}{I_\nu(z)}

    Arguments:
        process: The forward process.
        x0: Data point, any shape, in the state space.
        x: Noised point, broadcastable with x0, in the state space.
        t: Symbols of the module.

    Returns:
        Array of the broadcast shape; infinite at x = 0 for a squared Bessel process with nu != 0.

    Raises:
        UnmetHypothesis: A point outside of the state space, or t <= 0.

    Claims: TWEEDIE-GAUSS-1, TWEEDIE-GBM-1, TWEEDIE-BESQ-1, TWEEDIE-CIR-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> float(conditional_score(Flow(), 0.0, 1.0, 0.5))
        -4.0
    """
    return process.family.score_function(xp, x, *process.transition_parameters(xp, x0, t))


@public(x0=">= 0", x=">= 0", t="> 0")
def conditional_count(xp: Namespace, process: AbstractSquaredBessel, x0: Array, x: Array, t: Array) -> Array:
    r"""Mean of the latent Poisson count given both ends: the Rao-Blackwell target for a count network.

    .. math:: E[N \mid x_0, x] = \frac z2 \frac{I_{\nu+1}(z)}{I_\nu(z)}
        = \frac{z^2}{2}\, r_\nu(z), \qquad z^2 = \frac{q\,x\,x_0}{\rho^2}

    Arguments:
        process, x0, x, t: Symbols of the module.

    Returns:
        Array of the broadcast shape, >= 0.

    Claims: TWEEDIE-COUNT-1

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(conditional_count(BESQ(3.0), 0.0, 1.0, 0.5))
        0.0
    """
    z2 = _squared_argument(xp, "conditional_count", process, x0, x, t)
    return 0.5 * z2 * quotient_of_square(xp, process.nu, z2)


@public(x0=">= 0", x=">= 0", t="> 0")
def conditional_pair_count(
    xp: Namespace, process: AbstractSquaredBessel, x0: Array, x: Array, t: Array
) -> Array:
    r"""Second factorial moment of the latent Poisson count given both ends.

    .. math:: E[N(N-1) \mid x_0, x] = \frac{z^2}4 \Big(1 - \frac{2(\nu+1)}{z} R_\nu(z)\Big)
        = \frac{z^4}{4}\, r_\nu(z)\, r_{\nu+1}(z)

    The second form has no cancellation at small z.

    Arguments:
        process, x0, x, t: Symbols of the module.

    Returns:
        Array of the broadcast shape, >= 0.

    Claims: TWEEDIE-COUNT-1

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(conditional_pair_count(BESQ(3.0), 0.0, 1.0, 0.5))
        0.0
    """
    z2 = _squared_argument(xp, "conditional_pair_count", process, x0, x, t)
    # Either factor is of order z at large z: float32 holds their product where it would not hold z^4.
    first = z2 * quotient_of_square(xp, process.nu, z2)
    return 0.25 * first * (z2 * quotient_of_square(xp, process.nu + 1.0, z2))


@public(x=">= 0", t="> 0")
def score_from_count(xp: Namespace, process: AbstractSquaredBessel, x: Array, t: Array, n: Array) -> Array:
    r"""Score of the marginal from the posterior mean of the latent count.

    .. math:: s(x, t) = \frac{\nu + n(x, t)}{x} - \frac1{2\rho}

    Arguments:
        process: Symbols of the module.
        x: Noised point >= 0, any shape.
        t: Noise time, t > 0, broadcastable with x.
        n: Posterior mean E[N | X_t = x] >= 0, broadcastable with x.

    Returns:
        Array of the broadcast shape; infinite at x = 0 unless nu + n = 0 there.

    Claims: TWEEDIE-COUNT-2

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(score_from_count(BESQ(4.0), 2.0, 0.5, 1.0))
        0.0
    """
    _, rho = _family(process, "score_from_count").decay_rho(xp, t)
    return divide(xp, process.nu + n, x + xp.zeros_like(n)) - 0.5 / rho


def _family(process: AbstractProcess, subject: str) -> AbstractSquaredBessel:
    if not isinstance(process, AbstractSquaredBessel):
        got = type(process).__name__
        raise UnmetHypothesis(subject, "the process is BESQ or CIR", got)
    return process


def _squared_argument(
    xp: Namespace, subject: str, process: AbstractProcess, x0: Array, x: Array, t: Array
) -> Array:
    decay, rho = _family(process, subject).decay_rho(xp, t)
    return decay * (x0 / rho) * (x / rho)
