r"""What a learned direction is worth: captured gain, mixtures of pairs, and the reward after optimising a proxy.

The reference is :math:`N(\mu_0, S_0)`, the policies are its mean shifts :math:`S_0\theta/\beta`, and the reward is
:math:`w^\top x`; its RLHF optimum is :math:`\theta = w`.

Symbols:
    cov: Covariance :math:`S_0`, shape (d, d), positive definite.
    w: Reward, shape (d,), or the gold reward where there is a proxy.
"""

from __future__ import annotations

import math

from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    holds,
    public,
    require_broadcastable,
)
from driftproof.theory.laws.gaussian import check_regular

__all__ = ["captured_gain", "gold_gain", "mixture_coefficient", "peak_penalty", "product"]


def product(xp: Namespace, a: Array, matrix: Array, b: Array) -> Array:
    r""":math:`a^\top M b`, shapes (..., d), (..., d, d) and (..., d)."""
    return xp.sum(a * (matrix @ b[..., None])[..., 0], axis=-1)


def _require_space(subject: str, cov: Array, **vectors: Array) -> None:
    d = cov.shape[-1] if cov.ndim >= 2 else 0
    if not d or cov.shape[-2] != d or any(v.ndim < 1 or v.shape[-1] != d for v in vectors.values()):
        got = ", ".join(f"{k} {tuple(v.shape)}" for k, v in {"cov": cov, **vectors}.items())
        raise UnmetHypothesis(subject, "cov (d, d) and vectors (d,), d >= 1", got)


def _require_variance(xp: Namespace, subject: str, name: str, cov: Array, reward: Array) -> None:
    if not holds(xp.all(product(xp, reward, cov, reward) > 0)):
        raise UnmetHypothesis(
            subject, f"{name}^T S0 {name} > 0", "a reward without variance under the reference"
        )


def _require_directions(xp: Namespace, *, cov: Array, w: Array, directions: Array) -> None:
    _require_space("captured_gain", cov, w=w)
    d = cov.shape[-1]
    if directions.ndim < 2 or directions.shape[-2] != d or not 1 <= directions.shape[-1] <= d:
        got = f"shape {tuple(directions.shape)}, d = {d}"
        raise UnmetHypothesis("captured_gain", "directions (d, k), 1 <= k <= d", got)
    sizes = xp.linalg.svdvals(directions)
    least, most = xp.min(sizes), xp.max(sizes)
    if not holds(least > d * float(xp.finfo(directions.dtype).eps) * most):
        got = f"singular values in [{float(least):.3g}, {float(most):.3g}]"
        raise UnmetHypothesis("captured_gain", "the directions are linearly independent", got)
    _require_variance(xp, "captured_gain", "w", cov, w)


def _require_known(xp: Namespace, *, cov: Array, w: Array, edit: Array, share: float) -> None:
    _require_space("mixture_coefficient", cov, w=w, edit=edit)
    bent = _information(cov, edit, share)
    check_regular(xp, "mixture_coefficient", bent, "the information of the pairs")


def _require_proxy(xp: Namespace, *, kl: Array, w: Array, proxy: Array, cov: Array, **_: float) -> None:
    _require_space("gold_gain", cov, w=w, proxy=proxy)
    require_broadcastable("gold_gain", kl=kl, w=w[..., 0])
    _require_variance(xp, "gold_gain", "v", cov, proxy)


def _require_aligned(xp: Namespace, *, w: Array, proxy: Array, cov: Array, **_: float) -> None:
    _require_space("peak_penalty", cov, w=w, proxy=proxy)
    gain = product(xp, w, cov, proxy)
    if not holds(xp.all(gain > 0)):
        got = f"{float(xp.min(gain)):.6g}: the proxy lowers the gold reward"
        raise UnmetHypothesis("peak_penalty", "w^T S0 v > 0", got)


@public(wide=True, check=_require_directions, cov="finite", w="finite", directions="finite")
def captured_gain(xp: Namespace, cov: Array, w: Array, directions: Array) -> Array:
    r"""The share of the RLHF gain that pairs in a few directions can teach.

    .. math:: \theta = P_E w, \qquad \frac{w^\top S_0 P_E w}{w^\top S_0 w}

    Gradient descent from 0 stays in the span E of the differences of the pairs, and ends at the projection of the reward.

    Arguments:
        cov, w: Symbols of the module.
        directions: A basis of E in columns, shape (d, k): what the editor can change.

    Returns:
        The share, shape (); negative where moving along E lowers the reward elsewhere, through the correlations of the reference.

    Raises:
        UnmetHypothesis: Shapes that do not fit, directions that are linearly dependent, or a reward without variance.

    Claims: RICH-PO-EDITS-1

    Example:
        >>> float(captured_gain([[1.0, 0.0], [0.0, 1.0]], [3.0, 4.0], [[1.0], [0.0]]))
        0.36
    """
    directions = directions / xp.max(xp.abs(directions), axis=-2, keepdims=True)  # no square underflows
    turned = xp.matrix_transpose(directions)
    part = xp.linalg.solve(turned @ directions, turned @ w[..., None])
    return product(xp, w, cov, (directions @ part)[..., 0]) / product(xp, w, cov, w)


@public(
    wide=True,
    check=_require_known,
    cov="finite",
    w="finite",
    edit="finite",
    share="in [0, 1)",
)
def mixture_coefficient(xp: Namespace, cov: Array, w: Array, edit: Array, share: float) -> Array:
    r"""The coefficient learned from a mixture of random pairs and edits that always win, for small signals.

    .. math:: \theta = \Big[\tfrac{1-f}2 S_0 + \tfrac f4\,\delta\delta^\top\Big]^{-1}
        \Big[\tfrac{1-f}2 S_0 w + \tfrac f2\,\delta\Big] = w + O(f)

    The edit is read as a pair of reward gap 2, whatever its true gap is: along :math:`\delta` the reward is wrong
    unless :math:`w^\top\delta = 2`, and the correlations of the reference spread the error.

    Arguments:
        cov, w: Symbols of the module.
        edit: :math:`\delta`, the difference that the editor makes, shape (d,); it always wins.
        share: f, of the edits among the pairs, in [0, 1).

    Returns:
        :math:`\theta`, shape (d,), to first order in the gaps.

    Raises:
        UnmetHypothesis: Shapes that do not fit, or pairs that leave a direction unknown: a singular covariance.

    Claims: RICH-PO-MIX-1

    Example:
        >>> mixture_coefficient([[1.0]], [0.5], [4.0], 0.0).tolist(), mixture_coefficient([[1.0]], [0.5], [4.0], 0.5).tolist()
        ([0.5], [0.5])
    """
    pull = 0.5 * (1.0 - share) * (cov @ w[..., None]) + 0.5 * share * edit[..., None]
    return xp.linalg.solve(_information(cov, edit, share), pull)[..., 0]


def _information(cov: Array, edit: Array, share: float) -> Array:
    return 0.5 * (1.0 - share) * cov + 0.25 * share * edit[..., :, None] * edit[..., None, :]


@public(
    wide=True,
    check=_require_proxy,
    cov="finite",
    w="finite",
    proxy="finite",
    kl=">= 0",
    curvature=">= 0",
)
def gold_gain(xp: Namespace, kl: Array, w: Array, proxy: Array, cov: Array, curvature: float) -> Array:
    r"""The gain in the gold reward where a proxy is optimised, against the KL divergence that this costs.

    .. math:: R(x) = w^\top x - \tfrac k2 |x - \mu_0|^2: \qquad A\,d - B\,d^2, \quad d = \sqrt{KL}, \qquad
        A = \frac{\sqrt2\,w^\top S_0 v}{\sqrt{v^\top S_0 v}}, \quad B = \frac{k\,v^\top S_0^2 v}{v^\top S_0 v}

    Arguments:
        kl: KL divergence of the policy from the reference, in nats, >= 0.
        w: Slope of the gold reward at the mean of the reference, shape (d,).
        proxy: The proxy v that is optimised, shape (d,).
        cov: Symbols of the module.
        curvature: k >= 0, how the gold reward falls off away from the reference.

    Returns:
        The gain over the reference, of the shape of ``kl``.

    Raises:
        UnmetHypothesis: Shapes that do not fit, or a proxy without variance under the reference.

    Claims: RICH-PO-PROXY-1

    Example:
        >>> [round(float(gold_gain(2.0, [1.0], [3.0], [[1.0]], k)), 12) for k in (0.0, 0.5)]
        [2.0, 1.0]
    """
    energy = product(xp, proxy, cov, proxy)
    pushed = (cov @ proxy[..., None])[..., 0]
    rise = math.sqrt(2.0) * xp.sum(w * pushed, axis=-1) / xp.sqrt(energy)
    fall = curvature * xp.sum(pushed * pushed, axis=-1) / energy
    return rise * xp.sqrt(kl) - fall * kl


@public(wide=True, check=_require_aligned, cov="finite", w="finite", proxy="finite", curvature=">= 0")
def peak_penalty(xp: Namespace, w: Array, proxy: Array, cov: Array, curvature: float) -> Array:
    r"""The penalty at which the gold reward peaks: below it the proxy is over-optimised.

    .. math:: \beta^* = k\,\frac{v^\top S_0^2 v}{w^\top S_0 v}

    Arguments:
        w, proxy, cov, curvature: As for :func:`gold_gain`.

    Returns:
        :math:`\beta^*`, shape ().

    Raises:
        UnmetHypothesis: Shapes that do not fit, or a proxy along which the gold reward falls from the start.

    Claims: RICH-PO-PROXY-1

    Example:
        >>> float(peak_penalty([2.0], [3.0], [[4.0]], 1.0))
        6.0
    """
    pushed = (cov @ proxy[..., None])[..., 0]
    return curvature * xp.sum(pushed * pushed, axis=-1) / xp.sum(w * pushed, axis=-1)
