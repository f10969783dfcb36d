r"""Exact distances between laws: 2-Wasserstein and Kullback-Leibler."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from driftproof._capabilities import arrays
from driftproof._namespace import (
    Array,
    Namespace,
    UnmetHypothesis,
    boundary,
    holds,
)
from driftproof.theory.special.elementary import deviance, relative_entropy, sqrt_or_zero
from driftproof.theory.special.gamma_excess import gammaln_excess

from .base import AbstractLaw
from .discrete import Discrete
from .gamma import Gamma
from .gaussian import Gaussian, check_regular, solve_vectors
from .matrices import polar_factor, sqrt_psd
from .mixture import require_rows
from .normal import LogNormal, Normal

__all__ = ["kl", "wasserstein2"]


@arrays()
def wasserstein2(p: AbstractLaw, q: AbstractLaw) -> Array:
    r"""The 2-Wasserstein distance between two laws of one family.

    .. math::
        W_2^2(N(m,C), N(m',C')) &= |m-m'|^2 + \min_{Q^\top Q = I} \|C^{1/2} - C'^{1/2} Q\|^2 \\
        W_2^2(p, q) &= \int_0^1 (F_p^{-1}(u) - F_q^{-1}(u))^2\,du \quad (d = 1)

    Arguments:
        p, q: Two Normal, Gaussian (singular covariances are legal) or Discrete laws; Discrete laws in
            R^d, d > 1, are solved as a linear programme.

    Returns:
        The distance, elementwise for Normal laws and row by row for Gaussian ones.  It differentiates once; at distance 0, where it has a kink,
        the derivative is taken as 0.

    Raises:
        UnmetHypothesis: No closed form is known for the pair.

    References:
        | Wasserstein geometry of Gaussian measures (Takatsu, 2011), eq. (1.4)

    Example:
        >>> float(wasserstein2(Normal(0.0, 1.0), Normal(3.0, 5.0)))
        5.0
    """
    if type(p) is type(q):
        return _w2(p, q)
    raise UnmetHypothesis("wasserstein2", "both laws are of one family", f"{_name(p)} and {_name(q)}")


@arrays()
def kl(p: AbstractLaw, q: AbstractLaw) -> Array:
    r"""The Kullback-Leibler divergence :math:`KL(p \| q) = E_p[\log p/q]` between two laws of one family.

    Arguments:
        p, q: Two Normal, LogNormal, Gamma, Gaussian or Discrete laws (Discrete: on the same atoms).

    Returns:
        The divergence in nats, elementwise and row by row; infinite where p is not absolutely continuous.

    Raises:
        UnmetHypothesis: No closed form is known for the pair, or a covariance is singular.

    Example:
        >>> float(kl(Normal(2.0, 1.0), Normal(0.0, 1.0)))
        2.0
    """
    if type(p) is type(q):
        return _kl(p, q)
    raise UnmetHypothesis("kl", "both laws are of one family", f"{_name(p)} and {_name(q)}")


def has_kl(p: AbstractLaw, q: AbstractLaw) -> bool:
    """Whether a closed form is known for two such laws."""
    return type(p) is type(q) and _kl.dispatch(type(p)) is not _kl.dispatch(object)


@singledispatch
def _w2(p: Any, q: Any) -> Array:
    raise UnmetHypothesis("wasserstein2", "a closed form is known", f"{_name(p)} laws")


@_w2.register
def _(p: Normal, q: Normal) -> Array:
    xp, down, (m, s, n, r) = boundary(
        "wasserstein2", p_loc=p.loc, p_scale=p.scale, q_loc=q.loc, q_scale=q.scale
    )
    return down.wide(sqrt_or_zero(xp, (m - n) ** 2 + (s - r) ** 2))


@_w2.register
def _(p: Gaussian, q: Gaussian) -> Array:
    _require_alike("wasserstein2", p, q)
    given = {f"{law}_{name}": v for law, of in (("p", p), ("q", q)) for name, v in of.parameters.items()}
    xp, down, (m, c, n, e) = boundary("wasserstein2", **given)
    root, other = sqrt_psd(xp, c), sqrt_psd(xp, e)
    # The best Q is a constant to first order, and the square of a difference does not cancel as traces do.
    apart = root - other @ polar_factor(xp, other @ root)
    squares = xp.sum((m - n) ** 2, axis=-1) + xp.sum(apart * apart, axis=(-2, -1))
    return down.wide(sqrt_or_zero(xp, squares))


@_w2.register
def _(p: Discrete, q: Discrete) -> Array:
    import ot  # POT takes a second to import and nothing else here needs it

    given = {"p": p.atoms, "p_weights": p.weights, "q": q.atoms, "q_weights": q.weights}
    xp, down, (a, v, b, w) = boundary("wasserstein2", **given)
    if a.ndim == 1:
        return down.wide(sqrt_or_zero(xp, ot.wasserstein_1d(a, b, v, w, p=2)))
    # Squared distances without the cancellation of |a|^2 - 2ab + |b|^2.
    cost = xp.sum((a[:, None, :] - b[None, :, :]) ** 2, axis=-1)
    return down.wide(sqrt_or_zero(xp, ot.emd2(v, w, cost)))


@singledispatch
def _kl(p: Any, q: Any) -> Array:
    raise UnmetHypothesis("kl", "a closed form is known", f"{_name(p)} laws")


@_kl.register(Normal)
@_kl.register(LogNormal)
def _(p: Normal | LogNormal, q: Normal | LogNormal) -> Array:
    xp, down, (m, s, n, r) = boundary("kl", p_loc=p.loc, p_scale=p.scale, q_loc=q.loc, q_scale=q.scale)
    return down.wide(_kl_normal(xp, (m - n) / r, s / r))


def _kl_normal(xp: Namespace, shift: Array, ratio: Array) -> Array:
    # (ratio^2 - 1)/2 - log ratio, written without cancellation near ratio = 1.
    excess = ratio - 1.0
    return 0.5 * shift * shift + 0.5 * excess * excess + deviance(xp, excess, ratio)


@_kl.register
def _(p: Gamma, q: Gamma) -> Array:
    given = {"p_shape": p.shape, "p_scale": p.scale, "q_shape": q.shape, "q_scale": q.scale}
    xp, down, (k, a, m, b) = boundary("kl", **given)
    excess = (a - b) / b
    return down.wide(gammaln_excess(xp, k, m) + k * deviance(xp, excess, a / b) - (m - k) * xp.log(a / b))


@_kl.register
def _(p: Gaussian, q: Gaussian) -> Array:
    _require_alike("kl", p, q)
    given = {f"{law}_{name}": v for law, of in (("p", p), ("q", q)) for name, v in of.parameters.items()}
    xp, down, (m, c, n, e) = boundary("kl", **given)
    check_regular(xp, "kl", c)
    check_regular(xp, "kl", e)
    shift = n - m
    quadratic = xp.sum(shift * solve_vectors(xp, e, shift), axis=-1)
    excess = xp.linalg.eigvalsh(_whiten(xp, c - e, e))  # of E^-1/2 (C - E) E^-1/2
    return down.wide(0.5 * (quadratic + xp.sum(deviance(xp, excess), axis=-1)))


def _whiten(xp: Namespace, c: Array, e: Array) -> Array:
    root = xp.broadcast_to(xp.linalg.cholesky(e), c.shape)
    half = xp.linalg.solve(root, c)
    return xp.linalg.solve(root, xp.matrix_transpose(half))


@_kl.register
def _(p: Discrete, q: Discrete) -> Array:
    given = {"p": p.atoms, "p_weights": p.weights, "q": q.atoms, "q_weights": q.weights}
    xp, down, (a, v, b, w) = boundary("kl", **given)
    if a.shape != b.shape or not holds(xp.all(a == b)):
        raise UnmetHypothesis("kl", "both laws have the same atoms in the same order", "different atoms")
    return down.wide(xp.sum(relative_entropy(xp, v, w)))


def _require_alike(subject: str, p: Gaussian, q: Gaussian) -> None:
    if p.event_shape != q.event_shape:
        got = f"R^{p.event_shape[0]} and R^{q.event_shape[0]}"
        raise UnmetHypothesis(subject, "both laws are on one space", got)
    require_rows(subject, p=p.batch_shape, q=q.batch_shape)


def _name(law: object) -> str:
    return type(law).__name__
