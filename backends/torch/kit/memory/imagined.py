r"""Tensors without values: a training runs on their shapes, as it would on numbers, and nothing is computed or loaded.

.. code-block:: python

    with imagined() as ledger:
        network = SomeNetwork(...)          # no memory
        network(torch.zeros(8, 4, 64, 64))  # no work; the ledger counts both

Where code asks for a value, it is told that nothing is out of the ordinary: ``all`` holds, ``any`` does not, an index is 0
and another number a half.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, final
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from .casts import cuda_casts
from .ledger import Ledger

__all__ = ["Scene", "imagined", "real", "scene"]

aten = torch.ops.aten

# What fills a new layer with numbers, which nobody reads.
FILLS = (aten.uniform_.default, aten.normal_.default)


@final
class Scene:
    """What is imagined, and what was assumed about what only the files themselves would tell.

    Arguments:
        prompts: How many there are where their file is missing.
    """

    def __init__(self, prompts: int) -> None:
        self.prompts = prompts
        self.assumed: dict[str, None] = {}
        self.held: list[tuple[str, nn.Module, str]] = []

    def assume(self, sentence: str) -> None:
        """Say it once."""
        self.assumed[sentence] = None

    def hold(self, name: str, module: nn.Module, method: str) -> None:
        """A model that stays on the device, and the method by which it is asked."""
        self.held.append((name, module, method))


_SCENE: ContextVar[Scene | None] = ContextVar("scene", default=None)


def scene() -> Scene | None:
    """That of now; None where tensors are real."""
    return _SCENE.get()


@contextlib.contextmanager
def imagined(prompts: int = 1, cuda: bool = False) -> Iterator[Ledger]:
    """Inside, new tensors have no values, and modules hold such tensors; what they would hold is counted.

    Arguments:
        prompts: How many there are where a recipe names a file that is not there.
        cuda: Whether autocast casts as it does on CUDA.
    """
    token = _SCENE.set(Scene(prompts))
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(nn.Module, "_apply", _apply))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # of shares and norms of numbers that are none
            if cuda:
                stack.enter_context(cuda_casts())
            stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            stack.enter_context(_Answers())  # type: ignore[no-untyped-call]  # of torch
            yield stack.enter_context(Ledger())
    finally:
        _SCENE.reset(token)


@contextlib.contextmanager
def real() -> Iterator[None]:
    """Numbers all the same, for small tables whose values decide what is done; nothing where tensors are real."""
    if _SCENE.get() is None:
        yield
    else:
        with _disable_current_modes():
            yield


@final
class _Answers(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch
    """What tensors without values say."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and the guard against it costs as much as the count

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            asked = args[0].constant if isinstance(args[0], FakeTensor) else args[0]
            if asked is not None:  # a number that was written down, or one of a table
                with _disable_current_modes():
                    return asked.item()
            dtype = args[0].dtype
            if dtype is torch.bool:
                return not getattr(args[0], "exceptional", False)
            return 0.5 if dtype.is_floating_point else 0
        if func is aten.nonzero.default:
            return args[0].new_empty((0, args[0].ndim), dtype=torch.long)
        if func in FILLS:
            return args[0]
        out = func(*args, **kwargs)
        if func._overloadpacket is aten.any:
            out.exceptional = True
        return out


def _apply(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """As that of torch, which cannot swap tensors without values for others."""
    for module in self.modules() if recurse else [self]:
        for name, weight in module._parameters.items():
            if weight is not None:
                with torch.no_grad():
                    new = fn(weight)
                if new is not weight:
                    module._parameters[name] = nn.Parameter(new, weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = fn(buffer)
    return self
