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

from driftproof.theory.divergences import FDivergence, get
from driftproof.theory.opd import divergence as exact_divergence
from driftproof.theory.opd import logit_gradient

__all__ = ["ChunkedDivergence", "ChunkedLogProbs", "named"]

_Kernel: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None, Tensor | None]]

# Elements that the elementwise kernels see at once: a dozen temporaries of these are in cache on a processor;
# elsewhere they only have to be small beside the chunk.
_BLOCK_ELEMENTS = {"cpu": 1 << 17}
_BLOCK_ELEMENTS_ELSEWHERE = 1 << 22
# Rows of the head whose gradient is rounded to the precision of the model at once.
_SLICE = 1 << 15


class ChunkedDivergence(torch.autograd.Function):
    """Sums of the divergences and of the entropies of all tokens; the gradient is made in the forward pass."""

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
        entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        wanted = tuple(ctx.needs_input_grad[:3])
        tensors = (states, weight, bias, teacher_states, teacher_weight, teacher_bias)
        ctx.save_for_backward(*tensors)
        ctx.settings = (f, temperature, chunk, compiled, wanted)
        total, spread, ctx.made = _divergence_and_gradients(tensors, ctx.settings, entropy)
        ctx.mark_non_differentiable(spread)
        return total, spread

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        grad, _ = grads
        saved = ctx.saved_tensors
        # Scaled in place and handed over, so that a gradient as large as the head exists once.  Whoever
        # keeps the graph for another backward pass pays for it then.
        made = ctx.made or _divergence_and_gradients(saved, ctx.settings, False)[2]
        ctx.made = None
        scaled = [
            None if x is None else x.mul_(grad).to(like.dtype) for x, like in zip(made, saved, strict=False)
        ]
        return (*scaled, *(None,) * 8)


class ChunkedLogProbs(torch.autograd.Function):
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
    tensors: tuple[Any, ...],
    settings: tuple[FDivergence, float, int, bool, tuple[bool, bool, bool]],
    entropy: bool,
) -> tuple[Tensor, Tensor, tuple[Tensor | None, Tensor | None, Tensor | None]]:
    """Both sums over all tokens, and the gradients of the first in states, weight and bias where they are wanted.

    Arguments:
        tensors: States, weight and bias of the student, then of the teacher.
        settings: Divergence, temperature, tokens of a chunk, whether to compile, and which gradients are wanted.
        entropy: Whether the second sum is wanted.
    """
    states, weight, bias, teacher_states, teacher_weight, teacher_bias = tensors
    f, temperature, chunk, compiled, wanted = settings
    precise = _accumulator(states)
    total, spread = torch.zeros((2,), dtype=precise, device=states.device)
    d_states = torch.empty_like(states) if wanted[0] else None
    d_weight = torch.zeros_like(weight, dtype=precise) if wanted[1] else None
    d_bias = torch.zeros_like(bias, dtype=precise) if bias is not None and wanted[2] else None
    kernel = (_fused if compiled else _eager)(f, any(wanted), entropy)
    for start in range(0, states.shape[0], chunk):
        rows = slice(start, start + chunk)
        logits = _logits(states[rows], weight, bias, temperature)
        teacher = _logits(teacher_states[rows], teacher_weight, teacher_bias, temperature)
        for student_block, teacher_block in zip(_blocks(logits), _blocks(teacher), strict=True):
            value, d_logits, entropies = kernel(student_block, teacher_block)
            total = total + value
            if entropies is not None:
                spread = spread + entropies
            if d_logits is not None:
                student_block.copy_(d_logits)
        del teacher
        if any(wanted):
            into = None if d_states is None else d_states[rows]
            _backpropagate(logits, states[rows], weight, temperature, into, d_weight, d_bias)
    return total, spread, (d_states, d_weight, d_bias)


def _eager(f: FDivergence, wanted: bool, entropy: bool) -> _Kernel:
    """Summed divergence and, where they are wanted, its gradient in the logits and the summed entropy."""

    def kernel(logits: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        logp, logq = torch.log_softmax(logits, dim=-1), torch.log_softmax(teacher, dim=-1)
        value = exact_divergence.kernel(xp, logp, logq, f).sum()
        gradient = logit_gradient.kernel(xp, logp, logq, f) if wanted else None
        return value, gradient, torch.special.entr(logp.exp()).sum() if entropy else None

    return kernel


@cache
def _fused(f: FDivergence, wanted: bool, entropy: bool) -> _Kernel:
    return torch.compile(_eager(f, wanted, entropy), fullgraph=True)


@cache
def named(name: str) -> FDivergence:
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
