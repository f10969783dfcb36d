r"""What a computation holds and does: bytes of live storages, and operations, phase by phase.

A storage counts from the operation that makes it until the last tensor that views it is gone, so that what autograd keeps
counts as long as the graph does.  Tensors may be real or without values (:mod:`.imagined`): the count is the same one.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

__all__ = ["Ledger", "Spent"]

aten = torch.ops.aten
HALF = 2  # bytes of a number of half precision

# The kernels of the CPU have no formula of their own.
FORMULAS: dict[Any, Any] = {
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
    aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        aten._scaled_dot_product_flash_attention_backward
    ],
}


@final
@dataclass(slots=True)
class Spent:
    """What a phase held and did.

    Arguments:
        peak: Bytes at its high-water mark, all that was live before it included.
        half, single: Floating-point operations of matrix products and convolutions, of numbers of 2 bytes and of more.
        moved: Bytes that operations read and wrote, each by itself.
    """

    peak: int = 0
    half: float = 0.0
    single: float = 0.0
    moved: float = 0.0

    def add(self, other: Self, times: float = 1.0) -> None:
        """Take in what was done, so many times; the peak is that of one time."""
        self.half += times * other.half
        self.single += times * other.single
        self.moved += times * other.moved


@final
@dataclass
class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch
    """Counts inside of a ``with``; operations of other threads are not seen.

    Example:
        >>> with Ledger() as ledger, ledger.phase("here"):
        ...     x = torch.zeros(1000)
        ...     y = (x + 1.0)[:10]
        >>> ledger.live, ledger.phases["here"].peak
        (8000, 8000)
        >>> del y
        >>> ledger.live
        4000
    """

    live: int = 0
    phases: dict[str, Spent] = field(default_factory=dict)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and the guard against it costs as much as the count

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self._known: set[int] = set()
        self._names = ["else"]
        self._marks: list[int] = []

    __hash__ = object.__hash__

    @property
    def spent(self) -> Spent:
        """That of the phase that runs."""
        return self.phases.setdefault(self._names[-1], Spent())

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[Spent]:
        """What runs inside belongs to this phase."""
        self._names.append(name)
        try:
            self._mark()
            yield self.spent
        finally:
            self._names.pop()

    @contextlib.contextmanager
    def watch(self) -> Iterator[Spent]:
        """What runs inside, in whatever phase; its peak is that above what was live before it."""
        found, before = Spent(), self.live
        for spent in self.phases.values():
            found.add(spent, -1.0)
        self._marks.append(before)
        yield found
        for spent in self.phases.values():
            found.add(spent)
        found.peak = self._marks.pop() - before
        if self._marks:
            self._marks[-1] = max(self._marks[-1], before + found.peak)

    def repeat(self, found: Spent, times: float = 1.0) -> None:
        """What was watched once happens again, one after the other."""
        self.spent.add(found, times)
        self._mark(found.peak)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        made = list(_tensors(out))
        for tensor in made:
            self._take_in(tensor)
        if not func.is_view:
            given = [*_tensors(args), *_tensors(list(kwargs.values()))]
            spent = self.spent
            spent.moved += sum(t.numel() * t.element_size() for t in (*given, *made))
            formula = FORMULAS.get(func._overloadpacket)
            if formula is not None:
                count = float(formula(*args, **kwargs, out_val=out))
                if given[0].element_size() <= HALF:
                    spent.half += count
                else:
                    spent.single += count
        return out

    def _take_in(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            size = storage.nbytes()
            self._known.add(key)
            self.live += size
            weakref.finalize(storage, self._drop, key, size).atexit = False
            self._mark()

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size

    def _mark(self, more: int = 0) -> None:
        now, spent = self.live + more, self.spent
        spent.peak = max(spent.peak, now)
        if self._marks:
            self._marks[-1] = max(self._marks[-1], now)


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
