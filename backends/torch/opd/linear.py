"""Divergences and log-probabilities over a vocabulary from hidden states, in the memory of one chunk of logits.

How the chunks go forward and backward is in :mod:`.chunks`.
"""

from __future__ import annotations

from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.divergences import FDivergence

from .boundary import require_finite, require_mask, require_temperature, require_vocabulary
from .chunks import ChunkedDivergence, ChunkedLogProbs, named

__all__ = ["linear_divergence", "linear_log_probs", "linear_opd_loss"]

# Elements of one chunk of logits: 2^24 float32 are 64 MiB, for the student and for the teacher.
CHUNK_ELEMENTS = 1 << 24


def linear_opd_loss(
    hidden: Tensor,  # (..., H) student states before the head, with gradient
    weight: Tensor,  # (V, H) student head, with gradient
    teacher_hidden: Tensor,  # (..., H')
    teacher_weight: Tensor,  # (V, H')
    mask: Tensor,  # (...)
    *,
    divergence: str | FDivergence = "reverse_kl",
    temperature: float = 1.0,
    num_items_in_batch: Tensor | int | None = None,
    bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    chunk_elements: int = CHUNK_ELEMENTS,
    compile: bool = False,
) -> Tensor:
    r"""Mean divergence per token over the whole vocabulary, without the logits.

    Arguments:
        hidden: Last hidden states of the student, shape (..., H).
        weight: Weight of the student's head, shape (V, H).
        teacher_hidden: Last hidden states of the teacher, shape (..., H').
        teacher_weight: Weight of the teacher's head, shape (V, H').
        mask: 1 at tokens that count, shape (...).
        divergence: A name of :func:`driftproof.theory.divergences.names`, or a divergence.
        temperature: Softmax temperature of both, > 0.
        num_items_in_batch: Tokens of the global batch; None averages over this batch.
        bias, teacher_bias: Biases of the heads, shape (V,).
        chunk_elements: Logits that may be held at once.
        compile: Fuse what is elementwise with ``torch.compile``: slow once, then several times faster.

    Returns:
        Scalar loss; its gradient reaches ``hidden``, ``weight`` and ``bias``.

    Raises:
        UnmetHypothesis: The vocabularies differ, shapes do not match, temperature <= 0, the mask has other values
            than 0 and 1, or the divergence is infinite.

    Claims: OPD-BIAS-1

    Example:
        >>> import torch
        >>> state, head = torch.zeros(2, 3, requires_grad=True), torch.zeros(5, 3)
        >>> float(linear_opd_loss(state, head, state.detach(), head, torch.ones(2)).detach())
        0.0
    """
    count = mask.count_nonzero().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    total, _ = linear_divergence(
        hidden,
        weight,
        teacher_hidden,
        teacher_weight,
        mask,
        divergence=divergence,
        temperature=temperature,
        bias=bias,
        teacher_bias=teacher_bias,
        chunk_elements=chunk_elements,
        compile=compile,
        entropy=False,
    )
    return total / count


def linear_divergence(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    mask: Tensor,
    *,
    divergence: str | FDivergence = "reverse_kl",
    temperature: float = 1.0,
    bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    chunk_elements: int = CHUNK_ELEMENTS,
    compile: bool = False,
    entropy: bool = True,
) -> tuple[Tensor, Tensor]:
    r"""Sums over all tokens: the divergence, with its gradient, and the entropy of the student.

    .. math:: \sum_n D_f(q_n \| p_n), \qquad -\sum_n \sum_a p_n(a) \log p_n(a)

    Sums can be added over micro-batches and processes; the mean of means cannot.  Arguments, and what is raised,
    are those of :func:`linear_opd_loss`; without ``entropy`` the second is 0.

    Example:
        >>> import torch
        >>> state, head = torch.zeros(2, 3), torch.zeros(4, 3)
        >>> [round(float(x), 6) for x in linear_divergence(state, head, state, head, torch.ones(2))]
        [0.0, 2.772589]
    """
    f, subject = named(divergence) if isinstance(divergence, str) else divergence, "linear_opd_loss"
    require_vocabulary(subject, weight.shape[0], teacher_weight.shape[0])
    require_temperature(subject, temperature)
    if hidden.shape[:-1] != mask.shape or teacher_hidden.shape[:-1] != mask.shape:
        got = f"shapes {tuple(hidden.shape)}, {tuple(teacher_hidden.shape)}, {tuple(mask.shape)}"
        raise UnmetHypothesis(subject, "one hidden state of each model for each element of mask", got)
    keep = require_mask(subject, mask, mask.shape).reshape(-1)
    states = hidden.reshape(-1, hidden.shape[-1])[keep]
    teacher_states = teacher_hidden.reshape(-1, teacher_hidden.shape[-1])[keep].detach()
    total, spread = ChunkedDivergence.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
        states,
        weight,
        bias,
        teacher_states,
        teacher_weight.detach(),
        None if teacher_bias is None else teacher_bias.detach(),
        f,
        temperature,
        max(1, chunk_elements // weight.shape[0]),
        compile,
        entropy,
    )
    require_finite(subject, total.detach())
    return total, spread


def linear_log_probs(
    hidden: Tensor,  # (..., H) with gradient
    weight: Tensor,  # (V, H) with gradient
    tokens: Tensor,  # (...) integer
    *,
    temperature: float = 1.0,
    bias: Tensor | None = None,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> Tensor:
    r"""Log-probabilities of given tokens from hidden states, without the logits.

    .. math:: \log p(y) = \frac{h \cdot W_y}{\tau} - \log \sum_a e^{h \cdot W_a / \tau}

    The backward pass recomputes each chunk of logits: its gradient needs the weights of the tokens.

    Arguments:
        hidden: Last hidden states, shape (..., H).
        weight: Weight of the head, shape (V, H).
        tokens: Token ids, shape (...).
        temperature: Softmax temperature, > 0.
        bias: Bias of the head, shape (V,).
        chunk_elements: Logits that may be held at once.

    Returns:
        Float32 (or float64) tensor of the shape of ``tokens``.

    Raises:
        UnmetHypothesis: Shapes do not match, or temperature <= 0.

    Example:
        >>> import torch
        >>> state, head = torch.zeros(2, 3), torch.zeros(4, 3)
        >>> bool(torch.allclose(linear_log_probs(state, head, torch.tensor([0, 3])), -torch.tensor(4.0).log()))
        True
    """
    require_temperature("linear_log_probs", temperature)
    if hidden.shape[:-1] != tokens.shape:
        got = f"shapes {tuple(hidden.shape)} and {tuple(tokens.shape)}"
        raise UnmetHypothesis("linear_log_probs", "one hidden state for each token", got)
    flat: Tensor = ChunkedLogProbs.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        bias,
        tokens.reshape(-1),
        temperature,
        max(1, chunk_elements // weight.shape[0]),
    )
    return flat.reshape(tokens.shape)
