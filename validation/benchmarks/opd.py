"""Distillation losses beside TRL's and the naive form: time and peak memory of forward and backward.

On a GPU the size is that of training (2048 tokens, hidden size 1024, a vocabulary of 151936, bfloat16); on a
processor the hidden size stays and the rest is scaled down, as the notes of the rows say.  Peak memory
is what the allocator of torch held at most above what was there before the call, gradients included: the
counter of CUDA, or the allocations and releases that torch's profiler records.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, final

from . import Row

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
        import torch

        tokens, width = self.hidden.shape[1:]
        device = "cuda" if self.hidden.is_cuda else f"CPU, {torch.get_num_threads()} threads"
        dtype = str(self.hidden.dtype).removeprefix("torch.")
        return f"{tokens} tokens, hidden {width}, vocabulary {self.weight.shape[0]}, {dtype}, {device}"


def run() -> list[Row]:
    """The whole vocabulary for two divergences, then sampled tokens."""
    batch = _batch()
    return [row for made in (_whole(batch), _sampled(batch)) for row in made]


def _batch() -> _Batch:
    import torch

    cuda = torch.cuda.is_available()
    tokens, width, vocabulary = (2048, 1024, 151_936) if cuda else (48, 1024, 32_768)
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
    from ...backends.torch.opd import full_vocabulary_loss, linear_opd_loss

    b = batch
    heads = (b.hidden, b.weight, b.teacher_hidden, b.teacher_weight, b.mask)
    peer = _trl("trl.trainer.distillation_trainer", "_chunked_divergence_loss")

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

    from ...backends.torch.opd import linear_log_probs, opd_loss

    b = batch
    with torch.no_grad():
        teacher = linear_log_probs(b.teacher_hidden, b.teacher_weight, b.tokens)

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


def _rows(
    name: str, calls: Mapping[str, Callable[[], Tensor]], batch: _Batch, repeats: int = 3
) -> Iterator[Row]:
    """One row for each peer; all are called in turn, so that a busy machine slows all."""
    peaks = {peer: _peak(call, batch) for peer, call in calls.items()}  # which warms up, too
    seconds: dict[str, list[float]] = {peer: [] for peer in calls}
    for _ in range(repeats):
        for peer, call in calls.items():
            _forget(batch)
            start = time.perf_counter()
            call().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            _wait(batch)
            seconds[peer].append(time.perf_counter() - start)
    _forget(batch)
    ours = statistics.median(seconds[""])
    for peer in [peer for peer in calls if peer]:
        theirs = statistics.median(seconds[peer])
        memory = f"peak {peaks[''] / _MIB:.0f} MiB beside {peaks[peer] / _MIB:.0f} MiB"
        yield Row(
            name=name,
            ours_seconds=ours,
            peer=peer,
            peer_seconds=theirs,
            ratio=theirs / ours,
            note=f"{memory}; {batch.text}",
            ours_bytes=peaks[""],
            peer_bytes=peaks[peer],
        )
    if len(calls) == 2:
        yield Row(
            name=name,
            ours_seconds=ours,
            peer="TRL",
            peer_seconds=None,
            ratio=None,
            note="TRL is not installed",
        )


def _peak(call: Callable[[], Tensor], batch: _Batch) -> int:
    """Bytes held at most during forward and backward, above what was there before."""
    import torch

    _forget(batch)
    if batch.hidden.is_cuda:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        call().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    held = most = 0
    events: Any = profiler.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    for _, change in changes:
        held += change
        most = max(most, held)
    return most


def _forget(batch: _Batch) -> None:
    batch.hidden.grad = batch.weight.grad = None


def _wait(batch: _Batch) -> None:
    import torch

    if batch.hidden.is_cuda:
        torch.cuda.synchronize()


def _trl(module: str, name: str) -> Any:
    """A function of the installed TRL; None where there is none of that name."""
    import importlib

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return None
