"""Distillation losses beside TRL's and the naive form: time and peak memory of forward and backward.

On a GPU the size is that of training (2048 tokens, hidden size 1024, a vocabulary of 151936, bfloat16); on a
processor the hidden size stays, the rest is scaled down and there is one thread, as the notes of the rows say.
Where ours is compiled, so is the naive form.  Peak memory is what the allocator of torch held at most above what was
there before the call, gradients included.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, final

from . import Row
from ._memory import peak_bytes
from ._timing import one_thread, row, seconds

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["run"]

_MIB = 2.0**20
# TRL's beta, and the divergence that it is; driftproof audit trl shows that they are one.
_DIVERGENCES = {"reverse_kl": 1.0, "jsd": 0.5}


@final
@dataclass(frozen=True)
class _Batch:
    """Hidden states and heads of a student and a teacher, and the tokens that were sampled."""

    hidden: Tensor
    weight: Tensor
    teacher_hidden: Tensor
    teacher_weight: Tensor
    mask: Tensor
    tokens: Tensor

    @property
    def text(self) -> str:
        """What was run."""
        tokens, width = self.hidden.shape[1:]
        device = "cuda" if self.hidden.is_cuda else "CPU, one thread"
        dtype = str(self.hidden.dtype).removeprefix("torch.")
        return f"{tokens} tokens, hidden {width}, vocabulary {self.weight.shape[0]}, {dtype}, {device}"


def run() -> list[Row]:
    """The whole vocabulary for two divergences, then sampled tokens; two numbers of tokens."""
    import torch

    with one_thread():
        batches = map(_batch, (512, 2048) if torch.cuda.is_available() else (16, 64))
        return [made for batch in batches for rows in (_whole(batch), _sampled(batch)) for made in rows]


def _batch(tokens: int) -> _Batch:
    import torch

    cuda = torch.cuda.is_available()
    width, vocabulary = (1024, 151_936) if cuda else (1024, 32_768)
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        x = torch.randn(*shape, generator=generator)
        return x.to("cuda", torch.bfloat16) if cuda else x

    return _Batch(
        hidden=normal(1, tokens, width).requires_grad_(),
        weight=(normal(vocabulary, width) * (3.0 / width**0.5)).requires_grad_(),
        teacher_hidden=normal(1, tokens, width),
        teacher_weight=normal(vocabulary, width) * (3.0 / width**0.5),
        mask=torch.ones(1, tokens, device="cuda" if cuda else "cpu"),
        tokens=torch.randint(vocabulary, (1, tokens), generator=generator).to("cuda" if cuda else "cpu"),
    )


def _whole(batch: _Batch) -> Iterator[Row]:
    from driftproof.backends.torch.opd import full_vocabulary_loss, linear_opd_loss

    b = batch
    heads = (b.hidden, b.weight, b.teacher_hidden, b.teacher_weight, b.mask)
    peer = _trl("trl.trainer.distillation_trainer", "_chunked_divergence_loss")

    @_compiled(b.hidden.is_cuda)
    def naive(name: str) -> Tensor:
        student, teacher = b.hidden @ b.weight.T, b.teacher_hidden @ b.teacher_weight.T
        return full_vocabulary_loss(student, teacher, b.mask, divergence=name)

    def theirs(beta: float) -> Tensor:
        loss: Tensor = peer(b.hidden, b.teacher_hidden, b.weight, b.teacher_weight, b.mask, beta)[0]
        return loss

    for name, beta in _DIVERGENCES.items():
        calls: dict[str, Callable[[], Tensor]] = {
            "": partial(linear_opd_loss, *heads, divergence=name, compile=b.hidden.is_cuda),
            "naive: all logits": partial(naive, name),
        }
        if peer:
            calls["TRL _chunked_divergence_loss"] = partial(theirs, beta)
        yield from _rows(f"linear_opd_loss, {name}", calls, batch)


def _sampled(batch: _Batch) -> Iterator[Row]:
    import torch

    from driftproof.backends.torch.opd import linear_log_probs, opd_loss

    b = batch
    with torch.no_grad():
        teacher = linear_log_probs(b.teacher_hidden, b.teacher_weight, b.tokens)

    @_compiled(b.hidden.is_cuda)
    def naive() -> Tensor:
        logp = torch.log_softmax((b.hidden @ b.weight.T).float(), -1).gather(-1, b.tokens[..., None])[..., 0]
        return opd_loss(logp, teacher, b.mask).loss

    calls = {
        "": lambda: opd_loss(linear_log_probs(b.hidden, b.weight, b.tokens), teacher, b.mask).loss,
        "naive: all logits": naive,
    }
    if peer := _trl("trl.kernels", "ChunkedLogProbFunction"):
        vocabulary = b.weight.shape[0]

        def theirs() -> Tensor:
            flat = b.hidden.reshape(-1, b.hidden.shape[-1])
            chunk = min(32_768, vocabulary)
            logp = peer.apply(flat, b.weight, None, b.tokens.reshape(-1), 1.0, chunk, None, 1.0, ())[0]
            return opd_loss(logp.reshape(b.tokens.shape), teacher, b.mask).loss

        calls["TRL ChunkedLogProbFunction"] = theirs
    yield from _rows("linear_log_probs + opd_loss", calls, batch)


def _rows(name: str, calls: Mapping[str, Callable[[], Tensor]], batch: _Batch) -> Iterator[Row]:
    """One row for each peer: forward and backward, from the hidden states to all gradients."""
    cuda = batch.hidden.is_cuda

    def whole(call: Callable[[], Tensor]) -> None:
        batch.hidden.grad = batch.weight.grad = None
        call().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    steps = {peer: partial(whole, call) for peer, call in calls.items()}
    spent = seconds(steps, cuda=cuda, repeats=3)
    peaks = {}
    for peer, step in steps.items():
        batch.hidden.grad = batch.weight.grad = None
        peaks[peer] = peak_bytes(step, cuda)
    for peer in [peer for peer in calls if peer]:
        memory = f"peak {peaks[''] / _MIB:.0f} MiB beside {peaks[peer] / _MIB:.0f} MiB"
        yield row(
            name,
            spent[""],
            peer,
            spent[peer],
            f"{memory}; {batch.text}",
            ours_bytes=peaks[""],
            peer_bytes=peaks[peer],
        )
    if len(calls) == 2:
        yield row(name, spent[""], "TRL", None, "TRL is not installed")


def _compiled(wanted: bool) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """A decorator: torch.compile, where ours is compiled too."""
    import torch

    return torch.compile if wanted else lambda function: function


def _trl(module: str, name: str) -> Any:
    """A function of the installed TRL; None where there is none of that name."""
    import importlib

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return None
