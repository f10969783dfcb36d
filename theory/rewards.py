r"""Rewards whose expectations are closed: linear and quadratic, and the laws that they tilt.

.. math:: r(x) = c \cdot x - \tfrac12\,x^\top Q\,x, \qquad
    E\,r(X) = c \cdot m - \tfrac12\big(m^\top Q\,m + \mathrm{tr}\,Q C\big)

for any law with mean m and covariance C.  The reward :math:`-|x - a|^2` is, up to a constant,
``Quadratic(2 a, 2 I)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, final

from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked, refuse_flags, require

from .laws import Gaussian
from .laws.gaussian import require_single
from .laws.matrices import constant, sqrt_psd

__all__ = ["Linear", "Moments", "Quadratic", "Reward", "tilted"]


class Moments(Protocol):
    """A law with a mean and a covariance, for instance a Gaussian or a mixture."""

    @property
    def mean(self) -> Array: ...

    @property
    def cov(self) -> Array: ...


@final
@dataclass(frozen=True, eq=False)
@checked
class Linear:
    r"""The reward :math:`r(x) = c \cdot x`.

    Arguments:
        c: Direction, shape (d,).

    Raises:
        UnmetHypothesis: ``c`` is no vector, or not finite; points or laws of another dimension.

    Claims: REWARD-GAP-REWARD-1

    Example:
        >>> float(Linear([1.0, 2.0]).value([3.0, 4.0]))
        11.0
    """

    c: Array

    def __post_init__(self) -> None:
        xp, _, (c,) = boundary("Linear", c=self.c)
        require(xp, "Linear", "c", c, "finite")
        if c.ndim != 1 or c.shape[0] < 1:
            raise UnmetHypothesis("Linear", "c (d,)", f"shape {tuple(c.shape)}")
        object.__setattr__(self, "c", c)

    def value(self, x: Array) -> Array:
        """Reward of the points x (..., d): shape (...)."""
        xp, down, (x, c) = boundary("Linear.value", x=x, c=self.c)
        _same_space("Linear.value", x, c)
        return down.wide(_value(xp, x, c, None))

    def gradient(self, x: Array) -> Array:
        """Gradient at the points x (..., d): shape (..., d)."""
        xp, down, (x, c) = boundary("Linear.gradient", x=x, c=self.c)
        _same_space("Linear.gradient", x, c)
        return down(_gradient(xp, x, c, None))

    def expectation(self, law: Moments) -> Array:
        """Expected reward under a law on R^d, of which it needs the mean alone."""
        xp, down, (m, c) = boundary("Linear.expectation", mean=law.mean, c=self.c)
        _same_space("Linear.expectation", m, c)
        return down.wide(_value(xp, m, c, None))


@final
@dataclass(frozen=True, eq=False)
@checked
class Quadratic:
    r"""The reward :math:`r(x) = c \cdot x - \tfrac12 x^\top Q x`.

    Arguments:
        c: Slope at the origin, shape (d,).
        Q: Curvature, shape (d, d), symmetric; not necessarily definite.

    Raises:
        UnmetHypothesis: ``Q`` is not symmetric, a number is not finite, or the shapes do not match, of points
            and laws too.

    Claims: REWARD-GAP-REWARD-1

    Example:
        >>> float(Quadratic([2.0], [[2.0]]).value([1.0]))  # 1 - (x - 1)^2
        1.0
    """

    c: Array
    Q: Array

    def __post_init__(self) -> None:
        xp, _, (c, q) = boundary("Quadratic", c=self.c, Q=self.Q)
        require(xp, "Quadratic", "c", c, "finite")
        require(xp, "Quadratic", "Q", q, "finite")
        d = c.shape[-1] if c.ndim else 0
        if c.ndim != 1 or d < 1 or q.shape != (d, d):
            got = f"shapes {tuple(c.shape)}, {tuple(q.shape)}"
            raise UnmetHypothesis("Quadratic", "c (d,) and Q (d, d)", got)
        skew = float(xp.max(xp.abs(q - xp.matrix_transpose(q))))
        if skew > 64.0 * float(xp.finfo(q.dtype).eps) * float(xp.max(xp.abs(q))):
            raise UnmetHypothesis("Quadratic", "Q is symmetric", f"max |Q - Q^T| = {skew:.3g}")
        object.__setattr__(self, "c", c)
        object.__setattr__(self, "Q", q)

    def value(self, x: Array) -> Array:
        """Reward of the points x (..., d): shape (...)."""
        xp, down, (x, c, q) = boundary("Quadratic.value", x=x, c=self.c, Q=self.Q)
        _same_space("Quadratic.value", x, c)
        return down.wide(_value(xp, x, c, q))

    def gradient(self, x: Array) -> Array:
        """Gradient at the points x (..., d): shape (..., d)."""
        xp, down, (x, c, q) = boundary("Quadratic.gradient", x=x, c=self.c, Q=self.Q)
        _same_space("Quadratic.gradient", x, c)
        return down(_gradient(xp, x, c, q))

    def expectation(self, law: Moments) -> Array:
        """Expected reward under a law on R^d, of which it needs the mean and the covariance alone."""
        given = {"mean": law.mean, "cov": law.cov, "c": self.c, "Q": self.Q}
        xp, down, (m, cov, c, q) = boundary("Quadratic.expectation", **given)
        _same_space("Quadratic.expectation", m, c)
        return down.wide(_value(xp, m, c, q) - 0.5 * xp.sum(q * cov, axis=(-2, -1)))


Reward: TypeAlias = Linear | Quadratic


def _same_space(subject: str, x: Array, c: Array) -> None:
    """Raise unless points and reward live on the same R^d."""
    if x.ndim < 1 or x.shape[-1] != c.shape[0]:
        got = f"shape {tuple(x.shape)}, d = {c.shape[0]}"
        raise UnmetHypothesis(subject, "points (..., d) of the dimension of c", got)


def _value(xp: Namespace, x: Array, c: Array, q: Array | None) -> Array:
    bent = 0.0 if q is None else 0.5 * xp.sum(x * xp.squeeze(q @ x[..., None], axis=-1), axis=-1)
    return xp.sum(c * x, axis=-1) - bent


def _gradient(xp: Namespace, x: Array, c: Array, q: Array | None) -> Array:
    return c + 0.0 * x if q is None else c - xp.squeeze(q @ x[..., None], axis=-1)


@arrays()
def tilted(law: Gaussian, reward: Reward, beta: float) -> Gaussian:
    r"""The optimum of reward with a KL penalty: the law tilted by its reward.

    .. math:: p^* \propto p\,e^{r/\beta} = \arg\max_\rho\; E_\rho\,r - \beta\,KL(\rho \| p), \qquad
        C^* = C^{1/2} \big(I + \tfrac1\beta C^{1/2} Q\, C^{1/2}\big)^{-1} C^{1/2}, \quad
        m^* = m + C^* (c - Q m)/\beta

    Arguments:
        law: The reference, a Gaussian law; where it has no variance the reward has no say.
        reward: Linear or Quadratic.
        beta: Strength of the penalty, > 0.

    Returns:
        The optimal Gaussian law.

    Raises:
        UnmetHypothesis: beta <= 0, a reward on another space, or one that grows faster than the density falls:
            the matrix in brackets is not positive definite.

    Claims: REWARD-GAP-TILT-1

    Example:
        >>> best = tilted(Gaussian([0.0], [[1.0]]), Quadratic([2.0], [[2.0]]), 2.0)
        >>> float(best.mean[0]), float(best.cov[0, 0])
        (0.5, 0.5)
    """
    refuse_flags("tilted", beta=beta)
    if not 0.0 < beta < float("inf"):
        raise UnmetHypothesis("tilted", "beta > 0", f"beta = {beta!r}")
    require_single("tilted", law)
    given: dict[str, Any] = {"mean": law.mean, "cov": law.cov, "c": reward.c}
    if isinstance(reward, Quadratic):
        given["Q"] = reward.Q
    xp, down, (m, cov, c, *curvature) = boundary("tilted", **given)
    _same_space("tilted", m, c)
    root = sqrt_psd(xp, cov)
    bent = curvature[0] / beta if curvature else xp.zeros_like(cov)
    eye = xp.eye(cov.shape[-1], dtype=cov.dtype, device=device(cov))
    tight = eye + root @ bent @ root
    least = float(xp.min(xp.linalg.eigvalsh(constant(tight))))
    if not least > 0.0:
        raise UnmetHypothesis(
            "tilted", "I + C^1/2 Q C^1/2 / beta is positive definite", f"least eigenvalue {least:.3g}"
        )
    best = root @ xp.linalg.solve(tight, root)
    best = 0.5 * (best + xp.matrix_transpose(best))
    pull = c / beta - xp.squeeze(bent @ m[:, None], axis=-1)
    mean = m + xp.squeeze(best @ pull[:, None], axis=-1)
    made: Gaussian = down.like(law)(Gaussian(mean, best))
    return made
