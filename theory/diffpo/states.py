r"""Masked sequences, and what a denoiser says of them.

A state :math:`z \in \{0, \dots, V\}^L` holds tokens :math:`0, \dots, V-1`, and V where the token is still masked.
A *denoiser* gives, at every state and every position, a law on the vocabulary, :math:`p(x_i \mid z)`; nothing asks
these laws to belong to one joint law.  States are integers on the host; probabilities are arrays of the namespace that
the parameters of the denoiser live in, so that what is computed from them can be differentiated there.
"""

from __future__ import annotations

from typing import Annotated, Any, Protocol, TypeAlias

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from driftproof._namespace import Array, Namespace, UnmetHypothesis, refuse, still

__all__ = ["Denoiser", "Tokens", "completions", "evaluated", "host", "log_sum_exp", "picked", "sequences"]

States: TypeAlias = NDArray[np.int64]

_MOST_COMPLETIONS = 2**20


def _integers(subject: str, name: str, value: Any) -> States:
    """Integers of any namespace, or of lists, on the host."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        found = np.asarray(value)
    except ValueError:
        raise TypeError(f"{subject}: expected rows of equal length for {name}, got a ragged list") from None
    if found.dtype.kind not in "iu":
        refuse(subject, name, "integers", value)
    return found.astype(np.int64)


# Sequences of tokens, integers of shape (..., L): of numpy, torch, or lists of them.
Tokens: TypeAlias = Annotated[Any, _integers]


class Denoiser(Protocol):
    """A law on the vocabulary for every position of every state.

    ``log_probs`` takes states, integers of shape (..., L) with V where masked, and gives log-probabilities of shape
    (..., L, V).  What it says at positions that are revealed is not used.
    """

    @property
    def length(self) -> int: ...

    @property
    def vocabulary(self) -> int: ...

    def log_probs(self, z: States) -> Array: ...


def evaluated(subject: str, denoiser: Denoiser, z: States) -> tuple[Namespace, Array]:
    """The log-probabilities at these states with their namespace, once it is known that they are laws.

    Half precision becomes float32: sums of log-probabilities follow.

    Raises:
        UnmetHypothesis: The denoiser gives other shapes, or probabilities that do not sum to 1.
    """
    log_p = denoiser.log_probs(z)
    xp = array_api_compat.array_namespace(log_p)
    want = (*z.shape, denoiser.vocabulary)
    if tuple(log_p.shape) != want:
        raise UnmetHypothesis(
            subject, f"the denoiser gives log-probabilities of shape {want}", f"{tuple(log_p.shape)}"
        )
    precision = xp.finfo(log_p.dtype)
    if precision.bits < 32:
        log_p = xp.astype(log_p, xp.float32)
    if z.size:
        mass = host(xp.sum(xp.exp(log_p), axis=-1))
        off = np.abs(mass - 1.0)
        if not float(np.max(off)) <= float(precision.eps) ** 0.5:  # NaN included
            got = f"a sum of {float(mass.flat[int(np.argmax(off))]):.6g}"
            raise UnmetHypothesis(subject, "the probabilities of the denoiser sum to 1", got)
    return xp, log_p


def sequences(subject: str, denoiser: Denoiser, x: States) -> States:
    """Complete sequences of the denoiser, shape (..., L).

    Raises:
        UnmetHypothesis: Another length, or a number that is no token.
    """
    length, size = denoiser.length, denoiser.vocabulary
    if x.ndim == 0 or x.shape[-1] != length:
        raise UnmetHypothesis(subject, f"x has shape (..., {length})", f"shape {x.shape}")
    if x.size and not (x.min() >= 0 and x.max() < size):
        got = f"numbers from {x.min()} to {x.max()}"
        raise UnmetHypothesis(subject, f"x holds tokens 0, ..., {size - 1}", got)
    return x


def completions(subject: str, denoiser: Denoiser) -> States:
    r"""All :math:`V^L` sequences in lexicographic order, shape (V**L, L).

    Raises:
        UnmetHypothesis: There are more than a million.
    """
    length, size = denoiser.length, denoiser.vocabulary
    if size**length > _MOST_COMPLETIONS:
        got = f"V = {size}, L = {length}"
        raise UnmetHypothesis(
            subject, f"V**L <= {_MOST_COMPLETIONS}, so that all sequences can be listed", got
        )
    return np.stack(np.unravel_index(np.arange(size**length), (size,) * length), axis=-1).astype(np.int64)


def host(values: Array) -> NDArray[np.float64]:
    """The numbers without their gradient, as numpy has them."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def picked(xp: Namespace, log_p: Array, tokens: States) -> Array:
    """Elements of the last axis of ``log_p``, shape (..., V), at ``tokens``, which broadcast to shape (...)."""
    size = log_p.shape[-1]
    tokens = np.broadcast_to(tokens, tuple(log_p.shape[:-1]))
    flat = np.arange(tokens.size) * size + tokens.reshape(-1)
    return xp.reshape(taken(xp, log_p, flat), tokens.shape)


def taken(xp: Namespace, values: Array, flat: States) -> Array:
    """Elements of an array at flat positions, shape (N,)."""
    where = xp.asarray(flat, device=array_api_compat.device(values))
    return xp.take(xp.reshape(values, (-1,)), where, axis=0)


def log_sum_exp(xp: Namespace, values: Array, axis: int = -1) -> Array:
    """The logarithm of a sum, -inf where every term is 0, with a gradient of 0 there."""
    top = still(xp.max(values, axis=axis, keepdims=True))
    top = xp.where(top > -xp.inf, top, xp.zeros_like(top))
    total = xp.sum(xp.exp(values - top), axis=axis)
    some = total > 0.0
    logarithm = xp.log(xp.where(some, total, xp.ones_like(total))) + xp.squeeze(top, axis=axis)
    return xp.where(some, logarithm, xp.full_like(total, -xp.inf))
