r"""Divergences over a vocabulary from hidden states, in the memory of one chunk.

The logits :math:`h W^\top` of all tokens are never held: tokens go through in chunks, and the gradient of
each chunk takes the place of its logits, a few rows at a time so that what is elementwise stays in cache,

.. math:: \frac{\partial L}{\partial z_a} = -p_a\,\big(A_c(u_a) - E_p A_c\big), \qquad
    \partial_h = \partial_z W, \quad \partial_W = \partial_z^\top h

with the closed form that :func:`driftproof.theory.opd.logit_gradient` states and the claims verify.  The
forward pass makes the gradient, the backward pass scales it: three products with W for the student instead
of the four of a checkpointed loop, and one for the teacher.  Logarithms of softmax are taken in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import array_api_compat.torch as xp
import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.divergences import FDivergence, get
from driftproof.theory.opd import divergence as exact_divergence
from driftproof.theory.opd import logit_gradient

__all__ = ["linear_log_probs", "linear_opd_loss"]

_Kernel: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]

# Elements of one chunk of logits: 2^24 float32 are 64 MiB, for the student and for the teacher.
CHUNK_ELEMENTS = 1 << 24
# Elements that the elementwise kernels see at once: a dozen temporaries of these are in cache on a processor;
# elsewhere they only have to be small beside the chunk.
_BLOCK_ELEMENTS = {"cpu": 1 << 17}
_BLOCK_ELEMENTS_ELSEWHERE = 1 << 22
# Rows of the head whose gradient is rounded to the precision of the model at once.
_SLICE = 1 << 15


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
        UnmetHypothesis: The vocabularies differ, shapes do not match, or temperature <= 0.

    Claims: OPD-BIAS-1

    Example:
        >>> state, head = torch.zeros(2, 3, requires_grad=True), torch.zeros(5, 3)
        >>> float(linear_opd_loss(state, head, state.detach(), head, torch.ones(2)).detach())
        0.0
    """
    f = _named(divergence) if isinstance(divergence, str) else divergence
    if weight.shape[0] != teacher_weight.shape[0]:
        got = f"{weight.shape[0]} and {teacher_weight.shape[0]} tokens"
        raise UnmetHypothesis("linear_opd_loss", "student and teacher share a vocabulary", got)
    if not temperature > 0:
        raise UnmetHypothesis("linear_opd_loss", "temperature > 0", f"temperature = {temperature!r}")
    if hidden.shape[:-1] != mask.shape or teacher_hidden.shape[:-1] != mask.shape:
        got = f"shapes {tuple(hidden.shape)}, {tuple(teacher_hidden.shape)}, {tuple(mask.shape)}"
        raise UnmetHypothesis(
            "linear_opd_loss", "one hidden state of each model for each element of mask", got
        )
    keep = mask.reshape(-1) > 0
    count = keep.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    states = hidden.reshape(-1, hidden.shape[-1])[keep]
    teacher_states = teacher_hidden.reshape(-1, teacher_hidden.shape[-1])[keep].detach()
    total: Tensor = _ChunkedDivergence.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
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
    )
    return total / count


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

    Example:
        >>> state, head = torch.zeros(2, 3), torch.zeros(4, 3)
        >>> bool(torch.allclose(linear_log_probs(state, head, torch.tensor([0, 3])), -torch.tensor(4.0).log()))
        True
    """
    if hidden.shape[:-1] != tokens.shape:
        got = f"shapes {tuple(hidden.shape)} and {tuple(tokens.shape)}"
        raise UnmetHypothesis("linear_log_probs", "one hidden state for each token", got)
    flat: Tensor = _ChunkedLogProbs.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        bias,
        tokens.reshape(-1),
        temperature,
        max(1, chunk_elements // weight.shape[0]),
    )
    return flat.reshape(tokens.shape)


class _ChunkedDivergence(torch.autograd.Function):
    """Sum of the divergences of all tokens; the gradient is made in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        teacher_states: Tensor,
        teacher_weight: Tensor,
        teacher_bias: Tensor | None,
        f: FDivergence,
        temperature: float,
        chunk: int,
        compiled: bool,
    ) -> Tensor:
        wanted = tuple(ctx.needs_input_grad[:3])
        tensors = (states, weight, bias, teacher_states, teacher_weight, teacher_bias)
        ctx.save_for_backward(*tensors)
        ctx.settings = (f, temperature, chunk, compiled, wanted)
        total, ctx.made = _divergence_and_gradients(*tensors, *ctx.settings)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        saved = ctx.saved_tensors
        # Scaled in place and handed over, so that a gradient as large as the head exists once.  Whoever
        # keeps the graph for another backward pass pays for it then.
        made = ctx.made or _divergence_and_gradients(*saved, *ctx.settings)[1]
        ctx.made = None
        scaled = [
            None if x is None else x.mul_(grad).to(like.dtype) for x, like in zip(made, saved, strict=False)
        ]
        return (*scaled, *(None,) * 7)


class _ChunkedLogProbs(torch.autograd.Function):
    """Log-probabilities of tokens; the backward pass recomputes the logits of each chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        temperature: float,
        chunk: int,
    ) -> Tensor:
        logp = torch.empty(tokens.shape, dtype=_accumulator(states), device=states.device)
        for start in range(0, states.shape[0], chunk):
            rows = slice(start, start + chunk)
            logits = _logits(states[rows], weight, bias, temperature)
            logp[rows] = logits.gather(1, tokens[rows, None])[:, 0]
            logp[rows] -= torch.cat([block.logsumexp(1) for block in _blocks(logits)])
        ctx.save_for_backward(states, weight, bias, tokens)
        ctx.temperature, ctx.chunk = temperature, chunk
        return logp

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        states, weight, bias, tokens = ctx.saved_tensors
        precise = _accumulator(states)
        d_states = torch.empty_like(states)
        # A frozen head, under LoRA for instance, needs no gradient of its own size.
        d_weight = torch.zeros_like(weight, dtype=precise) if ctx.needs_input_grad[1] else None
        d_bias = (
            torch.zeros_like(bias, dtype=precise) if bias is not None and ctx.needs_input_grad[2] else None
        )
        for start in range(0, states.shape[0], ctx.chunk):
            rows = slice(start, start + ctx.chunk)
            logits = _logits(states[rows], weight, bias, ctx.temperature)
            for block in _blocks(logits):
                block.copy_(torch.softmax(block, 1))
            logits.mul_(-grad[rows, None]).scatter_add_(1, tokens[rows, None], grad[rows, None])
            _backpropagate(logits, states[rows], weight, ctx.temperature, d_states[rows], d_weight, d_bias)
        return (
            d_states,
            None if d_weight is None else d_weight.to(weight.dtype),
            None if d_bias is None or bias is None else d_bias.to(bias.dtype),
            None,
            None,
            None,
        )


def _divergence_and_gradients(
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    teacher_states: Tensor,
    teacher_weight: Tensor,
    teacher_bias: Tensor | None,
    f: FDivergence,
    temperature: float,
    chunk: int,
    compiled: bool,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None, Tensor | None]]:
    """The sum over all tokens, and its gradients in states, weight and bias where they are wanted."""
    precise = _accumulator(states)
    total = torch.zeros((), dtype=precise, device=states.device)
    d_states = torch.empty_like(states) if wanted[0] else None
    d_weight = torch.zeros_like(weight, dtype=precise) if wanted[1] else None
    d_bias = torch.zeros_like(bias, dtype=precise) if bias is not None and wanted[2] else None
    kernel = (_fused if compiled else _eager)(f, any(wanted))
    for start in range(0, states.shape[0], chunk):
        rows = slice(start, start + chunk)
        logits = _logits(states[rows], weight, bias, temperature)
        teacher = _logits(teacher_states[rows], teacher_weight, teacher_bias, temperature)
        for student_block, teacher_block in zip(_blocks(logits), _blocks(teacher), strict=True):
            value, d_logits = kernel(student_block, teacher_block)
            total += value
            if d_logits is not None:
                student_block.copy_(d_logits)
        del teacher
        if any(wanted):
            into = None if d_states is None else d_states[rows]
            _backpropagate(logits, states[rows], weight, temperature, into, d_weight, d_bias)
    return total, (d_states, d_weight, d_bias)


def _eager(f: FDivergence, wanted: bool) -> _Kernel:
    """Summed divergence and, where it is wanted, its gradient in the logits."""

    def kernel(logits: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor | None]:
        logp, logq = torch.log_softmax(logits, dim=-1), torch.log_softmax(teacher, dim=-1)
        value = exact_divergence.kernel(xp, logp, logq, f).sum()
        return value, logit_gradient.kernel(xp, logp, logq, f) if wanted else None

    return kernel


@cache
def _fused(f: FDivergence, wanted: bool) -> _Kernel:
    return torch.compile(_eager(f, wanted), fullgraph=True)


@cache
def _named(name: str) -> FDivergence:
    """One object for each name, so that it is compiled once."""
    return get(name)


def _blocks(logits: Tensor) -> tuple[Tensor, ...]:
    elements = _BLOCK_ELEMENTS.get(logits.device.type, _BLOCK_ELEMENTS_ELSEWHERE)
    return torch.split(logits, max(1, elements // logits.shape[1]))


def _backpropagate(
    d_logits: Tensor,
    states: Tensor,
    weight: Tensor,
    temperature: float,
    d_states: Tensor | None,
    d_weight: Tensor | None,
    d_bias: Tensor | None,
) -> None:
    """Write the gradient in the states of a chunk, and add to those in the head."""
    d_logits.div_(temperature)
    low = d_logits.to(states.dtype)
    if d_states is not None:
        d_states.copy_(low @ weight.to(states.dtype))
    if d_bias is not None:
        d_bias += d_logits.sum(0)
    if d_weight is None:
        return
    if low.is_cuda and low.dtype != d_weight.dtype:
        # On the tensor cores; products of a slice are rounded as the model rounds, and added precisely.
        for start in range(0, d_weight.shape[0], _SLICE):
            d_weight[start : start + _SLICE] += low[:, start : start + _SLICE].T @ states
    else:
        d_weight.addmm_(d_logits.T, states.to(d_weight.dtype))  # no second array of the size of the head


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    logits = (states @ weight.to(states.dtype).T).to(_accumulator(states))
    if bias is not None:
        logits += bias
    return logits if temperature == 1.0 else logits.div_(temperature)


def _accumulator(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
