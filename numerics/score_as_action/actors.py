r"""Actors: by what each score of a path has to be weighted so that the sum is the policy gradient.

All three forms are :math:`\nabla_\theta J = E \sum_k \langle \partial_\theta s_\theta(x_k, t_k), w_k\rangle` with

.. math::
    \text{pathwise:} \quad & w = f g^2\Delta\,\nabla V - \beta g^2\Delta\,(s_\theta - s_{pre}) \\
    \text{advantage:} \quad & w = \tfrac f\eta\,\xi\,(\Delta V - \text{cost}) - \beta g^2\Delta\,(s_\theta - s_{pre}) \\
    \text{REINFORCE:} \quad & w = \tfrac f\eta\,\xi\,(\text{return to go} - \text{baseline})
        - \beta g^2\Delta\,(s_\theta - s_{pre})

where :math:`\xi = g\Delta B`, :math:`f = \tfrac{1+\eta^2}2` and the running cost is
:math:`\tfrac\beta2 g^2|s_\theta - s_{pre}|^2`, which at eta = 1 is the KL divergence of the paths.  The loss of
an automatic-differentiation library is :math:`-\sum_k \langle s_\theta, \mathrm{detach}(w_k)\rangle`.

Every sum carries :math:`\Delta`, so that the gradient belongs to the problem and not to the grid.  The last two
forms divide by the likelihood of a step: at eta = 0 there is none.

Symbols:
    excess: Scores less pre-trained scores, (B, N, d).
    beta: Strength of the penalty, > 0.
    g2dt: :math:`g^2\Delta`, (N,), >= 0.
    eta: Stochasticity, > 0.

References:
    | Score as action (Zhao et al., 2025), https://arxiv.org/abs/2502.01819; derived here
"""

from __future__ import annotations

import math
from typing import Any, Literal

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.numerics._checks import require_batch, require_eta
from driftproof.theory.special.quadrature import readable

__all__ = [
    "likelihood_weights",
    "log_ratio",
    "path_kl",
    "pathwise_weights",
    "running_cost",
    "standardise",
]


def _paths(
    subject: str, array: str, beta: bool = False, likelihood: bool = False, terms: tuple[str, ...] = ()
) -> Any:
    """The check that arrays are paths (B, N, d) over N steps, beta > 0, and eta > 0 for likelihoods.

    ``terms`` are products, in words, of f and of arrays: none may overflow.
    """

    def check(xp: Namespace, *, g2dt: Array, **given: Any) -> None:
        value = given[array]
        if value.ndim != 3 or g2dt.shape != value.shape[1:2]:
            got = f"shapes {tuple(value.shape)}, {tuple(g2dt.shape)}"
            raise UnmetHypothesis(subject, f"{array} (B, N, d) and g2dt (N,)", got)
        for name in ("noise", "gradient", "advantage"):
            want = value.shape[:2] if name == "advantage" else value.shape
            if name in given and given[name].shape != want:
                letters = "(B, N)" if name == "advantage" else "(B, N, d)"
                got = f"shapes {tuple(given[name].shape)}, {tuple(value.shape)}"
                raise UnmetHypothesis(subject, f"{name} {letters} like {array}", got)
        require_batch(subject, value)
        if beta and not 0.0 < given["beta"] < float("inf"):
            raise UnmetHypothesis(subject, "beta > 0", f"beta = {given['beta']!r}")
        if "eta" in given:
            require_eta(subject, given["eta"])
        if likelihood and not given["eta"] > 0.0:
            hypothesis = "eta > 0, as deterministic steps (ODE) have no likelihood ratio"
            raise UnmetHypothesis(subject, hypothesis, f"eta = {given['eta']!r}")
        f = _drift_share(given["eta"], likelihood) if terms else 1.0
        # Where f <= 1, as at eta = 1, it makes nothing overflow: no number has to be read off a device.
        if f <= 1.0 or not readable(value):
            return
        if not _largest(xp, terms, f=f, g2dt=g2dt, **given) <= float(xp.finfo(value.dtype).max):
            hypothesis = "eta of a size that keeps results finite"
            raise UnmetHypothesis(subject, hypothesis, f"eta = {given['eta']!r}")

    return check


def _largest(xp: Namespace, terms: tuple[str, ...], **given: Any) -> float:
    """The largest of products that are named in words."""
    factors = [[given[name] for name in term.split()] for term in terms]
    return max(math.prod(_size(xp, factor) for factor in term) for term in factors)


def _size(xp: Namespace, factor: Any) -> float:
    if isinstance(factor, float):
        return factor
    # torch warns where a number with a gradient is read.
    return float(xp.max(xp.abs(factor.detach() if hasattr(factor, "detach") else factor)))


def _drift_share(eta: float, likelihood: bool) -> float:
    """f = (1 + eta^2) / 2, what a unit of score adds to the drift; over eta, in units of the noise."""
    return 0.5 * (1.0 / eta + eta) if likelihood else 0.5 * (1.0 + eta * eta)


@public(wide=True, check=_paths("running_cost", "excess", beta=True), excess="finite", g2dt=">= 0")
def running_cost(xp: Namespace, excess: Array, g2dt: Array, beta: float) -> Array:
    r"""The KL penalty as a running reward: what each step costs.

    .. math:: \tfrac\beta2\,g^2\,|s_\theta - s_{pre}|^2\,\Delta

    With noise predictions this is :math:`\tfrac\beta2\,(g^2/\sigma^2)\,|\epsilon_\theta - \epsilon_{pre}|^2\,\Delta`.

    Arguments:
        excess, g2dt, beta: Symbols of the module.

    Returns:
        Array (B, N).

    Raises:
        UnmetHypothesis: beta <= 0, or shapes that do not match.

    Claims: SCORE-ACTION-KL-1

    Example:
        >>> running_cost([[[1.0, 2.0]]], [0.5], 2.0).tolist()
        [[2.5]]
    """
    return 0.5 * beta * g2dt * xp.sum(excess * excess, axis=-1)


@public(wide=True, check=_paths("path_kl", "change"), change="finite", g2dt=">= 0")
def path_kl(xp: Namespace, change: Array, g2dt: Array) -> Array:
    r"""The contribution of each path to the divergence of two policies at eta = 1.

    .. math:: \tfrac12 \sum_k g_k^2\,|s' - s|^2\,\Delta_k, \qquad
        \mathrm{KL}(P' \| P) = E' [\cdot]

    Arguments:
        change: Difference of the scores along the paths, (B, N, d).
        g2dt: Symbols of the module.

    Returns:
        Array (B,).

    Raises:
        UnmetHypothesis: Shapes that do not match.

    Claims: SCORE-ACTION-KL-1

    Example:
        >>> path_kl([[[1.0], [2.0]]], [0.5, 1.0]).tolist()
        [2.25]
    """
    return 0.5 * xp.sum(g2dt * xp.sum(change * change, axis=-1), axis=-1)


@public(
    wide=True,
    check=_paths("log_ratio", "change", likelihood=True, terms=("f change noise", "f f change change g2dt")),
    change="finite",
    noise="finite",
    g2dt=">= 0",
)
def log_ratio(xp: Namespace, change: Array, noise: Array, g2dt: Array, eta: float = 1.0) -> Array:
    r"""Logarithm of the likelihood ratio of each step, of a new policy against the one that drew it.

    .. math:: \ell_k = \tfrac f\eta\,(s' - s)\cdot\xi_k - \tfrac{f^2}{2\eta^2}\,|s' - s|^2\,g_k^2\,\Delta_k,
        \qquad f = \tfrac{1+\eta^2}2

    Summed over coordinates: the mean over d coordinates is d times smaller, and so would be the clip range.

    Arguments:
        change: New scores less old ones at the old states, (B, N, d).
        noise: :math:`\xi = g\,\Delta B` of the old policy, (B, N, d).
        g2dt, eta: Symbols of the module.

    Returns:
        Array (B, N).

    Raises:
        UnmetHypothesis: eta = 0, where no ratio exists, or so small that it is not finite, or shapes that do not match.

    Claims: SCORE-ACTION-RATIO-1

    Example:
        >>> log_ratio([[[1.0]]], [[[2.0]]], [2.0]).tolist()
        [[1.0]]
    """
    f = _drift_share(eta, likelihood=True)
    drawn = xp.sum(change * noise, axis=-1)
    return f * drawn - 0.5 * f * f * g2dt * xp.sum(change * change, axis=-1)


@public(
    check=_paths("pathwise_weights", "excess", beta=True, terms=("f gradient g2dt",)),
    gradient="finite",
    excess="finite",
    g2dt=">= 0",
)
def pathwise_weights(
    xp: Namespace, gradient: Array, excess: Array, g2dt: Array, beta: float, eta: float = 1.0
) -> Array:
    r"""Weights of the scores in the pathwise policy gradient (CT-PG); legal for the ODE too.

    .. math:: w_k = g_k^2\Delta_k\Big[\tfrac{1+\eta^2}2\,\nabla V(x_k, t_k) - \beta\,(s_\theta - s_{pre})\Big]

    With the gradient at the *end* of each step, of the value function of the Euler chain, the sum is the
    gradient of the chain's own objective; at the start it is so up to the length of the steps.

    Arguments:
        gradient: Gradient in x of the policy's value function at the start of the steps, (B, N, d).
        excess, g2dt, beta: Symbols of the module.
        eta: Stochasticity, >= 0.

    Returns:
        Array (B, N, d).

    Raises:
        UnmetHypothesis: beta <= 0, eta < 0, or shapes that do not match.

    Claims: SCORE-ACTION-PG-1

    Example:
        >>> pathwise_weights([[[3.0]]], [[[1.0]]], [0.5], 2.0).tolist()
        [[[0.5]]]
    """
    f = _drift_share(eta, likelihood=False)
    return g2dt[:, None] * (f * gradient - beta * excess)


@public(
    check=_paths("likelihood_weights", "excess", beta=True, likelihood=True, terms=("f noise advantage",)),
    advantage="finite",
    noise="finite",
    excess="finite",
    g2dt=">= 0",
)
def likelihood_weights(
    xp: Namespace,
    advantage: Array,
    noise: Array,
    excess: Array,
    g2dt: Array,
    beta: float,
    eta: float = 1.0,
) -> Array:
    r"""Weights of the scores in the likelihood-ratio forms of the policy gradient.

    .. math:: w_k = \tfrac{1+\eta^2}{2\eta}\,\xi_k\,A_k - \beta g_k^2\Delta_k\,(s_\theta - s_{pre})

    With the TD error :math:`A_k = V_{k+1} - V_k - \text{cost}_k` (:func:`td_errors`) this is the actor of
    CT-PPO at ratio 1, with the return to go less a baseline (:func:`returns_to_go`) it is REINFORCE: the same
    mean in the limit, and many times the variance.

    Arguments:
        advantage: :math:`A_k`, (B, N).
        noise: :math:`\xi = g\,\Delta B`, (B, N, d).
        excess, g2dt, beta, eta: Symbols of the module.

    Returns:
        Array (B, N, d).

    Raises:
        UnmetHypothesis: eta = 0 or so small that weights are not finite, beta <= 0, or shapes that do not match.

    Claims: SCORE-ACTION-PG-1, SCORE-ACTION-VARIANCE-1

    Example:
        >>> likelihood_weights([[3.0]], [[[2.0]]], [[[1.0]]], [0.5], 2.0).tolist()
        [[[5.0]]]
    """
    f = _drift_share(eta, likelihood=True)
    return f * noise * advantage[..., None] - beta * g2dt[:, None] * excess


def _two_axes(xp: Namespace, *, advantage: Array, over: str, **_: Any) -> None:
    if advantage.ndim != 2 or advantage.shape[0] < 2 or advantage.shape[1] < 1:
        got = f"shape {tuple(advantage.shape)}"
        raise UnmetHypothesis("standardise", "advantages (B, N) of at least 2 paths", got)
    if over not in ("rollout", "step"):
        raise UnmetHypothesis("standardise", "over is rollout or step", repr(over))


@public(wide=True, check=_two_axes, advantage="finite")
def standardise(xp: Namespace, advantage: Array, over: Literal["rollout", "step"] = "rollout") -> Array:
    r"""Advantages on a scale that does not depend on that of the rewards.

    .. math:: \text{rollout:} \; \frac{A_{ik} - \bar A_k}{\sqrt{\frac1N\sum_k s_k^2}}, \qquad
        \text{step:} \; \frac{A_{ik} - \bar A_k}{s_k}, \qquad s_k^2 = \mathrm{Var}_i A_{ik}

    One divisor for the whole rollout keeps the direction of the gradient.  A divisor for each step, as in the
    published program, weights the steps anew: the gradient is that of another objective.

    Arguments:
        advantage: Advantages (B, N) of B >= 2 paths.
        over: ``rollout`` or ``step``.

    Returns:
        Array (B, N); steps without any spread are 0.

    Raises:
        UnmetHypothesis: Fewer than 2 paths, or an unknown choice.

    Claims: SCORE-ACTION-STANDARD-1

    Example:
        >>> standardise([[1.0, 4.0], [3.0, 0.0]], "step").tolist()
        [[-1.0, 1.0], [1.0, -1.0]]
    """
    size = xp.max(xp.abs(advantage), axis=0 if over == "step" else None, keepdims=True)
    power = 2.0 ** xp.floor(xp.log2(xp.where(size > 0, size, xp.ones_like(size))))
    scaled = advantage / power  # exact, and its squares are in range
    centred = scaled - xp.mean(scaled, axis=0, keepdims=True)
    square = xp.mean(centred * centred, axis=0, keepdims=True)
    if over == "rollout":
        square = xp.mean(square, axis=1, keepdims=True)
    # What rounding leaves of equal advantages is no spread: a divisor of its size would make it one.
    spread = square > (16.0 * xp.finfo(advantage.dtype).eps) ** 2
    root = xp.sqrt(xp.where(spread, square, xp.ones_like(square)))
    return xp.where(spread, centred / root, xp.zeros_like(centred))
