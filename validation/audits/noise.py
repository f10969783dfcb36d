"""Torch's normal draws, answered by the probe.

While a step runs, the standard normals that it draws in its own thread are the probe's; other draws are
refused.  Nothing of torch is replaced, and torch's own generator is neither read nor moved: other threads draw
as ever, and audits in several threads do not see each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from driftproof._namespace import UnmetHypothesis

from .affine import Draw

__all__ = ["intercepted"]

_STANDARD: Final = "every draw is standard normal, by torch.randn, torch.randn_like or normal_()"
# Draws of a seed, and the overload of each that takes a generator.
_SEEDS: Final = {"default": "generator", "low": "low_generator"}


@contextmanager
def intercepted(draw: Draw, size: int, seeds: torch.Generator) -> Iterator[None]:
    """While this is open, standard normals that this thread draws are what ``draw`` says.

    Arguments:
        draw: From a key to a standard normal; the key is the state of the generator, None for torch's own.
        size: The number of coordinates; noise of another size is refused.
        seeds: In place of torch's own generator where an integer is drawn, which is the seed of another one.

    Raises:
        UnmetHypothesis: Draws that are not standard normal, or not one for each coordinate.
    """
    with _Answers(draw, size, seeds):
        yield


@final
class _Answers(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Sees every operation of its thread; torch itself marks those that draw."""

    def __init__(self, draw: Draw, size: int, seeds: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._draw, self._size, self._seeds = draw, size, seeds

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled while this is open, and keeping it from being costs more than most operations."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if not _draws(func):
            return func(*args, **options)
        name, own = func.overloadpacket.__name__, options.get("generator")
        if name == "randint":
            if own is None:
                func = getattr(func.overloadpacket, _SEEDS[func._overloadname])
            return func(*args, **{**options, "generator": own or self._seeds})
        standard = name in ("randn", "randn_like") or (name == "normal_" and args[1:] in ((), (0.0, 1.0)))
        if not standard:
            raise UnmetHypothesis("audit", _STANDARD, f"a draw by torch.{name}")
        # Read before torch draws: the same state gives the same noise, as in a Brownian tree.
        key = None if own is None else own.get_state().numpy().tobytes()
        drawn = func(*args, **options) if own is not None else _place(name, *args, **options)
        if drawn.numel() != self._size or not drawn.is_floating_point():
            got = f"noise of shape {tuple(drawn.shape)} and type {drawn.dtype} for {self._size} coordinates"
            raise UnmetHypothesis("audit", "one real draw for each coordinate of the state", got)
        return drawn.copy_(torch.from_numpy(self._draw(key)).reshape(drawn.shape))


@cache
def _draws(func: Any) -> bool:
    """Whether torch says of an operation that it draws."""
    return torch.Tag.nondeterministic_seeded in func.tags


def _place(name: str, first: Any, *rest: Any, generator: None = None, **options: Any) -> Any:
    """Where torch would write its draws, without drawing them."""
    if name == "normal_":
        return first
    return torch.empty(first, **options) if name == "randn" else torch.empty_like(first, **options)
