r"""Parametrisations: what a network puts out, and how that becomes a score, a noise or a data point.

Every parametrisation used here is affine in the score :math:`s = \partial_x \log p_t(x)`,

.. math:: u\,s = A(x, t) + B(x, t)\,\text{output},

where the unit :math:`u` is 1 for Gaussian processes and x for processes on the half-line, whose score is
singular at 0.  A conversion, a regression target and a natural weight all follow from :math:`(u, A, B)`:
the divergence bound :math:`\mathrm{KL} \le \tfrac12 \int E[a (s_\theta - s)^2]\,dt` weighs the output by
:math:`a (B/u)^2`.  With :math:`x = \alpha x_0 + \sigma\epsilon` for Gaussian processes,

=============== ===================================== ================================= ===============
kind            output                                :math:`A`                         :math:`B`
=============== ===================================== ================================= ===============
score           s                                     0                                 u
epsilon         the noise of a Gaussian process       0                                 -1 / sigma
epsilon         the noise of log X under GBM          -1                                -1 / sqrt(v)
sample          the data point x0                     -x / sigma^2                      alpha / sigma^2
v_prediction    alpha epsilon - sigma x0              -x / (alpha^2 + sigma^2)          A alpha / (x sigma)
flow_prediction epsilon - x0                          -x / (sigma (alpha + sigma))      A alpha / x
log_score       1 + x s, the score of log X           -1                                1
count           n = E[N | x] of BESQ and CIR          nu - x / (2 rho)                  1
ratio           g = 2 rho n / x of BESQ and CIR       nu - x / (2 rho)                  x / (2 rho)
=============== ===================================== ================================= ===============

The rows from ``epsilon`` to ``flow_prediction`` are the words of diffusers; each fixes both a data point and a
noise (:func:`data_and_noise`), and the last two do so at every level, from the data (sigma = 0) to pure noise
(alpha = 0).

For BESQ and CIR a bounded ``score`` changes the dimension of the reverse process at 0 from delta to
4 - delta, and a ``log_score`` l changes it to 4 l(0) - delta, right only if the network puts out delta/2
there; ``count`` and ``ratio`` take the singular term out analytically and ask of the network only that its
output be nonnegative.

Symbols:
    process: The forward process.
    x: The noised state, with shape :math:`(B, *)`.
    t: The noise time, broadcastable with ``x``, > 0.
    kind: The parametrisation of ``output``.

References:
    | Tweedie's Formulae and Diffusion Generative Models Beyond Gaussian (Tang, Touzi, Zhang, Zhou, 2026)
    | https://arxiv.org/abs/2605.19391 (formulae derived here)
    | Progressive distillation for fast sampling of diffusion models (Salimans, Ho, 2022), appendix D
    | https://arxiv.org/abs/2202.00512
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.numerics._checks import same_shape
from driftproof.theory.processes import GBM, AbstractGaussianProcess, AbstractProcess, AbstractSquaredBessel
from driftproof.theory.processes.counts import poisson_count
from driftproof.theory.special.elementary import divide

__all__ = ["Parametrization", "affine", "convert", "data_and_noise", "from_score", "to_score"]

Parametrization: TypeAlias = Literal[
    "epsilon", "sample", "v_prediction", "flow_prediction", "score", "log_score", "count", "ratio"
]
_DENOISERS = ("epsilon", "sample", "v_prediction", "flow_prediction")  # they fix a data point and a noise


@public(x="state", t="> 0")
def affine(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, kind: Parametrization
) -> tuple[Array, Array, Array]:
    r"""The triple of a parametrisation, :math:`u\,s = A + B\,\text{output}`.

    Arguments:
        process, t: Symbols of the module.
        x: The noised state :math:`x_t`, with shape :math:`(B, *)`, in the state space.
        kind: The parametrisation, a row of the table above.

    Returns:
        :math:`u`, :math:`A` and :math:`B`, with the broadcast shape of ``x`` and ``t``.

    Raises:
        UnmetHypothesis: The process has no such parametrisation.

    Claims: TWEEDIE-DSM-6

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> [float(part) for part in affine(BESQ(4.0), 2.0, 1.0, "ratio")]
        [2.0, 0.0, 1.0]
    """
    zero = xp.zeros_like(x + t)
    if isinstance(process, AbstractGaussianProcess):
        if kind == "score":
            return zero + 1.0, zero, zero + 1.0
        if kind == "epsilon":
            return zero + 1.0, zero, zero - 1.0 / process.alpha_sigma(xp, t)[1]
        if kind in _DENOISERS:
            return (zero + 1.0, *_of_denoiser(xp, x + zero, *process.alpha_sigma(xp, t), kind))
    elif kind == "score":
        return zero + x, zero, zero + x
    elif kind == "log_score":
        return zero + x, zero - 1.0, zero + 1.0
    elif isinstance(process, GBM) and kind == "epsilon":
        return zero + x, zero - 1.0, zero - 1.0 / xp.sqrt(process.log_variance(t))
    elif isinstance(process, AbstractSquaredBessel) and kind in ("count", "ratio"):
        half = 0.5 * x / process.decay_rho(xp, t)[1]
        return zero + x, process.nu - half, half if kind == "ratio" else zero + 1.0
    raise no_such(process, kind)


@public(x="state", t="> 0")
def to_score(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, output: Array, kind: Parametrization
) -> Array:
    r"""The score of a network output.

    .. math:: s = \frac{A + B\,\text{output}}{u}

    Arguments:
        process, x, t, kind: Symbols of the module.
        output: The network output, with the shape of ``x``.

    Returns:
        The score, with the shape of ``x``; infinite at x = 0 for BESQ and CIR unless nu = 0.

    Claims: TWEEDIE-DSM-6

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(to_score(BESQ(4.0), 2.0, 1.0, 3.0, "count"))
        1.5
    """
    if kind == "score":
        return output + xp.zeros_like(x + t)
    u, shift, scale = affine.kernel(xp, process, x, t, kind)
    if isinstance(process, AbstractGaussianProcess):
        return shift + scale * output
    return divide(xp, shift + scale * output, u)


@public(x="state", t="> 0")
def from_score(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, score: Array, kind: Parametrization
) -> Array:
    r"""The network output of a score.

    .. math:: \text{output} = \frac{u\,s - A}{B}

    Arguments:
        process, x, t: Symbols of the module.
        score: The score :math:`s(x, t)`, with the shape of ``x``.
        kind: The parametrisation wanted.

    Returns:
        The output, with the shape of ``x``.

    Claims: TWEEDIE-DSM-4, TWEEDIE-DSM-6

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(from_score(BESQ(4.0), 2.0, 1.0, 1.5, "count"))
        3.0
    """
    return convert.kernel(xp, process, x, t, score, "score", kind)


@public(x="state", t="> 0")
def convert(
    xp: Namespace,
    process: AbstractProcess,
    x: Array,
    t: Array,
    output: Array,
    kind: Parametrization,
    wanted: Parametrization,
) -> Array:
    r"""A network output of one parametrisation in another.

    .. math:: \text{output}' = \frac{A - A' + B\,\text{output}}{B'}

    Arguments:
        process, x, t, kind: Symbols of the module.
        output: The output of parametrisation ``kind``, with the shape of ``x``.
        wanted: The parametrisation of the result.

    Returns:
        The output of parametrisation ``wanted``, with the shape of ``x``.

    Claims: TWEEDIE-DSM-6

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(convert(BESQ(4.0), 2.0, 1.0, 3.0, "count", "ratio"))
        3.0
    """
    if wanted == kind:
        return output + xp.zeros_like(x + t)
    if isinstance(process, AbstractGaussianProcess) and {kind, wanted} & {*_DENOISERS[1:]}:
        return _by_data_and_noise(xp, process, x, t, output, kind, wanted)
    if wanted == "score":
        return to_score.kernel(xp, process, x, t, output, kind)
    if isinstance(process, AbstractSquaredBessel) and (kind, wanted) == ("score", "count"):
        return poisson_count.kernel(xp, process, x, t, output)  # right at x = 0, where the score is not
    _, shift, scale = affine.kernel(xp, process, x, t, kind)
    _, other_shift, other_scale = affine.kernel(xp, process, x, t, wanted)
    return (shift - other_shift + scale * output) / other_scale


def _of_denoiser(
    xp: Namespace, x: Array, alpha: Array, sigma: Array, kind: Parametrization
) -> tuple[Array, Array]:
    """A and B of the rows ``sample``, ``v_prediction`` and ``flow_prediction``."""
    match kind:
        case "sample":
            return -x / (sigma * sigma), alpha / (sigma * sigma) + xp.zeros_like(x)
        case "v_prediction":
            power = alpha * alpha + sigma * sigma
            return -x / power, -alpha / (sigma * power) + xp.zeros_like(x)
        case _:
            total = sigma * (alpha + sigma)
            return -x / total, -alpha / total + xp.zeros_like(x)


def _by_data_and_noise(
    xp: Namespace,
    process: AbstractGaussianProcess,
    x: Array,
    t: Array,
    output: Array,
    kind: Parametrization,
    wanted: Parametrization,
) -> Array:
    """A conversion through the data point and the noise, which stays regular where a level is 0."""
    if kind not in _DENOISERS:
        output, kind = convert.kernel(xp, process, x, t, output, kind, "epsilon"), "epsilon"
    alpha, sigma = process.alpha_sigma(xp, t)
    data, noise = data_and_noise.kernel(xp, x, output, alpha, sigma, kind)
    match wanted:
        case "sample":
            return data
        case "v_prediction":
            return alpha * noise - sigma * data
        case "flow_prediction":
            return noise - data
    return convert.kernel(xp, process, x, t, noise, "epsilon", wanted)


def no_such(process: AbstractProcess, kind: str) -> UnmetHypothesis:
    """The error for a parametrisation that a process does not have."""
    hypothesis = f"{type(process).__name__} has the parametrisation asked for"
    return UnmetHypothesis("parametrisation", hypothesis, f"kind = {kind!r}")


def _determined(xp: Namespace, *, alpha: Array, sigma: Array, kind: Parametrization, **rest: Any) -> None:
    """The check that the output determines the data point and the noise."""
    same_shape("data_and_noise", "x", rest["x"], output=rest["output"])
    if kind not in _DENOISERS:
        known = "epsilon, sample, v_prediction or flow_prediction"
        raise UnmetHypothesis("data_and_noise", f"kind is {known}", f"kind = {kind!r}")
    if kind == "epsilon" and not bool(xp.all(alpha > 0)):
        raise UnmetHypothesis("data_and_noise", "alpha > 0 for kind epsilon", "alpha = 0.0")
    if kind == "sample" and not bool(xp.all(sigma > 0)):
        raise UnmetHypothesis("data_and_noise", "sigma > 0 for kind sample", "sigma = 0.0")
    if not bool(xp.all(alpha + sigma > 0)):
        raise UnmetHypothesis("data_and_noise", "alpha + sigma > 0", "alpha = sigma = 0.0")


@public(check=_determined, x="finite", output="finite", alpha=">= 0", sigma=">= 0")
def data_and_noise(
    xp: Namespace, x: Array, output: Array, alpha: Array, sigma: Array, kind: Parametrization
) -> tuple[Array, Array]:
    r"""The predicted data point and noise of an output of a denoiser.

    .. math:: x_t = \alpha \hat x_0 + \sigma \hat\epsilon

    Arguments:
        x: The state :math:`x_t`, with shape :math:`(B, *)`.
        output: The output of the denoiser, with the shape of ``x``.
        alpha: The signal level, >= 0; > 0 for ``epsilon``.
        sigma: The noise level, >= 0; > 0 for ``sample``.
        kind: A row of the table above.

    Returns:
        :math:`\hat x_0` and :math:`\hat\epsilon`, with the shape of ``x``.

    Raises:
        UnmetHypothesis: A level at which the output does not determine both, an unknown kind, or shapes that
            differ.

    Claims: REWARD-GAP-PREDICT-1

    Example:
        >>> [float(v) for v in data_and_noise(0.5, 1.0, 0.75, 0.25, "flow_prediction")]
        [0.25, 1.25]
    """
    match kind:
        case "epsilon":
            return (x - sigma * output) / alpha, output
        case "sample":
            return output, (x - alpha * output) / sigma
        case "v_prediction":
            power = alpha * alpha + sigma * sigma
            return (alpha * x - sigma * output) / power, (alpha * output + sigma * x) / power
        case _:
            total = alpha + sigma
            return (x - sigma * output) / total, (x + alpha * output) / total
