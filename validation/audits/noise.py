"""Torch's normal draws, answered by the probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..._namespace import UnmetHypothesis
from .affine import Draw

__all__ = ["intercepted"]

_NORMAL = (torch.randn, torch.randn_like)
_REFUSED: tuple[Callable[..., Any], ...] = (
    torch.normal,
    torch.rand,
    torch.rand_like,
    torch.bernoulli,
    torch.multinomial,
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
    torch.Tensor.bernoulli_,
    torch.Tensor.exponential_,
)


class intercepted(TorchFunctionMode):  # a context manager, read as a word
    """While this is open, ``torch.randn`` and ``torch.randn_like`` return what ``draw`` says.

    Arguments:
        draw: From a key to a standard normal; the key is the state of the generator, None for torch's own.
        size: The number of coordinates; noise of another size is refused.

    Raises:
        UnmetHypothesis: Draws that are not standard normal, or not one for each coordinate.
    """

    def __init__(self, draw: Draw, size: int) -> None:
        super().__init__()
        self._draw, self._size = draw, size

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in _NORMAL:
            generator = options.get("generator")
            # Read before torch draws: the same state gives the same noise, as in a Brownian tree.
            key = None if generator is None else generator.get_state().numpy().tobytes()
            drawn = func(*args, **options)
            if drawn.numel() != self._size:
                got = f"noise of shape {tuple(drawn.shape)} for {self._size} coordinates"
                raise UnmetHypothesis("audit", "one draw for each coordinate of the state", got)
            return torch.from_numpy(self._draw(key)).reshape(drawn.shape).to(drawn.dtype)
        if func in _REFUSED:
            raise UnmetHypothesis("audit", "every draw is standard normal", f"a draw by {func.__name__}")
        return func(*args, **options)
