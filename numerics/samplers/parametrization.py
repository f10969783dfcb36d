r"""What a network predicts: one table of eight parametrizations, and the conversions between them.

A Gaussian process has :math:`x_t = \alpha x_0 + \sigma\epsilon`, and there an output determines both parts:

=================  ======================================================  ============================
parametrization    output                                                  undefined at
=================  ======================================================  ============================
epsilon            :math:`\epsilon`                                        :math:`\alpha = 0`
sample             :math:`x_0`                                             :math:`\sigma = 0`
v_prediction       :math:`\alpha\epsilon - \sigma x_0`                     :math:`\alpha = \sigma = 0`
flow_prediction    :math:`\epsilon - x_0`                                  :math:`\alpha = \sigma = 0`
score              :math:`s = \partial_x \log p_t(x) = -\epsilon/\sigma`   :math:`\alpha\sigma = 0`
=================  ======================================================  ============================

(noise and score are multiples of each other, also at :math:`\alpha = 0`).  On the half-line the score is
singular at 0, and every output is affine in :math:`x\,s = A + B\,\text{output}`:

=================  ===========================================  =======================  ===================
parametrization    output                                       :math:`A`                :math:`B`
=================  ===========================================  =======================  ===================
score              :math:`s`                                    0                        x
log_score          :math:`1 + x s`, the score of :math:`\log X` -1                       1
epsilon (GBM)      the noise of :math:`\log X`                  -1                       -1 / sqrt(v)
count (CIR, BESQ)  :math:`n = E[N \mid x]`                      nu - x / (2 rho)         1
ratio (CIR, BESQ)  :math:`g = 2\rho n / x`                      nu - x / (2 rho)         x / (2 rho)
=================  ===========================================  =======================  ===================

For BESQ and CIR a bounded ``score`` changes the dimension of the reverse process at 0 from delta to
4 - delta, and a ``log_score`` output l changes it to 4 l(0) - delta, right only if the network puts out delta/2
there; ``count`` and ``ratio`` take the singular term out analytically and ask of the network only that its
output be nonnegative.

The first four are the words of diffusers for a ``prediction_type``, :data:`DIFFUSERS`.

Symbols:
    process: The forward process.
    x: The noised state :math:`x_t`, with shape :math:`(B, *)`, in the state space.
    t: The noise time, broadcastable with ``x``, > 0.
    output: The output of a network, with the shape of ``x``.
    kind: Its parametrization, a row of the tables above.

References:
    | Tweedie's Formulae and Diffusion Generative Models Beyond Gaussian (Tang, Touzi, Zhang, Zhou, 2026)
    | https://arxiv.org/abs/2605.19391 (formulae derived here)
    | Progressive distillation for fast sampling of diffusion models (Salimans, Ho, 2022), appendix D
    | https://arxiv.org/abs/2202.00512
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public, require
from driftproof.numerics._checks import same_shape
from driftproof.theory.processes import GBM, AbstractGaussianProcess, AbstractProcess, AbstractSquaredBessel
from driftproof.theory.processes.counts import poisson_count
from driftproof.theory.special.elementary import divide

__all__ = [
    "DIFFUSERS",
    "Parametrization",
    "admitted",
    "affine",
    "convert",
    "data_and_noise",
    "from_score",
    "output_of",
    "require_admitted",
    "to_score",
]

Parametrization: TypeAlias = Literal[
    "epsilon", "sample", "v_prediction", "flow_prediction", "score", "log_score", "count", "ratio"
]
_Named: TypeAlias = Literal["epsilon", "v_prediction", "sample", "flow_prediction"]
DIFFUSERS: Final[tuple[_Named, ...]] = ("epsilon", "v_prediction", "sample", "flow_prediction")

# (a, b, c) with c output = a x0 + b epsilon, from the levels alpha and sigma.
_Parts: TypeAlias = tuple[Any, Any, Any]
_GAUSSIAN: Final[Mapping[str, Callable[[Array, Array], _Parts]]] = {
    "epsilon": lambda alpha, sigma: (0.0, 1.0, 1.0),
    "sample": lambda alpha, sigma: (1.0, 0.0, 1.0),
    "v_prediction": lambda alpha, sigma: (-sigma, alpha, 1.0),
    "flow_prediction": lambda alpha, sigma: (-1.0, 1.0, 1.0),
    "score": lambda alpha, sigma: (0.0, -1.0, sigma),
}
# (A, B) with x s = A + B output.
_HALF_LINE: Final[Mapping[str, Callable[[Namespace, Any, Array, Array], tuple[Any, Any]]]] = {
    "score": lambda xp, process, x, t: (0.0, x),
    "log_score": lambda xp, process, x, t: (-1.0, 1.0),
}
_GBM: Final = {
    **_HALF_LINE,
    "epsilon": lambda xp, process, x, t: (-1.0, -1.0 / xp.sqrt(process.log_variance(t))),
}
_SQUARED_BESSEL: Final = {
    **_HALF_LINE,
    "count": lambda xp, process, x, t: (process.nu - _half(xp, process, x, t), 1.0),
    "ratio": lambda xp, process, x, t: (process.nu - _half(xp, process, x, t), _half(xp, process, x, t)),
}
_TABLES: Final[tuple[tuple[type[AbstractProcess], Mapping[str, Any]], ...]] = (
    (AbstractGaussianProcess, _GAUSSIAN),
    (GBM, _GBM),
    (AbstractSquaredBessel, _SQUARED_BESSEL),
)
# Which level has to be positive for a Gaussian output to determine both data point and noise.
_DETERMINED_BY: Final = {"epsilon": "alpha", "score": "alpha", "sample": "sigma"}


def admitted(process: AbstractProcess) -> tuple[Parametrization, ...]:
    """The parametrizations that a process has.

    Claims: TWEEDIE-DSM-6

    Example:
        >>> from driftproof.theory.processes import CIR
        >>> admitted(CIR(1.0, 1.0, 0.5))
        ('score', 'log_score', 'count', 'ratio')
    """
    table = _table(process)
    return tuple(kind for kind in get_args(Parametrization) if kind in table)


def _require_defined(
    xp: Namespace, subject: str, alpha: Array, sigma: Array, kind: Parametrization, *wanted: Parametrization
) -> None:
    """Raise unless an output determines those wanted at these levels of a Gaussian process."""
    needed = set()
    for other in wanted:
        if other != kind and {kind, other} != {"epsilon", "score"}:
            needed.add(_DETERMINED_BY.get(kind, "alpha + sigma"))
        if other != kind and "score" in (kind, other):
            needed.add("sigma")
    for name, level in (("alpha", alpha), ("sigma", sigma), ("alpha + sigma", alpha + sigma)):
        if name in needed and not holds(xp.all(level > 0)):
            made = " and ".join(other for other in wanted if other != kind)
            hypothesis = f"{name} > 0 for kind {kind} to become {made}"
            raise UnmetHypothesis(subject, hypothesis, f"{name} = {float(xp.min(level))!r}")


def _defined(
    subject: str, to: Parametrization | None = None, of: Parametrization | None = None
) -> Callable[..., None]:
    """The check that the process has both parametrizations, and that they are defined at t."""

    def check(xp: Namespace, *, process: AbstractProcess, t: Array, **rest: Any) -> None:
        kind, wanted = of or rest["kind"], to or rest.get("wanted") or rest["kind"]
        for each in (kind, wanted):
            require_admitted(process, each)
        if isinstance(process, AbstractGaussianProcess):
            _require_defined(xp, subject, *process.alpha_sigma(xp, t), kind, wanted)
        else:
            require(xp, subject, "t", t, "> 0")

    return check


@public(x="state", t="> 0")
def affine(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, kind: Parametrization
) -> tuple[Array, Array, Array]:
    r"""The score as an affine function of an output, :math:`u\,s = A + B\,\text{output}`.

    The unit u is 1 for Gaussian processes and x on the half-line.  A regression target and a natural weight follow:
    the divergence bound :math:`\mathrm{KL} \le \tfrac12 \int E[a (s_\theta - s)^2]\,dt` weighs the output by
    :math:`a (B/u)^2`.

    Arguments:
        process, x, t, kind: Symbols of the module.

    Returns:
        :math:`u`, :math:`A` and :math:`B`, with the broadcast shape of ``x`` and ``t``.

    Raises:
        UnmetHypothesis: The process has no such parametrization.

    Claims: TWEEDIE-DSM-6

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> [float(part) for part in affine(BESQ(4.0), 2.0, 1.0, "ratio")]
        [2.0, 0.0, 1.0]
    """
    zero = xp.zeros_like(x + t)
    shift, gain, divisor = _coefficients(xp, process, x, t, kind, "score")
    if isinstance(process, AbstractGaussianProcess):
        return zero + 1.0, zero + shift / divisor, zero + gain / divisor
    return zero + divisor, zero + shift, zero + gain


@public(x="state", t="> 0")
def to_score(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, output: Array, kind: Parametrization
) -> Array:
    r"""The score of a network output.

    .. math:: s = \frac{A + B\,\text{output}}{u}

    Arguments:
        process, x, t, output, kind: Symbols of the module.

    Returns:
        The score, with the shape of ``x``; infinite at x = 0 for BESQ and CIR unless nu = 0.

    Claims: TWEEDIE-DSM-6

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(to_score(BESQ(4.0), 2.0, 1.0, 3.0, "count"))
        1.5
    """
    return convert.kernel(xp, process, x, t, output, kind, "score")


@public(check=_defined("from_score", of="score"), x="state", t="> 0")
def from_score(
    xp: Namespace, process: AbstractProcess, x: Array, t: Array, score: Array, kind: Parametrization
) -> Array:
    r"""The network output of a score.

    .. math:: \text{output} = \frac{u\,s - A}{B}

    Arguments:
        process, x, t: Symbols of the module.
        score: The score :math:`s(x, t)`, with the shape of ``x``.
        kind: The parametrization wanted.

    Returns:
        The output, with the shape of ``x``.

    Raises:
        UnmetHypothesis: The process has no such parametrization, or at pure noise the score does not determine it.

    Claims: TWEEDIE-DSM-4, TWEEDIE-DSM-6

    Example:
        >>> from driftproof.theory.processes import BESQ
        >>> float(from_score(BESQ(4.0), 2.0, 1.0, 1.5, "count"))
        3.0
    """
    return convert.kernel(xp, process, x, t, score, "score", kind)


@public(check=_defined("convert"), x="state", t=">= 0")
def convert(
    xp: Namespace,
    process: AbstractProcess,
    x: Array,
    t: Array,
    output: Array,
    kind: Parametrization,
    wanted: Parametrization,
) -> Array:
    r"""A network output of one parametrization in another.

    .. math:: \text{output}' = \frac{A - A' + B\,\text{output}}{B'}

    Arguments:
        process, x, t, output, kind: Symbols of the module; t may be 0 where the process is Gaussian.
        wanted: The parametrization of the result.

    Returns:
        The output of parametrization ``wanted``, with the shape of ``x``.

    Raises:
        UnmetHypothesis: The process has no such parametrization, or at this time, without noise or without
            signal, the output does not determine the one wanted.

    Claims: TWEEDIE-DSM-6

    Example:
        >>> from driftproof.theory.processes import BESQ, Flow
        >>> float(convert(BESQ(4.0), 2.0, 1.0, 3.0, "count", "ratio"))
        3.0
        >>> float(convert(Flow(), 2.0, 0.5, 1.0, "flow_prediction", "sample"))
        1.5
    """
    if wanted == kind:
        return output + xp.zeros_like(x + t)
    if isinstance(process, AbstractSquaredBessel) and (kind, wanted) == ("score", "count"):
        return poisson_count.kernel(xp, process, x, t, output)  # right at x = 0, where the score is not
    shift, gain, divisor = _coefficients(xp, process, x, t, kind, wanted)
    value = shift + gain * output + xp.zeros_like(x + t)
    if wanted == "score" and not isinstance(process, AbstractGaussianProcess):
        return divide(xp, value, divisor)
    return value / divisor


def _both_defined(xp: Namespace, *, alpha: Array, sigma: Array, kind: Parametrization, **rest: Any) -> None:
    """The check that the output determines the data point and the noise."""
    same_shape("data_and_noise", "x", rest["x"], output=rest["output"])
    if kind not in _GAUSSIAN:
        known = ", ".join(_GAUSSIAN)
        raise UnmetHypothesis("data_and_noise", f"kind is one of {known}", f"kind = {kind!r}")
    _require_defined(xp, "data_and_noise", alpha, sigma, kind, "sample", "epsilon")


@public(check=_both_defined, x="finite", output="finite", alpha=">= 0", sigma=">= 0")
def data_and_noise(
    xp: Namespace, x: Array, output: Array, alpha: Array, sigma: Array, kind: Parametrization
) -> tuple[Array, Array]:
    r"""The predicted data point and noise of an output of a denoiser.

    .. math:: x_t = \alpha \hat x_0 + \sigma \hat\epsilon

    Arguments:
        x: The state :math:`x_t`, with shape :math:`(B, *)`.
        output: The output of the denoiser, with the shape of ``x``.
        alpha: The signal level, >= 0; > 0 for ``epsilon`` and ``score``.
        sigma: The noise level, >= 0; > 0 for ``sample`` and ``score``.
        kind: A parametrization of Gaussian processes.

    Returns:
        :math:`\hat x_0` and :math:`\hat\epsilon`, with the shape of ``x``.

    Raises:
        UnmetHypothesis: A level at which the output does not determine both, a kind of the half-line, or shapes
            that differ.

    Claims: REWARD-GAP-PREDICT-1

    Example:
        >>> [float(v) for v in data_and_noise(0.5, 1.0, 0.75, 0.25, "flow_prediction")]
        [0.25, 1.25]
    """

    def part(wanted: Parametrization) -> Array:
        if wanted == kind:
            return output
        shift, gain, divisor = _of_levels(x, alpha, sigma, kind, wanted)
        return (shift + gain * output) / divisor

    return part("sample"), part("epsilon")


def output_of(data: Array, noise: Array, alpha: Array, sigma: Array, kind: Parametrization) -> Array:
    """The output that means this data point and this noise: the inverse of :func:`data_and_noise`, a kernel."""
    if kind not in _GAUSSIAN:
        raise UnmetHypothesis("parametrization", f"kind is one of {', '.join(_GAUSSIAN)}", f"kind = {kind!r}")
    a, b, c = _GAUSSIAN[kind](alpha, sigma)
    return (a * data + b * noise) / c


def require_admitted(process: AbstractProcess, kind: str) -> None:
    """Raise unless the process has the parametrization."""
    if kind not in _table(process):
        name = type(process).__name__
        known = ", ".join(admitted(process))
        raise UnmetHypothesis(
            "parametrization", f"the parametrization of {name} is one of {known}", f"kind = {kind!r}"
        )


def _table(process: AbstractProcess) -> Mapping[str, Any]:
    return next((table for family, table in _TABLES if isinstance(process, family)), _HALF_LINE)


def _coefficients(
    xp: Namespace,
    process: AbstractProcess,
    x: Array,
    t: Array,
    kind: Parametrization,
    wanted: Parametrization,
) -> tuple[Any, Any, Any]:
    """Shift, gain and divisor: the output wanted is (shift + gain output) / divisor."""
    for each in (kind, wanted):
        require_admitted(process, each)
    if isinstance(process, AbstractGaussianProcess):
        return _of_levels(x, *process.alpha_sigma(xp, t), kind, wanted)
    shift, gain = _table(process)[kind](xp, process, x, t)
    less, divisor = _table(process)[wanted](xp, process, x, t)
    return shift - less, gain, divisor


def _of_levels(
    x: Array, alpha: Array, sigma: Array, kind: Parametrization, wanted: Parametrization
) -> tuple[Any, Any, Any]:
    """The same from the levels: the solution of x = alpha x0 + sigma epsilon, c output = a x0 + b epsilon."""
    (a, b, c), (p, q, r) = _GAUSSIAN[kind](alpha, sigma), _GAUSSIAN[wanted](alpha, sigma)
    if {kind, wanted} <= {"epsilon", "score"}:
        return 0.0, q * c, b * r
    determinant = alpha * b - sigma * a
    return (p * b - a * q) * x, (alpha * q - sigma * p) * c, determinant * r


def _half(xp: Namespace, process: AbstractSquaredBessel, x: Array, t: Array) -> Array:
    return 0.5 * x / process.decay_rho(xp, t)[1]
