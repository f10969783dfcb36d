"""The arithmetic inside of a loss: the same operations in double precision, and what they draw.

Below autograd, where every operation of torch passes, low precision is replaced by double: casts, factories,
parameters and buffers.  So a loss that computes in bfloat16 runs beside itself, and the difference is its own
rounding.  Operations that draw are counted, and answered from a generator of the audit's; where one takes none,
that of the process is put back within the operation.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

__all__ = ["Seen", "beside", "coarsest"]

# Relative spacing, coarsest first.
_LOW = ("float8_e5m2", "float8_e4m3fn", "bfloat16", "float16", "float32")
_DRAWING = threading.Lock()


@final
@dataclass
class Seen:
    """The operations that a loss ran: precisions below double, and operations that drew."""

    dtypes: set[str] = field(default_factory=set)
    draws: list[str] = field(default_factory=list)

    @property
    def coarsest(self) -> str:
        """The lowest precision that took part.

        Example:
            >>> Seen({"float32", "bfloat16"}).coarsest, Seen().coarsest
            ('bfloat16', 'float64')
        """
        return next((name for name in _LOW if name in self.dtypes), "float64")


def coarsest(seen: Iterable[Seen]) -> str:
    """The lowest precision of several runs."""
    return Seen({each.coarsest for each in seen}).coarsest


@contextmanager
def beside(double: bool, seed: int = 0) -> Iterator[Seen]:
    """Watch the operations of torch in this thread; in double precision where asked for.

    Arguments:
        double: Replace lower precision by double, in operands, casts, factories and results.
        seed: The seed of the generator that answers draws.

    Example:
        >>> import torch
        >>> x = torch.tensor(1.0, dtype=torch.float64) / 3.0
        >>> with beside(double=True) as seen:
        ...     bool(x.bfloat16().float() == x), sorted(seen.dtypes)
        (True, ['bfloat16', 'float32'])
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map_only

    low = {getattr(torch, name) for name in _LOW}
    own = torch.Generator().manual_seed(seed)
    seen = Seen()

    def noted(dtype: Any) -> Any:
        seen.dtypes.add(str(dtype).removeprefix("torch."))
        return torch.float64 if double else dtype

    def raised(x: Any) -> Any:
        if x.dtype not in low:
            return x
        noted(x.dtype)
        return torch.ops.aten._to_copy.default(x, dtype=torch.float64) if double else x

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in torch
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if kwargs.get("dtype") in low:
                kwargs["dtype"] = noted(kwargs["dtype"])
            if not func._schema.is_mutable:  # what is written into keeps its own precision
                args, kwargs = tree_map_only(torch.Tensor, raised, (args, kwargs))
                args = tuple(
                    noted(each) if isinstance(each, torch.dtype) and each in low else each for each in args
                )
            if torch.Tag.nondeterministic_seeded in func.tags and _draws(func, args, kwargs):
                seen.draws.append(func._schema.name.removeprefix("aten::"))
                out = _drawn(func, args, kwargs, own)
            else:
                out = func(*args, **kwargs)
            if func._schema.is_mutable:
                return out
            return tree_map_only(torch.Tensor, raised, out)

    with Watch():  # type: ignore[no-untyped-call]
        yield seen


def _draws(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Dropout outside of training is marked as drawing, and does not."""
    if func._schema.name == "aten::native_dropout":
        return bool(args[2] if len(args) > 2 else kwargs.get("train", True))
    return True


def _drawn(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], own: Any) -> Any:
    """The operation, answered from ``own``; where it takes no generator, that of the process is put back."""
    import torch

    if any(argument.name == "generator" for argument in func._schema.arguments):
        return func(*args, **(kwargs | {"generator": own}))
    packet = func.overloadpacket
    if "generator" in packet.overloads():
        return packet.generator(*args, **kwargs, generator=own)
    with _DRAWING:
        before = torch.get_rng_state()
        torch.set_rng_state(own.get_state())
        try:
            return func(*args, **kwargs)
        finally:
            own.set_state(torch.get_rng_state())
            torch.set_rng_state(before)
