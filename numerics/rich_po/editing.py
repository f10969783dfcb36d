r"""The rich-feedback pipeline on normal models: doubles of critic, instructor, editor and relabeller whose law is known.

.. math:: \Delta = a\,P\,(w + \zeta) + \xi, \qquad \zeta \sim N(0, Z), \quad \xi \sim N(0, X), \qquad
    \Delta \sim N\big(a P w,\; a^2 P Z P + X\big)

The critic reads the reward with an error, the instructor can only name some attributes (P projects on them), the editor takes
a step of length a that way, and the relabeller prefers one of the two images with the probability of Bradley and Terry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final, get_args

from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked
from driftproof._random import Rng, source
from driftproof.theory.laws import Gaussian
from driftproof.theory.laws.gaussian import require_single
from driftproof.theory.laws.matrices import sqrt_psd
from driftproof.theory.special.elementary import logistic

from .curation import Labels

__all__ = ["EditedPairs", "EditingPipeline"]


@final
@dataclass(frozen=True, eq=False)
@checked
class EditedPairs:
    """Pairs that a pipeline has made.

    Attributes:
        chosen, rejected: Images, shape (n, d).
        edit_won: 1 where the edited image is the chosen one, else 0, shape (n,).
        made: Pairs that were made before a filter.
    """

    chosen: Array
    rejected: Array
    edit_won: Array
    made: int


@final
@dataclass(frozen=True, eq=False)
@checked(step="> 0")
class EditingPipeline:
    r"""Critic, instructor, editor and relabeller of a normal model with the reward :math:`w^\top x`.

    Arguments:
        w: Reward, shape (d,).
        attributes: The directions that the instructor can name, a basis in columns, shape (d, k).
        step: Length a > 0 of an edit, per unit of what the critic reads.
        critic_cov: Z, of the critic's error, shape (d, d).
        editor_cov: X, of the editor's error, shape (d, d).

    Raises:
        UnmetHypothesis: Shapes that do not fit, attributes that are linearly dependent, covariances that are none.

    Claims: RICH-PO-PIPELINE-1

    Example:
        >>> pipeline = EditingPipeline([1.0, 2.0], [[0.0], [1.0]], 0.5, [[0.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 1.0]])
        >>> law = pipeline.edit_law()
        >>> law.mean.tolist(), law.cov.tolist()
        ([0.0, 1.0], [[0.0, 0.0], [0.0, 2.0]])
    """

    w: Array
    attributes: Array
    step: float
    critic_cov: Array
    editor_cov: Array

    def __post_init__(self) -> None:
        names = ("w", "attributes", "critic_cov", "editor_cov")
        xp, _, values = boundary("EditingPipeline", **{name: getattr(self, name) for name in names})
        w, attributes, critic, editor = values
        d = w.shape[0] if w.ndim == 1 else 0
        if not d or attributes.ndim != 2 or attributes.shape[0] != d or not 1 <= attributes.shape[1] <= d:
            got = f"shapes {tuple(w.shape)}, {tuple(attributes.shape)}"
            raise UnmetHypothesis("EditingPipeline", "w (d,) and attributes (d, k), 1 <= k <= d", got)
        # Refuse what is no covariance of this space.
        require_single("EditingPipeline", Gaussian(w, critic), Gaussian(w, editor))
        sizes = xp.linalg.svdvals(attributes)
        if not float(xp.min(sizes)) > d * float(xp.finfo(w.dtype).eps) * float(xp.max(sizes)):
            got = f"singular values from {float(xp.min(sizes)):.3g} to {float(xp.max(sizes)):.3g}"
            raise UnmetHypothesis("EditingPipeline", "the attributes are linearly independent", got)
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)

    def edit_law(self) -> Gaussian:
        """The law of edited less original image, N(a P w, a^2 P Z P + X)."""
        xp, _, (w, critic, editor) = boundary(
            "EditingPipeline.edit_law", w=self.w, critic_cov=self.critic_cov, editor_cov=self.editor_cov
        )
        p = self._projection(xp)
        return Gaussian(
            self.step * xp.squeeze(p @ w[:, None], axis=-1), self.step**2 * (p @ critic @ p) + editor
        )

    def criticise(self, images: Array, rng: Rng) -> Array:
        """The critique of images (n, d): the reward's gradient and its error, (n, d)."""
        xp, _, (x, w, cov) = boundary("EditingPipeline", images=images, w=self.w, cov=self.critic_cov)
        self._require_images(x)
        return w + source(rng, like=x).normal(x) @ sqrt_psd(xp, cov)

    def instruct(self, critiques: Array) -> Array:
        """The part of critiques (n, d) that can be named."""
        xp, _, (critiques, _) = boundary("EditingPipeline", critiques=critiques, w=self.w)
        self._require_images(critiques)
        return critiques @ self._projection(xp)

    def edit(self, images: Array, instructions: Array, rng: Rng) -> Array:
        """Edited images (n, d)."""
        xp, _, (x, move, cov) = boundary(
            "EditingPipeline", images=images, instructions=instructions, cov=self.editor_cov
        )
        self._require_images(x, move)
        return x + self.step * move + source(rng, like=x).normal(x) @ sqrt_psd(xp, cov)

    def relabel(self, first: Array, second: Array, rng: Rng, flips: float = 0.0) -> Array:
        """1 where the relabeller prefers the first of two images (n, d), else 0, shape (n,)."""
        xp, _, (a, b, w) = boundary("EditingPipeline", first=first, second=second, w=self.w)
        if not 0.0 <= flips <= 0.5:
            raise UnmetHypothesis("EditingPipeline", "flips in [0, 0.5]", f"flips = {flips!r}")
        self._require_images(a, b)
        wins = flips + (1.0 - 2.0 * flips) * logistic(xp, xp.squeeze((a - b) @ w[:, None], axis=-1))
        return xp.astype(source(rng, like=wins).uniform(wins) < wins, a.dtype)

    def pairs(
        self, images: Array, rng: Rng, labels: Labels = "relabelled", flips: float = 0.0
    ) -> EditedPairs:
        """The whole chain from images (n, d) to pairs; a filter drops those whose edit the relabeller does not prefer."""
        if labels not in get_args(Labels):
            known = ", ".join(get_args(Labels))
            raise UnmetHypothesis("EditingPipeline", f"labels is one of {known}", f"labels = {labels!r}")
        noise = source(rng, like=boundary("EditingPipeline", images=images)[2][0])
        edited = self.edit(images, self.instruct(self.criticise(images, noise)), noise)
        xp, _, (original, edited) = boundary("EditingPipeline", images=images, edited=edited)
        made = int(original.shape[0])
        if labels == "decreed":
            return EditedPairs(edited, original, xp.ones_like(original[:, 0]), made)
        won = self.relabel(edited, original, noise, flips)
        if labels == "filtered":
            kept = xp.nonzero(won > 0)[0]
            return EditedPairs(
                xp.take(edited, kept, axis=0),
                xp.take(original, kept, axis=0),
                xp.take(won, kept, axis=0),
                made,
            )
        first = (won > 0)[:, None]
        return EditedPairs(xp.where(first, edited, original), xp.where(first, original, edited), won, made)

    def _require_images(self, *batches: Array) -> None:
        shapes = {tuple(batch.shape) for batch in batches}
        if len(shapes) > 1 or any(len(s) != 2 or s[1] != self.w.shape[0] for s in shapes):
            got = f"shapes {', '.join(map(str, sorted(shapes)))}, d = {self.w.shape[0]}"
            raise UnmetHypothesis("EditingPipeline", "images (n, d)", got)

    def _projection(self, xp: Namespace) -> Array:
        turned = xp.matrix_transpose(self.attributes)
        return self.attributes @ xp.linalg.solve(turned @ self.attributes, turned)
