r"""Where pairs come from, and what one step on n of them is worth: exact on normal models.

The reference is :math:`N(\mu_0, S_0)`, the reward :math:`w^\top x`.  A pair is known by its labelled difference
:math:`\Delta = x_w - x_l`, and the first step of DPO moves the mean of the policy along the average of n of them (the natural gradient).
With its best length this reaches the share

.. math:: \frac{(w^\top g)^2}{w^\top S_0 w\,\big[g^\top S_0^{-1} g + \tfrac1n\,\mathrm{tr}\,S_0^{-1}K\big]}, \qquad
    g = E\,\Delta, \quad K = \mathrm{Cov}\,\Delta

of the expected RLHF gain :math:`w^\top S_0 w/2\beta`: what pairs point at, and how loudly.

================  ===========================================================================================
policy            pair
================  ===========================================================================================
random            two draws, labelled by Bradley-Terry
best of k         the best and the worst of k draws
edit              the edited image and its original, which loses by decree
edit, relabel     the same, labelled by Bradley-Terry
edit, filter      the same, kept only if the relabeller prefers the edit
================  ===========================================================================================

Moments of a policy are numbers: they carry no gradient of the model.

Symbols:
    cov: Covariance :math:`S_0`, shape (d, d), positive definite.
    w: Reward, shape (d,).
    flips: Probability that the relabeller's answer is turned around, in [0, 1/2].
    pairs: Moments of the labelled difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np
from scipy.special import expit, log_ndtr

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Down, Namespace, UnmetHypothesis, boundary, checked
from driftproof.theory.laws import Gaussian
from driftproof.theory.laws.gaussian import check_regular, require_single
from driftproof.theory.laws.matrices import constant
from driftproof.theory.rich_po import mean_slope
from driftproof.theory.special.elementary import divide
from driftproof.theory.special.quadrature import composite

__all__ = [
    "Labels",
    "PairMoments",
    "best_of_pairs",
    "edited_pairs",
    "one_step_gain",
    "random_pairs",
    "signal_to_noise",
]

Labels: TypeAlias = Literal["decreed", "relabelled", "filtered"]


@final
@dataclass(frozen=True, eq=False)
@checked(kept="in (0, 1]")
class PairMoments:
    r"""The labelled difference of a pair, winner less loser.

    Arguments:
        mean: g, shape (d,).
        cov: K, shape (d, d).
        kept: Share of the pairs made that are kept, in (0, 1].
    """

    mean: Array
    cov: Array
    kept: float = 1.0


@arrays()
@checked(flips="in [0, 0.5]")
def random_pairs(cov: Array, w: Array, flips: float = 0.0) -> PairMoments:
    r"""Two draws of the reference, labelled by Bradley-Terry.

    .. math:: g = (1 - 2\epsilon)\,\kappa\,S_0 w, \qquad K = 2 S_0 - g g^\top, \qquad \kappa = \kappa\big(\sqrt{2\,w^\top S_0 w}\big)

    Arguments:
        cov, w, flips: Symbols of the module.

    Raises:
        UnmetHypothesis: Shapes that do not fit, a singular covariance, or flips outside of [0, 1/2].

    Claims: RICH-PO-CURATION-1

    Example:
        >>> random_pairs([[1.0]], [0.0], 0.1).cov.tolist()
        [[2.0]]
    """
    xp, down, cov, w = _model("random_pairs", cov, w)
    pushed = xp.squeeze(cov @ w[:, None], axis=-1)
    kappa = mean_slope(math.sqrt(2.0 * max(float(xp.sum(w * pushed)), 0.0)))
    g = (1.0 - 2.0 * flips) * float(kappa) * pushed
    return PairMoments(down.wide(g), down.wide(2.0 * cov - g[:, None] * g[None, :]))


@arrays()
@checked
def best_of_pairs(cov: Array, w: Array, count: int) -> PairMoments:
    r"""The best and the worst of several draws, by the reward itself.

    .. math:: g = \frac{E R}{\sqrt G}\,S_0 w, \qquad K = 2S_0 + \frac{\mathrm{Var} R - 2}G\,S_0 w w^\top S_0, \qquad G = w^\top S_0 w

    with R the range of k standard normal numbers.

    Arguments:
        cov, w: Symbols of the module; w not 0.
        count: k in [2, 1000].

    Raises:
        UnmetHypothesis: As for :func:`random_pairs`; a reward without variance, k outside of its range.

    Claims: RICH-PO-CURATION-1

    Example:
        >>> round(float(best_of_pairs([[1.0]], [1.0], 2).mean[0]), 12) == round(2.0 / math.pi**0.5, 12)
        True
    """
    xp, down, cov, w = _model("best_of_pairs", cov, w)
    if not 2 <= count <= 1000:
        raise UnmetHypothesis("best_of_pairs", "2 <= count <= 1000", f"count = {count}")
    pushed = xp.squeeze(cov @ w[:, None], axis=-1)
    energy = float(xp.sum(w * pushed))
    if not energy > 0.0:
        raise UnmetHypothesis("best_of_pairs", "w^T S0 w > 0", f"{energy:.6g}: no draw is better")
    mean, square = _range_moments(count)
    spread = (square - mean * mean - 2.0) / energy * pushed[:, None] * pushed[None, :]
    return PairMoments(down.wide(mean / math.sqrt(energy) * pushed), down.wide(2.0 * cov + spread))


@arrays()
@checked(flips="in [0, 0.5]")
def edited_pairs(edit: Gaussian, w: Array, labels: Labels = "relabelled", flips: float = 0.0) -> PairMoments:
    r"""An edited image and its original, whose difference is normal.

    .. math::
        \text{decreed:} &\quad g = \delta, \quad K = D \\
        \text{relabelled:} &\quad g = (1 - 2\epsilon)\big[\delta\,E\tanh\tfrac u2 + \tfrac12 D w\,E\,\mathrm{sech}^2\tfrac u2\big], \quad
            K = D + \delta\delta^\top - g g^\top \\
        \text{filtered:} &\quad \text{the law of } \delta + \xi \text{ with density } \propto \epsilon + (1 - 2\epsilon)\,\sigma(u)

    with :math:`u = w^\top(\delta + \xi)` and :math:`\xi \sim N(0, D)`.

    Arguments:
        edit: :math:`N(\delta, D)`, what the editor does to an image; D may be singular.
        w, flips: Symbols of the module.
        labels: Whether the edit wins by decree, the relabeller decides, or pairs are kept only where it agrees.

    Returns:
        The moments; ``kept`` is the share that a filter leaves.

    Raises:
        UnmetHypothesis: Shapes that do not fit, flips outside of [0, 1/2], or a filter that keeps nothing.

    Claims: RICH-PO-CURATION-2

    Example:
        >>> pairs = edited_pairs(Gaussian([1.0], [[0.0]]), [0.0], "relabelled")
        >>> pairs.mean.tolist(), pairs.cov.tolist()
        ([0.0], [[1.0]])
    """
    require_single("edited_pairs", edit)
    given = {"delta": edit.mean, "spread": edit.cov, "w": w}
    xp, down, (delta, spread, w) = boundary("edited_pairs", **{k: constant(v) for k, v in given.items()})
    if w.shape != delta.shape:
        got = f"shapes {tuple(w.shape)}, {tuple(delta.shape)}"
        raise UnmetHypothesis("edited_pairs", "w (d,) of the dimension of the edit", got)
    if labels == "decreed":
        return PairMoments(down.wide(delta), down.wide(spread))
    pushed = xp.squeeze(spread @ w[:, None], axis=-1)
    sure = 1.0 - 2.0 * flips
    won, slope, bend = _logistic_averages(
        float(xp.sum(w * delta)), math.sqrt(max(float(xp.sum(w * pushed)), 0.0))
    )
    outer = delta[:, None] * delta[None, :]
    if labels == "relabelled":
        g = sure * ((2.0 * won - 1.0) * delta + 2.0 * slope * pushed)
        return PairMoments(down.wide(g), down.wide(spread + outer - g[:, None] * g[None, :]))
    kept = flips + sure * won
    if not kept > 0.0:
        raise UnmetHypothesis(
            "edited_pairs", "the filter keeps some pairs", "all edits lose by 700 nats and more"
        )
    cross = delta[:, None] * pushed[None, :]
    g = delta + sure * slope / kept * pushed
    second = (
        spread
        + outer
        + sure / kept * (slope * (cross + xp.matrix_transpose(cross)) + bend * pushed[:, None] * pushed)
    )
    return PairMoments(down.wide(g), down.wide(second - g[:, None] * g[None, :]), kept)


@arrays()
@checked(count="in [1, inf]")
def one_step_gain(pairs: PairMoments, cov: Array, w: Array, count: float) -> Array:
    r"""The share of the RLHF gain that one step on n pairs reaches, at its best length.

    .. math:: \max_\eta E\,J(\eta\,\bar\Delta_n) \Big/ \frac{w^\top S_0 w}{2\beta}, \qquad
        J(m) = w^\top m - \tfrac\beta2\,m^\top S_0^{-1} m

    It depends neither on beta nor on the units of the differences.  For n to infinity it is the squared cosine of g and
    :math:`S_0 w`.

    Arguments:
        pairs, cov, w: Symbols of the module.
        count: n >= 1, pairs that are kept; infinite for all there are.

    Returns:
        The share in [0, 1], shape (); 0 where the pairs point away from the reward.

    Raises:
        UnmetHypothesis: Shapes that do not fit, a singular covariance, n < 1, or differences that are always 0.

    Claims: RICH-PO-CURATION-3

    Example:
        >>> round(float(one_step_gain(best_of_pairs([[1.0]], [1.0], 2), [[1.0]], [1.0], math.inf)), 12)
        1.0
    """
    xp, down, (g, k, cov, w) = boundary("one_step_gain", mean=pairs.mean, spread=pairs.cov, cov=cov, w=w)
    _require_space(xp, "one_step_gain", cov, w)
    _require_moments("one_step_gain", g, k, cov)
    signal, noise = _signal(xp, cov, g), _noise(xp, cov, k)
    most = xp.sum(w * xp.squeeze(cov @ w[:, None], axis=-1))
    whole = most * (signal + noise / count)
    if not bool(whole > 0):
        raise UnmetHypothesis("one_step_gain", "w^T S0 w > 0 and some pair differs", f"{float(whole):.6g}")
    aligned = xp.sum(w * g)
    aligned = xp.where(aligned > 0, aligned, xp.zeros_like(aligned))
    return down.wide(aligned * aligned / whole)


@arrays()
@checked
def signal_to_noise(pairs: PairMoments, cov: Array) -> Array:
    r"""The signal-to-noise ratio of the first gradient of one pair, in the metric of the policy.

    .. math:: \frac{g^\top S_0^{-1} g}{\mathrm{tr}\,S_0^{-1} K}; \qquad
        \frac{\kappa^2 G}{2d - \kappa^2 G} \;\text{for random pairs}, \quad G = w^\top S_0 w

    Arguments:
        pairs, cov: Symbols of the module.

    Returns:
        The ratio, shape (); n pairs have n times it, and :func:`one_step_gain` is the squared cosine over 1 + 1/(n ratio).
        Infinite for differences that never vary.

    Raises:
        UnmetHypothesis: Shapes that do not fit, a singular covariance, or differences that are always 0.

    Claims: RICH-PO-CURATION-3

    Example:
        >>> float(signal_to_noise(PairMoments([2.0], [[4.0]]), [[5.0]]))
        1.0
    """
    xp, down, (g, k, cov) = boundary("signal_to_noise", mean=pairs.mean, spread=pairs.cov, cov=cov)
    _require_space(xp, "signal_to_noise", cov, g)
    _require_moments("signal_to_noise", g, k, cov)
    signal, noise = _signal(xp, cov, g), _noise(xp, cov, k)
    if not bool(signal + noise > 0):
        raise UnmetHypothesis("signal_to_noise", "some pair differs", "every difference is 0")
    return down.wide(divide(xp, signal, xp.where(noise > 0, noise, xp.zeros_like(noise))))


def _signal(xp: Namespace, cov: Array, g: Array) -> Array:
    return xp.sum(g * xp.squeeze(xp.linalg.solve(cov, g[:, None]), axis=-1))


def _noise(xp: Namespace, cov: Array, k: Array) -> Array:
    return xp.sum(xp.linalg.diagonal(xp.linalg.solve(cov, k)))


def _require_moments(subject: str, g: Array, k: Array, cov: Array) -> None:
    if g.shape != cov.shape[:1] or k.shape != cov.shape:
        got = f"moments {tuple(g.shape)}, {tuple(k.shape)} beside cov {tuple(cov.shape)}"
        raise UnmetHypothesis(subject, "pairs of the dimension of cov", got)


def _model(subject: str, cov: Array, w: Array) -> tuple[Namespace, Down, Array, Array]:
    xp, down, (cov, w) = boundary(subject, cov=constant(cov), w=constant(w))
    _require_space(xp, subject, cov, w)
    return xp, down, cov, w


def _require_space(xp: Namespace, subject: str, cov: Array, w: Array) -> None:
    d = w.shape[0] if w.ndim == 1 else 0
    if not d or tuple(cov.shape) != (d, d):
        got = f"shapes {tuple(cov.shape)}, {tuple(w.shape)}"
        raise UnmetHypothesis(subject, "cov (d, d) and w (d,), d >= 1", got)
    check_regular(xp, subject, cov)


def _logistic_averages(mean: float, sd: float) -> tuple[float, float, float]:
    """E of the logistic function and of its first two derivatives at a normal gap, by the trapezoidal rule.

    Its poles are at a distance pi / s from the line of the nodes: a step of 1 / (2 s) leaves exp(-4 pi^2).
    """
    step = 0.5 / max(1.0, sd)
    z = np.arange(-round(10.0 / step), round(10.0 / step) + 1) * step
    weights = step * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    won, lost = expit(mean + sd * z), expit(-mean - sd * z)
    averages = (weights @ won, weights @ (won * lost), weights @ (won * lost * (lost - won)))
    return float(averages[0]), float(averages[1]), float(averages[2])


def _range_moments(count: int) -> tuple[float, float]:
    """E R and E R^2 of the range of standard normal numbers, from its density."""
    nodes, weights = composite(40, 10)
    r, x = 18.0 * nodes, np.arange(-120, 121) * 0.1
    upper, lower = x[:, None] + r, x[:, None] + 0.0 * r
    # Phi(upper) - Phi(lower) on the side where both are small.
    flip = lower > 0.0
    high, low = np.where(flip, -lower, upper), np.where(flip, -upper, lower)
    between = log_ndtr(high) + np.log1p(-np.exp(np.minimum(log_ndtr(low) - log_ndtr(high), -1e-300)))
    logs = (count - 2) * between - 0.5 * (x[:, None] ** 2 + upper**2)
    density = 0.1 * count * (count - 1) / (2.0 * math.pi) * np.sum(np.exp(logs), axis=0)
    return 18.0 * float(weights @ (density * r)), 18.0 * float(weights @ (density * r * r))
