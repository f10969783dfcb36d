r"""Autoregressive pairs small enough to enumerate: exact objectives and gradients of whole sequences.

The state is the prefix :math:`s = y_{<n}`.  With :math:`p(s)` the probability that the student reaches s,

.. math::
    J &= E_{y\sim p} \sum_n f(u_n) = \sum_s p(s)\, D_f(s) \\
    \nabla_{z_s} J &= p(s)\,\Big( \nabla_{z_s} D_f(s) + p_a\,\big(V_a - E_p V\big) \Big), \qquad
    V_a = D_f(sa) + \gamma\,E_p[V_{\cdot}(sa)]

At gamma = 1 this is the exact gradient of J; gamma = 0 drops what a token does to later states, which is
the gradient at frozen states and *not* that of J.  Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from driftproof._namespace import Array, UnmetHypothesis, boundary, checked
from driftproof.theory.divergences import FDivergence

from .exact import divergence, logit_gradient, stop_gradient_logit_gradient

__all__ = ["AutoregressivePair"]


@final
@dataclass(frozen=True, eq=False)
@checked
class AutoregressivePair:
    r"""A student and a teacher on all prefixes of length below L over V tokens.

    Level n holds the next-token log-probabilities after each of the :math:`V^n` prefixes, in
    lexicographic order.

    Arguments:
        student: Log-probabilities, L arrays of shape (V**n, V) for n = 0, ..., L - 1.
        teacher: The same for the teacher.

    Raises:
        UnmetHypothesis: The levels do not form a tree over one vocabulary.

    Example:
        >>> from math import log
        >>> from driftproof.theory import divergences
        >>> level = [[log(0.5), log(0.5)]]
        >>> float(AutoregressivePair((level,), (level,)).objective(divergences.get("jsd")))
        0.0
    """

    student: tuple[Array, ...]
    teacher: tuple[Array, ...]

    def __post_init__(self) -> None:
        for name in ("student", "teacher"):
            given = {f"{name}[{n}]": level for n, level in enumerate(getattr(self, name))}
            _, _, levels = boundary("AutoregressivePair", **given)
            if not levels or levels[0].ndim != 2:
                raise UnmetHypothesis("AutoregressivePair", "at least one level of shape (1, V)", name)
            size = levels[0].shape[-1]
            for n, level in enumerate(levels):
                if tuple(level.shape) != (size**n, size):
                    got = f"{name}[{n}] has shape {tuple(level.shape)}"
                    raise UnmetHypothesis("AutoregressivePair", f"shape ({size}**{n}, {size})", got)
            object.__setattr__(self, name, levels)
        if len(self.student) != len(self.teacher) or self.student[0].shape != self.teacher[0].shape:
            raise UnmetHypothesis(
                "AutoregressivePair", "student and teacher share tokens and length", "others"
            )

    def objective(self, f: FDivergence) -> Array:
        """The expected sum of per-token divergences along a rollout of the student, J."""
        terms = zip(self._reach(), self.student, self.teacher, strict=True)
        return sum((reach * divergence(p, q, f)).sum() for reach, p, q in terms)

    def gradient(self, f: FDivergence, gamma: float = 1.0, stop_gradient: bool = False) -> tuple[Array, ...]:
        r"""Gradient of J in the logits of every prefix, with the future discounted by ``gamma``.

        Arguments:
            f: The divergence.
            gamma: Discount of the effect on later states, in [0, 1]; 1 is the gradient of J.
            stop_gradient: Use the stop-gradient direction for the per-token term.

        Returns:
            One array for each level, of the shape of the student's.
        """
        if not 0.0 <= gamma <= 1.0:
            raise UnmetHypothesis("AutoregressivePair.gradient", "gamma in [0, 1]", f"gamma = {gamma!r}")
        local = stop_gradient_logit_gradient if stop_gradient else logit_gradient
        size, future, gradients = self.student[0].shape[-1], None, []
        xp, _, _ = boundary("AutoregressivePair", level=self.student[0])
        levels = list(zip(self._reach(), self.student, self.teacher, strict=True))
        for reach, p, q in reversed(levels):
            gradient = local(p, q, f)
            later = xp.zeros_like(p) if future is None else xp.reshape(future, (-1, size))
            weights = xp.exp(p)
            mean = xp.sum(weights * later, axis=-1, keepdims=True)
            gradients.append(reach[:, None] * (gradient + gamma * weights * (later - mean)))
            future = divergence(p, q, f) + gamma * mean[:, 0]
        return tuple(reversed(gradients))

    def _reach(self) -> list[Array]:
        """Probability that the student reaches each prefix, level by level."""
        xp, _, levels = boundary("AutoregressivePair", **{f"p{n}": p for n, p in enumerate(self.student)})
        reach = [xp.ones_like(levels[0][:, 0])]
        for level in levels[:-1]:
            reach.append(xp.reshape(reach[-1][:, None] * xp.exp(level), (-1,)))
        return reach
