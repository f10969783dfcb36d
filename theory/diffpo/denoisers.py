r"""Denoisers that are small enough to know everything about.

* :class:`TabularDenoiser` has free logits at every state: the conditionals need not belong to any joint law.
* :class:`ConsistentDenoiser` has the conditionals of one joint law, :math:`p(x_i \mid z) = q(x_i \mid x_S = z_S)`.
* :class:`Prompted` is a denoiser behind a prompt that is always revealed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import array_api_compat
import numpy as np

from driftproof._namespace import (
    Array,
    UnmetHypothesis,
    boundary,
    checked,
    holds,
)

from .states import Denoiser, States, host, log_sum_exp

__all__ = ["ConsistentDenoiser", "Prompted", "TabularDenoiser"]


@final
@dataclass(frozen=True, eq=False)
@checked
class TabularDenoiser:
    r"""Free logits at every state.

    .. math:: p(x_i = v \mid z) = \mathrm{softmax}(\theta_{z, i})_v

    Arguments:
        logits: Shape ((V+1)**L, L, V): states in lexicographic order, V for masked.

    Raises:
        UnmetHypothesis: The number of states is not :math:`(V+1)^L`, or a position allows no token.

    Example:
        >>> fair = TabularDenoiser(np.zeros((9, 2, 2)))
        >>> fair.length, fair.vocabulary, bool(np.all(fair.log_probs(np.asarray([2, 2])) == -np.log(2.0)))
        (2, 2, True)
    """

    logits: Array

    def __post_init__(self) -> None:
        xp, _, (logits,) = boundary("TabularDenoiser", logits=self.logits)
        shape = tuple(logits.shape)
        if len(shape) != 3 or shape[2] < 1 or shape[1] < 1 or shape[0] != (shape[2] + 1) ** shape[1]:
            raise UnmetHypothesis("TabularDenoiser", "logits have shape ((V+1)**L, L, V)", f"shape {shape}")
        largest = xp.max(logits, axis=-1)
        if not holds(xp.all(xp.isfinite(largest))):
            raise UnmetHypothesis("TabularDenoiser", "the largest logit of a position is finite", "infinite")
        object.__setattr__(self, "logits", logits)

    @property
    def length(self) -> int:
        """L."""
        return int(self.logits.shape[1])

    @property
    def vocabulary(self) -> int:
        """V."""
        return int(self.logits.shape[2])

    def log_probs(self, z: States) -> Array:
        """Log-probabilities at states of shape (..., L): shape (..., L, V)."""
        xp = array_api_compat.array_namespace(self.logits)
        powers = (self.vocabulary + 1) ** np.arange(self.length)[::-1]
        rows = xp.asarray((z @ powers).reshape(-1), device=array_api_compat.device(self.logits))
        logits = xp.take(self.logits, rows, axis=0)
        log_p = logits - log_sum_exp(xp, logits)[..., None]
        return xp.reshape(log_p, (*z.shape, self.vocabulary))


@final
@dataclass(frozen=True, eq=False)
@checked
class ConsistentDenoiser:
    r"""The conditionals of one joint law.

    .. math:: p(x_i = v \mid z) = \frac{q(x_i = v,\; x_j = z_j \text{ at all other revealed } j)}
        {q(x_j = z_j \text{ at all other revealed } j)}

    At a state without probability every law is a conditional one: it is uniform there.

    Arguments:
        log_joint: log q, shape (V, ..., V) with L axes; -inf is probability 0.

    Raises:
        UnmetHypothesis: The axes differ, or the probabilities do not sum to 1.

    Example:
        >>> pair = ConsistentDenoiser(np.log([[0.375, 0.125], [0.25, 0.25]]))
        >>> np.exp(pair.log_probs(np.asarray([0, 2])))[1].round(12).tolist()
        [0.75, 0.25]
    """

    log_joint: Array

    def __post_init__(self) -> None:
        xp, _, (log_joint,) = boundary("ConsistentDenoiser", log_joint=self.log_joint)
        shape = tuple(log_joint.shape)
        if not shape or len(set(shape)) > 1:
            raise UnmetHypothesis("ConsistentDenoiser", "log_joint has shape (V, ..., V)", f"shape {shape}")
        mass = float(host(xp.sum(xp.exp(log_joint))))
        if not abs(mass - 1.0) <= float(xp.finfo(log_joint.dtype).eps) ** 0.5:
            raise UnmetHypothesis("ConsistentDenoiser", "the joint law sums to 1", f"a sum of {mass:.6g}")
        object.__setattr__(self, "log_joint", log_joint)

    @property
    def length(self) -> int:
        """L."""
        return int(self.log_joint.ndim)

    @property
    def vocabulary(self) -> int:
        """V."""
        return int(self.log_joint.shape[0])

    def log_probs(self, z: States) -> Array:
        """Log-probabilities at states of shape (..., L): shape (..., L, V)."""
        length, size = self.length, self.vocabulary
        xp = array_api_compat.array_namespace(self.log_joint)
        sums = self.log_joint
        for axis in range(length):  # index V: summed over
            total = xp.expand_dims(log_sum_exp(xp, sums, axis), axis=axis)
            sums = xp.concat([sums, total], axis=axis)
        powers = (size + 1) ** np.arange(length)[::-1]
        others = (z @ powers)[..., None] - z * powers  # everything but position i, where it is 0
        flat = others[..., None] + np.arange(size + 1) * powers[:, None]
        where = xp.asarray(flat.reshape(-1), device=array_api_compat.device(sums))
        log_q = xp.reshape(xp.take(xp.reshape(sums, (-1,)), where, axis=0), flat.shape)
        known = log_q[..., size:] > -xp.inf
        context = xp.where(known, log_q[..., size:], xp.zeros_like(log_q[..., size:]))
        uniform = xp.full_like(log_q[..., :size], -float(np.log(size)))
        return xp.where(known, log_q[..., :size] - context, uniform)


@final
@dataclass(frozen=True)
@checked
class Prompted:
    """A denoiser of what comes after a prompt, which is revealed from the start.

    Arguments:
        denoiser: The denoiser of prompt and completion together.
        prompt: Its tokens.

    Raises:
        UnmetHypothesis: The prompt leaves no position, or holds what is no token (a masked prompt has no law).

    Example:
        >>> pair = ConsistentDenoiser(np.log([[0.4, 0.1], [0.2, 0.3]]))
        >>> bool(abs(np.exp(Prompted(pair, (0,)).log_probs(np.asarray([2]))) - [0.8, 0.2]).max() < 1e-15)
        True
    """

    denoiser: Denoiser
    prompt: tuple[int, ...]

    def __post_init__(self) -> None:
        whole, size = self.denoiser.length, self.denoiser.vocabulary
        if not 0 < len(self.prompt) < whole:
            got = f"{len(self.prompt)} tokens of {whole}"
            raise UnmetHypothesis("Prompted", "the prompt has a token and leaves one to generate", got)
        if not all(0 <= token < size for token in self.prompt):
            raise UnmetHypothesis(
                "Prompted", f"the prompt holds tokens 0, ..., {size - 1}", f"prompt = {self.prompt}"
            )

    @property
    def length(self) -> int:
        """Positions that are left to generate."""
        return self.denoiser.length - len(self.prompt)

    @property
    def vocabulary(self) -> int:
        """V."""
        return self.denoiser.vocabulary

    def log_probs(self, z: States) -> Array:
        """Log-probabilities of the positions after the prompt, shape (..., L, V)."""
        prompt = np.broadcast_to(np.asarray(self.prompt, dtype=np.int64), (*z.shape[:-1], len(self.prompt)))
        log_p = self.denoiser.log_probs(np.concatenate([prompt, z], axis=-1))
        return log_p[..., len(self.prompt) :, :]
