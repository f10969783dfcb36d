r"""How h and its gradient are learned from unguided trajectories: losses and regression targets.

A trajectory of the unguided reverse process ends in the event or does not; at every time on the way
:math:`h = E[1_A \mid X_t]` and :math:`\nabla h = \frac1a\frac{d\langle h, X\rangle}{dt}`:

* :func:`martingale_loss`: :math:`(h - 1_A)^2`; its excess is :math:`E|\hat h - h|^2`, of the order of
  :math:`P(A)\,E_A h`, which says nothing where A is rare;
* :func:`cross_entropy_loss`: the likelihood of the label; its excess is :math:`E\,\mathrm{KL}(h \| \hat h)`, of the
  order of P(A);
* :func:`covariation_target`: increments of h times increments of the state; its noise is :func:`covariation_noise`;
* :func:`guidance_target`: on trajectories that end in the event, the conditional score less the score;
* :func:`gradient_penalised_loss`: :func:`martingale_loss` and a penalty on the gradient, whose minimiser is not h.

All losses are returned per element, means are the caller's, and h comes as its logarithm: a probability of 1e-30 is
no number that a network should have to put out, and a floor under it has no gradient.

Symbols:
    log_h: Values of log h, <= 0, any shape.
    hit: 1 where the trajectory ends in the event and 0 where not, of the shape of log_h; or a probability.
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked, public
from driftproof.theory.special.elementary import log_complement

__all__ = [
    "covariation_noise",
    "covariation_target",
    "cross_entropy_loss",
    "gradient_penalised_loss",
    "guidance_target",
    "martingale_loss",
]


@public(log_h="in [-inf, 0]", hit="in [0, 1]", wide=True)
def martingale_loss(xp: Namespace, log_h: Array, hit: Array) -> Array:
    r"""The squared distance of h from the label.

    .. math:: (h - 1_A)^2

    Arguments:
        log_h, hit: Symbols of the module.

    Returns:
        Array of the broadcast shape.

    References:
        | Conditional diffusion guidance under hard constraint (Guo, Tang & Xu, 2026): the loss of CDG-ML

    Claims: DOOB-LOSS-1, DOOB-LOSS-2

    Example:
        >>> float(martingale_loss(0.0, 0.0))
        1.0
    """
    error = xp.exp(log_h) - hit
    return error * error


@public(log_h="in [-inf, 0]", hit="in [0, 1]", wide=True)
def cross_entropy_loss(xp: Namespace, log_h: Array, hit: Array) -> Array:
    r"""The negative log-likelihood of the label.

    .. math:: -1_A \log h - (1 - 1_A)\log(1 - h)

    Arguments:
        log_h, hit: Symbols of the module.

    Returns:
        Array of the broadcast shape, >= 0; infinite where the label is impossible.

    Claims: DOOB-LOSS-1, DOOB-LOSS-2

    Example:
        >>> from math import isclose, log
        >>> isclose(cross_entropy_loss(-log(2.0), 1.0), log(2.0))
        True
    """
    likely = xp.where(hit > 0, hit, xp.zeros_like(hit)) * xp.where(hit > 0, log_h, xp.zeros_like(log_h))
    missed = hit < 1
    rest = xp.where(missed, log_complement(xp, log_h), xp.zeros_like(log_h))
    return -likely - (1.0 - hit) * rest


@public(log_h="in [-inf, 0]", hit="in [0, 1]", weight=">= 0", wide=True)
def gradient_penalised_loss(
    xp: Namespace, log_h: Array, guidance: Array, hit: Array, weight: float | Array
) -> Array:
    r"""The squared distance of h from the label, and a penalty on the gradient of h.

    .. math:: (h - 1_A)^2 + \lambda\,h^2\,|\nabla\log h|^2

    A baseline: the penalty steadies the gradient, and moves the minimiser.  Where the state is :math:`N(0, v)` its
    Hermite coefficients are those of h over :math:`1 + \lambda n/v`.

    Arguments:
        log_h, hit: Symbols of the module.
        guidance: :math:`\nabla\log h`, shape (..., d).
        weight: :math:`\lambda \ge 0`.

    Returns:
        Array of the shape of log_h.

    References:
        | Doob's matching (2026), https://arxiv.org/abs/2601.06514 (the idea; the form is ours)

    Claims: DOOB-LOSS-3

    Example:
        >>> float(gradient_penalised_loss(0.0, [3.0, 4.0], 1.0, 0.5))
        12.5
    """
    h = xp.exp(log_h)
    error = h - hit
    return error * error + weight * h * h * xp.sum(guidance * guidance, axis=-1)


@public(clock="> 0")
def covariation_target(
    xp: Namespace,
    change_h: Array,
    change_x: Array,
    clock: float | Array,
    expected: Array | None = None,
) -> Array:
    r"""The regression target of martingale covariation: its mean is :math:`\nabla h`, to first order in the step.

    .. math:: \frac{(h_{k+1} - h_k)\,(X_{k+1} - X_k - b\,\Delta)}{a\,\Delta}

    Arguments:
        change_h: The increment of h, shape (...).
        change_x: The increment of the state, shape (..., d).
        clock: :math:`a\,\Delta > 0`, the variance of the increment of a coordinate; a number or shape (...).
        expected: :math:`b\,\Delta`, shape (..., d), to centre the increment; without it stays raw.

    Returns:
        The target, shape (..., d).  Mean over repeats from one point divides its noise by their number.

    References:
        | Conditional diffusion guidance under hard constraint (Guo, Tang & Xu, 2026): the loss of CDG-MCL

    Claims: DOOB-COVARIATION-1

    Example:
        >>> covariation_target(0.5, [1.0, -2.0], 0.25).tolist()
        [2.0, -4.0]
    """
    moved = change_x if expected is None else change_x - expected
    share = change_h / clock
    return share[..., None] * moved


@checked(drift=">= 0")
def covariation_noise(d: int, repeats: int = 1, drift: float = 0.0) -> float:
    r"""The noise of :func:`covariation_target` over the square of what it estimates, in the limit of small steps.

    .. math:: \frac{E|Z - \nabla h|^2}{|\nabla h|^2} = \frac{d + 1 + |b|^2\Delta/a}R

    The last term is there for increments that are not centred.  With d in the thousands a target is noise: averages
    over d repeats from each point leave as much noise as signal.

    Arguments:
        d: Dimension, >= 1.
        repeats: Increments averaged from one point, R >= 1.
        drift: :math:`|b|^2\Delta/a`, >= 0; 0 for centred increments.

    Raises:
        UnmetHypothesis: d or repeats is no integer >= 1.

    Claims: DOOB-COVARIATION-1

    Example:
        >>> covariation_noise(784, repeats=785)
        1.0
    """
    for name, count in (("d", d), ("repeats", repeats)):
        if count < 1:
            raise UnmetHypothesis("covariation_noise", f"{name} >= 1", f"{name} = {count!r}")
    return (d + 1.0 + drift) / repeats


@public(x0="finite", x="finite", score="finite", sigma="> 0")
def guidance_target(
    xp: Namespace, x0: Array, x: Array, score: Array, alpha: float | Array, sigma: float | Array
) -> Array:
    r"""The regression target of the guidance, on data points that lie in the event.

    .. math:: \frac{\alpha x_0 - x}{\sigma^2} - s(x, t), \qquad
        E\Big[\cdot \;\Big|\; X_t = x, X_0 \in A\Big] = \nabla \log h(t, x)

    No trajectory is needed, no step is discretised and no label that is 0: noise accepted data points, and regress.
    Its noise is :math:`\alpha^2\,\mathrm{tr}\,\mathrm{Cov}[X_0 \mid x, A]/\sigma^4`.

    Arguments:
        x0: Data points in the event, any shape.
        x: The same, noised to these levels.
        score: The unguided score at x, broadcastable with it.
        alpha, sigma: Levels of x, broadcastable with it; sigma > 0.

    Returns:
        Array of the broadcast shape.

    Claims: DOOB-DENOISE-1

    Example:
        >>> float(guidance_target(2.0, 0.5, -1.0, 0.5, 0.5))
        3.0
    """
    return (alpha * x0 - x) / (sigma * sigma) - score
